//! The ages of the objects of a cruft pack, `.mtimes` version 1: a time for each, in the order of the pack's index.

use std::io::{self, Write};
use std::ops::Deref;

use super::checksum::verify;
use super::{Broken, Hashed, hash_number, u32_at};

const HEAD_BYTES: usize = 12;

/// A cruft pack's times, open.
pub(crate) struct MtimesFile<D> {
    data: D,
    hash_len: usize,
    count: u32,
}

impl<D: Deref<Target = [u8]>> MtimesFile<D> {
    /// Looks at the file's head and length; `count`: how many objects the pack has.
    pub(crate) fn parse(data: D, hash_len: usize, count: u32) -> Result<Self, Broken> {
        if !data.starts_with(b"MTME\0\0\0\x01") {
            return Err(Broken("it is not a file of times of version 1"));
        }
        if u32_at(&data, 8) != Some(hash_number(hash_len)) {
            return Err(Broken("it is for ids of another hash"));
        }
        if data.len() as u64 != HEAD_BYTES as u64 + u64::from(count) * 4 + 2 * hash_len as u64 {
            return Err(Broken("its length is not that of the times of the pack"));
        }
        Ok(Self { data, hash_len, count })
    }

    /// When the object at an index position was last written, in seconds since 1970; `None` beyond the last.
    pub(crate) fn time(&self, position: u32) -> Option<u32> {
        if position >= self.count {
            return None;
        }
        u32_at(&self.data, HEAD_BYTES + position as usize * 4)
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

/// Writes the times of a cruft pack, in the order of its index; `pack_checksum` ends the pack.
pub(crate) fn write_mtimes<W: Write>(
    out: W,
    mut times: impl Iterator<Item = u32>,
    pack_checksum: &[u8],
) -> io::Result<W> {
    let mut out = Hashed::new(out, pack_checksum.len());
    out.put(b"MTME\0\0\0\x01")?;
    out.put_u32(hash_number(pack_checksum.len()))?;
    times.try_for_each(|time| out.put_u32(time))?;
    out.put(pack_checksum)?;
    Ok(out.finish()?.0)
}
