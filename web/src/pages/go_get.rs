//! `?go-get=1`: where the go command finds a module's repository (https://go.dev/ref/mod#vcs-find). Told to whoever may read it;
//! to everybody else the address is what it is without the question.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Uri};
use slipway_core::{Action, RepoName};
use slipway_forge::access;

use crate::identity::Visitor;
use crate::parts::Shared;

#[derive(Template)]
#[template(path = "go_get.html")]
struct GoGet {
    /// The module's path as far as the repository goes: host and name.
    module: String,
    url: String,
}

/// The layer around the pages.
pub(crate) async fn answer(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let visitor = request.extensions().get::<Visitor>().cloned();
    let asked = (*request.method() == Method::GET).then(|| repository(request.uri())).flatten();
    let (Some(name), Some(visitor)) = (asked, visitor) else { return next.run(request).await };
    let (forge, caller) = (Arc::clone(&shared.parts.forge), visitor.caller.clone());
    let look = move || access::repo(&forge, &caller, name.as_str(), Action::ReadRepo);
    let Ok(record) = shared.door.run(&visitor.caller, look).await else { return next.run(request).await };
    let url = format!("{}/{}", shared.parts.addresses.http, record.name);
    let module = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest).to_owned();
    let Ok(text) = (GoGet { module, url }).render() else { return next.run(request).await };
    let mut response = text.into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    response
}

/// The repository that is asked about: the first part of the path, whatever package below it is meant.
fn repository(uri: &Uri) -> Option<RepoName> {
    let asks = uri.query()?.split('&').any(|pair| pair == "go-get=1");
    let first = uri.path().strip_prefix('/')?.split('/').next()?;
    let first = first.strip_suffix(".git").unwrap_or(first);
    RepoName::parse(first).ok().filter(|_| asks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_is_the_first_part_of_the_path() {
        for (uri, name) in [
            ("/lib?go-get=1", Some("lib")),
            ("/lib.git/v2/pkg?x=1&go-get=1", Some("lib")),
            ("/lib", None),
            ("/lib?go-get=0", None),
            ("/?go-get=1", None),
            ("/-/login?go-get=1", None),
        ] {
            let found = repository(&uri.parse().expect("an address"));
            assert_eq!(found.as_ref().map(RepoName::as_str), name, "{uri}");
        }
    }
}
