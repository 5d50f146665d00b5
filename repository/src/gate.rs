//! Keeps pushes and the dropping of objects apart: a push is checked against objects that lie here, and they must lie
//! here still once its refs have moved. Pushes pass side by side; whoever drops waits until none is under way, and gives
//! up rather than let anybody wait for long.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The gate of one repository.
#[derive(Default)]
pub(crate) struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Pushes under way.
    passing: usize,
    closed: bool,
}

/// A push is under way. Held from before its objects are looked at until its refs have moved or it was refused.
pub(crate) struct Pass(Arc<Gate>);

/// No push is under way and none begins.
pub(crate) struct Closed<'a>(&'a Gate);

impl Gate {
    /// Lets a push through, after whoever drops objects just now.
    pub(crate) fn enter(self: &Arc<Self>) -> Pass {
        let mut state = self.state();
        while state.closed {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.passing += 1;
        Pass(self.clone())
    }

    /// Closes it once no push is under way; `None` if that does not come to pass within `patience`. Pushes that come
    /// meanwhile go first.
    pub(crate) fn close(&self, patience: Duration) -> Option<Closed<'_>> {
        let deadline = Instant::now() + patience;
        let mut state = self.state();
        while state.passing > 0 || state.closed {
            let left = deadline.checked_duration_since(Instant::now())?;
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.closed = true;
        Some(Closed(self))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is one assignment: a panic leaves nothing half-done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.0.state().passing -= 1;
        self.0.changed.notify_all();
    }
}

impl Drop for Closed<'_> {
    fn drop(&mut self) {
        self.0.state().closed = false;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_drops_waits_for_pushes_and_pushes_for_who_drops() {
        let gate = Arc::new(Gate::default());
        let (one, two) = (gate.enter(), gate.enter());
        assert!(gate.close(Duration::from_millis(10)).is_none());
        drop(one);
        assert!(gate.close(Duration::ZERO).is_none());
        drop(two);
        let closed = gate.close(Duration::ZERO).expect("nobody passes");
        let late = std::thread::spawn({
            let gate = gate.clone();
            move || drop(gate.enter())
        });
        std::thread::sleep(Duration::from_millis(30));
        assert!(!late.is_finished());
        drop(closed);
        late.join().expect("it passes");
        assert!(gate.close(Duration::ZERO).is_some());
    }
}
