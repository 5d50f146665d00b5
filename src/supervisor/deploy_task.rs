//! The life of one deploy: steps, records, the reconcile.

use std::sync::Arc;
use std::time::Duration;

use slipway_core::deploy::{Deploy, DeployState, Effect, Input};
use slipway_core::limits::RETRY_PAUSE_MS_MAX;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_util::sync::CancellationToken;

use super::{Before, CUT_STAGE_MAX, Change, Inner, now};

/// How long a stopped reconcile may take to reach a safe point.
const STOP_GRACE: Duration = Duration::from_secs(45);
/// Progress reports that may wait to be recorded.
const PROGRESS_MAX: usize = 64;

pub(super) async fn run(
    inner: &Inner,
    mut deploy: Deploy,
    first: Option<Input>,
    mut inbox: mpsc::Receiver<Input>,
    before: Before,
) {
    let mut slot = None;
    if let Some(input) = first
        && step(inner, &mut deploy, input).await.is_none()
    {
        return;
    }
    while !deploy.run.state.is_final() {
        let input = match deploy.run.state {
            DeployState::Queued => {
                let (input, taken) = wait_for_turn(inner, &before, &mut inbox).await;
                slot = taken;
                input
            }
            DeployState::Waiting => {
                slot = None;
                // A clock that was set back must not make a pause of years.
                let pause = deploy.run.retry_at.unwrap_or_default().since(now()).min(RETRY_PAUSE_MS_MAX);
                let pause = Duration::from_millis(pause);
                tokio::select! {
                    biased;
                    () = inner.stop.cancelled() => None,
                    input = inbox.recv() => input,
                    () = tokio::time::sleep(pause) => Some(Input::RetryDue),
                }
            }
            _ => {
                if slot.is_none() {
                    let place = tokio::select! {
                        biased;
                        () = inner.stop.cancelled() => return,
                        input = inbox.recv() => Err(input),
                        place = inner.deploy_slots.clone().acquire_owned() => Ok(place),
                    };
                    match place {
                        Ok(place) => slot = place.ok(),
                        Err(Some(input)) => {
                            if step(inner, &mut deploy, input).await.is_none() {
                                return;
                            }
                            continue;
                        }
                        Err(None) => return,
                    }
                }
                reconcile(inner, &mut deploy, &mut inbox).await
            }
        };
        let Some(input) = input else { return };
        if step(inner, &mut deploy, input).await.is_none() {
            return;
        }
    }
    drop(slot);
}

/// One step of the machine: the new state is on disk when this returns. `None` when the server stops.
async fn step(inner: &Inner, deploy: &mut Deploy, input: Input) -> Option<Vec<Effect>> {
    let before = deploy.clone();
    let effects = deploy.step(input, now());
    if *deploy == before {
        return Some(effects);
    }
    let record = deploy.clone();
    let written = inner.record("deploy", move |store| match store.put_deploy(&record) {
        // The repository was removed meanwhile: there is nothing to record any more.
        Err(problem) if problem.kind == slipway_core::ProblemKind::NotFound => Ok(()),
        other => other,
    });
    if !written.await {
        return None;
    }
    inner.publish(Change::Deploy(Arc::new(deploy.clone())));
    Some(effects)
}

/// Waits for the deploy before it to the same cluster, then for a free place.
async fn wait_for_turn(
    inner: &Inner,
    before: &Before,
    inbox: &mut mpsc::Receiver<Input>,
) -> (Option<Input>, Option<OwnedSemaphorePermit>) {
    let turn = async {
        before.ended().await;
        inner.deploy_slots.clone().acquire_owned().await.ok()
    };
    tokio::select! {
        biased;
        () = inner.stop.cancelled() => (None, None),
        input = inbox.recv() => (input, None),
        slot = turn => (Some(Input::Start), slot),
    }
}

/// Reconciles while recording its progress and listening for somebody who wants it stopped.
async fn reconcile(inner: &Inner, deploy: &mut Deploy, inbox: &mut mpsc::Receiver<Input>) -> Option<Input> {
    let stop = CancellationToken::new();
    let (progress, mut reports) = mpsc::channel(PROGRESS_MAX);
    let started = deploy.clone();
    let work = inner.deploys.reconcile(&started, progress, &stop);
    tokio::pin!(work);
    let mut reporting = true;
    loop {
        tokio::select! {
            biased;
            report = reports.recv(), if reporting => match report {
                Some(report) => { step(inner, deploy, report).await?; }
                None => reporting = false,
            },
            outcome = &mut work => {
                while let Ok(report) = reports.try_recv() {
                    step(inner, deploy, report).await?;
                }
                return Some(outcome);
            }
            () = inner.cut.cancelled() => {
                stop.cancel();
                reports.close();
                return match tokio::time::timeout(CUT_STAGE_MAX, &mut work).await {
                    Ok(Input::Done(objects)) => Some(Input::Done(objects)),
                    // Its record says that it runs: the next start does it again, which is harmless.
                    _ => None,
                };
            }
            input = inbox.recv() => {
                let input = input?;
                stop.cancel();
                reports.close();
                drop(tokio::time::timeout(STOP_GRACE, &mut work).await);
                return Some(input);
            }
        }
    }
}
