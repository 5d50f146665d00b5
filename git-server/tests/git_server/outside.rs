//! A server of Git alone: no engine, no registry, no cluster.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use slipway_core::accept::Orders;
use slipway_core::build::Build;
use slipway_core::run::{Kind, WorkId};
use slipway_core::target::{Cluster, Registry};
use slipway_core::trial::{Report, Trial};
use slipway_core::{BuildNumber, Digest, Problem, ProblemKind, RepoId, RepoName, Secret};
use slipway_forge::bump::{Place, Planned};
use slipway_forge::{Change, Check, Outside};
use slipway_repository::{Maintained, Snapshot};

pub(crate) struct Nothing;

/// The log of every build.
const LOG: &[u8] = b"building\ntesting\x1b[2J\n== succeeded\n";

fn absent<T>() -> Result<T, Problem> {
    Err(Problem::new(ProblemKind::Unavailable, "There is nothing outside.", "Nothing needs to be done."))
}

#[async_trait]
impl Outside for Nothing {
    async fn test_registry(&self, _: &Registry, _: Option<&Secret>, _: &Trial) -> Result<Report, Problem> {
        absent()
    }
    async fn test_cluster(&self, _: &Cluster, _: &Secret) -> Result<String, Problem> {
        absent()
    }
    fn api_address(
        &self,
        _: &slipway_core::ClusterName,
        _: &Secret,
        _: Option<&str>,
    ) -> Result<String, Problem> {
        absent()
    }
    async fn stop_repo(&self, _: RepoId) -> Result<(), Problem> {
        absent()
    }
    fn remove_logs(&self, _: RepoId) -> Result<(), Problem> {
        absent()
    }
    async fn maintain(&self, _: RepoId, _: bool) -> Result<Maintained, Problem> {
        absent()
    }
    fn begin(&self, _: &Orders) {}
    async fn stop(&self, _: Kind, _: WorkId) -> Result<bool, Problem> {
        absent()
    }
    fn bump_edits(&self, _: &Arc<Snapshot>, _: &Place, _: &str, _: &Digest) -> Result<Planned, Problem> {
        absent()
    }
    fn bump_message(&self, _: &RepoName, _: &Build, _: &str) -> String {
        String::new()
    }
    async fn diff(&self, _: RepoId) -> Result<String, Problem> {
        absent()
    }
    fn read_log(&self, _: RepoId, _: BuildNumber, offset: u64, _: usize) -> Result<Bytes, Problem> {
        Ok(LOG
            .get(usize::try_from(offset).unwrap_or(usize::MAX)..)
            .map(Bytes::from_static)
            .unwrap_or_default())
    }
    fn log_size(&self, _: RepoId, _: BuildNumber) -> Result<u64, Problem> {
        absent()
    }
    fn changes(&self) -> BoxStream<'static, Change> {
        stream::empty().boxed()
    }
    async fn doctor(&self) -> Vec<Check> {
        Vec::new()
    }
    fn metrics(&self) -> String {
        String::new()
    }
}
