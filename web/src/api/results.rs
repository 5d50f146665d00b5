//! What is known of a build beside its record: the stages and steps of its log.

use axum::Json;
use axum::extract::Path;
use axum::routing::get;
use serde_json::{Value, json};
use slipway_core::Action;
use slipway_core::build::Build;
use slipway_core::outline::{StagePart, StepPart};
use slipway_forge::logs::Log;

use super::Endpoint;
use super::runs::find_build;
use crate::refusal::Answer;
use crate::visit::Visit;

pub(super) const ENDPOINTS: &[Endpoint] = &[Endpoint::new(
    "GET",
    "/repos/{repo}/builds/{number}/steps",
    "The stages and steps of a build's log",
    || get(steps),
)
.gives(200, "Steps")];

async fn steps(visit: Visit, Path((repo, number)): Path<(String, String)>) -> Answer<Json<Value>> {
    let record = visit.repo(&repo, Action::ReadRepo).await?;
    let build = find_build(&visit, &record, &number).await?;
    let log = Log::new(visit.forge(), visit.caller(), record.id, build.number);
    let outline = visit.ask(move |_, _| log.outline()).await?;
    let stages = outline.stages.iter().enumerate();
    // The record knows the times of a stage's last try alone.
    let is_last =
        |at: usize, part: &StagePart| outline.stages.iter().rposition(|p| p.stage == part.stage) == Some(at);
    let stages: Vec<Value> = stages.map(|(at, part)| stage(&build, part, is_last(at, part))).collect();
    Ok(Json(json!({"stages": stages, "first_line": build.results.first_line})))
}

fn stage(build: &Build, part: &StagePart, is_last: bool) -> Value {
    let time = build.stages.iter().rev().find(|time| is_last && time.stage == part.stage);
    json!({
        "stage": part.stage,
        "title": part.stage.title(),
        "state": part.state,
        "start": part.start,
        "end": part.end,
        "started": time.map(|time| time.started),
        "ended": time.and_then(|time| time.ended),
        "steps": part.steps.iter().map(step).collect::<Vec<_>>(),
    })
}

fn step(part: &StepPart) -> Value {
    let StepPart { number, name, state, took_ms, pieces } = part;
    json!({"number": number, "name": name, "state": state, "took_ms": took_ms, "ranges": pieces})
}
