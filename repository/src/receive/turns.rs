//! Work that threads give one another, and how they find out that none is left.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::error::Result;

/// How long a waiting thread sleeps between two reports.
const PAUSE: Duration = Duration::from_millis(100);

/// Threads at work, and what they gave away.
pub(crate) struct Turns<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
    /// A copy of [`State::wanted`] that is looked at without the lock.
    wanted: AtomicUsize,
    failed: AtomicBool,
}

struct State<T> {
    given: Vec<T>,
    /// Threads that may still give something.
    working: usize,
    /// Threads that wait.
    sleeping: usize,
}

impl<T> State<T> {
    /// How many more pieces would be taken at once.
    fn wanted(&self) -> usize {
        self.sleeping.saturating_sub(self.given.len())
    }
}

impl<T> Default for Turns<T> {
    fn default() -> Self {
        Self {
            state: Mutex::new(State { given: Vec::new(), working: 0, sleeping: 0 }),
            changed: Condvar::new(),
            wanted: AtomicUsize::new(0),
            failed: AtomicBool::new(false),
        }
    }
}

impl<T> Turns<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // Nothing in here panics half way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one thread more; to be called before it starts.
    pub(crate) fn join(&self) {
        self.lock().working += 1;
    }

    /// Counts one thread less.
    pub(crate) fn leave(&self) {
        self.lock().working -= 1;
        self.changed.notify_all();
    }

    /// Ends the work of all.
    pub(crate) fn fail(&self) {
        self.failed.store(true, Ordering::Relaxed);
        // Under the lock, so that nobody misses it between looking and sleeping.
        drop(self.lock());
        self.changed.notify_all();
    }

    /// True once a thread failed.
    pub(crate) fn failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// True if giving something away helps.
    pub(crate) fn is_anyone_waiting(&self) -> bool {
        self.wanted.load(Ordering::Relaxed) > 0
    }

    /// Gives work to a thread that waits.
    pub(crate) fn give(&self, work: T) {
        let mut state = self.lock();
        state.given.push(work);
        self.wanted.store(state.wanted(), Ordering::Relaxed);
        drop(state);
        self.changed.notify_one();
    }

    /// The next piece of work for a thread that ran out of it; `None` once nobody can have any. `pause` is called now
    /// and then while it waits.
    pub(crate) fn next(&self, pause: &mut dyn FnMut() -> Result<()>) -> Result<Option<T>> {
        let mut state = self.lock();
        state.working -= 1;
        loop {
            if self.failed() {
                return Ok(None);
            }
            if let Some(work) = state.given.pop() {
                state.working += 1;
                self.wanted.store(state.wanted(), Ordering::Relaxed);
                return Ok(Some(work));
            }
            if state.working == 0 {
                self.changed.notify_all();
                return Ok(None);
            }
            state.sleeping += 1;
            self.wanted.store(state.wanted(), Ordering::Relaxed);
            let slept = self.changed.wait_timeout(state, PAUSE).unwrap_or_else(PoisonError::into_inner);
            state = slept.0;
            state.sleeping -= 1;
            self.wanted.store(state.wanted(), Ordering::Relaxed);
            if slept.1.timed_out() {
                drop(state);
                pause()?;
                state = self.lock();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::RepoError;

    #[test]
    fn what_is_given_is_done_once_and_all_end() {
        let (turns, done) = (Turns::<u32>::default(), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                turns.join();
            }
            for thread in 0..4 {
                let (turns, done) = (&turns, &done);
                scope.spawn(move || {
                    if thread == 0 {
                        (0..100).for_each(|_| turns.give(3));
                    }
                    while let Some(deep) = turns.next(&mut || Ok(())).expect("never stopped") {
                        done.fetch_add(1, Ordering::Relaxed);
                        (0..deep).for_each(|_| turns.give(deep - 1));
                    }
                });
            }
        });
        // 1 + 3 + 3·2 + 3·2·1 for each.
        assert_eq!(done.into_inner(), 1600);
    }

    #[test]
    fn who_waits_ends_when_another_fails_or_it_is_stopped() {
        let turns = Turns::<u32>::default();
        turns.join();
        turns.join();
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| turns.next(&mut || Ok(())).expect("not stopped"));
            std::thread::sleep(Duration::from_millis(20));
            turns.fail();
            assert_eq!(waits.join().expect("no panic"), None);
        });
        let turns = Turns::<u32>::default();
        turns.join();
        turns.join();
        assert!(matches!(turns.next(&mut || Err(RepoError::Stopped)), Err(RepoError::Stopped)));
    }
}
