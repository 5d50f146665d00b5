//! Addresses by a repository's former name lead to the new one, on pages and in the API, for whoever may read it.
//!
//! Asked only where the answer is that there is nothing: as long as a repository bears the name, it is meant.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, LOCATION};
use http::{Method, StatusCode, Uri};
use slipway_core::{Action, RepoName};
use slipway_forge::access;

use crate::identity::Visitor;
use crate::parts::Shared;

/// Where the API's addresses of repositories begin.
const REPOS: &str = "/-/api/v1/repos/";

/// The layer around all routes that know who asks.
pub(crate) async fn lead_on(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let (uri, method) = (request.uri().clone(), request.method().clone());
    let visitor = request.extensions().get::<Visitor>().cloned();
    let response = next.run(request).await;
    if response.status() != StatusCode::NOT_FOUND {
        return response;
    }
    let (Some(place), Some(visitor)) = (Place::of(&uri), visitor) else { return response };
    let (forge, caller, name) = (Arc::clone(&shared.parts.forge), visitor.caller, place.name.clone());
    let asker = caller.clone();
    let asked = shared.door.run(&caller, move || access::moved(&forge, &asker, &name, Action::ReadRepo));
    match asked.await {
        Ok(Some(new)) => place.redirect(&new, &method),
        _ => response,
    }
}

/// A repository's name in an address, and what is around it.
struct Place {
    before: &'static str,
    name: String,
    after: String,
}

impl Place {
    fn of(uri: &Uri) -> Option<Self> {
        let (before, rest) = match uri.path().strip_prefix(REPOS) {
            Some(rest) => (REPOS, rest),
            None => ("/", uri.path().strip_prefix('/').filter(|rest| !rest.starts_with("-/"))?),
        };
        let end = rest.find('/').unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        Some(Self { before, name: name.to_owned(), after: format!("{after}{query}") })
    }

    /// Not to be kept: the name may be given to another any time.
    fn redirect(&self, new: &RepoName, method: &Method) -> Response {
        let plain = matches!(*method, Method::GET | Method::HEAD);
        let status = if plain { StatusCode::MOVED_PERMANENTLY } else { StatusCode::PERMANENT_REDIRECT };
        let to = format!("{}{new}{}", self.before, self.after);
        let told = format!("{} is called {new} now: {to}\n", self.name);
        (status, [(LOCATION, to), (CACHE_CONTROL, "no-store".to_owned())], told).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_alone_is_exchanged() {
        let new = RepoName::parse("new").expect("a name");
        for (from, to) in [
            ("/old", Some("/new")),
            ("/old/files/old/a%20b?at=old", Some("/new/files/old/a%20b?at=old")),
            (
                "/-/api/v1/repos/old/builds/1/log?follow=true",
                Some("/-/api/v1/repos/new/builds/1/log?follow=true"),
            ),
            ("/-/login?next=/old", None),
        ] {
            let place = Place::of(&from.parse().expect("an address"));
            let told = place.map(|place| place.redirect(&new, &Method::GET));
            let told = told.map(|told| told.headers()[LOCATION].to_str().expect("text").to_owned());
            assert_eq!(told.as_deref(), to, "{from}");
        }
        let posted = Place::of(&"/old/settings".parse().expect("an address")).expect("a place");
        assert_eq!(posted.redirect(&new, &Method::POST).status(), StatusCode::PERMANENT_REDIRECT);
    }
}
