//! What came of the manifests that a build writes.

use serde::{Deserialize, Serialize};

use crate::git::Oid;
use crate::id::EventId;
use crate::run::Failure;

/// One `[deploy.*]` target and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bump {
    /// The target's name in slipway.toml.
    pub target: String,
    /// The manifest repository's name.
    pub repo: String,
    /// The commit that carries the digest. `None` with `done`: the manifest had it already.
    pub commit: Option<Oid>,
    /// The event that this commit made.
    pub event: Option<EventId>,
    /// Done, or left as it is.
    pub done: bool,
    /// Why it could not be written, where it was tried. The other targets are written all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<Failure>,
}

impl Bump {
    /// True while it has not been tried.
    pub(super) fn is_due(&self) -> bool {
        !self.done && self.failed.is_none()
    }
}

/// None of these targets has been tried.
pub(super) fn bumps(targets: Vec<(String, String)>) -> Vec<Bump> {
    let bump = |(target, repo)| Bump { target, repo, commit: None, event: None, done: false, failed: None };
    targets.into_iter().map(bump).collect()
}
