//! Keeping a repository fast while it is in use: packs rolled up into few, one index and bitmaps over all of them, a
//! commit-graph.
//!
//! Everything is written beside what is there, flushed, and renamed; what it replaces goes last, so that a crash at any
//! instant leaves a whole repository. No object is ever left out of a roll-up, so pushes need not wait for one; now and
//! then everything is packed anew ([`full`]), which is when objects that nothing reaches go at last. git's own `gc.pid`
//! keeps `git gc` and this out of each other's way.

mod changes;
mod combine;
mod commit_graph;
mod cruft;
mod earlier;
mod full;
mod gc_lock;
mod joint;
mod loose;
mod order;
mod reachability;
pub(crate) mod record;
mod rewrite;
mod roll_up;
mod roots;
#[cfg(test)]
mod tests;

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

pub use self::full::{RepackOptions, Repacked};
use self::gc_lock::GcLock;
pub(crate) use self::gc_lock::is_alive;
pub use self::record::LastMaintenance;
use self::record::Record;
use crate::error::{RepoError, Result};
use crate::limits::{MAINTAINED_LONERS_MAX, MAINTAINED_OBJECTS_MIN};
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
    /// True if work on it would pay: some pushes have gathered, or bitmaps would make answers fast and there are none.
    pub fn needs_work(&self) -> bool {
        // With everything indexed and still no bitmap there is no commit to have one.
        let wants_bitmaps = self.bitmaps == 0 && self.loners > 0 && self.objects >= MAINTAINED_OBJECTS_MIN;
        self.loners >= MAINTAINED_LONERS_MAX || wants_bitmaps
    }
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Maintained {
    /// How it was stored before.
    pub before: Storage,
    /// How it is stored now.
    pub after: Storage,
    /// How long it took.
    pub took: Duration,
    /// Packs that others took the place of.
    pub replaced: usize,
    /// What packing everything anew did; `None` if packs were rolled up.
    pub full: Option<Repacked>,
}

impl Repository {
    /// What became of the last maintenance, of whoever asked for it.
    pub fn last_maintenance(&self) -> Option<LastMaintenance> {
        Record::read(self.root()).last
    }

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
        self.in_turn(false, || {
            self.pack_loose(stop)?;
            let retired = self.roll_up(stop)?;
            go_on(stop)?;
            self.join(&retired, false, stop)?;
            // Only what the new index does not name any more.
            for pack in &retired {
                retire(pack)?;
            }
            go_on(stop)?;
            self.write_commit_graph(stop)?;
            Ok((retired.len(), None))
        })
    }

    /// Does the work alone, and remembers what came of it.
    fn in_turn(
        &self,
        full: bool,
        work: impl FnOnce() -> Result<(usize, Option<Repacked>)>,
    ) -> Result<Maintained> {
        let started = Instant::now();
        let Ok(_turn) = self.maintaining.try_lock() else { return Err(RepoError::Maintained) };
        let _lock = GcLock::take(self.root())?;
        let before = self.storage()?;
        let done = work();
        let took = started.elapsed();
        if !matches!(done, Err(RepoError::Stopped | RepoError::Maintained)) {
            let mut record = Record::read(self.root());
            let failure = done.as_ref().err().map(ToString::to_string);
            record.last = Some(LastMaintenance { ended: SystemTime::now(), took, full, failure });
            record.full.get_or_insert_with(SystemTime::now);
            record.write(self.root())?;
        }
        let (replaced, repacked) = done?;
        Ok(Maintained { before, after: self.storage()?, took, replaced, full: repacked })
    }
}

/// A glance at the repository at `root`: many packs, or some that no index is over, or a long time since everything was
/// packed anew.
pub(crate) fn may_need_work(root: &Path) -> Result<bool> {
    let folder = root.join("objects/pack");
    let packs = crate::packs::list(&folder)?.len();
    let is_indexed = folder.join("multi-pack-index").exists();
    let much = packs >= MAINTAINED_LONERS_MAX || (packs > 0 && !is_indexed);
    Ok(much || Record::read(root).repack_may_be_due())
}

fn go_on(stop: &AtomicBool) -> Result<()> {
    #[cfg(test)]
    tests::step(stop);
    if stop.load(Ordering::Relaxed) { Err(RepoError::Stopped) } else { Ok(()) }
}

/// True for a pack that may be replaced: nobody keeps it as it is.
fn is_free(pack: &Pack) -> bool {
    let is_kept = |extension: &str| pack.path().with_extension(extension).exists();
    !is_kept("keep") && !is_kept("promisor")
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
