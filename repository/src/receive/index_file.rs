//! Writing the index of a pack (`.idx` version 2) and its reverse index (`.rev` version 1), as gitformat-pack has them.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use sha1::{Digest, Sha1};

use super::entries::Entry;
use crate::error::{RepoError, Result};

/// Writes and hashes.
struct Hashed<W> {
    out: W,
    hash: Sha1,
}

impl<W: Write> Hashed<W> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.out.write_all(bytes)
    }

    fn finish(mut self) -> io::Result<W> {
        let sum: [u8; 20] = self.hash.finalize().into();
        self.out.write_all(&sum)?;
        Ok(self.out)
    }
}

fn create(path: &Path, fill: impl FnOnce(&mut Hashed<BufWriter<File>>) -> io::Result<()>) -> Result<()> {
    let write = || {
        let file = File::create_new(path)?;
        let mut out = Hashed { out: BufWriter::with_capacity(64 << 10, file), hash: Sha1::new() };
        fill(&mut out)?;
        out.finish()?.into_inner().map_err(io::IntoInnerError::into_error).map(drop)
    };
    write().map_err(RepoError::io("write", path))
}

/// Writes the index; `entries` are sorted by id.
pub(crate) fn write_index(path: &Path, entries: &[Entry], pack_sum: &[u8; 20]) -> Result<()> {
    create(path, |out| {
        out.put(b"\xfftOc\0\0\0\x02")?;
        let mut upto = 0;
        for first in 0..=255u8 {
            upto += entries[upto..].partition_point(|e| e.id[0] <= first);
            out.put(&(upto as u32).to_be_bytes())?;
        }
        entries.iter().try_for_each(|e| out.put(&e.id))?;
        entries.iter().try_for_each(|e| out.put(&e.crc.to_be_bytes()))?;
        let mut far: Vec<u64> = Vec::new();
        for entry in entries {
            // Offsets of 31 bits stand here; others are numbers in a table that follows.
            let near = u32::try_from(entry.offset).ok().filter(|o| *o < 1 << 31).unwrap_or_else(|| {
                far.push(entry.offset);
                (far.len() as u32 - 1) | 1 << 31
            });
            out.put(&near.to_be_bytes())?;
        }
        far.iter().try_for_each(|offset| out.put(&offset.to_be_bytes()))?;
        out.put(pack_sum)
    })
}

/// Writes the reverse index; `entries` are sorted by id.
pub(crate) fn write_reverse(path: &Path, entries: &[Entry], pack_sum: &[u8; 20]) -> Result<()> {
    let mut by_offset: Vec<u32> = (0..entries.len() as u32).collect();
    by_offset.sort_unstable_by_key(|i| entries[*i as usize].offset);
    create(path, |out| {
        out.put(b"RIDX\0\0\0\x01\0\0\0\x01")?;
        by_offset.iter().try_for_each(|i| out.put(&i.to_be_bytes()))?;
        out.put(pack_sum)
    })
}
