//! The kinds of durable work on this server, each with its desk (`jobs/`), its records in the store and its hands.
//!
//! Knows no rule about builds or deploys, and nothing about how work is carried out: it puts those together.

use std::sync::Arc;
use std::time::Duration;

use slipway_core::accept::Orders;
use slipway_core::build::Build;
use slipway_core::deploy::Deploy;
use slipway_core::run::WorkId;
use slipway_core::{BuildNumber, DeployNumber, Problem, ProblemKind, RepoId};
use slipway_jobs::{Changes, Desk, Hands, Kept, Notice, Parts, Records, Rules};
pub(crate) use slipway_jobs::{blocking, now};
use slipway_store::Store;
use tokio::sync::broadcast;

#[cfg(test)]
mod tests;

/// Runs builds and deploys. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Supervisor {
    pub(crate) builds: Desk<Build>,
    pub(crate) deploys: Desk<Deploy>,
    changes: Changes,
}

/// Who carries out what, and how much at once.
pub(crate) struct Workers {
    pub(crate) builds: Arc<dyn Hands<Build>>,
    pub(crate) deploys: Arc<dyn Hands<Deploy>>,
    pub(crate) builds_max: usize,
    pub(crate) deploys_max: usize,
    /// This node's name.
    pub(crate) node: String,
}

impl Supervisor {
    pub(crate) fn new(store: &Store, workers: Workers) -> Self {
        let changes = Changes::default();
        let records = Arc::new(InStore(store.clone()));
        Self {
            builds: Desk::new(Parts {
                records: records.clone(),
                hands: workers.builds,
                changes: changes.clone(),
                rules: Rules::new(&workers.node, workers.builds_max),
            }),
            deploys: Desk::new(Parts {
                records,
                hands: workers.deploys,
                changes: changes.clone(),
                rules: Rules::new(&workers.node, workers.deploys_max),
            }),
            changes,
        }
    }

    /// Takes up everything that the store holds unfinished. Called once, before anything can order new work. Builds begin
    /// only once their desk is opened: after the engine is swept, or the sweep would take their containers away.
    pub(crate) async fn resume(&self) -> Result<(), Problem> {
        self.deploys.open();
        self.builds.resume().await?;
        self.deploys.resume().await
    }

    /// Starts the work that an accepted push owes.
    pub(crate) fn order(&self, orders: &Orders) {
        orders.builds.iter().for_each(|build| self.builds.start(build));
        orders.deploys.iter().for_each(|deploy| self.deploys.start(deploy));
    }

    /// Changes of all kinds from now on.
    pub(crate) fn changes(&self) -> broadcast::Receiver<Notice> {
        self.changes.listen()
    }

    /// Asks a build to stop. False if it does not run here (it is final).
    pub(crate) async fn cancel_build(&self, repo: RepoId, number: BuildNumber) -> bool {
        self.builds.cancel(WorkId { repo, number: number.0 }).await
    }

    /// Asks a deploy to stop. False if it does not run here (it is final).
    pub(crate) async fn cancel_deploy(&self, repo: RepoId, number: DeployNumber) -> bool {
        self.deploys.cancel(WorkId { repo, number: number.0 }).await
    }

    /// Stops everything of a repository that is about to go, and waits for it (at most `grace`).
    pub(crate) async fn stop_repo(&self, repo: RepoId, grace: Duration) {
        tokio::join!(self.builds.stop_repo(repo, grace), self.deploys.stop_repo(repo, grace));
    }

    /// Lets work under way go on for at most `grace`, starts nothing new, then ends.
    pub(crate) async fn drain(&self, grace: Duration) {
        tokio::join!(self.builds.drain(grace), self.deploys.drain(grace));
    }
}

/// Every kind's records, in the store.
struct InStore(Store);

impl Records<Build> for InStore {
    fn unfinished(&self) -> Result<Vec<Build>, Problem> {
        self.0.unfinished_builds()
    }
    fn put(&self, work: &Build) -> Result<Kept, Problem> {
        kept(self.0.put_build(work))
    }
}

impl Records<Deploy> for InStore {
    fn unfinished(&self) -> Result<Vec<Deploy>, Problem> {
        self.0.unfinished_deploys()
    }
    fn put(&self, work: &Deploy) -> Result<Kept, Problem> {
        kept(self.0.put_deploy(work))
    }
}

/// What the store says of a record that was to be written.
fn kept(written: Result<(), Problem>) -> Result<Kept, Problem> {
    match written {
        Ok(()) => Ok(Kept::Written),
        Err(problem) if problem.kind == ProblemKind::NotFound => Ok(Kept::Gone),
        Err(problem) if problem.kind == ProblemKind::Conflict => Ok(Kept::Taken),
        Err(problem) => Err(problem),
    }
}
