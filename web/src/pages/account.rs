//! Signing in and out, and one's own keys and tokens.

use askama::Template;
use axum::response::{IntoResponse, Redirect, Response};
use http::header::{CACHE_CONTROL, SET_COOKIE};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Deserialize;
use slipway_core::people::{PublicKey, Token};
use slipway_core::{Action, Actor, Problem, Scope, UserName};
use slipway_forge::sign_in::{self, At, NewSession};
use slipway_forge::tokens::NewToken;
use slipway_forge::{Caller, Forge, Page, keys, tokens};

use super::form::Fields;
use super::frame::{Frame, go_to, html, html_once};
use crate::api::Keys;
use crate::identity::{cookie, cookie_name};
use crate::link::{Link, safe_next};
use crate::refusal::{Answer, Refusal, invalid, mark, status_of};
use crate::text::Moment;
use crate::visit::Visit;

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage {
    frame: Frame,
    next: String,
    problem: Option<Problem>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Next {
    next: String,
}

pub(crate) async fn login_form(visit: Visit, Keys(keys): Keys<Next>) -> Answer<Response> {
    let next = safe_next(&keys.next).to_owned();
    if visit.actor().user().is_some() {
        return Ok(Redirect::to(&next).into_response());
    }
    html_once(&LoginPage { frame: Frame::new(&visit, "Sign in"), next, problem: None })
}

pub(crate) async fn login(visit: Visit, fields: Fields) -> Answer<Response> {
    let next = safe_next(fields.text("next")).to_owned();
    let value = fields.text("token").to_owned();
    match visit.ask(move |forge, caller| open_session(forge, caller, &value)).await {
        Ok(session) => {
            let mut response = Redirect::to(&next).into_response();
            let cookie = set_cookie(&visit, session.cookie.expose(), session.life_ms / 1000)?;
            response.headers_mut().insert(SET_COOKIE, cookie);
            response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            Ok(response)
        }
        Err(Refusal(problem)) => {
            let status = status_of(&problem);
            let page =
                LoginPage { frame: Frame::new(&visit, "Sign in"), next, problem: Some(problem.clone()) };
            let mut response = html_once(&page)?;
            *response.status_mut() = status;
            mark(&mut response, &problem);
            Ok(response)
        }
    }
}

fn open_session(forge: &Forge, caller: &Caller, value: &str) -> Result<NewSession, Problem> {
    sign_in::open_session(forge, value, At { surface: caller.surface, from: caller.from })
}

fn set_cookie(visit: &Visit, value: &str, seconds: u64) -> Answer<HeaderValue> {
    let https = visit.shared.https();
    let secure = if https { "; Secure" } else { "" };
    let name = cookie_name(https);
    let text = format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax; Max-Age={seconds}{secure}");
    HeaderValue::from_str(&text).map_err(|_| invalid("The cookie cannot be made.", "Try again."))
}

pub(crate) async fn logout(visit: Visit, headers: HeaderMap, _fields: Fields) -> Answer<Response> {
    if let Some(value) = cookie(&headers, cookie_name(visit.shared.https())) {
        let value = value.to_owned();
        visit.ask(move |forge, _| sign_in::close_session(forge, &value)).await?;
    }
    let mut response = go_to(&Link::fixed("/"));
    response.headers_mut().insert(SET_COOKIE, set_cookie(&visit, "", 0)?);
    Ok(response)
}

#[derive(Template)]
#[template(path = "keys.html")]
struct KeysPage {
    frame: Frame,
    rows: Vec<(PublicKey, Moment)>,
    ssh: String,
}

/// Whose page this is. The server itself and visitors have none.
pub(super) fn own(visit: &Visit) -> Answer<UserName> {
    visit.may(Action::ManageSelf)?;
    match visit.actor() {
        Actor::User { name, .. } | Actor::Token { name, .. } => Ok(name.clone()),
        Actor::Anonymous | Actor::Server => {
            Err(invalid("The server itself has no keys and no tokens.", "Act as a user."))
        }
    }
}

pub(crate) async fn keys_page(visit: Visit) -> Answer<Response> {
    let (user, now) = (own(&visit)?, visit.now());
    let all = Page::whole();
    let mut keys = visit.ask(move |forge, caller| keys::list(forge, caller, Some(&user), &all)).await?.rows;
    keys.sort_by_key(|k| std::cmp::Reverse(k.created));
    let rows = keys
        .into_iter()
        .map(|k| {
            let at = Moment::of_ms(k.created, now);
            (k, at)
        })
        .collect();
    let ssh = visit.shared.parts.addresses.ssh.clone();
    html(&KeysPage { frame: Frame::new(&visit, "SSH keys"), rows, ssh })
}

pub(crate) async fn change_keys(visit: Visit, fields: Fields) -> Answer<Response> {
    let user = own(&visit)?;
    match fields.verb() {
        "add" => {
            let (line, title) = (fields.text("key").to_owned(), fields.filled("title"));
            visit.ask(move |forge, caller| keys::add(forge, caller, Some(user), &line, title)).await?;
        }
        "remove" => {
            let fingerprint = fields.text("fingerprint").to_owned();
            visit.ask(move |forge, caller| keys::remove(forge, caller, &fingerprint)).await?;
        }
        _ => return fields.unknown_verb(),
    }
    Ok(go_to(&Link::fixed("/-/keys")))
}

#[derive(Template)]
#[template(path = "tokens.html")]
struct TokensPage {
    frame: Frame,
    rows: Vec<TokenRow>,
    /// The value of the token that was just made.
    made: Option<String>,
}

struct TokenRow {
    token: Token,
    scopes: String,
    created: Moment,
    expires: Option<Moment>,
    over: bool,
}

pub(crate) async fn tokens_page(visit: Visit) -> Answer<Response> {
    show_tokens(&visit, None).await
}

async fn show_tokens(visit: &Visit, made: Option<String>) -> Answer<Response> {
    let (user, now) = (own(visit)?, visit.now());
    let all = Page::whole();
    let mut tokens =
        visit.ask(move |forge, caller| tokens::list(forge, caller, Some(&user), &all)).await?.rows;
    tokens.sort_by_key(|t| std::cmp::Reverse(t.created));
    let rows = tokens.into_iter().map(|token| TokenRow {
        scopes: token.scopes.iter().map(|s| s.as_str()).collect::<Vec<_>>().join(", "),
        created: Moment::of_ms(token.created, now),
        expires: token.expires.map(|at| Moment::of_ms(at, now)),
        over: token.expired(now),
        token,
    });
    html_once(&TokensPage { frame: Frame::new(visit, "Access tokens"), rows: rows.collect(), made })
}

pub(crate) async fn change_tokens(visit: Visit, fields: Fields) -> Answer<Response> {
    let user = own(&visit)?;
    match fields.verb() {
        "add" => {
            let scopes = [("read", Scope::RepoRead), ("write", Scope::RepoWrite), ("api", Scope::Api)];
            let days = fields.text("days");
            let life_s = match days {
                "" => None,
                days => Some(days.parse::<u64>().ok().and_then(|d| d.checked_mul(86_400)).unwrap_or(0)),
            };
            let new = NewToken {
                user: Some(user),
                name: fields.filled("name"),
                scopes: Some(scopes.into_iter().filter(|(n, _)| fields.ticked(n)).map(|(_, s)| s).collect()),
                expires_in_s: life_s,
            };
            let (_, minted) = visit.ask(move |forge, caller| tokens::create(forge, caller, new)).await?;
            let mut response = show_tokens(&visit, Some(minted.value.expose().to_owned())).await?;
            *response.status_mut() = StatusCode::CREATED;
            Ok(response)
        }
        "remove" => {
            let id = fields.text("id").to_owned();
            visit.ask(move |forge, caller| tokens::remove(forge, caller, &id)).await?;
            Ok(go_to(&Link::fixed("/-/tokens")))
        }
        _ => fields.unknown_verb(),
    }
}
