//! The Docker Engine through bollard: where it is, whether it answers, and what its errors mean.
//!
//! bollard's types end here and in the modules below; the stages see ids, lines and [`HookError`]s. Connecting is lazy:
//! a server starts without an engine and finds it later.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock};

use bollard::Docker;
use bollard::errors::Error as DockerError;
use slipway_core::limits::Limits;
use tokio::time::Instant;

use self::address::{Address, Reach, Refusal};
use crate::error::{HookError, one_line};
use crate::limits::{ENGINE_CALL, ENGINE_HEADERS, ENGINE_PING};

pub(crate) mod address;
pub(crate) mod agent;
pub(crate) mod build;
pub(crate) mod connection;
pub(crate) mod container;
pub(crate) mod failure;
pub(crate) mod filesync;
pub(crate) mod harvest;
mod heard;
pub(crate) mod image;
pub(crate) mod network;
pub(crate) mod progress;
pub(crate) mod service;
pub(crate) mod session;
pub(crate) mod source;
pub(crate) mod ssh;
pub(crate) mod transport;

/// Label of containers with `REPO#N` of the build that they belong to. Labels are for people, and prove nothing: what is
/// ours is known by its name (`crate::mark`).
pub(crate) const LABEL_BUILD: &str = "slipway.build";
/// Label of containers with the installation that made them: several may share an engine.
pub(crate) const LABEL_SERVER: &str = "slipway.server";
/// Label of images with the installation and the repository that they are made by. It keeps an image of ours from being
/// byte for byte, and thus by its id, one that somebody else has.
pub(crate) const LABEL_ORIGIN: &str = "slipway.origin";

/// Labels of one thing.
pub(crate) type Labels = std::collections::HashMap<String, String>;

/// What Go's servers answer to whom speaks no TLS to them, with status 400.
const SPEAKS_TLS: &str = "HTTP request to an HTTPS server";

/// A Docker Engine.
#[derive(Debug)]
pub struct Engine {
    host: String,
    address: Arc<Address>,
    docker: OnceLock<Docker>,
    /// Its processors, once it has told.
    processors: OnceLock<f64>,
    pub(crate) limits: Arc<Limits>,
    /// Base images that registries did not give, and when.
    not_pulled: Mutex<HashMap<Vec<String>, Instant>>,
}

/// What an engine says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineVersion {
    /// Version, such as `20.10.24`.
    pub version: String,
    /// Newest API that it speaks, such as `1.41`.
    pub api: String,
    /// Operating system and architecture, such as `linux/amd64`.
    pub platform: String,
    /// Whether builds go through BuildKit; otherwise through the classic builder, or Podman's own.
    pub buildkit: bool,
    /// Whether it is Podman, which answers as if it were a Docker Engine.
    pub podman: bool,
}

impl fmt::Display for EngineVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, builder) = match (self.podman, self.buildkit) {
            (true, _) => (
                "Podman",
                "Buildah: the whole context is sent each time, and a build that is cancelled may go on for a while",
            ),
            (false, true) => ("Docker Engine", "BuildKit"),
            (false, false) => (
                "Docker Engine",
                "the classic builder: no RUN --mount, no COPY --link, and the whole context is sent each time",
            ),
        };
        write!(f, "{name} {} (API {}, {}), builds with {builder}", self.version, self.api, self.platform)
    }
}

impl Engine {
    /// Takes an address: `unix://…`, `tcp://…`, `https://…` or `ssh://…`; `None` is `DOCKER_HOST`, or else the usual socket.
    /// Does not connect yet.
    ///
    /// # Errors
    /// [`HookError::EngineDown`] where the address is of another kind.
    pub fn connect(host: Option<&str>) -> Result<Self, HookError> {
        Self::at(&Reach { host: host.map(str::to_owned), ..Reach::default() })
    }

    /// Like [`Engine::connect`], with what the operator says of certificates and keys.
    ///
    /// # Errors
    /// [`HookError::EngineDown`] where the address cannot be one.
    pub fn at(reach: &Reach) -> Result<Self, HookError> {
        let (host, address) = reach.read().map_err(|(address, why)| {
            let cure = Some("Correct docker_host in config.toml, or DOCKER_HOST.".to_owned());
            HookError::EngineDown { address, why, cure }
        })?;
        Ok(Self {
            host,
            address: Arc::new(address),
            docker: OnceLock::new(),
            processors: OnceLock::new(),
            limits: Arc::default(),
            not_pulled: Mutex::default(),
        })
    }

    /// Asks whether that is an address of an engine.
    ///
    /// # Errors
    /// A clause on what is wrong with it.
    pub fn check_address(address: &str) -> Result<(), String> {
        let reach = Reach { host: Some(address.to_owned()), ..Reach::default() };
        reach.read().map(drop).map_err(|(_, why)| why)
    }

    /// What builds and registries may cost; without, what is usual.
    #[must_use]
    pub fn with_limits(self, limits: Arc<Limits>) -> Self {
        Self { limits, ..self }
    }

    /// The address.
    pub fn address(&self) -> &str {
        &self.host
    }

    /// Asks the engine who it is.
    ///
    /// # Errors
    /// [`HookError::EngineDown`] where it does not answer within seconds.
    pub async fn version(&self) -> Result<EngineVersion, HookError> {
        let docker = self.docker()?;
        let asked = tokio::time::timeout(ENGINE_PING, docker.version()).await;
        let said = asked.map_err(|_| self.down("no answer within 5 s"))?.map_err(|e| {
            match self.failure("the greeting", e) {
                HookError::EngineLost { why, .. } => self.down(&why),
                other => other,
            }
        })?;
        let podman = said.components.iter().flatten().any(|c| c.name.contains("Podman"));
        let api = said.api_version.unwrap_or_default();
        let os = said.os.unwrap_or_default();
        let buildkit = !podman && os == "linux" && api_at_least(&api, (1, 39));
        let platform = format!("{os}/{}", said.arch.unwrap_or_default());
        Ok(EngineVersion { version: said.version.unwrap_or_default(), api, platform, buildkit, podman })
    }

    /// How many processors its machine has: no container can have more. Asked once.
    pub(crate) async fn processors(&self) -> Result<f64, HookError> {
        if let Some(known) = self.processors.get() {
            return Ok(*known);
        }
        let info = self.must("asking for its processors", self.docker()?.info()).await?;
        let told = info.ncpu.filter(|n| *n > 0).map_or(f64::INFINITY, |n| n as f64);
        Ok(*self.processors.get_or_init(|| told))
    }

    /// The connection.
    pub(crate) fn docker(&self) -> Result<&Docker, HookError> {
        if let Some(docker) = self.docker.get() {
            return Ok(docker);
        }
        let docker = match &*self.address {
            Address::Socket(path) => {
                std::fs::metadata(path).map_err(|e| self.down(&e.to_string()))?;
                Docker::connect_with_host(&self.host)
            }
            Address::Plain(_) => Docker::connect_with_host(&self.host),
            Address::Tls { .. } | Address::Ssh(_) => transport::client(self.address.clone()),
        };
        let docker = docker.map_err(|e| self.down(&one_line(&e.to_string())))?;
        // bollard's limit covers everything up to the headers, and with them the upload of a whole context.
        Ok(self.docker.get_or_init(|| docker.with_timeout(ENGINE_HEADERS)))
    }

    /// A short call, with its time limit. The caller reads the engine's own errors.
    pub(crate) async fn call<T>(
        &self,
        during: &'static str,
        call: impl Future<Output = Result<T, DockerError>>,
    ) -> Result<Result<T, DockerError>, HookError> {
        tokio::time::timeout(ENGINE_CALL, call).await.map_err(|_| self.lost(during, "no answer within 60 s"))
    }

    /// A short call whose every error is a failure.
    pub(crate) async fn must<T>(
        &self,
        during: &'static str,
        call: impl Future<Output = Result<T, DockerError>>,
    ) -> Result<T, HookError> {
        self.call(during, call).await?.map_err(|e| self.failure(during, e))
    }

    pub(crate) fn down(&self, why: &str) -> HookError {
        self.refused(Refusal::plain(why))
    }

    pub(crate) fn refused(&self, refusal: Refusal) -> HookError {
        HookError::EngineDown { address: self.host.clone(), why: refusal.why, cure: refusal.cure }
    }

    pub(crate) fn lost(&self, during: &'static str, why: &str) -> HookError {
        HookError::EngineLost { address: self.host.clone(), during, why: why.to_owned() }
    }

    fn with_tls(&self) -> String {
        let at = self.host.split_once("://").map_or("", |(_, at)| at);
        format!("Write https://{at} in docker_host, with the folder of the certificates in DOCKER_CERT_PATH.")
    }

    /// What a bollard error means, where nothing more is known about the call.
    pub(crate) fn failure(&self, during: &'static str, e: DockerError) -> HookError {
        match e {
            DockerError::DockerResponseServerError { message, .. }
            | DockerError::DockerStreamError { error: message }
                if failure::is_disk_full(&message) =>
            {
                HookError::DiskFull { message: one_line(&message) }
            }
            DockerError::DockerResponseServerError { message, .. } if message.contains(SPEAKS_TLS) => {
                self.refused(Refusal::new("it speaks TLS there", self.with_tls()))
            }
            DockerError::DockerResponseServerError { status_code, message } => {
                self.lost(during, &format!("status {status_code}, {}", one_line(&message)))
            }
            DockerError::SocketNotFoundError(path) => self.down(&format!("there is no socket {path}")),
            DockerError::HyperLegacyError { err } => match Refusal::read(&err, &self.address) {
                refusal if err.is_connect() || refusal.cure.is_some() => self.refused(refusal),
                refusal => self.lost(during, &refusal.why),
            },
            DockerError::HyperResponseError { err } => match Refusal::read(&err, &self.address) {
                refusal if refusal.cure.is_some() => self.refused(refusal),
                refusal => self.lost(during, &refusal.why),
            },
            DockerError::RequestTimeoutError => self.lost(during, "it did not answer in time"),
            other => self.lost(during, &one_line(&other.to_string())),
        }
    }
}

pub(crate) fn api_at_least(api: &str, wanted: (u32, u32)) -> bool {
    let mut numbers = api.split('.').map(|n| n.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= wanted
}

/// A word that was not used before: unlike others, not secret.
pub(crate) fn unlike_others() -> String {
    use std::hash::{BuildHasher, RandomState};
    // RandomState is seeded by the operating system.
    let half = || RandomState::new().hash_one(std::time::SystemTime::now());
    format!("{:016x}{:016x}", half(), half())
}

/// True for the status that says that a thing is not there.
pub(crate) fn is_missing(e: &DockerError) -> bool {
    matches!(e, DockerError::DockerResponseServerError { status_code: 404, .. })
}

/// True for the decoder's complaint about line ends after a complete answer (bollard 0.21, issue 560).
pub(crate) fn is_leftover(e: &DockerError) -> bool {
    matches!(e, DockerError::IOError { err } if err.to_string().contains("bytes remaining on stream"))
}
