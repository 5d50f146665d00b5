//! What the floor asks of the world outside of it: desks, engines, registries, clusters, logs, checks. Decides nothing and
//! records nothing that people asked for.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use serde_json::Value;
use slipway_backup::Known;
use slipway_core::accept::{Dispatch as _, Orders};
use slipway_core::build::Build;
use slipway_core::kept::KeptFiles;
use slipway_core::moving::Name;
use slipway_core::outline::Outline;
use slipway_core::run::{Kind, WorkId};
use slipway_core::target::{Cluster, Registry};
use slipway_core::trial::{Report, Trial};
use slipway_core::verified::Verified;
use slipway_core::{
    BuildNumber, ClusterName, DeployNumber, Digest, Problem, ProblemKind, RegistryName, RepoId, RepoName,
    Secret,
};
use slipway_forge::bump::{Place, Planned};
use slipway_forge::made::{Place as ImagePlace, Stated};
use slipway_forge::networks::Networks;
use slipway_forge::{Change, Check, Outside, Round, Subject};
use slipway_repository::{Maintained, Snapshot};

use crate::backup::make::{Parts, Wants};
use crate::backup::schedule::Schedule;
use crate::config::Config;
use crate::data::DataFolder;
use crate::dispatch::ToWorkers;
use crate::readiness::Readiness;
use crate::rooms::Rooms;
use crate::supervisor::{Supervisor, blocking};
use crate::{doctor, engines};

mod deploys;
mod logs;
mod metrics;
mod repos;
mod supply;

pub(crate) use self::repos::{make_all_missing, settle as settle_repos};

/// How long a removed repository's work may take to stop.
const STOP_GRACE: Duration = Duration::from_secs(30);

/// The port that the floor asks through.
pub(crate) struct ServerOperations {
    rooms: Rooms,
    workers: Arc<ToWorkers>,
    data: DataFolder,
    readiness: Arc<Readiness>,
    backups: Option<(Parts, Arc<Schedule>)>,
    config: Option<Arc<Config>>,
}

impl ServerOperations {
    pub(crate) fn new(rooms: Rooms, workers: Arc<ToWorkers>, data: DataFolder) -> Self {
        Self { rooms, workers, data, readiness: Arc::default(), backups: None, config: None }
    }

    /// The same with what backups are made of, and their schedule.
    pub(crate) fn with_backups(mut self, parts: Parts, schedule: Arc<Schedule>) -> Self {
        self.backups = Some((parts, schedule));
        self
    }

    /// The same with the settings, for the doctor to look at what they name.
    pub(crate) fn with_settings(mut self, config: &Config) -> Self {
        self.config = Some(Arc::new(config.clone()));
        self
    }

    fn supervisor(&self) -> Result<&Supervisor, Problem> {
        self.workers.get().map(|(supervisor, _)| supervisor)
    }
}

#[async_trait]
impl Outside for ServerOperations {
    async fn stop_repo(&self, repo: RepoId) -> Result<(), Problem> {
        self.supervisor()?.stop_repo(repo, STOP_GRACE).await;
        Ok(())
    }

    fn remove_logs(&self, repo: RepoId) -> Result<(), Problem> {
        self.rooms.logs.remove(repo).map_err(|e| logs::not_removed(&e))
    }

    async fn maintain(&self, repo: RepoId, full: bool) -> Result<Maintained, Problem> {
        let store = self.rooms.store.clone();
        let record = blocking(move || store.repo(repo)?.ok_or_else(|| Problem::no_such_repository("")));
        self.workers.get()?.1.ask(record.await?, full).await
    }

    async fn test_registry(
        &self,
        registry: &Registry,
        password: Option<&Secret>,
        trial: &Trial,
    ) -> Result<Report, Problem> {
        Ok(self.rooms.engines.any().test_registry(registry, password, trial).await?)
    }

    fn check_registry(&self, registry: &Registry) -> Result<(), Problem> {
        registry.ca.as_deref().map_or(Ok(()), slipway_hooks::check_ca)
    }

    async fn verify_image(&self, place: &ImagePlace, named: &str) -> Result<Verified, Problem> {
        supply::verify(&self.rooms, place, named).await
    }

    async fn stated(&self, place: &ImagePlace, digest: &Digest, what: Stated) -> Result<Value, Problem> {
        supply::stated(&self.rooms, place, digest, what).await
    }

    fn signing_key(&self) -> Result<String, Problem> {
        self.rooms.engines.any().supply().key.public()
    }

    async fn test_cluster(&self, cluster: &Cluster, kubeconfig: &Secret) -> Result<String, Problem> {
        Ok(self.rooms.clusters.connect(cluster, kubeconfig).await?.test().await?)
    }

    fn api_address(
        &self,
        cluster: &ClusterName,
        kubeconfig: &Secret,
        context: Option<&str>,
    ) -> Result<String, Problem> {
        Ok(slipway_deployer::summarise(cluster.as_str(), kubeconfig, context, self.rooms.clusters.rules())?
            .server)
    }

    fn begin(&self, orders: &Orders) {
        self.workers.dispatch(orders);
    }

    async fn stop(&self, kind: Kind, id: WorkId) -> Result<bool, Problem> {
        Ok(self.supervisor()?.cancel(kind, id).await)
    }

    fn bump_edits(
        &self,
        snapshot: &Arc<Snapshot>,
        place: &Place,
        tag: &str,
        digest: &Digest,
    ) -> Result<Planned, Problem> {
        let Place { repo, commit, path, image, fields, leave } = place.clone();
        let place = slipway_hooks::bump::Place { repo, commit, path, image, fields, leave };
        let slipway_hooks::bump::Plan { edits, notes } =
            slipway_hooks::bump::plan(snapshot, &place, tag, digest)?;
        Ok(Planned { edits, notes })
    }

    fn bump_message(&self, source: &RepoName, build: &Build, target: &str) -> String {
        let name = Name::Deploy(target.to_owned());
        match (build.promotes(), build.promoter(&name)) {
            (Some(of), Some(by)) => {
                let numbers = (of, build.number);
                slipway_hooks::bump::promotion_message(source, &build.commit, numbers, target, by)
            }
            _ => slipway_hooks::bump::message(source, &build.commit, build.number, target),
        }
    }

    async fn diff(&self, repo: RepoId) -> Result<String, Problem> {
        let asked = deploys::Asked::of(&self.rooms, repo).await?;
        let diffs = asked.connection.diff(asked.work()).await?;
        Ok(diffs.iter().map(deploys::diff_line).collect())
    }

    async fn adoptable(&self, repo: RepoId) -> Result<Vec<String>, Problem> {
        let asked = deploys::Asked::of(&self.rooms, repo).await?;
        Ok(asked.connection.adoptable(asked.work()).await?)
    }

    fn read_log(
        &self,
        repo: RepoId,
        number: BuildNumber,
        offset: u64,
        bytes_max: usize,
    ) -> Result<Bytes, Problem> {
        let bytes = self.rooms.logs.read(repo, number, offset, bytes_max);
        bytes.map(Bytes::from).map_err(|e| logs::unreadable(number, &e))
    }

    fn log_size(&self, repo: RepoId, number: BuildNumber) -> Result<u64, Problem> {
        self.rooms.logs.len(repo, number).map_err(|e| logs::unreadable(number, &e))
    }

    fn kept_files(&self, repo: RepoId, number: BuildNumber) -> Result<KeptFiles, Problem> {
        self.rooms.logs.kept(repo, number).map_err(|e| logs::unreadable(number, &e))
    }

    fn read_kept(
        &self,
        repo: RepoId,
        number: BuildNumber,
        at: usize,
        offset: u64,
        bytes_max: usize,
    ) -> Result<Bytes, Problem> {
        let read = self.rooms.logs.read_kept(repo, number, at, offset, bytes_max);
        read.map(Bytes::from).map_err(|e| logs::unreadable(number, &e))
    }

    fn log_outline(&self, repo: RepoId, number: BuildNumber) -> Result<Outline, Problem> {
        self.rooms.logs.outline(repo, number).map_err(|e| logs::unreadable(number, &e))
    }

    fn changes(&self) -> BoxStream<'static, Change> {
        let Ok(supervisor) = self.supervisor() else { return stream::empty().boxed() };
        let changes = supervisor.changes();
        stream::unfold(changes, |mut changes| async move {
            use tokio::sync::broadcast::error::RecvError;
            loop {
                match changes.recv().await {
                    Ok(change) => {
                        if let Some(notice) = notice(&change) {
                            return Some((notice, changes));
                        }
                    }
                    // Fell behind: readers look at the store anyway.
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return None,
                }
            }
        })
        .boxed()
    }

    fn rebound(&self, repo: RepoId) {
        self.workers.rebound(repo);
    }

    fn deliver(&self, repo: RepoId) {
        // While the server is starting, the start finds it.
        if let Ok(supervisor) = self.supervisor() {
            supervisor.deliver(repo);
        }
    }

    fn webhook_networks(&self) -> &Networks {
        &self.rooms.networks
    }

    fn back_up(
        &self,
        known: Bytes,
        keys: bool,
    ) -> Result<BoxStream<'static, Result<Bytes, Problem>>, Problem> {
        let Some((parts, _)) = self.backups.clone() else { return Ok(stream::empty().boxed()) };
        let known = Known::from_bytes(&known).ok_or_else(|| {
            let what = "What is known of an earlier backup is no list of 16 bytes a file.";
            Problem::new(ProblemKind::Invalid, what, "Send none, and everything comes.")
        })?;
        Ok(slipway_forge::streamed(move |out| {
            match parts.write(&Wants { known, keys }, out, &AtomicBool::new(false)) {
                Ok(end) => tracing::info!(
                    files = end.files,
                    bytes = end.bytes,
                    kept = end.kept,
                    "a backup was streamed out"
                ),
                // Whoever reads was told in the stream.
                Err(problem) => tracing::warn!(%problem, "a backup that was asked for is not made"),
            }
            Ok(())
        }))
    }

    fn check_ready(&self) -> Result<(), Problem> {
        self.readiness.check(&self.rooms, &self.data)
    }

    fn warnings(&self) -> Vec<String> {
        let overdue = self.backups.as_ref().and_then(|(_, schedule)| schedule.overdue());
        overdue.into_iter().chain(engines::warnings(&self.rooms.engines)).collect()
    }

    async fn doctor(&self) -> Vec<Check> {
        let (readiness, rooms, data) = (self.readiness.clone(), self.rooms.clone(), self.data.clone());
        let ready = blocking(move || Ok(readiness.checks(&rooms, &data))).await;
        let ready = ready.unwrap_or_else(|problem| vec![doctor::judged("disk", Err(problem))]);
        let mut checks = doctor::examine(&self.rooms, &self.data, self.config.clone(), ready).await;
        checks.extend(self.backups.as_ref().and_then(|(_, schedule)| schedule.check()));
        checks
    }

    async fn examine(&self, after: Option<RepoId>, repair: bool) -> Result<Round, Problem> {
        let rooms = self.rooms.clone();
        blocking(move || doctor::repositories::round(&rooms, after, repair)).await
    }

    fn metrics(&self) -> String {
        let Ok((supervisor, upkeep)) = self.workers.get() else { return String::new() };
        let mut out = metrics::render(supervisor, upkeep);
        engines::figures(&self.rooms.engines, &mut out);
        if let Some((_, schedule)) = &self.backups {
            schedule.figures(&mut out);
        }
        out
    }
}

fn notice(notice: &slipway_jobs::Notice) -> Option<Change> {
    let WorkId { repo, number } = notice.id;
    let subject = match notice.kind {
        Kind::Build => Subject::Build(BuildNumber(number)),
        Kind::Deploy => Subject::Deploy(DeployNumber(number)),
        // No page follows a delivery.
        Kind::Delivery => return None,
    };
    Some(Change { repo, subject })
}

/// Speaks to a registry with its stored credentials.
pub(crate) async fn test_registry(rooms: &Rooms, name: &RegistryName) -> Result<String, Problem> {
    let (store, name) = (rooms.store.clone(), name.clone());
    let (registry, password) = blocking(move || {
        let (registry, password) =
            store.read(|records| Ok((records.registry(&name)?, records.registry_password(&name)?)))?;
        let registry = registry.ok_or_else(|| {
            Problem::new(
                ProblemKind::NotFound,
                format!("There is no registry {name}."),
                "See slipway registry list.",
            )
        })?;
        Ok((registry, password))
    })
    .await?;
    rooms.engines.any().test_registry(&registry, password.as_ref(), &Trial::default()).await?.judged()
}

/// Speaks to a cluster with its stored credentials.
pub(crate) async fn test_cluster(rooms: &Rooms, name: &ClusterName) -> Result<String, Problem> {
    let (store, name) = (rooms.store.clone(), name.clone());
    let (cluster, kubeconfig) = blocking(move || {
        let known = store.read(|records| Ok((records.cluster(&name)?, records.kubeconfig(&name)?)))?;
        match known {
            (Some(cluster), Some(kubeconfig)) => Ok((cluster, kubeconfig)),
            _ => Err(Problem::new(
                ProblemKind::NotFound,
                format!("There is no cluster {name}."),
                "See slipway cluster list.",
            )),
        }
    })
    .await?;
    let connection = rooms.clusters.connect(&cluster, &kubeconfig).await?;
    Ok(connection.test().await?)
}
