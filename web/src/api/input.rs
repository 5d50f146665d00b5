//! What comes in: JSON bodies, query keys and path parts, each refused with a sentence where it does not fit.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use http::header::CONTENT_TYPE;
use http::request;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use slipway_core::{Problem, ProblemKind};
use slipway_forge::pace::TooSlow;

use crate::parts::Shared;
use crate::refusal::{Answer, Refusal, invalid};

/// A JSON body.
pub(crate) struct Body<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<Arc<Shared>> for Body<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, shared: &Arc<Shared>) -> Answer<Self> {
        let kind = request.headers().get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        if !kind.split(';').next().is_some_and(|k| k.trim().eq_ignore_ascii_case("application/json")) {
            return Err(invalid("The body is not marked as JSON.", "Send Content-Type: application/json."));
        }
        let bytes = Bytes::from_request(request, shared).await.map_err(|e| {
            if let Some(slow) = TooSlow::behind(&e) {
                return Problem::from(slow);
            }
            let (kind, what) = match e.status().as_u16() {
                413 => {
                    let most = shared.parts.limits.http_body_size_max;
                    (ProblemKind::TooLarge, format!("The body is larger than {most} bytes."))
                }
                _ => (ProblemKind::Invalid, "The body ended too early.".to_owned()),
            };
            Problem::new(kind, what, "Send less, and all of it.")
        })?;
        // serde_json's message names place and field, and quotes at most the field's name, never a secret's value.
        serde_json::from_slice(&bytes).map(Self).map_err(|e| {
            invalid(format!("The body does not fit: {}.", without_value(&e)), "See /-/api/v1/openapi.json.")
        })
    }
}

/// A wrong value may be a secret in the wrong field: say the place and the class, and quote only unknown names.
fn without_value(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let quotes_a_value = text.starts_with("invalid type") || text.starts_with("invalid value");
    if quotes_a_value {
        return format!("a value of the wrong type at line {} column {}", error.line(), error.column());
    }
    text.chars().take(300).collect()
}

/// Query keys.
pub(crate) struct Keys<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequestParts<Arc<Shared>> for Keys<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut request::Parts, _: &Arc<Shared>) -> Answer<Self> {
        Query::try_from_uri(&parts.uri).map(|Query(keys)| Self(keys)).map_err(|e| {
            let text: String = e.body_text().chars().take(300).collect();
            invalid(format!("The address does not fit: {text}."), "See /-/api/v1/openapi.json.")
        })
    }
}

/// Which rows of a list by number, newest first.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Backwards {
    pub(crate) limit: Option<usize>,
    pub(crate) before: Option<u64>,
}
