//! Who asks: the caller's own word (admin socket, in-process SSH), a token, a session cookie, or nobody.
//!
//! Says only who; what they may do is `slipway_core::authorise`'s.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use http::header::{AUTHORIZATION, COOKIE};
use slipway_core::Problem;
use slipway_forge::limits::CREDENTIAL_BYTES_MAX;
use slipway_forge::shares::Party;
use slipway_forge::sign_in::{self, At, Claim};
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
enum Said {
    Nothing,
    Claim(Claim),
    Session(String),
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
    match read(headers, shared.https()) {
        Said::Nothing => Ok(Visitor { caller: nobody(), csrf: None }),
        Said::Claim(Claim::Unreadable) => Err(sign_in::unreadable(&forge, at)),
        Said::Claim(Claim::Token { account, value }) => {
            let work = move || sign_in::by_token(&forge, account.as_deref(), value.expose(), at);
            Ok(Visitor { caller: shared.door.sign_in(party, work).await?, csrf: None })
        }
        Said::Session(cookie) => {
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

fn read(headers: &HeaderMap, https: bool) -> Said {
    if let Some(value) = headers.get(AUTHORIZATION) {
        return Said::Claim(sign_in::claim(value.as_bytes()));
    }
    match cookie(headers, cookie_name(https)) {
        Some(value) => Said::Session(value.to_owned()),
        None => Said::Nothing,
    }
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
