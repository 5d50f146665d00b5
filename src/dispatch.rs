//! Hands accepted work to the supervisor and to upkeep, which are made after the acceptance path that needs them.

use std::sync::OnceLock;

use slipway_core::accept::{Dispatch, Orders};
use slipway_core::{Problem, ProblemKind, RepoId};

use crate::clock::Clock;
use crate::supervisor::Supervisor;
use crate::upkeep::Upkeep;

/// Filled in once they stand. Orders before that wait in the store, where the supervisor finds them; repositories are all
/// looked at soon after the start.
#[derive(Default)]
pub(crate) struct ToWorkers(OnceLock<(Supervisor, Upkeep)>, OnceLock<Clock>);

impl ToWorkers {
    /// Who carries out what is owed.
    ///
    /// # Errors
    /// `Busy` while the server is starting.
    pub(crate) fn get(&self) -> Result<&(Supervisor, Upkeep), Problem> {
        self.0.get().ok_or_else(|| {
            Problem::new(ProblemKind::Busy, "The server is starting.", "Try again in a moment.")
        })
    }

    /// Who is told of every move of refs.
    pub(crate) fn set_clock(&self, clock: Clock) {
        drop(self.1.set(clock));
    }

    /// What starts the repository's builds by itself may be another now. While the server is starting, the start finds it.
    pub(crate) fn rebound(&self, repo: RepoId) {
        if let Some(clock) = self.1.get() {
            clock.moved(repo);
        }
    }

    pub(crate) fn set(&self, supervisor: Supervisor, upkeep: Upkeep) {
        // Set once, by the composition; a second one would be the same.
        drop(self.0.set((supervisor, upkeep)));
    }
}

impl Dispatch for ToWorkers {
    fn dispatch(&self, orders: &Orders) {
        if let Some((supervisor, _)) = self.0.get() {
            supervisor.order(orders);
        }
    }

    fn moved(&self, repo: RepoId) {
        if let Some((supervisor, upkeep)) = self.0.get() {
            upkeep.pushed(repo);
            supervisor.deliver(repo);
        }
        self.rebound(repo);
    }
}
