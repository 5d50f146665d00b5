//! What is said of commits: by our builds and deploys, and by other systems.

use axum::Json;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use slipway_core::status::StatusState;
use slipway_core::{Oid, RepoName};
use slipway_forge::statuses::{self, More, NewStatus, Said};

use super::Endpoint;
use super::input::Body;
use crate::refusal::{Answer, missing};
use crate::visit::Visit;

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint::new("GET", "/repos/{repo}/commits/{oid}/status", "What is said of a commit", || get(show))
        .gives(200, "CommitStatus"),
    Endpoint::new("POST", "/repos/{repo}/commits/{oid}/statuses", "Say something of a commit", || post(set))
        .takes("NewStatus")
        .gives(201, "Status"),
];

fn id(oid: &str) -> Answer<Oid> {
    Oid::parse(oid).map_err(|_| missing("That is no commit's full id."))
}

async fn show(visit: Visit, Path((repo, oid)): Path<(String, String)>) -> Answer<Json<Value>> {
    // Asked before the id is looked at: who may not read learns nothing of what would be right.
    let record = visit.repo(&repo, slipway_core::Action::ReadRepo).await?;
    let (name, commit) = (record.name.to_string(), id(&oid)?);
    let (_, said) = visit.ask(move |forge, caller| statuses::show(forge, caller, &name, &commit)).await?;
    let state = statuses::all_in_all(&said).map_or(json!("none"), |state| json!(state));
    let rows: Vec<Value> = said.iter().map(|one| row(&visit, &record.name, one)).collect();
    Ok(Json(json!({"commit": commit, "state": state, "statuses": rows})))
}

fn row(visit: &Visit, repo: &RepoName, said: &Said) -> Value {
    let here = &visit.shared.parts.addresses.http;
    let url = match &said.more {
        More::Build(number) => Some(format!("{here}/{repo}/builds/{number}")),
        More::Deploy(number) => Some(format!("{here}/{repo}/deploys/{number}")),
        More::Url(url) => Some(url.clone()),
        More::Nothing => None,
    };
    json!({"context": said.context, "state": said.state, "url": url, "description": said.description})
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct New {
    context: String,
    state: StatusState,
    #[serde(default)]
    url: Option<String>,
    #[serde(default)]
    description: String,
}

async fn set(
    visit: Visit,
    Path((repo, oid)): Path<(String, String)>,
    Body(new): Body<New>,
) -> Answer<Response> {
    let record = visit.repo(&repo, slipway_core::Action::WriteRepo).await?;
    let (name, commit) = (record.name.to_string(), id(&oid)?);
    let New { context, state, url, description } = new;
    let new = NewStatus { context, state, url, description };
    let status = visit.ask(move |forge, caller| statuses::set(forge, caller, &name, &commit, new)).await?;
    Ok((StatusCode::CREATED, Json(json!(status))).into_response())
}
