//! Answers kept for the next who asks the same. Objects never change, so an answer never becomes wrong; it goes when it
//! has not been asked for in a while, or when a pack that it copies from is retired.
//!
//! Who asks while the answer is being made waits for it instead of making it again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::recipe::Recipe;
use crate::error::Result;
use crate::limits::{RECIPES_DISK_BYTES_MAX, RECIPES_MEMORY_BYTES_MAX};
use crate::packs::PackSet;

/// What tells answers apart: a repository's number and the digest of everything that was asked.
pub(crate) type Key = (u64, [u8; 32]);

/// Answers of all repositories, bounded by the memory and the disk that they take.
#[derive(Default)]
pub(crate) struct Recipes(Mutex<State>);

#[derive(Default)]
struct State {
    slots: HashMap<Key, Kept>,
    uses: u64,
}

struct Kept {
    slot: Arc<Slot>,
    used: u64,
}

/// Holds the answer once it is made; locked while it is being made.
#[derive(Default)]
struct Slot(Mutex<Option<Arc<Recipe>>>);

impl Slot {
    fn lock(&self) -> MutexGuard<'_, Option<Arc<Recipe>>> {
        // Set as one step: a panic while an answer is made leaves none.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer if it is made.
    fn made(&self) -> Option<Arc<Recipe>> {
        self.0.try_lock().ok()?.clone()
    }
}

impl Recipes {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slot(&self, key: Key) -> Arc<Slot> {
        let mut state = self.state();
        state.uses += 1;
        let used = state.uses;
        let kept = state.slots.entry(key).or_insert_with(|| Kept { slot: Arc::default(), used });
        kept.used = used;
        kept.slot.clone()
    }

    /// The answer of that key if it is there already.
    pub(crate) fn find(&self, key: &Key) -> Option<Arc<Recipe>> {
        let mut state = self.state();
        state.uses += 1;
        let used = state.uses;
        let kept = state.slots.get_mut(key)?;
        kept.used = used;
        kept.slot.made()
    }

    /// The answer of that key, made if nobody has yet.
    pub(crate) fn get(&self, key: Key, make: impl FnOnce() -> Result<Recipe>) -> Result<Arc<Recipe>> {
        let slot = self.slot(key);
        let mut held = slot.lock();
        if let Some(recipe) = &*held {
            return Ok(recipe.clone());
        }
        let recipe = Arc::new(make()?);
        *held = Some(recipe.clone());
        drop(held);
        self.shrink();
        Ok(recipe)
    }

    /// Lets go of what was asked for longest ago, down to the bounds, and of slots that nobody filled.
    fn shrink(&self) {
        let mut state = self.state();
        let mut by_use: Vec<(u64, Key, usize, u64)> = Vec::with_capacity(state.slots.len());
        state.slots.retain(|key, kept| {
            if let Some(recipe) = kept.slot.made() {
                by_use.push((kept.used, *key, recipe.memory() + 256, recipe.disk()));
                return true;
            }
            Arc::strong_count(&kept.slot) > 1
        });
        by_use.sort_unstable_by_key(|kept| std::cmp::Reverse(kept.0));
        let (mut memory, mut disk) = (0usize, 0u64);
        for (_, key, more_memory, more_disk) in by_use {
            memory = memory.saturating_add(more_memory);
            disk = disk.saturating_add(more_disk);
            if memory > RECIPES_MEMORY_BYTES_MAX || disk > RECIPES_DISK_BYTES_MAX {
                state.slots.remove(&key);
            }
        }
    }

    /// Forgets the answers of a repository that stand on packs other than these.
    pub(crate) fn retire(&self, repository: u64, packs: &PackSet) {
        self.state().slots.retain(|(of, _), kept| {
            *of != repository || kept.slot.made().is_none_or(|recipe| recipe.stands_on(packs))
        });
    }

    /// Forgets everything of a repository.
    pub(crate) fn forget(&self, repository: u64) {
        self.state().slots.retain(|(of, _), _| *of != repository);
    }
}
