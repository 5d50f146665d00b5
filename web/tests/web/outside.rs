//! What the floor asks of outside, remembered instead of done.

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use slipway_core::accept::{Incoming, Preflight};
use slipway_core::build::{Build, BuildState};
use slipway_core::deploy::Deploy;
use slipway_core::target::{Cluster, ClusterBinding, Registry, RepoRecord};
use slipway_core::{
    Actor, BuildNumber, DeployNumber, Digest, ObjectFormat, Oid, Problem, RepoId, RepoName, Role, Secret,
    UserName,
};
use slipway_forge::bump::Place;
use slipway_forge::{Change, Check, Outside, Subject};
use slipway_repository::{Edit, Maintained, Repositories, Snapshot};
use slipway_store::Store;
use std::sync::{Arc, Mutex};
use tokio::sync::broadcast;

use crate::world::{EVIL, NOW};

/// Operations that remember what was asked of them.
pub(crate) struct Fake {
    store: Store,
    repositories: Arc<Repositories>,
    pub(crate) asked: Mutex<Vec<String>>,
    pub(crate) log: Mutex<Vec<u8>>,
    pub(crate) changed: broadcast::Sender<Change>,
}

impl Fake {
    pub(crate) fn new(store: Store, repositories: Arc<Repositories>) -> Self {
        let log = format!("step 1\nstep 2 \u{1b}[31mred\u{1b}[0m\n{EVIL}\nlast\n").into_bytes();
        let (changed, _) = broadcast::channel(16);
        Self { store, repositories, asked: Mutex::default(), log: Mutex::new(log), changed }
    }

    fn note(&self, what: String) {
        self.asked.lock().expect("whole").push(what);
    }
}

/// Clusters that have no objection.
pub(crate) struct NoObjection;

impl Preflight for NoObjection {
    fn check(&self, _: &ClusterBinding, _: &Oid, _: &dyn Incoming) -> Result<Vec<String>, Problem> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl Outside for Fake {
    async fn create_repo(
        &self,
        format: ObjectFormat,
        name: &RepoName,
        about: &str,
        public: bool,
        maker: Option<&UserName>,
    ) -> Result<RepoRecord, Problem> {
        self.note(format!("create {name}"));
        let record = self.store.create_repo_as(format, name, about, public, NOW)?;
        maker.map(|maker| self.store.grant(maker, record.id, Role::Admin)).transpose()?;
        self.repositories.create(record.id, format)?;
        Ok(record)
    }
    async fn renamed(&self, repo: RepoId) -> Result<(), Problem> {
        self.note(format!("renamed {repo}"));
        Ok(())
    }
    async fn remove_repo(&self, repo: RepoId) -> Result<(), Problem> {
        self.note(format!("remove {repo}"));
        Ok(())
    }
    async fn maintain(&self, repo: RepoId, full: bool) -> Result<Maintained, Problem> {
        self.note(format!("maintain {repo} {full}"));
        Ok(self.repositories.get(repo)?.maintain(&std::sync::atomic::AtomicBool::new(false))?)
    }
    async fn test_registry(&self, registry: &Registry, _: Option<&Secret>) -> Result<String, Problem> {
        Ok(format!("{} answers.", registry.name))
    }
    async fn test_cluster(&self, cluster: &Cluster, _: &Secret) -> Result<String, Problem> {
        Ok(format!("{} answers.", cluster.name))
    }
    fn api_address(&self, _: &Secret, _: Option<&str>) -> Result<String, Problem> {
        Ok("https://127.0.0.1:6443".into())
    }
    async fn retry_build(&self, actor: &Actor, repo: RepoId, n: BuildNumber) -> Result<Build, Problem> {
        self.note(format!("retry {repo} {n} by {}", actor.label()));
        self.store.build(repo, n)?.ok_or_else(|| Problem::no_such_repository("?"))
    }
    async fn start_build(&self, build: Build) -> Result<Build, Problem> {
        self.note(format!("start {} {} by {}", build.repo, build.ref_name, build.actor));
        self.store.add_build(build)
    }
    async fn cancel_build(&self, actor: &Actor, repo: RepoId, n: BuildNumber) -> Result<Build, Problem> {
        self.note(format!("cancel build {repo} {n} by {}", actor.label()));
        self.store.build(repo, n)?.ok_or_else(|| Problem::no_such_repository("?"))
    }
    async fn sync(&self, actor: &Actor, repo: RepoId) -> Result<Deploy, Problem> {
        self.note(format!("sync {repo} by {}", actor.label()));
        self.store.deploys(repo, None, 1)?.pop().ok_or_else(|| Problem::no_such_repository("?"))
    }
    fn bump_edits(&self, _: &Arc<Snapshot>, _: &Place, _: &str, _: &Digest) -> Result<Vec<Edit>, Problem> {
        Ok(Vec::new())
    }
    fn bump_message(&self, _: &RepoName, _: &Build, _: &str) -> String {
        String::new()
    }
    async fn cancel_deploy(&self, actor: &Actor, repo: RepoId, n: DeployNumber) -> Result<Deploy, Problem> {
        self.note(format!("cancel deploy {repo} {n} by {}", actor.label()));
        self.store.deploy(repo, n)?.ok_or_else(|| Problem::no_such_repository("?"))
    }
    async fn diff(&self, _: RepoId) -> Result<String, Problem> {
        Ok(format!("- replicas: 1\n+ replicas: 2 {EVIL}\n"))
    }
    fn read_log(&self, _: RepoId, _: BuildNumber, offset: u64, max: usize) -> Result<Bytes, Problem> {
        let log = self.log.lock().expect("whole");
        let from = usize::try_from(offset).expect("small").min(log.len());
        let to = from.saturating_add(max).min(log.len());
        Ok(Bytes::copy_from_slice(&log[from..to]))
    }
    fn log_size(&self, _: RepoId, _: BuildNumber) -> Result<u64, Problem> {
        Ok(self.log.lock().expect("whole").len() as u64)
    }
    fn changes(&self) -> BoxStream<'static, Change> {
        let receiver = self.changed.subscribe();
        stream::unfold(receiver, |mut r| async move { r.recv().await.ok().map(|c| (c, r)) }).boxed()
    }
    async fn doctor(&self) -> Vec<Check> {
        vec![Check { name: "engine".into(), ok: false, what: EVIL.into(), cure: "Start it.".into() }]
    }
    async fn ready(&self) -> Result<(), Problem> {
        Ok(())
    }
    fn metrics(&self) -> String {
        "slipway_up 1\n".into()
    }
    async fn backup(&self) -> Result<BoxStream<'static, Result<Bytes, Problem>>, Problem> {
        Ok(stream::iter([Ok(Bytes::from_static(b"backup"))]).boxed())
    }
}

impl Fake {
    /// Changes a build's record and tells.
    pub(crate) fn finish_build(&self, repo: RepoId, number: BuildNumber) {
        let mut build = self.store.build(repo, number).expect("read").expect("there");
        build.run.state = BuildState::Succeeded;
        self.store.put_build(&build).expect("written");
        let _ = self.changed.send(Change { repo, subject: Subject::Build(number) });
    }
}
