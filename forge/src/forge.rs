//! What every use case works with: the records, the repositories, the world outside, the clock, and what is remembered of
//! failed sign-ins.

use std::sync::Arc;

use slipway_core::accept::Acceptance;
use slipway_core::limits::Limits;
use slipway_core::{Problem, ProblemKind, UnixMillis};
use slipway_repository::Repositories;
use slipway_store::Store;

use crate::moving::Turns;
use crate::outside::Outside;
use crate::probes::Probes;
use crate::sign_in::Throttle;

/// What a [`Forge`] is made of.
pub struct Parts {
    /// Everything that is recorded.
    pub store: Store,
    /// The repositories on disk.
    pub repositories: Arc<Repositories>,
    /// The one way in for pushes.
    pub acceptance: Arc<Acceptance>,
    /// Registries and clusters.
    pub outside: Arc<dyn Outside>,
    /// The clock.
    pub clock: fn() -> UnixMillis,
    /// What accounts may have.
    pub limits: Arc<Limits>,
}

/// The floor that all surfaces stand on. One per server.
pub struct Forge {
    pub(crate) store: Store,
    pub(crate) repositories: Arc<Repositories>,
    pub(crate) acceptance: Arc<Acceptance>,
    pub(crate) outside: Arc<dyn Outside>,
    pub(crate) throttle: Throttle,
    pub(crate) probes: Probes,
    pub(crate) limits: Arc<Limits>,
    /// Whose turn it is to move a repository's names.
    pub(crate) turns: Turns,
    clock: fn() -> UnixMillis,
}

impl Forge {
    /// Puts the parts together.
    pub fn new(parts: Parts) -> Self {
        let Parts { store, repositories, acceptance, outside, clock, limits } = parts;
        let throttle = Throttle::new(limits.sign_in_failures_max);
        let probes = Probes::new(limits.name_probes_max);
        let turns = Turns::default();
        Self { store, repositories, acceptance, outside, throttle, probes, limits, turns, clock }
    }

    /// The moment that everything which happens now is recorded with.
    pub fn now(&self) -> UnixMillis {
        (self.clock)()
    }
}

/// Runs what blocks on a thread that may block.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| {
        Err(Problem::new(
            ProblemKind::Broken,
            "Something broke inside the server while it worked on this.",
            "Try again; the server's log says more.",
        ))
    })
}
