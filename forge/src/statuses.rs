//! What is said of commits: by our builds and deploys, read from their records at the moment when somebody asks, and by other
//! systems, as they have set it.

use std::collections::HashMap;

use slipway_core::build::{Build, BuildState};
use slipway_core::deploy::{Deploy, DeployState};
use slipway_core::status::{CommitStatus, OWN, StatusState, combined};
use slipway_core::target::RepoRecord;
use slipway_core::{Action, BuildNumber, DeployNumber, Oid, Problem};

use crate::access::{repo, view};
use crate::caller::Caller;
use crate::forge::Forge;
use crate::refusal::missing;
use crate::runs;

/// Builds, and deploys, of one commit that are looked at, the newest.
const LOOKED_MAX: usize = 100;

/// One status, whoever says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// What says it.
    pub context: String,
    /// What it says.
    pub state: StatusState,
    /// A few words.
    pub description: String,
    /// Where more is to be seen.
    pub more: More,
}

/// Where more is to be seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum More {
    /// A build's page.
    Build(BuildNumber),
    /// A deploy's page.
    Deploy(DeployNumber),
    /// An address elsewhere.
    Url(String),
    /// Nowhere.
    Nothing,
}

/// A status as described by whoever sets it.
#[derive(Clone, Debug)]
pub struct NewStatus {
    /// What says it.
    pub context: String,
    /// What it says.
    pub state: StatusState,
    /// Where more is to be seen.
    pub url: Option<String>,
    /// A few words.
    pub description: String,
}

/// Everything that is said of a commit, ours first. Empty where nothing is, also of a commit that is not there.
///
/// # Errors
/// What the authoriser says of reading the repository.
pub fn show(
    forge: &Forge,
    caller: &Caller,
    name: &str,
    commit: &Oid,
) -> Result<(RepoRecord, Vec<Said>), Problem> {
    let record = repo(forge, caller, name, Action::ReadRepo)?;
    let mut said = of(forge, caller, &record, std::slice::from_ref(commit))?;
    Ok((record, said.remove(commit).unwrap_or_default()))
}

/// The same of several commits at once, without those of which nothing is said.
///
/// # Errors
/// `Broken` for a failing disk.
pub fn of(
    forge: &Forge,
    caller: &Caller,
    record: &RepoRecord,
    commits: &[Oid],
) -> Result<HashMap<Oid, Vec<Said>>, Problem> {
    let mut all: HashMap<Oid, Vec<Said>> = HashMap::new();
    let mut add = |commit: Oid, said: Said| {
        let known = all.entry(commit).or_default();
        // Newest first: an older one of the same context is of the past.
        if known.iter().all(|one| one.context != said.context) {
            known.push(said);
        }
    };
    for build in runs::builds_of(forge, caller, record, commits, LOOKED_MAX)? {
        of_build(&build).into_iter().for_each(|said| add(build.commit, said));
    }
    for deploy in runs::deploys_of(forge, caller, record, commits, LOOKED_MAX)? {
        of_deploy(&deploy).into_iter().for_each(|said| add(deploy.commit, said));
    }
    for commit in commits {
        for status in forge.store.statuses(record.id, commit)? {
            add(*commit, of_others(status));
        }
    }
    Ok(all)
}

/// What all of them come to.
pub fn all_in_all(said: &[Said]) -> Option<StatusState> {
    combined(said.iter().map(|one| one.state))
}

/// Records what another system says of a commit that those who fetch may see.
///
/// # Errors
/// `Denied` for those who may not push; `Invalid`; `NotFound`; `TooLarge` where too much is said already.
pub fn set(
    forge: &Forge,
    caller: &Caller,
    name: &str,
    commit: &Oid,
    new: NewStatus,
) -> Result<CommitStatus, Problem> {
    let record = repo(forge, caller, name, Action::WriteRepo)?;
    let NewStatus { context, state, url, description } = new;
    let status = CommitStatus {
        repo: record.id,
        commit: *commit,
        context,
        state,
        url,
        description,
        by: caller.actor.label(),
        at: forge.now(),
    };
    status.check()?;
    if view(forge, &record)?.snapshot.commit(commit)?.is_none() {
        return Err(missing(format!("{name} has no commit {commit}.")));
    }
    forge.store.put_status(&status)?;
    Ok(status)
}

fn of_build(build: &Build) -> Option<Said> {
    let (state, words) = match build.run.state {
        // Stopped, or a newer commit's place: nothing is known of this one.
        BuildState::Cancelled | BuildState::Superseded => return None,
        _ if build.promotes().is_some() => return None,
        BuildState::Queued => (StatusState::Pending, "waits for its turn"),
        BuildState::Running | BuildState::Waiting => (StatusState::Pending, "is being built"),
        BuildState::Succeeded => (StatusState::Success, "built, tested and pushed"),
        BuildState::Failed => (StatusState::Failure, "failed"),
    };
    let part = build.part.as_ref().map(|part| format!("/{part}")).unwrap_or_default();
    let description = format!("Build {}: {words}", build.number);
    Some(Said { context: format!("{OWN}build{part}"), state, description, more: More::Build(build.number) })
}

fn of_deploy(deploy: &Deploy) -> Option<Said> {
    let (state, words) = match deploy.run.state {
        DeployState::Cancelled | DeployState::Superseded => return None,
        DeployState::Queued => (StatusState::Pending, "waits for its turn"),
        DeployState::Running | DeployState::Waiting => (StatusState::Pending, "is being rolled out"),
        DeployState::Healthy => (StatusState::Success, "healthy"),
        DeployState::Kept => {
            (StatusState::Success, "healthy, and what left is kept until somebody confirms that it may go")
        }
        DeployState::Failed => (StatusState::Failure, "failed"),
    };
    let description = format!("Deploy {}: {words}", deploy.number);
    let context = format!("{OWN}deploy/{}", deploy.cluster);
    Some(Said { context, state, description, more: More::Deploy(deploy.number) })
}

fn of_others(status: CommitStatus) -> Said {
    let CommitStatus { context, state, url, description, .. } = status;
    Said { context, state, description, more: url.map_or(More::Nothing, More::Url) }
}
