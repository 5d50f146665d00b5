//! Fuzzes all that is reached over HTTP by somebody who has not signed in: bytes as they come over a connection, through the
//! HTTP library, the guard of names, pages, API and Git of a server with public repositories. No answer may be that
//! something broke, and the connection ends with its client.
#![no_main]

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use slipway_core::accept::Acceptance;
use slipway_core::limits::Limits;
use slipway_forge::{Caller, Forge};
use slipway_git_server::{CommandIo, Commands, GitServer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::{Builder, Runtime};
use tower::ServiceExt;

#[path = "../../src/http/host.rs"]
mod host;
#[allow(dead_code)]
#[path = "../../web/tests/web/outside.rs"]
mod outside;
#[path = "../../src/http/refusal.rs"]
mod refusal;
#[allow(dead_code)]
#[path = "../../web/tests/web/world.rs"]
mod world;

/// Far more than an answer takes whose client has hung up.
const TIME: Duration = Duration::from_secs(8);
/// An answer beyond this is not read to its end.
const ANSWER_BYTES: u64 = 4 << 20;

libfuzzer_sys::fuzz_target!(|data: &[u8]| exchange(data));

/// There are no commands over HTTP.
struct NoCommands;

impl Commands for NoCommands {
    fn run(
        &self,
        _: Caller,
        _: Vec<String>,
        _: CommandIo,
    ) -> std::pin::Pin<Box<dyn Future<Output = u32> + Send>> {
        Box::pin(async { 1 })
    }
}

/// What answers.
struct Server {
    /// Held, so that nobody takes what is made once for a leak.
    _world: &'static world::World,
    runtime: Runtime,
    router: axum::Router,
    host: host::Host,
}

fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let world: &'static world::World = Box::leak(Box::new(world::World::new()));
        let limits = Arc::new(Limits::default());
        let objections = Arc::new(outside::NoObjection);
        let acceptance = Arc::new(Acceptance::new(Arc::new(world.store.clone()), objections, || world::NOW));
        let forge = Arc::new(Forge::new(slipway_forge::Parts {
            store: world.store.clone(),
            repositories: Arc::clone(&world.repositories),
            acceptance: Arc::clone(&acceptance),
            outside: Arc::clone(&world.operations) as Arc<dyn slipway_forge::Outside>,
            clock: || world::NOW,
            limits: Arc::clone(&limits),
        }));
        let git = GitServer::new(slipway_git_server::Parts {
            forge,
            acceptance,
            commands: Arc::new(NoCommands),
            base_url: "https://git.example.com".into(),
            limits,
        });
        let names = host::Names::new(Some("https://git.example.com"), &[]);
        let host = host::Host { names, leads_to: None };
        Server { _world: world, runtime, router: world.router.clone().merge(git.router()), host }
    })
}

fn exchange(data: &[u8]) {
    let Server { runtime, router, host, .. } = server();
    let (mut client, ours) = tokio::io::duplex(64 << 10);
    let service = hyper::service::service_fn(move |mut request: http::Request<hyper::body::Incoming>| {
        let from = SocketAddr::from(([192, 0, 2, 7], 1));
        request.extensions_mut().insert(axum::extract::ConnectInfo(from));
        async move {
            let response = match host.turned(&request) {
                Some(turned) => turned,
                None => router.clone().oneshot(request.map(axum::body::Body::new)).await?,
            };
            Ok::<_, std::convert::Infallible>(host.finished(response))
        }
    });
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new()).header_read_timeout(TIME / 2).max_buf_size(128 << 10);
    let connection = server.serve_connection_with_upgrades(TokioIo::new(ours), service).into_owned();
    let data = data.to_vec();
    let answer = runtime.block_on(async move {
        let connection = tokio::spawn(async move { drop(connection.await) });
        let (reads, mut writes) = tokio::io::split(&mut client);
        let mut answer = Vec::new();
        let mut reads = reads.take(ANSWER_BYTES);
        let spoken = async {
            tokio::join!(
                async {
                    let _ = writes.write_all(&data).await;
                    let _ = writes.shutdown().await;
                },
                reads.read_to_end(&mut answer),
            )
        };
        assert!(tokio::time::timeout(TIME, spoken).await.is_ok(), "the answer does not end");
        drop(client);
        assert!(tokio::time::timeout(TIME, connection).await.is_ok(), "the connection outlives its client");
        answer
    });
    let broken = answer.windows(13).any(|words| words == b"HTTP/1.1 500 ");
    assert!(!broken, "something broke: {}", String::from_utf8_lossy(&answer));
}
