//! One kind's desk: takes work in, resumes it at the start, cancels it, and puts it down when the server stops.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use slipway_core::run::{Machine, Signal, Standing, State, WorkId};
use slipway_core::{Problem, RepoId};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::lanes::Lanes;
use crate::limits::{CUT_MAX, LEASE};
use crate::ports::{Changes, Hands, Records};
use crate::slots::Slots;
use crate::task::Task;
use crate::{blocking, now};

/// How one kind's work is done on this node.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The node's name, by which it knows what it has taken.
    pub node: String,
    /// How many are under way at once.
    pub slots: usize,
    /// How many of them one repository has at most.
    pub slots_each: usize,
    /// How long a lease lives that is not renewed.
    pub lease: Duration,
}

impl Rules {
    /// The usual ones.
    pub fn new(node: &str, slots: usize) -> Self {
        Self { node: node.to_owned(), slots, slots_each: slots, lease: LEASE }
    }
}

/// What a [`Desk`] is made of.
pub struct Parts<W: Machine> {
    /// Where its records lie.
    pub records: Arc<dyn Records<W>>,
    /// Who carries out its effects.
    pub hands: Arc<dyn Hands<W>>,
    /// Who hears of changes.
    pub changes: Changes,
    /// How it is done.
    pub rules: Rules,
}

/// The desk of one kind of work. Cheap to clone.
pub struct Desk<W: Machine>(pub(crate) Arc<Inner<W>>);

impl<W: Machine> Clone for Desk<W> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

pub(crate) struct Inner<W: Machine> {
    pub(crate) records: Arc<dyn Records<W>>,
    pub(crate) hands: Arc<dyn Hands<W>>,
    pub(crate) changes: Changes,
    pub(crate) rules: Rules,
    pub(crate) slots: Slots,
    lanes: Mutex<Lanes<W>>,
    tasks: TaskTracker,
    /// Cancelled once work may begin.
    pub(crate) gate: CancellationToken,
    /// Cancelled when a drain begins: nothing more begins.
    pub(crate) stop: CancellationToken,
    /// Cancelled when the grace of a drain is over: what still runs is put down where the next start finds it.
    pub(crate) cut: CancellationToken,
    /// Cancelled by tests alone.
    abandon: CancellationToken,
}

impl<W: Machine> Desk<W> {
    /// A desk whose gate is shut.
    pub fn new(parts: Parts<W>) -> Self {
        let Parts { records, hands, changes, rules } = parts;
        Self(Arc::new(Inner {
            records,
            hands,
            changes,
            slots: Slots::new(rules.slots, rules.slots_each),
            rules,
            lanes: Mutex::default(),
            tasks: TaskTracker::new(),
            gate: CancellationToken::new(),
            stop: CancellationToken::new(),
            cut: CancellationToken::new(),
            abandon: CancellationToken::new(),
        }))
    }

    /// Lets work begin.
    pub fn open(&self) {
        self.0.gate.cancel();
    }

    /// Takes up everything unfinished that is this node's own, or nobody's, and not under way. Called before anything can
    /// order new work (what is older must stand in its lane first), and when work may have been recorded that nobody was told of.
    ///
    /// # Errors
    /// Where the records cannot be read.
    pub async fn resume(&self) -> Result<(), Problem> {
        let records = self.0.records.clone();
        let mut found = blocking(move || records.unfinished()).await?;
        // What has begun is ahead of what waits for it.
        found.sort_by_key(|work| work.run().state.standing() == Standing::Queued);
        let (node, now) = (&self.0.rules.node, now());
        for work in found {
            if work.run().is_free_for(node, now) {
                self.start(&work);
            }
        }
        Ok(())
    }

    /// Starts recorded work; fine if it is under way already, or over.
    pub fn start(&self, work: &W) {
        if work.run().is_over() {
            self.0.changes.tell(work);
            return;
        }
        let Some(seat) = self.0.lanes().enter(work) else { return };
        self.0.changes.tell(work);
        let (desk, id) = (self.0.clone(), work.id());
        let leave = Leave { desk: desk.clone(), id };
        let task = Task::new(desk.clone(), work.clone(), seat);
        self.0.tasks.spawn(async move {
            let _leave = leave;
            let _ = desk.abandon.run_until_cancelled(task.live()).await;
        });
    }

    /// Asks work to stop. False if it is not under way here.
    pub async fn cancel(&self, id: WorkId) -> bool {
        let inbox = self.0.lanes().inbox(id);
        match inbox {
            Some(inbox) => inbox.send(Signal::Cancel).await.is_ok(),
            None => false,
        }
    }

    /// How many are not over.
    pub fn unfinished(&self) -> usize {
        self.0.lanes().len()
    }

    /// Stops everything of a repository that is about to go, and waits for it (at most `grace`).
    pub async fn stop_repo(&self, repo: RepoId, grace: Duration) {
        let ends = self.0.lanes().cancel_repo(repo);
        let all = async {
            for end in ends {
                end.cancelled().await;
            }
        };
        // Out of patience is fine: a task of a repository that is gone finds its record gone and ends.
        drop(tokio::time::timeout(grace, all).await);
    }

    /// Lets work under way go on for at most `grace`, starts nothing new, then ends. What is cut off is taken up again at
    /// the next start.
    pub async fn drain(&self, grace: Duration) {
        self.0.stop.cancel();
        self.0.tasks.close();
        if tokio::time::timeout(grace, self.0.tasks.wait()).await.is_err() {
            let (kind, left) = (W::KIND.word(), self.0.tasks.len());
            tracing::info!(kind, left, "work under way is taken up again at the next start");
            self.0.cut.cancel();
            drop(tokio::time::timeout(CUT_MAX, self.0.tasks.wait()).await);
        }
    }

    /// Drops every task where it stands, as `kill -9` would. For tests.
    #[doc(hidden)]
    pub fn abandon(&self) {
        self.0.abandon.cancel();
    }
}

impl<W: Machine> Inner<W> {
    fn lanes(&self) -> MutexGuard<'_, Lanes<W>> {
        // No change of the lanes can panic half-way.
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Frees the place when the task ends, however it ends.
struct Leave<W: Machine> {
    desk: Arc<Inner<W>>,
    id: WorkId,
}

impl<W: Machine> Drop for Leave<W> {
    fn drop(&mut self) {
        self.desk.lanes().leave(self.id);
    }
}
