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

/// `all` is newest first. Of the same commit the build with the same parameters counts, else one without; of a ref the last of its
/// pushes, not who was built last: a retry or a start of an old commit makes no base for what comes after it, and neither does one
/// with parameters, which are for whoever asked.
fn of_part(part: &str, build: &Build, default_branch: &RefName, all: &[Build]) -> Need {
    let of_part =
        || all.iter().filter(|other| other.part.as_deref() == Some(part) && other.promotes().is_none());
    let same = |other: &&Build| other.commit == build.commit && other.ref_name == build.ref_name;
    let of_commit = of_part()
        .filter(same)
        .find(|other| other.asked == build.asked)
        .or_else(|| of_part().filter(same).find(|other| other.asked.params.is_empty()));
    match of_commit {
        Some(other) if !other.run.state.is_final() => return Need::Awaited(other.number),
        Some(other) if other.run.state == BuildState::Succeeded || other.pushed.is_some() => {
            return other.pushed.clone().map_or(Need::Failed(other.number), Need::There);
        }
        Some(other) => return Need::Failed(other.number),
        None => {}
    }
    let pushed = |of: &RefName| {
        let made = of_part().filter(|b| b.ref_name == *of && b.pushed.is_some() && b.asked.params.is_empty());
        made.max_by_key(|b| (b.event, b.number)).and_then(|b| b.pushed.clone())
    };
    pushed(&build.ref_name).or_else(|| pushed(default_branch)).map_or(Need::Absent, Need::There)
}

#[cfg(test)]
mod tests {
    use slipway_core::build::Asked;
    use slipway_core::{Digest, EventId, Oid, RepoId, UnixMillis};

    use super::*;

    /// Builds of the part `base` that have pushed `image:NUMBER`, newest first: commit, event, with parameters.
    fn builds(all: &[(u8, u64, bool)]) -> Vec<Build> {
        let made = all.iter().zip(1..).map(|((commit, event, params), number)| {
            let mut build = build(*commit, *event);
            build.number = BuildNumber(number);
            build.part = Some("base".into());
            build.run.state = BuildState::Succeeded;
            if *params {
                build.asked = Asked { params: [("LEVEL".to_owned(), "release".to_owned())].into() };
            }
            let digest = Digest::parse(&format!("sha256:{number:064}")).expect("a digest");
            build.pushed = Some(PushedImage { name: "r/base".into(), tags: Vec::new(), digest });
            build
        });
        let mut made: Vec<Build> = made.collect();
        made.reverse();
        made
    }

    fn build(commit: u8, event: u64) -> Build {
        let commit = Oid::parse(&format!("{commit:040}")).expect("an id");
        let main = RefName::branch("main").expect("valid");
        let (number, title) = (BuildNumber(1), String::new());
        Build::queued(RepoId(1), number, EventId(event), main, commit, title, "ann".into(), UnixMillis(0))
    }

    /// The number of the build whose image one of `commit` gets.
    fn found(commit: u8, params: bool, all: &[(u8, u64, bool)]) -> u64 {
        let mut one = build(commit, 9);
        if params {
            one.asked = Asked { params: [("LEVEL".to_owned(), "release".to_owned())].into() };
        }
        match of_part("base", &one, &one.ref_name, &builds(all)) {
            Need::There(image) => {
                image.digest.as_str().trim_start_matches("sha256:").parse().expect("a number")
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_retry_of_an_old_push_and_a_build_with_parameters_are_no_base_for_what_comes_after() {
        let pushes = [(1, 1, false), (2, 2, false)];
        assert_eq!(found(3, false, &pushes), 2);
        assert_eq!(found(3, false, &[pushes[0], pushes[1], (1, 1, false)]), 2, "a retry of the first");
        assert_eq!(found(3, false, &[pushes[0], pushes[1], (2, 2, true)]), 2, "with parameters");
        assert_eq!(found(2, false, &[pushes[0], pushes[1], (2, 2, true)]), 2, "of the same commit, too");
        assert_eq!(found(2, true, &[pushes[0], pushes[1], (2, 2, true)]), 3, "but for who asks for the same");
        assert_eq!(found(1, false, &[pushes[0], pushes[1]]), 1, "its own commit's first");
    }
}
