//! The HTTP listener and the admin socket: connections bounded and shared, slow clients cut off, drained on stop.

mod flow;
mod guest;
mod hall;
pub(crate) mod host;
mod limits;
mod refusal;
pub(crate) mod tls;
mod validity;

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use slipway_core::{Problem, ProblemKind};
use slipway_forge::Caller;
use slipway_forge::origin::TrustedProxies;
use slipway_forge::shares::Shares;
use tokio::net::{TcpListener, UnixListener};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use self::hall::Hall;
use self::host::Host;
pub(crate) use self::limits::Limits;
use self::limits::{ACCEPT_PAUSE, BUFFER_BYTES, SWEEP_EVERY};
use self::tls::Tls;

/// Binds an address.
pub(crate) async fn bind(address: SocketAddr, what: &str, flag: &str) -> Result<TcpListener, Problem> {
    TcpListener::bind(address).await.map_err(|e| {
        Problem::new(
            ProblemKind::Unavailable,
            format!("The {what} address {address} cannot be bound: {e}."),
            format!("Stop what uses it, or choose another with {flag} (port 0 takes a free one)."),
        )
    })
}

/// The proxies in front of the listener.
#[derive(Clone, Default)]
pub(crate) struct Front {
    /// Those that speak the PROXY protocol to it.
    pub(crate) connections: TrustedProxies,
    /// Those whose headers on requests are believed.
    pub(crate) requests: TrustedProxies,
    /// By which names it is asked.
    pub(crate) host: Host,
    /// What makes TLS of its connections, if it is the one for HTTPS.
    pub(crate) tls: Option<Tls>,
}

/// Serves `router` until `stop`; then lets running requests end within `grace`.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    front: Front,
    limits: Limits,
    (stop, grace): (CancellationToken, Duration),
) {
    let places = Shares::new("connections over HTTP", limits.shares());
    let hall = Arc::new(Hall::new(router, front, limits));
    let graceful = GracefulShutdown::new();
    let mut sweep = tokio::time::interval(SWEEP_EVERY);
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
            _ = sweep.tick() => {
                places.sweep();
                continue;
            }
        };
        let Ok((stream, peer)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let (hall, party, watcher) = (Arc::clone(&hall), hall.party(peer), graceful.watcher());
        match places.enter_now(party.clone()) {
            Some(place) => {
                drop(tokio::spawn(async move { hall.receive(stream, peer, place, watcher).await }))
            }
            None => {
                let places = Arc::clone(&places);
                let waits = async move {
                    match places.enter(party, limits.door).await {
                        Ok(place) => hall.receive(stream, peer, place, watcher).await,
                        Err(problem) => hall.turn_away(stream, &problem).await,
                    }
                };
                drop(tokio::spawn(waits));
            }
        }
    }
    drop(listener);
    drop(tokio::time::timeout(grace, graceful.shutdown()).await);
}

/// Binds the admin socket; whoever can open it acts as the server itself, so only the owner can.
pub(crate) fn bind_admin(path: &Path) -> Result<UnixListener, Problem> {
    let bound = UnixListener::bind(path).and_then(|listener| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        Ok(listener)
    });
    bound.map_err(|e| {
        Problem::new(
            ProblemKind::Broken,
            format!("The admin socket {} cannot be made: {e}.", path.display()),
            "Use a data folder with a shorter path (a socket's path has at most 107 bytes) on a local disk.",
        )
    })
}

/// Serves the router on the admin socket, as the server itself.
pub(crate) async fn serve_admin(
    listener: UnixListener,
    router: Router,
    limits: Limits,
    stop: CancellationToken,
) {
    let server = builder(&limits);
    loop {
        let stream = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(_) => {
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        let router = router.clone();
        let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(Caller::host());
            router.clone().oneshot(request)
        });
        let connection = server.serve_connection(TokioIo::new(stream), service).into_owned();
        // A client that breaks off is no news.
        tokio::spawn(async move { drop(connection.await) });
    }
}

fn builder(limits: &Limits) -> auto::Builder<TokioExecutor> {
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new()).header_read_timeout(limits.head).max_buf_size(BUFFER_BYTES);
    server.http2().timer(TokioTimer::new()).keep_alive_interval(Some(Duration::from_secs(30)));
    server
}

#[cfg(test)]
mod tests;
