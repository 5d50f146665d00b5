//! What is known of each entry of a pack while it is taken in, in columns: 41 bytes an object (53 with SHA-256), 28 more
//! (40) for a delta whose base is named by its id.
//!
//! Kinds, ids and bases of deltas are filled in by several threads, each entry by the one that claimed it; hence the
//! atomic columns, which cost nothing more than plain ones.

use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use slipway_core::{ObjectFormat, Oid};

use crate::object::Kind;

/// Instead of a base's number: the entry is no delta, or is not resolved yet.
const NO_BASE: u32 = u32::MAX;
/// Instead of a kind: some thread is making the object.
const CLAIMED: u8 = 7;

/// Entries in the order of their offsets, and the deltas among them.
pub(crate) struct Entries {
    format: ObjectFormat,
    /// Words of 32 bits in an id.
    words: usize,
    offsets: Vec<u64>,
    crcs: Vec<u32>,
    /// 0 until known; else as in a pack's entries.
    kinds: Vec<AtomicU8>,
    /// Big-endian words, so that they compare as their ids do.
    ids: Vec<AtomicU32>,
    bases: Vec<AtomicU32>,
    /// Deltas whose base is named by its offset; sorted by base once all are here.
    by_offset: Vec<u32>,
    /// Deltas whose base is named by its id, and those ids in the same order.
    by_id: Vec<u32>,
    base_ids: Vec<u32>,
    /// Positions in `by_id`, sorted by id.
    by_id_order: Vec<u32>,
    /// A bit for each entry that some delta names by its offset.
    is_base: Vec<u64>,
}

impl Entries {
    pub(crate) fn new(format: ObjectFormat) -> Self {
        Self {
            format,
            words: format.id_bytes() / 4,
            offsets: Vec::new(),
            crcs: Vec::new(),
            kinds: Vec::new(),
            ids: Vec::new(),
            bases: Vec::new(),
            by_offset: Vec::new(),
            by_id: Vec::new(),
            base_ids: Vec::new(),
            by_id_order: Vec::new(),
            is_base: Vec::new(),
        }
    }

    pub(crate) fn format(&self) -> ObjectFormat {
        self.format
    }

    pub(crate) fn len(&self) -> usize {
        self.offsets.len()
    }

    fn push(&mut self, offset: u64, crc: u32, kind: u8, base: u32) -> u32 {
        let number = self.len() as u32;
        self.offsets.push(offset);
        self.crcs.push(crc);
        self.kinds.push(AtomicU8::new(kind));
        self.bases.push(AtomicU32::new(base));
        self.ids.extend((0..self.words).map(|_| AtomicU32::new(0)));
        number
    }

    /// Adds a whole object; its id comes with [`Entries::set_id`]. Returns its number.
    pub(crate) fn push_whole(&mut self, offset: u64, crc: u32, kind: Kind) -> u32 {
        self.push(offset, crc, kind.pack_code(), NO_BASE)
    }

    /// Adds a delta on the entry of number `base`.
    pub(crate) fn push_offset_delta(&mut self, offset: u64, crc: u32, base: u32) {
        let number = self.push(offset, crc, 0, base);
        self.by_offset.push(number);
        let word = base as usize / 64;
        if word >= self.is_base.len() {
            self.is_base.resize((number as usize / 64 + 1).next_power_of_two(), 0);
        }
        self.is_base[word] |= 1 << (base % 64);
    }

    /// Adds a delta on the object `base`.
    pub(crate) fn push_id_delta(&mut self, offset: u64, crc: u32, base: &Oid) {
        let number = self.push(offset, crc, 0, NO_BASE);
        self.by_id.push(number);
        self.base_ids.extend(words_of(base, self.words));
    }

    /// Leaves out the whole objects from number `from` on, but for those in `kept`, in order, which lie at other offsets
    /// now.
    pub(crate) fn close_up(&mut self, from: u32, kept: &[(u32, u64)]) {
        let rest: Vec<(u64, u32, Option<Kind>, Oid)> = kept
            .iter()
            .map(|(number, offset)| (*offset, self.crc(*number), self.kind(*number), self.id(*number)))
            .collect();
        let len = from as usize;
        self.offsets.truncate(len);
        self.crcs.truncate(len);
        self.kinds.truncate(len);
        self.bases.truncate(len);
        self.ids.truncate(len * self.words);
        for (offset, crc, kind, id) in rest {
            let number = self.push(offset, crc, kind.map_or(0, Kind::pack_code), NO_BASE);
            self.set_id(number, &id);
        }
    }

    /// To be called once all have arrived: makes children findable.
    pub(crate) fn seal(&mut self) {
        let bases = &self.bases;
        self.by_offset.sort_unstable_by_key(|d| (bases[*d as usize].load(Ordering::Relaxed), *d));
        let (ids, words) = (&self.base_ids, self.words);
        let id = |at: &u32| &ids[*at as usize * words..][..words];
        self.by_id_order = (0..self.by_id.len() as u32).collect();
        self.by_id_order.sort_unstable_by(|a, b| (id(a), a).cmp(&(id(b), b)));
    }

    /// The number of the entry at exactly that offset.
    pub(crate) fn at_offset(&self, offset: u64) -> Option<u32> {
        self.offsets.binary_search(&offset).ok().map(|i| i as u32)
    }

    pub(crate) fn deltas(&self) -> u32 {
        (self.by_offset.len() + self.by_id.len()) as u32
    }

    pub(crate) fn offset(&self, number: u32) -> u64 {
        self.offsets[number as usize]
    }

    pub(crate) fn crc(&self, number: u32) -> u32 {
        self.crcs[number as usize]
    }

    /// `None` until a delta is resolved.
    pub(crate) fn kind(&self, number: u32) -> Option<Kind> {
        // Whoever sees the kind sees the id and the base, too.
        match self.kinds[number as usize].load(Ordering::Acquire) {
            1 => Some(Kind::Commit),
            2 => Some(Kind::Tree),
            3 => Some(Kind::Blob),
            4 => Some(Kind::Tag),
            _ => None,
        }
    }

    /// The entry that a resolved delta builds on.
    pub(crate) fn base(&self, number: u32) -> Option<u32> {
        let base = self.bases[number as usize].load(Ordering::Relaxed);
        (base != NO_BASE).then_some(base)
    }

    pub(crate) fn set_id(&self, number: u32, id: &Oid) {
        let at = number as usize * self.words;
        for (word, value) in self.ids[at..at + self.words].iter().zip(words_of(id, self.words)) {
            word.store(value, Ordering::Relaxed);
        }
    }

    pub(crate) fn id(&self, number: u32) -> Oid {
        let at = number as usize * self.words;
        let mut raw = [0u8; 32];
        for (to, word) in raw.chunks_exact_mut(4).zip(&self.ids[at..at + self.words]) {
            to.copy_from_slice(&word.load(Ordering::Relaxed).to_be_bytes());
        }
        Oid::from_bytes(&raw[..self.words * 4]).unwrap_or(Oid::ZERO_SHA1)
    }

    /// Takes on making a delta's object; false if that was done, or another thread is at it.
    pub(crate) fn claim(&self, delta: u32) -> bool {
        let kind = &self.kinds[delta as usize];
        kind.compare_exchange(0, CLAIMED, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Notes what a claimed delta became.
    pub(crate) fn resolved(&self, delta: u32, base: u32, kind: Kind, id: &Oid) {
        self.set_id(delta, id);
        self.bases[delta as usize].store(base, Ordering::Relaxed);
        self.kinds[delta as usize].store(kind.pack_code(), Ordering::Release);
    }

    /// True if a delta names the entry by its offset.
    fn is_base(&self, number: u32) -> bool {
        self.is_base.get(number as usize / 64).is_some_and(|word| word >> (number % 64) & 1 == 1)
    }

    /// False if certainly nothing builds on the entry.
    pub(crate) fn may_have_children(&self, number: u32) -> bool {
        self.is_base(number) || !self.by_id.is_empty()
    }

    /// The unresolved deltas on an entry with that id, ordered so that those known to be bases of others come out of
    /// `pop` last, and else the first in the pack first.
    pub(crate) fn children(&self, number: u32, id: &Oid) -> Vec<u32> {
        let mut all: Vec<u32> = Vec::new();
        if self.is_base(number) {
            let base = |d: &u32| self.bases[*d as usize].load(Ordering::Relaxed);
            let from = self.by_offset.partition_point(|d| base(d) < number);
            all.extend(self.by_offset[from..].iter().take_while(|d| base(d) == number));
        }
        if !self.by_id.is_empty() {
            all.extend(self.on_id(&words_of(id, self.words).collect::<Vec<_>>()));
        }
        all.retain(|d| self.kinds[*d as usize].load(Ordering::Relaxed) == 0);
        all.sort_unstable_by_key(|d| (!self.is_base(*d), std::cmp::Reverse(*d)));
        all
    }

    /// The deltas that name a base by that id.
    fn on_id<'a>(&'a self, id: &'a [u32]) -> impl Iterator<Item = u32> + 'a {
        let of = |at: &u32| &self.base_ids[*at as usize * self.words..][..self.words];
        let from = self.by_id_order.partition_point(|at| of(at) < id);
        let on = self.by_id_order[from..].iter().take_while(move |at| of(at) == id);
        on.map(|at| self.by_id[*at as usize])
    }

    /// The ids that unresolved deltas wait for, sorted.
    pub(crate) fn waiting(&self) -> Vec<Oid> {
        let mut ids: Vec<Oid> = Vec::new();
        for at in &self.by_id_order {
            if self.kind(self.by_id[*at as usize]).is_some() {
                continue;
            }
            let words = &self.base_ids[*at as usize * self.words..][..self.words];
            let raw: Vec<u8> = words.iter().flat_map(|w| w.to_be_bytes()).collect();
            if let Some(id) = Oid::from_bytes(&raw)
                && ids.last() != Some(&id)
            {
                ids.push(id);
            }
        }
        ids
    }

    /// A delta that was not resolved.
    pub(crate) fn unresolved(&self) -> Option<u32> {
        (0..self.len() as u32).find(|n| self.kind(*n).is_none())
    }

    /// The numbers of all entries, sorted by id; an id that is there twice is the error.
    pub(crate) fn sorted(&self) -> Result<Vec<u32>, Oid> {
        // Most ids differ in their first word: that and the number sort as one integer.
        let first = |n: usize| u64::from(self.ids[n * self.words].load(Ordering::Relaxed));
        let mut keys: Vec<u64> = (0..self.len()).map(|n| first(n) << 32 | n as u64).collect();
        keys.sort_unstable();
        let mut order: Vec<u32> = keys.into_iter().map(|key| key as u32).collect();
        let first = |n: u32| self.ids[n as usize * self.words].load(Ordering::Relaxed);
        let mut at = 0;
        while at < order.len() {
            let same = order[at..].iter().take_while(|n| first(**n) == first(order[at])).count();
            if same > 1 {
                let run = &mut order[at..at + same];
                run.sort_unstable_by_key(|n| self.id(*n));
                if let Some(twins) = run.windows(2).find(|w| self.id(w[0]) == self.id(w[1])) {
                    return Err(self.id(twins[0]));
                }
            }
            at += same;
        }
        Ok(order)
    }
}

fn words_of(id: &Oid, words: usize) -> impl Iterator<Item = u32> + '_ {
    id.as_bytes().chunks_exact(4).take(words).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(first: u8, last: u8) -> Oid {
        let mut raw = [0; 20];
        (raw[0], raw[19]) = (first, last);
        Oid::Sha1(raw)
    }

    #[test]
    fn entries_sort_by_id_and_twins_are_found() {
        let mut entries = Entries::new(ObjectFormat::Sha1);
        for (n, id) in [id(7, 2), id(1, 0), id(7, 1), id(0, 9)].iter().enumerate() {
            let number = entries.push_whole(n as u64, 0, Kind::Blob);
            entries.set_id(number, id);
        }
        assert_eq!(entries.sorted(), Ok(vec![3, 1, 2, 0]));
        let number = entries.push_whole(9, 0, Kind::Blob);
        entries.set_id(number, &id(7, 1));
        assert_eq!(entries.sorted(), Err(id(7, 1)));
    }

    #[test]
    fn children_are_found_by_offset_and_by_id_until_they_are_resolved() {
        let mut entries = Entries::new(ObjectFormat::Sha1);
        let root = entries.push_whole(12, 0, Kind::Blob);
        entries.set_id(root, &id(5, 5));
        entries.push_offset_delta(20, 0, root);
        entries.push_offset_delta(30, 0, 1);
        entries.push_id_delta(40, 0, &id(5, 5));
        entries.push_id_delta(50, 0, &id(6, 6));
        entries.seal();
        // Entry 1 is a base itself, so it is popped last.
        assert_eq!(entries.children(root, &id(5, 5)), [1, 3]);
        assert!(entries.claim(3) && !entries.claim(3));
        entries.resolved(3, root, Kind::Blob, &id(6, 6));
        assert_eq!(entries.children(root, &id(5, 5)), [1]);
        assert_eq!(entries.children(3, &id(6, 6)), [4]);
        assert_eq!(entries.waiting(), [id(6, 6)]);
        assert_eq!((entries.base(3), entries.unresolved()), (Some(root), Some(1)));
    }
}
