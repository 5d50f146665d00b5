//! What the floor asks of outside, remembered instead of done.

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use slipway_core::accept::{Incoming, Orders, Preflight, Shown};
use slipway_core::build::{Build, BuildState};
use slipway_core::deploy::DeployState;
use slipway_core::run::{Kind, WorkId};
use slipway_core::target::{Cluster, ClusterBinding, Registry};
use slipway_core::trial::{Outcome, Report, Step, Trial};
use slipway_core::{BuildNumber, DeployNumber, Digest, Problem, ProblemKind, RepoId, RepoName, Secret};
use slipway_forge::bump::{Place, Planned};
use slipway_forge::{Change, Check, Outside, Subject};
use slipway_repository::{Maintained, Repositories, Snapshot};
use slipway_store::Store;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::broadcast;

use crate::world::EVIL;

/// Operations that remember what was asked of them.
pub(crate) struct Fake {
    store: Store,
    repositories: Arc<Repositories>,
    pub(crate) asked: Mutex<Vec<String>>,
    pub(crate) log: Mutex<Vec<u8>>,
    /// Whether what runs for a repository lets itself be stopped, so that the repository can go.
    pub(crate) stops: AtomicBool,
    pub(crate) changed: broadcast::Sender<Change>,
}

impl Fake {
    pub(crate) fn new(store: Store, repositories: Arc<Repositories>) -> Self {
        let log = format!("step 1\nstep 2 \u{1b}[31mred\u{1b}[0m\n{EVIL}\nlast\n").into_bytes();
        let (changed, _) = broadcast::channel(16);
        Self {
            store,
            repositories,
            asked: Mutex::default(),
            log: Mutex::new(log),
            stops: AtomicBool::new(false),
            changed,
        }
    }

    fn note(&self, what: String) {
        self.asked.lock().expect("whole").push(what);
    }
}

/// Clusters that have no objection.
pub(crate) struct NoObjection;

impl Preflight for NoObjection {
    fn check(&self, _: &ClusterBinding, _: &Shown<'_>, _: &dyn Incoming) -> Result<Vec<String>, Problem> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl Outside for Fake {
    async fn stop_repo(&self, _: RepoId) -> Result<(), Problem> {
        match self.stops.load(Ordering::Relaxed) {
            true => Ok(()),
            false => Err(Problem::new(ProblemKind::Busy, "Nothing here stops.", "Nothing needs to be done.")),
        }
    }
    fn remove_logs(&self, _: RepoId) -> Result<(), Problem> {
        Ok(())
    }
    async fn maintain(&self, repo: RepoId, full: bool) -> Result<Maintained, Problem> {
        self.note(format!("maintain {repo} {full}"));
        Ok(self.repositories.get(repo)?.maintain(&std::sync::atomic::AtomicBool::new(false))?)
    }
    async fn test_registry(
        &self,
        registry: &Registry,
        _: Option<&Secret>,
        trial: &Trial,
    ) -> Result<Report, Problem> {
        let what = format!("{} answers.", registry.name);
        let outcome = if trial.write { Outcome::Failed } else { Outcome::Ok };
        let step = Step { call: "login".into(), outcome, what, cure: String::new(), policy: None };
        Ok(Report { steps: vec![step] })
    }
    async fn test_cluster(&self, cluster: &Cluster, _: &Secret) -> Result<String, Problem> {
        Ok(format!("{} answers.", cluster.name))
    }
    fn api_address(
        &self,
        _: &slipway_core::ClusterName,
        _: &Secret,
        _: Option<&str>,
    ) -> Result<String, Problem> {
        Ok("https://127.0.0.1:6443".into())
    }
    fn begin(&self, orders: &Orders) {
        orders.builds.iter().for_each(|b| self.note(format!("begin build {} by {}", b.number, b.actor)));
        orders.deploys.iter().for_each(|d| self.note(format!("begin deploy {} by {}", d.number, d.actor)));
    }
    async fn stop(&self, kind: Kind, id: WorkId) -> Result<bool, Problem> {
        self.note(format!("stop {} {}", kind.word(), id.number));
        match kind {
            Kind::Build => self.cancel_build(id.repo, BuildNumber(id.number)),
            _ => self.cancel_deploy(id.repo, DeployNumber(id.number)),
        }
    }
    fn bump_edits(&self, _: &Arc<Snapshot>, _: &Place, _: &str, _: &Digest) -> Result<Planned, Problem> {
        Ok(Planned::default())
    }
    fn bump_message(&self, _: &RepoName, _: &Build, _: &str) -> String {
        String::new()
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
    fn metrics(&self) -> String {
        "slipway_up 1\n".into()
    }
}

impl Fake {
    fn cancel_build(&self, repo: RepoId, number: BuildNumber) -> Result<bool, Problem> {
        let Some(mut build) = self.store.build(repo, number)?.filter(|b| !b.run.state.is_final()) else {
            return Ok(false);
        };
        build.run.state = BuildState::Cancelled;
        self.store.put_build(&build)?;
        let _ = self.changed.send(Change { repo, subject: Subject::Build(number) });
        Ok(true)
    }

    fn cancel_deploy(&self, repo: RepoId, number: DeployNumber) -> Result<bool, Problem> {
        let Some(mut deploy) = self.store.deploy(repo, number)?.filter(|d| !d.run.state.is_final()) else {
            return Ok(false);
        };
        deploy.run.state = DeployState::Cancelled;
        self.store.put_deploy(&deploy)?;
        let _ = self.changed.send(Change { repo, subject: Subject::Deploy(number) });
        Ok(true)
    }

    /// Changes a build's record and tells.
    pub(crate) fn finish_build(&self, repo: RepoId, number: BuildNumber) {
        let mut build = self.store.build(repo, number).expect("read").expect("there");
        build.run.state = BuildState::Succeeded;
        self.store.put_build(&build).expect("written");
        let _ = self.changed.send(Change { repo, subject: Subject::Build(number) });
    }
}
