//! The server itself: its description, its health, its backup.

use axum::Json;
use axum::body::Body as Bytestream;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use serde_json::{Value, json};
use slipway_forge::server;

use super::{Endpoint, describe};
use crate::refusal::Answer;
use crate::visit::Visit;

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint::new("GET", "/openapi.json", "This description", || get(description)).gives(200, "object"),
    Endpoint::new("GET", "/doctor", "Check everything the server needs", || get(doctor)).gives(200, "Doctor"),
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

async fn backup(visit: Visit) -> Answer<Response> {
    let stream = server::backup(visit.forge(), visit.caller()).await?;
    let headers = [(CONTENT_TYPE, "application/octet-stream"), (CACHE_CONTROL, "no-store")];
    Ok((headers, Bytestream::from_stream(stream)).into_response())
}
