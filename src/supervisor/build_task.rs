//! The life of one build: steps, records, effects.

use std::sync::Arc;
use std::time::Duration;

use slipway_core::UnixMillis;
use slipway_core::build::{Build, BuildState, Effect, Input};
use slipway_core::limits::RETRY_PAUSE_MS_MAX;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_util::sync::CancellationToken;

use super::{Before, CUT_STAGE_MAX, Change, Inner, now};

/// How long a stopped stage may take to end.
const STOP_GRACE: Duration = Duration::from_secs(15);

pub(super) async fn run(
    inner: &Inner,
    mut build: Build,
    first: Option<Input>,
    mut inbox: mpsc::Receiver<Input>,
    before: Before,
) {
    let mut slot = None;
    let mut effects = match first {
        Some(input) => match step(inner, &mut build, input).await {
            Some(effects) => effects,
            None => return,
        },
        None => Vec::new(),
    };
    while !build.run.state.is_final() {
        let input = match build.run.state {
            BuildState::Queued => {
                let (input, taken) = wait_for_turn(inner, &before, &mut inbox).await;
                slot = taken;
                input
            }
            BuildState::Waiting => {
                slot = None;
                wait_until(inner, build.run.retry_at, &mut inbox).await
            }
            _ => {
                if slot.is_none() {
                    match wait_for_place(inner, &mut inbox).await {
                        Ok(place) => slot = Some(place),
                        Err(Some(input)) => {
                            if step(inner, &mut build, input).await.is_none() {
                                return;
                            }
                            continue;
                        }
                        Err(None) => return,
                    }
                }
                carry_out(inner, &build, &effects, &mut inbox).await
            }
        };
        let Some(input) = input else { return };
        match step(inner, &mut build, input).await {
            Some(next) => effects = next,
            None => return,
        }
    }
    drop(slot);
    inner.builds.finish(&build).await;
}

/// One step of the machine: the new state is on disk when this returns. `None` when the server stops.
async fn step(inner: &Inner, build: &mut Build, input: Input) -> Option<Vec<Effect>> {
    let effects = build.step(input, now());
    if build.run.state.is_final() && !effects.is_empty() {
        // Before the record: who reads the log to its end stops reading once the record is final.
        inner.builds.conclude(build).await;
    }
    let record = build.clone();
    let written = inner.record("build", move |store| match store.put_build(&record) {
        // The repository was removed meanwhile: there is nothing to record any more.
        Err(problem) if problem.kind == slipway_core::ProblemKind::NotFound => Ok(()),
        other => other,
    });
    if !written.await {
        return None;
    }
    inner.publish(Change::Build(Arc::new(build.clone())));
    Some(effects)
}

/// Waits for the build before it on the same ref, then for a free place.
async fn wait_for_turn(
    inner: &Inner,
    before: &Before,
    inbox: &mut mpsc::Receiver<Input>,
) -> (Option<Input>, Option<OwnedSemaphorePermit>) {
    let turn = async {
        inner.gate.cancelled().await;
        before.ended().await;
        inner.build_slots.clone().acquire_owned().await.ok()
    };
    tokio::select! {
        biased;
        () = inner.stop.cancelled() => (None, None),
        input = inbox.recv() => (input, None),
        slot = turn => (Some(Input::Start), slot),
    }
}

/// Waits for a free place for a build that has begun: one that a crash cut off, or whose retry is due. `Err` is what
/// came first: somebody who cancels it, or the end of the server.
async fn wait_for_place(
    inner: &Inner,
    inbox: &mut mpsc::Receiver<Input>,
) -> Result<OwnedSemaphorePermit, Option<Input>> {
    let place = async {
        inner.gate.cancelled().await;
        inner.build_slots.clone().acquire_owned().await
    };
    tokio::pin!(place);
    loop {
        tokio::select! {
            biased;
            // It says that it runs: put it down, or the next start counts a death.
            () = inner.stop.cancelled() => return Err(Some(Input::Interrupted)),
            input = inbox.recv() => match input {
                // As in `carry_out`.
                Some(Input::Supersede) => {}
                other => return Err(other),
            },
            place = &mut place => return place.map_err(|_| None),
        }
    }
}

async fn wait_until(
    inner: &Inner,
    at: Option<UnixMillis>,
    inbox: &mut mpsc::Receiver<Input>,
) -> Option<Input> {
    // A clock that was set back must not make a pause of years.
    let pause = Duration::from_millis(at.unwrap_or_default().since(now()).min(RETRY_PAUSE_MS_MAX));
    tokio::select! {
        biased;
        () = inner.stop.cancelled() => None,
        input = inbox.recv() => input,
        () = tokio::time::sleep(pause) => Some(Input::RetryDue),
    }
}

/// Carries the stage out while listening for somebody who wants it stopped.
async fn carry_out(
    inner: &Inner,
    build: &Build,
    effects: &[Effect],
    inbox: &mut mpsc::Receiver<Input>,
) -> Option<Input> {
    let Some(effect) = effects.first() else {
        tracing::error!(repo = %build.repo, build = %build.number, "a running build has nothing to do; starting over");
        return Some(Input::Restarted);
    };
    if inner.cut.is_cancelled() {
        return Some(Input::Interrupted);
    }
    let stop = CancellationToken::new();
    let stage = inner.builds.carry_out(build, effect, &stop);
    tokio::pin!(stage);
    loop {
        tokio::select! {
            biased;
            outcome = &mut stage => return Some(outcome),
            () = inner.cut.cancelled() => {
                stop.cancel();
                return match tokio::time::timeout(CUT_STAGE_MAX, &mut stage).await {
                    // What was done just now stays done.
                    Ok(outcome) if !matches!(outcome, Input::Failed(_)) => Some(outcome),
                    _ => Some(Input::Interrupted),
                };
            }
            input = inbox.recv() => match input {
                // A build that has begun is let finish: its image, tagged with its commit, is somebody's to test.
                Some(Input::Supersede) => {}
                Some(input) => {
                    stop.cancel();
                    drop(tokio::time::timeout(STOP_GRACE, &mut stage).await);
                    return Some(input);
                }
                None => return None,
            },
        }
    }
}
