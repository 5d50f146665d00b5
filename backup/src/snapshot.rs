//! One snapshot of a folder of backups: a text of lines that says which files it is made of, under a checksum. What is in the
//! files lies beside, under its own sum, shared with other snapshots.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

use aws_lc_rs::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};
use slipway_core::Problem;

use crate::disk;
use crate::hashes::{Sum, to_sum};
use crate::limits::{BUFFER_BYTES, END_BYTES_MAX};
use crate::name::Name;
use crate::reader::{Head, Meta, bounded_line};
use crate::refusal::{cut_short, damaged, unreadable, unwritable};
use crate::trouble::Troubles;

/// How it ends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tally {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    /// Those that no earlier snapshot has had.
    pub(crate) new_files: u64,
    pub(crate) new_bytes: u64,
    pub(crate) took_ms: u64,
    pub(crate) troubles: Troubles,
    /// SHA-256 of all lines before.
    pub(crate) sum: String,
}

/// One file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    name: String,
    size: u64,
    modified: u64,
    sum: String,
    /// Its own checksum does not fit: it was damaged before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    damaged: bool,
}

/// One file of a snapshot.
pub(crate) struct Entry {
    pub(crate) meta: Meta,
    pub(crate) sum: Sum,
    pub(crate) damaged: bool,
}

/// Writes a snapshot.
pub(crate) struct Lines {
    out: BufWriter<File>,
    sum: Context,
}

impl Lines {
    pub(crate) fn begin(path: &Path, head: &Head) -> Result<Self, Problem> {
        let file = disk::create_anew(path)?;
        let mut lines =
            Self { out: BufWriter::with_capacity(BUFFER_BYTES, file), sum: Context::new(&SHA256) };
        lines.line(path, head)?;
        Ok(lines)
    }

    pub(crate) fn entry(&mut self, path: &Path, entry: &Entry) -> Result<(), Problem> {
        let Entry { meta, sum, damaged } = entry;
        let line = Line {
            name: meta.name.to_string(),
            size: meta.size,
            modified: meta.modified_s,
            sum: hex::encode(sum),
            damaged: *damaged,
        };
        self.line(path, &line)
    }

    /// Hands what was written to the system: a process that is killed leaves it.
    pub(crate) fn flush(&mut self, path: &Path) -> Result<(), Problem> {
        self.out.flush().map_err(unwritable(path))
    }

    pub(crate) fn finish(mut self, path: &Path, mut tally: Tally) -> Result<Tally, Problem> {
        tally.sum = hex::encode(to_sum(self.sum.clone()));
        self.line(path, &tally)?;
        let file = self.out.into_inner().map_err(|e| unwritable(path)(e.into_error()))?;
        file.sync_all().map_err(unwritable(path))?;
        Ok(tally)
    }

    fn line<T: Serialize>(&mut self, path: &Path, value: &T) -> Result<(), Problem> {
        let mut text = serde_json::to_vec(value).map_err(|e| unwritable(path)(e.into()))?;
        text.push(b'\n');
        self.sum.update(&text);
        self.out.write_all(&text).map_err(unwritable(path))
    }
}

/// Reads a snapshot, file by file; its checksum is looked at in the end.
pub(crate) fn read(
    path: &Path,
    mut each: impl FnMut(Entry) -> Result<(), Problem>,
) -> Result<(Head, Tally), Problem> {
    let mut lines = BufReader::with_capacity(BUFFER_BYTES, disk::open_plain(path)?);
    let told = |what: &str| damaged(format_args!("{} {what}", path.display()));
    let mut sum = Context::new(&SHA256);
    let mut next = || -> Result<Option<(Vec<u8>, Context)>, Problem> {
        let before = sum.clone();
        let mut line = Vec::new();
        (&mut lines).take(END_BYTES_MAX).read_until(b'\n', &mut line).map_err(unreadable(path))?;
        sum.update(&line);
        match line.last() {
            None => Ok(None),
            Some(b'\n') => Ok(Some((line, before))),
            Some(_) => Err(cut_short()),
        }
    };
    let (head, _) = next()?.ok_or_else(cut_short)?;
    let head: Head = serde_json::from_slice(&head).map_err(|_| told("does not begin as a snapshot does"))?;
    let head = head.check()?;
    loop {
        let (line, before) = next()?.ok_or_else(cut_short)?;
        if let Some(entry) = parse(&line) {
            each(entry)?;
            continue;
        }
        let tally: Tally =
            serde_json::from_slice(&line).map_err(|_| told("has a line that cannot be understood"))?;
        if tally.sum != hex::encode(to_sum(before)) || next()?.is_some() {
            return Err(told("does not fit its checksum"));
        }
        return Ok((head, tally));
    }
}

/// The files of one that was cut off, as far as they can be read.
pub(crate) fn read_unfinished(path: &Path, mut each: impl FnMut(Entry)) {
    let Ok(file) = disk::open_plain(path) else { return };
    let mut lines = BufReader::new(file);
    // The head.
    let _ = bounded_line(&mut lines);
    while let Ok(Some(line)) = bounded_line(&mut lines) {
        let Some(entry) = parse(&line) else { return };
        each(entry);
    }
}

/// Head and end alone.
pub(crate) fn glance(path: &Path) -> Result<(Head, Tally), Problem> {
    let mut file = disk::open_plain(path)?;
    let told = || damaged(format_args!("{} is no whole snapshot", path.display()));
    let head = bounded_line(&mut BufReader::new(&file))?.ok_or_else(told)?;
    let head: Head = serde_json::from_slice(&head).map_err(|_| told())?;
    let length = file.seek(SeekFrom::End(0)).map_err(unreadable(path))?;
    let mut tail = Vec::new();
    file.seek(SeekFrom::Start(length.saturating_sub(END_BYTES_MAX))).map_err(unreadable(path))?;
    file.take(END_BYTES_MAX).read_to_end(&mut tail).map_err(unreadable(path))?;
    let text = tail.strip_suffix(b"\n").ok_or_else(told)?;
    let last = text.rsplit(|b| *b == b'\n').next().unwrap_or_default();
    Ok((head.check()?, serde_json::from_slice(last).map_err(|_| told())?))
}

fn parse(line: &[u8]) -> Option<Entry> {
    let line: Line = serde_json::from_slice(line).ok()?;
    let mut sum = [0; 32];
    hex::decode_to_slice(&line.sum, &mut sum).ok()?;
    let meta = Meta { name: Name::parse(&line.name)?, size: line.size, modified_s: line.modified };
    Some(Entry { meta, sum, damaged: line.damaged })
}
