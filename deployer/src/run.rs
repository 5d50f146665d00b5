//! One look at a cluster or one reconcile under way: what all its steps work with. Knows no step.

use slipway_core::target::ClusterBinding;
use tokio_util::sync::CancellationToken;

use crate::cluster::Connection;
use crate::journal::Board;
use crate::limits::{CRASH_GRACE_MS, IMAGE_GRACE_MS, ROLLOUT_MS};
use crate::owner::Owner;
use crate::place::Wanted;

/// How long a rollout may take; [`Default`] takes the figures of [`crate::limits`]. All in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Until everything is healthy; an object that asks for more than ten minutes itself gets it.
    pub rollout_ms: u64,
    /// An image that cannot be pulled for so long fails the deploy.
    pub image_grace_ms: u64,
    /// A container that crashes, or pods that are refused, for so long fail the deploy.
    pub crash_grace_ms: u64,
}

impl Default for Timing {
    fn default() -> Self {
        Self { rollout_ms: ROLLOUT_MS, image_grace_ms: IMAGE_GRACE_MS, crash_grace_ms: CRASH_GRACE_MS }
    }
}

/// One reconcile under way.
pub(crate) struct Run<'a> {
    pub(crate) connection: &'a Connection,
    pub(crate) owner: Owner,
    pub(crate) binding: &'a ClusterBinding,
    pub(crate) wanted: Vec<Wanted>,
    pub(crate) board: Board<'a>,
    pub(crate) stop: &'a CancellationToken,
    pub(crate) timing: Timing,
}
