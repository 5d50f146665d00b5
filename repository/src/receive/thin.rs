//! Making a thin pack whole: bases that only the repository has are put at its end, then its count and checksum are
//! set right (as git does it; nothing that arrived moves).

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;

use flate2::write::ZlibEncoder;
use flate2::{Compression, Crc};
use sha1::{Digest, Sha1};

use super::entries::{Entry, RawId};
use crate::error::{RepoError, Result};
use crate::limits::RECEIVE_BUFFER_BYTES;
use crate::object::Kind;
use crate::pack::write_type_and_size;

/// Appends an object at `offset`, the file's end, and returns its entry and the new end.
pub(crate) fn append(
    mut file: &File,
    path: &Path,
    offset: u64,
    id: RawId,
    kind: Kind,
    data: &[u8],
) -> Result<(Entry, u64)> {
    let mut bytes = Vec::with_capacity(data.len() / 2 + 64);
    write_type_and_size(kind.pack_code(), data.len() as u64, &mut bytes);
    let failed = RepoError::io("write", path);
    let packed = (|| {
        let mut zlib = ZlibEncoder::new(bytes, Compression::fast());
        zlib.write_all(data)?;
        let bytes = zlib.finish()?;
        file.write_all(&bytes)?;
        Ok(bytes)
    })();
    let bytes = packed.map_err(failed)?;
    let mut crc = Crc::new();
    crc.update(&bytes);
    Ok((Entry { offset, crc: crc.sum(), kind: Some(kind), id }, offset + bytes.len() as u64))
}

/// Sets the count in the header and returns the checksum of the whole.
pub(crate) fn recount(file: &File, path: &Path, count: u32, end: u64) -> Result<[u8; 20]> {
    file.write_all_at(&count.to_be_bytes(), 8).map_err(RepoError::io("write", path))?;
    let mut hash = Sha1::new();
    let mut buffer = vec![0; RECEIVE_BUFFER_BYTES];
    let mut at = 0;
    while at < end {
        let want = buffer.len().min(usize::try_from(end - at).unwrap_or(usize::MAX));
        file.read_exact_at(&mut buffer[..want], at).map_err(RepoError::io("read", path))?;
        hash.update(&buffer[..want]);
        at += want as u64;
    }
    Ok(hash.finalize().into())
}
