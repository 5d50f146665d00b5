//! Accepting a push: the one path for SSH, HTTP, edits on the pages and the manifest bump.
//!
//! Order (DESIGN: the life of a push, steps 3 and 4): policy, then the event is written as *intended* and flushed, then
//! objects leave quarantine, then the refs move by compare-and-swap, then the event becomes *accepted* together with
//! the builds and deploys it owes, in one transaction. A crash between any two steps is settled by [`Acceptance::settle`]
//! from the refs alone. Knows no transport, no disk and no database: those are the traits of `ports`.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::event::{Cause, Event, Owed, PushCertificate};
use crate::git::{Oid, RefName, RefUpdate};
use crate::id::{EventId, RepoId, UnixMillis};
use crate::limits::{EVENT_LEASE_MS, PUSH_OPTION_BYTES_MAX, PUSH_OPTIONS_MAX, PUSH_UPDATES_MAX};
use crate::name::RepoName;
use crate::problem::{Problem, ProblemKind};
use crate::run::Lease;
use crate::target::DryRun;

mod plan;
mod ports;

use self::plan::plan;
pub use self::ports::{
    Bindings, CommitFacts, Dispatch, Incoming, Ledger, Orders, Preflight, RefStore, Rights, Unquestioned,
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
}

/// The acceptance path.
pub struct Acceptance {
    ledger: Arc<dyn Ledger>,
    preflight: Arc<dyn Preflight>,
    dispatch: Option<Arc<dyn Dispatch>>,
    clock: fn() -> UnixMillis,
    /// This node's name among those that share the ledger.
    node: String,
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

    /// Takes a push in, or says per ref why not. Blocking.
    ///
    /// # Errors
    /// A [`Problem`] where nothing could be judged or recorded at all; then no ref has moved, or the event is still
    /// *intended* and is settled before the repository's next push, or at the next start.
    pub fn accept(
        &self,
        push: Proposal<'_>,
        refs: &dyn RefStore,
        objects: &mut dyn Incoming,
    ) -> Result<Verdict, Problem> {
        check_size(&push)?;
        let bindings = self.ledger.bindings(push.repo)?;
        let default_branch = refs.default_branch()?;
        let mut answers: Vec<Result<(), Problem>> =
            push.updates.iter().map(|u| protected(u, &default_branch)).collect();
        let mut notices = Vec::new();
        for (update, answer) in push.updates.iter().zip(answers.iter_mut()) {
            if answer.is_ok() {
                *answer = self.ask_cluster(update, &bindings, objects, &mut notices);
            }
        }
        refuse_rest_if_atomic(push.atomic, &mut answers);
        let owed = plan(
            &push,
            &allowed(&push.updates, &answers),
            &bindings,
            &default_branch,
            objects,
            &mut notices,
        )?;
        self.commit(push, owed, answers, notices, refs, objects)
    }

    /// From the intention to the recorded work. One push at a time per repository, so that at most one intended event
    /// of it exists and the refs alone can tell what became of it.
    fn commit(
        &self,
        push: Proposal<'_>,
        owed: Vec<Owed>,
        mut answers: Vec<Result<(), Problem>>,
        notices: Vec<String>,
        refs: &dyn RefStore,
        objects: &mut dyn Incoming,
    ) -> Result<Verdict, Problem> {
        let _turn = self.turn(push.repo);
        self.settle_before(push.repo, refs)?;
        for (update, answer) in push.updates.iter().zip(answers.iter_mut()).filter(|(_, a)| a.is_ok()) {
            *answer = unmoved(update, refs.current(&update.name)?);
        }
        if let Err(problem) = push.rights.still() {
            answers.iter_mut().filter(|a| a.is_ok()).for_each(|a| *a = Err(problem.clone()));
        }
        refuse_rest_if_atomic(push.atomic, &mut answers);
        let wanted = allowed(&push.updates, &answers);
        if wanted.is_empty() {
            return Ok(Verdict { event: None, answers, orders: Orders::default(), notices });
        }
        let now = (self.clock)();
        let event = self.ledger.intend(Event {
            id: EventId(0),
            repo: push.repo,
            actor: push.actor,
            cause: push.cause,
            at: now,
            updates: wanted.clone(),
            options: push.options,
            owed,
            state: crate::event::EventState::Intended,
            certificate: push.certificate,
            lease: Some(Lease { owner: self.node.clone(), until: now.plus_ms(EVENT_LEASE_MS), fence: 1 }),
        })?;
        objects.narrow(&wanted);
        let moved = objects.publish().and_then(|()| refs.update(&wanted, push.atomic));
        let outcomes = match moved {
            Ok(outcomes) => outcomes,
            Err(problem) => {
                // Some refs may have moved before the disk failed: the refs tell.
                if self.settle_one(&event, refs).is_err() {
                    self.leave_unsettled(push.repo);
                }
                return Err(problem);
            }
        };
        let happened = allowed(&wanted, &outcomes);
        objects.narrow(&happened);
        let mut outcomes = outcomes.into_iter();
        for answer in answers.iter_mut().filter(|a| a.is_ok()) {
            *answer = outcomes.next().unwrap_or(Ok(()));
        }
        if happened.is_empty() {
            self.ledger.abandon(event.id).inspect_err(|_| self.leave_unsettled(push.repo))?;
            return Ok(Verdict { event: None, answers, orders: Orders::default(), notices });
        }
        let accepted = self.ledger.accept(event.id, &happened, (self.clock)());
        let orders = accepted.inspect_err(|_| self.leave_unsettled(push.repo))?;
        if let Some(dispatch) = &self.dispatch {
            dispatch.dispatch(&orders);
            dispatch.moved(push.repo);
        }
        Ok(Verdict { event: Some(event.id), answers, orders, notices })
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
        let orders = self.ledger.accept(event.id, &happened, (self.clock)())?;
        if let Some(dispatch) = &self.dispatch {
            dispatch.dispatch(&orders);
            dispatch.moved(event.repo);
        }
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

    fn ask_cluster(
        &self,
        update: &RefUpdate,
        bindings: &Bindings,
        objects: &dyn Incoming,
        notices: &mut Vec<String>,
    ) -> Result<(), Problem> {
        let Some(binding) =
            bindings.cluster.as_ref().filter(|b| b.branch == update.name && !update.is_delete())
        else {
            return Ok(());
        };
        if binding.dry_run == DryRun::Off {
            return Ok(());
        }
        let refusals = match self.preflight.check(binding, &update.new, objects) {
            Ok(refusals) => refusals,
            Err(problem) => vec![problem.to_string()],
        };
        if refusals.is_empty() {
            return Ok(());
        }
        let shown = refusals.len().min(10);
        notices.extend(refusals[..shown].iter().map(|r| format!("cluster {}: {r}", binding.cluster)));
        if binding.dry_run == DryRun::Warn {
            return Ok(());
        }
        Err(Problem::new(
            ProblemKind::Invalid,
            format!("Cluster {} refuses these manifests: {}", binding.cluster, refusals[0]),
            "Mend the manifests and push again, or ask an owner to bind with --dry-run warn.",
        ))
    }
}

fn elsewhere() -> Problem {
    Problem::new(
        ProblemKind::Busy,
        "Another node of this server is taking in a push to this repository.",
        "Push again in a few minutes.",
    )
}

fn check_size(push: &Proposal<'_>) -> Result<(), Problem> {
    let too_large = |what: String| Problem::new(ProblemKind::TooLarge, what, "Split the push.");
    if push.updates.len() > PUSH_UPDATES_MAX {
        return Err(too_large(format!(
            "The push updates {} refs; {PUSH_UPDATES_MAX} are allowed at once.",
            push.updates.len()
        )));
    }
    if push.options.len() > PUSH_OPTIONS_MAX || push.options.iter().any(|o| o.len() > PUSH_OPTION_BYTES_MAX) {
        return Err(too_large(format!(
            "The push has more than {PUSH_OPTIONS_MAX} options, or one longer than {PUSH_OPTION_BYTES_MAX} bytes."
        )));
    }
    Ok(())
}

fn protected(update: &RefUpdate, default_branch: &RefName) -> Result<(), Problem> {
    if update.is_delete() && update.name == *default_branch {
        return Err(Problem::new(
            ProblemKind::Denied,
            format!("{} is the default branch and cannot be deleted.", update.name.short()),
            "Make another branch the default first.",
        ));
    }
    if update.name.as_str() == "HEAD" {
        return Err(Problem::new(ProblemKind::Invalid, "HEAD cannot be pushed to.", "Push to a branch."));
    }
    if update.name.as_str().starts_with("refs/slipway/") {
        return Err(Problem::new(
            ProblemKind::Denied,
            format!("{} belongs to the server.", update.name),
            "Push to a branch or a tag.",
        ));
    }
    Ok(())
}

/// Compares before the intention is written, so that an *intended* event whose new id a ref shows was surely the one
/// that moved it. The refs' own compare-and-swap stays the last word.
fn unmoved(update: &RefUpdate, now: Option<Oid>) -> Result<(), Problem> {
    let expected = (!update.is_create()).then_some(update.old);
    if now == expected {
        return Ok(());
    }
    let now = now.map_or("does not exist".to_owned(), |oid| format!("is at {}", oid.short()));
    Err(Problem::new(
        ProblemKind::Conflict,
        format!("{} has moved: it {now}.", update.name),
        "Fetch, integrate what others pushed, and push again.",
    ))
}

fn refuse_rest_if_atomic(atomic: bool, answers: &mut [Result<(), Problem>]) {
    if atomic && answers.iter().any(Result::is_err) {
        for answer in answers.iter_mut().filter(|a| a.is_ok()) {
            *answer = Err(Problem::new(
                ProblemKind::Conflict,
                "atomic push failure: another of its refs was refused",
                "See that ref's answer.",
            ));
        }
    }
}

fn allowed(updates: &[RefUpdate], answers: &[Result<(), Problem>]) -> Vec<RefUpdate> {
    updates.iter().zip(answers).filter(|(_, a)| a.is_ok()).map(|(u, _)| u.clone()).collect()
}
