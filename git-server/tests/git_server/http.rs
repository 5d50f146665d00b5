//! The HTTP side as a client that is not git meets it.

use std::io::Write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use slipway_core::{Role, Scope};

use crate::server::{Server, text};

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

pub(crate) async fn get(url: &str, credentials: Option<(&str, &str)>) -> Answer {
    send(Method::GET, url, credentials, &[], Bytes::new(), false).await
}

pub(crate) async fn post(
    url: &str,
    credentials: (&str, &str),
    headers: &[(&str, &str)],
    body: Bytes,
) -> Answer {
    send(Method::POST, url, Some(credentials), headers, body, false).await
}

async fn send(
    method: Method,
    url: &str,
    credentials: Option<(&str, &str)>,
    headers: &[(&str, &str)],
    body: Bytes,
    http2: bool,
) -> Answer {
    let mut request = Request::builder().method(method).uri(url);
    if let Some((account, token)) = credentials {
        request = request
            .header("authorization", format!("Basic {}", STANDARD.encode(format!("{account}:{token}"))));
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).http2_only(http2).build_http();
    let answer = client.request(request.body(Full::new(body)).expect("a request")).await.expect("an answer");
    let (parts, body) = answer.into_parts();
    let body = body.collect().await.expect("a body").to_bytes();
    Answer { status: parts.status.as_u16(), headers: parts.headers, body }
}

pub(crate) const UPLOAD: (&str, &str) = ("content-type", "application/x-git-upload-pack-request");
pub(crate) const RECEIVE: (&str, &str) = ("content-type", "application/x-git-receive-pack-request");
pub(crate) const V2: (&str, &str) = ("git-protocol", "version=2");
const LS_REFS: &[u8] = b"0014command=ls-refs\n00010000";

#[test]
fn what_is_announced_is_never_kept_by_a_cache() {
    let server = Server::start();
    server.repo("open", true);
    server.block_on(async {
        let base = format!("http://{}", server.http);
        let answer = get(&format!("{base}/open/info/refs?service=git-upload-pack"), None).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.headers["content-type"], "application/x-git-upload-pack-advertisement");
        assert_eq!(answer.headers["cache-control"], "no-cache, max-age=0, must-revalidate");
        assert_eq!(answer.headers["pragma"], "no-cache");
        assert!(answer.headers.contains_key("expires"));
        assert!(answer.body.starts_with(b"001e# service=git-upload-pack\n0000"), "{}", text(&answer.body));
        let url = format!("{base}/open/info/refs?service=git-upload-pack");
        let answer = send(Method::GET, &url, None, &[V2], Bytes::new(), false).await;
        assert!(answer.body.starts_with(b"000eversion 2\n"), "{}", text(&answer.body));
    });
}

#[test]
fn the_dumb_protocol_and_nonsense_get_a_sentence() {
    let server = Server::start();
    server.repo("open", true);
    server.block_on(async {
        let base = format!("http://{}/open", server.http);
        for path in ["/info/refs", "/info/refs?x=y", "/HEAD", "/objects/info/packs", "/objects/12/34"] {
            let answer = get(&format!("{base}{path}"), None).await;
            assert_eq!(answer.status, 403, "{path}");
            assert!(text(&answer.body).contains("smart protocol only"), "{path}");
        }
        let answer = get(&format!("{base}/info/refs?service=git-evil"), None).await;
        assert_eq!(answer.status, 403);
        let url = format!("{base}/git-upload-pack");
        let answer = send(Method::POST, &url, None, &[], Bytes::new(), false).await;
        assert_eq!(answer.status, 415);
        let answer = send(Method::POST, &url, None, &[RECEIVE], Bytes::new(), false).await;
        assert_eq!(answer.status, 415);
        let headers = [UPLOAD, ("content-encoding", "br")];
        let answer = send(Method::POST, &url, None, &headers, Bytes::new(), false).await;
        assert_eq!(answer.status, 415);
        assert_eq!(get(&url, None).await.status, 405);
    });
}

#[test]
fn a_request_may_be_compressed_but_may_not_explode() {
    let server = Server::start();
    server.repo("open", true);
    let gzip = |data: &[u8]| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(data).expect("memory");
        Bytes::from(encoder.finish().expect("memory"))
    };
    server.block_on(async {
        let url = format!("http://{}/open/git-upload-pack", server.http);
        let headers = [UPLOAD, V2, ("content-encoding", "gzip")];
        for http2 in [false, true] {
            let plain =
                send(Method::POST, &url, None, &headers[..2], Bytes::from_static(LS_REFS), http2).await;
            let packed = send(Method::POST, &url, None, &headers, gzip(LS_REFS), http2).await;
            assert_eq!((plain.status, packed.status), (200, 200));
            assert_eq!(plain.body, packed.body);
            assert_eq!(plain.headers["content-type"], "application/x-git-upload-pack-result");
            let bomb = send(Method::POST, &url, None, &headers, gzip(&vec![b'0'; 32 << 20]), http2).await;
            assert!(text(&bomb.body).contains("ERR "), "{}", text(&bomb.body));
        }
    });
}

#[test]
fn methods_and_encodings_that_git_does_not_use_are_refused() {
    let server = Server::start();
    server.repo("open", true);
    server.block_on(async {
        let base = format!("http://{}/open", server.http);
        let refs = format!("{base}/info/refs?service=git-upload-pack");
        for http2 in [false, true] {
            let head = send(Method::HEAD, &refs, None, &[], Bytes::new(), http2).await;
            assert_eq!((head.status, head.body.len()), (200, 0));
            for method in [Method::OPTIONS, Method::PUT, Method::DELETE] {
                let answer = send(method.clone(), &refs, None, &[], Bytes::new(), http2).await;
                assert_eq!(answer.status, 405, "{method}");
            }
        }
        let url = format!("{base}/git-upload-pack");
        let headers = [UPLOAD, ("content-encoding", "deflate")];
        let answer = send(Method::POST, &url, None, &headers, Bytes::new(), false).await;
        assert_eq!(answer.status, 415);
    });
}

/// Talks HTTP/1.1 by hand: what comes back for these bytes within a moment.
async fn raw(server: &Server, request: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(server.http).await.expect("connected");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = vec![0; 4096];
    let read = tokio::time::timeout(std::time::Duration::from_secs(5), stream.read(&mut answer)).await;
    answer.truncate(read.expect("an answer").expect("read"));
    text(&answer)
}

#[test]
fn who_may_not_is_told_so_before_the_body_is_asked_for() {
    let server = Server::start();
    server.person("dev", false);
    server.repo("app", false);
    server.grant("dev", "app", Role::Write);
    let token = server.token("dev", &[Scope::RepoWrite], None);
    server.block_on(async {
        let request = |authorization: &str| {
            format!(
                "POST /app/git-receive-pack HTTP/1.1\r\nhost: x\r\n{authorization}content-type: {}\r\n\
                 expect: 100-continue\r\ntransfer-encoding: chunked\r\n\r\n",
                RECEIVE.1
            )
        };
        assert!(raw(&server, &request("")).await.starts_with("HTTP/1.1 401"), "no body is wanted");
        let basic = format!("authorization: Basic {}\r\n", STANDARD.encode(format!("dev:{token}")));
        assert!(raw(&server, &request(&basic)).await.starts_with("HTTP/1.1 100"));
        let bearer = format!("authorization: Bearer {token}\r\n");
        assert!(raw(&server, &request(&bearer)).await.starts_with("HTTP/1.1 100"));
    });
}

#[test]
fn what_is_not_the_protocol_is_answered_with_err() {
    let server = Server::start();
    server.repo("open", true);
    server.block_on(async {
        let url = format!("http://{}/open/git-upload-pack", server.http);
        for (body, headers) in [
            (&b"hello"[..], &[UPLOAD][..]),
            (b"0032want 1111111111111111111111111111111111111111\n00000009done\n", &[UPLOAD]),
            (b"0011command=push\n0000", &[UPLOAD, V2]),
            (b"0013command=fetch\n0001000bnonsense0000", &[UPLOAD, V2]),
            (b"0014command=ls-refs\n0001", &[UPLOAD, V2]),
        ] {
            let answer = send(Method::POST, &url, None, headers, Bytes::copy_from_slice(body), false).await;
            assert_eq!(answer.status, 200);
            assert_eq!(answer.body.get(4..8), Some(&b"ERR "[..]), "{}: {}", text(body), text(&answer.body));
        }
        let answer = send(Method::POST, &url, None, &[UPLOAD], Bytes::from_static(b"0000"), false).await;
        assert_eq!((answer.status, answer.body.len()), (200, 0));
    });
}

#[test]
fn the_probe_of_a_large_push_is_answered() {
    let server = Server::start();
    server.person("dev", false);
    server.repo("app", false);
    server.grant("dev", "app", Role::Write);
    let token = server.token("dev", &[Scope::RepoWrite], None);
    server.block_on(async {
        let url = format!("http://{}/app/git-receive-pack", server.http);
        let probe = Bytes::from_static(b"0000");
        let answer = send(Method::POST, &url, None, &[RECEIVE], probe.clone(), false).await;
        assert_eq!(answer.status, 401);
        assert!(answer.headers["www-authenticate"].to_str().expect("text").starts_with("Basic "));
        let answer = send(Method::POST, &url, Some(("dev", &token)), &[RECEIVE], probe, false).await;
        assert_eq!((answer.status, answer.body.len()), (200, 0));
    });
}

#[test]
fn a_client_that_leaves_in_the_middle_leaves_nothing_behind() {
    let server = Server::start();
    let dev = server.person("dev", false);
    let bare = server.repo("app", false);
    server.grant("dev", "app", Role::Write);
    let token = server.token("dev", &[Scope::RepoWrite], None);
    let files = || {
        let mut stack = vec![bare.join("objects")];
        let mut count = 0;
        while let Some(folder) = stack.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                if entry.path().is_dir() { stack.push(entry.path()) } else { count += 1 }
            }
        }
        count
    };
    let before = files();
    server.block_on(async {
        let zero = "0".repeat(40);
        let command = format!("{zero} {} refs/heads/main\0report-status side-band-64k", "1".repeat(40));
        let mut body = format!("{:04x}{command}0000", command.len() + 4).into_bytes();
        body.extend_from_slice(b"PACK\0\0\0\x02\0\0\0\x05");
        let head = format!(
            "POST /app/git-receive-pack HTTP/1.1\r\nhost: x\r\nauthorization: Basic {}\r\ncontent-type: {}\r\n\
             content-length: 10000000\r\n\r\n",
            STANDARD.encode(format!("dev:{token}")),
            RECEIVE.1
        );
        for _ in 0..20 {
            let mut stream = tokio::net::TcpStream::connect(server.http).await.expect("connected");
            tokio::io::AsyncWriteExt::write_all(&mut stream, head.as_bytes()).await.expect("sent");
            tokio::io::AsyncWriteExt::write_all(&mut stream, &body).await.expect("sent");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    });
    assert_eq!(files(), before, "a quarantine was left");
    let tree = dev.work_tree("tree", &[("a", "a")]);
    dev.git(&tree, &["push", "-q", &dev.http_url("app", &token), "main"]);
}
