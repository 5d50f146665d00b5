//! A change in the making: staged in memory, cut into pieces where a record is long, applied by [`super::Disk`].

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::view::{View, decode, pieces};
use crate::codec;
use crate::error::StoreError;
use crate::keys::{self, Key};
use crate::limits::{PIECE_BYTES, RECORD_BYTES_MAX};

/// A change in the making: reads of one record see its own writes, scans do not.
pub(crate) struct Change<'a> {
    pub(super) view: View<'a>,
    pub(super) writes: BTreeMap<Key, Option<Vec<u8>>>,
}

impl<'a> Change<'a> {
    /// The records as they were before this change.
    pub(crate) fn before(&self) -> View<'a> {
        self.view
    }

    /// The record of that key.
    pub(crate) fn get<T: DeserializeOwned>(&self, key: &Key) -> Result<Option<T>, StoreError> {
        match self.writes.get(key) {
            Some(None) => Ok(None),
            Some(Some(raw)) => decode(key, raw, |piece| self.staged(piece)).map(Some),
            None => self.view.get(key),
        }
    }

    fn staged(&self, key: &Key) -> Result<Option<Vec<u8>>, StoreError> {
        match self.writes.get(key) {
            Some(written) => Ok(written.clone()),
            None => Ok(self.view.raw(key)?.map(|raw| raw.to_vec())),
        }
    }

    /// True if there is a record or a mark.
    pub(crate) fn has(&self, key: &Key) -> Result<bool, StoreError> {
        match self.writes.get(key) {
            Some(written) => Ok(written.is_some()),
            None => self.view.has(key),
        }
    }

    /// Writes a record; gives its size in bytes.
    pub(crate) fn put<T: Serialize>(&mut self, key: Key, value: &T) -> Result<usize, StoreError> {
        let body =
            codec::to_body(value).map_err(|cause| StoreError::Record { what: key.to_string(), cause })?;
        let bytes = body.len();
        if bytes > RECORD_BYTES_MAX {
            return Err(StoreError::RecordTooLarge { what: key.to_string(), bytes, max: RECORD_BYTES_MAX });
        }
        self.remove_pieces(&key)?;
        let has = if bytes > PIECE_BYTES { pieces(bytes) } else { 0 };
        if has == 0 {
            let raw = codec::frame_inline(key.bytes(), &body);
            self.writes.insert(key, Some(raw));
            return Ok(bytes);
        }
        for (number, piece) in (0..has).zip(body.chunks(PIECE_BYTES)) {
            self.writes.insert(keys::piece(&key, number), Some(piece.to_vec()));
        }
        let raw = codec::frame_in_pieces(key.bytes(), &body);
        self.writes.insert(key, Some(raw));
        Ok(bytes)
    }

    /// Writes a mark.
    pub(crate) fn mark(&mut self, key: Key) {
        self.writes.insert(key, Some(Vec::new()));
    }

    /// Removes a record or a mark; fine if there is none.
    pub(crate) fn remove(&mut self, key: Key) -> Result<(), StoreError> {
        self.remove_pieces(&key)?;
        self.writes.insert(key, None);
        Ok(())
    }

    /// Removes the pieces that the record has by now, on disk or in this change.
    fn remove_pieces(&mut self, key: &Key) -> Result<(), StoreError> {
        for number in 0..self.view.pieces_of(key)? {
            self.writes.insert(keys::piece(key, number), None);
        }
        let (first, last) = (keys::piece(key, 0), keys::piece(key, u32::MAX));
        for (_, staged) in self.writes.range_mut(first..=last) {
            *staged = None;
        }
        Ok(())
    }
}
