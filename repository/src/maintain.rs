//! Keeping a repository fast while it is in use: packs rolled up into few, one index and bitmaps over all of them, a
//! commit-graph.
//!
//! Everything is written beside what is there, flushed, and renamed; what it replaces goes last, so that a crash at any
//! instant leaves a whole repository. No object is ever left out of a roll-up, so pushes need not wait for one. git's own
//! `gc.pid` keeps `git gc` and this out of each other's way.

mod changes;
mod combine;
mod commit_graph;
mod gc_lock;
mod joint;
mod loose;
mod reachability;
mod roll_up;

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use self::gc_lock::GcLock;
use crate::error::{RepoError, Result};
use crate::pack::Pack;
use crate::repository::Repository;

/// How a repository is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Storage {
    /// Packs.
    pub packs: usize,
    /// Objects in them, copies counted.
    pub objects: u64,
    /// Bytes of the packs.
    pub bytes: u64,
    /// Packs that no multi-pack index covers.
    pub loners: usize,
    /// Commits that have reachability bitmaps; 0 if there are none.
    pub bitmaps: u32,
    /// Commits in the commit-graph.
    pub graph_commits: u32,
}

impl Storage {
    /// True if work on it would pay.
    pub fn needs_work(&self) -> bool {
        self.packs > 0 && (self.bitmaps == 0 || self.loners >= LONERS_MAX)
    }
}

/// From so many packs outside of the multi-pack index on, work pays.
const LONERS_MAX: usize = 8;

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Maintained {
    /// How it was stored before.
    pub before: Storage,
    /// How it is stored now.
    pub after: Storage,
    /// How long it took.
    pub took: Duration,
}

impl Repository {
    /// How the repository is stored now.
    pub fn storage(&self) -> Result<Storage> {
        let snapshot = self.snapshot()?;
        let packs = snapshot.packs.load();
        let covered = packs.index().map_or(0, |index| index.numbers.len());
        Ok(Storage {
            packs: packs.packs().len(),
            objects: packs.packs().iter().map(|p| u64::from(p.count())).sum(),
            bytes: packs.packs().iter().map(|p| p.entries_end() + p.hash_len() as u64).sum(),
            loners: packs.packs().len() - covered,
            bitmaps: snapshot.bitmaps().map_or(0, |b| b.len()),
            graph_commits: snapshot.graph().file().map_or(0, |file| file.len()),
        })
    }

    /// Rolls packs up and writes what makes answers fast. Takes long; meant for a thread of low priority. Nobody waits for
    /// it, and what is being read or pushed is never disturbed.
    ///
    /// # Errors
    /// [`RepoError::Maintained`] if it is being maintained already, by this process or by `git gc`;
    /// [`RepoError::Stopped`] once `stop` is set.
    pub fn maintain(&self, stop: &AtomicBool) -> Result<Maintained> {
        let started = Instant::now();
        let Ok(_turn) = self.maintaining.try_lock() else { return Err(RepoError::Maintained) };
        let _lock = GcLock::take(self.root())?;
        let before = self.storage()?;
        self.pack_loose(stop)?;
        let retired = self.roll_up(stop)?;
        go_on(stop)?;
        self.join(&retired, stop)?;
        // Only what the new index does not name any more.
        for pack in &retired {
            retire(pack)?;
        }
        go_on(stop)?;
        self.write_commit_graph(stop)?;
        Ok(Maintained { before, after: self.storage()?, took: started.elapsed() })
    }
}

fn go_on(stop: &AtomicBool) -> Result<()> {
    if stop.load(Ordering::Relaxed) { Err(RepoError::Stopped) } else { Ok(()) }
}

/// Removes a pack's files, the index first: a pack without one does not exist for anybody. Who has it open reads on.
fn retire(pack: &Arc<Pack>) -> Result<()> {
    for extension in ["idx", "rev", "bitmap", "mtimes", "pack"] {
        remove(&pack.path().with_extension(extension))?;
    }
    Ok(())
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        Err(e) => Err(RepoError::io("remove", path)(e)),
    }
}
