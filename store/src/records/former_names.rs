//! Names that a repository had before: whoever asks by one finds it, until somebody else takes the name.

use serde::{Deserialize, Serialize};
use slipway_core::target::RepoRecord;
use slipway_core::{Problem, RepoId, RepoName, UnixMillis};

use crate::error::StoreError;
use crate::keys;
use crate::limits::FORMER_NAMES_MAX;
use crate::store::Store;
use crate::tx::Tx;
use crate::view::View;

#[derive(Serialize, Deserialize)]
struct FormerName {
    repo: RepoId,
    until: UnixMillis,
}

impl View<'_> {
    /// The repository that was called so before, if no other has taken the name since.
    pub fn repo_by_former_name(&self, name: &RepoName) -> Result<Option<RepoRecord>, StoreError> {
        match self.get::<FormerName>(&keys::former_name(name))? {
            Some(former) => self.repo(former.repo),
            None => Ok(None),
        }
    }

    /// At most [`FORMER_NAMES_MAX`], oldest first.
    fn former_names(&self, repo: RepoId) -> Result<Vec<RepoName>, StoreError> {
        let names = keys::former_names_of(repo);
        let mut found = Vec::new();
        for mark in self.all_keys(&names)? {
            let Some(name) = mark.text_after(&names).and_then(|name| RepoName::parse(name).ok()) else {
                continue;
            };
            let former: Option<FormerName> = self.get(&keys::former_name(&name))?;
            found.push((former.map(|former| former.until), name));
        }
        found.sort_by_key(|(until, _)| *until);
        Ok(found.into_iter().map(|(_, name)| name).collect())
    }
}

impl Tx<'_> {
    /// Remembers a name that the repository has had until now.
    pub(crate) fn remember_name(
        &mut self,
        repo: RepoId,
        name: &RepoName,
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        let known = self.view().former_names(repo)?;
        let surplus = (known.len() + 1).saturating_sub(FORMER_NAMES_MAX);
        for name in known.iter().take(surplus) {
            self.forget_former_name(name)?;
        }
        self.mark(keys::former_name_of(repo, name));
        self.put(keys::former_name(name), &FormerName { repo, until: now }).map(drop)
    }

    /// Somebody takes the name: it leads to nobody else any more.
    pub(crate) fn forget_former_name(&mut self, name: &RepoName) -> Result<(), StoreError> {
        let key = keys::former_name(name);
        let Some(former) = self.get::<FormerName>(&key)? else { return Ok(()) };
        self.remove(keys::former_name_of(former.repo, name))?;
        self.remove(key)
    }

    /// Forgets a repository's former names, as part of its removal.
    pub(crate) fn remove_former_names_of(&mut self, repo: RepoId) -> Result<(), StoreError> {
        for name in self.view().former_names(repo)? {
            self.forget_former_name(&name)?;
        }
        Ok(())
    }
}

impl Store {
    /// The repository that was called so before, if no other has taken the name since.
    pub fn repo_by_former_name(&self, name: &RepoName) -> Result<Option<RepoRecord>, Problem> {
        self.read(|view| view.repo_by_former_name(name))
    }
}
