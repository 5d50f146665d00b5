//! A small HTTP server for parts that stand in for real ones: one request a connection, over TCP or a Unix socket.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;

use super::Lives;

/// One request, read whole.
pub(crate) struct Request {
    pub(crate) method: String,
    /// Without the query.
    pub(crate) path: String,
    pub(crate) query: String,
    /// Names in lower case.
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// In which life of the server it came.
    pub(crate) life: usize,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value)
    }

    /// A value of the query, percent-decoded.
    pub(crate) fn key(&self, name: &str) -> Option<String> {
        let mut pairs = self.query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| decoded(value))
    }
}

/// Percent-decodes.
pub(crate) fn decoded(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let [byte, tail @ ..] = rest {
        let hex = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match (byte, hex.and_then(|hex| u8::from_str_radix(hex, 16).ok())) {
            (b'%', Some(value)) => {
                bytes.push(value);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(*byte);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// One answer.
pub(crate) struct Answer {
    status: u16,
    kind: String,
    body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(status: u16, body: &serde_json::Value) -> Self {
        Self { status, kind: "application/json".into(), body: body.to_string().into_bytes() }
    }

    pub(crate) fn bytes(kind: &str, body: Vec<u8>) -> Self {
        Self { status: 200, kind: kind.into(), body }
    }

    pub(crate) fn empty(status: u16) -> Self {
        Self { status, kind: "text/plain".into(), body: Vec::new() }
    }

    pub(crate) fn missing() -> Self {
        Self::json(404, &serde_json::json!({"kind": "Status", "message": "there is none", "code": 404}))
    }
}

/// What answers.
pub(crate) trait Part: Send + Sync + 'static {
    fn answer(&self, request: &Request) -> Answer;
}

/// Serves on a free port of this machine; its address.
pub(crate) fn serve(part: Arc<impl Part>, lives: Lives) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = listener.local_addr().expect("bound").to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            begin(&part, &lives, stream.try_clone().expect("a stream"), stream);
        }
    });
    address
}

/// The same on a socket at that path.
pub(crate) fn serve_at(part: Arc<impl Part>, lives: Lives, path: &Path) {
    let listener = UnixListener::bind(path).expect("bound");
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            begin(&part, &lives, stream.try_clone().expect("a stream"), stream);
        }
    });
}

/// In which life a connection came is told by when it is accepted: before the next one begins, all of the last are.
fn begin(
    part: &Arc<impl Part>,
    lives: &Lives,
    reads: impl Read + Send + 'static,
    mut writes: impl Write + Send + 'static,
) {
    let (part, life) = (Arc::clone(part), lives.now());
    std::thread::spawn(move || {
        let Some(request) = read(&mut BufReader::new(reads), life) else { return };
        let answer = if request.path == FENCE { Answer::empty(204) } else { part.answer(&request) };
        let head = format!(
            "HTTP/1.1 {} x\r\ncontent-type: {}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            answer.status,
            answer.kind,
            answer.body.len()
        );
        // Whoever asked may be dead.
        drop(writes.write_all(head.as_bytes()).and_then(|()| writes.write_all(&answer.body)));
    });
}

/// Nobody but the test asks for it.
const FENCE: &str = "/-/fence";

/// Returns once all connections that were made to that address before have been accepted.
pub(crate) fn fence(address: &str) {
    let asked = format!("GET {FENCE} HTTP/1.1\r\n\r\n");
    let mut answer = Vec::new();
    if address.starts_with('/') {
        let mut stream = UnixStream::connect(address).expect("connected");
        stream.write_all(asked.as_bytes()).expect("asked");
        stream.read_to_end(&mut answer).expect("answered");
    } else {
        let mut stream = TcpStream::connect(address).expect("connected");
        stream.write_all(asked.as_bytes()).expect("asked");
        stream.read_to_end(&mut answer).expect("answered");
    }
    assert!(answer.starts_with(b"HTTP/1.1 204"), "{}", String::from_utf8_lossy(&answer));
}

/// The first byte of a connection with TLS.
const TLS_HANDSHAKE: u8 = 22;

/// `None` where the client leaves before the end.
fn read(reader: &mut impl BufRead, life: usize) -> Option<Request> {
    // Who tries TLS first waits for an answer to it.
    let _plain = reader.fill_buf().ok()?.first().filter(|byte| **byte != TLS_HANDSHAKE)?;
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
        let Some((name, value)) = line.trim().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let (path, query) = (path.to_owned(), query.to_owned());
    let mut request = Request { method, path, query, headers, body: Vec::new(), life };
    if request.header("transfer-encoding").eq_ignore_ascii_case("chunked") {
        read_chunks(reader, &mut request.body)?;
    } else {
        let length = request.header("content-length").parse().unwrap_or(0);
        request.body.resize(length, 0);
        reader.read_exact(&mut request.body).ok()?;
    }
    Some(request)
}

fn read_chunks(reader: &mut impl BufRead, body: &mut Vec<u8>) -> Option<()> {
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
        let length = usize::from_str_radix(line.trim(), 16).ok()?;
        let start = body.len();
        body.resize(start + length, 0);
        reader.read_exact(&mut body[start..]).ok()?;
        reader.read_line(&mut line).ok()?;
        if length == 0 {
            return Some(());
        }
    }
}
