//! The addresses that git asks for, and what is checked before a conversation begins.

use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Path, Request, State};
use axum::response::Response;
use axum::routing::{any, get, post};
use bytes::Bytes;
use futures_util::stream;
use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, LOCATION};
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::BodyExt;
use slipway_core::{Problem, ProblemKind, RepoName};
use slipway_forge::sign_in::{self, Claim};
use slipway_forge::{Caller, Surface};
use tracing::{Instrument, Span, info, info_span};

use super::answer::{plain, refused, uncached};
use super::body::feed;
use crate::limits::{QUICK_REQUEST_BYTES, QUICK_TIME};
use crate::server::GitServer;
use crate::service::quick::Quick;
use crate::service::{self, Conversation, Opened, Shared, advertisement, blocking};
use crate::transport::{Input, Stop, input, output};
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
                .route(&format!("{prefix}/info/lfs/{{*path}}"), any(no_lfs))
                .route(&format!("{prefix}/HEAD"), get(dumb))
                .route(&format!("{prefix}/objects/{{*path}}"), get(dumb));
        }
        router.route("/v1/repos/{repo}", get(page)).with_state(self.clone())
    }
}

/// What the dumb protocol is told.
async fn dumb() -> Response {
    plain(
        StatusCode::FORBIDDEN,
        "This server speaks Git's smart protocol only. Use a git client of version 1.6.6 or later, without GIT_SMART_HTTP=0.",
    )
}

/// What git-lfs is told, in its own form (docs/api in its repository).
async fn no_lfs(State(server): State<GitServer>, request: Request) -> Response {
    if let Err(problem) = known(&server, asker(&request)).await {
        return refused(&problem);
    }
    let told = r#"{"message":"This server stores no Git LFS objects. Commit the files themselves, or set lfs.url to a server that does."}"#;
    uncached(StatusCode::NOT_IMPLEMENTED, "application/vnd.git-lfs+json", Body::from(told))
}

/// An address for git, opened in a browser: the repository's page, which says who may see it.
async fn page(State(server): State<GitServer>, Path(repo): Path<String>, request: Request) -> Response {
    if let Err(problem) = known(&server, asker(&request)).await {
        return refused(&problem);
    }
    let name = RepoName::parse(stem(&repo)).map(|name| format!("/{name}"));
    let to = name.ok().and_then(|to| HeaderValue::from_str(&to).ok());
    let Some(to) = to else { return plain(StatusCode::NOT_FOUND, "There is no repository of that name.") };
    let mut answer = plain(StatusCode::TEMPORARY_REDIRECT, "The repository's page is elsewhere.");
    answer.headers_mut().insert(LOCATION, to);
    answer
}

/// Whoever gives credentials gives good ones, also where none are needed.
async fn known(server: &GitServer, asker: Asker) -> Result<(), Problem> {
    let shared = Arc::clone(&server.shared);
    blocking(move || caller(&shared, asker).map(drop)).await
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
    let asker = asker(&request);
    let version = version(request.headers());
    let uri = request.uri().clone();
    let job = blocking(move || {
        let opened = open_blocking(&server.shared, asker, &repo, service)?;
        if opened.name.as_str() != stem(&repo) {
            return Ok(Err(opened.name));
        }
        Ok(Ok(advertisement(&opened, service, version, true)?.bytes))
    });
    match job.await {
        Ok(Ok(told)) => advertise(&told, service, version),
        Ok(Err(new)) => moved(&uri, &new),
        Err(problem) => refused(&problem),
    }
}

/// The name in an address, without the ending that it may have.
fn stem(repo: &str) -> &str {
    repo.strip_suffix(".git").unwrap_or(repo)
}

/// Sends whoever begins at a repository's former name to the new one. git goes on from there, also with what it posts.
fn moved(uri: &http::Uri, new: &RepoName) -> Response {
    let prefix = if uri.path().starts_with("/v1/repos/") { "/v1/repos" } else { "" };
    let to = format!("{prefix}/{new}/info/refs?{}", uri.query().unwrap_or_default());
    let mut answer = plain(StatusCode::MOVED_PERMANENTLY, &format!("This repository is called {new} now."));
    if let Ok(to) = HeaderValue::from_str(&to) {
        answer.headers_mut().insert(LOCATION, to);
    }
    answer
}

fn advertise(told: &[u8], service: Service, version: Version) -> Response {
    let mut out = Vec::with_capacity(told.len() + 64);
    // Version 2 does without; a push is never answered in version 2.
    if service == Service::ReceivePack || version != Version::V2 {
        put_line(&mut out, &format!("# service={}", service.name()));
        put_flush(&mut out);
    }
    out.extend_from_slice(told);
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
    let version = version(request.headers());
    if service == Service::UploadPack && version == Version::V2 && !gzip && is_small(request.headers()) {
        return quick(shared, repo, request).await;
    }
    let asker = asker(&request);
    let opened = match open(&shared, asker, &repo, service).await {
        Ok(opened) => opened,
        Err(problem) => return refused(&problem),
    };
    let (fed, input) = input();
    let span = span(&opened, service);
    let silence = shared.engine.limits.git_http_idle_timeout;
    tokio::spawn(feed(request.into_body(), gzip, fed, silence).instrument(span.clone()));
    begin(&shared, opened, version, service, input, span).await
}

/// Starts a conversation and answers with what it says.
async fn begin(
    shared: &Arc<Shared>,
    opened: Opened,
    version: Version,
    service: Service,
    input: Input,
    span: Span,
) -> Response {
    let (output, sent) = output(&shared.engine.limits);
    let conversation = Conversation::new(Arc::clone(&shared.engine), opened, version, true, input, output);
    shared.tasks.spawn(converse(conversation.answer(service)).instrument(span));
    answer(service, sent).await
}

fn span(opened: &Opened, service: Service) -> Span {
    info_span!("http git", repo = %opened.name, who = opened.caller.actor.label(), service = service.name())
}

/// True if the body is known to be small and is sent without being waited for.
fn is_small(headers: &HeaderMap) -> bool {
    let length = headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
    length.is_some_and(|length: u64| length <= QUICK_REQUEST_BYTES) && !headers.contains_key(EXPECT)
}

/// A small request of version 2: read whole, then answered by one job.
async fn quick(shared: Arc<Shared>, repo: String, request: Request) -> Response {
    let service = Service::UploadPack;
    let asker = asker(&request);
    let silence = shared.engine.limits.git_http_idle_timeout;
    let body = match tokio::time::timeout(silence, request.into_body().collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        _ => return plain(StatusCode::BAD_REQUEST, "The request's body did not come whole. Try again."),
    };
    let flag = Arc::new(AtomicBool::new(false));
    let (job_shared, job_body, stop) = (Arc::clone(&shared), body.clone(), Arc::clone(&flag));
    let mut job = pin!(blocking(move || {
        let opened = open_blocking(&job_shared, asker, &repo, service)?;
        let quick = service::quick::answer(&job_shared.engine, &opened, &job_body, &stop);
        Ok((opened, quick))
    }));
    let done = tokio::select! {
        done = &mut job => done,
        () = tokio::time::sleep(QUICK_TIME) => {
            flag.store(true, Ordering::Relaxed);
            job.await
        }
    };
    match done {
        Err(problem) => refused(&problem),
        Ok((_, Quick::Whole(bytes))) => uncached(StatusCode::OK, UPLOAD_RESULT, Body::from(bytes)),
        Ok((opened, Quick::Pack(pending))) => {
            let (span, (_, input)) = (span(&opened, service), input());
            let (output, sent) = output(&shared.engine.limits);
            let conversation =
                Conversation::new(Arc::clone(&shared.engine), opened, Version::V2, true, input, output);
            shared.tasks.spawn(converse(conversation.go_on(*pending)).instrument(span));
            answer(service, sent).await
        }
        Ok((opened, Quick::Other)) => {
            let (span, (fed, input)) = (span(&opened, service), input());
            fed.send(Ok(body)).await;
            drop(fed);
            begin(&shared, opened, Version::V2, service, input, span).await
        }
    }
}

const UPLOAD_RESULT: &str = "application/x-git-upload-pack-result";

async fn converse(conversation: impl Future<Output = Result<(), Stop>>) {
    let started = std::time::Instant::now();
    let problem = match conversation.await {
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

/// Who asks, as far as the request tells: nothing is looked up yet.
struct Asker {
    peer: Option<IpAddr>,
    /// What it says of its sender; nothing: nobody in particular asks.
    claim: Option<Claim>,
}

async fn open(shared: &Arc<Shared>, asker: Asker, repo: &str, service: Service) -> Result<Opened, Problem> {
    let (job, repo) = (Arc::clone(shared), repo.to_owned());
    blocking(move || open_blocking(&job, asker, &repo, service)).await
}

fn open_blocking(shared: &Shared, asker: Asker, repo: &str, service: Service) -> Result<Opened, Problem> {
    if shared.engine.stop.is_cancelled() {
        return Err(Problem::new(
            ProblemKind::Unavailable,
            "The server is stopping.",
            "Try again in a minute.",
        ));
    }
    shared.open_blocking(caller(shared, asker)?, stem(repo), service)
}

fn caller(shared: &Shared, asker: Asker) -> Result<Caller, Problem> {
    let at = sign_in::At { surface: Surface::GitHttp, from: asker.peer };
    match asker.claim {
        None => Ok(Caller::anonymous(at.surface, at.from)),
        Some(Claim::Token { account, value }) => {
            sign_in::by_token(&shared.forge, account.as_deref(), value.expose(), at)
        }
        Some(Claim::Unreadable) => Err(sign_in::unreadable(&shared.forge, at)),
    }
}

fn asker(request: &Request) -> Asker {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|c| c.0.ip());
    let claim = request.headers().get(AUTHORIZATION).map(|value| sign_in::claim(value.as_bytes()));
    Asker { peer, claim }
}

fn version(headers: &HeaderMap) -> Version {
    Version::read(headers.get("git-protocol").and_then(|v| v.to_str().ok()).unwrap_or_default())
}
