//! A deploy and its machine: one reconcile of one manifest commit to one cluster.
//!
//! The whole reconcile is one effect that is harmless when done twice (server-side apply, inventory written ahead of
//! every write, deletes bound to uid), so a crash is answered by doing it again.

use serde::{Deserialize, Serialize};

use crate::git::Oid;
use crate::id::{BuildNumber, DeployNumber, EventId, RepoId, UnixMillis};
use crate::limits::{DEPLOY_NOTES_MAX, DEPLOY_RETRIES_MAX, RETRY_PAUSE_MS_MAX, RETRY_PAUSE_MS_MIN};
use crate::name::ClusterName;
use crate::run::{Failure, Kind, Machine, Next, Patience, Run, Signal, Standing, State, WorkId};

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
    /// Everything is applied and healthy, but what left the repository is kept until somebody confirms that it may go: the
    /// cluster has more than the commit says.
    Kept,
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
        matches!(self, Self::Healthy | Self::Kept | Self::Failed | Self::Cancelled | Self::Superseded)
    }
}

impl State for DeployState {
    const RUNNING: Self = Self::Running;
    const WAITING: Self = Self::Waiting;
    const FAILED: Self = Self::Failed;

    fn standing(self) -> Standing {
        match self {
            Self::Queued => Standing::Queued,
            Self::Running => Standing::Running,
            Self::Waiting => Standing::Waiting,
            Self::Healthy | Self::Kept | Self::Failed | Self::Cancelled | Self::Superseded => Standing::Over,
        }
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
    /// Left the repository, and is kept until somebody confirms that so many may go.
    Held,
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
    /// An owner asked for it, and for taking over what others have applied of the commit's objects.
    Adopt,
    /// Somebody unbinds the repository, and asked for all that it has in the cluster to be deleted.
    Clear,
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
    /// What can happen to all work.
    Signal(Signal),
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
}

impl From<Signal> for Input {
    fn from(signal: Signal) -> Self {
        Self::Signal(signal)
    }
}

/// What is done for a deploy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Reconcile the cluster with the commit.
    Reconcile,
}

/// A cluster that does not answer is waited for until somebody must have noticed: the newest commit always wins in the
/// end, and a newer one supersedes this.
const PATIENCE: Patience = Patience {
    retries_max: DEPLOY_RETRIES_MAX,
    pause_ms_min: RETRY_PAUSE_MS_MIN,
    pause_ms_max: RETRY_PAUSE_MS_MAX,
};

impl Machine for Deploy {
    type State = DeployState;
    type Input = Input;
    type Effect = Effect;
    type Lane = (RepoId, ClusterName);

    const KIND: Kind = Kind::Deploy;
    const PAUSE_MS_MAX: u64 = RETRY_PAUSE_MS_MAX;

    fn run(&self) -> &Run<DeployState> {
        &self.run
    }

    fn run_mut(&mut self) -> &mut Run<DeployState> {
        &mut self.run
    }

    fn id(&self) -> WorkId {
        WorkId { repo: self.repo, number: self.number.0 }
    }

    fn lane(&self) -> (RepoId, ClusterName) {
        (self.repo, self.cluster.clone())
    }

    /// Of those to one cluster the one recorded last wins, in whichever order they arrive.
    fn gives_way_to(&self, other: &Self) -> bool {
        self.number < other.number
    }

    fn step(&mut self, input: Input, now: UnixMillis) -> Next<Effect> {
        if self.run.is_over() {
            return Next::Nothing;
        }
        match (input, self.run.state) {
            (Input::Signal(signal), state) => return self.told(signal, state, now),
            (Input::Entered(phase), DeployState::Running) => self.phase = phase,
            (Input::Progress(objects), DeployState::Running) => self.objects = objects,
            (Input::Note(note), DeployState::Running) => {
                if self.notes.len() < DEPLOY_NOTES_MAX && !self.notes.contains(&note) {
                    self.notes.push(note);
                }
            }
            (Input::Done(objects), DeployState::Running) => {
                self.objects = objects;
                self.run.failure = None;
                let state = if self.held() > 0 { DeployState::Kept } else { DeployState::Healthy };
                return self.run.end(state, now);
            }
            (Input::Failed(failure), DeployState::Running) => return self.run.fail(failure, PATIENCE, now),
            (_, _) => {}
        }
        Next::Nothing
    }
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

    /// How many objects wait for a confirmation that they may be deleted.
    pub fn held(&self) -> usize {
        self.objects.iter().filter(|o| o.change == Change::Held).count()
    }

    fn told(&mut self, signal: Signal, state: DeployState, now: UnixMillis) -> Next<Effect> {
        match (signal, state) {
            (Signal::Start, DeployState::Queued) | (Signal::RetryDue, DeployState::Waiting) => {
                self.begin(now)
            }
            (Signal::Restarted, DeployState::Running) => match self.run.died(Kind::Deploy, now) {
                Some(over) => over,
                None => self.begin(now),
            },
            (Signal::Interrupted, DeployState::Running) => self.run.interrupt(Kind::Deploy, now),
            (Signal::Cancel, _) => self.run.end(DeployState::Cancelled, now),
            (Signal::Supersede, _) => self.run.end(DeployState::Superseded, now),
            (_, _) => Next::Nothing,
        }
    }

    fn begin(&mut self, now: UnixMillis) -> Next<Effect> {
        self.run.begin(now);
        self.phase = Phase::Render;
        Next::Do(Effect::Reconcile)
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
