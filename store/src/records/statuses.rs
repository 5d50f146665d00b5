//! What other systems say of commits. Our own statuses are not here: they are derived from builds and deploys.

use slipway_core::status::CommitStatus;
use slipway_core::{Oid, Problem, RepoId};

use super::refusal;
use crate::engine::Scan;
use crate::error::StoreError;
use crate::keys;
use crate::limits::{PRUNED_PER_WRITE, STATUSES_KEPT, STATUSES_PER_COMMIT_MAX};
use crate::store::Store;
use crate::tx::Tx;
use crate::view::View;

impl View<'_> {
    /// What is said of a commit, by context: a bounded number.
    pub fn statuses(&self, repo: RepoId, commit: &Oid) -> Result<Vec<CommitStatus>, StoreError> {
        self.records(&keys::statuses_of(repo, commit), Scan::Up).collect()
    }
}

impl Tx<'_> {
    /// Records a status, new or in place of the one of that context. Of more than are kept in a repository those that were
    /// set the longest ago are forgotten.
    pub fn put_status(&mut self, status: &CommitStatus) -> Result<(), StoreError> {
        self.need_repo(status.repo)?;
        let key = keys::status(status.repo, &status.commit, &status.context);
        let is_new = !self.has(&key)?;
        let of_commit = keys::statuses_of(status.repo, &status.commit);
        if is_new && self.view().keys(&of_commit, Scan::Up).count() >= STATUSES_PER_COMMIT_MAX {
            return Err(refusal::full("statuses of this commit", STATUSES_PER_COMMIT_MAX));
        }
        self.put(key, status)?;
        if is_new { self.prune_statuses(status.repo) } else { Ok(()) }
    }

    fn prune_statuses(&mut self, repo: RepoId) -> Result<(), StoreError> {
        let all = self.view().all_keys(&keys::statuses(repo))?;
        if all.len() <= STATUSES_KEPT + PRUNED_PER_WRITE {
            return Ok(());
        }
        let mut by_age = Vec::new();
        for key in all {
            if let Some(status) = self.get::<CommitStatus>(&key)? {
                by_age.push((status.at, key));
            }
        }
        by_age.sort();
        let too_many = by_age.len().saturating_sub(STATUSES_KEPT);
        by_age.into_iter().take(too_many).try_for_each(|(_, key)| self.remove(key))
    }

    /// Forgets what is said of a repository's commits, as part of its removal.
    pub(crate) fn remove_statuses_of(&mut self, repo: RepoId) -> Result<(), StoreError> {
        for key in self.view().all_keys(&keys::statuses(repo))? {
            self.remove(key)?;
        }
        Ok(())
    }
}

impl Store {
    /// What is said of a commit, by context: a bounded number.
    pub fn statuses(&self, repo: RepoId, commit: &Oid) -> Result<Vec<CommitStatus>, Problem> {
        self.read(|view| view.statuses(repo, commit))
    }
    /// Records a status, new or in place of the one of that context.
    pub fn put_status(&self, status: &CommitStatus) -> Result<(), Problem> {
        self.transact(|tx| tx.put_status(status))
    }
}
