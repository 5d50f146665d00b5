//! Names that others follow: the tag `latest`, the manifests of a cluster. A build moves them only for a ref that builds by
//! itself, and never from a newer commit back to an older one; who wants an older state says so to the branch.

use slipway_core::accept::builds_itself;
use slipway_core::build::Build;
use slipway_core::target::RepoRecord;
use slipway_core::{Oid, Problem};
use slipway_repository::Snapshot;

use crate::forge::Forge;
use crate::limits::BUILDS_LOOKED_MAX;

/// Why this build leaves them where they are and only adds its commit's own tags; `None` where it moves them. Blocking.
///
/// # Errors
/// A [`Problem`] where the repository or the records cannot be read.
pub fn why_not(forge: &Forge, record: &RepoRecord, build: &Build) -> Result<Option<String>, Problem> {
    let repository = forge.repositories.get(&record.name)?;
    let snapshot = repository.snapshot()?;
    let objects = repository.received_nothing()?;
    if !builds_itself(&build.ref_name, &build.commit, snapshot.head(), &objects)? {
        return Ok(Some(format!("pushes to {} build nothing by themselves", build.ref_name.short())));
    }
    let tip = snapshot.find_ref(build.ref_name.as_str()).map(|r| r.peeled.unwrap_or(r.target));
    // Somebody put the branch there, be it forward or back.
    if tip == Some(build.commit) {
        return Ok(None);
    }
    let others = forge.store.builds(record.id, None, BUILDS_LOOKED_MAX)?;
    for other in others.iter().filter(|b| b.ref_name == build.ref_name && b.pushed.is_some()) {
        if Some(other.commit) == tip || is_older(&snapshot, &build.commit, &other.commit)? {
            return Ok(Some("a newer commit's image is there already".into()));
        }
    }
    Ok(None)
}

fn is_older(snapshot: &Snapshot, commit: &Oid, other: &Oid) -> Result<bool, Problem> {
    // What was cut from the branch since may be gone altogether.
    Ok(commit != other && snapshot.contains(other)? && snapshot.is_ancestor(commit, other)?)
}
