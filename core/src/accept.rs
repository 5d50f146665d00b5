//! Accepting a push: the one path for SSH, HTTP, edits on the pages and the manifest bump.
//!
//! Order (DESIGN: the life of a push, steps 3 and 4): policy, then the event is written as *intended* and flushed, then
//! objects leave quarantine, then the refs move by compare-and-swap, then the event becomes *accepted* together with
//! the builds and deploys it owes, in one transaction. A crash between any two steps is settled by [`Acceptance::settle`]
//! from the refs alone. Knows no transport, no disk and no database: those are the traits below.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::build::Build;
use crate::deploy::{Deploy, DeployCause};
use crate::event::{Cause, Event, Owed, Work};
use crate::git::{Oid, RefName, RefUpdate};
use crate::id::{EventId, RepoId, UnixMillis};
use crate::limits::{PUSH_OPTION_BYTES_MAX, PUSH_OPTIONS_MAX, PUSH_UPDATES_MAX, SPEC_BYTES_MAX};
use crate::name::RepoName;
use crate::problem::{Problem, ProblemKind};
use crate::spec::Spec;
use crate::target::{ClusterBinding, DryRun, RegistryBinding};

/// Where events are written. Implemented by the store; every method is durable when it returns.
pub trait Ledger: Send + Sync {
    /// Records the event as *intended* and gives it an id (the one in `event` is ignored).
    fn intend(&self, event: Event) -> Result<Event, Problem>;
    /// Makes it *accepted*: `moved` is what happened, and the builds and deploys owed by those updates are recorded as
    /// queued, all in one transaction. Doing it again changes nothing and returns the same work.
    fn accept(&self, id: EventId, moved: &[RefUpdate], now: UnixMillis) -> Result<Orders, Problem>;
    /// Makes it *abandoned*.
    fn abandon(&self, id: EventId) -> Result<(), Problem>;
    /// The events that are still *intended*, oldest first.
    fn intended(&self) -> Result<Vec<Event>, Problem>;
    /// What the repository is bound to.
    fn bindings(&self, repo: RepoId) -> Result<Bindings, Problem>;
}

/// What a repository is bound to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bindings {
    /// Where its images go.
    pub registry: Option<RegistryBinding>,
    /// Where its manifests go.
    pub cluster: Option<ClusterBinding>,
}

/// The work that an event owes, as recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Orders {
    /// Queued builds.
    pub builds: Vec<Build>,
    /// Queued deploys.
    pub deploys: Vec<Deploy>,
}

/// The refs of one repository. Implemented by the repository room.
pub trait RefStore {
    /// Where the ref points, symbolic ones resolved.
    fn current(&self, name: &RefName) -> Result<Option<Oid>, Problem>;
    /// Moves refs by compare-and-swap, durable on return. One answer per update, in order; with `atomic` either all
    /// move or none does.
    fn update(&self, updates: &[RefUpdate], atomic: bool) -> Result<Vec<Result<(), Problem>>, Problem>;
    /// The branch that HEAD names.
    fn default_branch(&self) -> Result<RefName, Problem>;
}

/// The objects of a push: still in quarantine, or already in the repository (a push that brings none).
pub trait Incoming {
    /// The file at `path` of `commit`, if there is one, it is a file, and it has at most `max` bytes.
    fn file(&self, commit: &Oid, path: &str, max: u64) -> Result<Option<Vec<u8>>, Problem>;
    /// True if `path` of `commit` is a file (or a link to one).
    fn has_file(&self, commit: &Oid, path: &str) -> Result<bool, Problem>;
    /// The commit that the id names, tags peeled; `None` if it names none.
    fn commit(&self, id: &Oid) -> Result<Option<CommitFacts>, Problem>;
    /// The paths that differ between two commits (`None`: everything is new), or `None` if there are more than `max`.
    fn changed_paths(&self, old: Option<&Oid>, new: &Oid, max: usize)
    -> Result<Option<Vec<String>>, Problem>;
    /// Moves the objects out of quarantine, durable on return.
    fn publish(&mut self) -> Result<(), Problem>;
}

/// What the plan needs to know of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitFacts {
    /// Its id, tags peeled.
    pub id: Oid,
    /// Its subject line.
    pub subject: String,
    /// Its whole message.
    pub message: String,
}

/// Shows a bound manifest repository's push to the cluster before the refs move.
pub trait Preflight: Send + Sync {
    /// What the cluster would refuse, a sentence each; empty if nothing. An unreachable cluster is an `Err`.
    fn check(
        &self,
        binding: &ClusterBinding,
        commit: &Oid,
        objects: &dyn Incoming,
    ) -> Result<Vec<String>, Problem>;
}

/// Hands the work that a push owes to whoever carries it out. What is lost here (a crash) is found in the store.
pub trait Dispatch: Send + Sync {
    /// Takes the orders. Must not block.
    fn dispatch(&self, orders: &Orders);
}

/// A push that wants in. Who may push was authorised before.
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
            locks: std::array::from_fn(|_| Mutex::new(())),
            unsettled: Mutex::default(),
        }
    }

    /// Hands every push's work to `dispatch` as soon as it is recorded.
    pub fn dispatching(mut self, dispatch: Arc<dyn Dispatch>) -> Self {
        self.dispatch = Some(dispatch);
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
        refuse_rest_if_atomic(push.atomic, &mut answers);
        let wanted = allowed(&push.updates, &answers);
        if wanted.is_empty() {
            return Ok(Verdict { event: None, answers, orders: Orders::default(), notices });
        }
        let event = self.ledger.intend(Event {
            id: EventId(0),
            repo: push.repo,
            actor: push.actor,
            cause: push.cause,
            at: (self.clock)(),
            updates: wanted.clone(),
            options: push.options,
            owed,
            state: crate::event::EventState::Intended,
        })?;
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
        }
        Ok(Verdict { event: Some(event.id), answers, orders, notices })
    }

    /// Settles every event that a crash left *intended*. `open` gives a repository's refs, or `None` if it is gone.
    /// Run before anything is served. One repository that cannot be read does not keep the others from being settled.
    ///
    /// # Errors
    /// A [`Problem`] where the ledger cannot be read.
    pub fn settle<R: RefStore>(
        &self,
        open: impl Fn(RepoId) -> Result<Option<R>, Problem>,
    ) -> Result<Settled, Problem> {
        let mut settled = Settled::default();
        for event in &self.ledger.intended()? {
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
        for event in self.ledger.intended()?.iter().filter(|e| e.repo == repo) {
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
                "The push was atomic and another of its refs was refused.",
                "See that ref's answer.",
            ));
        }
    }
}

fn allowed(updates: &[RefUpdate], answers: &[Result<(), Problem>]) -> Vec<RefUpdate> {
    updates.iter().zip(answers).filter(|(_, a)| a.is_ok()).map(|(u, _)| u.clone()).collect()
}

/// Most changed paths that a `paths` filter looks at; a push that changes more counts as matching.
const CHANGED_PATHS_MAX: usize = 20_000;

/// Decides what the updates owe. Pure but for reading the pushed objects.
fn plan(
    push: &Proposal<'_>,
    updates: &[RefUpdate],
    bindings: &Bindings,
    default_branch: &RefName,
    objects: &dyn Incoming,
    notices: &mut Vec<String>,
) -> Result<Vec<Owed>, Problem> {
    let mut owed = Vec::new();
    for update in updates.iter().filter(|u| !u.is_delete()) {
        let wants_build = bindings.registry.is_some() && !matches!(push.cause, Cause::Bump { .. });
        let cluster = bindings.cluster.as_ref().filter(|b| b.branch == update.name);
        if !wants_build && cluster.is_none() {
            continue;
        }
        let Some(commit) = objects.commit(&update.new)? else { continue };
        if wants_build
            && !skipped(push, &commit, notices)
            && let Some(broken) = build_due(update, &commit, default_branch, objects, notices)?
        {
            owed.push(owe(update, &commit, Work::Build { broken }));
        }
        if let Some(binding) = cluster {
            let cause = match &push.cause {
                Cause::Bump { source, build, .. } => DeployCause::Build { source: *source, build: *build },
                Cause::Push | Cause::Edit | Cause::Rollback => DeployCause::Event,
            };
            owed.push(owe(update, &commit, Work::Deploy { cluster: binding.cluster.clone(), cause }));
        }
    }
    Ok(owed)
}

fn owe(update: &RefUpdate, commit: &CommitFacts, work: Work) -> Owed {
    Owed { ref_name: update.name.clone(), commit: commit.id, title: commit.subject.clone(), work }
}

fn skipped(push: &Proposal<'_>, commit: &CommitFacts, notices: &mut Vec<String>) -> bool {
    let asked = push.options.iter().any(|o| o == "ci.skip") || commit.message.contains("[skip ci]");
    if asked {
        notices.push(format!("no build of {}: the push asks to skip it", commit.id.short()));
    }
    asked
}

/// `Some(broken)` if the update owes a build; `broken` is what is wrong with its slipway.toml.
fn build_due(
    update: &RefUpdate,
    commit: &CommitFacts,
    default_branch: &RefName,
    objects: &dyn Incoming,
    notices: &mut Vec<String>,
) -> Result<Option<Option<Problem>>, Problem> {
    let text = objects.file(&commit.id, "slipway.toml", SPEC_BYTES_MAX)?;
    let spec = match text.as_deref().map(Spec::parse).transpose() {
        Ok(spec) => spec.unwrap_or_default(),
        Err(error) => {
            // Which refs it would build cannot be known; only the default branch's mistake is worth a failed build.
            let problem = Problem::from(error);
            notices.push(problem.to_string());
            return Ok((update.name == *default_branch).then_some(Some(problem)));
        }
    };
    if !spec.build.on.matches_ref(&update.name, default_branch) {
        return Ok(None);
    }
    if !spec.build.on.all_paths() {
        let old = (!update.is_create()).then_some(&update.old);
        if let Some(paths) = objects.changed_paths(old, &commit.id, CHANGED_PATHS_MAX)?
            && !paths.iter().any(|p| spec.build.on.matches_path(p))
        {
            notices.push("no build: no path that slipway.toml names has changed".into());
            return Ok(None);
        }
    }
    if !objects.has_file(&commit.id, &spec.build.dockerfile)? {
        if text.is_none() {
            return Ok(None);
        }
        let problem = Problem::new(
            ProblemKind::Invalid,
            format!("Commit {} has no {}.", commit.id.short(), spec.build.dockerfile),
            "Add it, or set build.dockerfile in slipway.toml to where it is.",
        );
        notices.push(problem.to_string());
        return Ok(Some(Some(problem)));
    }
    Ok(Some(None))
}
