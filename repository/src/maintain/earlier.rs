//! Bitmaps that are there already, in the bits of a new index: what a commit reaches never changes, only the numbers of
//! its objects do. Most of them do not even, since the largest pack stays first and as it is.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use slipway_core::Oid;

use super::go_on;
use crate::bitmaps::Bitmaps;
use crate::bits::Bits;
use crate::error::Result;
use crate::object::Kind;
use crate::pack::Pack;
use crate::packs::{JointIndex, PackSet};
use crate::snapshot::Snapshot;

/// The bitmaps of an earlier index or pack.
pub(super) struct Earlier<'a> {
    bitmaps: &'a Bitmaps,
    packs: &'a PackSet,
    /// The new number of each bit; [`GONE`] if the new index does not have its object.
    new_of: Vec<u32>,
    /// So many of the first bits have the number that they had.
    same: usize,
    /// Bits in the new index.
    len: usize,
}

const GONE: u32 = u32::MAX;

impl<'a> Earlier<'a> {
    /// Those of a snapshot, of whose `packs` they are, for an index that has the bits `bit_of` by position. `None` if there
    /// are none that are whole.
    pub(super) fn new(
        snapshot: &'a Snapshot,
        packs: &'a PackSet,
        index: &JointIndex,
        bit_of: &[u32],
        stop: &AtomicBool,
    ) -> Result<Option<Self>> {
        let Some(bitmaps) = snapshot.bitmaps() else { return Ok(None) };
        // Whatever is wrong in them would be handed on for ever.
        if let Err(e) = bitmaps.verify() {
            tracing::warn!(objects = %snapshot.objects.display(), "bitmaps are computed anew: {e}");
            return Ok(None);
        }
        let count = bitmaps.objects();
        let mut new_of = vec![GONE; count as usize];
        // Both in the order of ids.
        let mut at = 0;
        for position in 0..count {
            if position % (1 << 16) == 0 {
                go_on(stop)?;
            }
            let Some(id) = bitmaps.id(packs, position) else { return Ok(None) };
            while index.file.id(at).is_some_and(|other| other < id) {
                at += 1;
            }
            if index.file.id(at) != Some(id) {
                continue;
            }
            let bit = bitmaps.bit(packs, position).and_then(|bit| new_of.get_mut(bit));
            let (Some(slot), Some(new)) = (bit, bit_of.get(at as usize)) else { return Ok(None) };
            *slot = *new;
        }
        let same = new_of.iter().zip(0..).take_while(|(new, old)| *new == old).count();
        Ok(Some(Self { bitmaps, packs, new_of, same, len: bit_of.len() }))
    }

    /// True if the commit has a bitmap.
    pub(super) fn has(&self, id: &Oid) -> bool {
        self.bitmaps.find(self.packs, id).is_some()
    }

    /// The commit's bitmap in the new bits; `None` if it has none, or reaches what is gone.
    pub(super) fn reach(&self, id: &Oid) -> Option<Bits> {
        let number = self.bitmaps.find(self.packs, id)?;
        self.bitmaps.reach(number).ok().and_then(|bits| self.moved(&bits))
    }

    /// The bits of a kind, in the new bits; those that are gone are left out.
    pub(super) fn kind(&self, kind: Kind) -> Option<Bits> {
        let mut bits = self.bitmaps.kind(kind).ok()?;
        for (old, new) in self.new_of.iter().enumerate().skip(self.same) {
            if *new == GONE {
                bits.clear(old);
            }
        }
        self.moved(&bits)
    }

    /// True if the kinds of all objects of the pack are told.
    pub(super) fn covers(&self, pack: &Arc<Pack>) -> bool {
        self.bitmaps.covers(self.packs, pack)
    }

    fn moved(&self, bits: &Bits) -> Option<Bits> {
        let mut moved = Bits::with_len(self.len);
        let words = (self.same / 64).min(bits.words().len());
        moved.words_mut(words).copy_from_slice(&bits.words()[..words]);
        for old in bits.iter_in(words * 64..self.new_of.len()) {
            let new = self.new_of[old];
            if new == GONE {
                return None;
            }
            moved.put(new as usize);
        }
        Some(moved)
    }
}
