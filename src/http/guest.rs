//! A connection and whom it waits for: while any of its requests is worked on it keeps its place, and while all of them
//! wait for its client (for a head, a body, or that an answer is read) it may have to give way to somebody else.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use slipway_forge::shares::Place;

/// A connection.
pub(super) struct Guest {
    place: Place,
    idle: Duration,
    turns: Mutex<Turns>,
}

#[derive(Default)]
struct Turns {
    /// Requests under way.
    requests: usize,
    /// Bodies and answers of theirs that wait for the client.
    waits: usize,
}

impl Guest {
    /// One that waits for its first request, and for each that follows for `idle`.
    pub(super) fn new(place: Place, idle: Duration) -> Arc<Self> {
        place.waits(idle);
        Arc::new(Self { place, idle, turns: Mutex::default() })
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// A request has come; it ends when what is returned goes.
    pub(super) fn request(self: &Arc<Self>) -> Busy {
        let mut turns = self.lock();
        turns.requests += 1;
        self.place.works();
        drop(turns);
        Busy(Arc::clone(self))
    }

    /// A request waits for its client until what is returned goes, `patience` long at most.
    pub(super) fn wait(self: &Arc<Self>, patience: Duration) -> Waiting {
        let mut turns = self.lock();
        turns.waits += 1;
        self.judge(&turns, patience);
        drop(turns);
        Waiting(Arc::clone(self))
    }

    fn lock(&self) -> MutexGuard<'_, Turns> {
        // Changed in single steps: a panic in between leaves it valid.
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn judge(&self, turns: &Turns, patience: Duration) {
        if turns.waits >= turns.requests {
            self.place.waits(patience);
        } else {
            self.place.works();
        }
    }
}

/// A request that is under way.
pub(super) struct Busy(Arc<Guest>);

impl Drop for Busy {
    fn drop(&mut self) {
        let mut turns = self.0.lock();
        turns.requests -= 1;
        self.0.judge(&turns, self.0.idle);
    }
}

/// A client that is waited for.
pub(super) struct Waiting(Arc<Guest>);

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut turns = self.0.lock();
        turns.waits -= 1;
        self.0.judge(&turns, self.0.idle);
    }
}

#[cfg(test)]
mod tests {
    use slipway_forge::shares::{Bounds, Party, Shares};

    use super::*;

    #[test]
    fn a_connection_gives_way_only_while_everything_in_it_waits_for_its_client() {
        let long = Duration::from_secs(60);
        let shares = Shares::new("connections", Bounds { owners: 0, ..Bounds::of(1) });
        let other = || shares.enter_now(Party::at([10, 0, 0, 2].into())).is_some();
        let guest = || Guest::new(shares.enter_now(Party::at([10, 0, 0, 1].into())).expect("a place"), long);
        let first = guest();
        let (one, two) = (first.request(), first.request());
        assert!(!other(), "two requests are worked on");
        let waits = first.wait(long);
        assert!(!other(), "one is, and one waits for its client");
        drop(two);
        drop(one);
        assert!(other(), "nothing is worked on");
        drop((waits, first));
        let second = guest();
        let busy = second.request();
        let waits = second.wait(long);
        drop(waits);
        assert!(!other(), "the client came");
        drop(busy);
        assert!(other(), "it waits for its next request");
    }
}
