//! What the floor needs of engines, registries, clusters and the threads that work, and may not know: implemented by the
//! root over the rooms that do. It records nothing that people asked for and refuses nobody: whoever calls has done both.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use serde::Serialize;
use slipway_core::accept::Orders;
use slipway_core::build::Build;
use slipway_core::kept::KeptFiles;
use slipway_core::outline::Outline;
use slipway_core::run::{Kind, WorkId};
use slipway_core::target::{Cluster, Registry};
use slipway_core::trial::{Report, Trial};
use slipway_core::verified::Verified;
use slipway_core::{
    BuildNumber, ClusterName, DeployNumber, Digest, Problem, ProblemKind, RepoId, RepoName, Secret,
};
use slipway_repository::{Maintained, Snapshot};

use crate::bump::{Place, Planned};
use crate::limits::LOG_PIECE_BYTES;
use crate::made::{Place as ImagePlace, Stated};
use crate::networks::{Networks, PUBLIC_ONLY};

/// The world outside of this room.
#[async_trait]
pub trait Outside: Send + Sync + 'static {
    /// Tries the calls that a push to a registry needs; what came of each.
    async fn test_registry(
        &self,
        registry: &Registry,
        password: Option<&Secret>,
        trial: &Trial,
    ) -> Result<Report, Problem>;
    /// Whether what is recorded of a registry can be used. Asks nobody.
    ///
    /// # Errors
    /// What is wrong with it.
    fn check_registry(&self, _: &Registry) -> Result<(), Problem> {
        Ok(())
    }
    /// Speaks to a cluster; a sentence on what it answered.
    async fn test_cluster(&self, cluster: &Cluster, kubeconfig: &Secret) -> Result<String, Problem>;
    /// The API address that a kubeconfig's `context` (or its current one) names. Asks nobody.
    fn api_address(
        &self,
        cluster: &ClusterName,
        kubeconfig: &Secret,
        context: Option<&str>,
    ) -> Result<String, Problem>;

    /// Asks everything that runs for a repository to stop, and waits for it a while.
    async fn stop_repo(&self, repo: RepoId) -> Result<(), Problem>;
    /// Removes the build logs of a repository that is gone. Blocking.
    fn remove_logs(&self, repo: RepoId) -> Result<(), Problem>;
    /// Maintains a repository now; with `full` everything is packed anew. Takes as long as it takes.
    async fn maintain(&self, repo: RepoId, full: bool) -> Result<Maintained, Problem>;

    /// Wakes whoever carries out what is recorded: these builds and deploys. While the server is starting, the start finds
    /// them.
    fn begin(&self, orders: &Orders);
    /// Asks work to stop. False if it is not under way: then it is over.
    async fn stop(&self, kind: Kind, id: WorkId) -> Result<bool, Problem>;
    /// What makes a place in a manifest repository use `image:tag@digest`. Blocking.
    fn bump_edits(
        &self,
        snapshot: &Arc<Snapshot>,
        place: &Place,
        tag: &str,
        digest: &Digest,
    ) -> Result<Planned, Problem>;
    /// The message of a bump's commit, with the trailers by which a deploy finds its build.
    fn bump_message(&self, source: &RepoName, build: &Build, target: &str) -> String;
    /// What a sync would change in the cluster now, as text.
    async fn diff(&self, repo: RepoId) -> Result<String, Problem>;

    /// What others apply of the objects that the bound branch's manifests describe, a sentence each.
    async fn adoptable(&self, _: RepoId) -> Result<Vec<String>, Problem> {
        Ok(Vec::new())
    }

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
    /// What was kept of a build's test. Blocking.
    fn kept_files(&self, _: RepoId, _: BuildNumber) -> Result<KeptFiles, Problem> {
        Ok(KeptFiles::default())
    }
    /// Up to `bytes_max` bytes of the file at that place of it, from `offset`. Blocking.
    fn read_kept(
        &self,
        _repo: RepoId,
        _number: BuildNumber,
        _at: usize,
        _offset: u64,
        _bytes_max: usize,
    ) -> Result<Bytes, Problem> {
        Ok(Bytes::new())
    }
    /// The stages and steps of a build's log, as far as it is written. Blocking.
    fn log_outline(&self, repo: RepoId, number: BuildNumber) -> Result<Outline, Problem> {
        let mut outline = Outline::default();
        loop {
            let at = outline.read;
            outline.take(&self.read_log(repo, number, at, LOG_PIECE_BYTES)?);
            if outline.read == at {
                return Ok(outline);
            }
        }
    }
    /// A notice for every changed build or deploy from now on. May leave some out under load: readers look at the
    /// store, and look again now and then.
    fn changes(&self) -> BoxStream<'static, Change>;

    /// A repository is bound to something else, or another branch is its default: what starts its builds by itself may be
    /// another, too. Must not block.
    fn rebound(&self, _: RepoId) {}
    /// Wakes whoever delivers what webhooks of a repository are owed. Blocking.
    fn deliver(&self, _: RepoId) {}
    /// Where webhooks may reach.
    fn webhook_networks(&self) -> &Networks {
        &PUBLIC_ONLY
    }

    /// Whether a push can be taken now: records, repositories and disk are asked. Blocking.
    ///
    /// # Errors
    /// What stands in the way.
    fn check_ready(&self) -> Result<(), Problem> {
        Ok(())
    }

    /// What somebody should look at although pushes can be taken: sentences that anybody may read.
    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }

    /// A backup of everything but what `known` says is known; with `keys` the server's keys are in it.
    fn back_up(
        &self,
        _known: Bytes,
        _keys: bool,
    ) -> Result<BoxStream<'static, Result<Bytes, Problem>>, Problem> {
        Ok(Box::pin(futures_util::stream::empty()))
    }

    /// Whether an image is what a build here has made: its signature is checked, as its registry has it now.
    async fn verify_image(&self, _place: &ImagePlace, _named: &str) -> Result<Verified, Problem> {
        Err(nothing_signed())
    }
    /// What is stated of the image of that digest, in JSON.
    async fn stated(&self, _: &ImagePlace, _: &Digest, _: Stated) -> Result<serde_json::Value, Problem> {
        Err(nothing_signed())
    }
    /// The public key that images are signed with, in PEM. Blocking.
    fn signing_key(&self) -> Result<String, Problem> {
        Err(nothing_signed())
    }

    /// Checks data folder, engine, registries, clusters, ports and clock.
    async fn doctor(&self) -> Vec<Check>;
    /// Looks at repositories from the one after that on, as many as an answer has time for; and with `true`, puts right what
    /// can be made anew.
    async fn examine(&self, _: Option<RepoId>, _: bool) -> Result<Round, Problem> {
        Ok(Round::default())
    }
    /// All figures in Prometheus' text format.
    fn metrics(&self) -> String;
}

fn nothing_signed() -> Problem {
    Problem::new(ProblemKind::NotFound, "Nothing is signed here.", "Nothing needs to be done.")
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

/// A part of the doctor's round of all repositories.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Round {
    /// What is wrong, and what was and has been put right.
    pub checks: Vec<Check>,
    /// How many repositories the round has come by, earlier parts counted.
    pub looked: usize,
    /// How many there are.
    pub total: usize,
    /// The last one it has come by, to go on after; `None` at the end.
    pub next: Option<RepoId>,
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
