//! Repositories as recorded: found by id and by name.

use slipway_core::limits::DESCRIPTION_BYTES_MAX;
use slipway_core::target::RepoRecord;
use slipway_core::{ObjectFormat, Problem, RepoId, RepoName, UnixMillis};

use super::refusal;
use crate::error::StoreError;
use crate::keys::{self, Counter};
use crate::store::Store;
use crate::tx::Tx;
use crate::view::View;

impl View<'_> {
    /// The repository of that id.
    pub fn repo(&self, id: RepoId) -> Result<Option<RepoRecord>, StoreError> {
        self.get(&keys::repo(id))
    }

    /// The repository of that name.
    pub fn repo_by_name(&self, name: &RepoName) -> Result<Option<RepoRecord>, StoreError> {
        match self.get::<RepoId>(&keys::repo_name(name))? {
            Some(id) => self.repo(id),
            None => Ok(None),
        }
    }

    /// Repositories by name: those after `after` (`None`: from the first), at most `limit`.
    pub fn repos_after(&self, after: Option<&str>, limit: usize) -> Result<Vec<RepoRecord>, StoreError> {
        let mut found = Vec::new();
        for id in self.page::<RepoId>(&keys::repo_names(), after, limit)? {
            found.extend(self.repo(id)?);
        }
        Ok(found)
    }
}

impl Tx<'_> {
    /// Records a new repository, and gives it an id.
    pub fn create_repo_as(
        &mut self,
        object_format: ObjectFormat,
        name: &RepoName,
        description: &str,
        public: bool,
        now: UnixMillis,
    ) -> Result<RepoRecord, StoreError> {
        refusal::check_length("description", description, DESCRIPTION_BYTES_MAX)?;
        self.need_free(name, None)?;
        let most = self.limits.repositories_max;
        if self.count_up(Counter::Repos)? > most as u64 {
            return Err(refusal::full("repositories", most));
        }
        let id = RepoId(self.count_up(Counter::RepoIds)?);
        let (name_now, description) = (name.clone(), description.into());
        let repo = RepoRecord {
            id,
            name: name_now,
            description,
            public,
            object_format,
            created: now,
            last_modified: Some(now),
        };
        self.forget_former_name(name)?;
        self.put(keys::repo_name(name), &id)?;
        self.put(keys::repo(id), &repo)?;
        Ok(repo)
    }

    /// Changes description, visibility or name (a new name must be free) of the record as it is now; gives what it is then.
    /// Its id, hash and making stay as they are, whatever `change` says.
    pub fn update_repo(
        &mut self,
        id: RepoId,
        now: UnixMillis,
        change: impl Fn(&mut RepoRecord),
    ) -> Result<RepoRecord, StoreError> {
        let old = self.view().repo(id)?.ok_or_else(|| refusal::missing("repository number", id))?;
        let mut new = old.clone();
        change(&mut new);
        let RepoRecord { name, description, public, .. } = new;
        if (&name, &description, public) == (&old.name, &old.description, old.public) {
            return Ok(old);
        }
        refusal::check_length("description", &description, DESCRIPTION_BYTES_MAX)?;
        if name != old.name {
            self.rename(id, &old.name, &name, now)?;
        }
        let new = RepoRecord { name, description, public, last_modified: Some(now), ..old };
        self.put(keys::repo(id), &new)?;
        Ok(new)
    }

    /// Refuses a name that a repository has, or has but for upper and lower case. `but` is the name that is given up.
    fn need_free(&self, name: &RepoName, but: Option<&RepoName>) -> Result<(), StoreError> {
        if self.has(&keys::repo_name(name))? {
            return Err(refusal::taken("repository", name));
        }
        match self.view().alike(&keys::repo_names(), name.as_str(), but.map(RepoName::as_str))? {
            Some(other) => Err(refusal::alike("repository", name, &other)),
            None => Ok(()),
        }
    }

    fn rename(
        &mut self,
        id: RepoId,
        old: &RepoName,
        new: &RepoName,
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        self.need_free(new, Some(old))?;
        self.forget_former_name(new)?;
        self.remember_name(id, old, now)?;
        self.remove(keys::repo_name(old))?;
        self.put(keys::repo_name(new), &id).map(drop)
    }

    /// Notes that its refs have moved.
    pub(crate) fn touch_repo(&mut self, id: RepoId, now: UnixMillis) -> Result<(), StoreError> {
        let Some(repo) = self.view().repo(id)? else { return Ok(()) };
        let last_modified = repo.last_modified.max(Some(now));
        self.put(keys::repo(id), &RepoRecord { last_modified, ..repo }).map(drop)
    }

    /// Forgets a repository with its grants, bindings, secrets, schedules, builds, deploys, events and inventories.
    pub fn remove_repo(&mut self, id: RepoId) -> Result<(), StoreError> {
        let repo = self.view().repo(id)?.ok_or_else(|| refusal::missing("repository number", id))?;
        self.remove(keys::repo_name(&repo.name))?;
        self.remove(keys::repo(id))?;
        self.count_down(Counter::Repos, 1)?;
        self.remove_former_names_of(id)?;
        self.remove_grants_in(id)?;
        self.forget_maker_of(id)?;
        self.unbind_registry(id)?;
        self.unbind_cluster(id)?;
        self.remove_inventories_of(id)?;
        self.remove_events_of(id)?;
        self.remove_work_of(id)?;
        self.remove_pointers_of(id)?;
        self.remove_schedules(id)?;
        self.remove_statuses_of(id)?;
        self.remove_secrets_of(id)?;
        self.remove_webhooks_of(id)
    }

    /// Refuses what belongs to no repository.
    pub(crate) fn need_repo(&self, id: RepoId) -> Result<(), StoreError> {
        if self.has(&keys::repo(id))? { Ok(()) } else { Err(refusal::missing("repository number", id)) }
    }
}

impl Store {
    /// Records a new repository, with ids of SHA-1, and gives it an id.
    pub fn create_repo(
        &self,
        name: &RepoName,
        description: &str,
        public: bool,
        now: UnixMillis,
    ) -> Result<RepoRecord, Problem> {
        self.create_repo_as(ObjectFormat::Sha1, name, description, public, now)
    }
    /// The same with ids of that hash.
    pub fn create_repo_as(
        &self,
        format: ObjectFormat,
        name: &RepoName,
        description: &str,
        public: bool,
        now: UnixMillis,
    ) -> Result<RepoRecord, Problem> {
        self.transact(|tx| tx.create_repo_as(format, name, description, public, now))
    }
    /// The repository of that id.
    pub fn repo(&self, id: RepoId) -> Result<Option<RepoRecord>, Problem> {
        self.read(|view| view.repo(id))
    }
    /// The repository of that name.
    pub fn repo_by_name(&self, name: &RepoName) -> Result<Option<RepoRecord>, Problem> {
        self.read(|view| view.repo_by_name(name))
    }
    /// All repositories by name, up to the bound of the server's: for what needs all of them.
    pub fn repos(&self) -> Result<Vec<RepoRecord>, Problem> {
        self.repos_after(None, usize::MAX)
    }
    /// Repositories by name: those after `after` (`None`: from the first), at most `limit`.
    pub fn repos_after(&self, after: Option<&str>, limit: usize) -> Result<Vec<RepoRecord>, Problem> {
        self.read(|view| view.repos_after(after, limit))
    }
    /// Changes description, visibility or name (a new name must be free) of the record as it is now; gives what it is then.
    pub fn update_repo(
        &self,
        id: RepoId,
        now: UnixMillis,
        change: impl Fn(&mut RepoRecord),
    ) -> Result<RepoRecord, Problem> {
        self.transact(|tx| tx.update_repo(id, now, &change))
    }
    /// Forgets a repository with its grants, bindings, builds, deploys, events and inventories.
    pub fn remove_repo(&self, id: RepoId) -> Result<(), Problem> {
        self.transact(|tx| tx.remove_repo(id))
    }
}
