//! Making a thin pack whole: bases that only the repository has are put at its end, then its count and checksum are
//! set right (as git does it; nothing that arrived moves).

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;

use flate2::write::ZlibEncoder;
use flate2::{Compression, Crc};
use gix::hash::Kind as HashKind;
use slipway_core::Oid;

use super::digest::Digest;
use super::entries::Entries;
use crate::error::{RepoError, Result};
use crate::limits::RECEIVE_BUFFER_BYTES;
use crate::object::Kind;
use crate::pack::write_type_and_size;

/// The end of a pack that grows.
pub(crate) struct End<'a> {
    pub(crate) file: &'a File,
    pub(crate) path: &'a Path,
    /// Where the next entry goes.
    pub(crate) offset: u64,
    /// All bytes of the pack before that, if they are few.
    pub(crate) small: Option<Vec<u8>>,
}

impl End<'_> {
    /// Appends an object.
    pub(crate) fn append(&mut self, id: &Oid, kind: Kind, data: &[u8], entries: &mut Entries) -> Result<()> {
        let mut bytes = Vec::with_capacity(data.len() / 2 + 64);
        write_type_and_size(kind.pack_code(), data.len() as u64, &mut bytes);
        let failed = RepoError::io("write", self.path);
        let packed = (|| {
            let mut zlib = ZlibEncoder::new(bytes, Compression::fast());
            zlib.write_all(data)?;
            let bytes = zlib.finish()?;
            self.file.write_all_at(&bytes, self.offset)?;
            Ok(bytes)
        })();
        let bytes = packed.map_err(failed)?;
        let mut crc = Crc::new();
        crc.update(&bytes);
        let number = entries.push_whole(self.offset, crc.sum(), kind);
        entries.set_id(number, id);
        self.offset += bytes.len() as u64;
        // A pack that is small no more is read from its file.
        self.small.take_if(|small| small.len() + bytes.len() > 2 * RECEIVE_BUFFER_BYTES);
        if let Some(small) = &mut self.small {
            small.extend_from_slice(&bytes);
        }
        Ok(())
    }

    /// Sets the count in the header and returns the checksum of the whole.
    pub(crate) fn recount(&self, hash: HashKind, count: u32) -> Result<Oid> {
        let failed = |doing| RepoError::io(doing, self.path);
        self.file.write_all_at(&count.to_be_bytes(), 8).map_err(failed("write"))?;
        let mut digest = Digest::new(hash);
        let mut buffer = vec![0; RECEIVE_BUFFER_BYTES];
        let mut at = 0;
        while at < self.offset {
            let want = buffer.len().min(usize::try_from(self.offset - at).unwrap_or(usize::MAX));
            self.file.read_exact_at(&mut buffer[..want], at).map_err(failed("read"))?;
            digest.update(&buffer[..want]);
            at += want as u64;
        }
        digest.finish()
    }

    /// Ends the pack.
    pub(crate) fn seal(&self, trailer: &Oid) -> Result<()> {
        self.file.write_all_at(trailer.as_bytes(), self.offset).map_err(RepoError::io("write", self.path))
    }
}
