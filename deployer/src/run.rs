//! One look at a cluster or one reconcile under way: what all its steps work with. Knows no step.

use std::collections::HashMap;
use std::time::Duration;

use slipway_core::deploy::InventoryEntry;
use slipway_core::limits::Limits;
use slipway_core::target::ClusterBinding;
use tokio_util::sync::CancellationToken;

use crate::cluster::Connection;
use crate::journal::Board;
use crate::owner::{Claim, Key, Owner};
use crate::place::Wanted;
use crate::policy::by_flag;
use crate::reconcile::key_of;
use crate::shared::Shared;

/// How long a rollout and the calls for it may take, and how many calls there are at once: of all limits, those that count
/// there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Until everything is healthy; an object that asks for more than ten minutes itself gets it.
    pub rollout_ms: u64,
    /// An image that cannot be pulled for so long fails the deploy.
    pub image_grace_ms: u64,
    /// A container that crashes, or pods that are refused, for so long fail the deploy.
    pub crash_grace_ms: u64,
    /// One call to a cluster.
    pub call_ms: u64,
    /// Calls to one cluster at once.
    pub calls_max: usize,
}

impl From<&Limits> for Timing {
    fn from(all: &Limits) -> Self {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self {
            rollout_ms: ms(all.rollout_timeout),
            image_grace_ms: ms(all.image_pull_grace),
            crash_grace_ms: ms(all.crash_grace),
            call_ms: ms(all.cluster_call_timeout),
            calls_max: all.cluster_calls_max,
        }
    }
}

impl Default for Timing {
    fn default() -> Self {
        Self::from(&Limits::default())
    }
}

/// How objects that are there are looked at: as whose, and what of them is left to others.
pub(crate) struct Terms {
    pub(crate) owner: Owner,
    pub(crate) shared: Shared,
}

/// One reconcile under way.
pub(crate) struct Run<'a> {
    pub(crate) connection: &'a Connection,
    pub(crate) terms: Terms,
    /// Objects that other repositories and servers apply are taken over, by an owner's word.
    pub(crate) takes_all: bool,
    pub(crate) binding: &'a ClusterBinding,
    pub(crate) wanted: Vec<Wanted>,
    /// What was applied before, by uid: ours also where somebody has taken the marks off.
    pub(crate) known: Known,
    pub(crate) board: Board<'a>,
    pub(crate) stop: &'a CancellationToken,
    pub(crate) timing: Timing,
}

/// The uids of objects that this repository has applied to this cluster.
pub(crate) struct Known(HashMap<Key, String>);

impl Known {
    pub(crate) fn of(inventory: &[InventoryEntry]) -> Self {
        Self(inventory.iter().filter_map(|e| Some((key_of(e), e.uid.clone()?))).collect())
    }

    /// Whether exactly this object was applied before.
    pub(crate) fn knows(&self, key: &Key, uid: &str) -> bool {
        self.0.get(key).is_some_and(|u| u == uid)
    }

    /// Whether an object of this name was.
    pub(crate) fn has(&self, key: &Key) -> bool {
        self.0.contains_key(key)
    }
}

impl Run<'_> {
    /// Why an object that is there may not be written: somebody else applies it, or made it. A clause after its name.
    pub(crate) fn foreign(&self, wanted: &Wanted, claim: &Claim, uid: &str) -> Option<String> {
        match claim {
            Claim::Ours => None,
            _ if self.takes_all => None,
            Claim::Other(who) => Some(format!("is applied by {who}")),
            Claim::Free if self.binding.adopt || self.known.knows(&wanted.key, uid) => None,
            Claim::Free => {
                Some(format!("is there already, made by somebody else; {}", by_flag(self.binding, "--adopt")))
            }
        }
    }
}
