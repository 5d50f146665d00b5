//! What an answer has, and what is known of the one who gets it.

use std::sync::Arc;

use slipway_core::Oid;

use super::stored::Stored;
use crate::ids::{IdMap, IdSet};
use crate::marks::Marks;
use crate::packs::{PackSet, Place};

/// The objects of an answer.
pub(crate) struct Selected {
    /// All of them.
    pub(crate) taken: Arc<Marks>,
    /// Some of what the client has: good for bases of thin deltas.
    pub(crate) edge: Edge,
    /// For some objects, an earlier version.
    pub(crate) twins: IdMap<Twin>,
    /// How some of them are stored, each once, in no order.
    pub(crate) stored: Vec<Stored>,
}

/// Some of what the client has: as it was met, and as bitmaps tell it.
#[derive(Default)]
pub(crate) struct Edge {
    pub(super) met: IdSet,
    pub(super) told: Marks,
    /// Some of it may be in the answer all the same.
    pub(super) sent_too: bool,
}

impl Edge {
    /// True if the client is known to have the object.
    pub(crate) fn has(&self, packs: &PackSet, id: &Oid) -> bool {
        self.met.contains(id) || (!self.told.is_empty() && self.told.has(packs, id))
    }

    /// True if the client has the object and it is not in the answer, which has those of `taken`.
    pub(crate) fn alone_has(&self, packs: &PackSet, taken: &Marks, id: &Oid) -> bool {
        self.has(packs, id) && !(self.sent_too && taken.has(packs, id))
    }

    /// The same for an object at that place.
    pub(crate) fn has_place(&self, packs: &PackSet, place: Place) -> bool {
        self.told.has_place(packs, place) || (!self.met.is_empty() && self.met.contains(&packs.id(place)))
    }
}

/// An earlier version of an object: of the same path, in a parent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Twin {
    /// Its id. The client has it, or it is in the answer too.
    pub(crate) was: Oid,
    /// Ascends in an order in which earlier versions come first.
    pub(crate) turn: u32,
}

impl Selected {
    /// These objects, for somebody who has nothing.
    pub(crate) fn just(taken: Arc<Marks>) -> Self {
        Self { taken, edge: Edge::default(), twins: IdMap::default(), stored: Vec::new() }
    }
}
