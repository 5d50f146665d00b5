//! Reads: single records, put together from their pieces, and ranges of keys. Sees what is applied; changes nothing.

use std::ops::Bound;

use serde::de::DeserializeOwned;

use super::Disk;
use crate::codec::{self, CodecError, Framed};
use crate::error::StoreError;
use crate::keys::{self, Key};
use crate::limits::{PIECE_BYTES, RECORD_BYTES_MAX};

/// The records as applied.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(super) disk: &'a Disk,
}

/// Where a scan begins, and which way it goes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Scan<'a> {
    /// From the first key to the last.
    Up,
    /// From the last key to the first.
    Down,
    /// From the last key before this one to the first.
    DownFrom(&'a Key),
}

impl<'a> View<'a> {
    /// The record of that key.
    pub(crate) fn get<T: DeserializeOwned>(&self, key: &Key) -> Result<Option<T>, StoreError> {
        self.raw(key)?.map(|raw| self.decode(key, &raw)).transpose()
    }

    /// True if there is a record or a mark.
    pub(crate) fn has(&self, key: &Key) -> Result<bool, StoreError> {
        self.disk.records.contains_key(key.bytes()).map_err(|e| self.disk.unreadable(e))
    }

    /// The keys that begin with `prefix`.
    pub(crate) fn keys(
        &self,
        prefix: &Key,
        scan: Scan<'_>,
    ) -> impl Iterator<Item = Result<Key, StoreError>> + use<'a> {
        self.pairs(prefix, scan).map(|pair| pair.map(|(key, _)| key))
    }

    /// The records whose keys begin with `prefix`.
    pub(crate) fn records<T: DeserializeOwned>(
        &self,
        prefix: &Key,
        scan: Scan<'_>,
    ) -> impl Iterator<Item = Result<T, StoreError>> + use<'a, T> {
        let view = *self;
        self.pairs(prefix, scan).map(move |pair| pair.and_then(|(key, raw)| view.decode(&key, &raw)))
    }

    fn pairs(
        &self,
        prefix: &Key,
        scan: Scan<'_>,
    ) -> impl Iterator<Item = Result<(Key, sled::IVec), StoreError>> + use<'a> {
        let disk = self.disk;
        let start = Bound::Included(prefix.bytes().to_vec());
        let past = || past_prefix(prefix.bytes()).map_or(Bound::Unbounded, Bound::Excluded);
        let (end, down) = match scan {
            Scan::Up => (past(), false),
            Scan::Down => (past(), true),
            Scan::DownFrom(key) => (Bound::Excluded(key.bytes().to_vec()), true),
        };
        let mut range = disk.records.range::<Vec<u8>, _>((start, end));
        std::iter::from_fn(move || if down { range.next_back() } else { range.next() }).map(move |pair| {
            let (key, value) = pair.map_err(|e| disk.unreadable(e))?;
            Ok((Key::from_bytes(&key), value))
        })
    }

    pub(super) fn raw(&self, key: &Key) -> Result<Option<sled::IVec>, StoreError> {
        self.disk.records.get(key.bytes()).map_err(|e| self.disk.unreadable(e))
    }

    fn decode<T: DeserializeOwned>(&self, key: &Key, raw: &[u8]) -> Result<T, StoreError> {
        decode(key, raw, |piece| self.raw(piece))
    }

    /// How many pieces lie beside that key's record.
    pub(super) fn pieces_of(&self, key: &Key) -> Result<u32, StoreError> {
        let Some(raw) = self.raw(key)? else { return Ok(0) };
        match codec::unframe(key.bytes(), &raw) {
            Ok(Framed::InPieces { body_bytes, .. }) => Ok(pieces(body_bytes.min(RECORD_BYTES_MAX))),
            // A damaged record can still be replaced or removed.
            Ok(Framed::Inline(_)) | Err(_) => Ok(0),
        }
    }
}

/// What a record says; `piece` gives its pieces if it is stored in some.
pub(super) fn decode<T, P>(
    key: &Key,
    raw: &[u8],
    piece: impl Fn(&Key) -> Result<Option<P>, StoreError>,
) -> Result<T, StoreError>
where
    T: DeserializeOwned,
    P: AsRef<[u8]>,
{
    let broken = |cause: CodecError| StoreError::Record { what: key.to_string(), cause };
    let damaged = |why| broken(CodecError::Damaged { why });
    let (body_bytes, checksum) = match codec::unframe(key.bytes(), raw).map_err(broken)? {
        Framed::Inline(body) => return codec::from_body(body).map_err(broken),
        Framed::InPieces { body_bytes, checksum } => (body_bytes, checksum),
    };
    if body_bytes > RECORD_BYTES_MAX {
        return Err(damaged("its length is too large"));
    }
    let mut body = Vec::with_capacity(body_bytes);
    for number in 0..pieces(body_bytes) {
        let found = piece(&keys::piece(key, number))?.ok_or_else(|| damaged("a piece is missing"))?;
        body.extend_from_slice(found.as_ref());
        if body.len() > body_bytes {
            return Err(damaged("its pieces are too long"));
        }
    }
    codec::check(key.bytes(), &body, checksum).map_err(broken)?;
    codec::from_body(&body).map_err(broken)
}

pub(super) fn pieces(body_bytes: usize) -> u32 {
    u32::try_from(body_bytes.div_ceil(PIECE_BYTES)).unwrap_or(u32::MAX)
}

/// The first key after all that begin with `prefix`.
fn past_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|&b| b != u8::MAX)?;
    let mut past = prefix.get(..=last)?.to_vec();
    if let Some(byte) = past.last_mut() {
        *byte += 1;
    }
    Some(past)
}
