//! What a build needs of other parts of its repository: images that must have been pushed before it is built.

use slipway_core::build::{Build, BuildState, PushedImage};
use slipway_core::{BuildNumber, Problem, RefName};

use crate::forge::Forge;
use crate::limits::NEEDS_LOOKED_MAX;

/// How it stands with one thing that a build needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    /// A build of the same commit makes it, and is not over.
    Awaited(BuildNumber),
    /// It is there.
    There(PushedImage),
    /// The build that was to make it, of the same commit, has not.
    Failed(BuildNumber),
    /// No build has made it yet.
    Absent,
}

/// True while a build of the same commit is under way that makes something which the build needs. Blocking.
///
/// # Errors
/// A [`Problem`] where the records cannot be read.
pub fn awaits(forge: &Forge, build: &Build) -> Result<bool, Problem> {
    let unfinished = forge.store.read(|records| records.unfinished_builds_of(build.repo))?;
    let makes = |other: &Build| {
        let same = other.commit == build.commit && other.ref_name == build.ref_name;
        same && other.promotes().is_none() && build.needs.iter().any(|name| is_called(other, name))
    };
    Ok(unfinished.iter().any(makes))
}

/// True if the build makes the part, or one of the image's parts, of that name.
fn is_called(build: &Build, name: &str) -> bool {
    build
        .part
        .as_deref()
        .is_some_and(|part| part == name || part.split_once('/').is_some_and(|(image, _)| image == name))
}

/// What the build needs, by name, and how it stands with it: the newest image of the same commit, else of the same ref, else
/// of the default branch. Blocking.
///
/// # Errors
/// A [`Problem`] where the records cannot be read.
pub fn needs(forge: &Forge, build: &Build, default_branch: &RefName) -> Result<Vec<(String, Need)>, Problem> {
    if build.needs.is_empty() {
        return Ok(Vec::new());
    }
    let all = forge.store.builds(build.repo, None, NEEDS_LOOKED_MAX)?;
    Ok(build.needs.iter().flat_map(|name| of(name, build, default_branch, &all)).collect())
}

/// A name is that of one part, or of an image that a matrix makes several of.
fn of(name: &str, build: &Build, default_branch: &RefName, all: &[Build]) -> Vec<(String, Need)> {
    let is = |other: &&Build| other.promotes().is_none() && is_called(other, name);
    let mut parts: Vec<&str> = all.iter().filter(is).filter_map(|other| other.part.as_deref()).collect();
    parts.sort_unstable();
    parts.dedup();
    if parts.is_empty() {
        return vec![(name.to_owned(), Need::Absent)];
    }
    let found = parts.into_iter().map(|part| (part.to_owned(), of_part(part, build, default_branch, all)));
    found.collect()
}

/// `all` is newest first.
fn of_part(part: &str, build: &Build, default_branch: &RefName, all: &[Build]) -> Need {
    let of_part =
        || all.iter().filter(|other| other.part.as_deref() == Some(part) && other.promotes().is_none());
    let of_commit = of_part().find(|other| other.commit == build.commit && other.ref_name == build.ref_name);
    match of_commit {
        Some(other) if !other.run.state.is_final() => return Need::Awaited(other.number),
        Some(other) if other.run.state == BuildState::Succeeded || other.pushed.is_some() => {
            return other.pushed.clone().map_or(Need::Failed(other.number), Need::There);
        }
        Some(other) => return Need::Failed(other.number),
        None => {}
    }
    let pushed = |of: &RefName| of_part().filter(|b| b.ref_name == *of).find_map(|b| b.pushed.clone());
    pushed(&build.ref_name).or_else(|| pushed(default_branch)).map_or(Need::Absent, Need::There)
}
