//! Carries out deploys with the deployer room: hands it the manifests of the commit, journals what the reconcile tells.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use slipway_core::deploy::{Deploy, DeployCause, Effect, Input, InventoryEntry, ObjectReport, Phase};
use slipway_core::files::Files;
use slipway_core::run::{Failure, FailureClass};
use slipway_core::target::{Cluster, ClusterBinding, RepoRecord};
use slipway_core::{ClusterName, EventId, Oid, Problem, ProblemKind, RepoId, Secret};
use slipway_deployer::{Connection, DeployError, Journal, Manifest, PruneConfirmation, Reconcile};
use slipway_jobs::{Hands, Progress};
use slipway_store::Store;
use tokio_util::sync::CancellationToken;

use crate::admission::refused;
use crate::manifests::{self, PUSH_COMMITS_MAX};
use crate::rooms::Rooms;
use crate::supervisor::blocking;

/// How long a stopped reconcile may take to reach a safe point.
const STOP_GRACE: Duration = Duration::from_secs(45);

/// Deploys to the clusters that the store knows.
pub(crate) struct ClusterDeploys {
    rooms: Rooms,
}

impl ClusterDeploys {
    pub(crate) fn new(rooms: Rooms) -> Self {
        Self { rooms }
    }

    async fn reconcile(
        &self,
        deploy: &Deploy,
        progress: Progress<Deploy>,
        stop: &CancellationToken,
    ) -> Result<Vec<ObjectReport>, Failure> {
        let mut plan = Plan::load(&self.rooms, deploy.repo, Some(deploy)).await?;
        let clears = deploy.cause == DeployCause::Clear;
        let manifests = if clears { Vec::new() } else { plan.render(&self.rooms, deploy.commit).await? };
        let prune = match clears {
            true => PruneConfirmation::All,
            false => plan.confirmation(&self.rooms, deploy.commit, deploy.event).await?,
        };
        plan.admit(&self.rooms, &manifests).await?;
        let connection = plan.connect(&self.rooms).await?;
        let journal = StoreJournal {
            store: self.rooms.store.clone(),
            repo: deploy.repo,
            cluster: plan.cluster.name.clone(),
            progress,
        };
        let bound = plan.binding.clone();
        // Whoever asks for all of it to go means it also where what leaves the repository is kept.
        plan.binding.prune |= clears;
        let reconcile = Reconcile {
            binding: &plan.binding,
            repo: deploy.repo,
            repo_name: plan.record.name.clone(),
            commit: deploy.commit,
            manifests,
            inventory: plan.inventory.clone(),
            prune,
            takes_all: deploy.cause == DeployCause::Adopt,
        };
        let objects = connection.reconcile(reconcile, &journal, stop).await.map_err(failure)?;
        if clears {
            unbind(&self.rooms, bound).await?;
        }
        Ok(objects)
    }
}

/// Takes a binding back whose objects are gone, if it is still that one.
async fn unbind(rooms: &Rooms, bound: ClusterBinding) -> Result<(), Failure> {
    let store = rooms.store.clone();
    let unbound = blocking(move || {
        store.transact(|tx| match tx.view().bindings(bound.repo)?.cluster {
            Some(now) if now == bound => tx.unbind_cluster(bound.repo),
            _ => Ok(()),
        })
    });
    unbound.await.map_err(|problem| Failure { class: FailureClass::Infra, problem })
}

#[async_trait]
impl Hands<Deploy> for ClusterDeploys {
    async fn carry_out(
        &self,
        deploy: &Deploy,
        effect: &Effect,
        progress: Progress<Deploy>,
        stop: &CancellationToken,
    ) -> Input {
        match effect {
            Effect::Reconcile => match self.reconcile(deploy, progress, stop).await {
                Ok(objects) => Input::Done(objects),
                Err(failure) => Input::Failed(failure),
            },
        }
    }

    fn stop_grace(&self) -> Duration {
        STOP_GRACE
    }
}

/// Everything that a look at the cluster needs, read from the store at once.
pub(crate) struct Plan {
    pub(crate) record: RepoRecord,
    pub(crate) binding: ClusterBinding,
    pub(crate) cluster: Cluster,
    pub(crate) inventory: Vec<InventoryEntry>,
    kubeconfig: Secret,
}

impl Plan {
    /// Reads binding, cluster, credentials and inventory; a deploy must still be bound to its cluster.
    pub(crate) async fn load(rooms: &Rooms, repo: RepoId, deploy: Option<&Deploy>) -> Result<Self, Failure> {
        let (store, wanted) = (rooms.store.clone(), deploy.map(|d| d.cluster.clone()));
        let loaded = blocking(move || {
            let Some(record) = store.repo(repo)? else {
                return Err(Problem::new(
                    ProblemKind::NotFound,
                    "The repository is gone.",
                    "Nothing needs to be done.",
                ));
            };
            let binding = store.bindings(repo)?.cluster;
            let binding = binding.filter(|b| wanted.as_ref().is_none_or(|w| *w == b.cluster));
            let Some(binding) = binding else { return Err(unbound(&record, wanted.as_ref())) };
            let name = &binding.cluster;
            let (cluster, kubeconfig) =
                store.read(|records| Ok((records.cluster(name)?, records.kubeconfig(name)?)))?;
            let (Some(cluster), Some(kubeconfig)) = (cluster, kubeconfig) else {
                return Err(unbound(&record, Some(&binding.cluster)));
            };
            let inventory = store.inventory(repo, &cluster.name)?;
            Ok(Self { record, binding, cluster, inventory, kubeconfig })
        });
        loaded.await.map_err(|problem| {
            let class = match problem.kind {
                ProblemKind::Denied | ProblemKind::NotFound => FailureClass::Policy,
                _ => FailureClass::Infra,
            };
            Failure { class, problem }
        })
    }

    pub(crate) async fn render(&self, rooms: &Rooms, commit: Oid) -> Result<Vec<Manifest>, Failure> {
        let (repositories, repo, path) =
            (rooms.repositories.clone(), self.record.id, self.binding.path.clone());
        let (renders, applied) = (rooms.renders, !self.inventory.is_empty());
        let rendered = blocking(move || {
            let snapshot = repositories.get(repo)?.snapshot()?;
            manifests::wanted(snapshot.as_ref(), &commit, &path, applied, &renders)
        });
        let rendered = rendered.await.map_err(|problem| {
            let class = match problem.kind {
                ProblemKind::Invalid | ProblemKind::TooLarge => FailureClass::User,
                _ => FailureClass::Infra,
            };
            Failure { class, problem }
        })?;
        rendered.map_err(|errors| failure(DeployError::Render(errors)))
    }

    /// What was said about deletes by the commits of the push that owes a deploy, or by its options; without one, by the
    /// commit itself.
    pub(crate) async fn confirmation(
        &self,
        rooms: &Rooms,
        commit: Oid,
        event: Option<EventId>,
    ) -> Result<PruneConfirmation, Failure> {
        let (repositories, repo, store) = (rooms.repositories.clone(), self.record.id, rooms.store.clone());
        let branch = self.binding.branch.clone();
        let said = blocking(move || {
            let event = event.map(|id| store.event(id)).transpose()?.flatten();
            let moved =
                event.as_ref().and_then(|e| e.updates.iter().find(|u| u.name == branch && u.new == commit));
            let old = moved.filter(|u| !u.is_create()).map(|u| u.old);
            let messages =
                repositories.get(repo)?.snapshot()?.messages(old.as_ref(), &commit, PUSH_COMMITS_MAX)?;
            let options = event.map(|e| e.options).unwrap_or_default();
            Ok(PruneConfirmation::of_push(&messages, &options))
        });
        said.await.map_err(|problem| Failure { class: FailureClass::Infra, problem })
    }

    /// Refuses images that the binding does not let in. Nothing is sent to the cluster before.
    async fn admit(&self, rooms: &Rooms, manifests: &[Manifest]) -> Result<(), Failure> {
        let told = rooms.admission.refusals(&self.binding, manifests).await;
        let told = told.map_err(|problem| Failure { class: FailureClass::Infra, problem })?;
        match told.as_slice() {
            [] => Ok(()),
            told => Err(Failure { class: FailureClass::Policy, problem: refused(&self.binding, told) }),
        }
    }

    pub(crate) async fn connect(&self, rooms: &Rooms) -> Result<Arc<Connection>, Failure> {
        rooms.clusters.connect(&self.cluster, &self.kubeconfig).await.map_err(failure)
    }
}

fn unbound(record: &RepoRecord, cluster: Option<&ClusterName>) -> Problem {
    let to = cluster.map_or("a cluster".to_owned(), |c| format!("cluster {c}"));
    Problem::new(
        ProblemKind::Denied,
        format!("{} is not bound to {to}.", record.name),
        format!("An owner can bind it: slipway bind {} --cluster NAME", record.name),
    )
}

/// A deploy's failure, with the class that decides whether it is tried again.
pub(crate) fn failure(error: DeployError) -> Failure {
    Failure { class: error.class(), problem: Problem::from(error) }
}

/// Records what the reconcile tells. Whoever listens may be gone; the inventory must not be lost.
struct StoreJournal {
    store: Store,
    repo: RepoId,
    cluster: ClusterName,
    progress: Progress<Deploy>,
}

impl StoreJournal {
    async fn tell(&self, input: Input) {
        // Closed means that the deploy was stopped: its record needs no more progress.
        drop(self.progress.send(input).await);
    }
}

#[async_trait]
impl Journal for StoreJournal {
    async fn save_inventory(&self, entries: Vec<InventoryEntry>) -> Result<(), Problem> {
        let (store, repo, cluster) = (self.store.clone(), self.repo, self.cluster.clone());
        blocking(move || store.put_inventory(repo, &cluster, &entries)).await
    }
    async fn entered(&self, phase: Phase) {
        self.tell(Input::Entered(phase)).await;
    }
    async fn progress(&self, objects: &[ObjectReport]) {
        self.tell(Input::Progress(objects.to_vec())).await;
    }
    async fn note(&self, note: String) {
        self.tell(Input::Note(note)).await;
    }
}
