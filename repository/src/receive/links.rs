//! Every id that some object of the pack points at, and the kind it must have there.
//!
//! Up to [`ReceiveLimits::exact_links_max`](super::ReceiveLimits) objects in the pack, ids are kept as they are. For
//! larger packs 8-byte fingerprints stand for them, at most 21 bytes a link with the table's free room. Fingerprints
//! are keyed with a number that the sender cannot know, fresh for each pack, so collisions cannot be made on purpose;
//! by chance two of ten million links meet once in some ten thousand packs, and then the push fails or, far less
//! likely, a missing object among them is taken for one of the pack. What is left over is read again exactly.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{self, AtomicUsize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use slipway_core::Oid;

use crate::check::{Checks, Flaw};
use crate::error::{RepoError, Result};
use crate::limits::{
    FLAWS_TOLD_MAX, GITMODULES_FILES_MAX, LINK_SHARDS, LINKS_MAX, OUTSIDE_LINKS_MAX, RECENT_LINKS,
};
use crate::object::Kind;

/// Low bits of a fingerprint's slot: the kind, and whether the pack itself has the object.
const KIND_BITS: u64 = 0b011;
const HERE_BIT: u64 = 0b100;
const LOW_BITS: u64 = KIND_BITS | HERE_BIT;

/// The links of one pack, filled by several threads.
pub(crate) struct Links {
    key: [u64; 4],
    shards: Vec<Mutex<Shard>>,
    count: AtomicUsize,
    gitmodules: Mutex<BTreeSet<Oid>>,
    checks: Arc<Checks>,
    /// What the pusher is told of objects that are let through.
    remarks: Mutex<Vec<String>>,
    /// Objects that are refused, with the rules that they break.
    refused: Mutex<Vec<(Oid, Kind, Flaw)>>,
}

enum Shard {
    Exact(HashMap<Oid, (Kind, bool)>),
    Prints(Prints),
}

/// The links that one thread met last: trees repeat those of the tree before them.
pub(crate) struct Recent(Vec<u64>);

impl Recent {
    pub(crate) fn new(links: &Links) -> Self {
        Self(vec![0; if links.shards.len() > 1 { RECENT_LINKS } else { 64 }])
    }

    /// Puts it in; false if it was there.
    fn put(&mut self, print: u64) -> bool {
        let slots = self.0.len();
        let slot = &mut self.0[(print >> 20) as usize % slots];
        std::mem::replace(slot, print) != print
    }
}

impl Links {
    /// Exact for packs that announce at most `exact_max` of `objects`.
    pub(crate) fn new(objects: u32, exact_max: u32) -> Self {
        let random = RandomState::new();
        let key = std::array::from_fn(|i| random.hash_one(i) | 1);
        let shards = if objects < 1000 { 1 } else { LINK_SHARDS };
        let shard = || {
            let shard = if objects <= exact_max {
                Shard::Exact(HashMap::new())
            } else {
                Shard::Prints(Prints::default())
            };
            Mutex::new(shard)
        };
        Self {
            key,
            shards: (0..shards).map(|_| shard()).collect(),
            count: AtomicUsize::new(0),
            gitmodules: Mutex::default(),
            checks: Arc::default(),
            remarks: Mutex::default(),
            refused: Mutex::default(),
        }
    }

    /// The same where the objects are checked in another way than by all rules.
    pub(crate) fn with_checks(mut self, checks: Arc<Checks>) -> Self {
        self.checks = checks;
        self
    }

    /// How the objects are checked.
    pub(crate) fn checks(&self) -> &Checks {
        &self.checks
    }

    /// Keeps a remark for the pusher; not more than some.
    pub(crate) fn remark(&self, text: &str) {
        let mut remarks = self.remarks.lock().unwrap_or_else(PoisonError::into_inner);
        match remarks.len().cmp(&FLAWS_TOLD_MAX) {
            Ordering::Less => remarks.push(format!("warning: {text}")),
            Ordering::Equal => remarks.push("warning: and more of that kind".to_owned()),
            Ordering::Greater => {}
        }
    }

    /// Keeps an object that is refused, so that others are found too; gives the flaw back once there are enough.
    pub(crate) fn refuse(&self, id: &Oid, kind: Kind, flaw: Flaw) -> Result<(), Flaw> {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if refused.len() >= FLAWS_TOLD_MAX {
            return Err(flaw);
        }
        refused.push((*id, kind, flaw));
        Ok(())
    }

    /// Refuses the pack if any of its objects is.
    pub(crate) fn check_refused(&self) -> Result<()> {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(((id, kind, flaw), others)) = refused.split_first() else { return Ok(()) };
        let mut why = flaw.to_string();
        for (id, kind, flaw) in others {
            why.push_str(&format!("; {kind} {id}: {flaw}"));
        }
        Err(RepoError::BadObject { id: *id, kind: *kind, why, cure: flaw.rule.cure() })
    }

    /// The remarks for the pusher.
    pub(crate) fn remarks(&self) -> Vec<String> {
        std::mem::take(&mut *self.remarks.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A number for an id that nobody outside can foresee; its low bits are free.
    fn print(&self, id: &Oid) -> u64 {
        let mut folded = 0u64;
        let mut words = id.as_bytes().chunks(8).map(|chunk| {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            u64::from_le_bytes(word)
        });
        let mut keys = self.key.iter();
        while let (Some(a), Some(k)) = (words.next(), keys.next()) {
            let b = words.next().unwrap_or(0);
            let other = keys.next().unwrap_or(k);
            let product = u128::from(a.wrapping_add(*k)) * u128::from(b.wrapping_add(*other));
            folded = folded.rotate_left(29) ^ (product as u64) ^ (product >> 64) as u64;
        }
        (folded & !LOW_BITS).max(LOW_BITS + 1)
    }

    fn shard(&self, print: u64) -> MutexGuard<'_, Shard> {
        // A panic while it was held fails the push; nobody looks at what it left.
        self.shards[(print >> 56) as usize % self.shards.len()].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers a link.
    ///
    /// # Errors
    /// [`RepoError::BadObject`] if it was used as another kind before, [`RepoError::TooMuch`] for too many.
    pub(crate) fn add(&self, id: &Oid, kind: Kind, recent: &mut Recent) -> Result<()> {
        let print = self.print(id);
        if !recent.put(print | code(kind)) {
            return Ok(());
        }
        let mut shard = self.shard(print);
        let before = match &mut *shard {
            Shard::Exact(links) => {
                let before = links.len();
                let (known, _) = *links.entry(*id).or_insert((kind, false));
                (known, links.len() > before)
            }
            Shard::Prints(prints) => prints.add(print, kind),
        };
        drop(shard);
        let (known, is_new) = before;
        if is_new && self.count.fetch_add(1, atomic::Ordering::Relaxed) >= LINKS_MAX {
            let what = "the number of different objects that the pack points at";
            return Err(RepoError::TooMuch { what, max: LINKS_MAX as u64 });
        }
        if known == kind { Ok(()) } else { Err(two_kinds(id, known, kind)) }
    }

    /// Notes that the pack itself has the object; returns whether anything points at it.
    pub(crate) fn strike(&self, id: &Oid, kind: Kind) -> Result<bool> {
        let print = self.print(id);
        let needed = match &mut *self.shard(print) {
            Shard::Exact(links) => links.get_mut(id).map(|(needed, here)| {
                *here = true;
                *needed
            }),
            Shard::Prints(prints) => prints.strike(print),
        };
        match needed {
            None => Ok(false),
            Some(needed) if needed == kind => Ok(true),
            Some(needed) => Err(two_kinds(id, kind, needed)),
        }
    }

    /// Remembers a blob that some tree names `.gitmodules`.
    pub(crate) fn add_gitmodules(&self, id: Oid) -> Result<()> {
        let mut all = self.gitmodules.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(id);
        if all.len() > GITMODULES_FILES_MAX {
            let max = GITMODULES_FILES_MAX as u64;
            return Err(RepoError::TooMuch { what: "the number of different .gitmodules files", max });
        }
        Ok(())
    }

    /// The blobs that trees name `.gitmodules`.
    pub(crate) fn gitmodules(&self) -> BTreeSet<Oid> {
        std::mem::take(&mut self.gitmodules.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What is left after all strikes: links out of the pack.
    ///
    /// # Errors
    /// [`RepoError::TooMuch`] for too many.
    pub(crate) fn rest(self) -> Result<Rest> {
        let (mut exact, mut prints) = (Vec::new(), HashSet::new());
        for shard in self.shards {
            match shard.into_inner().unwrap_or_else(PoisonError::into_inner) {
                Shard::Exact(links) => {
                    let left = links.into_iter().filter(|(_, (_, here))| !here);
                    exact.extend(left.map(|(id, (kind, _))| (id, kind)));
                }
                Shard::Prints(table) => prints.extend(table.left()),
            }
        }
        if exact.len().max(prints.len()) > OUTSIDE_LINKS_MAX {
            let what = "the number of objects outside the pack that it points at";
            return Err(RepoError::TooMuch { what, max: OUTSIDE_LINKS_MAX as u64 });
        }
        if prints.is_empty() {
            return Ok(Rest::Exact(exact));
        }
        let empty = Self {
            key: self.key,
            shards: Vec::new(),
            count: AtomicUsize::new(0),
            gitmodules: Mutex::default(),
            checks: Arc::default(),
            remarks: Mutex::default(),
            refused: Mutex::default(),
        };
        Ok(Rest::Prints(Leftover { links: empty, prints }))
    }
}

/// Links out of the pack.
pub(crate) enum Rest {
    Exact(Vec<(Oid, Kind)>),
    /// Their ids are in the objects of the pack.
    Prints(Leftover),
}

/// Fingerprints of links that leave the pack.
pub(crate) struct Leftover {
    links: Links,
    prints: HashSet<u64>,
}

impl Leftover {
    /// True if the link is one of them.
    pub(crate) fn has(&self, id: &Oid) -> bool {
        self.prints.contains(&self.links.print(id))
    }
}

/// A table of fingerprints with open addressing; 0 is a free slot.
#[derive(Default)]
struct Prints {
    slots: Vec<u64>,
    used: usize,
}

impl Prints {
    /// Adds a link; returns the kind it is known with, and whether it is new.
    fn add(&mut self, print: u64, kind: Kind) -> (Kind, bool) {
        if self.used * 4 >= self.slots.len() * 3 {
            self.grow();
        }
        let at = find(&self.slots, print);
        let slot = &mut self.slots[at];
        if *slot == 0 {
            *slot = print | code(kind);
            self.used += 1;
            return (kind, true);
        }
        (kind_of(*slot), false)
    }

    fn strike(&mut self, print: u64) -> Option<Kind> {
        if self.slots.is_empty() {
            return None;
        }
        let at = find(&self.slots, print);
        let slot = &mut self.slots[at];
        if *slot == 0 {
            return None;
        }
        *slot |= HERE_BIT;
        Some(kind_of(*slot))
    }

    fn grow(&mut self) {
        let more = vec![0; (self.slots.len() * 2).max(1024)];
        let old = std::mem::replace(&mut self.slots, more);
        for slot in old.into_iter().filter(|s| *s != 0) {
            let at = find(&self.slots, slot & !LOW_BITS);
            self.slots[at] = slot;
        }
    }

    fn left(&self) -> impl Iterator<Item = u64> + '_ {
        self.slots.iter().filter(|s| **s != 0 && **s & HERE_BIT == 0).map(|s| s & !LOW_BITS)
    }
}

/// Where the fingerprint is, or would be. There always is a free slot.
fn find(slots: &[u64], print: u64) -> usize {
    let mask = slots.len() - 1;
    let mut at = (print >> 8) as usize & mask;
    while slots[at] != 0 && slots[at] & !LOW_BITS != print {
        at = (at + 1) & mask;
    }
    at
}

fn code(kind: Kind) -> u64 {
    u64::from(kind.pack_code()) - 1
}

fn kind_of(slot: u64) -> Kind {
    match slot & KIND_BITS {
        0 => Kind::Commit,
        1 => Kind::Tree,
        2 => Kind::Blob,
        _ => Kind::Tag,
    }
}

/// The error for an object used as what it is not.
pub(crate) fn two_kinds(id: &Oid, is: Kind, used_as: Kind) -> RepoError {
    RepoError::BadObject {
        id: *id,
        kind: is,
        why: format!("another object uses it as a {used_as}"),
        cure: crate::check::MEND,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u32) -> Oid {
        let mut raw = [0; 20];
        raw[3..7].copy_from_slice(&n.to_le_bytes());
        Oid::Sha1(raw)
    }

    fn filled(objects: u32, exact_max: u32) -> (Links, Recent) {
        let links = Links::new(objects, exact_max);
        let mut recent = Recent::new(&links);
        for n in 0..50_000 {
            links.add(&id(n), Kind::Blob, &mut recent).expect("new");
            links.add(&id(n), Kind::Blob, &mut recent).expect("known");
        }
        (links, recent)
    }

    #[test]
    fn what_the_pack_has_is_struck_out_and_the_rest_is_left() {
        for exact_max in [0, 100_000] {
            let (links, _) = filled(60_000, exact_max);
            for n in 10..60_000 {
                assert_eq!(links.strike(&id(n), Kind::Blob).expect("right kind"), n < 50_000);
            }
            match links.rest().expect("few") {
                Rest::Exact(mut left) => {
                    left.sort_unstable_by_key(|(id, _)| *id);
                    assert_eq!(exact_max, 100_000);
                    assert_eq!(left, (0..10).map(|n| (id(n), Kind::Blob)).collect::<Vec<_>>());
                }
                Rest::Prints(left) => {
                    assert_eq!((exact_max, left.prints.len()), (0, 10));
                    assert!((0..60_000).all(|n| left.has(&id(n)) == (n < 10)));
                }
            }
        }
    }

    #[test]
    fn one_id_has_one_kind() {
        for exact_max in [0, 100_000] {
            let (links, mut recent) = filled(60_000, exact_max);
            assert!(links.add(&id(7), Kind::Tree, &mut recent).is_err());
            assert!(links.strike(&id(8), Kind::Commit).is_err());
        }
    }

    #[test]
    fn fingerprints_depend_on_every_byte_and_on_the_key() {
        let links = Links::new(1, 0);
        for raw in [vec![1u8; 20], vec![1u8; 32]] {
            let print = |raw: &[u8]| links.print(&Oid::from_bytes(raw).expect("an id"));
            for at in 0..raw.len() {
                let mut other = raw.clone();
                other[at] ^= 0x40;
                assert_ne!(print(&raw), print(&other), "byte {at}");
            }
            assert_ne!(print(&raw), Links::new(1, 0).print(&Oid::from_bytes(&raw).expect("an id")));
        }
    }
}
