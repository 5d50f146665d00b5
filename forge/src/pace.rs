//! Watches that a client keeps sending, or keeps taking: so many bytes at least in each span of waiting for it. The time
//! that the server takes itself does not count.

use std::time::{Duration, Instant};

use slipway_core::{Problem, ProblemKind};

/// One client's pace in one direction.
#[derive(Debug)]
pub struct Pace {
    span: Duration,
    least: u64,
    since: Instant,
    waited: Duration,
    bytes: u64,
}

impl Pace {
    /// At least `least` bytes in each `span` of waiting. Waiting begins now.
    pub fn new(span: Duration, least: u64) -> Self {
        Self { span, least, since: Instant::now(), waited: Duration::ZERO, bytes: 0 }
    }

    /// Waiting for the client starts now.
    pub fn wait(&mut self) {
        self.since = Instant::now();
    }

    /// The client moved so many bytes. False if it is too slow.
    pub fn got(&mut self, bytes: usize) -> bool {
        self.waited += self.since.elapsed();
        self.bytes = self.bytes.saturating_add(bytes as u64);
        if self.waited < self.span {
            return true;
        }
        let enough = self.bytes >= self.least;
        (self.waited, self.bytes) = (Duration::ZERO, 0);
        enough
    }

    /// How much longer the client may be waited for, before [`Pace::is_late`] is asked again.
    pub fn left(&self) -> Duration {
        self.span.saturating_sub(self.waited + self.since.elapsed())
    }

    /// Looked at while it is waited for: true if the span is over and too little came; otherwise a new one begins.
    pub fn is_late(&mut self) -> bool {
        if !self.left().is_zero() {
            return false;
        }
        let late = !self.got(0);
        self.wait();
        late
    }
}

/// A client that stopped sending what it had begun to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooSlow {
    /// How long it was waited for.
    pub span: Duration,
}

impl std::fmt::Display for TooSlow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Nothing, or next to nothing, came for {} seconds.", self.span.as_secs())
    }
}

impl std::error::Error for TooSlow {}

impl TooSlow {
    /// The one behind an error, if that is why it failed.
    pub fn behind(error: &(dyn std::error::Error + 'static)) -> Option<Self> {
        std::iter::successors(Some(error), |e| e.source()).find_map(|e| e.downcast_ref::<Self>()).copied()
    }
}

impl From<TooSlow> for Problem {
    fn from(slow: TooSlow) -> Self {
        Self::new(ProblemKind::TimedOut, slow.to_string(), "Check the network and try again.")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_trickles_is_late_and_one_that_keeps_up_is_not() {
        let span = Duration::from_millis(20);
        let mut pace = Pace::new(span, 100);
        assert!(!pace.is_late(), "the span has only begun");
        std::thread::sleep(span);
        assert!(pace.got(100), "enough came");
        pace.wait();
        assert!(pace.got(1), "a new span");
        pace.wait();
        std::thread::sleep(span);
        assert!(pace.is_late());
        // The server's own time does not count.
        let mut pace = Pace::new(span, 100);
        assert!(pace.got(1));
        std::thread::sleep(span * 2);
        pace.wait();
        assert!(pace.got(1) && !pace.is_late());
    }
}
