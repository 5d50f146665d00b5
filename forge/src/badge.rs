//! Whether a branch builds, in one word.

use slipway_core::RefName;
use slipway_core::accept::RefStore as _;
use slipway_core::build::{Build, BuildState};
use slipway_core::{Problem, ProblemKind};

use crate::access::repository;
use crate::caller::Caller;
use crate::forge::Forge;
use crate::runs;

/// Builds that are looked at: those of other branches lie in between.
const LOOKED_MAX: usize = 200;

/// How the newest commit of a branch stands that was built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// All of its images are built.
    Passing,
    /// One of them is not.
    Failing,
    /// It is being built.
    Running,
    /// No build is known.
    None,
}

/// How a branch stands, the default branch without one, and whether everybody may know it. What the caller may not see is no
/// build.
///
/// # Errors
/// What the authoriser says of reading the repository; `Invalid` for what cannot be a branch.
pub fn of(
    forge: &Forge,
    caller: &Caller,
    name: &str,
    branch: Option<&str>,
) -> Result<(Standing, bool), Problem> {
    let found = runs::builds(forge, caller, name, None, LOOKED_MAX)?;
    let branch = match branch {
        Some(branch) => RefName::branch(branch).map_err(|_| {
            Problem::new(
                ProblemKind::Invalid,
                "That is no name of a branch.",
                "Name one, or leave `branch` out for the default branch.",
            )
        })?,
        None => repository(forge, &found.record)?.default_branch()?,
    };
    let builds = found.rows.iter().filter(|build| build.ref_name == branch && build.promotes().is_none());
    Ok((standing(builds), found.record.public))
}

/// By builds of one ref, newest first. What was stopped, or gave way to a newer commit, says nothing.
fn standing<'a>(builds: impl Iterator<Item = &'a Build>) -> Standing {
    let mut commit = None;
    let mut parts = Vec::new();
    let mut worst = Standing::None;
    for build in builds {
        let state = match build.run.state {
            BuildState::Cancelled | BuildState::Superseded => continue,
            BuildState::Succeeded => Standing::Passing,
            BuildState::Failed => Standing::Failing,
            BuildState::Queued | BuildState::Running | BuildState::Waiting => Standing::Running,
        };
        if *commit.get_or_insert(build.commit) != build.commit {
            break;
        }
        // A retry stands for what it tries again.
        if parts.contains(&&build.part) {
            continue;
        }
        parts.push(&build.part);
        worst = match (worst, state) {
            (Standing::Failing, _) | (_, Standing::Failing) => Standing::Failing,
            (Standing::Running, _) | (_, Standing::Running) => Standing::Running,
            (_, state) => state,
        };
    }
    worst
}

#[cfg(test)]
mod tests {
    use slipway_core::{BuildNumber, EventId, Oid, RepoId, UnixMillis};

    use super::*;

    fn build(commit: u8, part: &str, state: BuildState) -> Build {
        let main = RefName::branch("main").expect("a branch");
        let (repo, number, event, commit) = (RepoId(1), BuildNumber(1), EventId(1), Oid::Sha1([commit; 20]));
        let mut build =
            Build::queued(repo, number, event, main, commit, "t".into(), "ann".into(), UnixMillis(1));
        build.part = Some(part.to_owned()).filter(|part| !part.is_empty());
        build.run.state = state;
        build
    }

    #[test]
    fn the_newest_commit_that_was_built_decides_with_the_last_try_of_each_image() {
        use BuildState::{Cancelled, Failed, Queued, Succeeded, Superseded};
        for (builds, wanted) in [
            (vec![], Standing::None),
            (vec![build(1, "", Superseded)], Standing::None),
            (vec![build(2, "", Succeeded), build(1, "", Failed)], Standing::Passing),
            (vec![build(3, "", Cancelled), build(2, "", Failed), build(1, "", Succeeded)], Standing::Failing),
            (vec![build(1, "", Succeeded), build(1, "", Failed)], Standing::Passing),
            (vec![build(1, "a", Succeeded), build(1, "b", Failed)], Standing::Failing),
            (vec![build(1, "a", Queued), build(1, "b", Succeeded)], Standing::Running),
            (vec![build(1, "a", Queued), build(1, "b", Failed)], Standing::Failing),
        ] {
            assert_eq!(standing(builds.iter()), wanted, "{builds:?}");
        }
    }
}
