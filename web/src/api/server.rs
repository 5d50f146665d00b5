//! The server itself: its description, its health, its backup.

use axum::Json;
use axum::body::Body as Bytestream;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use serde::Deserialize;
use serde_json::{Value, json};
use slipway_core::RepoId;
use slipway_forge::{Round, server};

use super::input::{Body, Keys};
use super::{Endpoint, describe};
use crate::refusal::Answer;
use crate::visit::Visit;

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint::new("GET", "/openapi.json", "This description", || get(description)).gives(200, "object"),
    Endpoint::new("GET", "/doctor", "Check everything the server needs", || get(doctor)).gives(200, "Doctor"),
    Endpoint::new("GET", "/doctor/repositories", "Look at repositories, a part at a time", || get(round))
        .asks(&["after"])
        .gives(200, "Round"),
    Endpoint::new("POST", "/doctor/repositories", "Put right what can be made anew in repositories", || {
        post(repair)
    })
    .takes("NewRound")
    .gives(200, "Round"),
    Endpoint::new("GET", "/backup", "A backup of all records", || get(backup))
        .gives(200, "application/octet-stream"),
];

async fn description() -> Response {
    let headers = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "public, max-age=300")];
    (headers, describe::openapi().to_string()).into_response()
}

async fn doctor(visit: Visit) -> Answer<Json<Value>> {
    let checks = server::doctor(visit.forge(), visit.caller()).await?;
    Ok(Json(json!({"ok": checks.iter().all(|c| c.ok), "checks": checks})))
}

/// From where a round goes on.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct After {
    after: Option<RepoId>,
}

async fn round(visit: Visit, Keys(from): Keys<After>) -> Answer<Json<Round>> {
    Ok(Json(server::examine(visit.forge(), visit.caller(), from.after, false).await?))
}

async fn repair(visit: Visit, Body(from): Body<After>) -> Answer<Json<Round>> {
    Ok(Json(server::examine(visit.forge(), visit.caller(), from.after, true).await?))
}

async fn backup(visit: Visit) -> Answer<Response> {
    let stream = server::backup(visit.forge(), visit.caller()).await?;
    let headers = [(CONTENT_TYPE, "application/octet-stream"), (CACHE_CONTROL, "no-store")];
    Ok((headers, Bytestream::from_stream(stream)).into_response())
}
