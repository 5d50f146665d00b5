//! What comes in: JSON bodies, query keys and path parts, each refused with a sentence where it does not fit.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use http::header::CONTENT_TYPE;
use http::request;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use slipway_core::{Problem, ProblemKind};

use crate::limits::{BODY_BYTES_MAX, PAGE_ROWS, PAGE_ROWS_MAX};
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
            let (kind, what) = match e.status().as_u16() {
                413 => (ProblemKind::TooLarge, format!("The body is larger than {BODY_BYTES_MAX} bytes.")),
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

/// Which rows of a list by name.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Window {
    pub(crate) limit: Option<usize>,
    pub(crate) after: Option<String>,
}

impl Window {
    /// Cuts the window out of `all`, which is sorted by `key`; and says where the next one begins.
    pub(crate) fn cut<T>(self, all: Vec<T>, key: impl Fn(&T) -> &str) -> Answer<(Vec<T>, Option<String>)> {
        let limit = rows(self.limit)?;
        let from = match &self.after {
            Some(after) => all.partition_point(|row| key(row) <= after.as_str()),
            None => 0,
        };
        let more = all.len().saturating_sub(from) > limit;
        let rows: Vec<T> = all.into_iter().skip(from).take(limit).collect();
        let next = rows.last().filter(|_| more).map(|row| key(row).to_owned());
        Ok((rows, next))
    }
}

/// Which rows of a list by number, newest first.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Backwards {
    pub(crate) limit: Option<usize>,
    pub(crate) before: Option<u64>,
}

/// Checks a wanted number of rows.
pub(crate) fn rows(limit: Option<usize>) -> Answer<usize> {
    match limit {
        None => Ok(PAGE_ROWS),
        Some(n) if (1..=PAGE_ROWS_MAX).contains(&n) => Ok(n),
        Some(n) => Err(invalid(
            format!("limit={n} is outside 1 to {PAGE_ROWS_MAX}."),
            "Ask for fewer rows, and follow \"next\".",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(limit: usize, after: Option<&str>) -> Window {
        Window { limit: Some(limit), after: after.map(Into::into) }
    }

    #[test]
    fn pages_follow_one_another_without_gap_or_double() {
        let all: Vec<String> = (0..10).map(|n| format!("r{n}")).collect();
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let (rows, next) = window(3, after.as_deref()).cut(all.clone(), |r| r).expect("fits");
            seen.extend(rows);
            after = next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(seen, all);
    }

    #[test]
    fn a_cursor_that_is_gone_still_finds_its_place() {
        let all = vec!["a".to_owned(), "c".into(), "d".into()];
        let (rows, next) = window(10, Some("b")).cut(all, |r| r).expect("fits");
        assert_eq!((rows.as_slice(), next), (&["c".to_owned(), "d".into()][..], None));
    }

    #[test]
    fn too_many_rows_are_refused() {
        assert!(rows(Some(0)).is_err() && rows(Some(PAGE_ROWS_MAX + 1)).is_err() && rows(None).is_ok());
    }
}
