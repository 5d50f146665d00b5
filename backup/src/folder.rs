//! A folder of backups: snapshots, and what is in their files under its SHA-256, each content once.
//!
//! ```text
//! slipway-backups        the mark of such a folder
//! lock                   held by whoever writes
//! snapshots/             NUMBER-TIME.jsonl, put there when everything that it names is on the disk
//! files/AB/CDEF…         contents
//! incoming/              what is on its way; of a backup that was cut off, the list of what had come
//! ```

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use slipway_core::{Problem, ProblemKind};

use crate::disk;
use crate::hashes::Sum;
use crate::limits::SNAPSHOTS_MAX;
use crate::reader::{self, Head};
use crate::refusal::{damaged, none, unreadable, unwritable};
use crate::snapshot::{self, Lines, Tally};
use crate::stamp::Known;
use crate::trouble::Trouble;

mod receive;
mod retain;
mod verify;

use self::receive::{Receiving, earlier};
pub use self::verify::Verified;

const MARK: &str = "slipway-backups";
const MARK_TEXT: &str = "1\n";

/// A folder of backups.
#[derive(Debug)]
pub struct Folder {
    root: PathBuf,
    /// Held while it is written.
    _lock: Option<File>,
}

/// One of its snapshots.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// It is called by this.
    pub number: u64,
    /// Its moment, in milliseconds since 1970.
    pub at: u64,
    /// Whether the server's keys are in it.
    pub keys: bool,
    /// Its files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files that no earlier snapshot had.
    pub new_files: u64,
    /// Their bytes.
    pub new_bytes: u64,
    /// How long it took to make, in milliseconds.
    pub took_ms: u64,
    pub(crate) tally: Tally,
    pub(crate) path: PathBuf,
}

impl Snapshot {
    /// What is not in it, or not whole, and how much more there is of that.
    pub fn troubles(&self) -> (&[Trouble], u64) {
        (&self.tally.troubles.told, self.tally.troubles.more)
    }

    /// True if everything is in it.
    pub fn is_whole(&self) -> bool {
        self.tally.troubles.told.is_empty()
    }

    /// Its moment in words.
    pub fn time(&self) -> String {
        time_of(self.at)
    }
}

/// A backup that was received.
#[derive(Debug)]
pub struct Received {
    /// What came of it.
    pub snapshot: Snapshot,
    /// What was read once more.
    pub verified: Verified,
    /// How long all of it took.
    pub took: Duration,
}

impl Folder {
    /// Takes a folder to write in; makes it where there is none. Only one at a time may.
    ///
    /// # Errors
    /// A folder of something else, or in use.
    pub fn take(root: &Path) -> Result<Self, Problem> {
        disk::make(root)?;
        let root = root.canonicalize().map_err(unreadable(root))?;
        if !has_mark(&root) {
            let mut entries = fs::read_dir(&root).map_err(unreadable(&root))?;
            // A first one that was cut off has made these.
            let ours = |name: &std::ffi::OsStr| {
                ["lock", "snapshots", "files", "incoming"].iter().any(|n| name == *n)
            };
            if entries.any(|entry| !entry.is_ok_and(|entry| ours(&entry.file_name()))) {
                return Err(Problem::new(
                    ProblemKind::Conflict,
                    format!("{} is not empty, and is no folder of backups.", root.display()),
                    "Name a folder of backups, or one that is new or empty.",
                ));
            }
        }
        let path = root.join("lock");
        let lock = disk::lock_file(&path)?;
        lock.try_lock().map_err(|_| {
            let what = format!("Another backup is being written to {}.", root.display());
            Problem::new(ProblemKind::Busy, what, "Try again once that is done.")
        })?;
        for name in ["snapshots", "files", "incoming"] {
            disk::make(&root.join(name))?;
        }
        if !has_mark(&root) {
            let path = root.join(MARK);
            let mut file = disk::create_anew(&path)?;
            file.write_all(MARK_TEXT.as_bytes()).and_then(|()| file.sync_all()).map_err(unwritable(&path))?;
            disk::sync(&root)?;
        }
        Ok(Self { root, _lock: Some(lock) })
    }

    /// Looks into a folder of backups.
    ///
    /// # Errors
    /// Where it is none.
    pub fn open(root: &Path) -> Result<Self, Problem> {
        let root = root.canonicalize().map_err(unreadable(root))?;
        if has_mark(&root) {
            return Ok(Self { root, _lock: None });
        }
        Err(none(format!("{} is no folder of backups.", root.display())))
    }

    /// Its snapshots, oldest first, and those that cannot be read.
    pub fn snapshots(&self) -> Result<(Vec<Snapshot>, Vec<Problem>), Problem> {
        let folder = self.root.join("snapshots");
        let (mut found, mut broken) = (Vec::new(), Vec::new());
        for entry in fs::read_dir(&folder).map_err(unreadable(&folder))?.take(SNAPSHOTS_MAX) {
            let path = entry.map_err(unreadable(&folder))?.path();
            let Some(number) = number_of(&path) else { continue };
            match snapshot::glance(&path) {
                Ok((head, tally)) => found.push(told(number, &head, tally, path)),
                Err(problem) => broken.push(problem),
            }
        }
        found.sort_by_key(|s| s.number);
        Ok((found, broken))
    }

    /// The files of the newest snapshot and of backups that were cut off: they need not be sent again.
    ///
    /// # Errors
    /// A disk that fails.
    pub fn known(&self) -> Result<Known, Problem> {
        Ok(Known(earlier(self)?.into_keys().collect()))
    }

    /// Takes a backup in, reads it once more, and makes a snapshot of it. With `quick` only what is new is read once more.
    ///
    /// # Errors
    /// What is wrong with the stream or the disk; then there is no snapshot of it, and what has come is used the next time.
    pub fn receive(&self, input: &mut dyn std::io::Read, quick: bool) -> Result<Received, Problem> {
        let begun = Instant::now();
        let mut receiving = Receiving::begin(self)?;
        let (head, end) = reader::read(input, &mut receiving)?;
        let new = receiving.new;
        receiving.finish()?;
        disk::sync_file_system(&self.root)?;
        let draft = self.root.join("incoming/snapshot.new");
        let mut tally = Tally {
            new_files: new.files,
            new_bytes: new.bytes,
            troubles: end.troubles.clone(),
            ..Tally::default()
        };
        let mut lines = Lines::begin(&draft, &head)?;
        let mut verifying = self.verifying();
        let mut came = 0;
        receive::each(self, &mut |entry, is_new| {
            came += 1;
            if end.troubles.leave_out(entry.meta.name.as_str()) {
                return Ok(());
            }
            verifying.look(entry, is_new || !quick)?;
            tally.files += 1;
            tally.bytes += entry.meta.size;
            lines.entry(&draft, entry)
        })?;
        if came != end.files + end.kept {
            return Err(damaged("the list of what has come is not whole"));
        }
        tally.took_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let tally = lines.finish(&draft, tally)?;
        let path = self.next_path(head.at)?;
        disk::put(&draft, &path)?;
        receive::forget(self)?;
        let number = number_of(&path).unwrap_or_default();
        let snapshot = told(number, &head, tally, path);
        Ok(Received { snapshot, verified: verifying.done(), took: begun.elapsed() })
    }

    /// A name that none has, numbered on from the last.
    fn next_path(&self, at: u64) -> Result<PathBuf, Problem> {
        let folder = self.root.join("snapshots");
        let names = fs::read_dir(&folder).map_err(unreadable(&folder))?;
        let last = names.filter_map(|entry| number_of(&entry.ok()?.path())).max().unwrap_or(0);
        // The highest number may have been a snapshot that is not kept any more.
        let counted =
            fs::read_to_string(self.root.join("last")).ok().and_then(|text| text.trim().parse().ok());
        let number = last.max(counted.unwrap_or(0)) + 1;
        let counter = self.root.join("last");
        let mut file = disk::create_anew(&counter)?;
        writeln!(file, "{number}").map_err(unwritable(&counter))?;
        let time = time_of(at).replace(':', "-");
        Ok(folder.join(format!("{number:06}-{time}.jsonl")))
    }

    pub(crate) fn content(&self, sum: &Sum) -> PathBuf {
        let hex = hex::encode(sum);
        self.root.join("files").join(&hex[..2]).join(&hex[2..])
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }
}

fn told(number: u64, head: &Head, tally: Tally, path: PathBuf) -> Snapshot {
    let Tally { files, bytes, new_files, new_bytes, took_ms, .. } = tally;
    Snapshot {
        number,
        at: head.at,
        keys: head.keys,
        files,
        bytes,
        new_files,
        new_bytes,
        took_ms,
        tally,
        path,
    }
}

fn has_mark(root: &Path) -> bool {
    fs::read_to_string(root.join(MARK)).is_ok_and(|text| text == MARK_TEXT)
}

fn number_of(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?.strip_suffix(".jsonl")?;
    name.split_once('-')?.0.parse().ok()
}

/// `2026-11-29T17:05:12Z`.
pub(crate) fn time_of(ms: u64) -> String {
    let seconds = i64::try_from(ms / 1000).unwrap_or_default();
    let time = time::OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
    time.format(&time::format_description::well_known::Rfc3339).unwrap_or_default()
}
