//! The HTTP listener: connections bounded, slow heads cut off, peers told to the router, drained on stop.

mod lobby;

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use slipway_core::{Actor, Problem, ProblemKind};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use self::lobby::{Answer, Lobby};

/// Connections at once.
const CONNECTIONS_MAX: usize = 2048;
/// Time for a request's head.
const HEAD_MAX: Duration = Duration::from_secs(15);
/// Pause after a failed accept (no file descriptors left, say).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

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

/// Serves `router` until `stop`; then lets running requests end within `grace`.
pub(crate) async fn serve(listener: TcpListener, router: Router, stop: CancellationToken, grace: Duration) {
    serve_some(listener, router, stop, (CONNECTIONS_MAX, grace)).await;
}

/// The same with so many connections at most.
async fn serve_some(
    listener: TcpListener,
    router: Router,
    stop: CancellationToken,
    (most, grace): (usize, Duration),
) {
    let slots = Arc::new(Semaphore::new(most));
    let lobby = Arc::new(Lobby::default());
    let graceful = GracefulShutdown::new();
    let server = builder();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, peer)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        if slots.available_permits() == 0 {
            lobby.dismiss();
        }
        let slot = tokio::select! {
            () = stop.cancelled() => break,
            slot = slots.clone().acquire_owned() => slot,
        };
        // Small answers must not wait for a full segment; a failure here only costs latency.
        drop(stream.set_nodelay(true));
        let router = router.clone();
        let gone = CancellationToken::new();
        let guest = lobby.enter(gone.clone());
        let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(ConnectInfo(peer));
            let busy = guest.busy();
            let answer = router.clone().oneshot(request);
            async move { answer.await.map(|answer| answer.map(|body| Body::new(Answer { body, _busy: busy }))) }
        });
        let connection = server.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            tokio::select! {
                // A client that breaks off is no news.
                ended = connection => drop(ended),
                () = gone.cancelled() => {}
            }
            drop(slot);
        });
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
pub(crate) async fn serve_admin(listener: UnixListener, router: Router, stop: CancellationToken) {
    let server = builder();
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
            request.extensions_mut().insert(Actor::Server);
            request.extensions_mut().insert(ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 0))));
            router.clone().oneshot(request)
        });
        let connection = server.serve_connection(TokioIo::new(stream), service).into_owned();
        // A client that breaks off is no news.
        tokio::spawn(async move { drop(connection.await) });
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_MAX);
    server.http2().timer(TokioTimer::new()).keep_alive_interval(Some(Duration::from_secs(30)));
    server
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn who_holds_connections_without_a_word_keeps_nobody_out() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = listener.local_addr().expect("an address");
        let router = Router::new().route("/", axum::routing::get(async || "here"));
        let stop = CancellationToken::new();
        let served = tokio::spawn(serve_some(listener, router, stop.clone(), (8, Duration::from_secs(1))));
        let mut silent = Vec::new();
        for n in 0..40 {
            let mut stream = TcpStream::connect(address).await.expect("connected");
            if n % 2 == 0 {
                // Half of them have asked once, and keep the connection.
                stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("asked");
            }
            silent.push(stream);
        }
        let mut stream = TcpStream::connect(address).await.expect("connected");
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.expect("asked");
        let mut answer = String::new();
        let read = tokio::time::timeout(HEAD_MAX / 3, stream.read_to_string(&mut answer)).await;
        assert!(read.is_ok_and(|read| read.is_ok()) && answer.ends_with("here"), "{answer}");
        stop.cancel();
        served.await.expect("ended");
    }
}
