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
use slipway_core::{Problem, ProblemKind};
use slipway_forge::Caller;
use slipway_forge::origin::TrustedProxies;
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

/// The proxies in front of the listener.
#[derive(Clone, Default)]
pub(crate) struct Front {
    /// Those that speak the PROXY protocol to it.
    pub(crate) connections: TrustedProxies,
    /// Those whose headers on requests are believed.
    pub(crate) requests: TrustedProxies,
}

/// Serves `router` until `stop`; then lets running requests end within `grace`.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    front: Front,
    stop: CancellationToken,
    grace: Duration,
) {
    serve_some(listener, router, front, stop, (CONNECTIONS_MAX, grace)).await;
}

/// The same with so many connections at most.
async fn serve_some(
    listener: TcpListener,
    router: Router,
    front: Front,
    stop: CancellationToken,
    (most, grace): (usize, Duration),
) {
    let front = Arc::new(front);
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
        let (router, front) = (router.clone(), Arc::clone(&front));
        let gone = CancellationToken::new();
        let guest = lobby.enter(gone.clone());
        let (server, watcher) = (server.clone(), graceful.watcher());
        tokio::spawn(async move {
            let (mut stream, proxy) = (stream, peer);
            let told = tokio::select! {
                told = front.connections.accepted(&mut stream, proxy) => told,
                () = gone.cancelled() => return,
            };
            let peer = match told {
                Ok(peer) => peer,
                Err(error) => return tracing::warn!(%proxy, "a proxy does not say who connects: {error}"),
            };
            let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
                let client =
                    SocketAddr::new(front.requests.client(peer.ip(), request.headers()), peer.port());
                request.extensions_mut().insert(ConnectInfo(client));
                let busy = guest.busy();
                let answer = router.clone().oneshot(request);
                async move {
                    answer.await.map(|answer| answer.map(|body| Body::new(Answer { body, _busy: busy })))
                }
            });
            let connection =
                server.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
            let connection = watcher.watch(connection);
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
            request.extensions_mut().insert(Caller::host());
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
        let served = tokio::spawn(serve_some(
            listener,
            router,
            Front::default(),
            stop.clone(),
            (8, Duration::from_secs(1)),
        ));
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

    #[tokio::test]
    async fn a_trusted_proxy_tells_who_connects() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = listener.local_addr().expect("an address");
        let who = async |ConnectInfo(from): ConnectInfo<SocketAddr>| from.ip().to_string();
        let router = Router::new().route("/", axum::routing::get(who));
        let stop = CancellationToken::new();
        let proxies = TrustedProxies::parse(&["127.0.0.1".to_owned()]).expect("valid");
        let front = Front { connections: proxies.clone(), requests: proxies };
        let limits = (8, Duration::from_secs(1));
        let served = tokio::spawn(serve_some(listener, router, front, stop.clone(), limits));
        let header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71\x09\x7f\0\0\x01\x12\x67\0\x16";
        let request = &b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"[..];
        for (sent, ends) in [([&header[..], request].concat(), "203.0.113.9"), (request.to_vec(), "")] {
            let mut stream = TcpStream::connect(address).await.expect("connected");
            stream.write_all(&sent).await.expect("sent");
            let mut answer = Vec::new();
            // Whoever does not speak the protocol is cut off.
            drop(stream.read_to_end(&mut answer).await);
            let answer = String::from_utf8_lossy(&answer).into_owned();
            assert!(answer.ends_with(ends) && answer.is_empty() == ends.is_empty(), "{ends}: {answer}");
        }
        stop.cancel();
        served.await.expect("ended");
    }
}
