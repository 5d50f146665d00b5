//! Repositories, grants and what happened in them.

use axum::Json;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, patch, post, put};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use slipway_core::target::RepoRecord;
use slipway_core::{Action, EventId, ObjectFormat, RepoName, Role, UserName};
use slipway_forge::repositories::{self, NewRepo, RepoChange};
use slipway_forge::{Page, default_branch, grants, rows};

use super::Endpoint;
use super::input::{Body, Keys};
use super::storage::{Last, Stored, stored};
use crate::refusal::{Answer, Refusal};
use crate::visit::Visit;

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint::new("GET", "/repos", "List repositories", || get(list))
        .asks(&["limit", "after"])
        .gives(200, "Repos"),
    Endpoint::new("POST", "/repos", "Create a repository", || post(create))
        .takes("NewRepo")
        .gives(201, "Repo"),
    Endpoint::new("GET", "/repos/{repo}", "Show a repository", || get(show)).gives(200, "Repo"),
    Endpoint::new(
        "PATCH",
        "/repos/{repo}",
        "Rename or describe a repository, or choose its default branch",
        || patch(change),
    )
    .takes("RepoChange")
    .gives(200, "Repo"),
    Endpoint::new("DELETE", "/repos/{repo}", "Remove a repository", || delete(remove)).gives(200, "Notes"),
    Endpoint::new("GET", "/repos/{repo}/grants", "List grants", || get(list_grants))
        .asks(&["limit", "after"])
        .gives(200, "Grants"),
    Endpoint::new("PUT", "/repos/{repo}/grants/{user}", "Give a user a role", || put(grant))
        .takes("NewGrant")
        .gives(200, "Grant"),
    Endpoint::new("DELETE", "/repos/{repo}/grants/{user}", "Take a user's role away", || delete(revoke))
        .gives_nothing(),
    Endpoint::new("GET", "/repos/{repo}/events", "List the newest pushes", || get(events))
        .asks(&["limit", "before"])
        .gives(200, "Events"),
];

/// A repository as answered: the record and its clone addresses.
#[derive(Serialize)]
struct Repo {
    #[serde(flatten)]
    record: RepoRecord,
    http: String,
    ssh: String,
    /// The branch that HEAD names; of one repository alone, as what follows is.
    #[serde(skip_serializing_if = "Option::is_none")]
    default_branch: Option<String>,
    /// Shown of one repository alone, as the next is.
    #[serde(skip_serializing_if = "Option::is_none")]
    storage: Option<Stored>,
    #[serde(skip_serializing_if = "Option::is_none")]
    maintenance: Option<Last>,
    /// Why those two cannot be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    unreadable: Option<String>,
}

impl Repo {
    fn new(visit: &Visit, record: RepoRecord) -> Self {
        let addresses = &visit.shared.parts.addresses;
        let http = format!("{}/{}", addresses.http, record.name);
        let ssh = format!("ssh://git@{}/{}", addresses.ssh, record.name);
        Self { record, http, ssh, default_branch: None, storage: None, maintenance: None, unreadable: None }
    }
}

async fn list(visit: Visit, Keys(page): Keys<Page>) -> Answer<Json<Value>> {
    let found = visit.ask(move |forge, caller| repositories::list(forge, caller, &page)).await?;
    let repos: Vec<Repo> = found.rows.into_iter().map(|r| Repo::new(&visit, r)).collect();
    Ok(Json(json!({"repos": repos, "next": found.next})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RepoBody {
    name: RepoName,
    #[serde(default)]
    description: String,
    #[serde(default)]
    public: bool,
    #[serde(default)]
    object_format: ObjectFormat,
    #[serde(default)]
    default_branch: Option<String>,
}

async fn create(visit: Visit, Body(new): Body<RepoBody>) -> Answer<Response> {
    let RepoBody { name, description, public, object_format, default_branch } = new;
    let new = NewRepo { name, description, public, object_format, default_branch };
    let record = repositories::create(visit.forge(), visit.caller(), new).await?;
    Ok((StatusCode::CREATED, Json(one(&visit, record).await)).into_response())
}

/// A repository with its default branch. Its folder may be out of reach; what is known of it is shown all the same.
async fn one(visit: &Visit, record: RepoRecord) -> Repo {
    let name = record.name.clone();
    let head = visit.ask(move |forge, caller| default_branch::show(forge, caller, name.as_str())).await;
    let mut repo = Repo::new(visit, record);
    repo.default_branch = head.ok().flatten().map(|branch| branch.short().to_owned());
    repo
}

async fn show(visit: Visit, Path(repo): Path<String>) -> Answer<Json<Repo>> {
    let record = visit.repo(&repo, Action::ReadRepo).await?;
    // Its folder may be out of reach; what is recorded of it is shown all the same.
    let stored = stored(&visit, &repo).await;
    let mut repo = one(&visit, record).await;
    match stored {
        Ok((storage, maintenance)) => (repo.storage, repo.maintenance) = (Some(storage), maintenance),
        Err(Refusal(problem)) => repo.unreadable = Some(problem.to_string()),
    }
    Ok(Json(repo))
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ChangeBody {
    name: Option<RepoName>,
    description: Option<String>,
    public: Option<bool>,
    default_branch: Option<String>,
}

async fn change(
    visit: Visit,
    Path(repo): Path<String>,
    Body(wanted): Body<ChangeBody>,
) -> Answer<Json<Repo>> {
    let ChangeBody { name, description, public, default_branch } = wanted;
    let wanted = RepoChange { name, description, public, default_branch };
    let record = repositories::change(visit.forge(), visit.caller(), &repo, wanted).await?;
    Ok(Json(one(&visit, record).await))
}

async fn remove(visit: Visit, Path(repo): Path<String>) -> Answer<Json<Value>> {
    let notes = repositories::remove(visit.forge(), visit.caller(), &repo).await?;
    Ok(Json(json!({"notes": notes})))
}

async fn list_grants(visit: Visit, Path(repo): Path<String>, Keys(page): Keys<Page>) -> Answer<Json<Value>> {
    let found = visit.ask(move |forge, caller| grants::list(forge, caller, &repo, &page)).await?;
    let rows: Vec<Value> =
        found.rows.iter().map(|(user, role)| json!({"user": user, "role": role})).collect();
    Ok(Json(json!({"grants": rows, "next": found.next})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewGrant {
    role: Role,
}

async fn grant(
    visit: Visit,
    Path((repo, user)): Path<(String, String)>,
    Body(new): Body<NewGrant>,
) -> Answer<Json<Value>> {
    let user = UserName::parse(&user)?;
    let (name, role) = (user.clone(), new.role);
    visit.ask(move |forge, caller| grants::give(forge, caller, &repo, &name, role)).await?;
    Ok(Json(json!({"user": user, "role": new.role})))
}

async fn revoke(visit: Visit, Path((repo, user)): Path<(String, String)>) -> Answer<StatusCode> {
    let user = UserName::parse(&user)?;
    visit.ask(move |forge, caller| grants::take(forge, caller, &repo, &user)).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Newest {
    limit: Option<usize>,
    before: Option<u64>,
}

async fn events(visit: Visit, Path(repo): Path<String>, Keys(newest): Keys<Newest>) -> Answer<Json<Value>> {
    let (limit, before) = (rows(newest.limit)?, newest.before.map(EventId));
    let found = visit.ask(move |forge, caller| repositories::events(forge, caller, &repo, before, limit));
    let (events, next) = found.await?;
    Ok(Json(json!({"events": events, "next": next})))
}
