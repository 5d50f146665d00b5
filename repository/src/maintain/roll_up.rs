//! Which packs are combined: enough of the small ones that each pack left has at least twice as many objects as all
//! smaller ones together (a geometric progression), so that there are few packs and no object is copied often.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::combine::combine;
use crate::error::Result;
use crate::pack::Pack;
use crate::packs::PackSet;
use crate::repository::Repository;

/// git's `--geometric=2`.
const FACTOR: u64 = 2;

impl Repository {
    /// Combines packs; those that are not needed any more are given back, still in place.
    pub(super) fn roll_up(&self, stop: &AtomicBool) -> Result<Vec<Arc<Pack>>> {
        let snapshot = self.snapshot()?;
        let packs = snapshot.packs.load_full();
        // A pack that somebody keeps is left as it is, and so is one with the ages of unreachable objects.
        let is_free =
            |pack: &&Arc<Pack>| super::is_free(pack) && !pack.path().with_extension("mtimes").exists();
        let mut free: Vec<Arc<Pack>> = packs.packs().iter().filter(is_free).cloned().collect();
        free.sort_by_key(|pack| pack.count());
        let sizes: Vec<u64> = free.iter().map(|pack| u64::from(pack.count())).collect();
        free.truncate(rolled(&sizes));
        if free.is_empty() {
            return Ok(free);
        }
        // Oldest first, as they stand in the set: bases come before what builds on them.
        let chosen: Vec<Arc<Pack>> =
            packs.packs().iter().filter(|p| free.iter().any(|f| Arc::ptr_eq(f, p))).cloned().collect();
        let made = combine(&snapshot, Arc::new(PackSet::new(chosen, self.bases())), stop)?;
        // The same objects in the same order give the same pack.
        free.retain(|pack| pack.path() != made);
        Ok(free)
    }
}

/// How many of the smallest packs (their objects, ascending) are combined.
fn rolled(sizes: &[u64]) -> usize {
    // The longest progression from the largest pack down.
    let mut split = sizes.len();
    while split > 1 && sizes[split - 1] >= FACTOR * sizes[split - 2] {
        split -= 1;
    }
    if split <= 1 {
        return 0;
    }
    // What is rolled up may then be too large for the progression: go on until it fits.
    let mut sum: u64 = sizes[..split].iter().sum();
    // `split` packs are rolled up now; with all but the last of the smaller ones the progression could not begin.
    while split < sizes.len() && sizes[split] < FACTOR * sum {
        sum += sizes[split];
        split += 1;
    }
    split
}

#[cfg(test)]
mod tests {
    use super::rolled;

    #[test]
    fn small_packs_are_rolled_up_until_the_rest_is_a_progression() {
        for (sizes, want) in [
            (&[][..], 0),
            (&[5], 0),
            (&[1, 2, 4, 8], 0),
            (&[1, 1], 2),
            (&[1, 1, 100], 2),
            (&[3, 3, 10], 3),
            (&[1, 1, 1, 1, 1000], 4),
            (&[10, 10, 50, 1000], 2),
            (&[10, 10, 30, 1000], 3),
            (&[1, 2, 3, 1000, 100_000], 3),
        ] {
            assert_eq!(rolled(sizes), want, "{sizes:?}");
        }
    }
}
