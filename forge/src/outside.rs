//! What the floor needs of engines, registries, clusters and the threads that work, and may not know: implemented by the
//! root over the rooms that do. Whoever calls has asked whether the caller may.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use serde::Serialize;
use slipway_core::build::Build;
use slipway_core::deploy::Deploy;
use slipway_core::target::{Cluster, Registry, RepoRecord};
use slipway_core::{
    Actor, BuildNumber, DeployNumber, Digest, ObjectFormat, Problem, RepoId, RepoName, Secret, UserName,
};
use slipway_repository::{Edit, Maintained, Snapshot};

use crate::bump::Place;
use crate::networks::{Networks, PUBLIC_ONLY};

/// The world outside of this room.
#[async_trait]
pub trait Outside: Send + Sync + 'static {
    /// Speaks to a registry; a sentence on what it answered.
    async fn test_registry(&self, registry: &Registry, password: Option<&Secret>) -> Result<String, Problem>;
    /// Speaks to a cluster; a sentence on what it answered.
    async fn test_cluster(&self, cluster: &Cluster, kubeconfig: &Secret) -> Result<String, Problem>;
    /// The API address that a kubeconfig's `context` (or its current one) names. Asks nobody.
    fn api_address(&self, kubeconfig: &Secret, context: Option<&str>) -> Result<String, Problem>;

    /// Makes a repository, on disk and in the store, in an order that a crash cannot split. `maker` is its admin.
    async fn create_repo(
        &self,
        format: ObjectFormat,
        name: &RepoName,
        description: &str,
        public: bool,
        maker: Option<&UserName>,
    ) -> Result<RepoRecord, Problem>;
    /// A repository has another name in the records: what bears its name on disk follows.
    async fn renamed(&self, repo: RepoId) -> Result<(), Problem>;
    /// Stops what runs for a repository, and removes it with everything that belongs to it.
    async fn remove_repo(&self, repo: RepoId) -> Result<(), Problem>;
    /// Maintains a repository now; with `full` everything is packed anew. Takes as long as it takes.
    async fn maintain(&self, repo: RepoId, full: bool) -> Result<Maintained, Problem>;

    /// Queues the same commit again under a new number.
    async fn retry_build(&self, actor: &Actor, repo: RepoId, number: BuildNumber) -> Result<Build, Problem>;
    /// Records a build under the next number of its repository and starts it.
    async fn start_build(&self, build: Build) -> Result<Build, Problem>;
    /// Stops a build that is not over; the build as it stands then.
    async fn cancel_build(&self, actor: &Actor, repo: RepoId, number: BuildNumber) -> Result<Build, Problem>;
    /// Queues a deploy of the bound branch's commit.
    async fn sync(&self, actor: &Actor, repo: RepoId) -> Result<Deploy, Problem>;
    /// Stops a deploy that is not over; the deploy as it stands then.
    async fn cancel_deploy(
        &self,
        actor: &Actor,
        repo: RepoId,
        number: DeployNumber,
    ) -> Result<Deploy, Problem>;
    /// The edits that make a place in a manifest repository use `image:tag@digest`; none where it does. Blocking.
    fn bump_edits(
        &self,
        snapshot: &Arc<Snapshot>,
        place: &Place,
        tag: &str,
        digest: &Digest,
    ) -> Result<Vec<Edit>, Problem>;
    /// The message of a bump's commit, with the trailers by which a deploy finds its build.
    fn bump_message(&self, source: &RepoName, build: &Build, target: &str) -> String;
    /// What a sync would change in the cluster now, as text.
    async fn diff(&self, repo: RepoId) -> Result<String, Problem>;

    /// Up to `bytes_max` bytes of a build's log from `offset`; empty past its end, and for a log not begun. Blocking.
    fn read_log(
        &self,
        repo: RepoId,
        number: BuildNumber,
        offset: u64,
        bytes_max: usize,
    ) -> Result<Bytes, Problem>;
    /// How many bytes a build's log has. Blocking.
    fn log_size(&self, repo: RepoId, number: BuildNumber) -> Result<u64, Problem>;
    /// A notice for every changed build or deploy from now on. May leave some out under load: readers look at the
    /// store, and look again now and then.
    fn changes(&self) -> BoxStream<'static, Change>;

    /// Wakes whoever delivers what webhooks of a repository are owed. Blocking.
    fn deliver(&self, _: RepoId) {}
    /// Where webhooks may reach.
    fn webhook_networks(&self) -> &Networks {
        &PUBLIC_ONLY
    }

    /// Checks data folder, engine, registries, clusters, ports and clock.
    async fn doctor(&self) -> Vec<Check>;
    /// `Ok` if requests and pushes can be served.
    async fn ready(&self) -> Result<(), Problem>;
    /// All figures in Prometheus' text format.
    fn metrics(&self) -> String;
    /// A backup of the store as it is streamed out.
    async fn backup(&self) -> Result<BoxStream<'static, Result<Bytes, Problem>>, Problem>;
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
