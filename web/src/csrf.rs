//! No other site's page can act for a signed-in browser: unsafe requests must come from our own origin, and forms of a
//! session must carry that session's token on top.
//!
//! Fetch Metadata (Sec-Fetch-Site) is asked first, Origin second, as in Go's `http.CrossOriginProtection`. A request
//! with neither comes from no browser of these years; a session still needs the token.

use axum::extract::Request;
use http::header::{HOST, ORIGIN};
use http::{HeaderMap, Method};
use sha2::{Digest as _, Sha256};
use slipway_core::{Problem, ProblemKind};
use subtle::ConstantTimeEq;

use crate::identity::Visitor;
use crate::parts::Shared;

/// The header by which scripts carry the token.
const HEADER: &str = "x-slipway-csrf";

/// The token of a session: derived, so nothing is stored, and worthless without the cookie.
pub(crate) fn token_for(cookie: &str) -> String {
    use base64::Engine as _;
    let digest = Sha256::digest(format!("slipway csrf {cookie}").as_bytes());
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(digest)
}

/// Refuses unsafe requests that a browser says come from elsewhere. Tokens and inherited actors cannot be forged by a
/// page, but nobody needs them cross-site either.
pub(crate) fn check_origin(shared: &Shared, visitor: &Visitor, request: &Request) -> Result<(), Problem> {
    if matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) {
        return Ok(());
    }
    if !same_origin(shared, request.headers()) {
        return Err(foreign());
    }
    let scripted = request.uri().path().starts_with("/-/api/");
    match &visitor.csrf {
        Some(_) if scripted => {
            let given = request.headers().get(HEADER).and_then(|v| v.to_str().ok()).unwrap_or_default();
            check_token(visitor, given)
        }
        _ => Ok(()),
    }
}

/// Checks a form's token; a visitor without a session needs none.
pub(crate) fn check_token(visitor: &Visitor, given: &str) -> Result<(), Problem> {
    match &visitor.csrf {
        None => Ok(()),
        Some(wanted) if bool::from(wanted.as_bytes().ct_eq(given.as_bytes())) => Ok(()),
        Some(_) => Err(foreign()),
    }
}

fn same_origin(shared: &Shared, headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).map(|v: &http::HeaderValue| v.to_str().unwrap_or("?"));
    if let Some(site) = text(http::HeaderName::from_static("sec-fetch-site")) {
        return matches!(site, "same-origin" | "none");
    }
    let Some(origin) = text(ORIGIN) else { return true };
    let host = text(HOST).unwrap_or_default();
    let ours = origin.split_once("://").is_some_and(|(_, rest)| !host.is_empty() && rest == host);
    ours || origin == shared.parts.addresses.http
}

fn foreign() -> Problem {
    Problem::new(
        ProblemKind::Denied,
        "This request does not come from one of this server's own pages, or the page is too old.",
        "Go back, load the page anew and send the form again.",
    )
}
