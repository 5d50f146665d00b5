//! Everything in the database as a stream of lines, and back. Secrets stay encrypted: a backup is of use only together
//! with the master key. Knows no record's meaning: what is damaged in the database is damaged in its backup, too.
//!
//! Newline-delimited JSON: a head `{"slipway_backup":1}`, a line `{"t":"r","k":"…","v":"…"}` per record (`t` is `r` for a
//! record, `m` for one of the database's own facts; key and value hexadecimal), and an end `{"records":N,"crc32":C}`
//! where C is the CRC-32 of all bytes of the lines between. A stream without its end is not a backup.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use slipway_core::spool::Spool;
use slipway_core::{Problem, RepoId};

use crate::disk::Disk;
use crate::engine::{Engine, Tree};
use crate::error::StoreError;
use crate::keys;
use crate::limits::{BACKUP_LINE_BYTES_MAX, COPY_BUFFER_BYTES, RESTORE_BATCH};
use crate::salvage;

const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    slipway_backup: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    t: char,
    k: String,
    v: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct End {
    records: u64,
    crc32: u32,
}

/// What was brought back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// Records, marks and pieces of long records.
    pub records: u64,
    /// Where the damaged database lies now, if there was one.
    pub moved: Option<PathBuf>,
    /// When the server's own copy was made, where that is what was brought back.
    pub copied: Option<SystemTime>,
}

/// All records as of one moment, as a stream in a file without a name, or in memory where the disk is full: whoever reads it slowly
/// holds up nobody.
#[derive(Debug)]
pub struct Copied {
    spool: Spool,
    /// How many records, marks, pieces and facts.
    pub records: u64,
    /// Bytes of the stream.
    pub bytes: u64,
    /// The repositories that are recorded.
    pub repos: Vec<RepoId>,
}

impl Copied {
    /// The stream from its beginning.
    ///
    /// # Errors
    /// A disk that fails.
    pub fn stream(&mut self) -> io::Result<&mut Spool> {
        self.spool.rewind()?;
        Ok(&mut self.spool)
    }
}

/// Copies everything as of one moment. `at` is called at that moment, while nothing can be changed.
pub(crate) fn copy(engine: &dyn Engine, at: &mut dyn FnMut()) -> Result<Copied, StoreError> {
    let place = Spool::new(nameless_file(engine.folder())).map_err(|e| unwritable(&e))?;
    let mut spool = BufWriter::with_capacity(COPY_BUFFER_BYTES, place);
    writeln!(spool, "{{\"slipway_backup\":{VERSION}}}").map_err(|e| unwritable(&e))?;
    let mut end = End { records: 0, crc32: 0 };
    let (mut hasher, mut repos) = (crc32fast::Hasher::new(), Vec::new());
    engine.each(at, &mut |tree, key, value| {
        let t = if tree == Tree::Meta { 'm' } else { 'r' };
        if tree == Tree::Records {
            repos.extend(keys::repo_of_record(key));
        }
        let line = Line { t, k: hex::encode(key), v: hex::encode(value) };
        let mut text = to_json(&line)?;
        text.push(b'\n');
        hasher.update(&text);
        end.records += 1;
        spool.write_all(&text).map_err(|e| unwritable(&e))
    })?;
    end.crc32 = hasher.finalize();
    let finish = |mut spool: BufWriter<Spool>| {
        serde_json::to_writer(&mut spool, &end)?;
        writeln!(spool)?;
        spool.into_inner().map_err(io::IntoInnerError::into_error)
    };
    let spool = finish(spool).map_err(|e| unwritable(&e))?;
    Ok(Copied { bytes: spool.len(), spool, records: end.records, repos })
}

/// Writes everything as of one moment; a slow `out` does not hold up the server's changes.
pub(crate) fn write(engine: &dyn Engine, out: &mut dyn Write) -> Result<u64, StoreError> {
    let mut copied = copy(engine, &mut || ())?;
    let send = copied.stream().and_then(|stream| io::copy(stream, out)).and_then(|_| out.flush());
    send.map_err(|e| unwritable(&e))?;
    Ok(copied.records)
}

/// Writes everything as of one moment to a file of that name: the whole of it, synced, or what was there before.
pub(crate) fn keep(engine: &dyn Engine, file: &Path) -> Result<u64, StoreError> {
    let draft = file.with_extension("part");
    let keep = || {
        let out = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft);
        let mut out = BufWriter::new(out.map_err(|e| unwritable(&e))?);
        let records = write(engine, &mut out)?;
        let written = out.into_inner().map_err(|e| unwritable(e.error()))?;
        written.sync_all().and_then(|()| std::fs::rename(&draft, file)).map_err(|e| unwritable(&e))?;
        Ok(records)
    };
    let kept = keep();
    if kept.is_err() {
        // It holds nothing of use.
        drop(std::fs::remove_file(&draft));
    }
    kept
}

fn nameless_file(folder: &Path) -> io::Result<File> {
    // The hourly copy and somebody's backup may begin together, and the name is the same.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let path = folder.join("backup.draft");
    let _ = std::fs::remove_file(&path);
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

/// Makes the database in `db_dir` from a backup. A damaged one that is there is moved to `DB_DIR.ASIDE`; one that is whole is not touched.
/// Where the stream turns out to be broken, nothing is changed.
///
/// # Errors
/// A [`Problem`] where the folder has a database that is whole, the stream is no complete backup, or the disk fails.
pub fn restore(input: &mut dyn Read, db_dir: &Path, aside: &str) -> Result<Restored, Problem> {
    Ok(salvage::beside_no_whole_one(db_dir, aside, |disk| read(input, disk))
        .map(|(records, moved)| Restored { records, moved, copied: None })?)
}

/// Reads a backup to its end and says how many records it holds.
///
/// # Errors
/// A [`Problem`] where it is not a complete backup.
pub fn check(input: &mut dyn Read) -> Result<u64, Problem> {
    Ok(each(input, |_| Ok(()))?)
}

fn read(input: &mut dyn Read, disk: &Disk) -> Result<u64, StoreError> {
    let mut batch = Vec::new();
    let records = each(input, |record| {
        batch.push(record);
        if batch.len() >= RESTORE_BATCH { disk.put_raw(std::mem::take(&mut batch)) } else { Ok(()) }
    })?;
    disk.put_raw(batch)?;
    Ok(records)
}

/// Hands over each record of a backup; its count and checksum are looked at in the end.
pub(crate) fn each(
    input: &mut dyn Read,
    mut take: impl FnMut((Tree, Vec<u8>, Vec<u8>)) -> Result<(), StoreError>,
) -> Result<u64, StoreError> {
    let mut lines = Lines { input: BufReader::new(input), number: 0 };
    let head: Option<Head> = lines.next()?.and_then(|text| serde_json::from_slice(&text).ok());
    match head {
        Some(Head { slipway_backup: VERSION }) => {}
        Some(Head { slipway_backup }) => {
            let cause = format!("has version {slipway_backup}; this program reads version {VERSION}");
            return Err(refused(cause, "Restore it with the Slipway that made it, or a newer one."));
        }
        None => {
            return Err(refused("does not begin as a Slipway backup does".into(), "Check the file's name."));
        }
    }
    let mut hasher = crc32fast::Hasher::new();
    let mut records = 0;
    loop {
        let text = lines.next()?.ok_or_else(|| lines.cut_short())?;
        if let Ok(end) = serde_json::from_slice::<End>(&text) {
            if end.records != records || end.crc32 != hasher.finalize() || lines.next()?.is_some() {
                return Err(lines.damaged());
            }
            return Ok(records);
        }
        hasher.update(&text);
        records += 1;
        take(parse(&text).ok_or_else(|| lines.damaged())?)?;
    }
}

fn parse(text: &[u8]) -> Option<(Tree, Vec<u8>, Vec<u8>)> {
    let line: Line = serde_json::from_slice(text).ok()?;
    let tree = match line.t {
        'r' => Tree::Records,
        'm' => Tree::Meta,
        _ => return None,
    };
    Some((tree, hex::decode(line.k).ok()?, hex::decode(line.v).ok()?))
}

/// The lines of a backup, newline included, each of bounded length.
struct Lines<R> {
    input: R,
    number: u64,
}

impl<R: BufRead> Lines<R> {
    fn next(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        let mut text = Vec::new();
        let max = BACKUP_LINE_BYTES_MAX as u64;
        (&mut self.input)
            .take(max)
            .read_until(b'\n', &mut text)
            .map_err(|e| refused(format!("cannot be read: {e}"), "Check the file and its disk."))?;
        self.number += 1;
        if text.is_empty() {
            return Ok(None);
        }
        if text.last() != Some(&b'\n') {
            return Err(if text.len() as u64 == max { self.damaged() } else { self.cut_short() });
        }
        Ok(Some(text))
    }

    fn damaged(&self) -> StoreError {
        refused(format!("is damaged at line {}", self.number), "Use another backup.")
    }

    fn cut_short(&self) -> StoreError {
        refused(format!("ends at line {}, before its end", self.number), "Use another backup.")
    }
}

fn to_json<T: Serialize>(value: &T) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(value).map_err(|e| unwritable(&e.into()))
}

fn unwritable(e: &io::Error) -> StoreError {
    refused(format!("cannot be written: {e}"), "Check the space where it goes, and in the data folder.")
}

fn refused(cause: String, cure: &str) -> StoreError {
    StoreError::Backup { cause, cure: cure.to_owned() }
}
