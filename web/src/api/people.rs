//! Users, their keys and their tokens.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use slipway_core::people::{PublicKey, Token, User};
use slipway_core::{Action, Actor, Problem, ProblemKind, Scope, SshKey, UnixMillis, UserName};
use slipway_store::MetaStore;

use super::Endpoint;
use super::input::{Body, Keys, Window};
use crate::credential::{MintedToken, mint_token};
use crate::limits::{TITLE_BYTES_MAX, TOKEN_LIFE_S_MAX, USER_KEYS_MAX};
use crate::refusal::{Answer, Refusal, invalid, missing};
use crate::visit::Visit;

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint::new("GET", "/whoami", "Who the server takes you for", || get(whoami)).gives(200, "Whoami"),
    Endpoint::new("GET", "/users", "List users", || get(list_users))
        .asks(&["limit", "after"])
        .gives(200, "Users"),
    Endpoint::new("POST", "/users", "Add a user", || post(add_user)).takes("NewUser").gives(201, "AddedUser"),
    Endpoint::new("GET", "/users/{user}", "Show a user", || get(show_user)).gives(200, "User"),
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

async fn list_users(visit: Visit, Keys(window): Keys<Window>) -> Answer<Json<Value>> {
    visit.may(Action::AdminServer)?;
    let (users, next) = window.cut(visit.store(|s| s.users()).await?, |u| u.name.as_str())?;
    Ok(Json(json!({"users": users, "next": next})))
}

async fn show_user(visit: Visit, Path(user): Path<String>) -> Answer<Json<User>> {
    let name = user_name(&user)?;
    visit.may_manage(&name)?;
    visit.store(move |s| s.user(&name)?.ok_or_else(|| no_user(&name))).await.map(Json)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewUser {
    name: UserName,
    #[serde(default)]
    owner: bool,
    #[serde(default)]
    keys: Vec<String>,
}

async fn add_user(visit: Visit, Body(new): Body<NewUser>) -> Answer<Response> {
    visit.may(Action::AdminServer)?;
    if new.keys.len() > USER_KEYS_MAX {
        return Err(invalid(
            format!("A user can be added with {USER_KEYS_MAX} keys."),
            "Add the others later.",
        ));
    }
    let now = visit.now();
    let keys =
        new.keys.iter().map(|line| read_key(&new.name, line, None, now)).collect::<Answer<Vec<_>>>()?;
    let user = User { name: new.name, owner: new.owner, created: now };
    let answer = json!({"user": user, "keys": keys});
    visit
        .store(move |s| {
            for key in &keys {
                if s.key(&key.fingerprint)?.is_some() {
                    return Err(key_taken(&key.fingerprint));
                }
            }
            s.create_user(&user)?;
            keys.iter().try_for_each(|key| s.add_key(key))
        })
        .await?;
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

async fn remove_user(visit: Visit, Path(user): Path<String>) -> Answer<StatusCode> {
    visit.may(Action::AdminServer)?;
    let name = user_name(&user)?;
    visit.store(move |s| s.remove_user(&name)).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfUser {
    user: Option<UserName>,
    limit: Option<usize>,
    after: Option<String>,
}

impl OfUser {
    /// Whose rows: those of the named user; without a name everybody's for owners, else one's own.
    fn whose(&self, visit: &Visit) -> Answer<Option<UserName>> {
        match (&self.user, visit.actor().user()) {
            (Some(user), _) => visit.may_manage(user).map(|()| Some(user.clone())),
            (None, Some(own)) if !visit.is_owner() => visit.may_manage(own).map(|()| Some(own.clone())),
            (None, _) => visit.may(Action::AdminServer).map(|()| None),
        }
    }
}

async fn list_keys(visit: Visit, Keys(of): Keys<OfUser>) -> Answer<Json<Value>> {
    let whose = of.whose(&visit)?;
    let mut keys = visit.store(move |s| s.keys(whose.as_ref())).await?;
    keys.sort_by(|a, b| a.fingerprint.cmp(&b.fingerprint));
    let (keys, next) = Window { limit: of.limit, after: of.after }.cut(keys, |k| &k.fingerprint)?;
    Ok(Json(json!({"keys": keys, "next": next})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewKey {
    user: Option<UserName>,
    key: String,
    title: Option<String>,
}

async fn add_key(visit: Visit, Body(new): Body<NewKey>) -> Answer<Response> {
    let key = save_key(&visit, new.user, &new.key, new.title).await?;
    Ok((StatusCode::CREATED, Json(key)).into_response())
}

/// Records a key for `user`, or for the actor.
pub(crate) async fn save_key(
    visit: &Visit,
    user: Option<UserName>,
    line: &str,
    title: Option<String>,
) -> Answer<PublicKey> {
    let user = subject(visit, user)?;
    let key = read_key(&user, line, title, visit.now())?;
    let row = key.clone();
    visit
        .store(move |s| {
            s.user(&row.user)?.ok_or_else(|| no_user(&row.user))?;
            s.add_key(&row)
        })
        .await?;
    Ok(key)
}

async fn remove_key(visit: Visit, Path(fingerprint): Path<String>) -> Answer<StatusCode> {
    drop_key(&visit, fingerprint).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Forgets a key of the actor's, or of anybody's for an owner. Others' keys are answered as unknown ones.
pub(crate) async fn drop_key(visit: &Visit, fingerprint: String) -> Answer<()> {
    visit.may(own_or_server(visit))?;
    let (own, all) = (visit.actor().user().cloned(), visit.is_owner());
    let find = move |s: &dyn MetaStore| match s.key(&fingerprint)? {
        Some(key) if all || Some(&key.user) == own.as_ref() => s.remove_key(&fingerprint),
        _ => Err(missing(format!("There is no key {:?} of yours.", cut(&fingerprint))).0),
    };
    visit.store(find).await
}

async fn list_tokens(visit: Visit, Keys(of): Keys<OfUser>) -> Answer<Json<Value>> {
    let whose = of.whose(&visit)?;
    let mut tokens = visit.store(move |s| s.tokens(whose.as_ref())).await?;
    tokens.sort_by(|a, b| a.id.cmp(&b.id));
    let (tokens, next) = Window { limit: of.limit, after: of.after }.cut(tokens, |t| &t.id)?;
    Ok(Json(json!({"tokens": tokens, "next": next})))
}

/// What a new token shall be.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct NewToken {
    pub(crate) user: Option<UserName>,
    pub(crate) name: Option<String>,
    pub(crate) scopes: Option<BTreeSet<Scope>>,
    pub(crate) expires_in_s: Option<u64>,
}

async fn create_token(visit: Visit, Body(new): Body<NewToken>) -> Answer<Response> {
    let (token, minted) = save_token(&visit, new).await?;
    let body = json!({"token": token, "value": minted.value.expose()});
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

/// Makes and records a token for `new.user`, or for the actor.
pub(crate) async fn save_token(visit: &Visit, new: NewToken) -> Answer<(Token, MintedToken)> {
    let user = subject(visit, new.user)?;
    let scopes = new.scopes.unwrap_or_else(|| [Scope::RepoRead, Scope::RepoWrite].into());
    if scopes.is_empty() {
        return Err(invalid(
            "A token without a scope is good for nothing.",
            "Give one of repo:read, repo:write, api.",
        ));
    }
    let life_s = new.expires_in_s;
    if life_s.is_some_and(|s| s == 0 || s > TOKEN_LIFE_S_MAX) {
        return Err(invalid(
            "A token lives between a second and ten years.",
            "Give another time, or none for ever.",
        ));
    }
    let (minted, now) = (mint_token()?, visit.now());
    let token = Token {
        id: minted.id.clone(),
        user,
        name: title(new.name.unwrap_or_default(), "token's name")?,
        scopes,
        created: now,
        expires: life_s.map(|s| now.plus_ms(s.saturating_mul(1000))),
    };
    let (row, sha256) = (token.clone(), minted.sha256);
    visit
        .store(move |s| {
            s.user(&row.user)?.ok_or_else(|| no_user(&row.user))?;
            s.add_token(&row, sha256)
        })
        .await?;
    Ok((token, minted))
}

async fn remove_token(visit: Visit, Path(id): Path<String>) -> Answer<StatusCode> {
    drop_token(&visit, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Forgets a token of the actor's, or of anybody's for an owner.
pub(crate) async fn drop_token(visit: &Visit, id: String) -> Answer<()> {
    visit.may(own_or_server(visit))?;
    let whose = if visit.is_owner() { None } else { visit.actor().user().cloned() };
    let find = move |s: &dyn MetaStore| {
        if s.tokens(whose.as_ref())?.iter().any(|t| t.id == id) {
            return s.remove_token(&id);
        }
        Err(missing(format!("There is no token {:?} of yours.", cut(&id))).0)
    };
    visit.store(find).await
}

fn own_or_server(visit: &Visit) -> Action {
    if matches!(visit.actor(), Actor::Server) { Action::AdminServer } else { Action::ManageSelf }
}

/// For whom something is made: the named user, or the actor. The server itself has no keys and tokens.
fn subject(visit: &Visit, named: Option<UserName>) -> Answer<UserName> {
    let user = match (named, visit.actor().user()) {
        (Some(user), _) => user,
        (None, Some(own)) => own.clone(),
        (None, None) => {
            visit.may(Action::AdminServer)?;
            return Err(invalid("No user is named.", "Name the user it is for."));
        }
    };
    visit.may_manage(&user)?;
    Ok(user)
}

fn read_key(user: &UserName, line: &str, given: Option<String>, now: UnixMillis) -> Answer<PublicKey> {
    let key = SshKey::parse(line)?;
    let given = given.filter(|t| !t.trim().is_empty()).unwrap_or(key.comment);
    Ok(PublicKey {
        user: user.clone(),
        fingerprint: key.fingerprint,
        openssh: key.openssh,
        title: title(given, "key's title")?,
        created: now,
    })
}

fn title(raw: String, what: &str) -> Answer<String> {
    let text = raw.trim();
    if text.len() > TITLE_BYTES_MAX || text.chars().any(char::is_control) {
        return Err(invalid(
            format!("The {what} is longer than {TITLE_BYTES_MAX} bytes or has control characters."),
            "Give a shorter, plain one.",
        ));
    }
    Ok(text.to_owned())
}

fn user_name(raw: &str) -> Answer<UserName> {
    UserName::parse(raw).map_err(Refusal::from)
}

pub(crate) fn no_user(name: &UserName) -> Problem {
    Problem::new(
        ProblemKind::NotFound,
        format!("There is no user {:?}.", name.as_str()),
        "Check the name, or add the user with: slipway user add NAME",
    )
}

fn key_taken(fingerprint: &str) -> Problem {
    Problem::new(
        ProblemKind::Conflict,
        format!("The key {fingerprint} is already known here."),
        "A key proves one user: remove it there first, or use another.",
    )
}

fn cut(raw: &str) -> String {
    raw.chars().take(80).collect()
}
