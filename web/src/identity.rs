//! Who asks: the caller's own word (admin socket, in-process SSH), a token, a session cookie, or nobody.
//!
//! Says only who; what they may do is `slipway_core::authorise`'s.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::{AUTHORIZATION, COOKIE};
use slipway_core::{Actor, Problem, ProblemKind, UnixMillis};
use slipway_store::MetaStore;

use crate::credential::{is_token, sha256};
use crate::csrf;
use crate::limits::CREDENTIAL_BYTES_MAX;
use crate::parts::Shared;
use crate::refusal::Refusal;

/// Who asks, and how that was told.
#[derive(Clone, Debug)]
pub(crate) struct Visitor {
    pub(crate) actor: Actor,
    /// For sessions: what a form must carry to prove that it is ours.
    pub(crate) csrf: Option<String>,
}

/// The user behind a token's value. `account` is the name given beside it (Basic auth), which must then be the
/// token's user. Blocking.
///
/// # Errors
/// `Unauthenticated`, in the same words for an unknown value, an expired one and one of somebody else.
pub fn authenticate(
    store: &dyn MetaStore,
    account: Option<&str>,
    value: &str,
    now: UnixMillis,
) -> Result<Actor, Problem> {
    if value.len() > CREDENTIAL_BYTES_MAX || !is_token(value) {
        return Err(unknown_token());
    }
    let token = store.token_by_value(&sha256(value.as_bytes()))?.ok_or_else(unknown_token)?;
    if token.expired(now) || account.is_some_and(|name| name != token.user.as_str()) {
        return Err(unknown_token());
    }
    let user = store.user(&token.user)?.ok_or_else(unknown_token)?;
    Ok(Actor::Token { name: user.name, owner: user.owner, scopes: token.scopes })
}

fn unknown_token() -> Problem {
    Problem::new(
        ProblemKind::Unauthenticated,
        "The token is not known here, or its time is over.",
        "Make a new one with: slipway token create USER",
    )
}

/// What a request says about its sender, before anything was looked up.
enum Claim {
    Nobody,
    Token { account: Option<String>, value: String },
    Session(String),
    Unreadable,
}

/// The layer that finds out who asks and leaves a [`Visitor`] for the handlers.
pub(crate) async fn identify(
    State(shared): State<Arc<Shared>>,
    mut request: Request,
    next: Next,
) -> Response {
    let visitor = match request.extensions().get::<Actor>() {
        Some(actor) => Ok(Visitor { actor: actor.clone(), csrf: None }),
        None => recognise(&shared, request.headers()).await,
    };
    let visitor = match visitor {
        Ok(visitor) => visitor,
        Err(problem) => return Refusal(problem).into_response(),
    };
    if let Err(problem) = csrf::check_origin(&shared, &visitor, &request) {
        return Refusal(problem).into_response();
    }
    request.extensions_mut().insert(visitor.clone());
    let mut response = next.run(request).await;
    // A failure's page names who is signed in; its layer lies outside this one.
    response.extensions_mut().insert(visitor);
    response
}

async fn recognise(shared: &Arc<Shared>, headers: &HeaderMap) -> Result<Visitor, Problem> {
    let claim = read_claim(headers, shared.https());
    let (store, now) = (Arc::clone(&shared.parts.store), shared.now());
    match claim {
        Claim::Nobody => Ok(Visitor { actor: Actor::Anonymous, csrf: None }),
        Claim::Unreadable => Err(unknown_token()),
        Claim::Token { account, value } => {
            let work = move || authenticate(&*store, account.as_deref(), &value, now);
            Ok(Visitor { actor: shared.door.run(&Actor::Server, work).await?, csrf: None })
        }
        Claim::Session(cookie) => {
            let csrf = csrf::token_for(&cookie);
            let work = move || session_actor(&*store, &cookie, now);
            let actor = shared.door.run(&Actor::Server, work).await?;
            let csrf = (actor != Actor::Anonymous).then_some(csrf);
            Ok(Visitor { actor, csrf })
        }
    }
}

/// An ended session is nobody, not an error: the page then offers to sign in.
fn session_actor(store: &dyn MetaStore, cookie: &str, now: UnixMillis) -> Result<Actor, Problem> {
    let Some(name) = store.session(&sha256(cookie.as_bytes()), now)? else { return Ok(Actor::Anonymous) };
    Ok(match store.user(&name)? {
        Some(user) => Actor::User { name: user.name, owner: user.owner },
        None => Actor::Anonymous,
    })
}

fn read_claim(headers: &HeaderMap, https: bool) -> Claim {
    if let Some(value) = headers.get(AUTHORIZATION) {
        let claim =
            value.to_str().ok().filter(|v| v.len() <= CREDENTIAL_BYTES_MAX).and_then(read_authorization);
        return claim.unwrap_or(Claim::Unreadable);
    }
    match cookie(headers, cookie_name(https)) {
        Some(value) => Claim::Session(value.to_owned()),
        None => Claim::Nobody,
    }
}

fn read_authorization(value: &str) -> Option<Claim> {
    let (scheme, rest) = value.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(Claim::Token { account: None, value: rest.trim().to_owned() });
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let plain = String::from_utf8(STANDARD.decode(rest.trim()).ok()?).ok()?;
    let (account, value) = plain.split_once(':')?;
    Some(Claim::Token { account: Some(account.to_owned()), value: value.to_owned() })
}

/// The session cookie's name; over https the `__Host-` prefix makes browsers refuse one set by a neighbour.
pub(crate) fn cookie_name(https: bool) -> &'static str {
    if https { "__Host-slipway" } else { "slipway" }
}

/// The cookie of that name, if the request carries a plausible one.
pub(crate) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let pairs = headers.get_all(COOKIE).iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(';'));
    let mut values = pairs.filter_map(|pair| pair.trim().split_once('=')).filter(|(n, _)| *n == name);
    values.next().map(|(_, value)| value).filter(|v| !v.is_empty() && v.len() <= CREDENTIAL_BYTES_MAX)
}
