//! A [`Problem`] on its way out. It travels in the answer's extensions; the API's and the pages' outer layers give it
//! a body in their own form, so that a handler never needs to know which of them called it.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde_json::json;
use slipway_core::{Problem, ProblemKind};

use crate::limits::RETRY_AFTER_S;

/// What a handler fails with.
#[derive(Clone, Debug)]
pub(crate) struct Refusal(pub(crate) Problem);

/// What a handler answers with.
pub(crate) type Answer<T> = Result<T, Refusal>;

impl<P: Into<Problem>> From<P> for Refusal {
    fn from(problem: P) -> Self {
        Self(problem.into())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = status_of(&self.0);
        let mut response = status.into_response();
        if matches!(self.0.kind, ProblemKind::Broken | ProblemKind::Unwritable) {
            tracing::error!(what = %self.0.what, "a request failed");
        }
        response.extensions_mut().insert(self);
        response
    }
}

pub(crate) fn status_of(problem: &Problem) -> StatusCode {
    StatusCode::from_u16(problem.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// The input is wrong.
pub(crate) fn invalid(what: impl Into<String>, cure: impl Into<String>) -> Refusal {
    Refusal(Problem::new(ProblemKind::Invalid, what, cure))
}

/// There is no such thing.
pub(crate) fn missing(what: impl Into<String>) -> Refusal {
    Refusal(Problem::new(
        ProblemKind::NotFound,
        what,
        "Check the address, or look at the list it belongs to.",
    ))
}

/// The problem behind a failed answer, also where the framework itself refused.
pub(crate) fn problem_of(response: &Response) -> Option<Problem> {
    if let Some(Refusal(problem)) = response.extensions().get::<Refusal>() {
        return Some(problem.clone());
    }
    let (kind, what, cure) = match response.status() {
        StatusCode::NOT_FOUND => (
            ProblemKind::NotFound,
            "There is nothing at this address.",
            "Check it, or start from the home page.",
        ),
        StatusCode::METHOD_NOT_ALLOWED => {
            (ProblemKind::Invalid, "This address does not take that method.", "See /-/api/v1/openapi.json.")
        }
        StatusCode::PAYLOAD_TOO_LARGE => {
            (ProblemKind::TooLarge, "The request is larger than 1 MiB.", "Send less at once.")
        }
        StatusCode::BAD_REQUEST | StatusCode::UNSUPPORTED_MEDIA_TYPE | StatusCode::UNPROCESSABLE_ENTITY => {
            (ProblemKind::Invalid, "The request cannot be read.", "Check the address and the form's fields.")
        }
        StatusCode::INTERNAL_SERVER_ERROR => (
            ProblemKind::Broken,
            "Something broke while answering.",
            "Try again; the server's log says more.",
        ),
        _ => return None,
    };
    Some(Problem::new(kind, what, cure))
}

/// Headers that go with a failure whatever its form.
pub(crate) fn mark(response: &mut Response, problem: &Problem) {
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if problem.may_pass() {
        headers.insert(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_S));
    }
}

/// The API's outer layer: failures as `{"error":{"kind","what","cure"}}`.
pub(crate) async fn as_json(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    if response.status().as_u16() < 400 {
        return response;
    }
    let Some(problem) = problem_of(&response) else { return response };
    let status = response.status();
    let body = json!({"error": {"kind": problem.kind, "what": problem.what, "cure": problem.cure}});
    let mut answer = (status, body.to_string()).into_response();
    if let Some(allow) = response.headers().get(http::header::ALLOW) {
        answer.headers_mut().insert(http::header::ALLOW, allow.clone());
    }
    mark(&mut answer, &problem);
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"Slipway\""));
    }
    answer
}
