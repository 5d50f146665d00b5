//! A deploy and its machine: one reconcile of one manifest commit to one cluster.
//!
//! The whole reconcile is one effect that is harmless when done twice (server-side apply, inventory written ahead of
//! every write, deletes bound to uid), so a crash is answered by doing it again.

use serde::{Deserialize, Serialize};

use crate::git::Oid;
use crate::id::{BuildNumber, DeployNumber, EventId, RepoId, UnixMillis};
use crate::limits::{DEPLOY_NOTES_MAX, RETRY_PAUSE_MS_MAX, RETRY_PAUSE_MS_MIN};
use crate::name::ClusterName;
use crate::run::{Failure, FailureClass, Run};

/// The phases, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Read and parse the manifests.
    Render,
    /// Write objects to the cluster.
    Apply,
    /// Wait until what was applied is healthy.
    Rollout,
    /// Delete what left the repository.
    Prune,
}

/// Where a deploy stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeployState {
    /// Waits for its turn: one deploy at a time per repository and cluster.
    Queued,
    /// A phase is under way.
    Running,
    /// The cluster did not answer; tried again at `retry_at`.
    Waiting,
    /// Everything is applied and healthy.
    Healthy,
    /// It failed.
    Failed,
    /// Somebody cancelled it.
    Cancelled,
    /// A newer commit took its place.
    Superseded,
}

impl DeployState {
    /// True for the states that never change again.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Healthy | Self::Failed | Self::Cancelled | Self::Superseded)
    }
}

/// An object's health, worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// As it should be.
    Healthy,
    /// Paused by its owner.
    Suspended,
    /// On its way.
    Progressing,
    /// Not in the cluster.
    Missing,
    /// Not going to be healthy by itself.
    Degraded,
    /// Cannot be told.
    Unknown,
}

/// What was done with an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Not reached yet.
    Pending,
    /// Made.
    Created,
    /// Changed.
    Configured,
    /// Was as wanted.
    Unchanged,
    /// Deleted, since it left the repository.
    Pruned,
    /// Left the repository but is kept (prune is off, or it is protected).
    Kept,
    /// Refused by the cluster.
    Refused,
}

/// One object of a deploy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectReport {
    /// API group; empty for the core group.
    pub group: String,
    /// API version.
    pub version: String,
    /// Kind.
    pub kind: String,
    /// Namespace; `None` for objects of no namespace.
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
    /// `file:line` it came from; empty for pruned ones.
    pub source: String,
    /// What was done.
    pub change: Change,
    /// How it is.
    pub health: Health,
    /// Why, where that is not plain.
    pub message: String,
}

/// Why a deploy runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum DeployCause {
    /// An event moved the bound branch.
    Event,
    /// A build's bump moved it.
    Build {
        /// The application's repository.
        source: RepoId,
        /// Its build.
        build: BuildNumber,
    },
    /// Somebody asked for it.
    Sync,
    /// Somebody asked for an earlier deploy's commit.
    Rollback {
        /// That deploy.
        to: DeployNumber,
    },
}

/// A deploy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deploy {
    /// Where.
    pub repo: RepoId,
    /// Which.
    pub number: DeployNumber,
    /// The event that owes it; `None` where somebody asked for it.
    pub event: Option<EventId>,
    /// Why.
    pub cause: DeployCause,
    /// To where.
    pub cluster: ClusterName,
    /// What is applied.
    pub commit: Oid,
    /// The commit's subject line.
    pub title: String,
    /// Who pushed or asked.
    pub actor: String,
    /// The phase under way, or the last one.
    pub phase: Phase,
    /// Its objects.
    pub objects: Vec<ObjectReport>,
    /// Remarks: warnings of the cluster, what was skipped and why.
    pub notes: Vec<String>,
    /// Where it stands.
    #[serde(flatten)]
    pub run: Run<DeployState>,
}

/// What happened to a deploy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Its turn has come.
    Start,
    /// A phase began.
    Entered(Phase),
    /// Objects changed or their health did.
    Progress(Vec<ObjectReport>),
    /// A remark.
    Note(String),
    /// Applied, healthy and pruned.
    Done(Vec<ObjectReport>),
    /// It failed.
    Failed(Failure),
    /// Somebody cancelled it.
    Cancel,
    /// A newer deploy of the same binding is queued.
    Supersede,
    /// The server has started and finds it unfinished.
    Restarted,
    /// `retry_at` has come.
    RetryDue,
}

/// What the supervisor shall do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Reconcile the cluster with the commit.
    Reconcile,
    /// Stop at the next safe point.
    Stop,
    /// Come back with [`Input::RetryDue`].
    WakeAt(UnixMillis),
    /// Tell whoever follows; let the next deploy of the binding begin.
    Finish,
}

impl Deploy {
    /// A queued deploy. Its number is given by the store.
    #[allow(clippy::too_many_arguments)] // A record's facts; a struct for them would be the record again.
    pub fn queued(
        repo: RepoId,
        event: Option<EventId>,
        cause: DeployCause,
        cluster: ClusterName,
        commit: Oid,
        title: String,
        actor: String,
        now: UnixMillis,
    ) -> Self {
        Self {
            repo,
            number: DeployNumber(0),
            event,
            cause,
            cluster,
            commit,
            title,
            actor,
            phase: Phase::Render,
            objects: Vec::new(),
            notes: Vec::new(),
            run: Run::new(DeployState::Queued, now),
        }
    }

    /// Takes one input: changes the state and says what to do. An input that does not fit the state changes nothing.
    pub fn step(&mut self, input: Input, now: UnixMillis) -> Vec<Effect> {
        if self.run.state.is_final() {
            return Vec::new();
        }
        match (input, self.run.state) {
            (Input::Start, DeployState::Queued) | (Input::RetryDue, DeployState::Waiting) => self.begin(now),
            (Input::Restarted, DeployState::Running) => {
                self.run.restarts += 1;
                self.begin(now)
            }
            (Input::Restarted, DeployState::Waiting) => {
                vec![Effect::WakeAt(self.run.retry_at.unwrap_or(now))]
            }
            (Input::Cancel, state) => self.stop(state, DeployState::Cancelled, now),
            (Input::Supersede, state) => self.stop(state, DeployState::Superseded, now),
            (Input::Entered(phase), DeployState::Running) => {
                self.phase = phase;
                Vec::new()
            }
            (Input::Progress(objects), DeployState::Running) => {
                self.objects = objects;
                Vec::new()
            }
            (Input::Note(note), DeployState::Running) => {
                if self.notes.len() < DEPLOY_NOTES_MAX && !self.notes.contains(&note) {
                    self.notes.push(note);
                }
                Vec::new()
            }
            (Input::Done(objects), DeployState::Running) => {
                self.objects = objects;
                self.run.failure = None;
                self.finish(DeployState::Healthy, now)
            }
            (Input::Failed(failure), DeployState::Running) => self.failed(failure, now),
            _ => Vec::new(),
        }
    }

    fn begin(&mut self, now: UnixMillis) -> Vec<Effect> {
        self.run.state = DeployState::Running;
        self.phase = Phase::Render;
        self.run.retry_at = None;
        self.run.failure = None;
        self.run.started.get_or_insert(now);
        vec![Effect::Reconcile]
    }

    /// A cluster that does not answer is tried again without end: the newest commit always wins in the end, and a
    /// newer one supersedes this.
    fn failed(&mut self, failure: Failure, now: UnixMillis) -> Vec<Effect> {
        let infra = failure.class == FailureClass::Infra;
        self.run.failure = Some(failure);
        if !infra {
            return self.finish(DeployState::Failed, now);
        }
        let at = now.plus_ms((RETRY_PAUSE_MS_MIN << self.run.retries.min(16)).min(RETRY_PAUSE_MS_MAX));
        self.run.retries += 1;
        self.run.state = DeployState::Waiting;
        self.run.retry_at = Some(at);
        vec![Effect::WakeAt(at)]
    }

    fn stop(&mut self, was: DeployState, becomes: DeployState, now: UnixMillis) -> Vec<Effect> {
        let mut effects = if was == DeployState::Running { vec![Effect::Stop] } else { Vec::new() };
        effects.extend(self.finish(becomes, now));
        effects
    }

    fn finish(&mut self, state: DeployState, now: UnixMillis) -> Vec<Effect> {
        self.run.state = state;
        self.run.retry_at = None;
        self.run.ended = Some(now);
        vec![Effect::Finish]
    }
}

/// One object that this server applied: remembered before it is written, forgotten after it is gone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct InventoryEntry {
    /// API group; empty for the core group.
    pub group: String,
    /// API version it was applied with.
    pub version: String,
    /// Kind.
    pub kind: String,
    /// Namespace; `None` for objects of no namespace.
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
    /// The object's uid, once the cluster has told it.
    pub uid: Option<String>,
}
