//! The only file that speaks to sled: opens it, reads records, changes them all-or-nothing, and makes changes durable.
//! Knows bytes and keys, not what the records say.
//!
//! # What is promised
//! * [`Disk::write`] applies all of a change or nothing of it, and when it returns `Ok`, the change survives `kill -9`
//!   and loss of power (as far as the disk keeps what it has acknowledged to `fsync`).
//! * A reader inside [`Disk::read`] sees no half-applied change. It may see one that is applied and about to be
//!   durable; whoever asked for that change has no answer yet.
//! * Changes are made one after another; they are made durable together: while one `fsync` runs, later changes are
//!   applied, and the next `fsync` covers all of them.
//! * After a failed write nothing more is written ([`StoreError::Halted`]): what is in memory may be ahead of the disk,
//!   and a second `fsync` would claim success for pages that the kernel has already dropped.
//!
//! # What is not
//! sled reuses a segment of its file once the records in it have newer copies elsewhere, and takes its own
//! `sync_file_range` as proof that those are on disk. A single change of several MiB can so overwrite old copies before
//! the `fdatasync` that makes the new ones safe. Loss of power in just these milliseconds can damage records; backups
//! are the answer to that. `kill -9` and a full disk are harmless at any time.
//!
//! # sled 0.34.7, knowingly
//! * `flush` writes the log and calls `sync_file_range` (`pagecache/iobuf.rs`, `write_to_log`), which neither records
//!   the file's new length nor empties the disk's write cache: it is not enough for loss of power, see
//!   sync_file_range(2). So [`Disk::settle`], the one place that flushes, calls `fdatasync` on the same file as well.
//! * Log messages above a quarter segment (128 KiB), which whole tree pages of up to ~30 values can become, go to
//!   files of their own in `blobs/`, and those are never synced. So records longer than [`crate::limits::PIECE_BYTES`] are cut, and no page
//!   ever gets there. A test watches that `blobs/` stays empty.
//! * A transaction is one log batch that recovery takes or leaves whole (`BatchManifest`). Tree transactions cannot
//!   scan ranges, so changes are prepared under this file's own writer lock and applied as one batch of one tree.
//! * Half-empty segments are only cleaned by the thread that `flush_every_ms` starts; without it the file grows for
//!   ever. It stays on, at a slow pace, for that reason alone.
//! * The page cache takes 1 GiB by default, here 8 MiB; the write buffer is one segment; a first write starts seven
//!   small threads, for good. Without the features `no_metrics` and `miri_optimizations` (whose one effect is that
//!   histograms are allocated as untouched zero pages) 22 MiB more are resident from the first moment.
//! * Opening panics on some kinds of damage; that is caught and told as a [`StoreError::Disk`].

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use crate::error::StoreError;
use crate::keys::Key;
use crate::limits::{CACHE_BYTES, CLEAN_EVERY_MS, LOCK_WAIT_MS, SEGMENT_BYTES};

mod change;
mod view;

pub(crate) use self::change::Change;
pub(crate) use self::view::{Scan, View};

/// An open database.
pub(crate) struct Disk {
    path: PathBuf,
    database: sled::Db,
    records: sled::Tree,
    meta: sled::Tree,
    /// sled's own data file, for `fdatasync`.
    log: File,
    /// Held from the first look of a change until it is applied.
    writer: Mutex<()>,
    /// Held for writing only while a change is applied.
    view: RwLock<()>,
    /// How many changes are applied.
    applied: AtomicU64,
    /// How many of them are durable. Held while flushing.
    durable: Mutex<u64>,
    halted: AtomicBool,
}

impl Disk {
    /// Opens the database in `path`, or makes one. Waits a moment for another process to let go of it.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let failed = |cause: String| StoreError::Disk { path: path.to_owned(), doing: "opened", cause };
        // Private, since sled itself would let everyone on the host read hashes of tokens and cookies.
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|e| failed(e.to_string()))?;
        let give_up = Instant::now() + Duration::from_millis(LOCK_WAIT_MS);
        let database = loop {
            match open_sled(path) {
                Ok(database) => break database,
                Err(cause) if cause.contains("could not acquire lock") => {
                    if Instant::now() >= give_up {
                        return Err(StoreError::Locked { path: path.to_owned() });
                    }
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(cause) => return Err(failed(cause)),
            }
        };
        let tree = |name: &str| database.open_tree(name).map_err(|e| failed(plain(e)));
        let (records, meta) = (tree("records")?, tree("meta")?);
        let log = File::open(path.join("db")).map_err(|e| failed(e.to_string()))?;
        let disk = Self {
            path: path.to_owned(),
            database,
            records,
            meta,
            log,
            writer: Mutex::new(()),
            view: RwLock::new(()),
            applied: AtomicU64::new(1),
            durable: Mutex::new(0),
            halted: AtomicBool::new(false),
        };
        disk.settle()?;
        sync_names(path).map_err(|e| failed(e.to_string()))?;
        Ok(disk)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads; no change is applied meanwhile.
    pub(crate) fn read<T>(
        &self,
        look: impl FnOnce(View<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let _still = self.view.read().unwrap_or_else(PoisonError::into_inner);
        look(View { disk: self })
    }

    /// Prepares a change and applies it, durable on return. Where `prepare` fails, nothing is changed. Also where it
    /// changes nothing, what it has seen is durable on return.
    pub(crate) fn write<T>(
        &self,
        prepare: impl FnOnce(&mut Change<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let answer = {
            // The guarded value is (): a thread that panicked has applied nothing.
            let _turn = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
            self.check_halted()?;
            let mut change = Change { view: View { disk: self }, writes: BTreeMap::new() };
            let answer = prepare(&mut change)?;
            self.apply(change.writes)?;
            answer
        };
        self.settle()?;
        Ok(answer)
    }

    fn apply(&self, writes: BTreeMap<Key, Option<Vec<u8>>>) -> Result<(), StoreError> {
        if writes.is_empty() {
            return Ok(());
        }
        let mut batch = sled::Batch::default();
        for (key, value) in writes {
            match value {
                Some(value) => batch.insert(key.bytes(), value),
                None => batch.remove(key.bytes()),
            }
        }
        let _alone = self.view.write().unwrap_or_else(PoisonError::into_inner);
        let _half_done = HaltOnPanic(&self.halted);
        self.records.apply_batch(batch).map_err(|e| self.halt(&plain(e)))?;
        self.applied.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    /// Makes every change that is applied by now durable: the one place that flushes.
    fn settle(&self) -> Result<(), StoreError> {
        let wanted = self.applied.load(Ordering::SeqCst);
        let mut durable = self.durable.lock().unwrap_or_else(PoisonError::into_inner);
        if *durable >= wanted {
            return Ok(());
        }
        self.check_halted()?;
        let covered = self.applied.load(Ordering::SeqCst);
        self.database.flush().map_err(|e| self.halt(&plain(e)))?;
        self.log.sync_data().map_err(|e| self.halt(&e))?;
        *durable = covered;
        Ok(())
    }

    /// One of the database's own facts.
    pub(crate) fn fact(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let found = self.meta.get(name).map_err(|e| self.unreadable(e))?;
        Ok(found.map(|value| value.to_vec()))
    }

    /// Writes one of the database's own facts, durable on return.
    pub(crate) fn put_fact(&self, name: &str, value: &[u8]) -> Result<(), StoreError> {
        {
            let _turn = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
            self.check_halted()?;
            self.meta.insert(name, value).map_err(|e| self.halt(&plain(e)))?;
            self.applied.fetch_add(1, Ordering::SeqCst);
        }
        self.settle()
    }

    /// All facts and records as they lie there, pieces included; nothing is changed meanwhile.
    pub(crate) fn raw<E: From<StoreError>>(
        &self,
        mut each: impl FnMut(Tree, &[u8], &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let _turn = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        for (which, tree) in [(Tree::Meta, &self.meta), (Tree::Records, &self.records)] {
            for pair in tree {
                let (key, value) = pair.map_err(|e| self.unreadable(e))?;
                each(which, &key, &value)?;
            }
        }
        Ok(())
    }

    /// Writes facts and records as they are, durable on return.
    pub(crate) fn put_raw(&self, pairs: Vec<(Tree, Vec<u8>, Vec<u8>)>) -> Result<(), StoreError> {
        let _turn = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        self.check_halted()?;
        let (mut records, mut meta) = (sled::Batch::default(), sled::Batch::default());
        for (tree, key, value) in pairs {
            match tree {
                Tree::Records => records.insert(key, value),
                Tree::Meta => meta.insert(key, value),
            }
        }
        self.records.apply_batch(records).map_err(|e| self.halt(&plain(e)))?;
        self.meta.apply_batch(meta).map_err(|e| self.halt(&plain(e)))?;
        self.applied.fetch_add(1, Ordering::SeqCst);
        self.settle()
    }

    /// True if there is neither a fact nor a record.
    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty() && self.meta.is_empty()
    }

    fn check_halted(&self) -> Result<(), StoreError> {
        if self.halted.load(Ordering::SeqCst) {
            return Err(StoreError::Halted { path: self.path.clone() });
        }
        Ok(())
    }

    fn halt(&self, cause: &dyn std::fmt::Display) -> StoreError {
        self.halted.store(true, Ordering::SeqCst);
        tracing::error!(path = %self.path.display(), %cause, "the database cannot be written");
        StoreError::Disk { path: self.path.clone(), doing: "written", cause: cause.to_string() }
    }

    fn unreadable(&self, cause: sled::Error) -> StoreError {
        StoreError::Disk { path: self.path.clone(), doing: "read", cause: plain(cause) }
    }
}

/// Where the engine panics in the middle of a change, nothing more may be written on top of the half of it.
struct HaltOnPanic<'a>(&'a AtomicBool);

impl Drop for HaltOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.store(true, Ordering::SeqCst);
        }
    }
}

/// One of the two trees, for backups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tree {
    Records,
    Meta,
}

fn open_sled(path: &Path) -> Result<sled::Db, String> {
    let config = sled::Config::new()
        .path(path)
        .cache_capacity(CACHE_BYTES)
        .flush_every_ms(Some(CLEAN_EVERY_MS))
        .segment_size(SEGMENT_BYTES);
    let opened = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| config.open()));
    match opened {
        Ok(Ok(database)) => Ok(database),
        Ok(Err(error)) => Err(plain(error)),
        Err(_) => Err("its log is damaged in a way that the engine does not understand".to_owned()),
    }
}

/// sled's own words show the operating system's error in Rust's debug form; its kind reads better.
fn plain(error: sled::Error) -> String {
    match error {
        sled::Error::Io(e) if e.raw_os_error().is_some() || e.kind() == ErrorKind::Other => e.to_string(),
        sled::Error::Io(e) => e.kind().to_string(),
        other => other.to_string(),
    }
}

/// sled syncs neither the small file that has its settings nor the folder's entries.
fn sync_names(path: &Path) -> std::io::Result<()> {
    File::open(path.join("conf"))?.sync_all()?;
    File::open(path)?.sync_all()?;
    let above = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(above)?.sync_all()
}

#[cfg(test)]
mod tests {
    use slipway_core::{Problem, ProblemKind, UserName};

    use super::*;
    use crate::keys;

    fn name(text: &str) -> UserName {
        UserName::parse(text).expect("valid")
    }

    fn fresh() -> (tempfile::TempDir, Disk) {
        let folder = tempfile::tempdir().expect("temp folder");
        let disk = Disk::open(&folder.path().join("db")).expect("opens");
        (folder, disk)
    }

    fn put(disk: &Disk, key: &Key, text: &str) -> Result<usize, StoreError> {
        disk.write(|change| change.put(key.clone(), &text))
    }

    fn get(disk: &Disk, key: &Key) -> Result<Option<String>, Problem> {
        disk.read(|view| view.get(key)).map_err(Problem::from)
    }

    /// All keys as they lie there.
    fn raw_keys(disk: &Disk) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        disk.raw(|_, key, _| {
            found.push(key.to_vec());
            Ok::<_, StoreError>(())
        })
        .expect("readable");
        found
    }

    #[test]
    fn a_damaged_or_newer_record_is_told_by_its_name() {
        let (_folder, disk) = fresh();
        let key = keys::user(&name("ann"));
        put(&disk, &key, "hello").expect("written");
        let mut raw = Vec::new();
        disk.raw(|_, _, value| {
            raw = value.to_vec();
            Ok::<_, StoreError>(())
        })
        .expect("readable");
        let mut flipped = raw.clone();
        *flipped.last_mut().expect("not empty") ^= 1;
        let newer = [&[9], &raw[1..]].concat();
        for (bad, told) in [
            (flipped, "The record of user ann is damaged"),
            (Vec::new(), "The record of user ann is damaged"),
            (newer, "The record of user ann was written by a newer Slipway (version 9"),
        ] {
            disk.put_raw(vec![(Tree::Records, key.bytes().to_vec(), bad)]).expect("planted");
            let problem = get(&disk, &key).expect_err("told");
            assert_eq!(problem.kind, ProblemKind::Broken);
            assert!(problem.what.starts_with(told), "{problem}");
            let listed: Result<Vec<String>, _> =
                disk.read(|view| view.records(&keys::users(), Scan::Up).collect());
            assert!(listed.is_err(), "a list does not leave it out in silence");
        }
        put(&disk, &key, "mended").expect("a damaged record can be replaced");
        assert_eq!(get(&disk, &key).expect("whole"), Some("mended".to_owned()));
    }

    #[test]
    fn a_missing_piece_is_damage() {
        let (_folder, disk) = fresh();
        let key = keys::user(&name("ann"));
        put(&disk, &key, &"x".repeat(10_000)).expect("written");
        disk.write(|change| change.remove(keys::piece(&key, 2))).expect("removed");
        let problem = get(&disk, &key).expect_err("told");
        assert!(problem.what.contains("user ann is damaged: a piece is missing"), "{problem}");
    }

    #[test]
    fn no_piece_is_left_behind() {
        let (_folder, disk) = fresh();
        let key = keys::user(&name("ann"));
        let long = "x".repeat(10_000);
        put(&disk, &key, &long).expect("written");
        assert_eq!(raw_keys(&disk).len(), 5);
        put(&disk, &key, "short").expect("written");
        assert_eq!(raw_keys(&disk), [key.bytes()]);
        let twice = disk.write(|change| {
            change.put(key.clone(), &long)?;
            let between: Option<String> = change.get(&key)?;
            change.put(key.clone(), &"short")?;
            Ok(between)
        });
        assert_eq!(twice.expect("written"), Some(long), "a change sees its own long records");
        assert_eq!(raw_keys(&disk), [key.bytes()]);
        put(&disk, &key, &"x".repeat(10_000)).expect("written");
        disk.write(|change| change.remove(key.clone())).expect("removed");
        assert_eq!(raw_keys(&disk), [[0u8; 0]; 0]);
    }

    #[test]
    fn a_refused_change_leaves_nothing() {
        let (_folder, disk) = fresh();
        let key = keys::user(&name("ann"));
        let refused: Result<(), _> = disk.write(|change| {
            change.put(key.clone(), &"x")?;
            Err(StoreError::Sealed { what: "x".into() })
        });
        assert!(refused.is_err());
        assert_eq!(get(&disk, &key).expect("readable"), None);
    }

    #[test]
    fn after_a_failed_write_nothing_more_is_written() {
        let (_folder, disk) = fresh();
        let key = keys::user(&name("ann"));
        put(&disk, &key, "before").expect("written");
        disk.halt(&"no space left");
        let problem = Problem::from(put(&disk, &key, "after").expect_err("refused"));
        assert!(problem.what.contains("takes no more changes"), "{problem}");
        assert_eq!(get(&disk, &key).expect("still readable"), Some("before".to_owned()));
    }

    #[test]
    fn scans_keep_to_their_prefix() {
        let (_folder, disk) = fresh();
        for user in ["a", "b", "c"] {
            put(&disk, &keys::user(&name(user)), user).expect("written");
        }
        put(&disk, &keys::public_key("k"), "k").expect("written");
        let seen = |scan: Scan<'_>| -> Vec<String> {
            disk.read(|view| view.records(&keys::users(), scan).collect()).expect("readable")
        };
        assert_eq!(seen(Scan::Up), ["a", "b", "c"]);
        assert_eq!(seen(Scan::Down), ["c", "b", "a"]);
        assert_eq!(seen(Scan::DownFrom(&keys::user(&name("c")))), ["b", "a"]);
        assert_eq!(seen(Scan::DownFrom(&keys::user(&name("a")))), [""; 0]);
    }
}
