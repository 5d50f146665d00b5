//! The only file that speaks to sled: opens it, reads records, changes them all-or-nothing, and makes changes durable.
//! Knows bytes and keys, not what the records say. As an engine it is shown in `engine/embedded.rs`.
//!
//! # What is promised
//! * [`Disk::change`] applies all of a change or nothing of it, and when it returns `Ok`, the change survives `kill -9`
//!   and loss of power (as far as the disk keeps what it has acknowledged to `fsync`).
//! * A reader inside [`Disk::look`] sees no half-applied change. It may see one that is applied and about to be
//!   durable; whoever asked for that change has no answer yet.
//! * Changes are made one after another; they are made durable together: while one `fsync` runs, later changes are
//!   applied, and the next `fsync` covers all of them.
//! * [`Disk::open`] gives back every change that was acknowledged, or refuses ([`StoreError::Damaged`]) and leaves the files as
//!   they were: the records must add up to their seal (`seal.rs`), and the seal must be as new as the witness says
//!   (`witness.rs`). A torn end, of a change that nobody was told of, is no damage.
//! * A change that finds no room is refused before sled hears of it (`room.rs`).
//! * After a failed write nothing more is written to these files ([`StoreError::Halted`]): what is in memory may be ahead of
//!   the disk, and a second `fsync` would claim success for pages that the kernel has already dropped. Once there is room
//!   again they are copied, and the copy is opened as at a start, within the process (`mend.rs`). Until then what is in
//!   memory can be read.
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
//! * It takes the first damaged spot of its log for the end, drops what follows, and writes on from there; on other kinds of
//!   damage it panics or never ends. `opening.rs` is the answer to that.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::ErrorKind;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Instant;

use self::copying::Copying;
use self::mend::Trouble;
use self::opening::{DATA_FILE, Folder, Refusal, open_sled};
use self::seal::{SEAL_KEY, Seal};
use self::witness::Witness;
use crate::engine::{Batch, Tree};
use crate::error::StoreError;
use crate::keys::Key;
use crate::limits::PROBE_EVERY;

mod copying;
mod mend;
mod opening;
mod room;
mod seal;
#[cfg(test)]
mod tests;
mod verify;
mod witness;

/// The database's own fact that is written to see whether it can be.
const PROBE_FACT: &str = "probe";

/// A database.
pub(crate) struct Disk {
    path: PathBuf,
    /// Held for writing only while a change is applied, or while the files are opened anew; `None` if that has failed.
    view: RwLock<Option<Arc<Open>>>,
    /// What all records come to. Held from the first look of a change until it is applied.
    writer: Mutex<Seal>,
    /// How many changes are applied, facts included.
    applied: AtomicU64,
    /// How many changes of records are: what the seal says.
    sealed: AtomicU64,
    /// How many of those applied are durable. Held while flushing.
    durable: Mutex<Durable>,
    /// A write has failed since the files were opened.
    halted: AtomicBool,
    trouble: Mutex<Trouble>,
    /// A copy of everything that is under way; looked at with the turn to change something.
    copying: Mutex<Option<Copying>>,
    /// Held by whoever copies everything: one at a time.
    copies: Mutex<()>,
    /// The last to go: what keeps other processes away.
    folder: Option<Folder>,
}

/// Its open files.
struct Open {
    /// The how-manieth opening of this process this is.
    opening: u64,
    database: sled::Db,
    records: sled::Tree,
    meta: sled::Tree,
    /// sled's own data file, for `fdatasync`.
    log: File,
    witness: Witness,
}

/// How far changes are on disk.
#[derive(Default)]
struct Durable {
    /// Counts up when the files are opened anew: what was applied before that and is not durable is lost.
    opening: u64,
    changes: u64,
    /// When the disk last took one.
    at: Option<Instant>,
}

impl Disk {
    /// Opens the database in `path`. Waits a moment for another process to let go of it.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] where it is not all that was acknowledged; then its files are as they were.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let folder = Folder::take(path)?;
        if folder.is_new()? {
            return Err(StoreError::Damaged { path: path.to_owned(), cause: "it is missing".to_owned() });
        }
        let (open, seal) = Open::carefully(&folder, path)?;
        Ok(Self { folder: Some(folder), ..Self::of(path, open, seal) })
    }

    /// True if there is no database in `path`, nor anything of one.
    ///
    /// # Errors
    /// [`StoreError::Locked`] while another process has it.
    pub(crate) fn is_new(path: &Path) -> Result<bool, StoreError> {
        Folder::take(path)?.is_new()
    }

    /// Makes a database in `path`: what `fill` writes, or none. What lies there already is moved to `PATH.ASIDE`; without `aside`
    /// it is refused.
    pub(crate) fn make<T>(
        path: &Path,
        aside: Option<&str>,
        fill: impl FnOnce(&Self) -> Result<T, StoreError>,
    ) -> Result<(T, Option<PathBuf>), StoreError> {
        let folder = Folder::take(path)?;
        let taken = !folder.is_new()?;
        if taken && aside.is_none() {
            return Err(StoreError::Taken { path: path.to_owned() });
        }
        let draft = folder.draft()?;
        let (open, seal) = Open::assemble(&draft, Origin::New)?;
        let disk = Self::of(&draft, open, seal);
        let made = fill(&disk)?;
        drop(disk);
        let moved = aside.filter(|_| taken).map(|suffix| folder.move_away(suffix)).transpose()?;
        folder.publish()?;
        Ok((made, moved))
    }

    /// What can be read of a damaged database's records, from a copy that goes again. The folder stays as it is.
    pub(crate) fn leftovers(
        path: &Path,
        mut each: impl FnMut(&[u8], &[u8]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let unreadable = |cause: String| StoreError::Damaged { path: path.to_owned(), cause };
        let copy = opening::Copy::of(path)?;
        let opened = open_sled(copy.path()).or_else(|_| {
            // A snapshot that speaks of more than the log has makes sled give up; without it sled reads the log from its beginning.
            copy.renew_without_snapshots(path).map_err(|e| Refusal::System(e.to_string()))?;
            open_sled(copy.path())
        });
        let database = opened.map_err(|refusal| match refusal {
            Refusal::Damaged(cause) | Refusal::System(cause) => unreadable(cause),
        })?;
        let records = database.open_tree("records").map_err(|e| unreadable(plain(e)))?;
        // What cannot be read ends the walk: sled finds no way past it.
        for (key, value) in records.iter().map_while(Result::ok) {
            if key != SEAL_KEY {
                each(&key, &value)?;
            }
        }
        Ok(())
    }

    fn of(path: &Path, open: Open, seal: Seal) -> Self {
        Self {
            path: path.to_owned(),
            view: RwLock::new(Some(Arc::new(open))),
            writer: Mutex::new(seal),
            applied: AtomicU64::new(0),
            sealed: AtomicU64::new(seal.changes),
            durable: Mutex::default(),
            halted: AtomicBool::new(false),
            trouble: Mutex::default(),
            copying: Mutex::default(),
            copies: Mutex::default(),
            folder: None,
        }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Looks at the records; no change is applied meanwhile.
    pub(crate) fn look<T>(
        &self,
        look: impl FnOnce(Records<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        for _ in 0..2 {
            let still = self.view.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(open) = &*still {
                return look(Records { disk: self, open });
            }
            drop(still);
            self.writable(&mut self.turn())?;
        }
        Err(self.halted())
    }

    /// Prepares a change and applies it, durable on return. Where `prepare` fails, nothing is changed. Also where it
    /// changes nothing, what it has seen is durable on return.
    pub(crate) fn change(
        &self,
        prepare: impl FnOnce(Records<'_>) -> Result<Batch, StoreError>,
    ) -> Result<(), StoreError> {
        let opening = {
            let mut seal = self.turn();
            let open = self.writable(&mut seal)?;
            let writes = prepare(Records { disk: self, open: &open })?;
            self.apply(
                &open,
                &mut seal,
                writes.into_iter().map(|(key, value)| (key.into_bytes(), value)).collect(),
            )?;
            open.opening
        };
        self.settle(opening)
    }

    /// Asks whether a change would be taken now: one was just now, or one is made that changes no record. Mends what an
    /// earlier failure has left, if it is time to.
    pub(crate) fn check_writable(&self) -> Result<(), StoreError> {
        let fresh = |durable: &Durable| durable.at.is_some_and(|at| at.elapsed() < PROBE_EVERY);
        if !self.halted.load(Ordering::SeqCst)
            && fresh(&self.durable.lock().unwrap_or_else(PoisonError::into_inner))
        {
            return Ok(());
        }
        self.put_fact(PROBE_FACT, b"")
    }

    /// The turn to change something. A thread that panicked with it has applied nothing, or has halted the database.
    fn turn(&self) -> MutexGuard<'_, Seal> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Applies all of it or nothing, with the seal that it leads to.
    fn apply(
        &self,
        open: &Open,
        seal: &mut Seal,
        writes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    ) -> Result<(), StoreError> {
        if writes.is_empty() {
            return Ok(());
        }
        room::check(&self.path, &writes).map_err(|e| self.no_room(&e))?;
        let mut next = *seal;
        next.changes += 1;
        let (mut batch, mut keys) = (sled::Batch::default(), Vec::with_capacity(writes.len()));
        for (key, value) in writes {
            let key = sled::IVec::from(key);
            keys.push(key.clone());
            let old = open.records.get(&key).map_err(|e| self.unreadable(e))?;
            self.note_before(&key, old.as_deref());
            if let Some(old) = old {
                next.take(&key, &old);
            }
            match value {
                Some(value) => {
                    next.add(&key, &value);
                    batch.insert(key, value);
                }
                None => batch.remove(key),
            }
        }
        batch.insert(SEAL_KEY, next.to_bytes().as_slice());
        let _alone = self.view.write().unwrap_or_else(PoisonError::into_inner);
        let _half_done = HaltOnPanic(&self.halted);
        open.records.apply_batch(batch).map_err(|e| self.halt(&plain(e)))?;
        // Pages that are too large now are split while they can be written: later readers would have to.
        for key in keys {
            open.records.contains_key(&key).map_err(|e| self.halt(&plain(e)))?;
        }
        *seal = next;
        self.sealed.store(next.changes, Ordering::SeqCst);
        self.applied.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    /// Makes every change that is applied by now durable: the one place that flushes. `opening` is that of the files in which
    /// the caller's was applied.
    fn settle(&self, opening: u64) -> Result<(), StoreError> {
        let wanted = self.applied.load(Ordering::SeqCst);
        let mut durable = self.durable.lock().unwrap_or_else(PoisonError::into_inner);
        if durable.opening != opening {
            return Err(self.halted());
        }
        if durable.changes >= wanted {
            return Ok(());
        }
        // Taken under the lock: whoever opens the files anew holds it.
        let open =
            self.opened().filter(|_| !self.halted.load(Ordering::SeqCst)).ok_or_else(|| self.halted())?;
        let (covered, sealed) = (self.applied.load(Ordering::SeqCst), self.sealed.load(Ordering::SeqCst));
        open.settle(sealed).map_err(|e| self.halt(&e))?;
        (durable.changes, durable.at) = (covered, Some(Instant::now()));
        Ok(())
    }

    /// One of the database's own facts.
    pub(crate) fn fact(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.look(|records| {
            let found = records.open.meta.get(name).map_err(|e| self.unreadable(e))?;
            Ok(found.map(|value| value.to_vec()))
        })
    }

    /// Writes one of the database's own facts, durable on return.
    pub(crate) fn put_fact(&self, name: &str, value: &[u8]) -> Result<(), StoreError> {
        let opening = {
            let mut seal = self.turn();
            let open = self.writable(&mut seal)?;
            room::for_bytes(&self.path, value.len()).map_err(|e| self.no_room(&e))?;
            open.meta.insert(name, value).map_err(|e| self.halt(&plain(e)))?;
            self.applied.fetch_add(1, Ordering::SeqCst);
            open.opening
        };
        self.settle(opening)
    }

    /// Writes facts and records as they are, durable on return.
    pub(crate) fn put_raw(&self, pairs: Vec<(Tree, Vec<u8>, Vec<u8>)>) -> Result<(), StoreError> {
        let mut seal = self.turn();
        let open = self.writable(&mut seal)?;
        let (mut records, mut meta) = (BTreeMap::new(), sled::Batch::default());
        for (tree, key, value) in pairs {
            match tree {
                Tree::Records => drop(records.insert(key, Some(value))),
                Tree::Meta => meta.insert(key, value),
            }
        }
        self.apply(&open, &mut seal, records)?;
        open.meta.apply_batch(meta).map_err(|e| self.halt(&plain(e)))?;
        self.applied.fetch_add(1, Ordering::SeqCst);
        let opening = open.opening;
        drop((open, seal));
        self.settle(opening)
    }

    /// The open files, if they are.
    fn opened(&self) -> Option<Arc<Open>> {
        self.view.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn halted(&self) -> StoreError {
        let cause = self.trouble.lock().unwrap_or_else(PoisonError::into_inner).cause.clone();
        StoreError::Halted { path: self.path.clone(), cause }
    }

    fn halt(&self, cause: &dyn std::fmt::Display) -> StoreError {
        self.halted.store(true, Ordering::SeqCst);
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).cause = cause.to_string();
        tracing::error!(path = %self.path.display(), %cause, "the database cannot be written");
        StoreError::Disk { path: self.path.clone(), doing: "written", cause: cause.to_string() }
    }

    fn no_room(&self, cause: &std::io::Error) -> StoreError {
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

impl Open {
    /// Opens a database so that what is not whole stays as it is; and says what its records come to.
    fn carefully(folder: &Folder, path: &Path) -> Result<(Self, Seal), StoreError> {
        folder.set_aside()?;
        let opened = Self::assemble(path, Origin::There).and_then(|opened| folder.keep().map(|()| opened));
        opened.inspect_err(|_| {
            if let Err(e) = folder.put_back() {
                tracing::error!(path = %path.display(), error = %e, "the database's files cannot be put back as they were");
            }
        })
    }

    /// Opens the files and looks at them.
    fn assemble(path: &Path, origin: Origin) -> Result<(Self, Seal), StoreError> {
        let failed = |cause: String| StoreError::Disk { path: path.to_owned(), doing: "opened", cause };
        let database = open_sled(path).map_err(|refusal| match refusal {
            Refusal::Damaged(cause) => StoreError::Damaged { path: path.to_owned(), cause },
            Refusal::System(cause) => failed(cause),
        })?;
        let tree = |name: &str| database.open_tree(name).map_err(|e| failed(plain(e)));
        let (records, meta) = (tree("records")?, tree("meta")?);
        let log = File::open(path.join(DATA_FILE)).map_err(|e| failed(e.to_string()))?;
        let (seal, witness) =
            verify::Files { path, database: &database, records: &records, meta: &meta, log: &log }
                .check(origin)?;
        let open = Self { opening: 0, database, records, meta, log, witness };
        open.settle(seal.changes).map_err(failed)?;
        sync_names(path).map_err(|e| failed(e.to_string()))?;
        Ok((open, seal))
    }

    /// Makes all that is applied durable, and says so to the witness. An error says why that cannot be.
    fn settle(&self, changes: u64) -> Result<(), String> {
        self.database.flush().map_err(plain)?;
        self.log.sync_data().map_err(|e| e.to_string())?;
        self.witness.write(changes).map_err(|e| e.to_string())
    }
}

/// The records as applied.
#[derive(Clone, Copy)]
pub(crate) struct Records<'a> {
    disk: &'a Disk,
    open: &'a Open,
}

impl<'a> Records<'a> {
    /// The value of that key.
    pub(crate) fn value(self, key: &Key) -> Result<Option<sled::IVec>, StoreError> {
        self.open.records.get(key.bytes()).map_err(|e| self.disk.unreadable(e))
    }

    /// True if the key is there.
    pub(crate) fn there(self, key: &Key) -> Result<bool, StoreError> {
        self.open.records.contains_key(key.bytes()).map_err(|e| self.disk.unreadable(e))
    }

    /// The keys between two bounds with their values.
    pub(crate) fn pairs(
        self,
        bounds: (Bound<Vec<u8>>, Bound<Vec<u8>>),
    ) -> impl DoubleEndedIterator<Item = Result<(Key, Vec<u8>), StoreError>> + use<'a> {
        let disk = self.disk;
        self.open.records.range::<Vec<u8>, _>(bounds).map(move |pair| {
            let (key, value) = pair.map_err(|e| disk.unreadable(e))?;
            Ok((Key::from_bytes(&key), value.to_vec()))
        })
    }
}

/// Where the files come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// They are made just now.
    New,
    /// They lay there.
    There,
}

/// sled's own words show the operating system's error in Rust's debug form; its kind reads better.
fn plain(error: sled::Error) -> String {
    match error {
        sled::Error::Io(e) if e.raw_os_error().is_some() || e.kind() == ErrorKind::Other => e.to_string(),
        sled::Error::Io(e) => e.kind().to_string(),
        sled::Error::Corruption { .. } | sled::Error::Unsupported(_) => {
            "what can be read is not what was written".to_owned()
        }
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
