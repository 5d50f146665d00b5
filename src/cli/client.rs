//! Speaks to a server's JSON API: over the admin socket of a data folder, over HTTP with a token, or in process.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use http::{Request as HttpRequest, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use slipway_core::{Problem, ProblemKind, Secret};
use slipway_forge::Caller;
use tokio::net::{TcpStream, UnixStream};
use tower::ServiceExt;

use super::request::Request;

/// The largest answer that is not streamed, in bytes.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Where the API's addresses begin.
const BASE: &str = "/-/api/v1";

/// Where the API is.
pub(crate) enum Client {
    /// The admin socket of a running server.
    Socket(PathBuf),
    /// `http://host:port` with a token.
    Remote { url: String, token: Option<Secret> },
    /// This very process, for verbs that come over SSH.
    InProcess { router: axum::Router, caller: Caller },
}

/// An answer whose body is still coming.
pub(crate) struct Answer {
    status: StatusCode,
    moved: Option<String>,
    body: AnswerBody,
}

enum AnswerBody {
    Hyper(hyper::body::Incoming),
    Axum(axum::body::Body),
}

impl Client {
    /// The client that the flags ask for.
    pub(crate) fn new(data: &Path, server: Option<&str>, token: Option<Secret>) -> Self {
        match server {
            Some(url) => Self::Remote { url: url.trim_end_matches('/').to_owned(), token },
            None => Self::Socket(data.join("run/admin.sock")),
        }
    }

    /// Sends the request, once more where the repository in it has another name now; an answer that is a failure is its
    /// [`Problem`].
    pub(crate) async fn send(&self, request: &Request) -> Result<Answer, Problem> {
        let mut answer = self.send_to(request, &format!("{BASE}{}", request.path)).await?;
        if let Some(there) = answer.moved.take() {
            answer = self.send_to(request, &there).await?;
        }
        if answer.status.is_success() { Ok(answer) } else { Err(answer.problem().await) }
    }

    async fn send_to(&self, request: &Request, path: &str) -> Result<Answer, Problem> {
        let json = request.body.as_ref().map(Value::to_string).unwrap_or_default();
        let body = request.raw.clone().unwrap_or_else(|| Bytes::from(json));
        let mut http = HttpRequest::builder().method(request.method);
        if request.body.is_some() {
            http = http.header("content-type", "application/json");
        }
        Ok(match self {
            Self::Socket(socket) => {
                let stream = UnixStream::connect(socket).await.map_err(|e| no_server(socket, &e))?;
                let http = http.uri(path).header("host", "slipway").body(Full::new(body));
                exchange(stream, http.map_err(broken)?).await?
            }
            Self::Remote { url, token } => {
                let Some(address) = url.strip_prefix("http://") else {
                    return Err(Problem::new(
                        ProblemKind::Invalid,
                        format!("The server address {url:?} does not start with http://."),
                        "Give http://HOST:PORT; for TLS, reach the server through a tunnel or its SSH commands.",
                    ));
                };
                let address = address.split('/').next().unwrap_or(address);
                let target = if address.contains(':') { address.to_owned() } else { format!("{address}:80") };
                let stream = TcpStream::connect(&target).await.map_err(|e| {
                    let what = format!("The server {url} does not answer: {e}.");
                    Problem::new(
                        ProblemKind::Unavailable,
                        what,
                        "Check the address, and that the server runs.",
                    )
                })?;
                if let Some(token) = token {
                    http = http.header("authorization", format!("Bearer {}", token.expose()));
                }
                let http = http.uri(path).header("host", address).body(Full::new(body));
                exchange(stream, http.map_err(broken)?).await?
            }
            Self::InProcess { router, caller } => {
                let http = http.uri(path).extension(caller.clone()).body(axum::body::Body::from(body));
                let answer = router.clone().oneshot(http.map_err(broken)?).await.map_err(broken)?;
                let moved = moved(answer.status(), answer.headers());
                Answer { status: answer.status(), moved, body: AnswerBody::Axum(answer.into_body()) }
            }
        })
    }
}

/// Where an answer sends its reader, within the API of the same server.
fn moved(status: StatusCode, headers: &http::HeaderMap) -> Option<String> {
    let to = headers.get(http::header::LOCATION)?.to_str().ok()?;
    (status.is_redirection() && to.starts_with(BASE)).then(|| to.to_owned())
}

async fn exchange<S>(stream: S, request: HttpRequest<Full<Bytes>>) -> Result<Answer, Problem>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(cut)?;
    // Ends with the last answer; an error there reaches the answer's reader too.
    tokio::spawn(async move { drop(connection.await) });
    let answer = sender.send_request(request).await.map_err(cut)?;
    let moved = moved(answer.status(), answer.headers());
    Ok(Answer { status: answer.status(), moved, body: AnswerBody::Hyper(answer.into_body()) })
}

impl Answer {
    /// The next piece of the body; `None` at its end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Problem> {
        loop {
            let frame = match &mut self.body {
                AnswerBody::Hyper(body) => body.frame().await.map(|f| f.map_err(cut)),
                AnswerBody::Axum(body) => body.frame().await.map(|f| f.map_err(broken)),
            };
            match frame {
                None => return Ok(None),
                Some(frame) => {
                    if let Ok(data) = frame?.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    /// The whole body as JSON; `Null` if there is none.
    pub(crate) async fn json(mut self) -> Result<Value, Problem> {
        let mut all = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            if all.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(Problem::new(
                    ProblemKind::TooLarge,
                    format!("The server's answer is larger than {ANSWER_BYTES_MAX} bytes."),
                    "Ask for less at once.",
                ));
            }
            all.extend_from_slice(&chunk);
        }
        if all.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&all).map_err(broken)
    }

    async fn problem(self) -> Problem {
        let status = self.status;
        let answer = self.json().await.unwrap_or_default();
        serde_json::from_value(answer["error"].clone()).unwrap_or_else(|_| {
            Problem::new(
                ProblemKind::Broken,
                format!("The server answered {status}."),
                "Check that this is the address of a Slipway server, of the same version.",
            )
        })
    }
}

fn no_server(socket: &Path, error: &std::io::Error) -> Problem {
    if error.kind() == std::io::ErrorKind::PermissionDenied {
        return Problem::new(
            ProblemKind::Denied,
            format!("The data folder of {} is another user's: {error}.", socket.display()),
            "Run the command as the user that the server runs as, or over the network: --server URL with SLIPWAY_TOKEN, or by SSH.",
        );
    }
    Problem::new(
        ProblemKind::Unavailable,
        format!("No server answers at {}: {error}.", socket.display()),
        "Start it with slipway serve, or name its data folder with --data.",
    )
}

fn cut(error: hyper::Error) -> Problem {
    Problem::new(
        ProblemKind::Unavailable,
        format!("The connection to the server broke: {error}."),
        "Check that the server runs, and try again.",
    )
}

fn broken(error: impl std::fmt::Display) -> Problem {
    Problem::new(
        ProblemKind::Broken,
        format!("The server's answer does not fit: {error}."),
        "Check that server and command are of the same version.",
    )
}
