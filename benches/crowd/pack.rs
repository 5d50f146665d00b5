//! Packs (gitformat-pack) of a few objects, made here, and the requests that push them.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use sha1::{Digest, Sha1};

use crate::Outcome;
use crate::pkt;

/// Kinds of objects as a pack numbers them.
pub(crate) const COMMIT: u8 = 1;
pub(crate) const TREE: u8 = 2;
pub(crate) const BLOB: u8 = 3;
pub(crate) const OFS_DELTA: u8 = 6;

/// 40 zeros: no object.
pub(crate) const NONE: &str = "0000000000000000000000000000000000000000";

/// A pack as it is written.
pub(crate) struct Pack {
    bytes: Vec<u8>,
}

impl Pack {
    pub(crate) fn of(objects: u32) -> Self {
        let mut bytes = b"PACK\0\0\0\x02".to_vec();
        bytes.extend_from_slice(&objects.to_be_bytes());
        Self { bytes }
    }

    /// Appends an entry; where it lies. `base` is what stands before a delta's data.
    pub(crate) fn entry(&mut self, kind: u8, base: &[u8], data: &[u8]) -> Outcome<usize> {
        let at = self.bytes.len();
        let mut size = data.len();
        let mut byte = kind << 4 | (size & 15) as u8;
        size >>= 4;
        while size > 0 {
            self.bytes.push(byte | 0x80);
            byte = (size & 0x7f) as u8;
            size >>= 7;
        }
        self.bytes.push(byte);
        self.bytes.extend_from_slice(base);
        let mut zlib = ZlibEncoder::new(&mut self.bytes, Compression::default());
        zlib.write_all(data)?;
        zlib.finish()?;
        Ok(at)
    }

    /// How far back of the next entry `at` lies, as an offset delta says it.
    pub(crate) fn back_to(&self, at: usize) -> Vec<u8> {
        let mut distance = self.bytes.len() - at;
        let mut bytes = vec![(distance & 0x7f) as u8];
        distance >>= 7;
        while distance > 0 {
            distance -= 1;
            bytes.push(0x80 | (distance & 0x7f) as u8);
            distance >>= 7;
        }
        bytes.reverse();
        bytes
    }

    pub(crate) fn end(mut self) -> Vec<u8> {
        let trailer = Sha1::digest(&self.bytes);
        self.bytes.extend_from_slice(&trailer);
        self.bytes
    }
}

/// An object's id in hexadecimal.
pub(crate) fn id(kind: &str, data: &[u8]) -> String {
    let mut hash = Sha1::new();
    hash.update(format!("{kind} {}\0", data.len()));
    hash.update(data);
    hex(&hash.finalize())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The body of a push of one ref.
pub(crate) fn push(old: &str, new: &str, name: &str, pack: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    pkt::line(&mut out, &format!("{old} {new} {name}\0report-status"));
    out.extend_from_slice(pkt::FLUSH);
    out.extend_from_slice(pack);
    out
}

/// A commit of `tree` upon `parent`.
pub(crate) fn commit(tree: &str, parent: Option<&str>, number: u64) -> Vec<u8> {
    let parent = parent.map(|id| format!("parent {id}\n")).unwrap_or_default();
    let who = format!("Ann <ann@example.com> {} +0000", 1_700_000_000 + number);
    format!("tree {tree}\n{parent}author {who}\ncommitter {who}\n\nChange {number}\n").into_bytes()
}
