//! Makes the disk agree with the store at the start, where a crash came between the two, or an earlier version kept
//! things elsewhere. Blocking.

use std::collections::{BTreeMap, BTreeSet};

use slipway_core::target::RepoRecord;
use slipway_core::{Problem, RepoId, RepoName};
use slipway_repository::RepoError;

use crate::rooms::Rooms;
use crate::supervisor::now;

/// How long the making of a folder may take after that of its record, in milliseconds.
const MAKING_MS_MAX: u64 = 10_000;

fn in_the_way(name: &RepoName) {
    tracing::warn!(repo = %name, "something else has the name of the link to its folder; it has none");
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
        if !make_missing(rooms, record)? {
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

/// Makes the folder of a repository that never had one: a crash or a full disk came between the record and the folder. False
/// if something was ever pushed there.
fn make_missing(rooms: &Rooms, record: &RepoRecord) -> Result<bool, Problem> {
    if !rooms.store.events(record.id, 1)?.is_empty() {
        return Ok(false);
    }
    rooms.repositories.create(record.id, record.object_format)?;
    Ok(true)
}

/// Makes the folders that a full disk kept from being made, while the server runs: of repositories that are older than any whose
/// folder is just being made.
pub(crate) fn make_all_missing(rooms: &Rooms) -> Result<(), Problem> {
    let young = now().0.saturating_sub(MAKING_MS_MAX);
    for record in rooms.store.repos()?.iter().filter(|record| record.created.0 < young) {
        let is_missing = matches!(rooms.repositories.get(record.id), Err(RepoError::NoFolder { .. }));
        if is_missing && make_missing(rooms, record)? {
            tracing::info!(repo = %record.name, "made the folder that a full disk had kept from being made");
        }
    }
    Ok(())
}
