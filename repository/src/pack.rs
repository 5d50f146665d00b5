//! One stored pack and its index (gitformat-pack): where entries are, and their bytes.
//!
//! The index is mapped, the pack is read with `pread`: a pack that another program cuts short gives an error, not a
//! signal. Open handles outlive the files' names, so a retired pack stays readable. Knows nothing of other packs.

mod header;

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use gix::hash::{ObjectId, oid};
use gix::odb::pack::index;
use slipway_core::Oid;

pub(crate) use self::header::{
    EntryHeader, EntryKind, HEADER_BYTES_MAX, parse_header, write_distance, write_type_and_size,
};
use crate::doubt::Doubt;
use crate::error::{RepoError, Result};
use crate::formats::ReverseFile;
use crate::inflate::{InflateError, Source, inflate_exact, inflate_prefix};
use crate::limits::{BUFFER_BYTES, DELTA_DEPTH_MAX, HEADERS_BYTES_MIN};
use crate::mapped::Mapped;
use crate::object::Kind;
use crate::refs::Stamp;

/// A number that nothing else of this process has or had: packs and their indexes are told apart by it.
pub(crate) fn next_serial() -> u64 {
    static SERIAL: AtomicU64 = AtomicU64::new(0);
    SERIAL.fetch_add(1, Ordering::Relaxed)
}

/// A pack, open.
pub(crate) struct Pack {
    serial: u64,
    path: PathBuf,
    index_path: PathBuf,
    index: index::File<Mapped>,
    /// The index's bytes.
    bytes: Mapped,
    /// Something was found broken in it.
    doubt: Doubt,
    /// Of index and pack, as they were when opened.
    stamps: [Option<Stamp>; 2],
    file: File,
    len: u64,
    hash_len: u64,
    /// Index positions by offset; from the reverse index, or built when first asked for.
    order: OnceLock<Order>,
}

/// Index positions by offset.
enum Order {
    Stored(ReverseFile<Mapped>, Mapped),
    Built(Vec<u32>),
}

/// Bytes of an index of version 2 before its ids: magic, version, and how many ids begin with each byte.
const INDEX_HEAD_BYTES: usize = 8 + 256 * 4;
/// Marks an offset that stands in the index's table of 8-byte offsets.
const FAR_OFFSET: u32 = 1 << 31;
/// Of an index that is cut short, or whose disk fails.
const UNREADABLE: &str = "some of it cannot be read";

impl Pack {
    /// Adds the ids that begin with these hexadecimal digits to `found`, up to `max` in all.
    pub(crate) fn ids_with_prefix(&self, digits: &str, max: usize, found: &mut BTreeSet<Oid>) {
        let Ok(prefix) = gix::hash::Prefix::from_hex(digits) else { return };
        let mut range = 0..0;
        self.index.lookup_prefix(prefix, Some(&mut range));
        let ids = range.filter_map(|at| Oid::from_bytes(self.index.oid_at_index(at).as_bytes()));
        for id in ids.take(max.saturating_sub(found.len())) {
            found.insert(id);
        }
    }

    /// Opens the pack whose index is at `index_path`.
    pub(crate) fn open(index_path: &Path, hash: gix::hash::Kind) -> Result<Self> {
        let path = index_path.with_extension("pack");
        let broken = |path: &Path, why: String| RepoError::BrokenPack { path: path.to_owned(), why };
        let file = File::open(&path).map_err(RepoError::io("open", &path))?;
        let bytes = Mapped::open(index_path)?;
        let index = index::File::from_data(bytes.clone(), index_path.to_owned(), hash)
            .map_err(|e| broken(index_path, e.to_string()))?;
        // Read whole when it was parsed, and so may have been its loss.
        if bytes.is_lost() {
            return Err(broken(index_path, UNREADABLE.into()));
        }
        let facts = file.metadata().map_err(RepoError::io("read", &path))?;
        let (len, stamps) = (facts.len(), [Stamp::of(index_path)?, Some(Stamp::told_by(&facts))]);
        let hash_len = hash.len_in_bytes() as u64;
        let mut head = [0u8; 12];
        file.read_exact_at(&mut head, 0)
            .map_err(|_| broken(&path, "it is shorter than its header".into()))?;
        let count = u32::from_be_bytes([head[8], head[9], head[10], head[11]]);
        let version = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
        if &head[..4] != b"PACK" || !(2..=3).contains(&version) || len < 12 + hash_len {
            return Err(broken(&path, "it has no pack header".into()));
        }
        if count != index.num_objects() {
            return Err(broken(
                &path,
                format!("it has {count} objects and its index {}", index.num_objects()),
            ));
        }
        let serial = next_serial();
        let (doubt, order) = (Doubt::default(), OnceLock::new());
        let index_path = index_path.to_owned();
        Ok(Self { serial, path, index_path, index, bytes, doubt, stamps, file, len, hash_len, order })
    }

    /// Where its index is: what tells packs of a repository apart.
    pub(crate) fn index_path(&self) -> &Path {
        &self.index_path
    }

    /// True if something was found broken in the pack or its indexes, or some of them cannot be read.
    pub(crate) fn is_doubtful(&self) -> bool {
        self.doubt.is_raised() || self.is_lost()
    }

    /// True if the files under its names are those that are open, unchanged.
    pub(crate) fn is_as_opened(&self) -> bool {
        let now = [Stamp::of(&self.index_path), Stamp::of(&self.path)];
        now.iter().zip(&self.stamps).all(|(now, then)| matches!(now, Ok(now) if now == then))
    }

    /// True if some of its indexes cannot be read.
    pub(crate) fn is_lost(&self) -> bool {
        let of_order = |order: &Order| matches!(order, Order::Stored(_, bytes) if bytes.is_lost());
        self.bytes.is_lost() || self.order.get().is_some_and(of_order)
    }

    /// The error for indexes that cannot be read.
    pub(crate) fn unreadable(&self) -> RepoError {
        RepoError::BrokenPack { path: self.index_path.clone(), why: UNREADABLE.into() }
    }

    /// A number that no other open pack of this process has or had.
    pub(crate) fn serial(&self) -> u64 {
        self.serial
    }

    /// The `.pack` file's name and folder, as it was when opened.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where its large objects are put down for a while: in its repository's folder `slipway`.
    pub(crate) fn spool_folder(&self) -> PathBuf {
        self.path.ancestors().nth(3).unwrap_or(Path::new(".")).join("slipway")
    }

    /// Bytes of an id.
    pub(crate) fn hash_len(&self) -> usize {
        self.hash_len as usize
    }

    /// How many objects it has.
    pub(crate) fn count(&self) -> u32 {
        self.index.num_objects()
    }

    /// Where the trailer starts.
    pub(crate) fn entries_end(&self) -> u64 {
        self.len - self.hash_len
    }

    /// The object's position in the index.
    pub(crate) fn lookup(&self, id: &oid) -> Option<u32> {
        self.index.lookup(id)
    }

    /// The id at an index position below [`Pack::count`].
    pub(crate) fn id_at(&self, position: u32) -> &oid {
        self.index.oid_at_index(position)
    }

    /// The entry's offset, by index position below [`Pack::count`].
    pub(crate) fn offset_at(&self, position: u32) -> u64 {
        if self.index.version() != index::Version::V2 {
            return self.index.pack_offset_at_index(position);
        }
        let count = self.count() as usize;
        let offsets = INDEX_HEAD_BYTES + count * (self.hash_len() + 4);
        let near = self.index_number(offsets + position as usize * 4);
        if near & FAR_OFFSET == 0 {
            return u64::from(near);
        }
        // A place that a broken index tells wrong is beyond the last entry, where nothing is found.
        let row = offsets + count * 4 + (near ^ FAR_OFFSET) as usize * 8;
        u64::from(self.index_number(row)) << 32 | u64::from(self.index_number(row + 4))
    }

    /// The number at that byte of the index.
    fn index_number(&self, at: usize) -> u32 {
        let bytes = self.bytes.get(at..).and_then(|rest| rest.first_chunk());
        bytes.map_or(u32::MAX >> 1, |bytes| u32::from_be_bytes(*bytes))
    }

    fn order(&self) -> &Order {
        self.order.get_or_init(|| match self.stored_order() {
            Some((stored, bytes)) => Order::Stored(stored, bytes),
            None => {
                let mut by_offset: Vec<(u64, u32)> =
                    (0..self.count()).map(|p| (self.offset_at(p), p)).collect();
                by_offset.sort_unstable();
                Order::Built(by_offset.into_iter().map(|(_, p)| p).collect())
            }
        })
    }

    /// The reverse index, if there is one that belongs to this pack.
    fn stored_order(&self) -> Option<(ReverseFile<Mapped>, Mapped)> {
        let data = Mapped::open(&self.path.with_extension("rev")).ok()?;
        let stored = ReverseFile::parse(data.clone(), self.hash_len(), self.count()).ok()?;
        (stored.pack_checksum() == self.checksum().as_bytes()).then_some((stored, data))
    }

    /// The pack's checksum, as its index tells it.
    pub(crate) fn checksum(&self) -> ObjectId {
        self.index.pack_checksum()
    }

    /// The index position of the entry at that place in the order of the entries' offsets, below [`Pack::count`].
    pub(crate) fn at_rank(&self, rank: usize) -> u32 {
        match self.order() {
            // A reverse index that tells a wrong position makes a wrong entry, which every reader notices.
            Order::Stored(file, _) => {
                file.position(rank as u32).filter(|position| *position < self.count()).unwrap_or_default()
            }
            Order::Built(order) => order[rank],
        }
    }

    /// Where in the order of offsets the entry at `offset` stands, if one starts there.
    pub(crate) fn rank_of(&self, offset: u64) -> Option<usize> {
        let (mut low, mut high) = (0, self.count() as usize);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.offset_at(self.at_rank(middle)).cmp(&offset) {
                std::cmp::Ordering::Equal => return Some(middle),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }

    /// Where the entry after the one at rank `rank` starts (or the trailer).
    pub(crate) fn end_of_rank(&self, rank: usize) -> u64 {
        if rank + 1 < self.count() as usize {
            self.offset_at(self.at_rank(rank + 1))
        } else {
            self.entries_end()
        }
    }

    /// The checksum of an entry's bytes, as its index tells it.
    pub(crate) fn crc_at(&self, position: u32) -> Option<u32> {
        self.index.crc32_at_index(position)
    }

    /// The kinds of all its objects, in the order of offsets.
    pub(crate) fn kinds(&self, stop: &AtomicBool) -> Result<Vec<Kind>> {
        let count = self.count() as usize;
        let (mut kinds, mut bases) = (vec![None; count], vec![0u32; count]);
        let mut window = Window::default();
        for rank in 0..count {
            if stop.load(Ordering::Relaxed) {
                return Err(RepoError::Stopped);
            }
            let offset = self.offset_at(self.at_rank(rank));
            let base = match window.header(self, offset)?.kind {
                EntryKind::Whole(kind) => {
                    kinds[rank] = Some(kind);
                    continue;
                }
                EntryKind::OfsDelta(base) => Some(base),
                EntryKind::RefDelta(raw) => {
                    let id = ObjectId::from_bytes_or_panic(&raw[..self.hash_len()]);
                    self.lookup(&id).map(|position| self.offset_at(position))
                }
            };
            let base = base.and_then(|base| self.rank_of(base));
            let base = base.ok_or_else(|| self.broken(offset, "its delta's base is not in the pack"))?;
            bases[rank] = base as u32;
            kinds[rank] = kinds[base];
        }
        // Deltas that are stored before their bases.
        for rank in 0..count {
            let mut at = rank;
            for _ in 0..DELTA_DEPTH_MAX {
                if kinds[at].is_some() {
                    break;
                }
                at = bases[at] as usize;
            }
            kinds[rank] = kinds[at];
        }
        let all: Option<Vec<Kind>> = kinds.into_iter().collect();
        all.ok_or_else(|| self.broken(0, "deltas lead to no object"))
    }

    /// Reads raw bytes of the entries.
    pub(crate) fn read_raw(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        self.read_at(buffer, offset).map_err(RepoError::io("read", &self.path))
    }

    /// The same without waiting for the disk; `None` where that cannot be.
    pub(crate) fn read_now(&self, buffer: &mut [u8], offset: u64) -> Result<Option<usize>> {
        let room = usize::try_from(self.entries_end().saturating_sub(offset)).unwrap_or(usize::MAX);
        let room = room.min(buffer.len());
        read_now(&self.file, &mut buffer[..room], offset).map_err(RepoError::io("read", &self.path))
    }

    /// The checksum that the pack ends with, if its header is the one that an answer has.
    pub(crate) fn own_trailer(&self) -> Result<Option<Oid>> {
        let (mut version, mut sum) = ([0; 4], [0; 32]);
        let sum = &mut sum[..self.hash_len()];
        let read = self.file.read_exact_at(&mut version, 4);
        read.and_then(|()| self.file.read_exact_at(sum, self.entries_end()))
            .map_err(RepoError::io("read", &self.path))?;
        Ok(Oid::from_bytes(sum).filter(|_| version == [0, 0, 0, 2]))
    }

    /// Reads the header of the entry at `offset`.
    pub(crate) fn header(&self, offset: u64) -> Result<EntryHeader> {
        let mut raw = [0u8; HEADER_BYTES_MAX];
        let got = self.read_raw(&mut raw, offset)?;
        parse_header(&raw[..got], offset, self.hash_len as usize)
            .ok_or_else(|| self.broken(offset, "its header is not valid"))
    }

    /// Inflates the entry's data: the object or the delta, exactly as long as the header says.
    pub(crate) fn inflate(&self, entry: &EntryHeader, out: &mut Vec<u8>) -> Result<()> {
        inflate_exact(self, entry.data_offset, entry.size, out).map_err(|e| self.inflate_error(entry, e))
    }

    /// Inflates the data's first bytes, up to `size`.
    pub(crate) fn inflate_start(&self, entry: &EntryHeader, size: u64, out: &mut Vec<u8>) -> Result<()> {
        out.clear();
        inflate_prefix(self, entry.data_offset, size.min(entry.size), out, false)
            .map(drop)
            .map_err(|e| self.inflate_error(entry, e))
    }

    fn inflate_error(&self, entry: &EntryHeader, e: InflateError) -> RepoError {
        match e {
            InflateError::Io(source) => RepoError::io("read", &self.path)(source),
            InflateError::Broken(why) => self.broken(entry.data_offset, why),
        }
    }

    /// The error for whatever is wrong near `offset`.
    pub(crate) fn broken(&self, offset: u64, why: &str) -> RepoError {
        self.doubt.raise();
        RepoError::BrokenPack { path: self.path.clone(), why: format!("at byte {offset}, {why}") }
    }
}

impl Source for Pack {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        // The trailer is not part of any entry.
        let room = usize::try_from(self.entries_end().saturating_sub(offset))
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let mut filled = 0;
        while filled < room {
            match self.file.read_at(&mut buffer[filled..room], offset + filled as u64) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(filled)
    }
}

/// Reads entries in ascending order through one buffer, which grows as they turn out to lie close together.
#[derive(Default)]
pub(crate) struct Window {
    /// The pack that the bytes are of.
    serial: Option<u64>,
    start: u64,
    bytes: Vec<u8>,
    ahead: usize,
}

impl Window {
    /// What the header of the entry at `offset` says.
    pub(crate) fn header(&mut self, pack: &Pack, offset: u64) -> Result<EntryHeader> {
        let raw = self.at(pack, offset, HEADER_BYTES_MAX)?;
        parse_header(raw, offset, pack.hash_len())
            .ok_or_else(|| pack.broken(offset, "its header is not valid"))
    }

    /// The bytes from `start` to `end`.
    pub(crate) fn bytes(&mut self, pack: &Pack, start: u64, end: u64) -> Result<&[u8]> {
        let len = usize::try_from(end.saturating_sub(start)).unwrap_or(usize::MAX);
        let found = self.at(pack, start, len)?;
        found.get(..len).ok_or_else(|| pack.broken(start, "it ends early"))
    }

    /// What is there from `offset` on: `len` bytes or more, or all there are.
    fn at(&mut self, pack: &Pack, offset: u64, len: usize) -> Result<&[u8]> {
        let mut at = offset.wrapping_sub(self.start);
        let whole = at.checked_add(len as u64).is_some_and(|end| end <= self.bytes.len() as u64);
        if self.serial != Some(pack.serial) || offset < self.start || !whole {
            let close = self.serial == Some(pack.serial) && at < 4 * self.ahead as u64;
            self.ahead = if close { (self.ahead * 2).min(BUFFER_BYTES) } else { HEADERS_BYTES_MIN };
            // Unknown while it is read anew.
            self.serial = None;
            self.bytes.resize(self.ahead.max(len), 0);
            let got = pack.read_raw(&mut self.bytes, offset)?;
            self.bytes.truncate(got);
            (self.serial, self.start) = (Some(pack.serial), offset);
            at = 0;
        }
        Ok(self.bytes.get(at as usize..).unwrap_or_default())
    }
}

/// Reads what is in the page cache; `None` if nothing is, or the file system cannot tell.
pub(crate) fn read_now(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<Option<usize>> {
    use rustix::io::{Errno, ReadWriteFlags, preadv2};
    let mut into = [io::IoSliceMut::new(buffer)];
    match preadv2(file, &mut into, offset, ReadWriteFlags::NOWAIT) {
        Ok(got) => Ok(Some(got)),
        Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INTR) => Ok(None),
        Err(e) => Err(e.into()),
    }
}
