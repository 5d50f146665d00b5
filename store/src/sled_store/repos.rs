//! Repositories with their grants, and the counters that number things.

use slipway_core::limits::DESCRIPTION_BYTES_MAX;
use slipway_core::target::RepoRecord;
use slipway_core::{ObjectFormat, RepoId, RepoName, Role, UnixMillis, UserName};

use super::{accounts, events, refusal, targets, work};
use crate::disk::{Change, Disk, Scan};
use crate::error::StoreError;
use crate::keys::{self, Counter};
use crate::limits::REPOS_MAX;

pub(super) fn create(
    disk: &Disk,
    object_format: ObjectFormat,
    name: &RepoName,
    description: &str,
    public: bool,
    now: UnixMillis,
) -> Result<RepoRecord, StoreError> {
    refusal::check_length("description", description, DESCRIPTION_BYTES_MAX)?;
    disk.write(|change| {
        if change.has(&keys::repo_name(name))? {
            return Err(refusal::taken("repository", name));
        }
        if count_up(change, Counter::Repos)? > REPOS_MAX {
            return Err(refusal::full("repositories", REPOS_MAX));
        }
        let id = RepoId(count_up(change, Counter::RepoIds)?);
        let (name_now, description) = (name.clone(), description.into());
        let repo = RepoRecord { id, name: name_now, description, public, object_format, created: now };
        change.put(keys::repo_name(name), &id)?;
        change.put(keys::repo(id), &repo)?;
        Ok(repo)
    })
}

pub(super) fn by_id(disk: &Disk, id: RepoId) -> Result<Option<RepoRecord>, StoreError> {
    disk.read(|view| view.get(&keys::repo(id)))
}

pub(super) fn by_name(disk: &Disk, name: &RepoName) -> Result<Option<RepoRecord>, StoreError> {
    disk.read(|view| {
        let Some(id) = view.get::<RepoId>(&keys::repo_name(name))? else { return Ok(None) };
        view.get(&keys::repo(id))
    })
}

pub(super) fn all(disk: &Disk) -> Result<Vec<RepoRecord>, StoreError> {
    disk.read(|view| {
        let mut found = Vec::new();
        for id in view.records::<RepoId>(&keys::repo_names(), Scan::Up) {
            found.extend(view.get(&keys::repo(id?))?);
        }
        Ok(found)
    })
}

pub(super) fn update(disk: &Disk, repo: &RepoRecord) -> Result<(), StoreError> {
    refusal::check_length("description", &repo.description, DESCRIPTION_BYTES_MAX)?;
    disk.write(|change| {
        let old: RepoRecord =
            change.get(&keys::repo(repo.id))?.ok_or_else(|| refusal::missing("repository", &repo.name))?;
        if old.name != repo.name {
            if change.has(&keys::repo_name(&repo.name))? {
                return Err(refusal::taken("repository", &repo.name));
            }
            change.remove(keys::repo_name(&old.name))?;
            change.put(keys::repo_name(&repo.name), &repo.id)?;
        }
        change.put(keys::repo(repo.id), repo).map(drop)
    })
}

pub(super) fn remove(disk: &Disk, id: RepoId) -> Result<(), StoreError> {
    disk.write(|change| {
        let repo: RepoRecord =
            change.get(&keys::repo(id))?.ok_or_else(|| refusal::missing("repository number", id))?;
        change.remove(keys::repo_name(&repo.name))?;
        change.remove(keys::repo(id))?;
        count_down(change, Counter::Repos, 1)?;
        let view = change.before();
        let grants = keys::grants(id);
        for key in view.keys(&grants, Scan::Up) {
            let key = key?;
            if let Some(user) = key.text_after(&grants).and_then(|name| UserName::parse(name).ok()) {
                change.remove(keys::grant_of(&user, id))?;
            }
            change.remove(key)?;
        }
        targets::remove_of_repo(change, id)?;
        events::remove_of_repo(change, id)?;
        work::remove_of_repo(change, id)
    })
}

/// Refuses what belongs to no repository.
pub(super) fn must_exist(change: &Change<'_>, id: RepoId) -> Result<(), StoreError> {
    if change.has(&keys::repo(id))? { Ok(()) } else { Err(refusal::missing("repository number", id)) }
}

pub(super) fn grant(disk: &Disk, user: &UserName, repo: RepoId, role: Role) -> Result<(), StoreError> {
    disk.write(|change| {
        accounts::must_exist(change, user)?;
        must_exist(change, repo)?;
        change.mark(keys::grant_of(user, repo));
        change.put(keys::grant(repo, user), &role).map(drop)
    })
}

pub(super) fn revoke(disk: &Disk, user: &UserName, repo: RepoId) -> Result<(), StoreError> {
    disk.write(|change| {
        change.remove(keys::grant_of(user, repo))?;
        change.remove(keys::grant(repo, user))
    })
}

pub(super) fn role(disk: &Disk, user: &UserName, repo: RepoId) -> Result<Option<Role>, StoreError> {
    disk.read(|view| view.get(&keys::grant(repo, user)))
}

pub(super) fn grants(disk: &Disk, repo: RepoId) -> Result<Vec<(UserName, Role)>, StoreError> {
    disk.read(|view| {
        let prefix = keys::grants(repo);
        let mut found = Vec::new();
        for key in view.keys(&prefix, Scan::Up) {
            let key = key?;
            let user = key.text_after(&prefix).and_then(|name| UserName::parse(name).ok());
            if let (Some(user), Some(role)) = (user, view.get(&key)?) {
                found.push((user, role));
            }
        }
        Ok(found)
    })
}

/// Takes all roles of a user away, as part of a larger change.
pub(super) fn remove_grants_of(change: &mut Change<'_>, user: &UserName) -> Result<(), StoreError> {
    let view = change.before();
    for mark in view.keys(&keys::grants_of(user), Scan::Up) {
        let mark = mark?;
        if let Some(repo) = mark.last_number() {
            change.remove(keys::grant(RepoId(repo), user))?;
        }
        change.remove(mark)?;
    }
    Ok(())
}

/// The next number.
pub(super) fn count_up(change: &mut Change<'_>, which: Counter) -> Result<u64, StoreError> {
    let next = count(change, which)?.saturating_add(1);
    change.put(keys::counter(which), &next)?;
    Ok(next)
}

/// That many fewer.
pub(super) fn count_down(change: &mut Change<'_>, which: Counter, by: u64) -> Result<(), StoreError> {
    let left = count(change, which)?.saturating_sub(by);
    change.put(keys::counter(which), &left).map(drop)
}

/// The number now.
pub(super) fn count(change: &Change<'_>, which: Counter) -> Result<u64, StoreError> {
    Ok(change.get(&keys::counter(which))?.unwrap_or(0))
}
