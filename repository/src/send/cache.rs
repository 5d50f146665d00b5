//! Answers kept for the next who asks the same. Objects never change, so an answer never becomes wrong; it goes when it
//! has not been asked for in a while, or when a pack that it copies from is retired.
//!
//! Who asks while the answer is being made waits for it instead of making it again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use slipway_core::limits::in_force;

use super::parts::Parts;
use super::recipe::Recipe;
use crate::bitmaps::Looks;
use crate::error::Result;
use crate::packs::PackSet;

/// What tells answers apart: a repository's number and the digest of everything that was asked.
pub(crate) type Key = (u64, [u8; 32]);

/// Answers of all repositories, bounded by the memory and the disk that they take.
#[derive(Default)]
pub(crate) struct Recipes {
    answers: Mutex<State>,
    /// What answers have in common.
    pub(crate) parts: Parts,
    /// Which bitmaps of others answers may be found by.
    pub(crate) looks: Looks,
}

#[derive(Default)]
struct State {
    slots: HashMap<Key, Kept>,
    uses: u64,
    /// What the answers took when they were last counted, and what came since.
    memory: usize,
    disk: u64,
}

struct Kept {
    slot: Arc<Slot>,
    used: u64,
}

/// About what an answer takes in the table, in bytes.
const SLOT_BYTES: usize = 256;

impl State {
    /// Lets go of what was asked for longest ago, so far below the bounds that this is not done at every answer.
    fn shrink(&mut self) {
        let limits = in_force();
        let mut by_use: Vec<(u64, Key, usize, u64)> = Vec::with_capacity(self.slots.len());
        for (key, kept) in &self.slots {
            if let Some(recipe) = kept.slot.made() {
                by_use.push((kept.used, *key, recipe.memory() + SLOT_BYTES, recipe.disk()));
            }
        }
        by_use.sort_unstable_by_key(|kept| std::cmp::Reverse(kept.0));
        (self.memory, self.disk) = (0, 0);
        for (_, key, memory, disk) in by_use {
            let (memory, disk) = (self.memory + memory, self.disk + disk);
            if memory as u64 > limits.fetch_cache_memory_max / 4 * 3
                || disk > limits.fetch_cache_disk_max / 4 * 3
            {
                self.slots.remove(&key);
            } else {
                (self.memory, self.disk) = (memory, disk);
            }
        }
    }
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
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
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
        match make() {
            Ok(recipe) => {
                let recipe = Arc::new(recipe);
                *held = Some(recipe.clone());
                drop(held);
                self.count(&recipe);
                Ok(recipe)
            }
            Err(e) => {
                drop(held);
                self.state().slots.remove(&key);
                Err(e)
            }
        }
    }

    /// Counts a new answer, and makes room if need be.
    fn count(&self, recipe: &Recipe) {
        let mut state = self.state();
        state.memory += recipe.memory() + SLOT_BYTES;
        state.disk += recipe.disk();
        let limits = in_force();
        if state.memory as u64 > limits.fetch_cache_memory_max || state.disk > limits.fetch_cache_disk_max {
            state.shrink();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RepoError;

    #[test]
    fn the_table_stays_within_its_bounds() {
        let recipes = Recipes::default();
        for n in 0..200_000u64 {
            let mut digest = [0; 32];
            digest[..8].copy_from_slice(&n.to_be_bytes());
            assert!(recipes.get((1, digest), || Ok(Recipe::default())).is_ok());
        }
        let state = recipes.state();
        let most = in_force().fetch_cache_memory_max as usize;
        assert!(state.slots.len() * SLOT_BYTES <= most, "{}", state.slots.len());
        assert!(state.slots.len() > 1000);
    }

    #[test]
    fn an_answer_that_was_not_made_leaves_nothing() {
        let recipes = Recipes::default();
        assert!(recipes.get((1, [1; 32]), || Err(RepoError::Stopped)).is_err());
        assert!(recipes.state().slots.is_empty());
        assert!(recipes.get((1, [1; 32]), || Ok(Recipe::default())).is_ok());
        assert!(recipes.find(&(1, [1; 32])).is_some() && recipes.find(&(2, [1; 32])).is_none());
        recipes.forget(1);
        assert!(recipes.find(&(1, [1; 32])).is_none());
    }
}
