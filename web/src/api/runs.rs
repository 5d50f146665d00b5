//! Builds and deploys: what was recorded of them, and the verbs that act on them.

use std::collections::BTreeMap;

use axum::Json;
use axum::body::Body as Bytestream;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures_util::{StreamExt, stream};
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use slipway_core::build::Build;
use slipway_core::deploy::Deploy;
use slipway_core::target::RepoRecord;
use slipway_core::{Action, BuildNumber, DeployNumber, RepoName};
use slipway_forge::logs::Log;
use slipway_forge::{rows, runs};

use super::Endpoint;
use super::input::{Backwards, Body, Keys};
use crate::refusal::{Answer, missing};
use crate::visit::Visit;

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint::new("GET", "/repos/{repo}/builds", "List builds, newest first", || get(builds))
        .asks(&["limit", "before"])
        .gives(200, "Builds"),
    Endpoint::new("POST", "/repos/{repo}/builds", "Build a branch, a tag or a commit", || post(start))
        .takes("NewBuild")
        .gives(201, "Build"),
    Endpoint::new("GET", "/repos/{repo}/builds/{number}", "Show a build", || get(build)).gives(200, "Build"),
    Endpoint::new("GET", "/repos/{repo}/builds/{number}/log", "A build's log", || get(log))
        .asks(&["offset", "follow"])
        .gives(200, "text/plain"),
    Endpoint::new("POST", "/repos/{repo}/builds/{number}/retry", "Build the same commit again", || {
        post(retry)
    })
    .gives(201, "Build"),
    Endpoint::new(
        "POST",
        "/repos/{repo}/builds/{number}/promote",
        "Move tags and manifests to what a build has pushed, without building",
        || post(promote),
    )
    .takes("Promotion")
    .gives(201, "Build"),
    Endpoint::new(
        "POST",
        "/repos/{repo}/builds/{number}/approve",
        "Let deploys that wait for approval have what a build has pushed",
        || post(approve),
    )
    .takes("Promotion")
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
    .takes("Rollback")
    .gives(201, "Deploy"),
    Endpoint::new("POST", "/repos/{repo}/deploys/{number}/cancel", "Stop a deploy", || post(cancel_deploy))
        .gives(200, "Deploy"),
    Endpoint::new("GET", "/repos/{repo}/diff", "What a sync would change", || get(diff))
        .gives(200, "DiffText"),
    Endpoint::new(
        "GET",
        "/repos/{repo}/adoptable",
        "What others apply of the objects that the bound branch describes",
        || get(adoptable),
    )
    .gives(200, "Adoptable"),
    Endpoint::new("POST", "/repos/{repo}/adopt", "Take those objects over, by a deploy", || post(adopt))
        .gives(201, "Deploy"),
];

/// A build or a deploy with where it belongs.
#[derive(Serialize)]
struct Run<T> {
    #[serde(flatten)]
    record: T,
    /// Why a build is there, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    repo_name: RepoName,
    url: String,
}

fn run<T>(visit: &Visit, repo: &RepoName, what: &str, number: u64, record: T) -> Run<T> {
    let url = format!("{}/{repo}/{what}/{number}", visit.shared.parts.addresses.http);
    Run { record, why: None, repo_name: repo.clone(), url }
}

fn build_run(visit: &Visit, repo: &RepoName, build: Build) -> Run<Build> {
    let why = Some(format!("{} {}", build.cause.words(), build.actor));
    Run { why, ..run(visit, repo, "builds", build.number.0, build) }
}

fn deploy_run(visit: &Visit, repo: &RepoName, deploy: Deploy) -> Run<Deploy> {
    run(visit, repo, "deploys", deploy.number.0, deploy)
}

async fn builds(visit: Visit, Path(repo): Path<String>, Keys(from): Keys<Backwards>) -> Answer<Json<Value>> {
    let (limit, before) = (rows(from.limit)?, from.before.map(BuildNumber));
    let found = visit.ask(move |forge, caller| runs::builds(forge, caller, &repo, before, limit)).await?;
    let rows: Vec<_> = found.rows.into_iter().map(|b| build_run(&visit, &found.record.name, b)).collect();
    Ok(Json(json!({"builds": rows, "next": found.next})))
}

async fn build(visit: Visit, Path((repo, number)): Path<(String, String)>) -> Answer<Json<Run<Build>>> {
    let record = visit.repo(&repo, Action::ReadRepo).await?;
    let build = find_build(&visit, &record, &number).await?;
    Ok(Json(build_run(&visit, &record.name, build)))
}

/// The build of that number, or the newest for `latest`.
pub(crate) async fn find_build(visit: &Visit, repo: &RepoRecord, number: &str) -> Answer<Build> {
    let (id, number) = (repo.id, number.to_owned());
    visit.ask(move |forge, caller| runs::build(forge, caller, id, &number)).await
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
    let log = Log::new(visit.forge(), visit.caller(), record.id, build.number);
    log_response(&visit, log, keys.offset, keys.follow).await
}

/// A log's raw bytes as they are, or as they come.
pub(crate) async fn log_response(visit: &Visit, log: Log, offset: u64, follow: bool) -> Answer<Response> {
    let chunks = match follow {
        true => {
            let place = visit.live()?;
            let held = move |chunk| {
                let _held = &place;
                chunk
            };
            log.follow(offset).map(held).boxed()
        }
        false => {
            let mut pieces = log.pieces(offset);
            // A log that cannot be read is told in words, and not by an answer that ends early.
            let first = pieces.next().await.transpose()?;
            stream::iter(first.map(Ok)).chain(pieces).boxed()
        }
    };
    let body = Bytestream::from_stream(chunks.map(|chunk| chunk.map(|c| c.bytes)));
    let headers = [
        (CONTENT_TYPE, "text/plain; charset=utf-8"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, body).into_response())
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct NewBuild {
    r#ref: Option<String>,
    image: Option<String>,
    no_cache: bool,
    params: BTreeMap<String, String>,
}

async fn start(visit: Visit, Path(repo): Path<String>, Body(new): Body<NewBuild>) -> Answer<Response> {
    let NewBuild { r#ref: revision, image, no_cache, params } = new;
    let asked = runs::Asked { revision, image, no_cache, params };
    let (record, builds) = runs::start(visit.forge(), visit.caller(), &repo, asked).await?;
    let also: Vec<BuildNumber> = builds.iter().skip(1).map(|build| build.number).collect();
    let first = builds.into_iter().next().ok_or_else(|| missing("The commit has no image."))?;
    let mut answer = json!(build_run(&visit, &record.name, first));
    if !also.is_empty() {
        answer["also"] = json!(also);
    }
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

async fn retry(visit: Visit, Path((repo, number)): Path<(String, String)>) -> Answer<Response> {
    let (record, build) = runs::retry(visit.forge(), visit.caller(), &repo, &number).await?;
    Ok((StatusCode::CREATED, Json(build_run(&visit, &record.name, build))).into_response())
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Promotion {
    to: Vec<String>,
}

async fn approve(
    visit: Visit,
    Path((repo, number)): Path<(String, String)>,
    Body(asked): Body<Promotion>,
) -> Answer<Response> {
    let (record, build) = runs::approve(visit.forge(), visit.caller(), &repo, &number, asked.to).await?;
    Ok((StatusCode::CREATED, Json(build_run(&visit, &record.name, build))).into_response())
}

async fn promote(
    visit: Visit,
    Path((repo, number)): Path<(String, String)>,
    Body(asked): Body<Promotion>,
) -> Answer<Response> {
    let (record, build) = runs::promote(visit.forge(), visit.caller(), &repo, &number, asked.to).await?;
    Ok((StatusCode::CREATED, Json(build_run(&visit, &record.name, build))).into_response())
}

async fn cancel_build(
    visit: Visit,
    Path((repo, number)): Path<(String, String)>,
) -> Answer<Json<Run<Build>>> {
    let (record, build) = runs::cancel_build(visit.forge(), visit.caller(), &repo, &number).await?;
    Ok(Json(build_run(&visit, &record.name, build)))
}

async fn deploys(visit: Visit, Path(repo): Path<String>, Keys(from): Keys<Backwards>) -> Answer<Json<Value>> {
    let (limit, before) = (rows(from.limit)?, from.before.map(DeployNumber));
    let found = visit.ask(move |forge, caller| runs::deploys(forge, caller, &repo, before, limit)).await?;
    let rows: Vec<_> = found.rows.into_iter().map(|d| deploy_run(&visit, &found.record.name, d)).collect();
    Ok(Json(json!({"deploys": rows, "next": found.next})))
}

async fn deploy(visit: Visit, Path((repo, number)): Path<(String, String)>) -> Answer<Json<Run<Deploy>>> {
    let record = visit.repo(&repo, Action::ReadRepo).await?;
    let deploy = find_deploy(&visit, &record, &number).await?;
    Ok(Json(deploy_run(&visit, &record.name, deploy)))
}

/// The deploy of that number, or the newest for `latest`.
pub(crate) async fn find_deploy(visit: &Visit, repo: &RepoRecord, number: &str) -> Answer<Deploy> {
    let (id, number) = (repo.id, number.to_owned());
    visit.ask(move |forge, caller| runs::deploy(forge, caller, id, &number)).await
}

async fn sync(visit: Visit, Path(repo): Path<String>) -> Answer<Response> {
    let (record, deploy) = runs::sync(visit.forge(), visit.caller(), &repo).await?;
    Ok((StatusCode::CREATED, Json(deploy_run(&visit, &record.name, deploy))).into_response())
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Rollback {
    prune: Option<String>,
}

async fn rollback(
    visit: Visit,
    Path((repo, number)): Path<(String, String)>,
    Body(asked): Body<Rollback>,
) -> Answer<Response> {
    let rolled = runs::rollback(visit.forge(), visit.caller(), &repo, &number, asked.prune);
    let (record, deploy) = rolled.await?;
    Ok((StatusCode::CREATED, Json(deploy_run(&visit, &record.name, deploy))).into_response())
}

async fn adoptable(visit: Visit, Path(repo): Path<String>) -> Answer<Json<Value>> {
    let (_, objects) = runs::adoptable(visit.forge(), visit.caller(), &repo).await?;
    Ok(Json(json!({"objects": objects})))
}

async fn adopt(visit: Visit, Path(repo): Path<String>) -> Answer<Response> {
    let (record, deploy) = runs::adopt(visit.forge(), visit.caller(), &repo).await?;
    Ok((StatusCode::CREATED, Json(deploy_run(&visit, &record.name, deploy))).into_response())
}

async fn cancel_deploy(
    visit: Visit,
    Path((repo, number)): Path<(String, String)>,
) -> Answer<Json<Run<Deploy>>> {
    let (record, deploy) = runs::cancel_deploy(visit.forge(), visit.caller(), &repo, &number).await?;
    Ok(Json(deploy_run(&visit, &record.name, deploy)))
}

async fn diff(visit: Visit, Path(repo): Path<String>) -> Answer<Json<Value>> {
    let (_, diff) = runs::diff(visit.forge(), visit.caller(), &repo).await?;
    Ok(Json(json!({"diff": diff})))
}
