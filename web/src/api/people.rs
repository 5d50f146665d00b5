//! Users, their keys and their tokens.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, patch, post};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use slipway_core::people::User;
use slipway_core::{Scope, UserName};
use slipway_forge::tokens::NewToken;
use slipway_forge::users::NewUser;
use slipway_forge::{Page, keys, sessions, tokens, users};

use super::Endpoint;
use super::input::{Body, Keys};
use crate::refusal::Answer;
use crate::visit::Visit;

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint::new("GET", "/whoami", "Who the server takes you for", || get(whoami)).gives(200, "Whoami"),
    Endpoint::new("GET", "/users", "List users", || get(list_users))
        .asks(&["limit", "after"])
        .gives(200, "Users"),
    Endpoint::new("POST", "/users", "Add a user", || post(add_user)).takes("NewUser").gives(201, "AddedUser"),
    Endpoint::new("GET", "/users/{user}", "Show a user", || get(show_user)).gives(200, "User"),
    Endpoint::new(
        "PATCH",
        "/users/{user}",
        "Make a user an owner of the server, or no owner any more",
        || patch(change_user),
    )
    .takes("UserChange")
    .gives(200, "User"),
    Endpoint::new("GET", "/users/{user}/sessions", "List a user's signed-in browsers", || get(list_sessions))
        .gives(200, "Sessions"),
    Endpoint::new("DELETE", "/users/{user}/sessions", "Sign a user out everywhere", || delete(end_sessions))
        .gives_nothing(),
    Endpoint::new("DELETE", "/users/{user}", "Remove a user", || delete(remove_user)).gives_nothing(),
    Endpoint::new("GET", "/keys", "List SSH keys", || get(list_keys))
        .asks(&["user", "limit", "after"])
        .gives(200, "PublicKeys"),
    Endpoint::new("POST", "/keys", "Add an SSH key", || post(add_key))
        .takes("NewKey")
        .gives(201, "PublicKey"),
    Endpoint::new("DELETE", "/keys/{fingerprint}", "Remove an SSH key", || delete(remove_key))
        .gives_nothing(),
    Endpoint::new("GET", "/tokens", "List access tokens", || get(list_tokens))
        .asks(&["user", "limit", "after"])
        .gives(200, "Tokens"),
    Endpoint::new("POST", "/tokens", "Make an access token", || post(create_token))
        .takes("NewToken")
        .gives(201, "MadeToken"),
    Endpoint::new("DELETE", "/tokens/{id}", "Remove an access token", || delete(remove_token))
        .gives_nothing(),
];

async fn whoami(visit: Visit) -> Json<Value> {
    let parts = &visit.shared.parts;
    Json(json!({
        "actor": visit.actor(), "version": parts.version, "http": parts.addresses.http, "ssh": parts.addresses.ssh,
    }))
}

async fn list_users(visit: Visit, Keys(page): Keys<Page>) -> Answer<Json<Value>> {
    let found = visit.ask(move |forge, caller| users::list(forge, caller, &page)).await?;
    Ok(Json(json!({"users": found.rows, "next": found.next})))
}

async fn show_user(visit: Visit, Path(user): Path<String>) -> Answer<Json<User>> {
    let name = UserName::parse(&user)?;
    visit.ask(move |forge, caller| users::show(forge, caller, &name)).await.map(Json)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UserBody {
    name: UserName,
    #[serde(default)]
    owner: bool,
    #[serde(default)]
    keys: Vec<String>,
}

async fn add_user(visit: Visit, Body(new): Body<UserBody>) -> Answer<Response> {
    let new = NewUser { name: new.name, owner: new.owner, keys: new.keys };
    let (user, keys) = visit.ask(move |forge, caller| users::add(forge, caller, &new)).await?;
    Ok((StatusCode::CREATED, Json(json!({"user": user, "keys": keys}))).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UserChange {
    owner: bool,
}

async fn change_user(
    visit: Visit,
    Path(user): Path<String>,
    Body(wanted): Body<UserChange>,
) -> Answer<Json<User>> {
    let name = UserName::parse(&user)?;
    visit.ask(move |forge, caller| users::set_owner(forge, caller, &name, wanted.owner)).await.map(Json)
}

async fn list_sessions(visit: Visit, Path(user): Path<String>) -> Answer<Json<Value>> {
    let name = UserName::parse(&user)?;
    let found = visit.ask(move |forge, caller| sessions::list(forge, caller, &name)).await?;
    let rows = found
        .into_iter()
        .map(|s| json!({"id": s.id, "expires": s.expires, "parent": s.parent, "current": s.current}));
    Ok(Json(json!({"sessions": rows.collect::<Vec<_>>()})))
}

async fn end_sessions(visit: Visit, Path(user): Path<String>) -> Answer<StatusCode> {
    let name = UserName::parse(&user)?;
    visit.ask(move |forge, caller| sessions::end_all(forge, caller, &name)).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn remove_user(visit: Visit, Path(user): Path<String>) -> Answer<StatusCode> {
    let name = UserName::parse(&user)?;
    visit.ask(move |forge, caller| users::remove(forge, caller, &name)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Whose rows, and which of them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfUser {
    user: Option<UserName>,
    limit: Option<usize>,
    after: Option<String>,
}

impl OfUser {
    fn split(self) -> (Option<UserName>, Page) {
        (self.user, Page { limit: self.limit, after: self.after })
    }
}

async fn list_keys(visit: Visit, Keys(of): Keys<OfUser>) -> Answer<Json<Value>> {
    let (user, page) = of.split();
    let found = visit.ask(move |forge, caller| keys::list(forge, caller, user.as_ref(), &page)).await?;
    Ok(Json(json!({"keys": found.rows, "next": found.next})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewKey {
    user: Option<UserName>,
    key: String,
    title: Option<String>,
}

async fn add_key(visit: Visit, Body(new): Body<NewKey>) -> Answer<Response> {
    let key = visit.ask(move |forge, caller| keys::add(forge, caller, new.user, &new.key, new.title)).await?;
    Ok((StatusCode::CREATED, Json(key)).into_response())
}

async fn remove_key(visit: Visit, Path(fingerprint): Path<String>) -> Answer<StatusCode> {
    visit.ask(move |forge, caller| keys::remove(forge, caller, &fingerprint)).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn list_tokens(visit: Visit, Keys(of): Keys<OfUser>) -> Answer<Json<Value>> {
    let (user, page) = of.split();
    let found = visit.ask(move |forge, caller| tokens::list(forge, caller, user.as_ref(), &page)).await?;
    Ok(Json(json!({"tokens": found.rows, "next": found.next})))
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct TokenBody {
    user: Option<UserName>,
    name: Option<String>,
    scopes: Option<BTreeSet<Scope>>,
    expires_in_s: Option<u64>,
}

async fn create_token(visit: Visit, Body(new): Body<TokenBody>) -> Answer<Response> {
    let TokenBody { user, name, scopes, expires_in_s } = new;
    let new = NewToken { user, name, scopes, expires_in_s };
    let (token, minted) = visit.ask(move |forge, caller| tokens::create(forge, caller, new)).await?;
    let body = json!({"token": token, "value": minted.value.expose()});
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

async fn remove_token(visit: Visit, Path(id): Path<String>) -> Answer<StatusCode> {
    visit.ask(move |forge, caller| tokens::remove(forge, caller, &id)).await?;
    Ok(StatusCode::NO_CONTENT)
}
