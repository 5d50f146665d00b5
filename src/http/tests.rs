//! The listener with clients that are silent, slow or too many.

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::routing::{get, post};
use bytes::Bytes;
use futures_util::stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::*;

struct Served {
    address: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Served {
    async fn start(router: Router, front: Front, limits: Limits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = listener.local_addr().expect("an address");
        let stop = CancellationToken::new();
        let end = (stop.clone(), Duration::from_secs(1));
        Self { address, stop, task: tokio::spawn(serve(listener, router, front, limits, end)) }
    }

    async fn send(&self, text: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.expect("connected");
        stream.write_all(text.as_bytes()).await.expect("sent");
        stream
    }

    /// The whole answer to a request; empty where the connection is cut without one.
    async fn ask(&self, text: &str) -> String {
        let mut stream = self.send(text).await;
        read(&mut stream).await
    }

    async fn end(self) {
        self.stop.cancel();
        self.task.await.expect("ended");
    }
}

async fn read(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await;
    // Whoever is cut off has what came before.
    drop(read.expect("an answer or an end"));
    String::from_utf8_lossy(&answer).into_owned()
}

const ASK: &str = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

fn router() -> Router {
    let piece = || Ok::<_, std::io::Error>(Bytes::from_static(&[7; 64 * 1024]));
    let endless = move || stream::repeat_with(piece);
    let whole = async |body: Result<Bytes, axum::extract::rejection::BytesRejection>| match body {
        Ok(body) => (axum::http::StatusCode::OK, format!("{} bytes", body.len())),
        Err(_) => (axum::http::StatusCode::BAD_REQUEST, "not whole".to_owned()),
    };
    Router::new()
        .route("/", get(async || "here").post(whole))
        .route("/endless", get(async move || Body::from_stream(endless())))
        .route("/app/git-receive-pack", post(whole))
}

fn limits(connections: usize) -> Limits {
    let usual = Limits::from(&slipway_core::limits::Limits::default());
    Limits { connections, door: Duration::from_millis(200), ..usual }
}

#[tokio::test]
async fn who_holds_connections_without_a_word_keeps_nobody_out() {
    let served = Served::start(router(), Front::default(), limits(16)).await;
    let mut held = Vec::new();
    let kinds = [
        "",
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nab",
        "POST /app/git-receive-pack HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nab",
        "GET /endless HTTP/1.1\r\nHost: x\r\n\r\n",
    ];
    for n in 0..60 {
        held.push(served.send(kinds[n % kinds.len()]).await);
        if n % 20 == 19 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            assert!(served.ask(ASK).await.ends_with("here"), "after {n}");
        }
    }
    served.end().await;
}

#[tokio::test]
async fn connections_at_work_are_one_partys_to_half_and_the_rest_is_told_why() {
    let never = Router::new()
        .route("/never", get(async || std::future::pending::<&str>().await))
        .route("/", get(async || "here"));
    let served = Served::start(never, Front::default(), limits(8)).await;
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(served.send("GET /never HTTP/1.1\r\nHost: x\r\n\r\n").await);
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    let told = served.ask(ASK).await;
    assert!(told.starts_with("HTTP/1.1 503 ") && told.contains("Retry-After: "), "{told}");
    assert!(told.contains("too many connections over HTTP from your address. Let some"), "{told}");
    let mut patient = served.send(ASK).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    held.pop();
    assert!(read(&mut patient).await.ends_with("here"), "it waited at the door until another left");
    served.end().await;
}

#[tokio::test]
async fn a_body_that_does_not_come_is_answered_408_and_one_that_trickles_too() {
    let limits = Limits { body: Duration::from_millis(300), ..limits(8) };
    let served = Served::start(router(), Front::default(), limits).await;
    let half = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nab";
    let silent = served.ask(half).await;
    assert!(silent.starts_with("HTTP/1.1 408 "), "{silent}");
    let mut stream = served.send(half).await;
    let begun = std::time::Instant::now();
    while begun.elapsed() < Duration::from_secs(5) && stream.write_all(b"c").await.is_ok() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "one byte at a time is not enough");
    let whole = "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc";
    assert!(served.ask(whole).await.ends_with("3 bytes"));
    served.end().await;
}

#[tokio::test]
async fn an_answer_that_nobody_reads_ends() {
    let limits = Limits { answer: Duration::from_millis(300), rate: 1 << 20, ..limits(8) };
    let served = Served::start(router(), Front::default(), limits).await;
    let mut stream = served.send("GET /endless HTTP/1.1\r\nHost: x\r\n\r\n").await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let mut bytes = 0;
    let mut buffer = vec![0; 1 << 20];
    let all = async {
        while let Ok(got @ 1..) = stream.read(&mut buffer).await {
            bytes += got;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), all).await.expect("it was cut");
    assert!(bytes > 0);
    served.end().await;
}

#[tokio::test]
async fn a_trusted_proxy_tells_who_connects() {
    let who = async |ConnectInfo(from): ConnectInfo<SocketAddr>| from.ip().to_string();
    let router = Router::new().route("/", get(who));
    let proxies = TrustedProxies::parse(&["127.0.0.1".to_owned()]).expect("valid");
    let front = Front { connections: proxies.clone(), requests: proxies, ..Front::default() };
    let served = Served::start(router, front, limits(8)).await;
    let header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71\x09\x7f\0\0\x01\x12\x67\0\x16";
    for (sent, ends) in [([&header[..], ASK.as_bytes()].concat(), "203.0.113.9"), (ASK.into(), "")] {
        let mut stream = TcpStream::connect(served.address).await.expect("connected");
        stream.write_all(&sent).await.expect("sent");
        // Whoever does not speak the protocol is cut off.
        let answer = read(&mut stream).await;
        assert!(answer.ends_with(ends) && answer.is_empty() == ends.is_empty(), "{ends}: {answer}");
    }
    served.end().await;
}

#[tokio::test]
async fn behind_a_proxy_each_client_has_its_own_share() {
    let never = Router::new()
        .route("/never", get(async || std::future::pending::<&str>().await))
        .route("/", get(async || "here"));
    let proxies = TrustedProxies::parse(&["127.0.0.1".to_owned()]).expect("valid");
    let front = Front { connections: TrustedProxies::default(), requests: proxies, ..Front::default() };
    let served = Served::start(never, front, limits(16)).await;
    let mut held = Vec::new();
    for _ in 0..8 {
        let ask = "GET /never HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n";
        held.push(served.send(ask).await);
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    let from = |client: &str| ASK.replace("Host: x", &format!("Host: x\r\nX-Forwarded-For: {client}"));
    assert!(served.ask(&from("203.0.113.9")).await.starts_with("HTTP/1.1 503 "));
    assert!(served.ask(&from("203.0.113.10")).await.ends_with("here"));
    served.end().await;
}
