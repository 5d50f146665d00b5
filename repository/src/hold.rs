//! All repositories as of one moment, for a backup, while pushes go on.
//!
//! The moment costs nothing: from then on, whoever moves refs has those of that repository read first, and the backup reads
//! those that nobody has moved. What refs lead to stays: no object is dropped while anything is held, a roll-up loses none,
//! and a repository that is removed meanwhile keeps its folder, aside, until the end. Files are linked, not opened: neither
//! maintenance nor its own number of files takes one away before it is read.

mod files;
mod refs;

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use slipway_core::RepoId;

pub use self::files::HeldRepository;
use self::refs::HeldRefs;
use crate::error::{RepoError, Result};
use crate::limits::{HELD_REFS_BYTES_MAX, HELD_TRIES_MAX};
use crate::repositories::Repositories;
use crate::repository::Repository;

/// Removes what a backup that a crash cut off has left in the repository at `root`.
pub(crate) fn sweep(root: &Path) -> Result<()> {
    files::remove(&root.join(files::FOLDER))
}

/// What is held of all repositories of a folder; shared by them.
#[derive(Default)]
pub(crate) struct Holds {
    /// Somebody holds, or is about to.
    held: AtomicBool,
    /// The moment has come.
    frozen: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Refs that have moved since, as they were, by the repository's folder.
    before: HashMap<PathBuf, HeldRefs>,
    bytes: usize,
    /// Too many have moved for all to be kept.
    too_much: bool,
    /// Repositories whose refs are read: what moves there now is of no matter.
    read: HashSet<PathBuf>,
    /// Where the folders of removed ones are.
    gone: HashMap<RepoId, PathBuf>,
}

impl Holds {
    /// True while no object may be dropped.
    pub(crate) fn is_held(&self) -> bool {
        self.held.load(Ordering::SeqCst)
    }

    /// Refs of the repository at `root` are about to move; whoever calls has the turn to write them.
    pub(crate) fn before_write(&self, root: &Path) -> Result<()> {
        if !self.frozen.load(Ordering::SeqCst) {
            return Ok(());
        }
        {
            let state = self.state();
            if state.too_much || state.read.contains(root) || state.before.contains_key(root) {
                return Ok(());
            }
        }
        let refs = HeldRefs::read(root)?;
        let mut state = self.state();
        state.bytes += refs.bytes();
        if state.bytes > HELD_REFS_BYTES_MAX {
            state.too_much = true;
            state.before.clear();
        } else {
            state.before.insert(root.to_owned(), refs);
        }
        Ok(())
    }

    /// A repository was removed, and its folder is here now. True if whoever holds deletes it.
    pub(crate) fn keeps(&self, id: RepoId, folder: &Path) -> bool {
        let mut state = self.state();
        let keeps = self.is_held();
        if keeps {
            state.gone.insert(id, folder.to_owned());
        }
        keeps
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is an insert or an assignment: a panic leaves nothing half-done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All repositories, held. Let go of when it is dropped.
pub struct Hold(Arc<Repositories>);

impl Repositories {
    /// Begins to hold all repositories, for one backup at a time.
    ///
    /// # Errors
    /// [`RepoError::Held`] if somebody does.
    pub fn hold(self: &Arc<Self>) -> Result<Hold> {
        let holds = self.holds();
        let _state = holds.state();
        if holds.held.swap(true, Ordering::SeqCst) { Err(RepoError::Held) } else { Ok(Hold(self.clone())) }
    }
}

impl Hold {
    /// Now is the moment. Takes no time.
    pub fn freeze(&self) {
        self.0.holds().frozen.store(true, Ordering::SeqCst);
    }

    /// The repository as it was at the moment; `None` if there is no folder of it. Once for each.
    ///
    /// # Errors
    /// What cannot be read; [`RepoError::TooMuch`] if more refs have moved since than can be kept.
    pub fn take(&self, id: RepoId) -> Result<Option<HeldRepository>> {
        let mut tries = 0;
        loop {
            let gone = self.0.holds().state().gone.get(&id).cloned();
            let root = gone.clone().unwrap_or_else(|| self.0.path(id));
            let taken =
                self.refs(id, &root, gone.is_some()).and_then(|refs| HeldRepository::new(&root, refs));
            match taken {
                Ok(held) => return Ok(Some(held)),
                // Removed while it was looked at: it is aside now.
                Err(e) if !root.exists() => {
                    tries += 1;
                    if gone.is_none()
                        && self.0.holds().state().gone.contains_key(&id)
                        && tries < HELD_TRIES_MAX
                    {
                        continue;
                    }
                    return if matches!(e, RepoError::NoFolder { .. }) || is_missing(&e) {
                        Ok(None)
                    } else {
                        Err(e)
                    };
                }
                Err(e) => return Err(e),
            }
        }
    }

    fn refs(&self, id: RepoId, root: &Path, is_gone: bool) -> Result<HeldRefs> {
        let holds = self.0.holds();
        let kept = |key: &Path| {
            let mut state = holds.state();
            if state.too_much {
                return Err(RepoError::TooMuch {
                    what: "the refs that moved while a backup was made",
                    max: HELD_REFS_BYTES_MAX as u64,
                });
            }
            state.read.insert(key.to_owned());
            let refs = state.before.remove(key);
            state.bytes -= refs.as_ref().map_or(0, HeldRefs::bytes);
            Ok(refs)
        };
        if is_gone {
            // Nobody writes there any more; what was kept is kept under where it was.
            return kept(&self.0.path(id))?.map_or_else(|| HeldRefs::read(root), Ok);
        }
        let repository: Arc<Repository> = self.0.get(id)?;
        let _turn = repository.write_turn();
        kept(root)?.map_or_else(|| HeldRefs::read(root), Ok)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let holds = self.0.holds();
        let gone = {
            let mut state = holds.state();
            holds.frozen.store(false, Ordering::SeqCst);
            holds.held.store(false, Ordering::SeqCst);
            std::mem::take(&mut *state).gone
        };
        for folder in gone.into_values() {
            if let Err(e) = fs::remove_dir_all(&folder) {
                tracing::warn!(path = %folder.display(), "a removed repository's folder is left until the next start: {e}");
            }
        }
    }
}

fn is_missing(error: &RepoError) -> bool {
    matches!(error, RepoError::Io { source, .. } if source.kind() == ErrorKind::NotFound)
}
