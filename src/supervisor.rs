//! Carries out what core's machines ask for: one task per unfinished build and deploy.
//!
//! A task records the state that a step leaves *before* it carries out the step's effect, so `kill -9` at any instant
//! is answered at the next start by `Input::Restarted`. No rule about builds or deploys lives here; the order is: one
//! build at a time per repository and ref, one deploy at a time per repository and cluster, in the order recorded.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use slipway_core::accept::Orders;
use slipway_core::build::{self, Build};
use slipway_core::deploy::{self, Deploy};
use slipway_core::{BuildNumber, ClusterName, DeployNumber, EventId, Problem, RefName, RepoId, UnixMillis};
use slipway_store::Store;
use tokio::sync::{Semaphore, broadcast, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

mod build_task;
mod deploy_task;
#[cfg(test)]
mod tests;

/// Carries out the effects of one build.
#[async_trait]
pub(crate) trait BuildStages: Send + Sync {
    /// Carries out one stage and says what came of it. Ends soon after `stop`.
    async fn carry_out(
        &self,
        build: &Build,
        effect: &build::Effect,
        stop: &CancellationToken,
    ) -> build::Input;
    /// The build is about to be recorded as final: write the last line of its log. May be called twice.
    async fn conclude(&self, build: &Build);
    /// The build is final: clean up after it.
    async fn finish(&self, build: &Build);
}

/// Carries out the effects of one deploy.
#[async_trait]
pub(crate) trait DeployStages: Send + Sync {
    /// Reconciles; reports progress on the way. Ends at the next safe point after `stop`.
    async fn reconcile(
        &self,
        deploy: &Deploy,
        progress: mpsc::Sender<deploy::Input>,
        stop: &CancellationToken,
    ) -> deploy::Input;
}

/// A record that changed. Receivers that fall behind read the store again.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Build(Arc<Build>),
    Deploy(Arc<Deploy>),
}

/// How many changes a slow listener may be behind before it misses some.
const CHANGES_MAX: usize = 1024;
/// Inputs that may wait for one task.
const INBOX_MAX: usize = 64;
/// How long work that a drain cuts off may take to stop and to be recorded.
const CUT_MAX: Duration = Duration::from_secs(5);
/// How long its stage or reconcile may take of that.
const CUT_STAGE_MAX: Duration = Duration::from_secs(3);

/// Runs builds and deploys.
#[derive(Clone)]
pub(crate) struct Supervisor(Arc<Inner>);

struct Inner {
    store: Store,
    builds: Arc<dyn BuildStages>,
    deploys: Arc<dyn DeployStages>,
    changes: broadcast::Sender<Change>,
    build_slots: Arc<Semaphore>,
    deploy_slots: Arc<Semaphore>,
    lanes: Mutex<Lanes>,
    tasks: TaskTracker,
    stop: CancellationToken,
    /// Cancelled once the engine is swept: no build begins before, or the sweep would take its containers away.
    gate: CancellationToken,
    /// Cancelled when the grace of a drain is over: what still runs is put down where the next start finds it.
    cut: CancellationToken,
    /// Cancelled by tests alone.
    abandon: CancellationToken,
}

/// Who runs, and who comes after whom.
#[derive(Default)]
struct Lanes {
    builds: HashMap<(RepoId, BuildNumber), BuildPlace>,
    deploys: HashMap<(RepoId, DeployNumber), DeployPlace>,
}

/// A build that is not final.
struct BuildPlace {
    ref_name: RefName,
    event: EventId,
    inbox: mpsc::Sender<build::Input>,
    /// Cancelled (dropped as a guard) when the task ends, however it ends.
    done: CancellationToken,
}

/// A deploy that is not final.
struct DeployPlace {
    cluster: ClusterName,
    inbox: mpsc::Sender<deploy::Input>,
    done: CancellationToken,
}

/// Whose ends a task waits for: all that are before it in its lane. The last alone would not do: one that gives way
/// while it waits ends before those that it waited for.
struct Before(Vec<CancellationToken>);

impl Before {
    async fn ended(&self) {
        for one in &self.0 {
            one.cancelled().await;
        }
    }
}

pub(crate) fn now() -> UnixMillis {
    SystemTime::now().into()
}

impl Supervisor {
    pub(crate) fn new(
        store: Store,
        builds: Arc<dyn BuildStages>,
        deploys: Arc<dyn DeployStages>,
        builds_max: usize,
        deploys_max: usize,
    ) -> Self {
        Self(Arc::new(Inner {
            store,
            builds,
            deploys,
            changes: broadcast::Sender::new(CHANGES_MAX),
            build_slots: Arc::new(Semaphore::new(builds_max)),
            deploy_slots: Arc::new(Semaphore::new(deploys_max)),
            lanes: Mutex::default(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            gate: CancellationToken::new(),
            cut: CancellationToken::new(),
            abandon: CancellationToken::new(),
        }))
    }

    /// Lets builds begin.
    pub(crate) fn open(&self) {
        self.0.gate.cancel();
    }

    /// Changes from now on.
    pub(crate) fn changes(&self) -> broadcast::Receiver<Change> {
        self.0.changes.subscribe()
    }

    /// Takes up everything that the store holds unfinished. Called once, before anything can order new work: what is
    /// older must stand in its lane first.
    pub(crate) async fn resume(&self) -> Result<(), Problem> {
        let store = self.0.store.clone();
        let (builds, deploys) =
            blocking(move || Ok((store.unfinished_builds()?, store.unfinished_deploys()?))).await?;
        for build in builds {
            self.start_build(build, Some(build::Input::Restarted));
        }
        for deploy in deploys {
            self.start_deploy(deploy, Some(deploy::Input::Restarted));
        }
        Ok(())
    }

    /// Starts the work that an accepted push owes.
    pub(crate) fn order(&self, orders: &Orders) {
        for build in &orders.builds {
            self.start_build(build.clone(), None);
        }
        for deploy in &orders.deploys {
            self.start_deploy(deploy.clone(), None);
        }
    }

    /// Starts one recorded build.
    pub(crate) fn start_build(&self, build: Build, first: Option<build::Input>) {
        if build.run.state.is_final() {
            self.publish(Change::Build(Arc::new(build)));
            return;
        }
        let key = (build.repo, build.number);
        let (inbox, inputs) = mpsc::channel(INBOX_MAX);
        let done = CancellationToken::new();
        let before = {
            let mut lanes = self.lanes();
            if lanes.builds.contains_key(&key) {
                return;
            }
            let mut before = Vec::new();
            for ((repo, _), other) in &lanes.builds {
                if *repo != build.repo || other.ref_name != build.ref_name {
                    continue;
                }
                before.push(other.done.clone());
                // A retry builds an old commit again: the newest one does not give way to it.
                if other.event < build.event {
                    // Full or gone means that it is busy or over: then there is nothing to supersede.
                    drop(other.inbox.try_send(build::Input::Supersede));
                }
            }
            let (ref_name, event, done) = (build.ref_name.clone(), build.event, done.clone());
            lanes.builds.insert(key, BuildPlace { ref_name, event, inbox, done });
            Before(before)
        };
        let this = self.clone();
        self.publish(Change::Build(Arc::new(build.clone())));
        self.0.tasks.spawn(async move {
            let _done = done.drop_guard();
            let life = build_task::run(&this.0, build, first, inputs, before);
            let _ = this.0.abandon.run_until_cancelled(life).await;
            this.lanes().builds.remove(&key);
        });
    }

    /// Starts one recorded deploy; of those to the same cluster the one recorded last wins, in whichever order they
    /// arrive here.
    pub(crate) fn start_deploy(&self, deploy: Deploy, first: Option<deploy::Input>) {
        if deploy.run.state.is_final() {
            self.publish(Change::Deploy(Arc::new(deploy)));
            return;
        }
        let key = (deploy.repo, deploy.number);
        let (inbox, inputs) = mpsc::channel(INBOX_MAX);
        let done = CancellationToken::new();
        let before = {
            let mut lanes = self.lanes();
            if lanes.deploys.contains_key(&key) {
                return;
            }
            let mut before = Vec::new();
            for ((repo, number), other) in &lanes.deploys {
                if *repo != deploy.repo || other.cluster != deploy.cluster {
                    continue;
                }
                before.push(other.done.clone());
                let gives_way = if *number < deploy.number { &other.inbox } else { &inbox };
                // Full or gone means that it is over, or told already.
                drop(gives_way.try_send(deploy::Input::Supersede));
            }
            let (cluster, done) = (deploy.cluster.clone(), done.clone());
            lanes.deploys.insert(key, DeployPlace { cluster, inbox, done });
            Before(before)
        };
        let this = self.clone();
        self.publish(Change::Deploy(Arc::new(deploy.clone())));
        self.0.tasks.spawn(async move {
            let _done = done.drop_guard();
            let life = deploy_task::run(&this.0, deploy, first, inputs, before);
            let _ = this.0.abandon.run_until_cancelled(life).await;
            this.lanes().deploys.remove(&key);
        });
    }

    /// Asks a build to stop. False if it does not run here (it is final).
    pub(crate) async fn cancel_build(&self, repo: RepoId, number: BuildNumber) -> bool {
        let inbox = self.lanes().builds.get(&(repo, number)).map(|place| place.inbox.clone());
        match inbox {
            Some(inbox) => inbox.send(build::Input::Cancel).await.is_ok(),
            None => false,
        }
    }

    /// Asks a deploy to stop. False if it does not run here (it is final).
    pub(crate) async fn cancel_deploy(&self, repo: RepoId, number: DeployNumber) -> bool {
        let inbox = self.lanes().deploys.get(&(repo, number)).map(|place| place.inbox.clone());
        match inbox {
            Some(inbox) => inbox.send(deploy::Input::Cancel).await.is_ok(),
            None => false,
        }
    }

    /// How many builds and deploys are not final.
    pub(crate) fn unfinished(&self) -> (usize, usize) {
        let lanes = self.lanes();
        (lanes.builds.len(), lanes.deploys.len())
    }

    /// Stops everything of a repository that is about to go, and waits for it (at most `grace`).
    pub(crate) async fn stop_repo(&self, repo: RepoId, grace: Duration) {
        let ends: Vec<CancellationToken> = {
            let lanes = self.lanes();
            let builds = lanes.builds.iter().filter(|((r, _), _)| *r == repo).map(|(_, place)| {
                drop(place.inbox.try_send(build::Input::Cancel));
                place.done.clone()
            });
            let deploys = lanes.deploys.iter().filter(|((r, _), _)| *r == repo).map(|(_, place)| {
                drop(place.inbox.try_send(deploy::Input::Cancel));
                place.done.clone()
            });
            builds.chain(deploys).collect()
        };
        let all = async {
            for end in ends {
                end.cancelled().await;
            }
        };
        // Out of patience is fine: a task of a repository that is gone finds its record gone and ends.
        drop(tokio::time::timeout(grace, all).await);
    }

    /// Lets work under way go on for at most `grace`, starts nothing new, then ends. What is cut off is taken up again
    /// at the next start.
    pub(crate) async fn drain(&self, grace: Duration) {
        self.0.stop.cancel();
        self.0.tasks.close();
        if tokio::time::timeout(grace, self.0.tasks.wait()).await.is_err() {
            tracing::info!(left = self.0.tasks.len(), "work under way is taken up again at the next start");
            self.0.cut.cancel();
            drop(tokio::time::timeout(CUT_MAX, self.0.tasks.wait()).await);
        }
    }

    /// Drops every task where it stands, as `kill -9` would.
    #[cfg(test)]
    fn abandon(&self) {
        self.0.abandon.cancel();
    }

    fn lanes(&self) -> std::sync::MutexGuard<'_, Lanes> {
        // Every change of the maps is one insert or remove: a panic elsewhere cannot have left them half-changed.
        self.0.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, change: Change) {
        self.0.publish(change);
    }
}

impl Inner {
    fn publish(&self, change: Change) {
        // Nobody listening is fine.
        drop(self.changes.send(change));
    }

    /// Writes a record, trying again while the disk refuses: an effect must not run before its record stands.
    /// False when the server stops first.
    async fn record(
        &self,
        what: &str,
        write: impl Fn(&Store) -> Result<(), Problem> + Clone + Send + 'static,
    ) -> bool {
        let mut pause = Duration::from_millis(100);
        loop {
            let (store, write) = (self.store.clone(), write.clone());
            match blocking(move || write(&store)).await {
                Ok(()) => return true,
                Err(problem) => tracing::error!(%problem, what, "the record cannot be written; trying again"),
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(Duration::from_secs(10)),
                () = self.stop.cancelled() => return false,
            }
        }
    }
}

/// Runs blocking work on a thread that may block.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| {
        Err(Problem::new(
            slipway_core::ProblemKind::Broken,
            "An internal task failed unexpectedly.",
            "Look at the server's log, and report it.",
        ))
    })
}
