//! The bounds of the HTTP listener, for all requests alike and before anybody has signed in.

use std::time::Duration;

use slipway_core::limits;
use slipway_forge::shares::Bounds;

/// What a connection over HTTP may cost, and how many there may be at one listener: of all limits, those that count there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Connections at once; half of them at most are one address's. An eighth more may wait at the door.
    pub(crate) connections: usize,
    /// How long a client waits at the door while there is no place: all others may be at work just now, and none could
    /// give way.
    pub(crate) door: Duration,
    /// Time for a request's head.
    pub(crate) head: Duration,
    /// How long a connection may wait for its next request.
    pub(crate) idle: Duration,
    /// A request's body comes with [`Limits::rate`] bytes a second at least, looked at whenever it was waited for this long.
    pub(crate) body: Duration,
    /// An answer is taken at that rate at least, looked at whenever its client was waited for this long.
    pub(crate) answer: Duration,
    /// Bytes a second.
    pub(crate) rate: u64,
}

impl From<&limits::Limits> for Limits {
    fn from(all: &limits::Limits) -> Self {
        Self {
            connections: all.http_connections_max,
            door: all.http_connection_wait,
            head: all.http_header_timeout,
            idle: all.http_idle_timeout,
            body: all.http_body_timeout,
            answer: all.http_response_timeout,
            rate: all.transfer_rate_min,
        }
    }
}

impl Limits {
    /// How the connections are shared.
    pub(crate) fn shares(&self) -> Bounds {
        let places = self.connections.max(2);
        Bounds { each: places / 2, owners: 0, queue: (places / 8).max(2), ..Bounds::of(places) }
    }

    /// Bytes that must move while a client was waited for `span` long.
    pub(crate) fn least(&self, span: Duration) -> u64 {
        self.rate.saturating_mul(span.as_secs().max(1))
    }
}

/// Pause after a failed accept (no file descriptors left, say).
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often connections are looked at that wait for their clients.
pub(super) const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// How long a client that is turned away is given to read why, and how many at once are.
pub(super) const FAREWELL: Duration = Duration::from_secs(1);
pub(super) const FAREWELLS_MAX: usize = 64;
/// What a connection holds of a request or an answer before it waits for the other end, in bytes.
pub(super) const BUFFER_BYTES: usize = 128 * 1024;
