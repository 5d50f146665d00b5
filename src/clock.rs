//! Wakes repositories whose builds start by themselves: when a time has come, when the default branch has moved, when a build has
//! pushed a base image. What is due, and why, the floor says ([`slipway_forge::schedules`]); here is the waiting alone.
//!
//! Nothing is lost with the memory of it: all repositories are looked at soon after a start and every hour, and what is due is
//! recorded with what it starts.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use slipway_core::build::Build;
use slipway_core::run::Kind;
use slipway_core::{BuildNumber, Problem, RepoId, UnixMillis};
use slipway_forge::Forge;
use slipway_forge::schedules::{self, Watch};
use slipway_jobs::Notice;
use tokio::sync::{Notify, broadcast};
use tokio_util::sync::CancellationToken;

use crate::supervisor::{blocking, now};

/// How often all repositories are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(3600);
/// The longest sleep: clocks are set, and machines sleep.
const NAP: Duration = Duration::from_secs(60);
/// The shortest, so that what cannot be done now is not tried without end.
const NAP_MIN: Duration = Duration::from_millis(200);
/// After a failure a repository is left alone for so long.
const AGAIN_AFTER_MS: u64 = 600_000;

/// Wakes repositories. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Clock(Arc<Inner>);

struct Inner {
    forge: Arc<Forge>,
    /// Repositories to look at.
    dirty: Mutex<BTreeSet<RepoId>>,
    rung: Notify,
}

/// What the loop remembers.
#[derive(Default)]
struct Memory {
    watches: HashMap<RepoId, Watch>,
}

impl Clock {
    pub(crate) fn new(forge: Arc<Forge>) -> Self {
        Self(Arc::new(Inner { forge, dirty: Mutex::default(), rung: Notify::new() }))
    }

    /// Refs of the repository have moved, or what it is bound to has changed.
    pub(crate) fn moved(&self, repo: RepoId) {
        self.0.dirty().insert(repo);
        self.0.rung.notify_one();
    }

    /// Runs until the server stops.
    pub(crate) async fn run(self, mut changes: broadcast::Receiver<Notice>, stop: CancellationToken) {
        let (mut memory, mut looked) = (Memory::default(), None::<Instant>);
        loop {
            if looked.is_none_or(|at| at.elapsed() >= LOOK_EVERY) {
                looked = Some(Instant::now());
                self.look_at_all().await;
            }
            self.turn(&mut memory, &stop).await;
            let nap = memory.nap();
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.0.rung.notified() => {}
                () = tokio::time::sleep(nap) => {}
                change = changes.recv() => match change {
                    Ok(notice) => self.hear(&memory, notice).await,
                    // Some were missed: the records tell.
                    Err(broadcast::error::RecvError::Lagged(_)) => looked = None,
                    Err(broadcast::error::RecvError::Closed) => return,
                }
            }
        }
    }

    async fn look_at_all(&self) {
        let forge = self.0.forge.clone();
        match blocking(move || schedules::watched(&forge)).await {
            Ok(all) => self.0.dirty().extend(all),
            Err(problem) => tracing::warn!(%problem, "what starts builds by itself cannot be read"),
        }
    }

    /// Looks at what has moved, and starts what is due.
    async fn turn(&self, memory: &mut Memory, stop: &CancellationToken) {
        let dirty = std::mem::take(&mut *self.0.dirty());
        let at = now();
        let due = memory.watches.iter().filter(|(_, watch)| watch.due.is_some_and(|due| due <= at));
        let due: BTreeSet<RepoId> = due.map(|(repo, _)| *repo).collect();
        for repo in dirty.union(&due).copied() {
            if stop.is_cancelled() {
                return;
            }
            let forge = self.0.forge.clone();
            let watch = blocking(move || schedules::start_due(&forge, repo)).await;
            memory.note(repo, watch);
        }
    }

    /// A build has ended: what it pushed may be a base of others, and what it was made of is known now.
    async fn hear(&self, memory: &Memory, notice: Notice) {
        if notice.kind != Kind::Build || memory.watches.values().all(|watch| watch.bases.is_none()) {
            return;
        }
        let (forge, repo, number) = (self.0.forge.clone(), notice.id.repo, BuildNumber(notice.id.number));
        let Ok(Some(build)) = blocking(move || schedules::ended(&forge, repo, number)).await else { return };
        let touched: Vec<RepoId> = memory.touched_by(&build);
        self.0.dirty().extend(touched);
    }
}

impl Inner {
    fn dirty(&self) -> MutexGuard<'_, BTreeSet<RepoId>> {
        // A set of numbers: a panic leaves nothing half-done.
        self.dirty.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    fn note(&mut self, repo: RepoId, watch: Result<Watch, Problem>) {
        let watch = match watch {
            Ok(watch) => watch,
            Err(problem) => {
                // Where nothing was known to be due, the next push or the hourly look will do.
                let Some(known) = self.watches.remove(&repo) else {
                    tracing::debug!(%repo, %problem, "what starts builds of a repository by itself cannot be told");
                    return;
                };
                tracing::warn!(%repo, %problem, "what starts builds of a repository by itself cannot be told");
                Watch { due: Some(now().plus_ms(AGAIN_AFTER_MS)), ..known }
            }
        };
        if watch == Watch::default() {
            self.watches.remove(&repo);
        } else {
            self.watches.insert(repo, watch);
        }
    }

    /// How long nothing is due.
    fn nap(&self) -> Duration {
        let next: Option<UnixMillis> = self.watches.values().filter_map(|watch| watch.due).min();
        let wait = next.map_or(NAP, |next| Duration::from_millis(next.since(now())));
        wait.clamp(NAP_MIN, NAP)
    }

    /// The repositories that may have something to do after that build.
    fn touched_by(&self, build: &Build) -> Vec<RepoId> {
        let pushed = build.pushed.iter();
        let names: BTreeSet<String> =
            pushed.flat_map(|image| image.tags.iter().map(|tag| format!("{}:{tag}", image.name))).collect();
        let is = |repo: &RepoId, watch: &Watch| {
            let bases = watch.bases.as_ref();
            bases.is_some_and(|bases| *repo == build.repo || !bases.is_disjoint(&names))
        };
        self.watches.iter().filter(|(repo, watch)| is(repo, watch)).map(|(repo, _)| *repo).collect()
    }
}
