//! A registry that takes images alone, or lets no tag change, until it is told otherwise: in front of the real one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::{Method, StatusCode, Uri};
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

/// What it takes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Takes {
    /// Everything.
    All,
    /// What is no artefact beside an image.
    Images,
    /// What changes no tag of an artefact.
    NewTags,
}

/// Listens until it is dropped.
pub(crate) struct Refusing {
    /// `HOST:PORT`.
    pub(crate) address: String,
    takes: Arc<AtomicU8>,
    _runtime: tokio::runtime::Runtime,
}

impl Refusing {
    pub(crate) fn start(registry: &str, takes: Takes) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("threads");
        let takes = Arc::new(AtomicU8::new(takes as u8));
        let (registry, now) = (registry.to_owned(), takes.clone());
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let client: Client<HttpConnector, Body> = Client::builder(TokioExecutor::new()).build_http();
        let own = address.clone();
        let router = Router::new().fallback(move |request: Request| {
            let (client, registry, own, now) = (client.clone(), registry.clone(), own.clone(), now.load(Ordering::SeqCst));
            async move {
                let path = request.uri().path().to_owned();
                let beside = request.method() == Method::PUT && path.contains("/manifests/sha256");
                let is_there = || {
                    let types = "Accept: application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json";
                    crate::harness::curl(&["-H", types, &format!("http://{registry}{path}")]).0 == 200
                };
                let changes = path.contains("/manifests/sha256-") && beside && is_there();
                let refused = match now {
                    now if now == Takes::Images as u8 => beside,
                    now => now == Takes::NewTags as u8 && changes,
                };
                if refused {
                    let words = r#"{"errors":[{"code":"UNSUPPORTED","message":"not here"}]}"#;
                    return (StatusCode::METHOD_NOT_ALLOWED, words).into_response();
                }
                forward(&client, &registry, &own, request).await
            }
        });
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self { address, takes, _runtime: runtime }
    }

    /// From now on it takes everything.
    pub(crate) fn let_in(&self) {
        self.takes.store(Takes::All as u8, Ordering::SeqCst);
    }
}

async fn forward(
    client: &Client<HttpConnector, Body>,
    registry: &str,
    own: &str,
    request: Request,
) -> Response {
    let (mut head, body) = request.into_parts();
    let asked = head.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    head.uri = format!("http://{registry}{asked}").parse::<Uri>().expect("an address");
    // The registry names its own uploads after whom it was asked as.
    head.headers.insert("host", own.parse().expect("a value"));
    let bytes = body.collect().await.expect("a body").to_bytes();
    match client.request(http::Request::from_parts(head, Body::from(bytes))).await {
        Ok(answer) => answer.into_response(),
        Err(e) => (StatusCode::BAD_GATEWAY, e.to_string()).into_response(),
    }
}
