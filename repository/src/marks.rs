//! A set of objects of one generation. Knows where packs put an object, and nothing of what leads to it.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use slipway_core::Oid;

use crate::bits::Bits;
use crate::error::{RepoError, Result};
use crate::pack::Pack;
use crate::packs::{PackSet, Place};

/// A set of objects of one snapshot: a bit for each packed one, an id for each loose one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Marks {
    packed: Bits,
    loose: HashSet<Oid>,
}

impl Marks {
    /// An empty set with room for the objects of these packs.
    pub(crate) fn for_packs(packs: &PackSet) -> Self {
        Self { packed: Bits::with_len(packs.count()), loose: HashSet::new() }
    }

    /// Puts it in; false if it was.
    pub(crate) fn put(&mut self, packs: &PackSet, id: &Oid) -> bool {
        // A loose object may have been packed since it was put in.
        if !self.loose.is_empty() && self.loose.contains(id) {
            return false;
        }
        match packs.locate(id) {
            Some(place) => self.packed.put(packs.rank(place)),
            None => self.loose.insert(*id),
        }
    }

    /// The same for one that is known to be at that place ([`PackSet::locate`]).
    pub(crate) fn put_at(&mut self, packs: &PackSet, id: &Oid, place: Place) -> bool {
        let is_loose = !self.loose.is_empty() && self.loose.contains(id);
        !is_loose && self.packed.put(packs.rank(place))
    }

    /// Puts the packed object of that rank in.
    pub(crate) fn put_rank(&mut self, rank: usize) {
        self.packed.put(rank);
    }

    /// Puts the packed objects of these ranks in.
    pub(crate) fn put_ranks(&mut self, ranks: std::ops::Range<usize>) {
        self.packed.put_range(ranks.start, ranks.end);
    }

    /// Puts in what is in the other.
    pub(crate) fn add(&mut self, other: &Self) {
        self.packed.or(&other.packed);
        self.loose.extend(&other.loose);
    }

    /// Takes out what is in the other.
    pub(crate) fn remove(&mut self, other: &Self) {
        self.packed.and_not(&other.packed);
        self.loose.retain(|id| !other.loose.contains(id));
    }

    /// Asks `stays` of each loose object in it, and of each in packs that `of` names, whether it stays.
    pub(crate) fn try_retain(
        &mut self,
        packs: &PackSet,
        of: &dyn Fn(&Arc<Pack>) -> bool,
        stop: &AtomicBool,
        stays: &mut dyn FnMut(std::result::Result<Place, &Oid>) -> Result<bool>,
    ) -> Result<()> {
        for (_, number) in packs.packs().iter().zip(0u32..).filter(|(pack, _)| of(pack)) {
            let ranks = packs.ranks(number);
            let all: Vec<usize> = self.packed.iter_in(ranks.clone()).collect();
            for rank in all {
                if stop.load(Ordering::Relaxed) {
                    return Err(RepoError::Stopped);
                }
                let place = Place { pack: number, position: (rank - ranks.start) as u32 };
                if !stays(Ok(place))? {
                    self.packed.clear(rank);
                }
            }
        }
        let mut loose = HashSet::with_capacity(self.loose.len());
        for id in std::mem::take(&mut self.loose) {
            if stays(Err(&id))? {
                loose.insert(id);
            }
        }
        self.loose = loose;
        Ok(())
    }

    /// True if the packed object at that place is in.
    pub(crate) fn has_place(&self, packs: &PackSet, place: Place) -> bool {
        self.packed.has(packs.rank(place))
    }

    /// True if it is in.
    pub(crate) fn has(&self, packs: &PackSet, id: &Oid) -> bool {
        self.loose.contains(id) || packs.locate(id).is_some_and(|place| self.packed.has(packs.rank(place)))
    }

    /// True if nothing is in.
    pub(crate) fn is_empty(&self) -> bool {
        self.packed.is_empty() && self.loose.is_empty()
    }

    /// The packed ones, by [`PackSet::rank`].
    pub(crate) fn packed(&self) -> &Bits {
        &self.packed
    }

    /// The loose ones, in no order.
    pub(crate) fn loose(&self) -> impl Iterator<Item = &Oid> {
        self.loose.iter()
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.packed.count() + self.loose.len()
    }
}
