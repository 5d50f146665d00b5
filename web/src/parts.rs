//! What the router is made of, and the state its handlers share.

use std::sync::Arc;

use slipway_core::UnixMillis;
use slipway_repository::Repositories;
use slipway_store::Store;
use tokio::sync::Semaphore;

use crate::door::Door;
use crate::limits::LIVE_PAGES_MAX;
use crate::operations::Operations;
use crate::throttle::Throttle;

/// Everything that [`crate::router`] needs.
pub struct Parts {
    /// Users, repositories, builds and deploys as recorded.
    pub store: Store,
    /// Git objects.
    pub repositories: Arc<Repositories>,
    /// Builds, deploys, logs, checks.
    pub operations: Arc<dyn Operations>,
    /// How people reach this server.
    pub addresses: Addresses,
    /// The clock.
    pub clock: fn() -> UnixMillis,
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
    pub(crate) logins: Throttle,
    /// Places for live pages.
    pub(crate) live: Arc<Semaphore>,
}

impl Shared {
    pub(crate) fn new(parts: Parts) -> Self {
        Self {
            parts,
            door: Door::new(),
            logins: Throttle::new(),
            live: Arc::new(Semaphore::new(LIVE_PAGES_MAX)),
        }
    }

    pub(crate) fn now(&self) -> UnixMillis {
        (self.parts.clock)()
    }

    pub(crate) fn https(&self) -> bool {
        self.parts.addresses.http.starts_with("https://")
    }
}
