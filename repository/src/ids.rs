//! Tables of object ids. Their hash is seeded anew in every process: who chooses ids cannot choose where they meet.

use std::collections::{HashMap, HashSet};

use foldhash::fast::RandomState;
use slipway_core::Oid;

use crate::limits::RECENT_IDS;

/// Ids.
pub(crate) type IdSet = HashSet<Oid, RandomState>;

/// Something for each of some ids.
pub(crate) type IdMap<V> = HashMap<Oid, V, RandomState>;

/// Ids that came not long ago, so that what comes again and again (one tree after another has nearly the same entries) need
/// not be looked up each time. Each id has one slot, which the next for that slot takes: ids that were made to meet there
/// cost time alone.
#[derive(Default)]
pub(crate) struct Recent(Vec<Oid>);

impl Recent {
    /// True if the id came not long ago; from now on it did.
    pub(crate) fn came(&mut self, id: &Oid) -> bool {
        let bytes = id.as_bytes();
        let [.., a, b] = bytes else { return false };
        // Most walks end before their first tree.
        if self.0.is_empty() {
            self.0.resize(RECENT_IDS, id.zero_like());
        }
        let slot = &mut self.0[usize::from(u16::from_be_bytes([*a, *b])) % RECENT_IDS];
        if ends(slot.as_bytes()) == ends(bytes) {
            return true;
        }
        *slot = *id;
        false
    }
}

/// The first and the last 16 bytes, which are all there are of an id of 20 or 32: two comparisons instead of a call, which
/// took longer than the rest of a walk's look at an entry.
fn ends(id: &[u8]) -> (Option<u128>, Option<u128>) {
    let number = |bytes: &[u8; 16]| u128::from_ne_bytes(*bytes);
    (id.first_chunk().map(number), id.last_chunk().map(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_is_known_until_another_takes_its_slot() {
        let id = |first: u8, last: u8| {
            let mut bytes = [0; 20];
            (bytes[0], bytes[19]) = (first, last);
            Oid::Sha1(bytes)
        };
        let mut recent = Recent::default();
        assert!(!recent.came(&id(1, 1)) && recent.came(&id(1, 1)));
        assert!(!recent.came(&id(1, 2)) && recent.came(&id(1, 1)));
        assert!(!recent.came(&id(2, 1)), "another id of the same slot");
        assert!(!recent.came(&id(1, 1)) && recent.came(&id(1, 2)));
    }
}
