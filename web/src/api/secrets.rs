//! Secrets of a repository. Their values go in and never come out.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::Path;
use axum::routing::{delete, get, put};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use slipway_core::repo_secret::{RepoSecret, SecretRefs, SecretUse};
use slipway_core::{Secret, SecretName, UnixMillis};
use slipway_forge::secrets::{self, NewSecret};

use super::Endpoint;
use super::input::Body;
use crate::refusal::Answer;
use crate::visit::Visit;

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint::new("GET", "/repos/{repo}/secrets", "List secrets, without their values", || get(list))
        .gives(200, "Secrets"),
    Endpoint::new("PUT", "/repos/{repo}/secrets/{name}", "Set a secret", || put(set))
        .takes("NewSecret")
        .gives(200, "Secret"),
    Endpoint::new("DELETE", "/repos/{repo}/secrets/{name}", "Remove a secret", || delete(remove))
        .gives_nothing(),
];

/// A secret as answered.
#[derive(Serialize)]
struct Shown {
    name: SecretName,
    #[serde(rename = "for")]
    uses: BTreeSet<SecretUse>,
    on: SecretRefs,
    /// The same in words.
    given_to: String,
    by: String,
    changed: UnixMillis,
}

impl From<RepoSecret> for Shown {
    fn from(secret: RepoSecret) -> Self {
        let given_to = secret.on.said();
        let RepoSecret { name, uses, on, by, changed, .. } = secret;
        Self { name, uses, on, given_to, by, changed }
    }
}

async fn list(visit: Visit, Path(repo): Path<String>) -> Answer<Json<Value>> {
    let found = visit.ask(move |forge, caller| secrets::list(forge, caller, &repo)).await?;
    Ok(Json(json!({"secrets": found.into_iter().map(Shown::from).collect::<Vec<_>>()})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SecretBody {
    value: Secret,
    #[serde(default, rename = "for")]
    uses: BTreeSet<SecretUse>,
    #[serde(default)]
    on: SecretRefs,
}

async fn set(
    visit: Visit,
    Path((repo, name)): Path<(String, String)>,
    Body(new): Body<SecretBody>,
) -> Answer<Json<Shown>> {
    let name = SecretName::parse(&name)?;
    let SecretBody { value, uses, on } = new;
    let new = NewSecret { value, uses, on };
    let secret = visit.ask(move |forge, caller| secrets::set(forge, caller, &repo, name, new)).await?;
    Ok(Json(secret.into()))
}

async fn remove(visit: Visit, Path((repo, name)): Path<(String, String)>) -> Answer<StatusCode> {
    let name = SecretName::parse(&name)?;
    visit.ask(move |forge, caller| secrets::remove(forge, caller, &repo, &name)).await?;
    Ok(StatusCode::NO_CONTENT)
}
