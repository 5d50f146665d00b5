//! Looking after the engines: what dead builds left in them is swept, those that do not answer are asked again, and people are told.

use std::fmt::Write;
use std::time::Duration;

use slipway_core::{BuildNumber, Problem, RepoId};
use slipway_hooks::{Engines, Member};
use tokio_util::sync::CancellationToken;

use crate::rooms::Rooms;
use crate::supervisor::blocking;

/// How often engines are looked at, where there are several.
const EVERY: Duration = Duration::from_secs(5);
/// How often one that answers is asked whether it still does, in rounds of that.
const CALM_ROUNDS: u32 = 6;

/// At start: removes what dead builds left. An engine that does not answer is swept when it does, or at the next start.
pub(crate) async fn sweep(rooms: &Rooms) {
    let all = rooms.engines.all().iter().map(|member| async {
        match unfinished(rooms, None).await {
            Ok(alive) => match member.hooks().sweep(&alive).await {
                Ok(swept) => tracing::debug!(engine = member.name, ?swept, "swept the engine"),
                Err(error) => tracing::warn!(engine = member.name, %error, "the engine is not swept"),
            },
            Err(problem) => tracing::warn!(%problem, "the engine is not swept"),
        }
    });
    futures_util::future::join_all(all).await;
}

/// The builds that are not over: all, or those that the engine of that name has.
async fn unfinished(rooms: &Rooms, engine: Option<&str>) -> Result<Vec<(RepoId, BuildNumber)>, Problem> {
    let (store, engine) = (rooms.store.clone(), engine.map(str::to_owned));
    blocking(move || {
        let builds = store.unfinished_builds()?.into_iter();
        let theirs = builds.filter(|build| engine.is_none() || build.engine == engine);
        Ok(theirs.map(|build| (build.repo, build.number)).collect())
    })
    .await
}

/// Where there are several: sees which answer, and sweeps whoever answers again.
pub(crate) async fn watch(rooms: Rooms, stop: CancellationToken) {
    if rooms.engines.all().len() < 2 {
        return;
    }
    let mut round = 0_u32;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        round = round.wrapping_add(1);
        for member in rooms.engines.all() {
            let was_down = member.down().is_some();
            if !member.is_due() || (!was_down && !round.is_multiple_of(CALM_ROUNDS)) {
                continue;
            }
            match member.ask().await {
                Ok(_) if was_down => back(&rooms, member).await,
                Ok(_) => {}
                Err(error) if was_down => {
                    tracing::debug!(engine = member.name, %error, "still does not answer")
                }
                Err(error) => tracing::warn!(engine = member.name, %error, "an engine does not answer"),
            }
        }
    }
}

/// It answers again: what builds left there that have gone elsewhere, or are over, goes.
async fn back(rooms: &Rooms, member: &Member) {
    tracing::info!(engine = member.name, "an engine answers again");
    match unfinished(rooms, Some(&member.name)).await {
        Ok(alive) => match member.hooks().sweep_beside(&alive).await {
            Ok(swept) => tracing::debug!(engine = member.name, ?swept, "swept the engine"),
            Err(error) => tracing::warn!(engine = member.name, %error, "the engine is not swept"),
        },
        Err(problem) => tracing::warn!(%problem, "the engine is not swept"),
    }
}

/// What an owner is told of engines that do not answer.
pub(crate) fn warnings(engines: &Engines) -> Vec<String> {
    if engines.all().len() < 2 {
        return Vec::new();
    }
    let told = engines.all().iter().filter_map(|member| {
        let (since, error) = member.down()?;
        let problem = Problem::from(error);
        Some(format!(
            "The engine {} has not answered for {} s, and its builds go to the others. {} {}",
            member.name,
            since.as_secs(),
            problem.what,
            problem.cure
        ))
    });
    told.collect()
}

/// Figures of each, where there are several.
pub(crate) fn figures(engines: &Engines, out: &mut String) {
    if engines.all().len() < 2 {
        return;
    }
    let mut gauge = |name: &str, help: &str, value: &dyn Fn(&Member) -> u64| {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge");
        for member in engines.all() {
            let _ = writeln!(out, "{name}{{engine=\"{}\"}} {}", member.name, value(member));
        }
    };
    gauge("slipway_engine_up", "Whether the engine answered when it was asked last.", &|m| {
        u64::from(m.down().is_none())
    });
    gauge("slipway_engine_builds", "Builds that the engine has.", &|m| m.busy() as u64);
    gauge("slipway_engine_slots", "Builds that it may have at once.", &|m| m.slots);
}
