//! The kinds of durable work on this server, each with its desk (`jobs/`), its records in the store and its hands.
//!
//! Knows no rule about builds or deploys, and nothing about how work is carried out: it puts those together.

use std::sync::Arc;
use std::time::Duration;

use slipway_core::accept::Orders;
use slipway_core::build::Build;
use slipway_core::delivery::Delivery;
use slipway_core::deploy::Deploy;
use slipway_core::limits::Limits;
use slipway_core::run::{Kind, Machine, WorkId};
use slipway_core::{Problem, ProblemKind, RepoId};
use slipway_jobs::{Changes, Desk, Hands, Kept, Notice, Parts, Records, Rules};
pub(crate) use slipway_jobs::{blocking, now};
use slipway_store::Store;
use tokio::sync::broadcast;

#[cfg(test)]
mod tests;

/// Runs builds, deploys and deliveries. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Supervisor {
    pub(crate) builds: Desk<Build>,
    pub(crate) deploys: Desk<Deploy>,
    pub(crate) deliveries: Desk<Delivery>,
    changes: Changes,
    store: Store,
}

/// Who carries out what, and how much at once.
pub(crate) struct Workers {
    /// This node's name.
    pub(crate) node: String,
    pub(crate) builds: Arc<dyn Hands<Build>>,
    pub(crate) deploys: Arc<dyn Hands<Deploy>>,
    pub(crate) deliveries: Arc<dyn Hands<Delivery>>,
    pub(crate) limits: Arc<Limits>,
}

impl Supervisor {
    pub(crate) fn new(store: &Store, workers: Workers) -> Self {
        let changes = Changes::default();
        let Workers { node, builds, deploys, deliveries, limits } = workers;
        let of_builds = Rules::new(&node, limits.builds_max);
        let of_builds = Rules { slots_each: limits.builds_per_repo_max, ..of_builds };
        let records = Arc::new(InStore(store.clone()));
        let deliveries = desk(records, deliveries, &changes, Rules::new(&node, limits.deliveries_max));
        let records = Arc::new(Told { store: store.clone(), deliveries: deliveries.clone() });
        Self {
            builds: desk(records.clone(), builds, &changes, of_builds),
            deploys: desk(records, deploys, &changes, Rules::new(&node, limits.deploys_max)),
            deliveries,
            changes,
            store: store.clone(),
        }
    }

    /// Takes up everything that the store holds unfinished. Called once, before anything can order new work. Builds begin
    /// only once their desk is opened: after the engine is swept, or the sweep would take their containers away.
    pub(crate) async fn resume(&self) -> Result<(), Problem> {
        self.deploys.open();
        self.deliveries.open();
        self.take_up().await
    }

    /// Takes up what is recorded and not under way: after the database was opened anew, whose last changes nobody was told of.
    pub(crate) async fn take_up(&self) -> Result<(), Problem> {
        self.builds.resume().await?;
        self.deploys.resume().await?;
        self.deliveries.resume().await
    }

    /// Starts the work that an accepted push owes.
    pub(crate) fn order(&self, orders: &Orders) {
        orders.builds.iter().for_each(|build| self.builds.start(build));
        orders.deploys.iter().for_each(|deploy| self.deploys.start(deploy));
    }

    /// Starts what webhooks of a repository are owed. Blocking.
    pub(crate) fn deliver(&self, repo: RepoId) {
        deliver(&self.store, &self.deliveries, repo);
    }

    /// Changes of all kinds from now on.
    pub(crate) fn changes(&self) -> broadcast::Receiver<Notice> {
        self.changes.listen()
    }

    /// Asks work to stop. False if it does not run here (it is final).
    pub(crate) async fn cancel(&self, kind: Kind, id: WorkId) -> bool {
        match kind {
            Kind::Build => self.builds.cancel(id).await,
            Kind::Deploy => self.deploys.cancel(id).await,
            Kind::Delivery => self.deliveries.cancel(id).await,
        }
    }

    /// Stops everything of a repository that is about to go, and waits for it (at most `grace`).
    pub(crate) async fn stop_repo(&self, repo: RepoId, grace: Duration) {
        tokio::join!(
            self.builds.stop_repo(repo, grace),
            self.deploys.stop_repo(repo, grace),
            self.deliveries.stop_repo(repo, grace),
        );
    }

    /// Lets work under way go on for at most `grace`, starts nothing new, then ends.
    pub(crate) async fn drain(&self, grace: Duration) {
        tokio::join!(self.builds.drain(grace), self.deploys.drain(grace), self.deliveries.drain(grace));
    }
}

fn desk<W: Machine>(
    records: Arc<dyn Records<W>>,
    hands: Arc<dyn Hands<W>>,
    changes: &Changes,
    rules: Rules,
) -> Desk<W> {
    Desk::new(Parts { records, hands, changes: changes.clone(), rules })
}

/// Starts what is owed, oldest first. What cannot be read now is found at the next push, or the next start.
fn deliver(store: &Store, desk: &Desk<Delivery>, repo: RepoId) {
    match store.unfinished_deliveries(Some(repo)) {
        Ok(owed) => owed.iter().for_each(|delivery| desk.start(delivery)),
        Err(problem) => tracing::error!(%repo, %problem, "the deliveries that are owed cannot be read"),
    }
}

/// Deliveries' records.
struct InStore(Store);

impl Records<Delivery> for InStore {
    fn unfinished(&self) -> Result<Vec<Delivery>, Problem> {
        self.0.unfinished_deliveries(None)
    }
    fn put(&self, work: &Delivery) -> Result<Kept, Problem> {
        kept(self.0.put_delivery(work))
    }
}

/// Records of work whose end may owe a delivery: the store has recorded it with the end.
struct Told {
    store: Store,
    deliveries: Desk<Delivery>,
}

impl Told {
    fn end<W: Machine>(&self, work: &W, kept: Kept) -> Kept {
        if work.run().is_over() && kept == Kept::Written {
            deliver(&self.store, &self.deliveries, work.id().repo);
        }
        kept
    }
}

impl Records<Build> for Told {
    fn unfinished(&self) -> Result<Vec<Build>, Problem> {
        self.store.unfinished_builds()
    }
    fn put(&self, work: &Build) -> Result<Kept, Problem> {
        Ok(self.end(work, kept(self.store.put_build(work))?))
    }
}

impl Records<Deploy> for Told {
    fn unfinished(&self) -> Result<Vec<Deploy>, Problem> {
        self.store.unfinished_deploys()
    }
    fn put(&self, work: &Deploy) -> Result<Kept, Problem> {
        Ok(self.end(work, kept(self.store.put_deploy(work))?))
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
