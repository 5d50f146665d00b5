//! Repositories, grants and what happened in them.

use axum::Json;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, patch, post, put};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use slipway_core::limits::DESCRIPTION_BYTES_MAX;
use slipway_core::target::RepoRecord;
use slipway_core::{Action, ObjectFormat, RepoName, Role, UserName};

use super::Endpoint;
use super::input::{Body, Keys, Window, rows};
use super::people::no_user;
use super::storage::{Last, Stored, stored};
use crate::refusal::{Answer, invalid};
use crate::visit::{Visit, visible_repos};

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint::new("GET", "/repos", "List repositories", || get(list))
        .asks(&["limit", "after"])
        .gives(200, "Repos"),
    Endpoint::new("POST", "/repos", "Create a repository", || post(create))
        .takes("NewRepo")
        .gives(201, "Repo"),
    Endpoint::new("GET", "/repos/{repo}", "Show a repository", || get(show)).gives(200, "Repo"),
    Endpoint::new("PATCH", "/repos/{repo}", "Rename or describe a repository", || patch(change))
        .takes("RepoChange")
        .gives(200, "Repo"),
    Endpoint::new("DELETE", "/repos/{repo}", "Remove a repository", || delete(remove)).gives_nothing(),
    Endpoint::new("GET", "/repos/{repo}/grants", "List grants", || get(grants))
        .asks(&["limit", "after"])
        .gives(200, "Grants"),
    Endpoint::new("PUT", "/repos/{repo}/grants/{user}", "Give a user a role", || put(grant))
        .takes("NewGrant")
        .gives(200, "Grant"),
    Endpoint::new("DELETE", "/repos/{repo}/grants/{user}", "Take a user's role away", || delete(revoke))
        .gives_nothing(),
    Endpoint::new("GET", "/repos/{repo}/events", "List the newest pushes", || get(events))
        .asks(&["limit"])
        .gives(200, "Events"),
];

/// A repository as answered: the record and its clone addresses.
#[derive(Serialize)]
struct Repo {
    #[serde(flatten)]
    record: RepoRecord,
    http: String,
    ssh: String,
    /// Shown of one repository alone, as the next is.
    #[serde(skip_serializing_if = "Option::is_none")]
    storage: Option<Stored>,
    #[serde(skip_serializing_if = "Option::is_none")]
    maintenance: Option<Last>,
}

impl Repo {
    fn new(visit: &Visit, record: RepoRecord) -> Self {
        let addresses = &visit.shared.parts.addresses;
        let http = format!("{}/{}", addresses.http, record.name);
        let ssh = format!("ssh://git@{}/{}", addresses.ssh, record.name);
        Self { record, http, ssh, storage: None, maintenance: None }
    }
}

async fn list(visit: Visit, Keys(window): Keys<Window>) -> Answer<Json<Value>> {
    let actor = visit.actor().clone();
    let seen = visit.store(move |s| visible_repos(s, &actor)).await?;
    let (records, next) = window.cut(seen, |r| r.name.as_str())?;
    let repos: Vec<Repo> = records.into_iter().map(|r| Repo::new(&visit, r)).collect();
    Ok(Json(json!({"repos": repos, "next": next})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewRepo {
    name: RepoName,
    #[serde(default)]
    description: String,
    #[serde(default)]
    public: bool,
    #[serde(default)]
    object_format: ObjectFormat,
}

async fn create(visit: Visit, Body(new): Body<NewRepo>) -> Answer<Response> {
    let record = make_repo(&visit, new.object_format, &new.name, &new.description, new.public).await?;
    Ok((StatusCode::CREATED, Json(Repo::new(&visit, record))).into_response())
}

/// Makes a repository; a user who makes one is its admin.
pub(crate) async fn make_repo(
    visit: &Visit,
    format: ObjectFormat,
    name: &RepoName,
    about: &str,
    public: bool,
) -> Answer<RepoRecord> {
    visit.may(Action::CreateRepo)?;
    let about = description(about)?;
    let record = visit.operations().create_repo(visit.actor(), format, name, &about, public).await?;
    if let Some(user) = visit.actor().user().cloned() {
        let id = record.id;
        visit.store(move |s| s.grant(&user, id, Role::Admin)).await?;
    }
    Ok(record)
}

async fn show(visit: Visit, Path(repo): Path<String>) -> Answer<Json<Repo>> {
    let record = visit.repo(&repo, Action::ReadRepo).await?;
    // Its folder may be out of reach; what is known of it is shown all the same.
    let stored = stored(&visit, &record.name).await.ok();
    let mut repo = Repo::new(&visit, record);
    if let Some((storage, maintenance)) = stored {
        (repo.storage, repo.maintenance) = (Some(storage), maintenance);
    }
    Ok(Json(repo))
}

/// What shall be different; absent stays.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RepoChange {
    pub(crate) name: Option<RepoName>,
    pub(crate) description: Option<String>,
    pub(crate) public: Option<bool>,
}

async fn change(
    visit: Visit,
    Path(repo): Path<String>,
    Body(wanted): Body<RepoChange>,
) -> Answer<Json<Repo>> {
    let record = change_repo(&visit, &repo, wanted).await?;
    Ok(Json(Repo::new(&visit, record)))
}

pub(crate) async fn change_repo(visit: &Visit, repo: &str, wanted: RepoChange) -> Answer<RepoRecord> {
    let mut record = visit.repo(repo, Action::AdminRepo).await?;
    let about = wanted.description.as_deref().map(description).transpose()?;
    if let Some(name) = wanted.name.filter(|name| *name != record.name) {
        record = visit.operations().rename_repo(record.id, &name).await?;
    }
    if about.is_some() || wanted.public.is_some() {
        record.description = about.unwrap_or(record.description);
        record.public = wanted.public.unwrap_or(record.public);
        let row = record.clone();
        visit.store(move |s| s.update_repo(&row)).await?;
    }
    Ok(record)
}

async fn remove(visit: Visit, Path(repo): Path<String>) -> Answer<StatusCode> {
    let record = visit.repo(&repo, Action::AdminRepo).await?;
    visit.operations().remove_repo(record.id).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn grants(visit: Visit, Path(repo): Path<String>, Keys(window): Keys<Window>) -> Answer<Json<Value>> {
    let record = visit.repo(&repo, Action::AdminRepo).await?;
    let mut grants = visit.store(move |s| s.grants(record.id)).await?;
    grants.sort();
    let (rows, next) = window.cut(grants, |(user, _)| user.as_str())?;
    let rows: Vec<Value> = rows.iter().map(|(user, role)| json!({"user": user, "role": role})).collect();
    Ok(Json(json!({"grants": rows, "next": next})))
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
    let user = give_role(&visit, &repo, &user, new.role).await?;
    Ok(Json(json!({"user": user, "role": new.role})))
}

pub(crate) async fn give_role(visit: &Visit, repo: &str, user: &str, role: Role) -> Answer<UserName> {
    let record = visit.repo(repo, Action::AdminRepo).await?;
    let user = UserName::parse(user)?;
    let row = user.clone();
    visit
        .store(move |s| {
            s.user(&row)?.ok_or_else(|| no_user(&row))?;
            s.grant(&row, record.id, role)
        })
        .await?;
    Ok(user)
}

async fn revoke(visit: Visit, Path((repo, user)): Path<(String, String)>) -> Answer<StatusCode> {
    take_role(&visit, &repo, &user).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn take_role(visit: &Visit, repo: &str, user: &str) -> Answer<()> {
    let record = visit.repo(repo, Action::AdminRepo).await?;
    let user = UserName::parse(user)?;
    visit.store(move |s| s.revoke(&user, record.id)).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Newest {
    limit: Option<usize>,
}

async fn events(visit: Visit, Path(repo): Path<String>, Keys(newest): Keys<Newest>) -> Answer<Json<Value>> {
    let record = visit.repo(&repo, Action::ReadRepo).await?;
    let limit = rows(newest.limit)?;
    let events = visit.store(move |s| s.events(record.id, limit)).await?;
    Ok(Json(json!({"events": events})))
}

fn description(raw: &str) -> Answer<String> {
    let text = raw.trim();
    if text.len() > DESCRIPTION_BYTES_MAX || text.chars().any(char::is_control) {
        return Err(invalid(
            format!(
                "The description is longer than {DESCRIPTION_BYTES_MAX} bytes or has more than one line."
            ),
            "Give a shorter line.",
        ));
    }
    Ok(text.to_owned())
}
