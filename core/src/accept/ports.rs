//! What the acceptance path needs of the world: the ledger, the refs, the pushed objects, the clusters, and whoever
//! carries the work out.

use crate::build::Build;
use crate::deploy::Deploy;
use crate::event::Event;
use crate::files::Files;
use crate::git::{Oid, RefName, RefUpdate};
use crate::id::{EventId, RepoId, UnixMillis};
use crate::problem::Problem;
use crate::target::{ClusterBinding, RegistryBinding};

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
    /// The branch that HEAD names, born or not. With a detached HEAD, `HEAD` itself.
    fn default_branch(&self) -> Result<RefName, Problem>;
    /// True if there is a branch besides these.
    fn has_branch_besides(&self, these: &[&RefName]) -> Result<bool, Problem>;
    /// Points HEAD at a branch, born or not, durable on return.
    fn make_default(&self, branch: &RefName) -> Result<(), Problem>;
}

/// The objects of a push: still in quarantine, or already in the repository (a push that brings none).
pub trait Incoming: Files {
    /// The file at `path` of `commit`, if there is one and it is a file.
    ///
    /// # Errors
    /// `TooLarge` if it has more than `max` bytes; `Broken` if it cannot be read. Neither is the same as no file.
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
    /// Told which updates are left: before [`Incoming::publish`], those that nothing speaks against; once the refs were to
    /// move, those that did. What only others need beside the objects themselves is not written, or taken back.
    fn narrow(&mut self, _updates: &[RefUpdate]) {}
}

/// Whether whoever pushes may do so, asked at the moment of acting: a push can have been on its way for an hour.
pub trait Rights: Send + Sync {
    /// `Ok` if the refs may move now.
    ///
    /// # Errors
    /// Why they may not any more; the pusher is told.
    fn still(&self) -> Result<(), Problem>;

    /// `Ok` for whoever may push past a cluster that cannot be asked.
    ///
    /// # Errors
    /// Why not; the pusher is told.
    fn may_go_unchecked(&self) -> Result<(), Problem> {
        self.still()
    }
}

/// The rights of whoever has nobody above: a folder served by itself.
#[derive(Clone, Copy, Debug)]
pub struct Unquestioned;

impl Rights for Unquestioned {
    fn still(&self) -> Result<(), Problem> {
        Ok(())
    }
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

/// What of a push its cluster is shown.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    /// Where the bound branch was; `None` where it is new.
    pub old: Option<Oid>,
    /// Where it is to be.
    pub commit: Oid,
    /// The push's options.
    pub options: &'a [String],
}

/// Shows a bound manifest repository's push to the cluster before the refs move.
pub trait Preflight: Send + Sync {
    /// What the cluster would refuse, a sentence each; empty if nothing.
    ///
    /// # Errors
    /// `Unavailable`, `TimedOut`, `Busy` or `Broken` where it could not be asked; all else is a refusal.
    fn check(
        &self,
        binding: &ClusterBinding,
        shown: &Shown<'_>,
        objects: &dyn Incoming,
    ) -> Result<Vec<String>, Problem>;
}

/// Hands the work that a push owes to whoever carries it out. What is lost here (a crash) is found in the store.
pub trait Dispatch: Send + Sync {
    /// Takes the orders. Must not block.
    fn dispatch(&self, orders: &Orders);
    /// Refs of the repository have moved. Must not block.
    fn moved(&self, _repo: RepoId) {}
}
