//! Connections of our own to the engine: a socket, plain TCP, TLS with the certificates that Docker's clients use, or SSH.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, ToSocketAddrs, UnixStream};
use tokio_rustls::TlsConnector;

use super::Engine;
use super::address::{Address, Refusal};
use crate::error::{HookError, one_line};
use crate::limits::{ENGINE_CALL, ENGINE_DIAL, ENGINE_WORDS_BYTES_MAX};

/// Both directions of a connection.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

impl Engine {
    /// Connects.
    ///
    /// # Errors
    /// [`HookError::EngineDown`].
    pub(crate) async fn dial(&self) -> Result<Box<dyn Duplex>, HookError> {
        self.address.dial().await.map_err(|refusal| self.refused(refusal))
    }
}

impl Address {
    /// Connects, within its bound of time.
    ///
    /// # Errors
    /// Why not.
    pub(crate) async fn dial(&self) -> Result<Box<dyn Duplex>, Refusal> {
        let late = |_| Refusal::plain(format!("no connection within {} s", ENGINE_DIAL.as_secs()));
        tokio::time::timeout(ENGINE_DIAL, self.connect()).await.map_err(late)?
    }

    async fn connect(&self) -> Result<Box<dyn Duplex>, Refusal> {
        let down = |e: std::io::Error| Refusal::read(&e, self);
        match self {
            Self::Socket(path) => Ok(Box::new(UnixStream::connect(path).await.map_err(down)?)),
            Self::Plain(at) => Ok(Box::new(tcp(at).await.map_err(down)?)),
            Self::Tls { at, certs } => {
                let (host, _) = at.rsplit_once(':').unwrap_or((at, ""));
                let name = host.trim_start_matches('[').trim_end_matches(']').to_owned();
                let name = ServerName::try_from(name).map_err(|e| Refusal::plain(e.to_string()))?;
                let certs = certs.clone();
                let config = tokio::task::spawn_blocking(move || tls(certs.as_deref())).await;
                let config = config.map_err(|e| Refusal::plain(e.to_string()))?.map_err(Refusal::plain)?;
                let stream = tcp(at).await.map_err(down)?;
                let secured = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
                Ok(Box::new(secured.map_err(down)?))
            }
            Self::Ssh(at) => at.dial().await,
        }
    }
}

pub(crate) async fn tcp(at: impl ToSocketAddrs) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(at).await?;
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

impl Engine {
    /// A request without a body that bollard has no call for: the status and the words of the answer.
    ///
    /// # Errors
    /// Where there is no answer.
    pub(crate) async fn post(&self, during: &'static str, path: &str) -> Result<(u16, String), HookError> {
        let lost = |why: String| self.lost(during, &one_line(&why));
        let answer = async {
            let io = TokioIo::new(self.dial().await?);
            let (mut send, connection) =
                hyper::client::conn::http1::handshake(io).await.map_err(|e| lost(e.to_string()))?;
            let serving = tokio::spawn(connection);
            let request = http::Request::post(path).header("Host", "engine").body(Empty::<Bytes>::new());
            let request = request.map_err(|e| lost(e.to_string()))?;
            let answer = send.send_request(request).await.map_err(|e| lost(e.to_string()))?;
            let status = answer.status().as_u16();
            let body = Limited::new(answer.into_body(), ENGINE_WORDS_BYTES_MAX).collect().await;
            serving.abort();
            let words = body.map(|body| String::from_utf8_lossy(&body.to_bytes()).into_owned());
            Ok((status, words.unwrap_or_default()))
        };
        let late = |_| lost("no answer within 60 s".to_owned());
        tokio::time::timeout(ENGINE_CALL, answer).await.map_err(late)?
    }
}

/// Where the certificates are: the folder that is named, or where Docker's clients look.
pub(crate) fn folder(certs: Option<&Path>) -> Option<PathBuf> {
    if let Some(certs) = certs {
        return Some(certs.to_owned());
    }
    let named = ["DOCKER_CERT_PATH", "DOCKER_CONFIG"].into_iter().find_map(std::env::var_os);
    named.map(PathBuf::from).or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".docker")))
}

/// The engine's certificate is checked against `ca.pem` and the machine's own; ours is shown where there is one. Blocking.
fn tls(certs: Option<&Path>) -> Result<ClientConfig, String> {
    let folder = folder(certs).ok_or("there is no home folder, and DOCKER_CERT_PATH is not set")?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let authority = folder.join("ca.pem");
    if authority.exists() {
        roots.add_parsable_certificates(certificates(&authority)?);
    }
    let config = ClientConfig::builder().with_root_certificates(roots);
    let (ours, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    if !(ours.exists() && key.exists()) {
        return Ok(config.with_no_client_auth());
    }
    let secret = PrivateKeyDer::from_pem_file(&key).map_err(|e| unreadable(&key, &e))?;
    config.with_client_auth_cert(certificates(&ours)?, secret).map_err(|e| e.to_string())
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let all = CertificateDer::pem_file_iter(path).map_err(|e| unreadable(path, &e))?;
    all.collect::<Result<_, _>>().map_err(|e| unreadable(path, &e))
}

fn unreadable(path: &Path, e: &dyn std::error::Error) -> String {
    one_line(&format!("{} cannot be read: {e}", path.display()))
}
