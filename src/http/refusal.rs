//! Refusals before a request reaches its room: the same sentence in the form that whoever asks for such an address reads.

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use serde_json::json;
use slipway_core::Problem;

/// The API's form below its address, plain text elsewhere: Git clients show that, and browsers too.
pub(super) fn refusal(path: &str, status: StatusCode, problem: &Problem) -> Response {
    let (kind, text) = if path.starts_with("/-/api/") {
        let body = json!({"error": {"kind": problem.kind, "what": problem.what, "cure": problem.cure}});
        ("application/json", body.to_string())
    } else {
        ("text/plain; charset=utf-8", format!("{problem}\n"))
    };
    (status, [(CONTENT_TYPE, kind), (CACHE_CONTROL, "no-store")], text).into_response()
}
