//! What connections over HTTP share, and the way of each: who is at its other end, then its requests, one party's share
//! beside the others'.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::response::Response;
use http::header::RETRY_AFTER;
use http::{HeaderValue, Request, StatusCode};
use hyper::body::{Body as _, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::Watcher;
use slipway_core::Problem;
use slipway_forge::shares::{Party, Place};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tower::ServiceExt;

use super::flow::{Arriving, Leaving};
use super::guest::Guest;
use super::limits::{FAREWELL, FAREWELLS_MAX, Limits};
use super::refusal::refusal;
use super::{Front, builder};

/// Seconds after which whoever finds no place is asked to come again.
const RETRY_AFTER_S: u32 = 5;

/// What connections share.
pub(super) struct Hall {
    router: Router,
    front: Front,
    limits: Limits,
    server: auto::Builder<TokioExecutor>,
    farewells: Semaphore,
}

impl Hall {
    pub(super) fn new(router: Router, front: Front, limits: Limits) -> Self {
        let (server, farewells) = (builder(&limits), Semaphore::new(FAREWELLS_MAX));
        Self { router, front, limits, server, farewells }
    }

    /// Whom a connection counts against before anything is read of it.
    pub(super) fn party(&self, peer: SocketAddr) -> Party {
        let Front { connections, requests, .. } = &self.front;
        let is_proxy = connections.has(peer.ip()) || requests.has(peer.ip());
        if is_proxy { Party::Proxy } else { Party::at(peer.ip()) }
    }

    /// A connection from its first byte to its last.
    pub(super) async fn receive(
        self: Arc<Self>,
        mut stream: TcpStream,
        proxy: SocketAddr,
        place: Place,
        watcher: Watcher,
    ) {
        // Small answers must not wait for a full segment; a failure here only costs latency.
        drop(stream.set_nodelay(true));
        let gone = place.notice();
        place.waits(self.limits.head);
        let told = tokio::select! {
            told = self.front.connections.accepted(&mut stream, proxy) => told,
            () = gone.cancelled() => return,
        };
        let peer = match told {
            Ok(peer) => peer,
            Err(error) => return tracing::warn!(%proxy, "a proxy does not say who connects: {error}"),
        };
        if peer.ip() != proxy.ip()
            && let Err(problem) = place.becomes(self.party(peer))
        {
            return self.turn_away(stream, &problem).await;
        }
        let Some(tls) = &self.front.tls else { return self.talk(stream, peer, place, watcher).await };
        let met = tokio::select! {
            met = tls.accept(stream) => met,
            () = gone.cancelled() => return,
        };
        // Who makes mistakes in a handshake is told so by it.
        if let Ok(stream) = met {
            self.talk(stream, peer, place, watcher).await;
        }
    }

    /// Speaks HTTP over `stream` with `peer`.
    async fn talk(
        self: Arc<Self>,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        peer: SocketAddr,
        place: Place,
        watcher: Watcher,
    ) {
        let gone = place.notice();
        let guest = Guest::new(place, self.limits.idle);
        let hall = Arc::clone(&self);
        let service = hyper::service::service_fn(move |request: Request<Incoming>| {
            Arc::clone(&hall).answer(Arc::clone(&guest), peer, request)
        });
        let connection =
            self.server.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
        tokio::select! {
            // A client that breaks off is no news.
            ended = watcher.watch(connection) => drop(ended),
            () = gone.cancelled() => {}
        }
    }

    /// One request.
    async fn answer(
        self: Arc<Self>,
        guest: Arc<Guest>,
        peer: SocketAddr,
        request: Request<Incoming>,
    ) -> Result<Response, Infallible> {
        let busy = guest.request();
        let requests = &self.front.requests;
        let client = SocketAddr::new(requests.client(peer.ip(), request.headers()), peer.port());
        if requests.has(peer.ip())
            && let Err(problem) = guest.place().becomes(Party::at(client.ip()))
        {
            return Ok(refused(request.uri().path(), &problem));
        }
        if let Some(answer) = self.front.host.turned(&request) {
            return Ok(answer);
        }
        let mut late = None;
        let watched = watches_itself(request.uri().path());
        let mut request = request.map(|body| match body.is_end_stream() {
            true => Body::empty(),
            false => {
                let late = late.insert(Arc::new(AtomicBool::new(false)));
                Body::new(Arriving::new(body, &guest, self.limits, watched, late))
            }
        });
        request.extensions_mut().insert(ConnectInfo(client));
        let mut answer = self.front.host.finished(self.router.clone().oneshot(request).await?);
        if late.is_some_and(|late| late.load(Ordering::Relaxed)) && answer.status().as_u16() >= 400 {
            *answer.status_mut() = StatusCode::REQUEST_TIMEOUT;
        }
        Ok(answer.map(|body| Body::new(Leaving::new(body, &guest, self.limits, busy))))
    }

    /// Tells a client that finds no place why, before anything is read of it.
    pub(super) async fn turn_away(&self, mut stream: TcpStream, problem: &Problem) {
        if self.front.tls.is_some() {
            // Words would have to come behind a handshake.
            return;
        }
        // Too many for words: the rest is closed at once.
        let Ok(_farewell) = self.farewells.try_acquire() else { return };
        let text = format!("{problem}\n");
        let answer = format!(
            "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
             Retry-After: {RETRY_AFTER_S}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n{text}",
            text.len()
        );
        let farewell = async {
            stream.write_all(answer.as_bytes()).await?;
            stream.shutdown().await?;
            // Closed with unread bytes, the answer would be lost on its way.
            let mut rest = [0; 1024];
            while stream.read(&mut rest).await? > 0 {}
            std::io::Result::Ok(())
        };
        drop(tokio::time::timeout(FAREWELL, farewell).await);
    }
}

/// True for what the Git server reads, which has rules of its own for how long a client may take.
fn watches_itself(path: &str) -> bool {
    path.ends_with("/git-upload-pack") || path.ends_with("/git-receive-pack")
}

/// What a request is told that finds no place.
fn refused(path: &str, problem: &Problem) -> Response {
    let mut answer = refusal(path, StatusCode::SERVICE_UNAVAILABLE, problem);
    answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_S));
    answer
}
