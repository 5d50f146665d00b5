//! The Docker Engine through bollard: where it is, whether it answers, and what its errors mean.
//!
//! bollard's types end here and in the modules below; the stages see ids, lines and [`HookError`]s. Connecting is lazy:
//! a server starts without an engine and finds it later.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};

use bollard::Docker;
use bollard::errors::Error as DockerError;
use slipway_core::limits::Limits;
use tokio::time::Instant;

use crate::error::{HookError, one_line};
use crate::limits::{ENGINE_CALL, ENGINE_HEADERS, ENGINE_PING};

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

const DEFAULT_HOST: &str = "unix:///var/run/docker.sock";

/// A Docker Engine.
#[derive(Debug)]
pub struct Engine {
    host: String,
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
    /// Takes an address: `unix://…`, `tcp://…` or `https://…`; `None` is `DOCKER_HOST`, or else the usual socket.
    /// Does not connect yet.
    ///
    /// # Errors
    /// [`HookError::EngineDown`] where the address is of another kind.
    pub fn connect(host: Option<&str>) -> Result<Self, HookError> {
        let host = host
            .map(str::to_owned)
            .or_else(|| std::env::var("DOCKER_HOST").ok())
            .filter(|h| !h.is_empty())
            .unwrap_or_else(|| DEFAULT_HOST.to_owned());
        Self::check_address(&host).map_err(|why| HookError::EngineDown { address: host.clone(), why })?;
        Ok(Self {
            host,
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
        let schemes = ["unix://", "tcp://", "http://", "https://"];
        let Some(rest) = schemes.iter().find_map(|scheme| address.strip_prefix(scheme)) else {
            return Err(format!("{address:?} does not begin with unix://, tcp:// or https://"));
        };
        if address.starts_with("unix://") {
            return if rest.starts_with('/') {
                Ok(())
            } else {
                Err(format!("{address:?} names no absolute path"))
            };
        }
        match rest.trim_end_matches('/').parse::<http::uri::Authority>() {
            Ok(authority) if !authority.host().is_empty() => Ok(()),
            _ => Err(format!("{address:?} names no host, such as tcp://10.0.0.5:2375")),
        }
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
        if let Some(path) = self.socket()
            && let Err(e) = std::fs::metadata(path)
        {
            return Err(self.down(&e.to_string()));
        }
        let docker =
            Docker::connect_with_host(&self.host).map_err(|e| self.down(&one_line(&e.to_string())))?;
        // bollard's limit covers everything up to the headers, and with them the upload of a whole context.
        Ok(self.docker.get_or_init(|| docker.with_timeout(ENGINE_HEADERS)))
    }

    /// The socket's path, if it is one.
    pub(crate) fn socket(&self) -> Option<&Path> {
        self.host.strip_prefix("unix://").map(Path::new)
    }

    /// `HOST:PORT`, if it is not a socket.
    pub(crate) fn host_and_port(&self) -> &str {
        self.host.split_once("://").map_or("", |(_, rest)| rest).trim_end_matches('/')
    }

    /// `HOST:PORT`, if it is plain TCP.
    pub(crate) fn plain_tcp(&self) -> Option<&str> {
        let verified = std::env::var_os("DOCKER_TLS_VERIFY").is_some();
        let plain = !verified && ["tcp://", "http://"].iter().any(|scheme| self.host.starts_with(scheme));
        plain.then(|| self.host_and_port())
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
        HookError::EngineDown { address: self.host.clone(), why: why.to_owned() }
    }

    pub(crate) fn lost(&self, during: &'static str, why: &str) -> HookError {
        HookError::EngineLost { address: self.host.clone(), during, why: why.to_owned() }
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
            DockerError::DockerResponseServerError { status_code, message } => {
                self.lost(during, &format!("status {status_code}, {}", one_line(&message)))
            }
            DockerError::HyperLegacyError { err } if err.is_connect() => self.down(&deepest(&err)),
            DockerError::SocketNotFoundError(path) => self.down(&format!("there is no socket {path}")),
            DockerError::HyperLegacyError { err } => self.lost(during, &deepest(&err)),
            DockerError::HyperResponseError { err } => self.lost(during, &deepest(&err)),
            DockerError::RequestTimeoutError => self.lost(during, "it did not answer in time"),
            other => self.lost(during, &one_line(&other.to_string())),
        }
    }
}

/// The words of the innermost error: "connection refused" rather than "client error".
fn deepest(e: &dyn std::error::Error) -> String {
    let mut inner = e;
    while let Some(source) = inner.source() {
        inner = source;
    }
    one_line(&inner.to_string())
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
