//! Answers of the HTTP side: headers that keep caches away, and refusals in plain sentences, which git prints.

use axum::body::Body;
use axum::response::Response;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, EXPIRES, PRAGMA, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use slipway_core::{Problem, ProblemKind};

/// An answer that no cache may keep.
pub(super) fn uncached(status: StatusCode, content_type: &str, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(EXPIRES, HeaderValue::from_static("Fri, 01 Jan 1980 00:00:00 GMT"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, max-age=0, must-revalidate"));
    if let Ok(value) = HeaderValue::from_str(content_type) {
        headers.insert(CONTENT_TYPE, value);
    }
    response
}

/// A refusal.
pub(super) fn refused(problem: &Problem) -> Response {
    let status = StatusCode::from_u16(problem.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = plain(status, &problem.to_string());
    let headers = response.headers_mut();
    match problem.kind {
        // git asks for a password on nothing else than this.
        ProblemKind::Unauthenticated => {
            headers.insert(
                WWW_AUTHENTICATE,
                HeaderValue::from_static("Basic realm=\"Slipway\", charset=\"UTF-8\""),
            );
        }
        _ if problem.may_pass() => {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("60"));
        }
        _ => {}
    }
    response
}

/// A sentence with a status.
pub(super) fn plain(status: StatusCode, text: &str) -> Response {
    uncached(status, "text/plain; charset=utf-8", Body::from(format!("{text}\n")))
}
