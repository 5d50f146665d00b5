//! Maintenance while the server runs: after pushes have gathered, at the start and every hour, repositories that would be
//! faster for it are maintained, one at a time, on one thread that gives way to everything else. What it does is the
//! repository room's; when, is said here.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use slipway_core::target::RepoRecord;
use slipway_core::{Problem, ProblemKind, RepoId};
use slipway_repository::{Maintained, RepoError, Repositories};
use slipway_store::Store;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use self::figures::Figures;
pub(crate) use self::logs::LogKeeping;
use self::queue::{Look, Next, Queue, Why};

mod figures;
mod logs;
mod queue;

/// How often all repositories are looked at.
const SWEEP_EVERY: Duration = Duration::from_secs(3600);
/// How long a drain waits for the step under way to end; everything is whole at any instant.
const STOP_MAX: Duration = Duration::from_secs(2);
/// Requests by hand that may wait at once.
const ASKED_MAX: usize = 64;
/// The lowest priority there is (setpriority(2)); on Linux it is the thread's alone, and its disk accesses come last too.
const NICE: i32 = 19;
/// Folders within folders are walked by recursion.
const STACK_BYTES: usize = 16 << 20;

/// `[maintenance]` of config.toml.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// Repositories are maintained without being asked to.
    pub(crate) enabled: bool,
    /// How long after a push.
    pub(crate) delay: Duration,
}

/// Maintains repositories.
#[derive(Clone)]
pub(crate) struct Upkeep(Arc<Inner>);

struct Inner {
    store: Store,
    repositories: Arc<Repositories>,
    settings: Settings,
    logs: LogKeeping,
    plan: Mutex<Plan>,
    changed: Condvar,
    stop: AtomicBool,
    /// Cancelled when the thread has ended.
    ended: CancellationToken,
    figures: Figures,
}

/// What is to be done.
struct Plan {
    queue: Queue,
    /// By hand: these go first.
    asked: Vec<Asked>,
    /// What is being maintained now.
    running: Option<RepoId>,
    sweep: Instant,
}

struct Asked {
    record: RepoRecord,
    full: bool,
    answer: oneshot::Sender<Result<Maintained, Problem>>,
}

enum Job {
    Asked(Asked),
    Look(Look),
    Sweep,
}

impl Upkeep {
    /// Starts the thread.
    ///
    /// # Errors
    /// A [`Problem`] if there is no thread to be had.
    pub(crate) fn start(
        store: Store,
        repositories: Arc<Repositories>,
        settings: Settings,
        logs: LogKeeping,
    ) -> Result<Self, Problem> {
        let plan = Plan {
            queue: Queue::new(settings.delay),
            asked: Vec::new(),
            running: None,
            sweep: Instant::now() + settings.delay,
        };
        let inner = Arc::new(Inner {
            store,
            repositories,
            settings,
            logs,
            plan: Mutex::new(plan),
            changed: Condvar::new(),
            stop: AtomicBool::new(false),
            ended: CancellationToken::new(),
            figures: Figures::default(),
        });
        let thread = inner.clone();
        let ended = inner.ended.clone().drop_guard();
        let builder = std::thread::Builder::new().name("upkeep".into()).stack_size(STACK_BYTES);
        let spawned = builder.spawn(move || {
            let _ended = ended;
            if let Err(e) = rustix::process::setpriority_process(None, NICE) {
                tracing::warn!("maintenance runs at the priority of everything else: {e}");
            }
            thread.run();
        });
        spawned.map_err(|e| {
            let what = format!("The thread for maintenance cannot be started: {e}.");
            Problem::new(ProblemKind::Broken, what, "Check the process limits.")
        })?;
        Ok(Self(inner))
    }

    /// A push was accepted.
    pub(crate) fn pushed(&self, repo: RepoId) {
        if self.0.settings.enabled {
            self.0.plan().queue.pushed(repo, Instant::now());
            self.0.changed.notify_all();
        }
    }

    /// Maintains it now, or after what is being maintained.
    ///
    /// # Errors
    /// A [`Problem`] if it is under way already, or fails.
    pub(crate) async fn ask(&self, record: RepoRecord, full: bool) -> Result<Maintained, Problem> {
        let (answer, answered) = oneshot::channel();
        {
            let mut plan = self.0.plan();
            if plan.running == Some(record.id) || plan.asked.iter().any(|a| a.record.id == record.id) {
                let what = format!("{} is being maintained already.", record.name);
                return Err(Problem::new(ProblemKind::Busy, what, "Try again once that is done."));
            }
            if plan.asked.len() >= ASKED_MAX {
                let what = format!("{ASKED_MAX} repositories wait to be maintained already.");
                return Err(Problem::new(ProblemKind::Busy, what, "Try again later."));
            }
            plan.asked.push(Asked { record, full, answer });
        }
        self.0.changed.notify_all();
        answered.await.unwrap_or_else(|_| {
            let what = "The server stops; the maintenance is not finished, and nothing is harmed.";
            Err(Problem::new(ProblemKind::Cancelled, what, "Start it again when the server runs."))
        })
    }

    /// Stops at the next safe point, and waits a moment for it.
    pub(crate) async fn drain(&self) {
        self.0.stop.store(true, Ordering::Relaxed);
        // Under the lock, or the thread could miss it on its way to sleep.
        drop(self.0.plan());
        self.0.changed.notify_all();
        if tokio::time::timeout(STOP_MAX, self.0.ended.cancelled()).await.is_err() {
            tracing::info!("maintenance is cut off; the next one takes it up");
        }
    }

    /// Its figures in Prometheus' text format.
    pub(crate) fn figures(&self, out: &mut String) {
        let waiting = {
            let plan = self.0.plan();
            plan.queue.len() + plan.asked.len()
        };
        self.0.figures.render(waiting, out);
    }
}

impl Inner {
    fn plan(&self) -> MutexGuard<'_, Plan> {
        // Every change is one insert or remove: a panic leaves nothing half-done.
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn run(&self) {
        while let Some(job) = self.next() {
            let work = AssertUnwindSafe(|| match job {
                Job::Asked(asked) => self.by_hand(asked),
                Job::Look(look) => self.look(look),
                Job::Sweep => self.sweep(),
            });
            if catch_unwind(work).is_err() {
                tracing::error!("maintenance failed unexpectedly; report it");
                self.figures.failed();
            }
            self.plan().running = None;
        }
    }

    /// Waits for the next thing to do; `None` once the server stops.
    fn next(&self) -> Option<Job> {
        let mut plan = self.plan();
        loop {
            if self.is_stopped() {
                return None;
            }
            if !plan.asked.is_empty() {
                let asked = plan.asked.remove(0);
                plan.running = Some(asked.record.id);
                return Some(Job::Asked(asked));
            }
            let now = Instant::now();
            if plan.sweep <= now {
                plan.sweep = now + SWEEP_EVERY;
                return Some(Job::Sweep);
            }
            let wait = match plan.queue.next(now) {
                Next::Due(look) => {
                    plan.running = Some(look.repo);
                    return Some(Job::Look(look));
                }
                Next::In(wait) => wait.min(plan.sweep.saturating_duration_since(now)),
                Next::Nothing => plan.sweep.saturating_duration_since(now),
            };
            plan = self.changed.wait_timeout(plan, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// A glance at every repository's folder; those that may need work get in line. Logs that are kept no longer go, whether or
    /// not repositories are maintained.
    fn sweep(&self) {
        let records = match self.store.repos() {
            Ok(records) => records,
            Err(problem) => return tracing::warn!(%problem, "no repository is looked at"),
        };
        let repos: Vec<RepoId> = records.iter().map(|record| record.id).collect();
        self.logs.sweep(&repos, || self.is_stopped());
        for record in records.into_iter().filter(|_| self.settings.enabled) {
            if self.is_stopped() {
                return;
            }
            match self.repositories.may_need_work(record.id) {
                Ok(true) => self.plan().queue.swept(record.id, Instant::now()),
                Ok(false) => {}
                Err(e) => tracing::warn!(repo = %record.name, "it is not looked at: {e}"),
            }
        }
    }

    fn by_hand(&self, asked: Asked) {
        let done = self.maintain(&asked.record, asked.full).map_err(Problem::from);
        // Before it is told: whoever hears of it may ask for the next at once.
        self.plan().running = None;
        // Who asked may have left.
        drop(asked.answer.send(done));
    }

    /// Looks whether work pays, and does it.
    fn look(&self, look: Look) {
        let record = match self.store.repo(look.repo) {
            Ok(Some(record)) => record,
            // Removed since.
            Ok(None) => return,
            Err(problem) => return tracing::warn!(%problem, "a repository is not looked at"),
        };
        let done = self.full_if_due(&record, look.why).and_then(|full| match full {
            Some(full) => self.maintain(&record, full).map(|done| {
                self.plan().queue.maintained(record.id, done.took, Instant::now());
            }),
            None => Ok(()),
        });
        match done {
            Ok(()) | Err(RepoError::Stopped | RepoError::NoFolder { .. }) => {}
            Err(_) => self.plan().queue.failed(look, Instant::now()),
        }
    }

    /// Whether work pays, and which: `Some(true)` packs everything anew.
    fn full_if_due(&self, record: &RepoRecord, why: Why) -> Result<Option<bool>, RepoError> {
        let repository = self.repositories.get(record.id)?;
        if why == Why::Swept && repository.repack_is_due(&self.stop)? {
            return Ok(Some(true));
        }
        Ok(repository.storage()?.needs_work().then_some(false))
    }

    fn maintain(&self, record: &RepoRecord, full: bool) -> Result<Maintained, RepoError> {
        let begun = Instant::now();
        let work = || {
            let repository = self.repositories.get(record.id)?;
            if full {
                repository.repack(&repository.repack_options()?, &self.stop)
            } else {
                repository.maintain(&self.stop)
            }
        };
        let done = work();
        match &done {
            Ok(done) => {
                self.figures.done(done);
                let (before, after) = (&done.before, &done.after);
                let repacked = done.full.unwrap_or_default();
                tracing::info!(
                    repo = %record.name, full, packs_before = before.packs, packs = after.packs,
                    objects = after.objects, bytes_before = before.bytes, bytes = after.bytes,
                    bitmaps = after.bitmaps, commits = after.graph_commits, unreachable = repacked.unreachable,
                    dropped = repacked.dropped, ms = done.took.as_millis() as u64, "maintained"
                );
            }
            Err(RepoError::Stopped) => {}
            Err(RepoError::Maintained) => {
                tracing::info!(repo = %record.name, "not maintained: it is under way elsewhere");
            }
            Err(e) => {
                self.figures.failed();
                tracing::warn!(repo = %record.name, ms = begun.elapsed().as_millis() as u64, "not maintained: {e}");
            }
        }
        done
    }
}
