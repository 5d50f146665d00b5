//! The one router: the API, the pages, and the layers around them.

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state, map_response};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use http::{HeaderName, HeaderValue, StatusCode};
use slipway_forge::{Surface, server};
use tower_http::catch_panic::CatchPanicLayer;

use crate::identity::identify;
use crate::parts::{Parts, Shared};
use crate::refusal::Answer;
use crate::visit::Visit;
use crate::{api, moved, pages, refusal};

/// All pages and the API. Routes of the git transports (`/{repo}/info/refs`, `/{repo}/git-upload-pack`,
/// `/{repo}/git-receive-pack`, `/v1/…`) are not among them: merge them beside it, with the same parameter name
/// `{repo}`. Whoever has proved who calls (the admin socket, commands over SSH) puts an `Extension<Caller>` into the
/// request; nothing else is asked then.
pub fn router(parts: Parts) -> Router {
    let shared = Arc::new(Shared::new(parts));
    let machines = Router::new()
        .route("/-/healthz", get(healthz))
        .route("/-/readyz", get(readyz))
        .route("/-/metrics", get(metrics))
        .route("/-/schema/slipway.json", get(schema))
        .route("/-/keys/cosign.pub", get(api::signing_key))
        .merge(api::routes());
    let pages = pages::routes().layer(from_fn_with_state(Arc::clone(&shared), pages::go_get));
    let people = dressed(pages, &shared, Surface::Pages)
        .layer(from_fn_with_state(Arc::clone(&shared), pages::as_page));
    let machines = dressed(machines, &shared, Surface::Api).layer(from_fn(refusal::as_json));
    let (people, machines) = (people.layer(map_response(fresh)), machines.layer(map_response(kept_nowhere)));
    people.merge(machines).layer(map_response(guard)).with_state(shared)
}

/// What every answer tells the browser: run nothing that is not ours, be framed by nobody, tell nobody where one was.
/// An answer with stricter rules of its own keeps them.
async fn guard(mut response: Response) -> Response {
    let policy = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; \
                  form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, policy),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

/// What is for whoever asks, and of this moment: no cache keeps it unless its handler says so.
async fn kept_nowhere(mut response: Response) -> Response {
    let rule = HeaderValue::from_static("private, no-store");
    response.headers_mut().entry(CACHE_CONTROL).or_insert(rule);
    response
}

/// The same for pages, which a browser may keep to go back to, and asks anew otherwise.
async fn fresh(mut response: Response) -> Response {
    let rule = HeaderValue::from_static("private, no-cache");
    response.headers_mut().entry(CACHE_CONTROL).or_insert(rule);
    response
}

/// The layers that both halves share. What gives failures their form goes around the result.
fn dressed(routes: Router<Arc<Shared>>, shared: &Arc<Shared>, surface: Surface) -> Router<Arc<Shared>> {
    let most = usize::try_from(shared.parts.limits.http_body_size_max).unwrap_or(usize::MAX);
    routes
        .layer(DefaultBodyLimit::max(most))
        .layer(from_fn_with_state(Arc::clone(shared), moved::lead_on))
        .layer(from_fn_with_state((Arc::clone(shared), surface), identify))
        .layer(CatchPanicLayer::custom(panicked))
}

async fn healthz() -> &'static str {
    "ok\n"
}

async fn readyz(visit: Visit) -> Answer<String> {
    let warnings = server::ready(visit.forge()).await?;
    let lines = warnings.iter().map(|warning| format!("warning: {warning}\n"));
    Ok(std::iter::once("ready\n".to_owned()).chain(lines).collect())
}

async fn metrics(visit: Visit) -> Answer<Response> {
    let figures = server::metrics(visit.forge(), visit.caller())?;
    let headers = [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8"), (CACHE_CONTROL, "no-store")];
    Ok((headers, figures).into_response())
}

async fn schema() -> Response {
    let headers = [(CONTENT_TYPE, "application/schema+json"), (CACHE_CONTROL, "public, max-age=300")];
    (headers, slipway_core::spec::schema()).into_response()
}

fn panicked(_: Box<dyn std::any::Any + Send + 'static>) -> Response {
    tracing::error!("a request panicked");
    StatusCode::INTERNAL_SERVER_ERROR.into_response()
}
