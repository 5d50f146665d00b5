//! What all durable work has in common, whatever it does: where it stands, how often it was tried, whose it is, and what
//! a step of its machine can ask for.
//!
//! [`Run`] lies flat in the record of every kind of work ([`crate::build::Build`], [`crate::deploy::Deploy`]), so that
//! its fields are read and written as if they were the record's own. [`Machine`] is what a kind of work tells the room
//! that carries it out (`jobs/`): a pure function of state and input, and who comes after whom. Knows no clock, no
//! thread and no record but its own.

use std::fmt;
use std::hash::Hash;

use serde::{Deserialize, Serialize};

use crate::id::{RepoId, UnixMillis};
use crate::limits::RESTARTS_MAX;
use crate::problem::{Problem, ProblemKind};

/// Whose fault a failure is: decides whether trying again can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// The repository's: Dockerfile, slipway.toml, a failing test.
    User,
    /// A part's: engine, registry or network. Tried again.
    Infra,
    /// It took too long.
    Timeout,
    /// It is not allowed (no binding).
    Policy,
}

/// Why work failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Whose fault.
    pub class: FailureClass,
    /// What and what to do.
    pub problem: Problem,
}

/// Whose a run is: of several nodes over the same records one alone carries it out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The node that took it.
    pub owner: String,
    /// Until when, if it is not renewed.
    pub until: UnixMillis,
    /// Counts the takings: who holds an older one has lost it, however late it notices.
    pub fence: u64,
}

/// Where work of one kind stands. `S` is the kind's own states.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run<S> {
    /// Where it stands.
    pub state: S,
    /// Why it failed or waits.
    pub failure: Option<Failure>,
    /// How often it was tried again for reasons outside the repository.
    pub retries: u32,
    /// How often the server died under it.
    pub restarts: u32,
    /// When it is tried again, while it waits.
    pub retry_at: Option<UnixMillis>,
    /// Since when it is queued.
    pub created: UnixMillis,
    /// When it first began.
    pub started: Option<UnixMillis>,
    /// When it ended.
    pub ended: Option<UnixMillis>,
    /// Whose it is. `None` until somebody takes it; what has ended keeps its last one, for the fence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Lease>,
}

/// The kinds of durable work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// [`crate::build::Build`].
    Build,
    /// [`crate::deploy::Deploy`].
    Deploy,
    /// [`crate::delivery::Delivery`].
    Delivery,
}

impl Kind {
    /// The kind in a sentence.
    pub fn word(self) -> &'static str {
        match self {
            Self::Build => "build",
            Self::Deploy => "deploy",
            Self::Delivery => "delivery",
        }
    }
}

/// One piece of work of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkId {
    /// Whose.
    pub repo: RepoId,
    /// Its number there.
    pub number: u64,
}

/// Where work of any kind can stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It has not begun.
    Queued,
    /// Something is being done for it.
    Running,
    /// It has begun, and goes on at `retry_at`.
    Waiting,
    /// It never changes again.
    Over,
}

/// The states of one kind, of which all kinds have these.
pub trait State: Copy + PartialEq + fmt::Debug + Send + Sync + 'static {
    /// Something is being done.
    const RUNNING: Self;
    /// It goes on at `retry_at`.
    const WAITING: Self;
    /// It failed.
    const FAILED: Self;
    /// Where a state stands.
    fn standing(self) -> Standing;
}

/// What can happen to work of every kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Its turn has come.
    Start,
    /// `retry_at` has come.
    RetryDue,
    /// It says that it runs and nothing is being done for it: whoever did has died.
    Restarted,
    /// The server is being stopped and cuts short what is being done. No restart is counted: nothing died.
    Interrupted,
    /// Somebody cancelled it.
    Cancel,
    /// Newer work of its lane is queued.
    Supersede,
}

/// What a step asks for. Nothing that is asked for may be left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next<E> {
    /// Carry this out, and tell what came of it.
    Do(E),
    /// Come back with [`Signal::RetryDue`] at that moment.
    WakeAt(UnixMillis),
    /// It has just become final: clean up after it, and let the next of its lane begin.
    Over,
    /// Go on with what is being done.
    Nothing,
}

/// One kind of durable work, pure.
pub trait Machine: Clone + PartialEq + fmt::Debug + Send + Sync + 'static {
    /// Its states.
    type State: State;
    /// What can happen to it.
    type Input: From<Signal> + Clone + Send;
    /// What can be done for it.
    type Effect: Send + Sync;
    /// Of one lane one alone is under way, in the order in which they came.
    type Lane: Clone + Eq + Hash + Send;

    /// Which kind this is.
    const KIND: Kind;
    /// Longest pause before it is tried again, in milliseconds.
    const PAUSE_MS_MAX: u64;

    /// Where it stands.
    fn run(&self) -> &Run<Self::State>;
    /// The same, to be changed: for the lease alone.
    fn run_mut(&mut self) -> &mut Run<Self::State>;
    /// Which one it is.
    fn id(&self) -> WorkId;
    /// The lane that it stands in, for good.
    fn lane(&self) -> Self::Lane;
    /// Whether it is told to give way to `other` of the same lane. What it makes of that is the machine's.
    fn gives_way_to(&self, other: &Self) -> bool;
    /// Takes one input: changes the state and says what to do. What does not fit the state changes nothing.
    fn step(&mut self, input: Self::Input, now: UnixMillis) -> Next<Self::Effect>;
}

/// How often and after which pauses work is tried again that failed for reasons outside the repository.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// How often at most.
    pub retries_max: u32,
    /// The first pause, in milliseconds; it doubles.
    pub pause_ms_min: u64,
    /// The longest, in milliseconds.
    pub pause_ms_max: u64,
}

impl Patience {
    /// The pause before the retry of that number, counted from 0.
    fn pause_ms(&self, retries: u32) -> u64 {
        (self.pause_ms_min << retries.min(16)).min(self.pause_ms_max)
    }
}

impl<S> Run<S> {
    /// A run that has just been recorded.
    pub fn new(state: S, now: UnixMillis) -> Self {
        Self {
            state,
            failure: None,
            retries: 0,
            restarts: 0,
            retry_at: None,
            created: now,
            started: None,
            ended: None,
            lease: None,
        }
    }

    /// The fence of whoever holds it or held it last.
    pub fn fence(&self) -> u64 {
        self.lease.as_ref().map_or(0, |lease| lease.fence)
    }

    /// True if `node` may take it up: nobody has it, the node itself had it, or whoever has it does not renew it.
    pub fn is_free_for(&self, node: &str, now: UnixMillis) -> bool {
        self.lease.as_ref().is_none_or(|lease| lease.owner == node || lease.until <= now)
    }

    /// Makes it the node's until then: what others held of it is fenced off.
    pub fn take(&mut self, node: &str, until: UnixMillis) {
        self.lease = Some(Lease { owner: node.to_owned(), until, fence: self.fence().saturating_add(1) });
    }

    /// Moves the end of the lease, if there is one.
    pub fn hold_until(&mut self, until: UnixMillis) {
        if let Some(lease) = &mut self.lease {
            lease.until = until;
        }
    }

    /// True if whoever writes `new` over this has lost it: somebody else took it later.
    pub fn is_taken_from(&self, new: &Run<S>) -> bool {
        let Some(mine) = &self.lease else { return false };
        mine.fence > new.fence()
            || (mine.fence == new.fence()
                && new.lease.as_ref().is_some_and(|lease| lease.owner != mine.owner))
    }
}

impl<S: State> Run<S> {
    /// True if it never changes again.
    pub fn is_over(&self) -> bool {
        self.state.standing() == Standing::Over
    }

    /// Something is being done from now on.
    pub fn begin(&mut self, now: UnixMillis) {
        self.state = S::RUNNING;
        self.failure = None;
        self.retry_at = None;
        self.started.get_or_insert(now);
    }

    /// It goes on at `at`.
    pub fn wait<E>(&mut self, at: UnixMillis) -> Next<E> {
        self.state = S::WAITING;
        self.retry_at = Some(at);
        Next::WakeAt(at)
    }

    /// It failed: for reasons outside the repository it is tried again while patience lasts, else it is over.
    pub fn fail<E>(&mut self, failure: Failure, patience: Patience, now: UnixMillis) -> Next<E> {
        let again = failure.class == FailureClass::Infra && self.retries < patience.retries_max;
        self.failure = Some(failure);
        if !again {
            return self.end(S::FAILED, now);
        }
        let at = now.plus_ms(patience.pause_ms(self.retries));
        self.retries += 1;
        self.wait(at)
    }

    /// The server died under it. `Some` once it did so too often: the work itself may be what kills it.
    pub fn died<E>(&mut self, what: Kind, now: UnixMillis) -> Option<Next<E>> {
        if self.restarts < RESTARTS_MAX {
            self.restarts += 1;
            return None;
        }
        let what = what.word();
        let told = format!("The server stopped {} times during this {what}.", self.restarts + 1);
        let cure = format!("Look at the server's log and its memory, then start the {what} again.");
        let problem = Problem::new(ProblemKind::Broken, told, cure);
        self.failure = Some(Failure { class: FailureClass::Infra, problem });
        Some(self.end(S::FAILED, now))
    }

    /// The server is being stopped: it is put down where the next start, or another node, finds it.
    pub fn interrupt<E>(&mut self, what: Kind, now: UnixMillis) -> Next<E> {
        let told = format!("The server was stopped during this {}.", what.word());
        let problem = Problem::new(ProblemKind::Unavailable, told, "It goes on when the server is back.");
        self.failure = Some(Failure { class: FailureClass::Infra, problem });
        self.wait(now)
    }

    /// It is over.
    pub fn end<E>(&mut self, state: S, now: UnixMillis) -> Next<E> {
        self.state = state;
        self.retry_at = None;
        self.ended = Some(now);
        self.hold_until(now);
        Next::Over
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::BuildState;

    #[test]
    fn a_lease_counts_its_takings_and_who_lost_it_cannot_write() {
        let mut run = Run::new(BuildState::Running, UnixMillis(0));
        assert!(run.is_free_for("a", UnixMillis(0)));
        run.take("a", UnixMillis(100));
        assert!(run.is_free_for("a", UnixMillis(1)), "a restarted node finds its own");
        assert!(!run.is_free_for("b", UnixMillis(99)));
        assert!(run.is_free_for("b", UnixMillis(100)));
        let of_a = run.clone();
        run.take("b", UnixMillis(200));
        assert_eq!(run.fence(), 2);
        assert!(run.is_taken_from(&of_a) && !of_a.is_taken_from(&run));
        // Two that take the same at the same time: the first one written has it.
        let mut of_c = of_a.clone();
        of_c.take("c", UnixMillis(200));
        assert!(run.is_taken_from(&of_c));
        let (mut renewed, done) = (run.clone(), run.clone());
        renewed.hold_until(UnixMillis(300));
        assert!(!run.is_taken_from(&renewed));
        // What is over keeps its fence: a late writer does not wake it up.
        run.end::<()>(BuildState::Succeeded, UnixMillis(250));
        assert!(run.is_taken_from(&of_a) && !run.is_taken_from(&done));
    }

    #[test]
    fn patience_doubles_its_pauses_up_to_a_bound_and_ends() {
        let patience = Patience { retries_max: 3, pause_ms_min: 10, pause_ms_max: 25 };
        let failure = || Failure {
            class: FailureClass::Infra,
            problem: Problem::new(ProblemKind::Unavailable, "Down.", "Wait."),
        };
        let mut run = Run::new(BuildState::Running, UnixMillis(0));
        for pause in [10, 20, 25] {
            assert_eq!(run.fail::<()>(failure(), patience, UnixMillis(0)), Next::WakeAt(UnixMillis(pause)));
        }
        assert_eq!(run.fail::<()>(failure(), patience, UnixMillis(0)), Next::Over);
        assert_eq!(run.state, BuildState::Failed);
        let user = Failure { class: FailureClass::User, ..failure() };
        let mut run = Run::new(BuildState::Running, UnixMillis(0));
        assert_eq!(run.fail::<()>(user, patience, UnixMillis(0)), Next::Over);
    }
}
