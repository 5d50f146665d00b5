//! A small pack in memory: whole objects only (gitformat-pack). Knows nothing of what they mean.

use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use slipway_core::ObjectFormat;

use crate::digest::Digest;
use crate::pack::write_type_and_size;
use crate::{Kind, RepoError, Result};

/// A pack being put together.
pub(crate) struct Pack {
    format: ObjectFormat,
    count: u32,
    /// Header (count still zero) and entries.
    bytes: Vec<u8>,
}

impl Pack {
    pub(crate) fn new(format: ObjectFormat) -> Self {
        Self { format, count: 0, bytes: b"PACK\0\0\0\x02\0\0\0\0".to_vec() }
    }

    pub(crate) fn add(&mut self, kind: Kind, data: &[u8]) -> Result<()> {
        self.count += 1;
        write_type_and_size(kind.pack_code(), data.len() as u64, &mut self.bytes);
        let mut deflate = ZlibEncoder::new(&mut self.bytes, Compression::default());
        let done = deflate.write_all(data).and_then(|()| deflate.finish().map(drop));
        done.map_err(|e| RepoError::Invalid { what: format!("the content cannot be compressed: {e}") })
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        if let Some(count) = self.bytes.get_mut(8..12) {
            count.copy_from_slice(&self.count.to_be_bytes());
        }
        let mut digest = Digest::new(self.format);
        digest.update(&self.bytes);
        self.bytes.extend_from_slice(digest.finish().as_bytes());
        self.bytes
    }
}
