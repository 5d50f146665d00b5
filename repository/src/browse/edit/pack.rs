//! A small pack in memory: whole objects only (gitformat-pack). Knows nothing of what they mean.

use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;

use crate::pack::write_type_and_size;
use crate::{Kind, RepoError, Result};

/// A pack being put together.
pub(crate) struct Pack {
    hash: gix::hash::Kind,
    count: u32,
    /// Header (count still zero) and entries.
    bytes: Vec<u8>,
}

impl Pack {
    pub(crate) fn new(hash: gix::hash::Kind) -> Self {
        Self { hash, count: 0, bytes: b"PACK\0\0\0\x02\0\0\0\0".to_vec() }
    }

    pub(crate) fn add(&mut self, kind: Kind, data: &[u8]) -> Result<()> {
        self.count += 1;
        write_type_and_size(kind.pack_code(), data.len() as u64, &mut self.bytes);
        let mut deflate = ZlibEncoder::new(&mut self.bytes, Compression::default());
        let done = deflate.write_all(data).and_then(|()| deflate.finish().map(drop));
        done.map_err(|e| RepoError::Invalid { what: format!("the content cannot be compressed: {e}") })
    }

    pub(crate) fn finish(mut self) -> Result<Vec<u8>> {
        if let Some(count) = self.bytes.get_mut(8..12) {
            count.copy_from_slice(&self.count.to_be_bytes());
        }
        let mut hasher = gix::hash::hasher(self.hash);
        hasher.update(&self.bytes);
        let trailer = hasher
            .try_finalize()
            .map_err(|e| RepoError::Invalid { what: format!("the content cannot be stored: {e}") })?;
        self.bytes.extend_from_slice(trailer.as_bytes());
        Ok(self.bytes)
    }
}
