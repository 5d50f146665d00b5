//! A server of Git alone: no engine, no registry, no cluster.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use slipway_core::build::Build;
use slipway_core::deploy::Deploy;
use slipway_core::target::{Cluster, Registry, RepoRecord};
use slipway_core::{
    Actor, BuildNumber, DeployNumber, Digest, ObjectFormat, Problem, ProblemKind, RepoId, RepoName, Secret,
    UserName,
};
use slipway_forge::bump::Place;
use slipway_forge::{Change, Check, Outside};
use slipway_repository::{Edit, Maintained, Snapshot};

pub(crate) struct Nothing;

fn absent<T>() -> Result<T, Problem> {
    Err(Problem::new(ProblemKind::Unavailable, "There is nothing outside.", "Nothing needs to be done."))
}

#[async_trait]
impl Outside for Nothing {
    async fn test_registry(&self, _: &Registry, _: Option<&Secret>) -> Result<String, Problem> {
        absent()
    }
    async fn test_cluster(&self, _: &Cluster, _: &Secret) -> Result<String, Problem> {
        absent()
    }
    fn api_address(&self, _: &Secret, _: Option<&str>) -> Result<String, Problem> {
        absent()
    }
    async fn create_repo(
        &self,
        _: ObjectFormat,
        _: &RepoName,
        _: &str,
        _: bool,
        _: Option<&UserName>,
    ) -> Result<RepoRecord, Problem> {
        absent()
    }
    async fn renamed(&self, _: RepoId) -> Result<(), Problem> {
        absent()
    }
    async fn remove_repo(&self, _: RepoId) -> Result<(), Problem> {
        absent()
    }
    async fn maintain(&self, _: RepoId, _: bool) -> Result<Maintained, Problem> {
        absent()
    }
    async fn retry_build(&self, _: &Actor, _: RepoId, _: BuildNumber) -> Result<Build, Problem> {
        absent()
    }
    async fn start_build(&self, _: Build) -> Result<Build, Problem> {
        absent()
    }
    async fn cancel_build(&self, _: &Actor, _: RepoId, _: BuildNumber) -> Result<Build, Problem> {
        absent()
    }
    async fn sync(&self, _: &Actor, _: RepoId) -> Result<Deploy, Problem> {
        absent()
    }
    fn bump_edits(&self, _: &Arc<Snapshot>, _: &Place, _: &str, _: &Digest) -> Result<Vec<Edit>, Problem> {
        absent()
    }
    fn bump_message(&self, _: &RepoName, _: &Build, _: &str) -> String {
        String::new()
    }
    async fn cancel_deploy(&self, _: &Actor, _: RepoId, _: DeployNumber) -> Result<Deploy, Problem> {
        absent()
    }
    async fn diff(&self, _: RepoId) -> Result<String, Problem> {
        absent()
    }
    fn read_log(&self, _: RepoId, _: BuildNumber, _: u64, _: usize) -> Result<Bytes, Problem> {
        absent()
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
    async fn ready(&self) -> Result<(), Problem> {
        Ok(())
    }
    fn metrics(&self) -> String {
        String::new()
    }
    async fn backup(&self) -> Result<BoxStream<'static, Result<Bytes, Problem>>, Problem> {
        absent()
    }
}
