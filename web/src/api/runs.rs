//! Builds and deploys: what was recorded of them, and the verbs that act on them.

use axum::Json;
use axum::body::Body as Bytestream;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures_util::StreamExt;
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use slipway_core::build::Build;
use slipway_core::deploy::Deploy;
use slipway_core::target::RepoRecord;
use slipway_core::{Action, BuildNumber, DeployNumber, Problem, RepoName};

use super::Endpoint;
use super::input::{Backwards, Keys, rows};
use crate::limits::LOG_CHUNK_BYTES;
use crate::refusal::{Answer, missing};
use crate::visit::Visit;

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint::new("GET", "/repos/{repo}/builds", "List builds, newest first", || get(builds))
        .asks(&["limit", "before"])
        .gives(200, "Builds"),
    Endpoint::new("GET", "/repos/{repo}/builds/{number}", "Show a build", || get(build)).gives(200, "Build"),
    Endpoint::new("GET", "/repos/{repo}/builds/{number}/log", "A build's log", || get(log))
        .asks(&["offset", "follow"])
        .gives(200, "text/plain"),
    Endpoint::new("POST", "/repos/{repo}/builds/{number}/retry", "Build the same commit again", || {
        post(retry)
    })
    .gives(201, "Build"),
    Endpoint::new("POST", "/repos/{repo}/builds/{number}/cancel", "Stop a build", || post(cancel_build))
        .gives(200, "Build"),
    Endpoint::new("GET", "/repos/{repo}/deploys", "List deploys, newest first", || get(deploys))
        .asks(&["limit", "before"])
        .gives(200, "Deploys"),
    Endpoint::new("POST", "/repos/{repo}/deploys", "Deploy the bound branch", || post(sync))
        .gives(201, "Deploy"),
    Endpoint::new("GET", "/repos/{repo}/deploys/{number}", "Show a deploy", || get(deploy))
        .gives(200, "Deploy"),
    Endpoint::new(
        "POST",
        "/repos/{repo}/deploys/{number}/rollback",
        "Deploy an earlier deploy's commit",
        || post(rollback),
    )
    .gives(201, "Deploy"),
    Endpoint::new("POST", "/repos/{repo}/deploys/{number}/cancel", "Stop a deploy", || post(cancel_deploy))
        .gives(200, "Deploy"),
    Endpoint::new("GET", "/repos/{repo}/diff", "What a sync would change", || get(diff))
        .gives(200, "DiffText"),
];

/// A build or a deploy with where it belongs.
#[derive(Serialize)]
struct Run<T> {
    #[serde(flatten)]
    record: T,
    repo_name: RepoName,
    url: String,
}

fn run<T>(visit: &Visit, repo: &RepoName, what: &str, number: u64, record: T) -> Run<T> {
    let url = format!("{}/{repo}/{what}/{number}", visit.shared.parts.addresses.http);
    Run { record, repo_name: repo.clone(), url }
}

fn build_run(visit: &Visit, repo: &RepoName, build: Build) -> Run<Build> {
    run(visit, repo, "builds", build.number.0, build)
}

fn deploy_run(visit: &Visit, repo: &RepoName, deploy: Deploy) -> Run<Deploy> {
    run(visit, repo, "deploys", deploy.number.0, deploy)
}

async fn builds(visit: Visit, Path(repo): Path<String>, Keys(from): Keys<Backwards>) -> Answer<Json<Value>> {
    let record = visit.repo(&repo, Action::ReadRepo).await?;
    let (limit, before) = (rows(from.limit)?, from.before.map(BuildNumber));
    let mut rows = visit.store(move |s| s.builds(record.id, before, limit.saturating_add(1))).await?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(|b| b.number);
    let rows: Vec<_> = rows.into_iter().map(|b| build_run(&visit, &record.name, b)).collect();
    Ok(Json(json!({"builds": rows, "next": next})))
}

async fn build(visit: Visit, Path((repo, number)): Path<(String, String)>) -> Answer<Json<Run<Build>>> {
    let record = visit.repo(&repo, Action::ReadRepo).await?;
    let build = find_build(&visit, &record, &number).await?;
    Ok(Json(build_run(&visit, &record.name, build)))
}

/// The build of that number, or the newest for `latest`.
pub(crate) async fn find_build(visit: &Visit, repo: &RepoRecord, number: &str) -> Answer<Build> {
    let id = repo.id;
    let found = match number.parse::<BuildNumber>() {
        Ok(n) => visit.store(move |s| s.build(id, n)).await?,
        Err(_) if number == "latest" => visit.store(move |s| s.builds(id, None, 1)).await?.into_iter().next(),
        Err(_) => None,
    };
    found.ok_or_else(|| missing(format!("{} has no build {}.", repo.name, cut(number))))
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
#[derive(Default)]
struct LogKeys {
    offset: u64,
    follow: bool,
}

async fn log(
    visit: Visit,
    Path((repo, number)): Path<(String, String)>,
    Keys(keys): Keys<LogKeys>,
) -> Answer<Response> {
    let record = visit.repo(&repo, Action::ReadRepo).await?;
    let build = find_build(&visit, &record, &number).await?;
    Ok(log_response(&visit, &record.name, build.number, keys.offset, keys.follow))
}

/// A log's raw bytes as they are, or as they come.
pub(crate) fn log_response(
    visit: &Visit,
    repo: &RepoName,
    number: BuildNumber,
    offset: u64,
    follow: bool,
) -> Response {
    let body = if follow {
        let chunks = visit.operations().follow_log(repo, number, offset);
        Bytestream::from_stream(chunks.map(|chunk| chunk.map(|c| c.bytes)))
    } else {
        let operations = std::sync::Arc::clone(&visit.shared.parts.operations);
        let repo = repo.clone();
        Bytestream::from_stream(futures_util::stream::try_unfold(offset, move |at| {
            let (operations, repo) = (std::sync::Arc::clone(&operations), repo.clone());
            async move {
                let chunk = operations.read_log(&repo, number, at, LOG_CHUNK_BYTES).await?;
                let next = chunk.end();
                Ok::<_, Problem>((!chunk.bytes.is_empty()).then_some((chunk.bytes, next)))
            }
        }))
    };
    let headers = [
        (CONTENT_TYPE, "text/plain; charset=utf-8"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CACHE_CONTROL, "no-store"),
    ];
    (headers, body).into_response()
}

async fn retry(visit: Visit, Path((repo, number)): Path<(String, String)>) -> Answer<Response> {
    let record = visit.repo(&repo, Action::OperateRepo).await?;
    let number = find_build(&visit, &record, &number).await?.number;
    let build = visit.operations().retry_build(visit.actor(), record.id, number).await?;
    Ok((StatusCode::CREATED, Json(build_run(&visit, &record.name, build))).into_response())
}

async fn cancel_build(
    visit: Visit,
    Path((repo, number)): Path<(String, String)>,
) -> Answer<Json<Run<Build>>> {
    let record = visit.repo(&repo, Action::OperateRepo).await?;
    let number = find_build(&visit, &record, &number).await?.number;
    let build = visit.operations().cancel_build(visit.actor(), record.id, number).await?;
    Ok(Json(build_run(&visit, &record.name, build)))
}

async fn deploys(visit: Visit, Path(repo): Path<String>, Keys(from): Keys<Backwards>) -> Answer<Json<Value>> {
    let record = visit.repo(&repo, Action::ReadRepo).await?;
    let (limit, before) = (rows(from.limit)?, from.before.map(DeployNumber));
    let mut rows = visit.store(move |s| s.deploys(record.id, before, limit.saturating_add(1))).await?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(|d| d.number);
    let rows: Vec<_> = rows.into_iter().map(|d| deploy_run(&visit, &record.name, d)).collect();
    Ok(Json(json!({"deploys": rows, "next": next})))
}

async fn deploy(visit: Visit, Path((repo, number)): Path<(String, String)>) -> Answer<Json<Run<Deploy>>> {
    let record = visit.repo(&repo, Action::ReadRepo).await?;
    let deploy = find_deploy(&visit, &record, &number).await?;
    Ok(Json(deploy_run(&visit, &record.name, deploy)))
}

/// The deploy of that number, or the newest for `latest`.
pub(crate) async fn find_deploy(visit: &Visit, repo: &RepoRecord, number: &str) -> Answer<Deploy> {
    let id = repo.id;
    let found = match number.parse::<DeployNumber>() {
        Ok(n) => visit.store(move |s| s.deploy(id, n)).await?,
        Err(_) if number == "latest" => {
            visit.store(move |s| s.deploys(id, None, 1)).await?.into_iter().next()
        }
        Err(_) => None,
    };
    found.ok_or_else(|| missing(format!("{} has no deploy {}.", repo.name, cut(number))))
}

async fn sync(visit: Visit, Path(repo): Path<String>) -> Answer<Response> {
    let record = visit.repo(&repo, Action::OperateRepo).await?;
    let deploy = visit.operations().sync(visit.actor(), record.id).await?;
    Ok((StatusCode::CREATED, Json(deploy_run(&visit, &record.name, deploy))).into_response())
}

async fn rollback(visit: Visit, Path((repo, number)): Path<(String, String)>) -> Answer<Response> {
    let record = visit.repo(&repo, Action::OperateRepo).await?;
    let to = find_deploy(&visit, &record, &number).await?.number;
    let deploy = visit.operations().rollback(visit.actor(), record.id, to).await?;
    Ok((StatusCode::CREATED, Json(deploy_run(&visit, &record.name, deploy))).into_response())
}

async fn cancel_deploy(
    visit: Visit,
    Path((repo, number)): Path<(String, String)>,
) -> Answer<Json<Run<Deploy>>> {
    let record = visit.repo(&repo, Action::OperateRepo).await?;
    let number = find_deploy(&visit, &record, &number).await?.number;
    let deploy = visit.operations().cancel_deploy(visit.actor(), record.id, number).await?;
    Ok(Json(deploy_run(&visit, &record.name, deploy)))
}

/// The cluster is asked for this, so it takes the right to operate, not only to read.
async fn diff(visit: Visit, Path(repo): Path<String>) -> Answer<Json<Value>> {
    let record = visit.repo(&repo, Action::OperateRepo).await?;
    let diff = visit.operations().diff(record.id).await?;
    Ok(Json(json!({"diff": diff})))
}

fn cut(raw: &str) -> String {
    raw.chars().take(20).collect()
}
