//! Writing the index of a pack (`.idx` version 2) and its reverse index (`.rev` version 1), as gitformat-pack has them.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use slipway_core::{ObjectFormat, Oid};

use super::entries::Entries;
use crate::digest::Digest;
use crate::error::{RepoError, Result};
use crate::limits::BUFFER_BYTES;

/// Writes and hashes.
struct Hashed<W> {
    out: W,
    hash: Digest,
}

impl<W: Write> Hashed<W> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.out.write_all(bytes)
    }
}

type Out = Hashed<BufWriter<File>>;

/// Opens a file that nobody shall change once it is written.
pub(crate) fn create_final(path: &Path) -> io::Result<File> {
    File::options().read(true).write(true).create_new(true).mode(0o444).open(path)
}

fn create(path: &Path, format: ObjectFormat, fill: impl FnOnce(&mut Out) -> io::Result<()>) -> Result<File> {
    let failed = RepoError::io("write", path);
    let filled = (|| {
        let file = create_final(path)?;
        let mut out = Hashed { out: BufWriter::with_capacity(BUFFER_BYTES, file), hash: Digest::new(format) };
        fill(&mut out)?;
        Ok(out)
    })();
    let mut out = filled.map_err(failed)?;
    let sum = out.hash.finish();
    let ended = out.out.write_all(sum.as_bytes());
    let file = ended.and_then(|()| out.out.into_inner().map_err(io::IntoInnerError::into_error));
    file.map_err(RepoError::io("write", path))
}

/// Writes the index of the entries, whose numbers are `sorted` by id. Returns the file, not flushed.
pub(crate) fn write_index(path: &Path, entries: &Entries, sorted: &[u32], pack_sum: &Oid) -> Result<File> {
    create(path, entries.format(), |out| {
        out.put(b"\xfftOc\0\0\0\x02")?;
        let mut counts = [0u32; 256];
        for n in sorted {
            counts[usize::from(entries.id(*n).as_bytes()[0])] += 1;
        }
        let mut upto = 0;
        for count in counts {
            upto += count;
            out.put(&upto.to_be_bytes())?;
        }
        sorted.iter().try_for_each(|n| out.put(entries.id(*n).as_bytes()))?;
        sorted.iter().try_for_each(|n| out.put(&entries.crc(*n).to_be_bytes()))?;
        let mut far: Vec<u64> = Vec::new();
        for n in sorted {
            // Offsets of 31 bits stand here; others are numbers in a table that follows.
            let offset = entries.offset(*n);
            let near = u32::try_from(offset).ok().filter(|o| *o < 1 << 31).unwrap_or_else(|| {
                far.push(offset);
                (far.len() as u32 - 1) | 1 << 31
            });
            out.put(&near.to_be_bytes())?;
        }
        far.iter().try_for_each(|offset| out.put(&offset.to_be_bytes()))?;
        out.put(pack_sum.as_bytes())
    })
}

/// Writes the reverse index. Returns the file, not flushed.
pub(crate) fn write_reverse(
    path: &Path,
    format: ObjectFormat,
    sorted: &[u32],
    pack_sum: &Oid,
) -> Result<File> {
    // Entries are numbered in the order of their offsets, so the other way round is all that is asked for.
    let mut positions = vec![0u32; sorted.len()];
    for (position, entry) in (0u32..).zip(sorted) {
        positions[*entry as usize] = position;
    }
    let number: u32 = if format == ObjectFormat::Sha1 { 1 } else { 2 };
    create(path, format, |out| {
        out.put(b"RIDX\0\0\0\x01")?;
        out.put(&number.to_be_bytes())?;
        positions.iter().try_for_each(|p| out.put(&p.to_be_bytes()))?;
        out.put(pack_sum.as_bytes())
    })
}
