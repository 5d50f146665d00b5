//! Who asks: the caller's own word (admin socket, in-process SSH), a token, a session cookie, or nobody.
//!
//! Says only who; what they may do is `slipway_core::authorise`'s.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::{AUTHORIZATION, COOKIE};
use slipway_core::Problem;
use slipway_forge::limits::CREDENTIAL_BYTES_MAX;
use slipway_forge::shares::Party;
use slipway_forge::sign_in::{self, At};
use slipway_forge::{Caller, Surface};

use crate::csrf;
use crate::parts::Shared;
use crate::refusal::Refusal;

/// Who asks, and how that was told.
#[derive(Clone, Debug)]
pub(crate) struct Visitor {
    pub(crate) caller: Caller,
    /// For sessions: what a form must carry to prove that it is ours.
    pub(crate) csrf: Option<String>,
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
    State((shared, surface)): State<(Arc<Shared>, Surface)>,
    mut request: Request,
    next: Next,
) -> Response {
    let visitor = match request.extensions().get::<Caller>() {
        Some(caller) => Ok(Visitor { caller: caller.clone(), csrf: None }),
        None => {
            let from = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|c| c.0.ip());
            recognise(&shared, request.headers(), At { surface, from }).await
        }
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

async fn recognise(shared: &Arc<Shared>, headers: &HeaderMap, at: At) -> Result<Visitor, Problem> {
    let forge = Arc::clone(&shared.parts.forge);
    let nobody = move || Caller::anonymous(at.surface, at.from);
    let party = Party::of(&nobody());
    match read_claim(headers, shared.https()) {
        Claim::Nobody => Ok(Visitor { caller: nobody(), csrf: None }),
        Claim::Unreadable => Err(sign_in::unreadable(&forge, at)),
        Claim::Token { account, value } => {
            let work = move || sign_in::by_token(&forge, account.as_deref(), &value, at);
            Ok(Visitor { caller: shared.door.sign_in(party, work).await?, csrf: None })
        }
        Claim::Session(cookie) => {
            let csrf = csrf::token_for(&cookie);
            let work = move || sign_in::by_session(&forge, &cookie, at);
            Ok(match shared.door.sign_in(party, work).await? {
                Some(caller) => Visitor { caller, csrf: Some(csrf) },
                // An ended session is nobody, not an error: the page then offers to sign in.
                None => Visitor { caller: nobody(), csrf: None },
            })
        }
    }
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
