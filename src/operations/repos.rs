//! Makes the disk agree with the store at the start, where a crash came between the two, or an earlier version kept
//! things elsewhere. Blocking.

use std::collections::{BTreeMap, BTreeSet};

use slipway_core::{Problem, RepoId, RepoName};

use crate::rooms::Rooms;

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
