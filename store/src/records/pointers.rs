//! Where the names point that others follow: moving tags and `[deploy.*]` targets.

use slipway_core::moving::Pointer;
use slipway_core::{Problem, RepoId};

use crate::engine::Scan;
use crate::error::StoreError;
use crate::keys;
use crate::limits::{POINTERS_KEPT, PRUNED_PER_WRITE};
use crate::store::Store;
use crate::tx::Tx;
use crate::view::View;

impl View<'_> {
    /// Where a name points, if it was ever moved. A name is `IMAGE:TAG` or `[deploy.TARGET]`.
    pub fn pointer(&self, repo: RepoId, name: &str) -> Result<Option<Pointer>, StoreError> {
        self.get(&keys::pointer(repo, name))
    }

    /// Where all names of a repository point.
    pub fn pointers(&self, repo: RepoId) -> Result<Vec<Pointer>, StoreError> {
        self.records(&keys::pointers(repo), Scan::Up).collect()
    }
}

impl Tx<'_> {
    /// Replaces where a name points. Of more names than are kept the ones that were moved the longest ago are forgotten.
    pub fn put_pointer(&mut self, repo: RepoId, name: &str, pointer: &Pointer) -> Result<(), StoreError> {
        self.need_repo(repo)?;
        let key = keys::pointer(repo, name);
        let is_new = !self.has(&key)?;
        self.put(key, pointer)?;
        if is_new { self.prune_pointers(repo) } else { Ok(()) }
    }

    fn prune_pointers(&mut self, repo: RepoId) -> Result<(), StoreError> {
        let all = self.view().all_keys(&keys::pointers(repo))?;
        if all.len() <= POINTERS_KEPT + PRUNED_PER_WRITE {
            return Ok(());
        }
        let mut by_age = Vec::new();
        for key in all {
            if let Some(pointer) = self.get::<Pointer>(&key)? {
                by_age.push((pointer.at, key));
            }
        }
        by_age.sort();
        let too_many = by_age.len().saturating_sub(POINTERS_KEPT);
        by_age.into_iter().take(too_many).try_for_each(|(_, key)| self.remove(key))
    }

    /// Forgets where a repository's names point, as part of its removal.
    pub(crate) fn remove_pointers_of(&mut self, repo: RepoId) -> Result<(), StoreError> {
        for key in self.view().all_keys(&keys::pointers(repo))? {
            self.remove(key)?;
        }
        Ok(())
    }
}

impl Store {
    /// Where a name points, if it was ever moved.
    pub fn pointer(&self, repo: RepoId, name: &str) -> Result<Option<Pointer>, Problem> {
        self.read(|view| view.pointer(repo, name))
    }
    /// Replaces where a name points.
    pub fn put_pointer(&self, repo: RepoId, name: &str, pointer: &Pointer) -> Result<(), Problem> {
        self.transact(|tx| tx.put_pointer(repo, name, pointer))
    }
}
