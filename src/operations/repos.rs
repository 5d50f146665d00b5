//! Repositories on disk and in the store, in orders that a crash cannot split: the store decides what exists and how it is
//! called, the disk holds it by its id, and [`settle`] makes the disk agree with the store at the next start. Blocking.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use slipway_core::target::RepoRecord;
use slipway_core::{ObjectFormat, Problem, RepoId, RepoName, Role, UserName};
use slipway_repository::RepoError;

use crate::rooms::Rooms;
use crate::supervisor::now;

/// Folders of no repository that are stepped over to find a place for a new one: a database that was brought back from a
/// backup counts on from there.
const IN_THE_WAY_MAX: usize = 100;

/// The record first, with its maker's role (it takes the name), then the folder; a folder that fails takes the record back. A folder that is there
/// already is somebody's: its id is not used.
pub(super) fn create(
    rooms: &Rooms,
    format: ObjectFormat,
    name: &RepoName,
    description: &str,
    public: bool,
    maker: Option<&UserName>,
) -> Result<RepoRecord, Problem> {
    let now = now();
    for tries in 0.. {
        let record = rooms.store.transact(|tx| {
            let record = tx.create_repo_as(format, name, description, public, now)?;
            if let Some(maker) = maker {
                tx.grant(maker, record.id, Role::Admin)?;
            }
            Ok(record)
        })?;
        match rooms.repositories.create(record.id, format) {
            Ok(_) => {
                link(rooms, record.id)?;
                return Ok(record);
            }
            Err(error) => {
                rooms.store.remove_repo(record.id)?;
                if !matches!(error, RepoError::FolderExists { .. }) || tries >= IN_THE_WAY_MAX {
                    return Err(error.into());
                }
                tracing::warn!("a new repository is not put there: {error}");
            }
        }
    }
    Err(Problem::no_such_repository(name.as_str()))
}

/// Has the administrators' link bear the name that the repository has now. A link that cannot be made is no reason to
/// refuse what is recorded.
pub(super) fn link(rooms: &Rooms, repo: RepoId) -> Result<(), Problem> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(record) = rooms.store.repo(repo)? else { return Ok(()) };
    match rooms.repositories.link(repo, &record.name) {
        Ok(true) => {}
        Ok(false) => in_the_way(&record.name),
        Err(error) => tracing::warn!(%error, repo = %record.name, "the link to its folder is not made"),
    }
    Ok(())
}

fn in_the_way(name: &RepoName) {
    tracing::warn!(repo = %name, "something else has the name of the link to its folder; it has none");
}

/// The record first: nobody can reach the repository any more. Then the folders.
pub(super) fn remove(rooms: &Rooms, repo: RepoId) -> Result<(), Problem> {
    let record = rooms.store.repo(repo)?.ok_or_else(|| Problem::no_such_repository(""))?;
    rooms.repositories.mark_removed(repo)?;
    rooms.store.remove_repo(repo)?;
    rooms.repositories.remove(repo)?;
    if let Err(error) = rooms.logs.remove(repo) {
        tracing::warn!(%error, repo = %record.name, "the build logs are not removed");
    }
    Ok(())
}

/// Makes the disk agree with the store: brings folders and logs of an earlier version under their ids, finishes removals
/// that a crash cut off, and makes folders that were about to be made. Folders that nobody marked as removed are never
/// deleted.
pub(crate) fn settle(rooms: &Rooms) -> Result<(), Problem> {
    let records = rooms.store.repos()?;
    let names: BTreeMap<RepoId, RepoName> = records.iter().map(|r| (r.id, r.name.clone())).collect();
    let adopted = rooms.repositories.adopt(&names)?;
    if adopted.moved > 0 {
        tracing::info!(count = adopted.moved, "brought repositories' folders under their ids");
    }
    let logs = names.iter().map(|(id, name)| {
        let earlier = adopted.earlier.get(id).map(String::as_str);
        (*id, std::iter::once(name.as_str()).chain(earlier).collect())
    });
    if let Err(error) = rooms.logs.adopt(logs) {
        tracing::error!(%error, "build logs of an earlier version are not brought under ids; the next start tries again");
    }
    let mut on_disk: BTreeSet<String> = rooms.repositories.folders()?.into_iter().collect();
    for record in &records {
        if on_disk.remove(&record.id.to_string()) || adopted.failed.contains(&record.id) {
            continue;
        }
        // Nothing was ever pushed: the crash came between the record and the folder.
        if rooms.store.events(record.id, 1)?.is_empty() {
            rooms.repositories.create(record.id, record.object_format)?;
        } else {
            // An empty folder in its place would hide that a disk is not mounted.
            tracing::error!(repo = %record.name, id = %record.id, "its folder is missing; mount or restore it");
        }
    }
    for stray in on_disk {
        if rooms.repositories.is_marked_removed(&stray)? {
            tracing::info!(folder = %stray, "finishing a removal that a crash cut off");
            rooms.repositories.remove_folder(&stray)?;
        } else {
            tracing::warn!(folder = %stray, "a folder that no repository owns is left alone");
        }
    }
    let wanted = names.into_iter().map(|(id, name)| (name, id)).collect();
    rooms.repositories.settle_links(&wanted)?.iter().for_each(in_the_way);
    Ok(())
}
