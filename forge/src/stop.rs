//! Work that is stopped before its end: asked to, and waited for a while.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use slipway_core::build::{Build, BuildState};
use slipway_core::deploy::Deploy;
use slipway_core::run::{Kind, Machine, WorkId};
use slipway_core::{BuildNumber, DeployNumber, Problem, ProblemKind, RepoId};

use crate::forge::{Forge, blocking};
use crate::refusal::{no_build, no_deploy};

/// How long somebody who stops work waits for its end.
const WAIT_MAX: Duration = Duration::from_secs(20);
/// How often they look without having heard of a change: under load some are left out.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Stops a build that is not over; the build as it stands then.
///
/// # Errors
/// `Conflict` once it is over; `NotFound`.
pub(crate) async fn stop_build(
    forge: &Arc<Forge>,
    repo: RepoId,
    number: BuildNumber,
) -> Result<Build, Problem> {
    let read = move |f: &Forge| f.store.build(repo, number)?.ok_or_else(|| no_build(number));
    let over = |b: &Build| format!("Build {number} is over: {}.", state_word(&b.run.state));
    stopped(forge, (Kind::Build, WorkId { repo, number: number.0 }), read, over).await
}

/// Stops a deploy that is not over; the deploy as it stands then.
///
/// # Errors
/// `Conflict` once it is over; `NotFound`.
pub(crate) async fn stop_deploy(
    forge: &Arc<Forge>,
    repo: RepoId,
    number: DeployNumber,
) -> Result<Deploy, Problem> {
    let read = move |f: &Forge| f.store.deploy(repo, number)?.ok_or_else(|| no_deploy(number));
    let over = |_: &Deploy| format!("Deploy {number} is over.");
    stopped(forge, (Kind::Deploy, WorkId { repo, number: number.0 }), read, over).await
}

async fn stopped<W: Machine>(
    forge: &Arc<Forge>,
    (kind, id): (Kind, WorkId),
    read: impl Fn(&Forge) -> Result<W, Problem> + Copy + Send + 'static,
    over: impl Fn(&W) -> String,
) -> Result<W, Problem> {
    // Listened to before it is asked: its end is not missed.
    let mut changes = forge.outside.changes();
    let asked = forge.outside.stop(kind, id).await?;
    let now = || {
        let forge = Arc::clone(forge);
        blocking(move || read(&forge))
    };
    let mut work = now().await?;
    if !asked {
        return Err(Problem::new(ProblemKind::Conflict, over(&work), "Nothing needs to be done."));
    }
    let deadline = tokio::time::Instant::now() + WAIT_MAX;
    while !work.run().is_over() && tokio::time::Instant::now() < deadline {
        if let Ok(None) = tokio::time::timeout(LOOK_EVERY, changes.next()).await {
            break;
        }
        work = now().await?;
    }
    Ok(work)
}

fn state_word(state: &BuildState) -> &'static str {
    match state {
        BuildState::Succeeded => "succeeded",
        BuildState::Failed => "failed",
        BuildState::Cancelled => "cancelled",
        BuildState::Superseded => "superseded",
        BuildState::Queued | BuildState::Running | BuildState::Waiting => "under way",
    }
}
