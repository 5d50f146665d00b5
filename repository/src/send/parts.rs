//! Parts of answers, kept for other answers that need the same: what is new in a tree, and entries that were made. All of
//! it follows from the ids alone, so it holds for every repository and never becomes wrong. (Where the objects of a list
//! are stored does not: that is known by the packs it was found in.)
//!
//! Fetches of the same commits by clients that stand at different ones have most of their answers in common.

use std::hash::{Hash, RandomState};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use clru::{CLruCache, CLruCacheConfig, WeightScale};
use slipway_core::Oid;

use super::stored::News;
use crate::limits::{MADE_KEPT_BYTES_MAX, NEWS_KEPT_BYTES_MAX};

/// An entry's content as it is sent.
#[derive(Debug)]
pub(crate) struct Body {
    /// Bytes of the object or delta.
    pub(crate) size: u64,
    /// The same, compressed.
    pub(crate) deflated: Box<[u8]>,
}

/// A tree and the trees beside it.
pub(crate) type Neighbours = (Oid, Box<[Oid]>);

/// An object and the base of its delta, or none where it is whole.
pub(crate) type Entry = (Oid, Option<Oid>);

/// The parts.
pub(crate) struct Parts {
    /// What is new in a tree.
    pub(crate) news: Kept<Neighbours, Arc<News>>,
    /// What entries hold; `None` where a delta does not pay.
    pub(crate) bodies: Kept<Entry, Option<Arc<Body>>>,
}

impl Default for Parts {
    fn default() -> Self {
        Self { news: Kept::new(NEWS_KEPT_BYTES_MAX), bodies: Kept::new(MADE_KEPT_BYTES_MAX) }
    }
}

/// What takes memory.
pub(crate) trait Weight {
    /// Bytes on the heap, about.
    fn bytes(&self) -> usize;
}

impl Weight for Arc<News> {
    fn bytes(&self) -> usize {
        News::bytes(self)
    }
}

impl Weight for Option<Arc<Body>> {
    fn bytes(&self) -> usize {
        self.as_ref().map_or(0, |body| body.deflated.len() + size_of::<Body>())
    }
}

/// About what a place in a table takes beside what is in it, in bytes.
const SLOT_BYTES: usize = 160;

struct Scale;

impl<K, V: Weight> WeightScale<K, V> for Scale {
    fn weight(&self, _: &K, value: &V) -> usize {
        value.bytes() + SLOT_BYTES
    }
}

/// A table that forgets what was not asked for in the longest time once it takes too much memory.
pub(crate) struct Kept<K, V: Weight>(Mutex<CLruCache<K, V, RandomState, Scale>>);

impl<K: Eq + Hash, V: Weight + Clone> Kept<K, V> {
    fn new(bytes_max: usize) -> Self {
        let max = NonZeroUsize::new(bytes_max).unwrap_or(NonZeroUsize::MIN);
        Self(Mutex::new(CLruCache::with_config(CLruCacheConfig::new(max).with_scale(Scale))))
    }

    /// What is kept under that key.
    pub(crate) fn get(&self, key: &K) -> Option<V> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    /// Keeps it, unless it would drive out most of the rest.
    pub(crate) fn put(&self, key: K, value: V) {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if value.bytes() < table.capacity() / 8 {
            // Too heavy for the table is what the line above leaves out.
            let _ = table.put_with_weight(key, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_bounded_and_what_is_asked_for_stays() {
        let bodies: Kept<u32, Option<Arc<Body>>> = Kept::new(1 << 20);
        let body = |bytes: usize| Some(Arc::new(Body { size: 0, deflated: vec![0; bytes].into() }));
        for n in 0..10_000 {
            bodies.put(n, body(1000));
            assert!(bodies.get(&0).is_some(), "{n}");
        }
        assert!((0..10_000).filter(|n| bodies.get(n).is_some()).count() < 1000);
        bodies.put(10_001, body(1 << 19));
        assert!(bodies.get(&10_001).is_none() && bodies.get(&0).is_some());
    }
}
