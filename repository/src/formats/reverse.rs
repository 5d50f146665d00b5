//! The reverse index of a pack, `.rev` version 1: the positions of its objects in the index, in the order of their
//! offsets. That order is also the order of bits in the pack's bitmaps.

use std::io::{self, Write};
use std::ops::Deref;

use super::checksum::verify;
use super::{Broken, Hashed, hash_number, u32_at};

const HEAD_BYTES: usize = 12;

/// A pack's reverse index, open.
pub(crate) struct ReverseFile<D> {
    data: D,
    hash_len: usize,
    count: u32,
}

impl<D: Deref<Target = [u8]>> ReverseFile<D> {
    /// Looks at the file's head and length; `count`: how many objects the pack has.
    pub(crate) fn parse(data: D, hash_len: usize, count: u32) -> Result<Self, Broken> {
        if !data.starts_with(b"RIDX\0\0\0\x01") {
            return Err(Broken("it is not a reverse index of version 1"));
        }
        if u32_at(&data, 8) != Some(hash_number(hash_len)) {
            return Err(Broken("it is for ids of another hash"));
        }
        if data.len() as u64 != HEAD_BYTES as u64 + u64::from(count) * 4 + 2 * hash_len as u64 {
            return Err(Broken("its length is not that of a reverse index of the pack"));
        }
        Ok(Self { data, hash_len, count })
    }

    /// The index position of the object that is number `rank` by offset; `None` beyond the last, or if it is broken.
    pub(crate) fn position(&self, rank: u32) -> Option<u32> {
        if rank >= self.count {
            return None;
        }
        u32_at(&self.data, HEAD_BYTES + rank as usize * 4).filter(|position| *position < self.count)
    }

    /// Which number by offset the entry at `offset` has; `offset_at` tells the offset at an index position.
    pub(crate) fn rank(&self, offset: u64, offset_at: impl Fn(u32) -> Option<u64>) -> Option<u32> {
        let (mut start, mut end) = (0, self.count);
        while start < end {
            let middle = start + (end - start) / 2;
            let found = offset_at(self.position(middle)?)?;
            match found.cmp(&offset) {
                std::cmp::Ordering::Equal => return Some(middle),
                std::cmp::Ordering::Less => start = middle + 1,
                std::cmp::Ordering::Greater => end = middle,
            }
        }
        None
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

/// Index positions in the order of their offsets: what a reverse index holds.
pub(crate) fn ranks(offsets: impl Iterator<Item = u64>) -> Vec<u32> {
    let offsets: Vec<u64> = offsets.collect();
    let mut order: Vec<u32> = (0..offsets.len() as u32).collect();
    order.sort_unstable_by_key(|position| offsets[*position as usize]);
    order
}

/// Writes a pack's reverse index; `pack_checksum` ends the pack.
pub(crate) fn write_reverse<W: Write>(
    out: W,
    mut ranks: impl Iterator<Item = u32>,
    pack_checksum: &[u8],
) -> io::Result<W> {
    let mut out = Hashed::new(out, pack_checksum.len());
    out.put(b"RIDX\0\0\0\x01")?;
    out.put_u32(hash_number(pack_checksum.len()))?;
    ranks.try_for_each(|position| out.put_u32(position))?;
    out.put(pack_checksum)?;
    Ok(out.finish()?.0)
}
