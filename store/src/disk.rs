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
//! # sled 0.34.7, knowingly
//! * `flush` writes the log and calls `sync_file_range` (`pagecache/iobuf.rs`, `write_to_log`), which neither records
//!   the file's new length nor empties the disk's write cache: it is not enough for loss of power, see
//!   sync_file_range(2). So [`Disk::settle`], the one place that flushes, calls `fdatasync` on the same file as well.
//! * Log messages above a quarter segment (128 KiB), which whole tree pages of up to ~30 values can become, go to
//!   files of their own in `blobs/`, and those are never synced. So records longer than [`PIECE_BYTES`] are cut, and no page
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
use std::ops::Bound;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::{self, CodecError, Framed};
use crate::error::StoreError;
use crate::keys::{self, Key};
use crate::limits::{
    CACHE_BYTES, CLEAN_EVERY_MS, LOCK_WAIT_MS, PIECE_BYTES, RECORD_BYTES_MAX, SEGMENT_BYTES,
};

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
        let tree = |name: &str| database.open_tree(name).map_err(|e| failed(e.to_string()));
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
        self.records.apply_batch(batch).map_err(|e| self.halt(&e))?;
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
        self.database.flush().map_err(|e| self.halt(&e))?;
        self.log.sync_data().map_err(|e| self.halt(&e))?;
        *durable = covered;
        Ok(())
    }

    /// One of the database's own facts.
    pub(crate) fn fact(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let found = self.meta.get(name).map_err(|e| self.unreadable(&e))?;
        Ok(found.map(|value| value.to_vec()))
    }

    /// Writes one of the database's own facts, durable on return.
    pub(crate) fn put_fact(&self, name: &str, value: &[u8]) -> Result<(), StoreError> {
        {
            let _turn = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
            self.check_halted()?;
            self.meta.insert(name, value).map_err(|e| self.halt(&e))?;
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
                let (key, value) = pair.map_err(|e| self.unreadable(&e))?;
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
        self.records.apply_batch(records).map_err(|e| self.halt(&e))?;
        self.meta.apply_batch(meta).map_err(|e| self.halt(&e))?;
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

    fn unreadable(&self, cause: &dyn std::fmt::Display) -> StoreError {
        StoreError::Disk { path: self.path.clone(), doing: "read", cause: cause.to_string() }
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
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("its log is damaged in a way that the engine does not understand".to_owned()),
    }
}

/// sled syncs neither the small file that has its settings nor the folder's entries.
fn sync_names(path: &Path) -> std::io::Result<()> {
    File::open(path.join("conf"))?.sync_all()?;
    File::open(path)?.sync_all()?;
    let above = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(above)?.sync_all()
}

/// The records as applied.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    disk: &'a Disk,
}

/// Where a scan begins, and which way it goes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Scan<'a> {
    /// From the first key to the last.
    Up,
    /// From the last key to the first.
    Down,
    /// From the last key before this one to the first.
    DownFrom(&'a Key),
}

impl<'a> View<'a> {
    /// The record of that key.
    pub(crate) fn get<T: DeserializeOwned>(&self, key: &Key) -> Result<Option<T>, StoreError> {
        self.raw(key)?.map(|raw| self.decode(key, &raw)).transpose()
    }

    /// True if there is a record or a mark.
    pub(crate) fn has(&self, key: &Key) -> Result<bool, StoreError> {
        self.disk.records.contains_key(key.bytes()).map_err(|e| self.disk.unreadable(&e))
    }

    /// The keys that begin with `prefix`.
    pub(crate) fn keys(
        &self,
        prefix: &Key,
        scan: Scan<'_>,
    ) -> impl Iterator<Item = Result<Key, StoreError>> + use<'a> {
        self.pairs(prefix, scan).map(|pair| pair.map(|(key, _)| key))
    }

    /// The records whose keys begin with `prefix`.
    pub(crate) fn records<T: DeserializeOwned>(
        &self,
        prefix: &Key,
        scan: Scan<'_>,
    ) -> impl Iterator<Item = Result<T, StoreError>> + use<'a, T> {
        let view = *self;
        self.pairs(prefix, scan).map(move |pair| pair.and_then(|(key, raw)| view.decode(&key, &raw)))
    }

    fn pairs(
        &self,
        prefix: &Key,
        scan: Scan<'_>,
    ) -> impl Iterator<Item = Result<(Key, sled::IVec), StoreError>> + use<'a> {
        let disk = self.disk;
        let start = Bound::Included(prefix.bytes().to_vec());
        let past = || past_prefix(prefix.bytes()).map_or(Bound::Unbounded, Bound::Excluded);
        let (end, down) = match scan {
            Scan::Up => (past(), false),
            Scan::Down => (past(), true),
            Scan::DownFrom(key) => (Bound::Excluded(key.bytes().to_vec()), true),
        };
        let mut range = disk.records.range::<Vec<u8>, _>((start, end));
        std::iter::from_fn(move || if down { range.next_back() } else { range.next() }).map(move |pair| {
            let (key, value) = pair.map_err(|e| disk.unreadable(&e))?;
            Ok((Key::from_bytes(&key), value))
        })
    }

    fn raw(&self, key: &Key) -> Result<Option<sled::IVec>, StoreError> {
        self.disk.records.get(key.bytes()).map_err(|e| self.disk.unreadable(&e))
    }

    fn decode<T: DeserializeOwned>(&self, key: &Key, raw: &[u8]) -> Result<T, StoreError> {
        decode(key, raw, |piece| self.raw(piece))
    }

    /// How many pieces lie beside that key's record.
    fn pieces_of(&self, key: &Key) -> Result<u32, StoreError> {
        let Some(raw) = self.raw(key)? else { return Ok(0) };
        match codec::unframe(key.bytes(), &raw) {
            Ok(Framed::InPieces { body_bytes, .. }) => Ok(pieces(body_bytes.min(RECORD_BYTES_MAX))),
            // A damaged record can still be replaced or removed.
            Ok(Framed::Inline(_)) | Err(_) => Ok(0),
        }
    }
}

/// What a record says; `piece` gives its pieces if it is stored in some.
fn decode<T, P>(
    key: &Key,
    raw: &[u8],
    piece: impl Fn(&Key) -> Result<Option<P>, StoreError>,
) -> Result<T, StoreError>
where
    T: DeserializeOwned,
    P: AsRef<[u8]>,
{
    let broken = |cause: CodecError| StoreError::Record { what: key.to_string(), cause };
    let damaged = |why| broken(CodecError::Damaged { why });
    let (body_bytes, checksum) = match codec::unframe(key.bytes(), raw).map_err(broken)? {
        Framed::Inline(body) => return codec::from_body(body).map_err(broken),
        Framed::InPieces { body_bytes, checksum } => (body_bytes, checksum),
    };
    if body_bytes > RECORD_BYTES_MAX {
        return Err(damaged("its length is too large"));
    }
    let mut body = Vec::with_capacity(body_bytes);
    for number in 0..pieces(body_bytes) {
        let found = piece(&keys::piece(key, number))?.ok_or_else(|| damaged("a piece is missing"))?;
        body.extend_from_slice(found.as_ref());
        if body.len() > body_bytes {
            return Err(damaged("its pieces are too long"));
        }
    }
    codec::check(key.bytes(), &body, checksum).map_err(broken)?;
    codec::from_body(&body).map_err(broken)
}

fn pieces(body_bytes: usize) -> u32 {
    u32::try_from(body_bytes.div_ceil(PIECE_BYTES)).unwrap_or(u32::MAX)
}

/// The first key after all that begin with `prefix`.
fn past_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|&b| b != u8::MAX)?;
    let mut past = prefix.get(..=last)?.to_vec();
    if let Some(byte) = past.last_mut() {
        *byte += 1;
    }
    Some(past)
}

/// A change in the making: reads of one record see its own writes, scans do not.
pub(crate) struct Change<'a> {
    view: View<'a>,
    writes: BTreeMap<Key, Option<Vec<u8>>>,
}

impl<'a> Change<'a> {
    /// The records as they were before this change.
    pub(crate) fn before(&self) -> View<'a> {
        self.view
    }

    /// The record of that key.
    pub(crate) fn get<T: DeserializeOwned>(&self, key: &Key) -> Result<Option<T>, StoreError> {
        match self.writes.get(key) {
            Some(None) => Ok(None),
            Some(Some(raw)) => decode(key, raw, |piece| self.staged(piece)).map(Some),
            None => self.view.get(key),
        }
    }

    fn staged(&self, key: &Key) -> Result<Option<Vec<u8>>, StoreError> {
        match self.writes.get(key) {
            Some(written) => Ok(written.clone()),
            None => Ok(self.view.raw(key)?.map(|raw| raw.to_vec())),
        }
    }

    /// True if there is a record or a mark.
    pub(crate) fn has(&self, key: &Key) -> Result<bool, StoreError> {
        match self.writes.get(key) {
            Some(written) => Ok(written.is_some()),
            None => self.view.has(key),
        }
    }

    /// Writes a record; gives its size in bytes.
    pub(crate) fn put<T: Serialize>(&mut self, key: Key, value: &T) -> Result<usize, StoreError> {
        let body =
            codec::to_body(value).map_err(|cause| StoreError::Record { what: key.to_string(), cause })?;
        let bytes = body.len();
        if bytes > RECORD_BYTES_MAX {
            return Err(StoreError::RecordTooLarge { what: key.to_string(), bytes, max: RECORD_BYTES_MAX });
        }
        self.remove_pieces(&key)?;
        let has = if bytes > PIECE_BYTES { pieces(bytes) } else { 0 };
        if has == 0 {
            let raw = codec::frame_inline(key.bytes(), &body);
            self.writes.insert(key, Some(raw));
            return Ok(bytes);
        }
        for (number, piece) in (0..has).zip(body.chunks(PIECE_BYTES)) {
            self.writes.insert(keys::piece(&key, number), Some(piece.to_vec()));
        }
        let raw = codec::frame_in_pieces(key.bytes(), &body);
        self.writes.insert(key, Some(raw));
        Ok(bytes)
    }

    /// Writes a mark.
    pub(crate) fn mark(&mut self, key: Key) {
        self.writes.insert(key, Some(Vec::new()));
    }

    /// Removes a record or a mark; fine if there is none.
    pub(crate) fn remove(&mut self, key: Key) -> Result<(), StoreError> {
        self.remove_pieces(&key)?;
        self.writes.insert(key, None);
        Ok(())
    }

    /// Removes the pieces that the record has by now, on disk or in this change.
    fn remove_pieces(&mut self, key: &Key) -> Result<(), StoreError> {
        for number in 0..self.view.pieces_of(key)? {
            self.writes.insert(keys::piece(key, number), None);
        }
        let (first, last) = (keys::piece(key, 0), keys::piece(key, u32::MAX));
        for (_, staged) in self.writes.range_mut(first..=last) {
            *staged = None;
        }
        Ok(())
    }
}
