//! The window of a search: the last objects, indexed as they are needed, within a bound of bytes.

use std::collections::VecDeque;

use crate::delta::create::{DeltaIndex, create, index_bytes_max};
use crate::object::Kind;

/// The objects that the next one is compared with, the last one first.
#[derive(Default)]
pub(super) struct Window {
    pub(super) slots: VecDeque<Slot>,
    /// Buffers for further objects.
    pub(super) spare: Vec<Vec<u8>>,
}

/// One of them.
pub(super) struct Slot {
    pub(super) n: u32,
    pub(super) kind: Kind,
    /// Deltas that lead to it.
    pub(super) depth: usize,
    pub(super) body: Body,
}

/// An object's content; it is indexed once it is needed as a base.
pub(super) enum Body {
    Plain(Vec<u8>),
    Indexed(DeltaIndex<Vec<u8>>),
}

impl Body {
    fn data(&self) -> &[u8] {
        match self {
            Self::Plain(data) => data,
            Self::Indexed(index) => index.base(),
        }
    }

    fn memory(&self) -> usize {
        match self {
            Self::Plain(data) => data.capacity(),
            Self::Indexed(index) => index.base().len() + index.memory(),
        }
    }

    fn index(&mut self) -> Option<&DeltaIndex<Vec<u8>>> {
        if let Self::Plain(data) = self {
            *self = Self::Indexed(DeltaIndex::new(std::mem::take(data)));
        }
        match self {
            Self::Indexed(index) => Some(index),
            Self::Plain(_) => None,
        }
    }
}

/// The best delta so far.
pub(super) struct Best {
    pub(super) slot: usize,
    pub(super) depth: usize,
    pub(super) delta: Vec<u8>,
}

impl Window {
    fn memory(&self) -> usize {
        self.slots.iter().map(|slot| slot.body.memory()).sum()
    }

    /// Lets the oldest go until at most `count` objects and `bytes` bytes are left.
    pub(super) fn shrink(&mut self, count: usize, bytes: usize) {
        let mut memory = self.memory();
        while self.slots.len() > count || memory > bytes {
            let Some(slot) = self.slots.pop_front() else { break };
            memory -= slot.body.memory();
            if let Body::Plain(data) = slot.body {
                self.recycle(data);
            }
        }
    }

    pub(super) fn drop_other_kinds(&mut self, kind: Kind) {
        if self.slots.back().is_some_and(|slot| slot.kind != kind) {
            self.slots.clear();
        }
    }

    pub(super) fn recycle(&mut self, data: Vec<u8>) {
        if self.spare.len() < 2 && data.capacity() <= 64 << 10 {
            self.spare.push(data);
        }
    }

    /// The smallest delta for the object; deeper bases must save more.
    pub(super) fn best(&mut self, target: &[u8], depth_max: usize, bytes: usize) -> Option<Best> {
        let mut best: Option<Best> = None;
        let mut memory = self.memory() + target.len();
        for n in (0..self.slots.len()).rev() {
            let slot = &mut self.slots[n];
            let depth = slot.depth + 1;
            let Some(room) = depth_max.checked_sub(slot.depth).filter(|room| *room > 0) else { continue };
            let (size_max, best_depth) = match &best {
                Some(best) => (best.delta.len(), best.depth),
                None => ((target.len() / 2).saturating_sub(20), 1),
            };
            let size_max = size_max * room / (depth_max + 1 - best_depth);
            let base_len = slot.body.data().len();
            if target.len().saturating_sub(base_len) >= size_max || target.len() < base_len / 32 {
                continue;
            }
            if matches!(slot.body, Body::Plain(_)) {
                let more = index_bytes_max(base_len as u64) as usize;
                if memory + more > bytes {
                    continue;
                }
                memory -= slot.body.memory();
                slot.body.index();
                memory += slot.body.memory();
            }
            let delta = slot.body.index().and_then(|index| create(index, target, size_max));
            let Some(delta) = delta else { continue };
            let better = best.as_ref().is_none_or(|b| delta.len() < b.delta.len() || depth < b.depth);
            if better {
                best = Some(Best { slot: n, depth, delta });
            }
        }
        best
    }
}
