//! The index of a pack, `.idx` version 2: the ids of its objects in order, with the CRC-32 and the offset of each.

use std::io::{self, Write};
use std::ops::{Deref, Range};

use super::checksum::verify;
use super::fanout::{FANOUT_BYTES, Fanout, fanout_of};
use super::{Broken, Hashed, Listing, u32_at, u64_at};

const HEAD: &[u8; 8] = b"\xfftOc\0\0\0\x02";
/// Offsets of 31 bits stand in the table; others in a table of 8-byte offsets, whose row stands here with this bit.
const FAR: u32 = 1 << 31;

/// A pack's index, open.
pub(crate) struct IndexFile<D> {
    data: D,
    hash_len: usize,
    ids: Fanout,
    /// How many rows the table of far offsets has.
    far: usize,
}

impl<D: Deref<Target = [u8]>> IndexFile<D> {
    /// Looks at the head of the file alone.
    pub(crate) fn parse(data: D, hash_len: usize) -> Result<Self, Broken> {
        if !data.starts_with(HEAD) {
            return Err(Broken("it is not an index of version 2"));
        }
        let ids = Fanout::parse(&data, HEAD.len(), HEAD.len() + FANOUT_BYTES, hash_len)?;
        let fixed = ids.end() + ids.count() as usize * 8 + 2 * hash_len;
        let far = data.len().checked_sub(fixed).ok_or(Broken("it is too short"))?;
        if !far.is_multiple_of(8) || far / 8 > ids.count() as usize {
            return Err(Broken("its length is not that of its tables"));
        }
        Ok(Self { data, hash_len, ids, far: far / 8 })
    }

    /// How many objects the pack has.
    pub(crate) fn count(&self) -> u32 {
        self.ids.count()
    }

    /// The position of an id.
    pub(crate) fn find(&self, id: &[u8]) -> Option<u32> {
        self.ids.find(&self.data, id)
    }

    /// The positions of the ids that begin with these hexadecimal digits.
    pub(crate) fn prefix(&self, digits: &str) -> Option<Range<u32>> {
        self.ids.prefix(&self.data, digits)
    }

    /// The id at a position.
    pub(crate) fn id(&self, position: u32) -> Option<&[u8]> {
        self.ids.id(&self.data, position)
    }

    /// The CRC-32 of the entry's bytes.
    pub(crate) fn crc(&self, position: u32) -> Option<u32> {
        (position < self.count()).then(|| u32_at(&self.data, self.ids.end() + position as usize * 4))?
    }

    /// Where the entry starts in the pack.
    pub(crate) fn offset(&self, position: u32) -> Option<u64> {
        if position >= self.count() {
            return None;
        }
        let offsets = self.ids.end() + self.count() as usize * 4;
        let near = u32_at(&self.data, offsets + position as usize * 4)?;
        if near & FAR == 0 {
            return Some(u64::from(near));
        }
        let row = (near & !FAR) as usize;
        if row >= self.far {
            return None;
        }
        u64_at(&self.data, offsets + self.count() as usize * 4 + row * 8)
    }

    /// The checksum that ends the pack.
    pub(crate) fn pack_checksum(&self) -> &[u8] {
        let end = self.data.len() - self.hash_len;
        &self.data[end - self.hash_len..end]
    }

    /// Reads all of the file to see whether its checksum is right.
    pub(crate) fn verify(&self) -> Result<(), Broken> {
        verify(&self.data, self.hash_len)
    }
}

impl<D: Deref<Target = [u8]>> Listing for IndexFile<D> {
    fn count(&self) -> u32 {
        self.count()
    }

    fn id(&self, position: u32) -> Option<&[u8]> {
        self.id(position)
    }

    fn offset(&self, position: u32) -> Option<u64> {
        self.offset(position)
    }
}

/// An object of a pack, as its index tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IndexEntry<'a> {
    pub(crate) id: &'a [u8],
    /// CRC-32 of the entry's bytes in the pack.
    pub(crate) crc: u32,
    /// Where the entry starts in the pack.
    pub(crate) offset: u64,
}

/// Writes the index of a pack. `entries` are sorted by id and walked five times; `pack_checksum` ends the pack.
pub(crate) fn write_index<'a, W: Write>(
    out: W,
    entries: impl Iterator<Item = IndexEntry<'a>> + Clone,
    pack_checksum: &[u8],
) -> io::Result<W> {
    let mut out = Hashed::new(out, pack_checksum.len());
    out.put(HEAD)?;
    fanout_of(entries.clone().map(|e| e.id)).iter().try_for_each(|count| out.put_u32(*count))?;
    entries.clone().try_for_each(|e| out.put(e.id))?;
    entries.clone().try_for_each(|e| out.put_u32(e.crc))?;
    let is_far = |offset: u64| offset >= u64::from(FAR);
    let mut far = 0u32;
    for entry in entries.clone() {
        let near = if is_far(entry.offset) { FAR | far } else { entry.offset as u32 };
        far += u32::from(is_far(entry.offset));
        out.put_u32(near)?;
    }
    entries.filter(|e| is_far(e.offset)).try_for_each(|e| out.put_u64(e.offset))?;
    out.put(pack_checksum)?;
    Ok(out.finish()?.0)
}
