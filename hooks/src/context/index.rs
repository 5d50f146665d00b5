//! The index of a build context: what a work tree of the commit would hold, without the work tree.
//!
//! BuildKit fetches the files whose size, mode or time differ from what it has, and keeps times in images. So a file must
//! keep its time while its content stays, and have a later one than everything built before once it changes: `cargo`, `make`
//! and others compare it with the times of what they have made (in cache mounts), browsers with what they have. No rule
//! over the commit alone gives that, so times are remembered, as a work tree that is kept between builds would: in a file
//! beside the repository's logs, which may be lost without harm.
//!
//! The first index has the commit's time for everything; a file that came or changed later has the moment at which a build
//! met it first. Layers hold whole seconds. What the first index has below the second is anybody's guess, so that contents
//! which share path, size and second never look the same, even where the index before is lost.
//!
//! The format: records of length, body and CRC-32; the first tells what it is and the time of folders, each other one an
//! entry, in the order in which `fsutil` walks (names by their bytes, a folder before what it holds).

use std::cmp::Ordering;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use slipway_core::Oid;
use slipway_repository::Mode;

use super::{Files, join};
use crate::error::HookError;
use crate::limits::{CONTEXT_PATH_BYTES_MAX, INDEX_RECORD_BYTES_MAX};

const HEAD: &[u8] = b"slipway context 1 ";
const NANOS: u64 = 1_000_000_000;

/// One entry: a file, a link, a folder, or a submodule, which is an empty folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    /// Within the context.
    pub(crate) path: String,
    pub(crate) mode: Mode,
    pub(crate) id: Oid,
    /// Bytes; of a link those of its target, of a folder none.
    pub(crate) size: u64,
    /// Nanoseconds since 1970.
    pub(crate) mtime: i64,
}

/// Where an index is kept for the builds to come.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// The file.
    pub(crate) kept: PathBuf,
    /// Where it is written first; no other build at this moment has the same.
    pub(crate) new: PathBuf,
}

/// What times may be given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    /// The commit's, in seconds since 1970.
    pub(crate) committed: u64,
    /// Since 1970.
    pub(crate) now: Duration,
}

/// The entries of a context, in order.
#[derive(Debug)]
pub(crate) struct Index {
    store: Arc<Store>,
    items: usize,
}

#[derive(Debug)]
enum Store {
    Memory(Vec<u8>),
    File(File),
}

impl Store {
    fn read_at(&self, out: &mut [u8], at: u64) -> io::Result<usize> {
        match self {
            Self::File(file) => file.read_at(out, at),
            Self::Memory(bytes) => {
                let rest = usize::try_from(at).ok().and_then(|at| bytes.get(at..)).unwrap_or_default();
                let len = rest.len().min(out.len());
                out[..len].copy_from_slice(&rest[..len]);
                Ok(len)
            }
        }
    }
}

impl Index {
    /// Looks through the folder. Blocking.
    ///
    /// # Errors
    /// Those of the repository, and [`HookError::Context`] for a path that no file system takes.
    pub(crate) fn make(
        files: &dyn Files,
        folder: &str,
        clock: Clock,
        place: Option<&Place>,
    ) -> Result<Self, HookError> {
        let earlier = || Earlier::open(Store::File(File::open(&place?.kept).ok()?));
        if let Some(place) = place {
            match Self::kept(files, folder, Times::new(earlier(), clock), place) {
                Ok(index) => return Ok(index),
                Err(Trouble::Commit(e)) => return Err(e),
                // A disk that is full costs what would have been remembered, and not the build.
                Err(Trouble::Disk(e)) => {
                    let _ = std::fs::remove_file(&place.new);
                    tracing::warn!(error = %e, "the index of a build context cannot be kept");
                }
            }
        }
        let mut records = Vec::new();
        match fill(files, folder, Times::new(earlier(), clock), &mut records) {
            Ok(items) => Ok(Self { store: Arc::new(Store::Memory(records)), items }),
            Err(Trouble::Commit(e)) => Err(e),
            Err(Trouble::Disk(e)) => Err(broken(&e.to_string())),
        }
    }

    fn kept(files: &dyn Files, folder: &str, times: Times, place: &Place) -> Result<Self, Trouble> {
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&place.new)?;
        let mut out = BufWriter::new(file);
        let items = fill(files, folder, times, &mut out)?;
        let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        std::fs::rename(&place.new, &place.kept)?;
        Ok(Self { store: Arc::new(Store::File(file)), items })
    }

    /// An index of those files alone, which are in order: names, ids and sizes.
    pub(crate) fn of(files: &[(String, Oid, u64)], clock: Clock) -> Self {
        let mut times = Times::new(None, clock);
        let mut records = head(&times);
        for (path, id, size) in files {
            let (_, mtime) = times.of(path, Mode::File, id);
            let item = Item { path: path.clone(), mode: Mode::File, id: *id, size: *size, mtime };
            write_record(&mut records, &item.body());
        }
        Self { store: Arc::new(Store::Memory(records)), items: files.len() }
    }

    /// All entries, in order. Each has a number by which [`Index::item`] finds it again.
    pub(crate) fn items(&self) -> Items {
        let mut records = Records::new(self.store.clone(), 0);
        let _head = records.next();
        Items { records, left: self.items }
    }

    /// The entry with that number.
    pub(crate) fn item(&self, number: u64) -> Result<Item, HookError> {
        let mut one = Items { records: Records::new(self.store.clone(), number), left: 1 };
        one.next().unwrap_or_else(|| Err(broken("an entry is missing"))).map(|(_, item)| item)
    }
}

/// What keeps an index from being written.
enum Trouble {
    Commit(HookError),
    Disk(io::Error),
}

impl From<io::Error> for Trouble {
    fn from(e: io::Error) -> Self {
        Self::Disk(e)
    }
}

impl From<HookError> for Trouble {
    fn from(e: HookError) -> Self {
        Self::Commit(e)
    }
}

fn broken(why: &str) -> HookError {
    HookError::Internal { what: "reading the build context", why: why.to_owned() }
}

/// Writes the head and a record for every entry; says how many entries there are.
fn fill(files: &dyn Files, folder: &str, mut times: Times, out: &mut dyn Write) -> Result<usize, Trouble> {
    let mut record = head(&times);
    out.write_all(&record)?;
    let root = files.entry(folder)?.ok_or_else(|| HookError::NoContext { path: folder.to_owned() })?;
    let mut open = vec![(String::new(), files.folder(folder, &root.id)?.into_iter())];
    let mut items = 0;
    while let Some((inside, rest)) = open.last_mut() {
        let Some(entry) = rest.next() else {
            open.pop();
            continue;
        };
        let path = join(inside, &entry.name);
        if path.len() > CONTEXT_PATH_BYTES_MAX {
            return Err(too_long(&join(folder, &path)).into());
        }
        let (known, mtime) = times.of(&path, entry.mode, &entry.id);
        let size = match (known, entry.mode) {
            (Some(size), _) => size,
            (None, Mode::Tree | Mode::Submodule) => 0,
            (None, _) => files.size(&entry.id)?,
        };
        if entry.mode == Mode::Tree {
            open.push((path.clone(), files.folder(&join(folder, &path), &entry.id)?.into_iter()));
        }
        record.clear();
        write_record(&mut record, &Item { path, mode: entry.mode, id: entry.id, size, mtime }.body());
        out.write_all(&record)?;
        items += 1;
    }
    out.flush()?;
    Ok(items)
}

fn too_long(path: &str) -> HookError {
    HookError::Context {
        path: path.chars().take(200).collect(),
        why: format!("its path has more than {CONTEXT_PATH_BYTES_MAX} bytes"),
        cure: "Put it into fewer folders, or set build.context to one that does not hold it.".into(),
    }
}

/// Which times entries have: those of the index before where nothing changed.
struct Times {
    earlier: Option<Earlier>,
    /// Seconds since 1970.
    folders: u64,
    now: Duration,
    guess: RandomState,
}

impl Times {
    fn new(earlier: Option<Earlier>, clock: Clock) -> Self {
        let committed = clock.committed.min(clock.now.as_secs());
        let folders = earlier.as_ref().map_or(committed, |earlier| earlier.folders);
        Self { earlier, folders, now: clock.now, guess: RandomState::new() }
    }

    /// The size, if it is known, and the time. To be asked in order.
    fn of(&mut self, path: &str, mode: Mode, id: &Oid) -> (Option<u64>, i64) {
        if matches!(mode, Mode::Tree | Mode::Submodule) {
            return (None, nanos(Duration::from_secs(self.folders)));
        }
        let Some(earlier) = &mut self.earlier else {
            let below = self.guess.hash_one((path, id)) % NANOS;
            return (None, nanos(Duration::from_secs(self.folders) + Duration::from_nanos(below)));
        };
        let same = |was: &Item| was.id == *id && (was.mode == Mode::Link) == (mode == Mode::Link);
        match earlier.find(path).filter(same) {
            Some(was) => (Some(was.size), was.mtime),
            None => (None, nanos(self.now)),
        }
    }
}

fn nanos(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

/// The index before, read beside the walk.
struct Earlier {
    records: Records,
    folders: u64,
    next: Option<Item>,
}

impl Earlier {
    fn open(store: Store) -> Option<Self> {
        let mut records = Records::new(Arc::new(store), 0);
        let (_, head) = records.next()?;
        let folders = u64::from_le_bytes(head.strip_prefix(HEAD)?.try_into().ok()?);
        let mut earlier = Self { records, folders, next: None };
        earlier.step();
        Some(earlier)
    }

    /// What is broken is the end: what would follow is met as if it were new.
    fn step(&mut self) {
        self.next = self.records.next().and_then(|(_, body)| Item::read(&body));
    }

    fn find(&mut self, path: &str) -> Option<Item> {
        loop {
            match order(&self.next.as_ref()?.path, path) {
                Ordering::Less => self.step(),
                Ordering::Equal => return self.next.clone(),
                Ordering::Greater => return None,
            }
        }
    }
}

/// The order of `fsutil`: a folder, then what it holds, then what follows it.
fn order(one: &str, other: &str) -> Ordering {
    one.split('/').cmp(other.split('/'))
}

/// Entries one after the other.
pub(crate) struct Items {
    records: Records,
    left: usize,
}

impl Iterator for Items {
    type Item = Result<(u64, Item), HookError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let read = self.records.next().and_then(|(at, body)| Some((at, Item::read(&body)?)));
        // As many as were written must come: a context that is cut off would be taken for a whole one.
        Some(read.ok_or_else(|| broken("its index is damaged")))
    }
}

/// Records one after the other, each with the place where it lies.
struct Records {
    from: BufReader<Reading>,
    at: u64,
}

struct Reading {
    store: Arc<Store>,
    at: u64,
}

impl Read for Reading {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let len = self.store.read_at(out, self.at)?;
        self.at += len as u64;
        Ok(len)
    }
}

impl Records {
    fn new(store: Arc<Store>, at: u64) -> Self {
        Self { from: BufReader::new(Reading { store, at }), at }
    }

    fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut number = [0; 4];
        self.from.read_exact(&mut number)?;
        let len = u32::from_le_bytes(number) as usize;
        if len > INDEX_RECORD_BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut body = vec![0; len];
        self.from.read_exact(&mut body)?;
        self.from.read_exact(&mut number)?;
        if u32::from_le_bytes(number) != crc32fast::hash(&body) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(body)
    }
}

impl Iterator for Records {
    type Item = (u64, Vec<u8>);

    fn next(&mut self) -> Option<Self::Item> {
        let body = self.read().ok()?;
        let at = self.at;
        self.at += body.len() as u64 + 8;
        Some((at, body))
    }
}

fn write_record(out: &mut Vec<u8>, body: &[u8]) {
    // No body is longer than INDEX_RECORD_BYTES_MAX.
    out.extend_from_slice(&(body.len() as u32).to_le_bytes());
    out.extend_from_slice(body);
    out.extend_from_slice(&crc32fast::hash(body).to_le_bytes());
}

fn head(times: &Times) -> Vec<u8> {
    let mut record = Vec::new();
    write_record(&mut record, &[HEAD, &times.folders.to_le_bytes()].concat());
    record
}

impl Item {
    fn body(&self) -> Vec<u8> {
        let id = self.id.as_bytes();
        let mut body = Vec::with_capacity(18 + id.len() + self.path.len());
        body.extend_from_slice(&[letter(self.mode), id.len() as u8]);
        body.extend_from_slice(&self.size.to_le_bytes());
        body.extend_from_slice(&self.mtime.to_le_bytes());
        body.extend_from_slice(id);
        body.extend_from_slice(self.path.as_bytes());
        body
    }

    fn read(body: &[u8]) -> Option<Self> {
        let (head, rest) = body.split_at_checked(18)?;
        let (id, path) = rest.split_at_checked(usize::from(head[1]))?;
        Some(Self {
            path: String::from_utf8(path.to_vec()).ok()?,
            mode: MODES.into_iter().find(|mode| letter(*mode) == head[0])?,
            id: Oid::from_bytes(id)?,
            size: u64::from_le_bytes(head[2..10].try_into().ok()?),
            mtime: i64::from_le_bytes(head[10..18].try_into().ok()?),
        })
    }
}

const MODES: [Mode; 5] = [Mode::Tree, Mode::File, Mode::Executable, Mode::Link, Mode::Submodule];

fn letter(mode: Mode) -> u8 {
    match mode {
        Mode::Tree => b'd',
        Mode::File => b'f',
        Mode::Executable => b'x',
        Mode::Link => b'l',
        Mode::Submodule => b's',
    }
}

#[cfg(test)]
mod tests;
