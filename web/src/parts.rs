//! What the router is made of, and the state its handlers share.

use std::sync::Arc;

use slipway_forge::Forge;
use tokio::sync::Semaphore;

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
    /// Places for live pages.
    pub(crate) live: Arc<Semaphore>,
}

impl Shared {
    pub(crate) fn new(parts: Parts) -> Self {
        Self { parts, door: Door::new(), live: Arc::new(Semaphore::new(LIVE_PAGES_MAX)) }
    }

    pub(crate) fn https(&self) -> bool {
        self.parts.addresses.http.starts_with("https://")
    }
}
