//! Files that were kept of builds' tests: their list, and each as it is, to be saved and never to be shown.

use axum::Json;
use axum::body::Body as Bytestream;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::{
    CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS,
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use slipway_core::Action;
use slipway_forge::kept::Kept;

use super::Endpoint;
use super::runs::find_build;
use crate::refusal::Answer;
use crate::visit::Visit;

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint::new("GET", "/repos/{repo}/builds/{number}/artifacts", "Files kept of a build's test", || {
        get(list)
    })
    .gives(200, "Artifacts"),
    Endpoint::new("GET", "/repos/{repo}/builds/{number}/artifacts/{*path}", "One of them, as it is", || {
        get(file)
    })
    .gives(200, "application/octet-stream"),
];

async fn kept(visit: &Visit, repo: &str, number: &str) -> Answer<Kept> {
    let record = visit.repo(repo, Action::ReadRepo).await?;
    let build = find_build(visit, &record, number).await?;
    Ok(Kept::new(visit.forge(), visit.caller(), record.id, build.number))
}

async fn list(visit: Visit, Path((repo, number)): Path<(String, String)>) -> Answer<Json<Value>> {
    let kept = kept(&visit, &repo, &number).await?;
    let all = visit.ask(move |_, _| kept.all()).await?;
    Ok(Json(json!({"artifacts": all.files, "tests": all.report})))
}

async fn file(visit: Visit, Path((repo, number, path)): Path<(String, String, String)>) -> Answer<Response> {
    let kept = kept(&visit, &repo, &number).await?;
    let (file, pieces) = kept.open(&path).await?;
    let name = file.path.rsplit('/').next().unwrap_or_default();
    let name = utf8_percent_encode(name, NON_ALPHANUMERIC);
    let headers = [
        (CONTENT_TYPE, "application/octet-stream".to_owned()),
        (CONTENT_LENGTH, file.bytes.to_string()),
        (CONTENT_DISPOSITION, format!("attachment; filename*=UTF-8''{name}")),
        (X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        (CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox; frame-ancestors 'none'".to_owned()),
    ];
    Ok((headers, Bytestream::from_stream(pieces)).into_response())
}
