//! What is known of each entry of a pack while it is taken in: some sixty bytes an object.

use std::collections::{BTreeSet, HashMap};

use slipway_core::Oid;

use crate::error::{RepoError, Result};
use crate::object::Kind;

/// An id without its hash's name. SHA-1 only, as the repositories are.
pub(crate) type RawId = [u8; 20];

/// The usual form of it.
pub(crate) fn oid(id: &RawId) -> Oid {
    Oid::Sha1(*id)
}

/// The short form of it; links inside SHA-1 repositories have no other.
pub(crate) fn raw(id: &Oid) -> RawId {
    let mut raw = [0; 20];
    raw.copy_from_slice(&id.as_bytes()[..20]);
    raw
}

/// One entry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) offset: u64,
    pub(crate) crc: u32,
    /// `None` until a delta is resolved.
    pub(crate) kind: Option<Kind>,
    pub(crate) id: RawId,
}

/// Entries by offset, and the deltas among them.
#[derive(Default)]
pub(crate) struct Entries {
    pub(crate) all: Vec<Entry>,
    /// `(base, delta)`, both numbers in `all`.
    pub(crate) by_offset: Vec<(u32, u32)>,
    /// `(base's id, delta)`.
    pub(crate) by_id: Vec<(RawId, u32)>,
}

impl Entries {
    /// The number of the entry at exactly that offset.
    pub(crate) fn at_offset(&self, offset: u64) -> Option<u32> {
        self.all.binary_search_by_key(&offset, |e| e.offset).ok().map(|i| i as u32)
    }

    pub(crate) fn deltas(&self) -> usize {
        self.by_offset.len() + self.by_id.len()
    }
}

/// Every id that some object of the pack points at, and the kind it must have.
#[derive(Default)]
pub(crate) struct Needed {
    links: HashMap<RawId, Kind>,
    /// Blobs that some tree names `.gitmodules`.
    pub(crate) gitmodules: BTreeSet<Oid>,
}

impl Needed {
    /// Remembers a link.
    pub(crate) fn add(&mut self, id: &Oid, kind: Kind) -> Result<()> {
        let before = *self.links.entry(raw(id)).or_insert(kind);
        if before == kind { Ok(()) } else { Err(two_kinds(id, before, kind)) }
    }

    /// Strikes out what the pack itself has; returns whether anything pointed at it.
    pub(crate) fn strike(&mut self, id: &RawId, kind: Kind) -> Result<bool> {
        match self.links.remove(id) {
            None => Ok(false),
            Some(needed) if needed == kind => Ok(true),
            Some(needed) => Err(two_kinds(&oid(id), kind, needed)),
        }
    }

    /// What is left: links out of the pack.
    pub(crate) fn into_rest(self) -> Vec<(Oid, Kind)> {
        self.links.into_iter().map(|(id, kind)| (oid(&id), kind)).collect()
    }
}

/// The error for an object used as what it is not.
pub(crate) fn two_kinds(id: &Oid, is: Kind, used_as: Kind) -> RepoError {
    RepoError::BadObject { id: *id, kind: is, why: format!("another object uses it as a {used_as}") }
}
