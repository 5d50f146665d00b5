//! Turns at key exchanges that cost milliseconds of a processor. Whoever is in one has its turn while something is computed for
//! it and no longer: between being given bytes that it sent and asking for more of them, or answering. A client that says
//! nothing has none, however long it takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::PollSemaphore;

/// One connection among those that take turns.
pub(super) struct Turns {
    all: PollSemaphore,
    own: Option<OwnedSemaphorePermit>,
    /// The key exchange is over, and with it the taking of turns.
    over: Arc<AtomicBool>,
}

impl Turns {
    pub(super) fn new(all: Arc<Semaphore>, over: Arc<AtomicBool>) -> Self {
        Self { all: PollSemaphore::new(all), own: None, over }
    }

    /// Waits for its turn, unless all is over.
    pub(super) fn poll_begin(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.over.load(Ordering::Relaxed) {
            self.own = ready!(self.all.poll_acquire(cx));
        }
        Poll::Ready(())
    }

    /// Nothing is computed any more for what came so far.
    pub(super) fn end(&mut self) {
        self.own = None;
    }
}
