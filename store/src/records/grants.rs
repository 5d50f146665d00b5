//! Which role a user has in a repository, found from both sides.

use slipway_core::{Problem, RepoId, Role, UserName};

use crate::error::StoreError;
use crate::keys;
use crate::store::Store;
use crate::tx::Tx;
use crate::view::View;

impl View<'_> {
    /// A user's role in a repository.
    pub fn role(&self, user: &UserName, repo: RepoId) -> Result<Option<Role>, StoreError> {
        self.get(&keys::grant(repo, user))
    }

    /// Grants of a repository by user: those after `after` (`None`: from the first), at most `limit`.
    pub fn grants_after(
        &self,
        repo: RepoId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(UserName, Role)>, StoreError> {
        self.page_by_marks(&keys::grants(repo), after, limit, |name| {
            let Ok(user) = UserName::parse(name) else { return Ok(None) };
            Ok(self.role(&user, repo)?.map(|role| (user, role)))
        })
    }
}

impl Tx<'_> {
    /// Gives a user a role in a repository.
    pub fn grant(&mut self, user: &UserName, repo: RepoId, role: Role) -> Result<(), StoreError> {
        self.need_user(user)?;
        self.need_repo(repo)?;
        self.mark(keys::grant_of(user, repo));
        self.put(keys::grant(repo, user), &role).map(drop)
    }

    /// Takes it away; fine if there was none.
    pub fn revoke(&mut self, user: &UserName, repo: RepoId) -> Result<(), StoreError> {
        self.remove(keys::grant_of(user, repo))?;
        self.remove(keys::grant(repo, user))
    }

    /// Takes all roles of a user away, as part of a larger change.
    pub(crate) fn remove_grants_of(&mut self, user: &UserName) -> Result<(), StoreError> {
        for mark in self.view().all_keys(&keys::grants_of(user))? {
            if let Some(repo) = mark.last_number() {
                self.remove(keys::grant(RepoId(repo), user))?;
            }
            self.remove(mark)?;
        }
        Ok(())
    }

    /// Takes all roles in a repository away, as part of its removal.
    pub(crate) fn remove_grants_in(&mut self, repo: RepoId) -> Result<(), StoreError> {
        let grants = keys::grants(repo);
        for key in self.view().all_keys(&grants)? {
            if let Some(user) = key.text_after(&grants).and_then(|name| UserName::parse(name).ok()) {
                self.remove(keys::grant_of(&user, repo))?;
            }
            self.remove(key)?;
        }
        Ok(())
    }
}

impl Store {
    /// Gives a user a role in a repository.
    pub fn grant(&self, user: &UserName, repo: RepoId, role: Role) -> Result<(), Problem> {
        self.transact(|tx| tx.grant(user, repo, role))
    }
    /// Takes it away; fine if there was none.
    pub fn revoke(&self, user: &UserName, repo: RepoId) -> Result<(), Problem> {
        self.transact(|tx| tx.revoke(user, repo))
    }
    /// A user's role in a repository.
    pub fn role(&self, user: &UserName, repo: RepoId) -> Result<Option<Role>, Problem> {
        self.read(|view| view.role(user, repo))
    }
    /// All grants of a repository: for what needs all of them.
    pub fn grants(&self, repo: RepoId) -> Result<Vec<(UserName, Role)>, Problem> {
        self.grants_after(repo, None, usize::MAX)
    }
    /// Grants of a repository by user: those after `after` (`None`: from the first), at most `limit`.
    pub fn grants_after(
        &self,
        repo: RepoId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(UserName, Role)>, Problem> {
        self.read(|view| view.grants_after(repo, after, limit))
    }
}
