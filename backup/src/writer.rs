//! Writes a backup as a tar: a head, the files, what the reader has already, the sum of every file (as `sha256sum -c` reads it),
//! and an end that holds the sum of these. Entries are plain ones of the ustar format, so that every tar unpacks it.

use std::cell::Cell;
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

use aws_lc_rs::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};
use slipway_core::spool::Spool;
use slipway_core::{Problem, ProblemKind};

use crate::disk::{self, PourError, pour};
use crate::hashes::{Hashes, to_sum};
use crate::limits::TROUBLES_MAX;
use crate::name::Name;
use crate::reader::{Head, Meta};
use crate::stamp::Stamp;
use crate::trouble::{Trouble, Troubles};

/// The names of what is no file of a data folder.
pub(crate) const HEAD: &str = "slipway-backup.json";
pub(crate) const KEPT: &str = "kept";
pub(crate) const SUMS: &str = "SHA256SUMS";
pub(crate) const END: &str = "end.json";
pub(crate) const FAILED: &str = "failed.json";

/// The end of a backup: what it must come to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct End {
    /// Files in it.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files that the reader has already.
    pub kept: u64,
    /// Their bytes.
    pub kept_bytes: u64,
    /// SHA-256 of the list of sums.
    pub sums: String,
    pub(crate) troubles: Troubles,
}

impl End {
    /// What is not in it, or not whole, and how much more there is of that.
    pub fn troubles(&self) -> (&[Trouble], u64) {
        (&self.troubles.told, self.troubles.more)
    }
}

/// A file that the reader has already.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeptLine {
    pub(crate) name: String,
    pub(crate) size: u64,
    pub(crate) modified: u64,
    pub(crate) stamp: String,
}

/// A backup in the making.
pub struct Writer<W: Write> {
    out: tar::Builder<W>,
    sums: List,
    kept: List,
    end: End,
}

/// A list that is sent in the end.
struct List {
    spool: BufWriter<Spool>,
    sum: Context,
}

impl List {
    fn new(folder: &Path) -> Result<Self, Problem> {
        let spool = Spool::new(disk::nameless(folder)).map_err(|e| unsent(&e))?;
        Ok(Self { spool: BufWriter::new(spool), sum: Context::new(&SHA256) })
    }

    fn line(&mut self, line: &str) -> Result<(), Problem> {
        self.sum.update(line.as_bytes());
        self.spool.write_all(line.as_bytes()).map_err(|e| unsent(&e))
    }

    fn finish(self) -> Result<(Spool, [u8; 32]), Problem> {
        let mut spool = self.spool.into_inner().map_err(|e| unsent(e.error()))?;
        spool.rewind().map_err(|e| unsent(&e))?;
        Ok((spool, to_sum(self.sum)))
    }
}

impl<W: Write> Writer<W> {
    /// Begins one. `spools` is a folder for lists of a moment; where its disk is full they are held in memory.
    ///
    /// # Errors
    /// Where `out` or the folder cannot be written; so of all that follows.
    pub fn begin(out: W, head: &Head, spools: &Path) -> Result<Self, Problem> {
        let end = End {
            files: 0,
            bytes: 0,
            kept: 0,
            kept_bytes: 0,
            sums: String::new(),
            troubles: Troubles::default(),
        };
        let (sums, kept) = (List::new(spools)?, List::new(spools)?);
        let mut writer = Self { out: tar::Builder::new(out), sums, kept, end };
        writer.json(HEAD, head)?;
        Ok(writer)
    }

    /// Adds a file of exactly that size. What cannot be read, or is damaged by its own checksum, is told in the end.
    pub fn file(&mut self, meta: &Meta, content: &mut dyn Read) -> Result<(), Problem> {
        self.head(meta.name.as_str(), meta.size, meta.modified_s)?;
        let (mut hashes, left) = (Hashes::new(&meta.name), Cell::new(meta.size));
        let out = self.out.get_mut();
        let mut take = |bytes: &[u8]| {
            hashes.update(bytes);
            left.set(left.get() - bytes.len() as u64);
            out.write_all(bytes).map_err(|e| unsent(&e))
        };
        let mut why = match pour(&mut content.take(meta.size), &mut take) {
            Ok(()) => None,
            Err(PourError::From(e)) => Some(format!("it cannot be read: {e}")),
            Err(PourError::To(problem)) => return Err(problem),
        };
        if left.get() > 0 {
            why.get_or_insert_with(|| "it is shorter than it was".to_owned());
            // The stream goes on as it was announced; this file is not relied on.
            let fill = pour(&mut io::repeat(0).take(left.get()), &mut take);
            if let Err(PourError::To(problem)) = fill {
                return Err(problem);
            }
        }
        self.pad(meta.size)?;
        let (sum, is_whole) = hashes.finish();
        self.sums.line(&sum_line(&sum, &meta.name))?;
        self.end.files += 1;
        self.end.bytes += meta.size;
        match why {
            Some(why) => self.trouble(meta.name.as_str(), why, true),
            None if !is_whole => {
                self.trouble(meta.name.as_str(), "its own checksum does not fit".to_owned(), false)
            }
            None => Ok(()),
        }
    }

    /// Says that the reader has that file already.
    pub fn keep(&mut self, meta: &Meta, stamp: Stamp) -> Result<(), Problem> {
        let line = KeptLine {
            name: meta.name.to_string(),
            size: meta.size,
            modified: meta.modified_s,
            stamp: stamp.to_hex(),
        };
        self.end.kept += 1;
        self.end.kept_bytes += meta.size;
        self.kept.line(&format!("{}\n", text(&line)?))
    }

    /// Says that something is not in the backup (`left_out`), or is there and damaged.
    pub fn trouble(&mut self, what: &str, why: String, left_out: bool) -> Result<(), Problem> {
        if left_out && self.end.troubles.told.len() >= TROUBLES_MAX {
            return Err(Problem::new(
                ProblemKind::Broken,
                format!("More than {TROUBLES_MAX} files cannot be read, {what} among them: {why}."),
                "Check the server's disk.",
            ));
        }
        self.end.troubles.add(Trouble { what: what.to_owned(), why, left_out });
        Ok(())
    }

    /// Writes the end. Without it, nothing that was written is a backup.
    pub fn finish(self) -> Result<End, Problem> {
        let Self { out, sums, kept, mut end } = self;
        let (mut list, sum) = sums.finish()?;
        end.sums = hex::encode(sum);
        let (mut names, _) = kept.finish()?;
        let mut rest = Rest(out);
        if end.kept > 0 {
            rest.whole(KEPT, names.len(), &mut names)?;
        }
        rest.whole(SUMS, list.len(), &mut list)?;
        let said = text(&end)?;
        rest.whole(END, said.len() as u64, &mut said.as_bytes())?;
        let mut out = rest.0.into_inner().map_err(|e| unsent(&e))?;
        out.flush().map_err(|e| unsent(&e))?;
        Ok(end)
    }

    /// Tells the reader why there will be no end.
    pub fn fail(mut self, problem: &Problem) {
        // The reader may have been what failed.
        drop(self.json(FAILED, problem).and_then(|()| self.out.get_mut().flush().map_err(|e| unsent(&e))));
    }

    fn json<T: Serialize>(&mut self, name: &str, value: &T) -> Result<(), Problem> {
        let said = text(value)?;
        self.head(name, said.len() as u64, 0)?;
        self.out.get_mut().write_all(said.as_bytes()).map_err(|e| unsent(&e))?;
        self.pad(said.len() as u64)
    }

    fn head(&mut self, name: &str, size: u64, modified_s: u64) -> Result<(), Problem> {
        let header = header(name, size, modified_s)?;
        self.out.get_mut().write_all(header.as_bytes()).map_err(|e| unsent(&e))
    }

    /// Entries fill whole blocks.
    fn pad(&mut self, size: u64) -> Result<(), Problem> {
        let more = usize::try_from(size.next_multiple_of(512) - size).unwrap_or(0);
        self.out.get_mut().write_all(&[0; 512][..more]).map_err(|e| unsent(&e))
    }
}

/// Entries from files.
struct Rest<W: Write>(tar::Builder<W>);

impl<W: Write> Rest<W> {
    fn whole(&mut self, name: &str, size: u64, content: &mut dyn Read) -> Result<(), Problem> {
        self.0.append(&header(name, size, 0)?, content).map_err(|e| unsent(&e))
    }
}

fn header(name: &str, size: u64, modified_s: u64) -> Result<tar::Header, Problem> {
    let mut header = tar::Header::new_ustar();
    header.set_path(name).map_err(|e| unsent(&e))?;
    header.set_size(size);
    header.set_mode(0o600);
    header.set_mtime(modified_s);
    header.set_cksum();
    Ok(header)
}

/// A line of the list of sums.
pub(crate) fn sum_line(sum: &[u8; 32], name: &Name) -> String {
    format!("{}  {name}\n", hex::encode(sum))
}

fn text<T: Serialize>(value: &T) -> Result<String, Problem> {
    serde_json::to_string(value).map_err(|e| unsent(&e.into()))
}

fn unsent(error: &io::Error) -> Problem {
    Problem::new(
        ProblemKind::Broken,
        format!("The backup cannot be written: {error}."),
        "Check where it goes, and the free space in the data folder.",
    )
}
