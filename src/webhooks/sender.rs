//! Sends one request to an address that may be reached, and reads the beginning of its answer.
//!
//! The name is resolved once, and the connection goes to an address that was judged: there is no second look-up that could
//! say something else. Redirects are not followed, proxies of the environment are not asked.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_rustls::{ConfigBuilderExt, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::rt::TokioIo;
use slipway_core::run::{Failure, FailureClass};
use slipway_core::{Problem, ProblemKind};
use slipway_forge::networks::Networks;
use slipway_forge::webhooks::out_of_bounds;
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tower::Service;

use super::message::Message;

/// How long the look-up of a name, and one connection, may take.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 4;
/// How much of an answer is read, in bytes.
const ANSWER_BYTES_MAX: usize = 8 << 10;

/// What an address answered.
pub(super) struct Answer {
    pub(super) status: u16,
    /// The beginning.
    pub(super) said: String,
}

/// Sends.
pub(super) struct Sender {
    networks: Arc<Networks>,
    /// How long all of it may take.
    timeout: Duration,
    /// Read at the first delivery over TLS: most servers send none.
    tls: OnceCell<rustls::ClientConfig>,
}

impl Sender {
    pub(super) fn new(networks: Arc<Networks>, timeout: Duration) -> Self {
        Self { networks, timeout, tls: OnceCell::new() }
    }

    /// Sends the message.
    ///
    /// # Errors
    /// Where it cannot be sent, or is not answered.
    pub(super) async fn send(&self, message: &Message) -> Result<Answer, Failure> {
        match tokio::time::timeout(self.timeout, self.exchange(message)).await {
            Ok(answer) => answer,
            Err(_) => {
                let what = format!("{} did not answer within {} s.", message.host, self.timeout.as_secs());
                Err(infra(ProblemKind::TimedOut, what))
            }
        }
    }

    async fn exchange(&self, message: &Message) -> Result<Answer, Failure> {
        let addresses = self.addresses(message).await?;
        let stream = self.connect(message, &addresses).await?;
        let unanswered = |error: hyper::Error| {
            infra(ProblemKind::Unavailable, format!("{} broke off: {error}.", message.host))
        };
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(stream).await.map_err(unanswered)?;
        // Ends with the exchange: the sender is dropped with it.
        let driver = tokio::spawn(connection);
        let answer = async {
            let response = sender.send_request(request(message)?).await.map_err(unanswered)?;
            let status = response.status().as_u16();
            Ok(Answer { status, said: beginning(response.into_body()).await })
        };
        let answer = answer.await;
        driver.abort();
        answer
    }

    /// The addresses of the message's host that may be reached.
    async fn addresses(&self, message: &Message) -> Result<Vec<SocketAddr>, Failure> {
        let host = message.host.trim_start_matches('[').trim_end_matches(']');
        let port = message.uri.port_u16().unwrap_or(if is_tls(&message.uri) { 443 } else { 80 });
        let found: Vec<SocketAddr> = match host.parse::<IpAddr>() {
            Ok(address) => vec![SocketAddr::new(address, port)],
            Err(_) => {
                let looked_up = tokio::time::timeout(CONNECT_MAX, tokio::net::lookup_host((host, port)));
                match looked_up.await {
                    Ok(Ok(found)) => found.collect(),
                    Ok(Err(error)) => {
                        let what = format!("The name {host} cannot be looked up: {error}.");
                        return Err(infra(ProblemKind::Unavailable, what));
                    }
                    Err(_) => {
                        let what = format!("The name {host} cannot be looked up in time.");
                        return Err(infra(ProblemKind::TimedOut, what));
                    }
                }
            }
        };
        let reached: Vec<SocketAddr> =
            found.into_iter().filter(|a| self.networks.reach(a.ip())).take(ADDRESSES_MAX).collect();
        if reached.is_empty() {
            return Err(Failure { class: FailureClass::Policy, problem: out_of_bounds(host) });
        }
        Ok(reached)
    }

    async fn connect(
        &self,
        message: &Message,
        addresses: &[SocketAddr],
    ) -> Result<MaybeHttpsStream<TokioIo<TcpStream>>, Failure> {
        let tls =
            if is_tls(&message.uri) { self.tls.get_or_try_init(roots).await?.clone() } else { no_tls() };
        let mut last = String::new();
        for address in addresses.iter().copied() {
            let tcp = tower::service_fn(move |_: Uri| async move {
                TcpStream::connect(address).await.map(TokioIo::new)
            });
            let mut connector = HttpsConnectorBuilder::new()
                .with_tls_config(tls.clone())
                .https_or_http()
                .enable_http1()
                .wrap_connector(tcp);
            match tokio::time::timeout(CONNECT_MAX, connector.call(message.uri.clone())).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => last = error.to_string(),
                Err(_) => last = format!("no connection within {} s", CONNECT_MAX.as_secs()),
            }
        }
        Err(infra(ProblemKind::Unavailable, format!("{} does not answer: {last}.", message.host)))
    }
}

fn is_tls(uri: &Uri) -> bool {
    uri.scheme_str() == Some("https")
}

/// The system's certificate authorities.
async fn roots() -> Result<rustls::ClientConfig, Failure> {
    let read = crate::supervisor::blocking(|| {
        let config = rustls::ClientConfig::builder().with_native_roots().map_err(|e| {
            Problem::new(
                ProblemKind::Broken,
                format!("The system's certificate authorities cannot be read: {e}."),
                "Install them on the server (on Debian: apt install ca-certificates).",
            )
        })?;
        Ok(config.with_no_client_auth())
    });
    read.await.map_err(|problem| Failure { class: FailureClass::Infra, problem })
}

/// A connector without TLS still wants a configuration; this one trusts nobody.
fn no_tls() -> rustls::ClientConfig {
    rustls::ClientConfig::builder()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth()
}

fn request(message: &Message) -> Result<Request<Full<Bytes>>, Failure> {
    let target = message.uri.path_and_query().map_or("/", |p| p.as_str());
    let authority = message.uri.authority().map(ToString::to_string).unwrap_or_default();
    let mut request = Request::builder()
        .method(message.method)
        .uri(target)
        .header("host", authority)
        .header("user-agent", concat!("Slipway/", env!("CARGO_PKG_VERSION")))
        .header("accept", "*/*")
        .header("connection", "close");
    for (name, value) in &message.headers {
        request = request.header(*name, value);
    }
    request.body(Full::new(Bytes::from(message.body.clone()))).map_err(|error| {
        let problem = Problem::new(
            ProblemKind::Invalid,
            format!("The request to {} cannot be made: {error}.", message.host),
            "Remove the webhook and add it again.",
        );
        Failure { class: FailureClass::User, problem }
    })
}

/// The beginning of an answer, as text. A body that breaks off, or never ends, is as good as its beginning.
async fn beginning(mut body: Incoming) -> String {
    let mut read = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        if let Ok(data) = frame.into_data() {
            read.extend_from_slice(&data);
        }
        if read.len() >= ANSWER_BYTES_MAX {
            break;
        }
    }
    read.truncate(ANSWER_BYTES_MAX);
    let text = String::from_utf8_lossy(&read);
    text.chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect()
}

/// The server is being stopped.
pub(super) fn stopped() -> Failure {
    infra(ProblemKind::Cancelled, "The delivery was stopped.".to_owned())
}

fn infra(kind: ProblemKind, what: String) -> Failure {
    Failure { class: FailureClass::Infra, problem: Problem::new(kind, what, "It is tried again.") }
}
