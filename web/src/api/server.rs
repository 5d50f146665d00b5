//! The server itself: its description, its health, its backups and what it exports.

use axum::Json;
use axum::body::{Body as Bytestream, Bytes};
use axum::extract::{DefaultBodyLimit, FromRequest, Request};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use serde::Deserialize;
use serde_json::{Value, json};
use slipway_core::{Action, RepoId};
use slipway_forge::limits::BACKUP_KNOWN_BYTES_MAX;
use slipway_forge::{Round, server};

use super::input::{Body, Keys};
use super::{Endpoint, describe};
use crate::refusal::{Answer, invalid};
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
    Endpoint::new("POST", "/backup", "A backup of everything", || {
        post(back_up).layer(DefaultBodyLimit::max(BACKUP_KNOWN_BYTES_MAX))
    })
    .asks(&["keys"])
    .gives(200, "application/x-tar"),
    Endpoint::new("GET", "/export", "All records as lines of JSON", || get(export))
        .gives(200, "application/jsonl"),
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

/// Whose backup it is to be: what of an earlier one the caller has is in the body, 16 bytes a file; no body is fine.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BackUp {
    #[serde(default = "yes")]
    keys: bool,
}

fn yes() -> bool {
    true
}

async fn back_up(visit: Visit, Keys(asked): Keys<BackUp>, request: Request) -> Answer<Response> {
    // Before a body of that size is read.
    visit.may(Action::AdminServer)?;
    let known = Bytes::from_request(request, &visit.shared).await;
    let known =
        known.map_err(|_| invalid("What is known of an earlier backup is too long.", "Send none."))?;
    let stream = server::back_up(visit.forge(), visit.caller(), known, asked.keys).await?;
    let headers = [(CONTENT_TYPE, "application/x-tar"), (CACHE_CONTROL, "no-store")];
    Ok((headers, Bytestream::from_stream(stream)).into_response())
}

async fn export(visit: Visit) -> Answer<Response> {
    let stream = server::export(visit.forge(), visit.caller()).await?;
    let headers = [(CONTENT_TYPE, "application/jsonl"), (CACHE_CONTROL, "no-store")];
    Ok((headers, Bytestream::from_stream(stream)).into_response())
}
