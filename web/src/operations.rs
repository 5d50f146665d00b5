//! The port to everything that pages show but do not do: builds, deploys, logs, checks, and repositories on disk.
//!
//! The root implements it. Whoever calls has been authorised before; implementations do not ask again.

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use serde::Serialize;
use slipway_core::build::Build;
use slipway_core::deploy::Deploy;
use slipway_core::target::RepoRecord;
use slipway_core::{
    Actor, BuildNumber, ClusterName, DeployNumber, ObjectFormat, Problem, RegistryName, RepoId, RepoName,
    Secret,
};
use slipway_repository::Maintained;

use crate::limits::LOG_CHUNK_BYTES;

/// What the root does for the pages and the API.
#[async_trait]
pub trait Operations: Send + Sync + 'static {
    /// Makes a repository, on disk and in the store, in an order that a crash cannot split.
    async fn create_repo(
        &self,
        actor: &Actor,
        format: ObjectFormat,
        name: &RepoName,
        description: &str,
        public: bool,
    ) -> Result<RepoRecord, Problem>;
    /// Gives a repository another name, on disk (objects, logs) and in the store.
    async fn rename_repo(&self, repo: RepoId, new: &RepoName) -> Result<RepoRecord, Problem>;
    /// Removes a repository with everything that belongs to it.
    async fn remove_repo(&self, repo: RepoId) -> Result<(), Problem>;

    /// Maintains a repository now; with `full` everything is packed anew. Takes as long as it takes.
    async fn maintain(&self, repo: RepoId, full: bool) -> Result<Maintained, Problem>;

    /// Speaks to the registry; a sentence on what it answered.
    async fn test_registry(&self, name: &RegistryName) -> Result<String, Problem>;
    /// Speaks to the cluster; a sentence on what it answered.
    async fn test_cluster(&self, name: &ClusterName) -> Result<String, Problem>;
    /// Reads a kubeconfig and returns the API address that `context` (or its current one) names.
    async fn describe_kubeconfig(
        &self,
        kubeconfig: &Secret,
        context: Option<&str>,
    ) -> Result<String, Problem>;

    /// Queues the same commit again under a new number.
    async fn retry_build(&self, actor: &Actor, repo: RepoId, number: BuildNumber) -> Result<Build, Problem>;
    /// Stops a build that is not over; the build as it stands then.
    async fn cancel_build(&self, actor: &Actor, repo: RepoId, number: BuildNumber) -> Result<Build, Problem>;
    /// Queues a deploy of the bound branch's commit.
    async fn sync(&self, actor: &Actor, repo: RepoId) -> Result<Deploy, Problem>;
    /// Queues a deploy of an earlier deploy's commit.
    async fn rollback(&self, actor: &Actor, repo: RepoId, to: DeployNumber) -> Result<Deploy, Problem>;
    /// Stops a deploy that is not over; the deploy as it stands then.
    async fn cancel_deploy(
        &self,
        actor: &Actor,
        repo: RepoId,
        number: DeployNumber,
    ) -> Result<Deploy, Problem>;
    /// What a sync would change in the cluster now, as text.
    async fn diff(&self, repo: RepoId) -> Result<String, Problem>;

    /// Up to `bytes_max` bytes of a build's log from `offset`; empty past its end, and for a log not begun.
    async fn read_log(
        &self,
        repo: &RepoName,
        number: BuildNumber,
        offset: u64,
        bytes_max: usize,
    ) -> Result<LogChunk, Problem>;
    /// How many bytes a build's log has. Worth implementing: this one reads it all.
    async fn log_size(&self, repo: &RepoName, number: BuildNumber) -> Result<u64, Problem> {
        let mut at = 0;
        loop {
            let chunk = self.read_log(repo, number, at, LOG_CHUNK_BYTES).await?;
            if chunk.bytes.is_empty() {
                return Ok(at);
            }
            at = chunk.end();
        }
    }
    /// The log from `offset` as it grows; ends when the build is over and everything was sent.
    fn follow_log(
        &self,
        repo: &RepoName,
        number: BuildNumber,
        offset: u64,
    ) -> BoxStream<'static, Result<LogChunk, Problem>>;
    /// A notice for every changed build or deploy from now on. May leave some out under load: readers look at the
    /// store, and look again now and then.
    fn changes(&self) -> BoxStream<'static, Change>;

    /// Checks data folder, engine, registries, clusters, ports and clock.
    async fn doctor(&self) -> Vec<Check>;
    /// `Ok` if requests and pushes can be served.
    async fn ready(&self) -> Result<(), Problem>;
    /// All figures in Prometheus' text format.
    fn metrics(&self) -> String;
    /// A backup of the store as it is streamed out.
    async fn backup(&self) -> Result<BoxStream<'static, Result<Bytes, Problem>>, Problem>;
}

/// Bytes of a build log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogChunk {
    /// Where in the log the first byte lies.
    pub offset: u64,
    /// The bytes.
    pub bytes: Bytes,
}

impl LogChunk {
    /// Where the log goes on after this chunk.
    pub fn end(&self) -> u64 {
        self.offset.saturating_add(self.bytes.len() as u64)
    }
}

/// Something changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Where.
    pub repo: RepoId,
    /// What.
    pub subject: Subject,
}

/// What a [`Change`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A build's record.
    Build(BuildNumber),
    /// A deploy's record.
    Deploy(DeployNumber),
}

/// One line of the doctor's report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at, in one or two words.
    pub name: String,
    /// Whether it is as it should be.
    pub ok: bool,
    /// What was found: a sentence.
    pub what: String,
    /// What to do, where it is not: a sentence. Empty otherwise.
    pub cure: String,
}
