//! The multi-pack index: one sorted table of the objects of many packs, each in one pack of those that have it
//! (gitformat-pack). Version 1, and version 2, which differs in that its packs may stand in any order.
//!
//! Bits of its bitmaps number the objects in *pseudo-pack* order: the packs one after another, the preferred one first,
//! the objects of each by their offset. The table `RIDX` tells the position in the index of each bit.

use std::cmp::Ordering;
use std::ops::{Deref, Range};

use super::checksum::verify;
use super::fanout::{FANOUT_BYTES, Fanout};
use super::{Broken, hash_number, u32_at, u64_at};

pub(super) const HEAD_BYTES: usize = 12;
pub(super) const CHUNK_ROW_BYTES: usize = 12;
/// With a table of far offsets, this bit marks an offset's row in it.
pub(super) const FAR: u32 = 1 << 31;

/// A multi-pack index, open.
pub(crate) struct Midx<D> {
    data: D,
    hash_len: usize,
    ids: Fanout,
    /// Where each pack's name is.
    names: Vec<Range<usize>>,
    offsets: Range<usize>,
    far: Option<Range<usize>>,
    bits: Option<Range<usize>>,
    bitmapped: Option<Range<usize>>,
}

/// Where an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// Which pack, as [`Midx::pack_name`] numbers them.
    pub(crate) pack: u32,
    /// Where its entry starts in that pack.
    pub(crate) offset: u64,
    /// The position of its id among the ids.
    pub(crate) position: u32,
}

/// The chunks of a file by their names.
struct Chunks {
    rows: Vec<([u8; 4], Range<usize>)>,
}

impl Chunks {
    /// Reads the table of contents, which ends the `HEAD_BYTES` of the file's head; the chunks end before the checksum.
    fn parse(data: &[u8], count: u8, hash_len: usize) -> Result<Self, Broken> {
        let row = |n: usize| {
            let at = HEAD_BYTES + n * CHUNK_ROW_BYTES;
            let name: [u8; 4] = *data.get(at..)?.first_chunk()?;
            Some((name, usize::try_from(u64_at(data, at + 4)?).ok()?))
        };
        const CUT: Broken = Broken("its table of contents is cut short");
        const WRONG: Broken = Broken("its table of contents is not in order");
        let count = usize::from(count);
        let mut rows: Vec<([u8; 4], Range<usize>)> = Vec::with_capacity(count);
        let mut start = HEAD_BYTES + (count + 1) * CHUNK_ROW_BYTES;
        let last = data.len().checked_sub(hash_len).ok_or(CUT)?;
        for n in 0..count {
            let ((name, from), (_, to)) = (row(n).ok_or(CUT)?, row(n + 1).ok_or(CUT)?);
            if from < start || to < from || to > last || name == [0; 4] {
                return Err(WRONG);
            }
            if rows.iter().any(|(other, _)| *other == name) {
                return Err(Broken("it has a chunk twice"));
            }
            rows.push((name, from..to));
            start = to;
        }
        if row(count).ok_or(CUT)?.0 != [0; 4] { Err(WRONG) } else { Ok(Self { rows }) }
    }

    fn find(&self, name: &[u8; 4]) -> Option<Range<usize>> {
        self.rows.iter().find(|(other, _)| other == name).map(|(_, range)| range.clone())
    }

    fn must(&self, name: &[u8; 4]) -> Result<Range<usize>, Broken> {
        self.find(name).ok_or(Broken("it lacks a chunk that it must have"))
    }

    /// A chunk that must have so many bytes if it is there.
    fn sized(&self, name: &[u8; 4], len: u64) -> Result<Option<Range<usize>>, Broken> {
        match self.find(name) {
            Some(range) if range.len() as u64 != len => Err(Broken("a chunk is not as long as it must be")),
            found => Ok(found),
        }
    }
}

impl<D: Deref<Target = [u8]>> Midx<D> {
    /// Looks at the head of the file and the names of its packs.
    pub(crate) fn parse(data: D, hash_len: usize) -> Result<Self, Broken> {
        let head: &[u8; HEAD_BYTES] = data.first_chunk().ok_or(Broken("it is too short"))?;
        if !head.starts_with(b"MIDX") || !matches!(head[4], 1 | 2) {
            return Err(Broken("it is not a multi-pack index of version 1 or 2"));
        }
        if u32::from(head[5]) != hash_number(hash_len) {
            return Err(Broken("it is for ids of another hash"));
        }
        if head[7] != 0 {
            return Err(Broken("it builds on other multi-pack indexes, which is not supported"));
        }
        let packs = u32_at(&data, 8).unwrap_or(0);
        let chunks = Chunks::parse(&data, head[6], hash_len)?;
        let (counts, ids_at) = (chunks.must(b"OIDF")?, chunks.must(b"OIDL")?);
        if counts.len() != FANOUT_BYTES {
            return Err(Broken("a chunk is not as long as it must be"));
        }
        let ids = Fanout::parse(&data, counts.start, ids_at.start, hash_len)?;
        let count = u64::from(ids.count());
        chunks.sized(b"OIDL", count * hash_len as u64)?;
        let offsets = chunks.sized(b"OOFF", count * 8)?.ok_or(Broken("it lacks the chunk of offsets"))?;
        Ok(Self {
            names: pack_names(&data, chunks.must(b"PNAM")?, packs)?,
            far: chunks.find(b"LOFF"),
            bits: chunks.sized(b"RIDX", count * 4)?,
            bitmapped: chunks.sized(b"BTMP", u64::from(packs) * 8)?,
            data,
            hash_len,
            ids,
            offsets,
        })
    }

    /// How many objects it has.
    pub(crate) fn count(&self) -> u32 {
        self.ids.count()
    }

    /// How many packs it is over.
    pub(crate) fn packs(&self) -> u32 {
        self.names.len() as u32
    }

    /// The name of a pack's index file, `pack-….idx`: a name without a folder.
    pub(crate) fn pack_name(&self, pack: u32) -> Option<&str> {
        std::str::from_utf8(self.data.get(self.names.get(pack as usize)?.clone())?).ok()
    }

    /// The checksum that ends the file; its bitmap's name and head have it too.
    pub(crate) fn checksum(&self) -> &[u8] {
        &self.data[self.data.len() - self.hash_len..]
    }

    /// Reads all of the file to see whether its checksum is right.
    pub(crate) fn verify(&self) -> Result<(), Broken> {
        verify(&self.data, self.hash_len)
    }

    /// Finds an object; `Ok(None)` if it is in none of the packs.
    pub(crate) fn find(&self, id: &[u8]) -> Result<Option<Found>, Broken> {
        self.ids.find(&self.data, id).map(|position| self.at(position)).transpose()
    }

    /// The positions of the ids that begin with these hexadecimal digits.
    pub(crate) fn prefix(&self, digits: &str) -> Option<Range<u32>> {
        self.ids.prefix(&self.data, digits)
    }

    /// The id at a position.
    pub(crate) fn id(&self, position: u32) -> Option<&[u8]> {
        self.ids.id(&self.data, position)
    }

    /// Where the object at a position is.
    pub(crate) fn at(&self, position: u32) -> Result<Found, Broken> {
        const WRONG: Broken = Broken("it tells of a place that is not there");
        if position >= self.count() {
            return Err(WRONG);
        }
        let row = self.offsets.start + position as usize * 8;
        let pack = u32_at(&self.data, row).filter(|pack| *pack < self.packs()).ok_or(WRONG)?;
        let near = u32_at(&self.data, row + 4).ok_or(WRONG)?;
        let offset = match &self.far {
            Some(far) if near & FAR != 0 => {
                let row = (near & !FAR) as usize;
                if row >= far.len() / 8 {
                    return Err(WRONG);
                }
                u64_at(&self.data, far.start + row * 8).ok_or(WRONG)?
            }
            _ => u64::from(near),
        };
        Ok(Found { pack, offset, position })
    }

    /// True if it tells the order of bits.
    pub(crate) fn has_bits(&self) -> bool {
        self.bits.is_some()
    }

    /// The position of the object that a bit stands for; `None` beyond the last, without that table, or if it is broken.
    pub(crate) fn position_of_bit(&self, bit: u32) -> Option<u32> {
        if bit >= self.count() {
            return None;
        }
        let table = self.bits.as_ref()?;
        u32_at(&self.data, table.start + bit as usize * 4).filter(|position| *position < self.count())
    }

    /// The bit that stands for the object at a position: a binary search, of two dozen steps for ten million objects.
    pub(crate) fn bit_of_position(&self, position: u32) -> Option<u32> {
        let wanted = self.at(position).ok()?;
        self.bit_of_place(wanted.pack, wanted.offset)
    }

    /// The bit that stands for the object whose entry is there; `None` if it was taken from another pack.
    pub(crate) fn bit_of_place(&self, pack: u32, offset: u64) -> Option<u32> {
        let preferred = self.preferred_pack()?;
        let key = |pack: u32, offset: u64| (pack != preferred, pack, offset);
        let (mut start, mut end) = (0, self.count());
        while start < end {
            let middle = start + (end - start) / 2;
            let at = self.at(self.position_of_bit(middle)?).ok()?;
            match key(at.pack, at.offset).cmp(&key(pack, offset)) {
                Ordering::Equal => return Some(middle),
                Ordering::Less => start = middle + 1,
                Ordering::Greater => end = middle,
            }
        }
        None
    }

    /// The pack whose objects have the first bits.
    pub(crate) fn preferred_pack(&self) -> Option<u32> {
        Some(self.at(self.position_of_bit(0)?).ok()?.pack)
    }

    /// The bits of the objects that were taken from a pack; `None` if the file does not tell, or tells nonsense.
    pub(crate) fn bits_of_pack(&self, pack: u32) -> Option<Range<u32>> {
        let table = self.bitmapped.as_ref()?;
        let row = table.start + self.names.get(pack as usize).map(|_| pack as usize * 8)?;
        let (start, count) = (u32_at(&self.data, row)?, u32_at(&self.data, row + 4)?);
        let end = start.checked_add(count)?;
        (end <= self.count()).then_some(start..end)
    }
}

/// Where the names of the packs are: ended by a zero byte each, plain names of index files.
fn pack_names(data: &[u8], chunk: Range<usize>, count: u32) -> Result<Vec<Range<usize>>, Broken> {
    const WRONG: Broken = Broken("the names of its packs are not valid");
    let text = data.get(chunk.clone()).ok_or(WRONG)?;
    // A name has two bytes at least, so a false count asks for no memory.
    if text.len() / 2 < count as usize {
        return Err(WRONG);
    }
    let mut names = Vec::with_capacity(count as usize);
    let mut at = 0;
    for _ in 0..count {
        let len = text[at..].iter().position(|byte| *byte == 0).ok_or(WRONG)?;
        let name = std::str::from_utf8(&text[at..at + len]).map_err(|_| WRONG)?;
        if !name.ends_with(".idx") || name.contains('/') {
            return Err(WRONG);
        }
        names.push(chunk.start + at..chunk.start + at + len);
        at += len + 1;
    }
    Ok(names)
}
