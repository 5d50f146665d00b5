//! Where builds stand, and what came of their tests.

use serde::{Deserialize, Serialize};

use crate::run::{Standing, State};

/// Where a build stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BuildState {
    /// Waits for a free place.
    Queued,
    /// A stage is under way.
    Running,
    /// A stage failed for reasons outside the repository; it is tried again at `retry_at`.
    Waiting,
    /// All stages done.
    Succeeded,
    /// A stage failed.
    Failed,
    /// Somebody cancelled it.
    Cancelled,
    /// A newer commit of the same ref took its place.
    Superseded,
}

impl BuildState {
    /// True for the states that never change again.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled | Self::Superseded)
    }
}

impl State for BuildState {
    const RUNNING: Self = Self::Running;
    const WAITING: Self = Self::Waiting;
    const FAILED: Self = Self::Failed;

    fn standing(self) -> Standing {
        match self {
            Self::Queued => Standing::Queued,
            Self::Running => Standing::Running,
            Self::Waiting => Standing::Waiting,
            Self::Succeeded | Self::Failed | Self::Cancelled | Self::Superseded => Standing::Over,
        }
    }
}

/// What came of the tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TestVerdict {
    /// Not run yet.
    Pending,
    /// The repository declares none.
    None,
    /// Passed.
    Passed,
    /// Failed.
    Failed,
}
