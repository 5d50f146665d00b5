//! Who made which repository, so that what one account makes can be counted. Says nothing of rights: those are grants.

use slipway_core::{RepoId, UserName};

use crate::error::StoreError;
use crate::keys;
use crate::tx::Tx;
use crate::view::View;

impl View<'_> {
    /// How many of the repositories that are there the user has made.
    pub fn repos_made_by(&self, user: &UserName) -> Result<usize, StoreError> {
        Ok(self.all_keys(&keys::made_by(user))?.len())
    }
}

impl Tx<'_> {
    /// Records who made a repository.
    pub fn note_maker(&mut self, user: &UserName, repo: RepoId) -> Result<(), StoreError> {
        self.need_user(user)?;
        self.need_repo(repo)?;
        self.mark(keys::made(user, repo));
        self.put(keys::maker(repo), user).map(drop)
    }

    /// Forgets who made a repository, as part of its removal.
    pub(crate) fn forget_maker_of(&mut self, repo: RepoId) -> Result<(), StoreError> {
        if let Some(user) = self.view().get::<UserName>(&keys::maker(repo))? {
            self.remove(keys::made(&user, repo))?;
        }
        self.remove(keys::maker(repo))
    }

    /// Forgets what a user has made, as part of a larger change: the name may be given to another.
    pub(crate) fn forget_made_by(&mut self, user: &UserName) -> Result<(), StoreError> {
        for mark in self.view().all_keys(&keys::made_by(user))? {
            if let Some(repo) = mark.last_number() {
                self.remove(keys::maker(RepoId(repo)))?;
            }
            self.remove(mark)?;
        }
        Ok(())
    }
}
