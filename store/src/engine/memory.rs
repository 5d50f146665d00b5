//! An engine that keeps everything in memory and nothing longer than the process lives: for tests, and as the second
//! engine that keeps the first honest. It prepares changes at the same time as others, and again where one came between.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use super::{Batch, Engine, Look, Pairs, Reader, Span, Taker, Tree, Writer};
use crate::error::StoreError;
use crate::keys::Key;

type Map = BTreeMap<Key, Vec<u8>>;

/// A database in memory.
pub(crate) struct Memory {
    folder: PathBuf,
    /// The map and how often it was changed.
    now: RwLock<(Arc<Map>, u64)>,
    facts: RwLock<BTreeMap<String, Vec<u8>>>,
}

impl Memory {
    /// An empty one.
    pub(crate) fn new() -> Self {
        Self { folder: std::env::temp_dir(), now: RwLock::default(), facts: RwLock::default() }
    }

    fn now(&self) -> (Arc<Map>, u64) {
        self.now.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Applies what was prepared over the map as it was after `seen` changes; false where there are more by now.
    fn apply(&self, seen: u64, batch: Batch) -> bool {
        let mut now = self.now.write().unwrap_or_else(PoisonError::into_inner);
        if now.1 != seen {
            return false;
        }
        let map = Arc::make_mut(&mut now.0);
        for (key, value) in batch {
            match value {
                Some(value) => drop(map.insert(key, value)),
                None => drop(map.remove(&key)),
            }
        }
        now.1 += 1;
        true
    }
}

impl Engine for Memory {
    fn read(&self, look: Reader<'_>) -> Result<(), StoreError> {
        let (map, _) = self.now();
        look(&*map)
    }

    fn transact(&self, prepare: Writer<'_>) -> Result<(), StoreError> {
        loop {
            let (map, seen) = self.now();
            let batch = prepare(&*map)?;
            // Let go before it is changed, or all of it would be copied.
            drop(map);
            if batch.is_empty() || self.apply(seen, batch) {
                return Ok(());
            }
        }
    }

    fn fact(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.facts.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned())
    }

    fn put_fact(&self, name: &str, value: &[u8]) -> Result<(), StoreError> {
        let mut facts = self.facts.write().unwrap_or_else(PoisonError::into_inner);
        facts.insert(name.to_owned(), value.to_vec());
        Ok(())
    }

    fn each(&self, at: &mut dyn FnMut(), take: Taker<'_>) -> Result<(), StoreError> {
        let (facts, map) = {
            let now = self.now.read().unwrap_or_else(PoisonError::into_inner);
            at();
            (self.facts.read().unwrap_or_else(PoisonError::into_inner).clone(), now.0.clone())
        };
        for (name, value) in &facts {
            take(Tree::Meta, name.as_bytes(), value)?;
        }
        map.iter().try_for_each(|(key, value)| take(Tree::Records, key.bytes(), value))
    }

    fn check_writable(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn mend(&self) -> Result<u64, StoreError> {
        Ok(0)
    }

    fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Look for Map {
    fn get(&self, key: &Key) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(BTreeMap::get(self, key).cloned())
    }

    fn has(&self, key: &Key) -> Result<bool, StoreError> {
        Ok(self.contains_key(key))
    }

    fn span(&self, span: &Span) -> Pairs<'_> {
        let Some((from, to)) = span.range() else { return Box::new(std::iter::empty()) };
        let pairs = self.range::<Key, _>((from, to)).map(|(key, value)| Ok((key.clone(), value.clone())));
        if span.down { Box::new(pairs.rev()) } else { Box::new(pairs) }
    }
}
