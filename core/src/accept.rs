//! Accepting a push: the one path for SSH, HTTP, edits on the pages and the manifest bump.
//!
//! The order (ARCHITECTURE.md, "The life of a push"): policy, then the event is written as *intended* and flushed, then
//! objects leave quarantine, then the refs move by compare-and-swap, then the event becomes *accepted* together with
//! the builds and deploys it owes, in one transaction. A crash between any two steps is settled by [`Acceptance::settle`]
//! from the refs alone. Knows no transport, no disk and no database: those are the traits of `ports`.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::ceilings::Ceilings;
use crate::event::{Cause, Event, EventState, Owed, PushCertificate};
use crate::git::RefUpdate;
use crate::id::{EventId, RepoId, UnixMillis};
use crate::limits::EVENT_LEASE_MS;
use crate::name::RepoName;
use crate::problem::{Problem, ProblemKind};
use crate::run::Lease;

mod checks;
mod default_branch;
mod dockerfile;
mod gate;
mod groups;
mod idle;
mod options;
mod plan;
mod ports;

use self::checks::{allowed, look_again, protected, refuse_rest_if_atomic};
pub use self::default_branch::default_branch_cure;
pub use self::idle::Idle;
pub use self::options::{NO_CACHE, PRUNE, UNCHECKED};
use self::plan::{Plan, plan};
pub use self::plan::{buildable, spec_at};
pub use self::ports::{
    Bindings, CommitFacts, Dispatch, Incoming, Ledger, Orders, Preflight, RefStore, Rights, Shown,
    Unquestioned,
};

/// A push that wants in. Who may push was authorised before, and is asked again before the refs move.
pub struct Proposal<'a> {
    /// Where, for good.
    pub repo: RepoId,
    /// Where, by name.
    pub repo_name: &'a RepoName,
    /// Who ([`crate::access::Actor::label`]).
    pub actor: String,
    /// How it came about.
    pub cause: Cause,
    /// What shall move.
    pub updates: Vec<RefUpdate>,
    /// All or nothing.
    pub atomic: bool,
    /// Push options.
    pub options: Vec<String>,
    /// Of a signed push.
    pub certificate: Option<PushCertificate>,
    /// Whether it may still be done.
    pub rights: &'a dyn Rights,
}

/// What became of a push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The event, if any ref moved.
    pub event: Option<EventId>,
    /// One answer per update, in the order proposed.
    pub answers: Vec<Result<(), Problem>>,
    /// The work owed.
    pub orders: Orders,
    /// Remarks for the pusher, a sentence each.
    pub notices: Vec<String>,
    /// Why no work is owed; `None` where some is, or where no ref moved.
    pub idle: Option<Idle>,
}

impl Verdict {
    /// No ref moved.
    pub fn unmoved(answers: Vec<Result<(), Problem>>, notices: Vec<String>) -> Self {
        Self { event: None, answers, orders: Orders::default(), notices, idle: None }
    }
}

/// What was found out about a push before it is its turn.
struct Judged {
    answers: Vec<Result<(), Problem>>,
    notices: Vec<String>,
    bindings: Bindings,
    plan: Plan,
}

/// The acceptance path.
pub struct Acceptance {
    ledger: Arc<dyn Ledger>,
    preflight: Arc<dyn Preflight>,
    dispatch: Option<Arc<dyn Dispatch>>,
    clock: fn() -> UnixMillis,
    /// This node's name among those that share the ledger.
    node: String,
    /// Moves refs and nothing else, as git's own servers do.
    refs_alone: bool,
    /// The most that tests may have on this server.
    tests: Ceilings,
    locks: [Mutex<()>; 64],
    /// Repositories with an event that could be neither accepted nor abandoned (a full disk, say): their next push
    /// settles it first.
    unsettled: Mutex<BTreeSet<RepoId>>,
}

/// What [`Acceptance::settle`] found.
#[derive(Debug, Default)]
pub struct Settled {
    /// How many events it answered for.
    pub count: usize,
    /// The repositories whose refs cannot be read now, and why. Their next push is refused until they can be.
    pub left: Vec<(RepoId, Problem)>,
}

impl Acceptance {
    /// Wires the path to its ledger, the clusters and a clock.
    pub fn new(ledger: Arc<dyn Ledger>, preflight: Arc<dyn Preflight>, clock: fn() -> UnixMillis) -> Self {
        Self {
            ledger,
            preflight,
            dispatch: None,
            clock,
            node: String::new(),
            refs_alone: false,
            tests: Ceilings::default(),
            locks: std::array::from_fn(|_| Mutex::new(())),
            unsettled: Mutex::default(),
        }
    }

    /// Hands every push's work to `dispatch` as soon as it is recorded.
    pub fn dispatching(mut self, dispatch: Arc<dyn Dispatch>) -> Self {
        self.dispatch = Some(dispatch);
        self
    }

    /// Signs intended events with that name, the same after every start, and settles those that bear it.
    pub fn on_node(mut self, node: impl Into<String>) -> Self {
        self.node = node.into();
        self
    }

    /// Tells pushers of tests that ask for more than that, or than their binding allows.
    pub fn testing_within(mut self, tests: Ceilings) -> Self {
        self.tests = tests;
        self
    }

    /// The most that tests of a repository may have.
    fn most(&self, bindings: &Bindings) -> Ceilings {
        let bound = bindings.registry.as_ref().map(|binding| binding.tests.clone()).unwrap_or_default();
        Ceilings::in_force(&self.tests, &bound, &Ceilings::of_tests())
    }

    /// For folders that are served as git serves them: HEAD stays where it is, and push options mean nothing here.
    pub fn moving_refs_alone(mut self) -> Self {
        self.refs_alone = true;
        self
    }

    /// Takes in a push that one event can tell of.
    fn accept_group(
        &self,
        push: Proposal<'_>,
        refs: &dyn RefStore,
        objects: &mut dyn Incoming,
    ) -> Result<Verdict, Problem> {
        let bindings = self.ledger.bindings(push.repo)?;
        let head = refs.default_branch()?;
        let mut answers: Vec<Result<(), Problem>> =
            push.updates.iter().map(|u| protected(u, &head, push.repo_name)).collect();
        let mut notices = if self.refs_alone { Vec::new() } else { options::remarks(&push.options) };
        for (update, answer) in push.updates.iter().zip(answers.iter_mut()) {
            if answer.is_ok() {
                *answer =
                    gate::ask(self.preflight.as_ref(), (&push, update), &bindings, objects, &mut notices);
            }
        }
        refuse_rest_if_atomic(push.atomic, &mut answers);
        let wanted = allowed(&push.updates, &answers);
        let default_branch = self.default_after(refs, &wanted, &head)?;
        let plan = plan(&push, &wanted, (&bindings, &self.most(&bindings)), default_branch, objects)?;
        self.commit(push, Judged { answers, notices, bindings, plan }, refs, objects)
    }

    /// From the intention to the recorded work. One push at a time per repository, so that at most one intended event
    /// of it exists and the refs alone can tell what became of it.
    fn commit(
        &self,
        push: Proposal<'_>,
        judged: Judged,
        refs: &dyn RefStore,
        objects: &mut dyn Incoming,
    ) -> Result<Verdict, Problem> {
        let Judged { mut answers, mut notices, bindings, plan: mut planned } = judged;
        let _turn = self.turn(push.repo);
        self.settle_before(push.repo, refs)?;
        look_again(&push, &mut answers, refs)?;
        let wanted = allowed(&push.updates, &answers);
        if wanted.is_empty() {
            notices.append(&mut planned.notices);
            return Ok(Verdict::unmoved(answers, notices));
        }
        let default_branch = self.default_after(refs, &wanted, &planned.default_branch)?;
        if default_branch != planned.default_branch {
            // Another first push, or an admin, was faster.
            planned = plan(&push, &wanted, (&bindings, &self.most(&bindings)), default_branch, objects)?;
        }
        notices.append(&mut planned.notices);
        let (name, atomic) = (push.repo_name, push.atomic);
        let repo = push.repo;
        let intended = self.ledger.intend(self.intention(push, wanted.clone(), planned.owed));
        // Whether it stands is not known where the disk failed: the refs tell, as long as they do not move.
        let event = intended.inspect_err(|_| self.leave_unsettled(repo))?;
        let outcomes = self.move_refs(&event, atomic, refs, objects)?;
        let happened = allowed(&wanted, &outcomes);
        objects.narrow(&happened);
        let mut outcomes = outcomes.into_iter();
        for answer in answers.iter_mut().filter(|a| a.is_ok()) {
            *answer = outcomes.next().unwrap_or(Ok(()));
        }
        if happened.is_empty() {
            self.ledger.abandon(event.id).inspect_err(|_| self.leave_unsettled(event.repo))?;
            return Ok(Verdict::unmoved(answers, notices));
        }
        notices.extend(self.adopt_and_tell(name, refs, &happened));
        let accepted = self.ledger.accept(event.id, &happened, (self.clock)());
        let orders = accepted.inspect_err(|_| self.leave_unsettled(event.repo))?;
        self.hand_on(event.repo, &orders);
        let idle = Idle::of(name, &bindings, &orders, planned.whys, &happened).filter(|_| !self.refs_alone);
        Ok(Verdict { event: Some(event.id), answers, orders, notices, idle })
    }

    /// What a push is recorded as before anything moves.
    fn intention(&self, push: Proposal<'_>, updates: Vec<RefUpdate>, owed: Vec<Owed>) -> Event {
        let now = (self.clock)();
        Event {
            id: EventId(0),
            repo: push.repo,
            actor: push.actor,
            cause: push.cause,
            at: now,
            updates,
            options: push.options,
            owed,
            state: EventState::Intended,
            certificate: push.certificate,
            lease: Some(Lease { owner: self.node.clone(), until: now.plus_ms(EVENT_LEASE_MS), fence: 1 }),
        }
    }

    /// Objects leave quarantine, then the refs move.
    fn move_refs(
        &self,
        event: &Event,
        atomic: bool,
        refs: &dyn RefStore,
        objects: &mut dyn Incoming,
    ) -> Result<Vec<Result<(), Problem>>, Problem> {
        objects.narrow(&event.updates);
        let moved = objects.publish().and_then(|()| refs.update(&event.updates, atomic));
        moved.inspect_err(|_| {
            // Some refs may have moved before the disk failed: the refs tell.
            if self.settle_one(event, refs).is_err() {
                self.leave_unsettled(event.repo);
            }
        })
    }

    fn hand_on(&self, repo: RepoId, orders: &Orders) {
        if let Some(dispatch) = &self.dispatch {
            dispatch.dispatch(orders);
            dispatch.moved(repo);
        }
    }

    /// Settles every event that a crash of this node left *intended*, or one of a node whose lease has ended. `open` gives
    /// a repository's refs, or `None` if it is gone. Run before anything is served. One repository that cannot be read does
    /// not keep the others from being settled.
    ///
    /// # Errors
    /// A [`Problem`] where the ledger cannot be read.
    pub fn settle<R: RefStore>(
        &self,
        open: impl Fn(RepoId) -> Result<Option<R>, Problem>,
    ) -> Result<Settled, Problem> {
        let mut settled = Settled::default();
        let now = (self.clock)();
        for event in &self.ledger.intended()? {
            if !event.is_open_to(&self.node, now) {
                self.leave_unsettled(event.repo);
                continue;
            }
            let done = open(event.repo).and_then(|refs| match refs {
                Some(refs) => self.settle_one(event, &refs),
                None => self.ledger.abandon(event.id),
            });
            match done {
                Ok(()) => settled.count += 1,
                Err(problem) => {
                    self.leave_unsettled(event.repo);
                    settled.left.push((event.repo, problem));
                }
            }
        }
        Ok(settled)
    }

    /// Settles what an earlier push of the repository left open: the refs can tell only until the next one moves them.
    fn settle_before(&self, repo: RepoId, refs: &dyn RefStore) -> Result<(), Problem> {
        if !self.unsettled().contains(&repo) {
            return Ok(());
        }
        let now = (self.clock)();
        for event in self.ledger.intended()?.iter().filter(|e| e.repo == repo) {
            if !event.is_open_to(&self.node, now) {
                return Err(elsewhere());
            }
            self.settle_one(event, refs)?;
        }
        self.unsettled().remove(&repo);
        Ok(())
    }

    /// Settles what could not be before, because a disk was full, say. `open` gives a repository's refs, or `None` if it is
    /// gone. May be called at any time; says how many repositories are left.
    pub fn settle_left<R: RefStore>(&self, open: impl Fn(RepoId) -> Result<Option<R>, Problem>) -> usize {
        let repos = self.unsettled().clone();
        for repo in repos {
            let _turn = self.turn(repo);
            let settled = open(repo).and_then(|refs| match refs {
                Some(refs) => self.settle_before(repo, &refs),
                // Its events went with it.
                None => {
                    self.unsettled().remove(&repo);
                    Ok(())
                }
            });
            // Its next push is told why.
            drop(settled);
        }
        self.unsettled().len()
    }

    fn settle_one(&self, event: &Event, refs: &dyn RefStore) -> Result<(), Problem> {
        let mut happened = Vec::new();
        for update in &event.updates {
            let now = refs.current(&update.name)?;
            let there = if update.is_delete() { now.is_none() } else { now == Some(update.new) };
            if there {
                happened.push(update.clone());
            }
        }
        if happened.is_empty() {
            return self.ledger.abandon(event.id);
        }
        self.adopt(refs, &happened)?;
        let orders = self.ledger.accept(event.id, &happened, (self.clock)())?;
        self.hand_on(event.repo, &orders);
        Ok(())
    }

    fn leave_unsettled(&self, repo: RepoId) {
        self.unsettled().insert(repo);
    }

    fn unsettled(&self) -> MutexGuard<'_, BTreeSet<RepoId>> {
        // Every change is one insert or remove.
        self.unsettled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turn(&self, repo: RepoId) -> MutexGuard<'_, ()> {
        let stripe = usize::try_from(repo.0 % 64).unwrap_or(0);
        // The guarded value is (): a thread that panicked left nothing half-done in it.
        self.locks[stripe].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn elsewhere() -> Problem {
    Problem::new(
        ProblemKind::Busy,
        "Another node of this server is taking in a push to this repository.",
        "Push again in a few minutes.",
    )
}
