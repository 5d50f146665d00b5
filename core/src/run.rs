//! What all durable work has in common, whatever it does: where it stands, how often it was tried, whose it is.
//!
//! [`Run`] lies flat in the record of every kind of work ([`crate::build::Build`], [`crate::deploy::Deploy`]), so that
//! its fields are read and written as if they were the record's own.

use serde::{Deserialize, Serialize};

use crate::id::UnixMillis;
use crate::problem::Problem;

/// Whose fault a failure is: decides whether trying again can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// The repository's: Dockerfile, slipway.toml, a failing test.
    User,
    /// A part's: engine, registry or network. Tried again.
    Infra,
    /// It took too long.
    Timeout,
    /// It is not allowed (no binding).
    Policy,
}

/// Why work failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Whose fault.
    pub class: FailureClass,
    /// What and what to do.
    pub problem: Problem,
}

/// Whose a run is: of several nodes over the same records one alone carries it out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The node that took it.
    pub owner: String,
    /// Until when, if it is not renewed.
    pub until: UnixMillis,
    /// Counts the takings: who holds an older one has lost it, however late it notices.
    pub fence: u64,
}

/// Where work of one kind stands. `S` is the kind's own states.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run<S> {
    /// Where it stands.
    pub state: S,
    /// Why it failed or waits.
    pub failure: Option<Failure>,
    /// How often it was tried again for reasons outside the repository.
    pub retries: u32,
    /// How often the server died under it.
    pub restarts: u32,
    /// When it is tried again, while it waits.
    pub retry_at: Option<UnixMillis>,
    /// Since when it is queued.
    pub created: UnixMillis,
    /// When it first began.
    pub started: Option<UnixMillis>,
    /// When it ended.
    pub ended: Option<UnixMillis>,
    /// Whose it is. Nobody's while it has not begun, nor once it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Lease>,
}

impl<S> Run<S> {
    /// A run that has just been recorded.
    pub fn new(state: S, now: UnixMillis) -> Self {
        Self {
            state,
            failure: None,
            retries: 0,
            restarts: 0,
            retry_at: None,
            created: now,
            started: None,
            ended: None,
            lease: None,
        }
    }
}
