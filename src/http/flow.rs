//! Bodies on their way in and out. Each tells its connection while it waits for the client, and ends where the client is
//! too slow.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use slipway_forge::pace::{Pace, TooSlow};
use tokio::time::Sleep;

use super::guest::{Busy, Guest, Waiting};
use super::limits::Limits;

/// A request's body as it comes.
pub(super) struct Arriving {
    body: Incoming,
    guest: Arc<Guest>,
    limits: Limits,
    /// Whoever reads it watches the pace by rules of its own.
    watched: bool,
    waiting: Option<Waiting>,
    pace: Option<(Pace, Pin<Box<Sleep>>)>,
    late: Arc<AtomicBool>,
}

impl Arriving {
    /// `late` is set once the client is too slow.
    pub(super) fn new(
        body: Incoming,
        guest: &Arc<Guest>,
        limits: Limits,
        watched: bool,
        late: &Arc<AtomicBool>,
    ) -> Self {
        let (guest, late) = (Arc::clone(guest), Arc::clone(late));
        Self { body, guest, limits, watched, waiting: None, pace: None, late }
    }

    /// The client is waited for: looks whether it has been for too long.
    fn keep_waiting(&mut self, cx: &mut Context<'_>) -> Poll<TooSlow> {
        let span = self.limits.body;
        if self.waiting.is_none() {
            // Whoever watches the pace says so in words; this is only for what nobody polls.
            let patience = if self.watched { span * 6 } else { span * 2 };
            self.waiting = Some(self.guest.wait(patience));
            if let Some((pace, _)) = &mut self.pace {
                pace.wait();
            }
        }
        if self.watched {
            return Poll::Pending;
        }
        let least = self.limits.least(span);
        let (pace, sleep) =
            self.pace.get_or_insert_with(|| (Pace::new(span, least), Box::pin(tokio::time::sleep(span))));
        while sleep.as_mut().poll(cx).is_ready() {
            if pace.is_late() {
                self.late.store(true, Ordering::Relaxed);
                return Poll::Ready(TooSlow { span });
            }
            sleep.as_mut().reset(tokio::time::Instant::now() + pace.left().max(Duration::from_millis(1)));
        }
        Poll::Pending
    }
}

impl HttpBody for Arriving {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) else {
            let slow = ready!(this.keep_waiting(cx));
            return Poll::Ready(Some(Err(axum::Error::new(slow))));
        };
        if this.waiting.take().is_some()
            && let (Some((pace, _)), Some(Ok(frame))) = (&mut this.pace, &frame)
            && !pace.got(frame.data_ref().map_or(0, Bytes::len))
        {
            this.late.store(true, Ordering::Relaxed);
            return Poll::Ready(Some(Err(axum::Error::new(TooSlow { span: this.limits.body }))));
        }
        Poll::Ready(frame.map(|frame| frame.map_err(axum::Error::new)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of an answer, with which its request ends.
pub(super) struct Leaving {
    body: Body,
    guest: Arc<Guest>,
    limits: Limits,
    waiting: Option<Waiting>,
    /// How many bytes the client was given last.
    given: usize,
    pace: Option<Pace>,
    _busy: Busy,
}

impl Leaving {
    pub(super) fn new(body: Body, guest: &Arc<Guest>, limits: Limits, busy: Busy) -> Self {
        Self { body, guest: Arc::clone(guest), limits, waiting: None, given: 0, pace: None, _busy: busy }
    }

    /// Notes that the client has taken what it was given; false if it was too slow.
    fn taken(&mut self) -> bool {
        self.waiting.take().is_none() || self.pace.as_mut().is_none_or(|pace| pace.got(self.given))
    }

    /// Notes that the client was given so many bytes.
    fn gave(&mut self, bytes: usize) {
        self.given = bytes;
        let span = self.limits.answer;
        let least = self.limits.least(span);
        self.pace.get_or_insert_with(|| Pace::new(span, least)).wait();
        let patience = span + Duration::from_secs(bytes as u64 / self.limits.rate.max(1));
        self.waiting = Some(self.guest.wait(patience));
    }
}

impl HttpBody for Leaving {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if !self.taken() {
            return Poll::Ready(Some(Err(axum::Error::new(TooSlow { span: self.limits.answer }))));
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame {
            self.gave(frame.data_ref().map_or(0, Bytes::len));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
