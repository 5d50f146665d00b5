//! Reads a backup from its stream, checking it on the way: names, sizes, every file's sum against the list of sums, and that
//! against the end. Only plain entries are taken: no links, no long names, no sparse files.

use std::io::{self, BufRead, BufReader, Read};

use aws_lc_rs::digest::{Context, SHA256};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use slipway_core::Problem;

use crate::hashes::{Hashes, Sum, to_sum};
use crate::limits::{BUFFER_BYTES, END_BYTES_MAX, HEAD_BYTES_MAX, LINE_BYTES_MAX};
use crate::name::Name;
use crate::refusal::{cut_short, damaged, none};
use crate::stamp::Stamp;
use crate::writer::{END, End, FAILED, HEAD, KEPT, KeptLine, SUMS, sum_line};

/// The format that this program writes and reads; 1 is that of records alone.
pub(crate) const VERSION: u32 = 2;

/// How a backup begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// The format.
    pub slipway_backup: u32,
    /// Which Slipway made it.
    pub made_by: String,
    /// Its moment, in milliseconds since 1970.
    pub at: u64,
    /// Whether the server's keys are in it.
    pub keys: bool,
}

impl Head {
    /// That of a backup made now.
    pub fn new(made_by: &str, at: u64, keys: bool) -> Self {
        Self { slipway_backup: VERSION, made_by: made_by.to_owned(), at, keys }
    }

    pub(crate) fn check(self) -> Result<Self, Problem> {
        if self.slipway_backup == VERSION {
            return Ok(self);
        }
        let what =
            format!("The backup has version {}; this program reads version {VERSION}.", self.slipway_backup);
        Err(Problem::new(
            slipway_core::ProblemKind::Invalid,
            what,
            "Restore it with the Slipway that made it, or a newer one.",
        ))
    }
}

/// What is told of a file before its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Its name.
    pub name: Name,
    /// Its bytes.
    pub size: u64,
    /// When it was last written, in seconds since 1970.
    pub modified_s: u64,
}

/// Who takes what is read.
pub trait Sink {
    /// The backup begins.
    ///
    /// # Errors
    /// What keeps it from being taken; so below.
    fn begin(&mut self, _: &Head) -> Result<(), Problem> {
        Ok(())
    }
    /// A file's content; what is left unread is skipped.
    fn file(&mut self, meta: &Meta, content: &mut dyn Read) -> Result<(), Problem>;
    /// Its sum, and whether its own checksum fits, where it has one.
    fn checked(&mut self, _: &Meta, _: &[u8; 32], _is_whole: bool) -> Result<(), Problem> {
        Ok(())
    }
    /// A file that whoever reads has said to have.
    fn kept(&mut self, meta: &Meta, _: Stamp) -> Result<(), Problem> {
        Err(damaged(format_args!("it counts on {}, which is not in it", meta.name)))
    }
}

/// A file's content on its way, summed.
struct Summed<'a> {
    from: &'a mut dyn Read,
    left: u64,
    hashes: Hashes,
}

impl Read for Summed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(buffer)?;
        self.left -= read as u64;
        self.hashes.update(&buffer[..read]);
        Ok(read)
    }
}

/// Takes in one file: hands it over, reads what is left of it, and says its sum.
pub(crate) fn take(meta: &Meta, content: &mut dyn Read, sink: &mut dyn Sink) -> Result<(Sum, bool), Problem> {
    let mut limited = content.take(meta.size);
    let mut summed = Summed { from: &mut limited, left: meta.size, hashes: Hashes::new(&meta.name) };
    sink.file(meta, &mut summed)?;
    let mut rest = vec![0; BUFFER_BYTES.min(usize::try_from(summed.left).unwrap_or(BUFFER_BYTES))];
    while summed.left > 0 {
        if summed.read(&mut rest).map_err(|e| unreadable(&e))? == 0 {
            return Err(cut_short());
        }
    }
    Ok(summed.hashes.finish())
}

/// Reads a backup to its end.
///
/// # Errors
/// A sentence on what is wrong with it; then nothing that the sink was given is to be relied on.
pub fn read(input: &mut dyn Read, sink: &mut dyn Sink) -> Result<(Head, End), Problem> {
    let mut archive = tar::Archive::new(BufReader::with_capacity(BUFFER_BYTES, input));
    let entries = archive.entries().map_err(|e| unreadable(&e))?;
    let mut reading =
        Reading { sink, head: None, sums: Context::new(&SHA256), end: None, at: Count::default() };
    for entry in entries.raw(true) {
        let mut entry =
            entry.map_err(|e| if reading.head.is_none() { not_one() } else { broken_entry(&e) })?;
        if reading.end.is_some() {
            return Err(damaged("something follows its end"));
        }
        reading.entry(&mut entry)?;
    }
    let (Some(head), Some(end)) = (reading.head, reading.end) else {
        return Err(cut_short());
    };
    Ok((head, end))
}

#[derive(Default, PartialEq, Eq)]
struct Count {
    files: u64,
    bytes: u64,
    kept: u64,
    kept_bytes: u64,
}

struct Reading<'a> {
    sink: &'a mut dyn Sink,
    head: Option<Head>,
    /// Over the list of sums as it should be; taken when it comes.
    sums: Context,
    end: Option<End>,
    at: Count,
}

impl Reading<'_> {
    fn entry(&mut self, entry: &mut tar::Entry<'_, impl Read>) -> Result<(), Problem> {
        let header = entry.header();
        let bad = |_| damaged("an entry cannot be understood");
        let (size, modified_s) = (header.entry_size().map_err(bad)?, header.mtime().map_err(bad)?);
        let is_plain = header.entry_type().is_file() && header.as_ustar().is_some();
        let name = String::from_utf8_lossy(&header.path_bytes()).into_owned();
        if !is_plain {
            return Err(damaged(format_args!("its entry {name:?} is no plain file")));
        }
        if self.head.is_none() {
            if name != HEAD {
                return Err(not_one());
            }
            let head: Head = json(entry, size, HEAD_BYTES_MAX)?;
            let head = head.check()?;
            self.sink.begin(&head)?;
            self.head = Some(head);
            return Ok(());
        }
        match name.as_str() {
            KEPT => self.kept(entry),
            SUMS => {
                let mut list = Context::new(&SHA256);
                let mut buffer = vec![0; 64 << 10];
                loop {
                    match entry.read(&mut buffer).map_err(|e| unreadable(&e))? {
                        0 => break,
                        read => list.update(&buffer[..read]),
                    }
                }
                let wanted = std::mem::replace(&mut self.sums, Context::new(&SHA256));
                if to_sum(list) == to_sum(wanted.clone()) {
                    self.sums = wanted
                } else {
                    return Err(sums_differ());
                }
                Ok(())
            }
            END => self.finish(json(entry, size, END_BYTES_MAX)?),
            FAILED => Err(json::<Problem>(entry, size, HEAD_BYTES_MAX)?),
            _ => {
                let name = Name::parse(&name)
                    .ok_or_else(|| damaged(format_args!("{name:?} is no file of a data folder")))?;
                self.file(&Meta { name, size, modified_s }, entry)
            }
        }
    }

    fn file(&mut self, meta: &Meta, content: &mut dyn Read) -> Result<(), Problem> {
        let (sum, is_whole) = take(meta, content, self.sink)?;
        self.sums.update(sum_line(&sum, &meta.name).as_bytes());
        self.at.files += 1;
        self.at.bytes = self.at.bytes.saturating_add(meta.size);
        self.sink.checked(meta, &sum, is_whole)
    }

    fn kept(&mut self, list: &mut dyn Read) -> Result<(), Problem> {
        let mut lines = BufReader::new(list);
        let unclear = || damaged("its list of what is kept cannot be understood");
        while let Some(line) = bounded_line(&mut lines)? {
            let line: KeptLine = serde_json::from_slice(&line).map_err(|_| unclear())?;
            let name = Name::parse(&line.name).ok_or_else(unclear)?;
            let stamp = Stamp::parse(&line.stamp).ok_or_else(unclear)?;
            self.at.kept += 1;
            self.at.kept_bytes = self.at.kept_bytes.saturating_add(line.size);
            self.sink.kept(&Meta { name, size: line.size, modified_s: line.modified }, stamp)?;
        }
        Ok(())
    }

    fn finish(&mut self, end: End) -> Result<(), Problem> {
        let told = Count { files: end.files, bytes: end.bytes, kept: end.kept, kept_bytes: end.kept_bytes };
        if told != self.at || end.sums != hex::encode(to_sum(self.sums.clone())) {
            return Err(sums_differ());
        }
        self.end = Some(end);
        Ok(())
    }
}

/// A line without its end; `None` at the end.
pub(crate) fn bounded_line(lines: &mut dyn BufRead) -> Result<Option<Vec<u8>>, Problem> {
    let mut line = Vec::new();
    lines.take(LINE_BYTES_MAX as u64).read_until(b'\n', &mut line).map_err(|e| unreadable(&e))?;
    match line.pop() {
        None => Ok(None),
        Some(b'\n') => Ok(Some(line)),
        Some(_) => Err(damaged("a line of it is too long, or cut short")),
    }
}

fn json<T: DeserializeOwned>(from: &mut dyn Read, size: u64, max: u64) -> Result<T, Problem> {
    let unclear = || damaged("its head or end cannot be understood");
    if size > max {
        return Err(unclear());
    }
    let mut text = Vec::new();
    from.read_to_end(&mut text).map_err(|e| unreadable(&e))?;
    if text.len() as u64 != size {
        return Err(cut_short());
    }
    serde_json::from_slice(&text).map_err(|_| unclear())
}

fn not_one() -> Problem {
    none("This does not begin as a Slipway backup does.")
}

fn sums_differ() -> Problem {
    damaged("what is in it does not fit its checksums")
}

fn broken_entry(error: &io::Error) -> Problem {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        cut_short()
    } else {
        damaged("an entry of it is no tar entry")
    }
}

fn unreadable(error: &io::Error) -> Problem {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => cut_short(),
        _ => Problem::new(
            slipway_core::ProblemKind::Broken,
            format!("The backup cannot be read: {error}."),
            "Check the file and its disk, or the connection, and try again.",
        ),
    }
}
