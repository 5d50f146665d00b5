//! TLS of the HTTP listener: one certificate with its key, read from files, and read again when they change. Connections
//! under way keep what they began with; a pair that cannot be used changes nothing.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use slipway_core::{Problem, ProblemKind};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::validity;

/// How long a client may take for the handshake.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How often the log is told of a certificate that ends soon, or has.
const TELL_EVERY: Duration = Duration::from_secs(24 * 3600);
/// Seconds before its end from which a certificate is told of.
const END_IS_NEAR_S: i64 = 14 * 24 * 3600;
/// Largest file of certificates, or of a key, in bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// The files of a certificate and its key.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    /// The certificate, and behind it those that lead to an authority that clients know; PEM.
    pub(crate) cert: PathBuf,
    /// Its private key; PEM.
    pub(crate) key: PathBuf,
}

/// What tells one state of a file from another.
type State = [Option<(u64, u64, i64, i64)>; 2];

impl Files {
    fn state(&self) -> State {
        [&self.cert, &self.key].map(|path| {
            let of = fs::metadata(path).ok()?;
            Some((of.ino(), of.len(), of.mtime(), of.mtime_nsec()))
        })
    }

    fn read(&self) -> Result<Arc<CertifiedKey>, Problem> {
        let certs = CertificateDer::pem_slice_iter(&contents("tls.cert", &self.cert)?)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|e| unusable("tls.cert", &self.cert, &e.to_string()))?;
        if certs.is_empty() {
            return Err(unusable("tls.cert", &self.cert, "there is no certificate in it"));
        }
        let key = PrivateKeyDer::from_pem_slice(&contents("tls.key", &self.key)?)
            .map_err(|_| unusable("tls.key", &self.key, "there is no private key in it"))?;
        let provider = CryptoProvider::get_default()
            .ok_or_else(|| Problem::new(ProblemKind::Broken, "There is no TLS provider.", "Report this."))?;
        let pair = CertifiedKey::from_der(certs, key, provider).map_err(|e| match e {
            rustls::Error::InconsistentKeys(_) => {
                unusable("tls.key", &self.key, "it is not the key of the certificate in tls.cert")
            }
            other => unusable("tls.cert", &self.cert, &other.to_string()),
        })?;
        self.tell_of_access();
        Ok(Arc::new(pair))
    }

    /// Reads them as a start would, and says until when the certificate is good.
    ///
    /// # Errors
    /// What cannot be used, or not for long.
    pub(crate) fn check(&self) -> Result<String, Problem> {
        let pair = self.read()?;
        let Some(age) = Age::of(&pair) else { return Ok("the certificate fits its key".to_owned()) };
        match age.trouble() {
            None => Ok(format!("the certificate fits its key, and is good for {} days", age.days())),
            Some(what) => Err(Problem::new(
                ProblemKind::Invalid,
                format!("The TLS certificate {what}."),
                "Put a new one into tls.cert and tls.key: they are read again without a restart. If the machine's clock is wrong, \
                 set it.",
            )),
        }
    }

    /// A key that others may read is told of, and used: a file that a cluster mounts cannot always be otherwise.
    fn tell_of_access(&self) {
        let mode = fs::metadata(&self.key).map_or(0, |of| of.permissions().mode() & 0o777);
        if mode & 0o077 != 0 {
            let (file, mode) = (self.key.display(), format!("{mode:o}"));
            tracing::warn!(%file, mode, "tls.key may be read by others: run chmod 600 on it");
        }
    }
}

fn contents(what: &str, path: &Path) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::new();
    let read = fs::File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes));
    match read {
        Err(e) => Err(unusable(what, path, &e.to_string())),
        Ok(length) if length as u64 > FILE_BYTES_MAX => Err(unusable(what, path, "it is larger than 1 MiB")),
        Ok(_) => Ok(bytes),
    }
}

fn unusable(what: &str, path: &Path, why: &str) -> Problem {
    Problem::new(
        ProblemKind::Invalid,
        format!("{what}, {}, cannot be used: {why}.", path.display()),
        "Name PEM files: in tls.cert the certificate first and then those that sign it, in tls.key its private key.",
    )
}

/// What is shown to clients now.
#[derive(Debug)]
struct Pair(RwLock<Arc<CertifiedKey>>);

impl Pair {
    fn now(&self) -> Arc<CertifiedKey> {
        // Only ever replaced as a whole.
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ResolvesServerCert for Pair {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.now())
    }
}

/// Makes TLS of TCP.
#[derive(Clone)]
pub(crate) struct Tls {
    files: Files,
    state: State,
    pair: Arc<Pair>,
    acceptor: TlsAcceptor,
}

impl Tls {
    /// Reads the files. Blocking.
    ///
    /// # Errors
    /// `Invalid` where they hold no certificate and its key.
    pub(crate) fn load(files: Files) -> Result<Self, Problem> {
        let state = files.state();
        let pair = Arc::new(Pair(RwLock::new(files.read()?)));
        let resolver: Arc<dyn ResolvesServerCert> = pair.clone();
        let mut config = ServerConfig::builder().with_no_client_auth().with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { files, state, pair, acceptor: TlsAcceptor::from(Arc::new(config)) })
    }

    /// The handshake with a client, which has little time for it.
    ///
    /// # Errors
    /// What the client did wrong.
    pub(crate) async fn accept<S>(&self, stream: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let late = |_| io::Error::new(io::ErrorKind::TimedOut, "the handshake took too long");
        tokio::time::timeout(HANDSHAKE_MAX, self.acceptor.accept(stream)).await.map_err(late)?
    }

    /// Reads the files again whenever they have changed, until `stop`. One that is being written is waited for: it has to
    /// look the same twice.
    pub(crate) async fn keep_current(self, stop: CancellationToken) {
        let (mut used, mut last) = (self.state, self.state);
        let mut tell = tokio::time::interval(TELL_EVERY);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tell.tick() => self.tell_of_age(),
                () = tokio::time::sleep(LOOK_EVERY) => {
                    let files = self.files.clone();
                    let Ok(now) = tokio::task::spawn_blocking(move || files.state()).await else { continue };
                    if now != used && now == last {
                        used = now;
                        let tls = self.clone();
                        drop(tokio::task::spawn_blocking(move || tls.renew()).await);
                        self.tell_of_age();
                    }
                    last = now;
                }
            }
        }
    }

    fn renew(&self) {
        match self.files.read() {
            Ok(pair) => {
                *self.pair.0.write().unwrap_or_else(PoisonError::into_inner) = pair;
                tracing::info!("the TLS certificate was read again");
            }
            Err(problem) => tracing::error!(%problem, "the TLS certificate stays the one before"),
        }
    }

    fn tell_of_age(&self) {
        let Some(age) = Age::of(&self.pair.now()) else { return };
        match age.trouble() {
            None => {}
            Some(what) if age.is_good() => {
                tracing::warn!(
                    days = age.days(),
                    "the TLS certificate {what}: put a new one into tls.cert and tls.key"
                );
            }
            Some(what) => tracing::error!("the TLS certificate {what}: look at tls.cert, and at the clock"),
        }
    }
}

/// When a certificate is good, in seconds since 1970, and what time it is.
struct Age {
    from: i64,
    until: i64,
    now: i64,
}

impl Age {
    /// `None` where it cannot be told.
    fn of(pair: &CertifiedKey) -> Option<Self> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |t| t.as_secs() as i64);
        let (from, until) = pair.cert.first().and_then(|cert| validity::read(cert))?;
        Some(Self { from, until, now })
    }

    fn days(&self) -> i64 {
        (self.until - self.now) / (24 * 3600)
    }

    fn is_good(&self) -> bool {
        (self.from..self.until).contains(&self.now)
    }

    /// Whatever clients, or those who look after it, should know.
    fn trouble(&self) -> Option<String> {
        match () {
            () if self.now >= self.until => Some("has expired".to_owned()),
            () if self.now < self.from => Some("is not valid yet".to_owned()),
            () if self.until - self.now < END_IS_NEAR_S => {
                Some(format!("expires soon, in {} days", self.days()))
            }
            () => None,
        }
    }
}
