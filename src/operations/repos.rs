//! Repositories on disk and in the store, in orders that a crash cannot split: the store decides what exists, and
//! [`settle`] makes the disk agree at the next start. Blocking.

use std::collections::BTreeSet;

use slipway_core::target::RepoRecord;
use slipway_core::{ObjectFormat, Problem, RepoId, RepoName, Role, UserName};

use crate::rooms::Rooms;
use crate::supervisor::now;

/// The record first, with its maker's role (it takes the name), then the folder; a folder that fails takes the record back.
pub(super) fn create(
    rooms: &Rooms,
    format: ObjectFormat,
    name: &RepoName,
    description: &str,
    public: bool,
    maker: Option<&UserName>,
) -> Result<RepoRecord, Problem> {
    let now = now();
    let record = rooms.store.transact(|tx| {
        let record = tx.create_repo_as(format, name, description, public, now)?;
        if let Some(maker) = maker {
            tx.grant(maker, record.id, Role::Admin)?;
        }
        Ok(record)
    })?;
    if let Err(error) = rooms.repositories.create_as(name, format) {
        rooms.store.remove_repo(record.id)?;
        return Err(error.into());
    }
    Ok(record)
}

/// The record first: from then on the new name is taken and the old one free. Then the folders.
pub(super) fn rename(rooms: &Rooms, repo: RepoId, new: &RepoName) -> Result<RepoRecord, Problem> {
    let old = rooms.store.repo(repo)?.ok_or_else(|| Problem::no_such_repository(""))?;
    if *new == old.name {
        return Ok(old);
    }
    rooms.repositories.mark(&old.name, repo)?;
    let record = rooms.store.update_repo(repo, now(), |record| record.name = new.clone())?;
    if let Err(error) = rooms.repositories.rename(&old.name, new) {
        rooms.store.update_repo(repo, now(), |record| record.name = old.name.clone())?;
        return Err(error.into());
    }
    // A log left under the old name is a log that is not shown, no more.
    if let Err(error) = rooms.logs.rename(&old.name, new) {
        tracing::warn!(%error, repo = %new, "the build logs are not renamed");
    }
    Ok(record)
}

/// The record first: nobody can reach the repository any more. Then the folders.
pub(super) fn remove(rooms: &Rooms, repo: RepoId) -> Result<(), Problem> {
    let record = rooms.store.repo(repo)?.ok_or_else(|| Problem::no_such_repository(""))?;
    rooms.repositories.mark_removed(&record.name)?;
    rooms.store.remove_repo(repo)?;
    rooms.repositories.remove(&record.name)?;
    if let Err(error) = rooms.logs.remove(&record.name) {
        tracing::warn!(%error, repo = %record.name, "the build logs are not removed");
    }
    Ok(())
}

/// Makes the disk agree with the store after a crash: finishes renames and removals, and makes folders that were about
/// to be made. Folders that nobody marked as removed are never deleted.
pub(crate) fn settle(rooms: &Rooms) -> Result<(), Problem> {
    let records = rooms.store.repos()?;
    let mut on_disk: BTreeSet<RepoName> = rooms.repositories.names()?.into_iter().collect();
    for record in &records {
        if on_disk.remove(&record.name) {
            continue;
        }
        match rooms.repositories.marked(record.id)? {
            Some(old) if on_disk.remove(&old) => {
                tracing::info!(%old, new = %record.name, "finishing a rename that a crash cut off");
                rooms.repositories.rename(&old, &record.name)?;
                drop(rooms.logs.rename(&old, &record.name));
            }
            // Nothing was ever pushed: the crash came between the record and the folder.
            _ if rooms.store.events(record.id, 1)?.is_empty() => {
                rooms.repositories.create_as(&record.name, record.object_format)?;
            }
            // An empty folder in its place would hide that a disk is not mounted.
            _ => {
                tracing::error!(repo = %record.name, "its folder is missing; mount or restore it and start again")
            }
        }
    }
    for stray in on_disk {
        if rooms.repositories.is_marked_removed(&stray)? {
            tracing::info!(repo = %stray, "finishing a removal that a crash cut off");
            rooms.repositories.remove(&stray)?;
        } else {
            tracing::warn!(repo = %stray, "a folder that no repository owns is left alone");
        }
    }
    Ok(())
}
