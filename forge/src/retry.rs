//! A build once more: the same commit under a new number, where the last try is over.

use slipway_core::accept::Orders;
use slipway_core::build::Build;
use slipway_core::{BuildNumber, Problem, ProblemKind, RepoId};

use crate::caller::Caller;
use crate::forge::Forge;
use crate::refusal::no_build;

/// Queues the same commit again under a new number. Blocking.
///
/// # Errors
/// `Conflict` while it is under way; `NotFound`.
pub(crate) fn queued_again(
    forge: &Forge,
    caller: &Caller,
    repo: RepoId,
    number: BuildNumber,
) -> Result<Build, Problem> {
    let (who, by, now) = (caller.user().map(ToString::to_string), caller.actor.label(), forge.now());
    let build = forge.store.transact(|tx| {
        let old = tx.view().build(repo, number)?.ok_or_else(|| no_build(number))?;
        if !old.run.state.is_final() {
            return Err(under_way(number).into());
        }
        // Whoever holds the admin socket is nobody whom a manifest repository knows: the pusher stays.
        let who = who.clone().unwrap_or_else(|| old.actor.clone());
        tx.add_build(old.again(who, &by, now))
    })?;
    forge.outside.begin(&Orders { builds: vec![build.clone()], deploys: Vec::new() });
    Ok(build)
}

fn under_way(number: BuildNumber) -> Problem {
    Problem::new(
        ProblemKind::Conflict,
        format!("Build {number} is still under way."),
        "Wait for its end, or cancel it first.",
    )
}
