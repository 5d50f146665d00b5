//! What the router is made of, and the state its handlers share.

use std::sync::Arc;

use slipway_core::limits::Limits;
use slipway_forge::Forge;
use slipway_forge::shares::{Bounds, Shares};

use crate::door::Door;

/// Everything that [`crate::router`] needs.
pub struct Parts {
    /// What people do.
    pub forge: Arc<Forge>,
    /// How people reach this server.
    pub addresses: Addresses,
    /// The program's version, shown at the foot of pages.
    pub version: &'static str,
    /// What requests may cost.
    pub limits: Arc<Limits>,
}

/// How people reach this server; known once it is bound.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// `http://host:8080` or `https://…`, without a slash at its end. With https, cookies are sent over https only.
    pub http: String,
    /// `host:2222`.
    pub ssh: String,
}

/// The parts, and what handlers need on top. One per router.
pub(crate) struct Shared {
    pub(crate) parts: Parts,
    pub(crate) door: Door,
    /// Places for answers that last as long as what they tell of: live pages, logs that are followed.
    pub(crate) live: Arc<Shares>,
}

impl Shared {
    pub(crate) fn new(parts: Parts) -> Self {
        let live = parts.limits.live_pages_max;
        let bounds = Bounds { each: (live / 4).max(1), ..Bounds::of(live) };
        Self { door: Door::new(&parts.limits), live: Shares::new("live pages", bounds), parts }
    }

    pub(crate) fn https(&self) -> bool {
        self.parts.addresses.http.starts_with("https://")
    }
}
