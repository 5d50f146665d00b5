//! What the router is made of, and the state its handlers share.

use std::sync::Arc;

use slipway_forge::Forge;
use slipway_forge::shares::{Bounds, Shares};

use crate::door::Door;
use crate::limits::LIVE_PAGES_MAX;

/// Everything that [`crate::router`] needs.
pub struct Parts {
    /// What people do.
    pub forge: Arc<Forge>,
    /// How people reach this server.
    pub addresses: Addresses,
    /// The program's version, shown at the foot of pages.
    pub version: &'static str,
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
        let bounds = Bounds { each: LIVE_PAGES_MAX / 4, ..Bounds::of(LIVE_PAGES_MAX) };
        Self { parts, door: Door::new(), live: Shares::new("live pages", bounds) }
    }

    pub(crate) fn https(&self) -> bool {
        self.parts.addresses.http.starts_with("https://")
    }
}
