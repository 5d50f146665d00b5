//! A change in the making: staged in memory, cut into pieces where a record is long, written by an engine all-or-nothing.
//! What the records say is told in `records/`, subject by subject.

use serde::Serialize;
use serde::de::DeserializeOwned;
use slipway_core::limits::Limits;

use crate::codec;
use crate::engine::{Batch, Look};
use crate::error::StoreError;
use crate::keys::{self, Key};
use crate::limits::{PIECE_BYTES, RECORD_BYTES_MAX};
use crate::vault::Vault;
use crate::view::{View, pieces};

/// A change in the making. It may be prepared several times before one is written.
pub struct Tx<'a> {
    ground: &'a dyn Look,
    pub(crate) vault: &'a Vault,
    pub(crate) limits: &'a Limits,
    staged: Batch,
}

impl std::fmt::Debug for Tx<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tx({} writes)", self.staged.len())
    }
}

impl<'a> Tx<'a> {
    pub(crate) fn new(ground: &'a dyn Look, vault: &'a Vault, limits: &'a Limits) -> Self {
        Self { ground, vault, limits, staged: Batch::new() }
    }

    /// What it comes to.
    pub(crate) fn into_batch(self) -> Batch {
        self.staged
    }

    /// The records as they are with this change.
    pub fn view(&self) -> View<'_> {
        View { ground: self.ground, staged: Some(&self.staged), vault: self.vault }
    }

    /// The record of that key.
    pub(crate) fn get<T: DeserializeOwned>(&self, key: &Key) -> Result<Option<T>, StoreError> {
        self.view().get(key)
    }

    /// True if there is a record or a mark.
    pub(crate) fn has(&self, key: &Key) -> Result<bool, StoreError> {
        self.view().has(key)
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
            self.staged.insert(key, Some(raw));
            return Ok(bytes);
        }
        for (number, piece) in (0..has).zip(body.chunks(PIECE_BYTES)) {
            self.staged.insert(keys::piece(&key, number), Some(piece.to_vec()));
        }
        let raw = codec::frame_in_pieces(key.bytes(), &body);
        self.staged.insert(key, Some(raw));
        Ok(bytes)
    }

    /// Writes a mark.
    pub(crate) fn mark(&mut self, key: Key) {
        self.staged.insert(key, Some(Vec::new()));
    }

    /// Removes a record or a mark; fine if there is none.
    pub(crate) fn remove(&mut self, key: Key) -> Result<(), StoreError> {
        self.remove_pieces(&key)?;
        self.staged.insert(key, None);
        Ok(())
    }

    /// Removes the pieces that the record has by now, in the database or in this change.
    fn remove_pieces(&mut self, key: &Key) -> Result<(), StoreError> {
        for number in 0..self.view().pieces_of(key)? {
            self.staged.insert(keys::piece(key, number), None);
        }
        Ok(())
    }
}
