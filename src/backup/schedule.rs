//! Backups that the server makes by itself, into the folder that its operator named, one at a time, on threads that give way to
//! everything else. When, and what is kept, config.toml says (`settings.rs`).

use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use slipway_backup::{Folder, Received};
use slipway_core::{Problem, ProblemKind};
use slipway_forge::Check;

use super::give_way;
use super::make::{Parts, Wants};
use super::settings::{Backups, Times};
use crate::supervisor::now;

/// After a failure it is tried again so much later.
const RETRY_AFTER: Duration = Duration::from_secs(15 * 60);
/// The first one after a start waits so long: there is enough to do.
const START_DELAY: Duration = Duration::from_secs(5);
/// The longest sleep: clocks are set, and machines sleep.
const NAP: Duration = Duration::from_secs(60);

/// The schedule, and what came of it.
pub(crate) struct Schedule {
    settings: Backups,
    stop: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// The moment of the last one that succeeded, in milliseconds since 1970.
    last: Option<u64>,
    /// When the schedule began.
    begun: Option<u64>,
    /// Of the last one of this life: how long it took, how much there is, how much of it was new.
    took: Duration,
    bytes: u64,
    new_bytes: u64,
    failures: u64,
    /// What the last one died of.
    failure: Option<Problem>,
    running: bool,
}

impl Schedule {
    pub(crate) fn new(settings: Backups) -> Arc<Self> {
        let state = Mutex::default();
        Arc::new(Self { settings, stop: AtomicBool::new(false), state, changed: Condvar::new() })
    }

    /// Starts the thread, if there is anything to do.
    ///
    /// # Errors
    /// A [`Problem`] if there is no thread to be had.
    pub(crate) fn start(self: &Arc<Self>, parts: Parts) -> Result<(), Problem> {
        let (Some(to), Ok(times)) = (self.settings.to.clone(), self.settings.times()) else { return Ok(()) };
        let schedule = self.clone();
        let run = move || {
            give_way();
            schedule.run(&parts, &to, times);
        };
        let spawned = std::thread::Builder::new().name("backups".into()).spawn(run);
        spawned.map(drop).map_err(|e| {
            let what = format!("The thread for backups cannot be started: {e}.");
            Problem::new(ProblemKind::Broken, what, "Check the process limits.")
        })
    }

    /// Ends what is under way at the next file; what has come is of use to the next one.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
        drop(self.state());
        self.changed.notify_all();
    }

    fn run(&self, parts: &Parts, to: &Path, times: Times) {
        self.state().last = newest(to);
        self.state().begun = Some(now().0);
        // One of the future was made under a clock that was wrong.
        let last = self.state().last.map(|last| last.min(now().0));
        let mut due = times.next(last, now().0).max(now().0 + ms(START_DELAY));
        while self.sleep_until(due, times.longest()) {
            self.state().running = true;
            let done = self.make(parts, to);
            self.state().running = false;
            due = match done {
                Ok(received) => {
                    let snapshot = &received.snapshot;
                    tracing::info!(
                        to = %to.display(), snapshot = snapshot.number, files = snapshot.files, bytes = snapshot.bytes,
                        new_files = snapshot.new_files, new_bytes = snapshot.new_bytes,
                        ms = ms(received.took), "backed up"
                    );
                    let last = self.note(&received);
                    times.next(last, now().0).max(now().0 + 1)
                }
                Err(_) if self.stop.load(Ordering::SeqCst) => return,
                Err(problem) => {
                    tracing::error!(to = %to.display(), %problem, "no backup is made");
                    let mut state = self.state();
                    state.failures += 1;
                    state.failure = Some(problem);
                    now().0 + ms(RETRY_AFTER)
                }
            };
        }
    }

    /// True once that time has come, false if the server stops before.
    fn sleep_until(&self, mut due: u64, longest: Duration) -> bool {
        let mut state = self.state();
        loop {
            // A clock that was set back does not put it off.
            due = due.min(now().0 + ms(longest));
            if self.stop.load(Ordering::SeqCst) {
                return false;
            }
            let wait = due.saturating_sub(now().0);
            if wait == 0 {
                return true;
            }
            let nap = Duration::from_millis(wait).min(NAP);
            state = self.changed.wait_timeout(state, nap).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn make(&self, parts: &Parts, to: &Path) -> Result<Received, Problem> {
        let begun = Instant::now();
        let folder = Folder::take(to)?;
        let wants = Wants { known: folder.known()?, keys: self.settings.keys };
        let received = receive(parts, &wants, &folder, self.settings.quick, &self.stop)?;
        let (gone, bytes) = folder.retain(&self.settings.keep())?;
        if gone > 0 {
            tracing::info!(gone, bytes, ms = ms(begun.elapsed()), "old backups are removed");
        }
        Ok(received)
    }

    fn note(&self, received: &Received) -> Option<u64> {
        let snapshot = &received.snapshot;
        let (troubles, more) = snapshot.troubles();
        let mut state = self.state();
        (state.took, state.bytes, state.new_bytes) = (received.took, snapshot.bytes, snapshot.new_bytes);
        state.failure = None;
        if let Some(first) = troubles.first() {
            state.failures += 1;
            let what = format!(
                "The last backup is not whole: {}: {} ({} such).",
                first.what,
                first.why,
                troubles.len() as u64 + more
            );
            tracing::error!(what, "a backup is not whole");
            state.failure =
                Some(Problem::new(ProblemKind::Broken, what, "Check the server's disk and that repository."));
            return Some(snapshot.at);
        }
        state.last = Some(snapshot.at);
        state.last
    }

    /// A sentence for everybody where the last one that succeeded is older than twice the schedule; none may be as old as the
    /// server's start is long ago.
    pub(crate) fn overdue(&self) -> Option<String> {
        self.settings.to.as_ref()?;
        let patience = self.settings.times().ok()?.patience();
        let state = self.state();
        let since = state.last.or(state.begun)?;
        let age = Duration::from_millis(now().0.saturating_sub(since));
        (age > patience).then(|| match state.last {
            Some(_) => format!("The last backup that succeeded was made {} hours ago.", age.as_secs() / 3600),
            None => "No backup has succeeded yet, and one is long due.".to_owned(),
        })
    }

    /// What the doctor says; nothing where there is no schedule.
    pub(crate) fn check(&self) -> Option<Check> {
        let to = self.settings.to.as_ref()?;
        let times = self.settings.times().ok()?;
        let state = self.state();
        let age = state.last.map(|last| Duration::from_millis(now().0.saturating_sub(last)));
        let ago = age.map_or("never".to_owned(), |age| format!("{} min ago", age.as_secs() / 60));
        let check = |ok, what: String, cure: String| Check { name: "backup".into(), ok, what, cure };
        Some(match &state.failure {
            Some(problem) => check(
                false,
                format!("{} The last that succeeded: {ago}.", problem.what),
                problem.cure.clone(),
            ),
            None if age.is_some_and(|age| age > times.patience()) => check(
                false,
                format!("The last backup to {} that succeeded was {ago}.", to.display()),
                "See the server's log, and the folder and its free space.".to_owned(),
            ),
            None => check(true, format!("to {}, last {ago}", to.display()), String::new()),
        })
    }

    /// Figures in Prometheus' text format; none where there is no schedule.
    pub(crate) fn figures(&self, out: &mut String) {
        if self.settings.to.is_none() {
            return;
        }
        let overdue = self.overdue().is_some();
        let state = self.state();
        for (name, kind, help, value) in [
            (
                "overdue",
                "gauge",
                "1 if the last one that succeeded is older than twice the schedule.",
                u64::from(overdue),
            ),
            (
                "last_success_seconds",
                "gauge",
                "When the last backup that succeeded was made, since 1970.",
                state.last.unwrap_or(0) / 1000,
            ),
            ("duration_seconds", "gauge", "How long the last one took.", state.took.as_secs()),
            ("size_bytes", "gauge", "Bytes of everything that is in the last one.", state.bytes),
            ("new_bytes", "gauge", "Bytes that no earlier one had.", state.new_bytes),
            ("failures_total", "counter", "Backups that failed or are not whole.", state.failures),
            ("running", "gauge", "1 while one is made.", u64::from(state.running)),
        ] {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "# HELP slipway_backup_{name} {help}\n# TYPE slipway_backup_{name} {kind}");
            let _ = writeln!(out, "slipway_backup_{name} {value}");
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is an assignment: a panic leaves nothing half-done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes a backup and takes it in, in this process.
pub(crate) fn receive(
    parts: &Parts,
    wants: &Wants,
    folder: &Folder,
    quick: bool,
    stop: &AtomicBool,
) -> Result<Received, Problem> {
    super::within(parts, wants, stop, |input| folder.receive(input, quick))
}

/// The moment of the newest whole snapshot, if there is such a folder.
fn newest(to: &Path) -> Option<u64> {
    let (snapshots, _) = Folder::open(to).ok()?.snapshots().ok()?;
    snapshots.iter().rev().find(|snapshot| snapshot.is_whole()).map(|snapshot| snapshot.at)
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_that_is_older_than_twice_its_schedule_is_told_of() {
        let settings: Backups = toml::from_str("to = \"/backups\"\nevery = \"6h\"").expect("valid");
        let schedule = Schedule::new(settings);
        let ago = |hours: u64| Some(now().0 - hours * 3_600_000);
        let overdue = |last: Option<u64>, begun: Option<u64>| {
            let mut state = schedule.state();
            (state.last, state.begun) = (last, begun);
            drop(state);
            let mut figures = String::new();
            schedule.figures(&mut figures);
            let told = schedule.overdue();
            let figure = format!("slipway_backup_overdue {}\n", u8::from(told.is_some()));
            assert!(figures.contains(&figure), "{figures}");
            told
        };
        assert_eq!(overdue(None, None), None, "it has not begun");
        assert_eq!(overdue(ago(12), ago(100)), None);
        let told = overdue(ago(14), ago(1)).expect("overdue");
        assert_eq!(told, "The last backup that succeeded was made 14 hours ago.");
        assert_eq!(overdue(None, ago(12)), None, "the first may take its time");
        assert!(overdue(None, ago(14)).expect("overdue").starts_with("No backup has succeeded"));
        assert_eq!(Schedule::new(Backups::default()).overdue(), None, "there is no schedule");
    }
}
