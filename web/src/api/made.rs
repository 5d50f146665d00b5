//! Whose images are, what is stated of them, and the key by which everybody can check it.

use axum::Json;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::{CONTENT_DISPOSITION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use slipway_core::verified::Verified;
use slipway_forge::made::{self, Stated};

use super::Endpoint;
use super::input::Keys;
use crate::refusal::Answer;
use crate::visit::Visit;

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint::new("GET", "/images/verify", "Whether an image is what a build here has made", || get(verify))
        .asks(&["image"])
        .gives(200, "Verified"),
    Endpoint::new("GET", "/signing-key", "The public key that images are signed with, in PEM", || get(key))
        .gives(200, "application/x-pem-file"),
    Endpoint::new(
        "GET",
        "/repos/{repo}/builds/{number}/provenance",
        "Where a build's image comes from",
        || get(provenance),
    )
    .gives(200, "object"),
    Endpoint::new("GET", "/repos/{repo}/builds/{number}/sbom", "What is in a build's image", || {
        get(contents)
    })
    .gives(200, "object"),
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    image: String,
}

async fn verify(visit: Visit, Keys(named): Keys<Named>) -> Answer<Json<Verified>> {
    Ok(Json(made::verify(visit.forge(), visit.caller(), &named.image).await?))
}

/// The key, as a file that cosign takes.
pub(crate) async fn key(visit: Visit) -> Answer<Response> {
    let key = made::public_key(visit.forge()).await?;
    Ok(([(CONTENT_TYPE, "application/x-pem-file"), (X_CONTENT_TYPE_OPTIONS, "nosniff")], key).into_response())
}

async fn provenance(visit: Visit, Path((repo, number)): Path<(String, String)>) -> Answer<Response> {
    document(&visit, &repo, &number, Stated::Provenance).await
}

async fn contents(visit: Visit, Path((repo, number)): Path<(String, String)>) -> Answer<Response> {
    document(&visit, &repo, &number, Stated::Contents).await
}

async fn document(visit: &Visit, repo: &str, number: &str, what: Stated) -> Answer<Response> {
    let (name, document) = made::stated(visit.forge(), visit.caller(), repo, number, what).await?;
    let name = utf8_percent_encode(&name, NON_ALPHANUMERIC);
    let headers = [
        (CONTENT_TYPE, "application/json".to_owned()),
        (CONTENT_DISPOSITION, format!("attachment; filename*=UTF-8''{name}")),
        (X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        (CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox; frame-ancestors 'none'".to_owned()),
    ];
    Ok((headers, document.to_string()).into_response())
}
