//! One stored pack and its index (gitformat-pack): where entries are, and their bytes.
//!
//! The index is mapped, the pack is read with `pread`: a pack that another program cuts short gives an error, not a
//! signal. Open handles outlive the files' names, so a retired pack stays readable. Knows nothing of other packs.

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

use crate::error::{RepoError, Result};
use crate::formats::ReverseFile;
use crate::inflate::{InflateError, Source, inflate_exact, inflate_prefix};
use crate::limits::{BUFFER_BYTES, DELTA_DEPTH_MAX, HEADERS_BYTES_MIN};
use crate::mapped::Mapped;
use crate::object::Kind;

/// A number that nothing else of this process has or had: packs and their indexes are told apart by it.
pub(crate) fn next_serial() -> u64 {
    static SERIAL: AtomicU64 = AtomicU64::new(0);
    SERIAL.fetch_add(1, Ordering::Relaxed)
}

/// A pack, open.
pub(crate) struct Pack {
    serial: u64,
    path: PathBuf,
    index: index::File<gix::odb::pack::MMap>,
    file: File,
    len: u64,
    hash_len: u64,
    /// Index positions by offset; from the reverse index, or built when first asked for.
    order: OnceLock<Order>,
}

/// Index positions by offset.
enum Order {
    Stored(ReverseFile<Mapped>),
    Built(Vec<u32>),
}

/// What an entry's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EntryKind {
    /// A whole object.
    Whole(Kind),
    /// A delta against the entry at this offset.
    OfsDelta(u64),
    /// A delta against the object whose id starts at this offset.
    RefDelta([u8; 32]),
}

/// An entry's header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EntryHeader {
    pub(crate) kind: EntryKind,
    /// Inflated size in bytes: of the object, or of the delta itself.
    pub(crate) size: u64,
    /// Where the compressed bytes start.
    pub(crate) data_offset: u64,
}

/// Longest entry header: ten bytes of size, then ten of distance or 32 of id.
pub(crate) const HEADER_BYTES_MAX: usize = 10 + 32;

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
        // Opened first: gone files are told apart from broken ones.
        File::open(index_path).map_err(RepoError::io("open", index_path))?;
        let file = File::open(&path).map_err(RepoError::io("open", &path))?;
        let index = index::File::at(index_path, hash).map_err(|e| broken(index_path, e.to_string()))?;
        let len = file.metadata().map_err(RepoError::io("read", &path))?.len();
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
        Ok(Self { serial, path, index, file, len, hash_len, order: OnceLock::new() })
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
        self.index.pack_offset_at_index(position)
    }

    fn order(&self) -> &Order {
        self.order.get_or_init(|| match self.stored_order() {
            Some(stored) => Order::Stored(stored),
            None => {
                let mut by_offset: Vec<(u64, u32)> =
                    (0..self.count()).map(|p| (self.offset_at(p), p)).collect();
                by_offset.sort_unstable();
                Order::Built(by_offset.into_iter().map(|(_, p)| p).collect())
            }
        })
    }

    /// The reverse index, if there is one that belongs to this pack.
    fn stored_order(&self) -> Option<ReverseFile<Mapped>> {
        let data = Mapped::open(&self.path.with_extension("rev")).ok()?;
        let stored = ReverseFile::parse(data, self.hash_len(), self.count()).ok()?;
        (stored.pack_checksum() == self.checksum().as_bytes()).then_some(stored)
    }

    /// The pack's checksum, as its index tells it.
    pub(crate) fn checksum(&self) -> ObjectId {
        self.index.pack_checksum()
    }

    /// The index position of the entry at that place in the order of the entries' offsets, below [`Pack::count`].
    pub(crate) fn at_rank(&self, rank: usize) -> u32 {
        match self.order() {
            // A reverse index that tells a wrong position makes a wrong entry, which every reader notices.
            Order::Stored(file) => {
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

/// Reads an entry's header from the bytes at `offset`.
pub(crate) fn parse_header(raw: &[u8], offset: u64, hash_len: usize) -> Option<EntryHeader> {
    let first = *raw.first()?;
    let mut size = u64::from(first & 0x0f);
    let mut at = 1;
    let mut shift = 4;
    let mut more = first & 0x80 != 0;
    while more {
        let byte = *raw.get(at)?;
        let part = u64::from(byte & 0x7f);
        if shift > 57 && part >> (64 - shift) != 0 {
            return None;
        }
        size |= part << shift;
        shift += 7;
        at += 1;
        more = byte & 0x80 != 0;
        if more && shift > 63 {
            return None;
        }
    }
    let kind = match first >> 4 & 7 {
        1 => EntryKind::Whole(Kind::Commit),
        2 => EntryKind::Whole(Kind::Tree),
        3 => EntryKind::Whole(Kind::Blob),
        4 => EntryKind::Whole(Kind::Tag),
        6 => {
            let mut byte = *raw.get(at)?;
            at += 1;
            let mut distance = u64::from(byte & 0x7f);
            while byte & 0x80 != 0 {
                byte = *raw.get(at)?;
                at += 1;
                distance = distance.checked_add(1)?.checked_mul(128)?.checked_add(u64::from(byte & 0x7f))?;
            }
            if distance == 0 {
                return None;
            }
            EntryKind::OfsDelta(offset.checked_sub(distance)?)
        }
        7 => {
            let mut id = [0u8; 32];
            id[..hash_len].copy_from_slice(raw.get(at..at + hash_len)?);
            at += hash_len;
            EntryKind::RefDelta(id)
        }
        _ => return None,
    };
    Some(EntryHeader { kind, size, data_offset: offset + at as u64 })
}

/// Appends an entry's type and size.
pub(crate) fn write_type_and_size(code: u8, size: u64, out: &mut Vec<u8>) {
    let mut byte = code << 4 | (size & 0x0f) as u8;
    let mut rest = size >> 4;
    while rest != 0 {
        out.push(byte | 0x80);
        byte = (rest & 0x7f) as u8;
        rest >>= 7;
    }
    out.push(byte);
}

/// Appends the distance of an offset delta.
pub(crate) fn write_distance(distance: u64, out: &mut Vec<u8>) {
    let mut bytes = [0u8; 10];
    let mut at = bytes.len() - 1;
    let mut rest = distance;
    bytes[at] = (rest & 0x7f) as u8;
    rest >>= 7;
    while rest != 0 {
        rest -= 1;
        at -= 1;
        bytes[at] = 0x80 | (rest & 0x7f) as u8;
        rest >>= 7;
    }
    out.extend_from_slice(&bytes[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_survive_their_bytes() {
        for size in [0, 1, 15, 16, 2047, 2048, 1 << 20, 1 << 40, u64::MAX] {
            let mut raw = Vec::new();
            write_type_and_size(3, size, &mut raw);
            let header = parse_header(&raw, 7, 20).expect("valid");
            assert_eq!((header.kind, header.size), (EntryKind::Whole(Kind::Blob), size));
            for distance in [1, 127, 128, 16511, 16512, 1 << 33] {
                let mut raw = Vec::new();
                write_type_and_size(6, size, &mut raw);
                write_distance(distance, &mut raw);
                let header = parse_header(&raw, 1 << 40, 20).expect("valid");
                assert_eq!(header.kind, EntryKind::OfsDelta((1 << 40) - distance));
                assert_eq!(header.data_offset, (1 << 40) + raw.len() as u64);
                for cut in 0..raw.len() {
                    assert!(parse_header(&raw[..cut], 1 << 40, 20).is_none());
                }
            }
        }
        assert!(parse_header(&[0x60, 9], 4, 20).is_none(), "a base before the file");
        assert!(parse_header(&[0xff; 42], 4, 20).is_none());
    }
}
