//! The addresses that git asks for, and what is checked before a conversation begins.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Path, Request, State};
use axum::response::Response;
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::stream;
use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use slipway_core::{Actor, Problem, ProblemKind};
use tracing::{Instrument, info, info_span};

use super::answer::{plain, refused, uncached};
use super::body::feed;
use crate::server::GitServer;
use crate::service::{Conversation, Opened, Shared, advertisement, blocking};
use crate::transport::{Stop, input, output};
use crate::wire::pktline::{put_flush, put_line};
use crate::wire::{Service, Version};

impl GitServer {
    /// The routes of smart HTTP: `/NAME[.git]/…` and `/v1/repos/NAME[.git]/…`. To be merged into the one HTTP server,
    /// without any layer that buffers or compresses bodies. The peer's address is taken from
    /// `ConnectInfo<SocketAddr>`, where the server provides it.
    pub fn router(&self) -> Router {
        let mut router = Router::new();
        for prefix in ["/{repo}", "/v1/repos/{repo}"] {
            router = router
                .route(&format!("{prefix}/info/refs"), get(info_refs))
                .route(&format!("{prefix}/git-upload-pack"), post(upload_pack))
                .route(&format!("{prefix}/git-receive-pack"), post(receive_pack))
                .route(&format!("{prefix}/HEAD"), get(dumb))
                .route(&format!("{prefix}/objects/{{*path}}"), get(dumb));
        }
        router.with_state(self.clone())
    }
}

/// What the dumb protocol is told.
async fn dumb() -> Response {
    plain(
        StatusCode::FORBIDDEN,
        "This server speaks Git's smart protocol only. Use a git client of version 1.6.6 or later, without GIT_SMART_HTTP=0.",
    )
}

async fn info_refs(State(server): State<GitServer>, Path(repo): Path<String>, request: Request) -> Response {
    let mut asked =
        request.uri().query().unwrap_or_default().split('&').filter_map(|p| p.strip_prefix("service="));
    let service = match asked.next().map(Service::parse) {
        None => return dumb().await,
        Some(None) => {
            return plain(StatusCode::FORBIDDEN, "There is no such service here. Use a stock git client.");
        }
        Some(Some(service)) => service,
    };
    match open(&server.shared, request.headers(), peer(&request), &repo, service).await {
        Ok(opened) => advertise(opened, service, version(request.headers())).await,
        Err(problem) => refused(&problem),
    }
}

async fn advertise(opened: Opened, service: Service, version: Version) -> Response {
    let job = blocking(move || advertisement(&opened, service, version, true));
    let told = match job.await {
        Ok(told) => told.bytes,
        Err(problem) => return refused(&problem),
    };
    let mut out = Vec::with_capacity(told.len() + 64);
    // Version 2 does without; a push is never answered in version 2.
    if service == Service::ReceivePack || version != Version::V2 {
        put_line(&mut out, &format!("# service={}", service.name()));
        put_flush(&mut out);
    }
    out.extend_from_slice(&told);
    uncached(StatusCode::OK, &format!("application/x-{}-advertisement", service.name()), Body::from(out))
}

async fn upload_pack(
    State(server): State<GitServer>,
    Path(repo): Path<String>,
    request: Request,
) -> Response {
    exchange(server.shared, repo, Service::UploadPack, request).await
}

async fn receive_pack(
    State(server): State<GitServer>,
    Path(repo): Path<String>,
    request: Request,
) -> Response {
    exchange(server.shared, repo, Service::ReceivePack, request).await
}

/// One request and its answer. Everything is checked before the body is polled, so that a client which waits for
/// `100 Continue` sends none in vain.
async fn exchange(shared: Arc<Shared>, repo: String, service: Service, request: Request) -> Response {
    let gzip = match check_headers(request.headers(), service) {
        Ok(gzip) => gzip,
        Err(response) => return *response,
    };
    let peer = peer(&request);
    let opened = match open(&shared, request.headers(), peer, &repo, service).await {
        Ok(opened) => opened,
        Err(problem) => return refused(&problem),
    };
    let version = version(request.headers());
    let span =
        info_span!("http git", repo = %opened.name, who = opened.actor.label(), service = service.name());
    let (fed, input) = input();
    let (output, sent) = output();
    tokio::spawn(feed(request.into_body(), gzip, fed).instrument(span.clone()));
    let conversation = Conversation::new(Arc::clone(&shared.engine), opened, version, true, input, output);
    shared.tasks.spawn(converse(conversation, service).instrument(span));
    answer(service, sent).await
}

async fn converse(conversation: Conversation, service: Service) {
    let started = std::time::Instant::now();
    let problem = match conversation.answer(service).await {
        Ok(()) => None,
        Err(Stop::Gone) => Some("the client left".to_owned()),
        Err(Stop::Refused(problem) | Stop::Told(problem)) => Some(problem.to_string()),
    };
    info!(seconds = started.elapsed().as_secs_f32(), problem, "served over HTTP");
}

/// The answer begins with its first bytes: before them the request is still being read, and some clients stop sending
/// once an answer begins.
async fn answer(service: Service, mut sent: tokio::sync::mpsc::Receiver<Bytes>) -> Response {
    let first = sent.recv().await;
    let content_type = format!("application/x-{}-result", service.name());
    let Some(first) = first else { return uncached(StatusCode::OK, &content_type, Body::empty()) };
    let chunks = stream::unfold((Some(first), sent), |(first, mut sent)| async move {
        let chunk = match first {
            Some(chunk) => Some(chunk),
            None => sent.recv().await,
        };
        chunk.map(|chunk| (Ok::<_, std::convert::Infallible>(chunk), (None, sent)))
    });
    uncached(StatusCode::OK, &content_type, Body::from_stream(chunks))
}

/// True if the body is compressed.
fn check_headers(headers: &HeaderMap, service: Service) -> Result<bool, Box<Response>> {
    let text = |name| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let wanted = format!("application/x-{}-request", service.name());
    let essence = text(CONTENT_TYPE).split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case(&wanted) {
        let sentence =
            format!("The content type is {essence:?}; {wanted} is expected. Use a stock git client.");
        return Err(Box::new(plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, &sentence)));
    }
    match text(CONTENT_ENCODING) {
        "" | "identity" => Ok(false),
        "gzip" | "x-gzip" => Ok(true),
        other => {
            let sentence = format!("The content encoding {other:?} is not known here. Use gzip, or none.");
            Err(Box::new(plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, &sentence)))
        }
    }
}

async fn open(
    shared: &Arc<Shared>,
    headers: &HeaderMap,
    peer: IpAddr,
    repo: &str,
    service: Service,
) -> Result<Opened, Problem> {
    if shared.engine.stop.is_cancelled() {
        return Err(Problem::new(
            ProblemKind::Unavailable,
            "The server is stopping.",
            "Try again in a minute.",
        ));
    }
    let actor = identify(shared, headers, peer).await?;
    shared.open(actor, repo.strip_suffix(".git").unwrap_or(repo).to_owned(), service).await
}

/// Who asks. Without credentials: nobody in particular.
async fn identify(shared: &Arc<Shared>, headers: &HeaderMap, peer: IpAddr) -> Result<Actor, Problem> {
    let Some(header) = headers.get(AUTHORIZATION) else { return Ok(Actor::Anonymous) };
    let unreadable = || {
        Problem::new(
            ProblemKind::Unauthenticated,
            "The credentials cannot be read.",
            "Sign in with your account name and a token.",
        )
    };
    let (scheme, value) = header.to_str().ok().and_then(|v| v.split_once(' ')).ok_or_else(unreadable)?;
    let (account, token) = match scheme.to_ascii_lowercase().as_str() {
        "basic" => {
            let raw = STANDARD.decode(value.trim()).map_err(|_| unreadable())?;
            let text = String::from_utf8(raw).map_err(|_| unreadable())?;
            let (account, token) = text.split_once(':').ok_or_else(unreadable)?;
            (Some(account.to_owned()), token.to_owned())
        }
        "bearer" => (None, value.trim().to_owned()),
        _ => return Err(unreadable()),
    };
    let authenticator = Arc::clone(&shared.authenticator);
    blocking(move || authenticator.by_token(account.as_deref(), &token, peer)).await
}

fn peer(request: &Request) -> IpAddr {
    let known = request.extensions().get::<ConnectInfo<SocketAddr>>();
    known.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ConnectInfo(address)| address.ip())
}

fn version(headers: &HeaderMap) -> Version {
    Version::read(headers.get("git-protocol").and_then(|v| v.to_str().ok()).unwrap_or_default())
}
