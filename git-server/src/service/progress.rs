//! How a push comes along, for the pusher.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use bytes::Bytes;
use slipway_repository::Progress;

use crate::limits::PROGRESS_PAUSE;
use crate::transport::Output;
use crate::wire::pktline::{Band, SideBand};

/// Tells the pusher how the pack comes along: now and then, and never so that anything waits for it.
pub(super) struct Teller<'a> {
    output: &'a Output,
    band: SideBand,
    hears: &'a AtomicBool,
    last: Cell<Option<Instant>>,
}

impl<'a> Teller<'a> {
    /// To a client that reads `band` once `hears` is set.
    pub(super) fn new(output: &'a Output, band: SideBand, hears: &'a AtomicBool) -> Self {
        Self { output, band, hears, last: Cell::new(None) }
    }

    /// Tells it, if it is time.
    pub(super) fn tell(&self, progress: &Progress) {
        // Receiving is shown by the client itself ("Writing objects").
        let Progress::Resolving { deltas, total } = progress else { return };
        let (deltas, total) = (*deltas, *total);
        let end = deltas >= total;
        let early = self.last.get().is_some_and(|at| at.elapsed() < PROGRESS_PAUSE);
        let hears = self.band != SideBand::None && self.hears.load(Ordering::Relaxed);
        if !hears || total == 0 || (early && !end) {
            return;
        }
        self.last.set(Some(Instant::now()));
        let percent = u64::from(deltas) * 100 / u64::from(total).max(1);
        let tail = if end { ", done.\n" } else { "\r" };
        let mut out = Vec::new();
        let line = format!("Resolving deltas: {percent:3}% ({deltas}/{total}){tail}");
        self.band.put(&mut out, Band::Remark, line.as_bytes());
        self.output.offer(Bytes::from(out));
    }
}
