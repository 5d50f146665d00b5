//! Durable work: one desk, one queue of lanes and one task for every kind (builds, deploys, deliveries, …).
//!
//! A kind of work is a pure machine in core ([`slipway_core::run::Machine`]), hands that carry out what it asks for
//! ([`Hands`]) and a place where its records lie ([`Records`]); the rest is here, once: who comes after whom, how many
//! run at once, the lease by which of several nodes one alone does it, the record before every effect, pauses, cancelling,
//! and what a stop or a `kill -9` leaves for the next start.
//!
//! Knows no kind, no database, no engine and no cluster.

mod desk;
mod lanes;
pub mod limits;
mod ports;
mod slots;
mod task;

use std::time::SystemTime;

use slipway_core::{Problem, ProblemKind, UnixMillis};

pub use self::desk::{Desk, Parts, Rules};
pub use self::ports::{Changes, Hands, Kept, Notice, Progress, Rank, Records};

/// The moment that everything which happens now is recorded with.
pub fn now() -> UnixMillis {
    SystemTime::now().into()
}

/// Runs what blocks on a thread that may block.
///
/// # Errors
/// What `work` says; `Broken` where it panicked.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| {
        Err(Problem::new(
            ProblemKind::Broken,
            "An internal task failed unexpectedly.",
            "Look at the server's log, and report it.",
        ))
    })
}
