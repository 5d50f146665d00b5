//! The two ends of a conversation, whatever carries it: chunks of bytes in, chunks of bytes out.
//!
//! SSH, HTTP and plain pipes fill an [`Input`] and empty an [`Output`]; the conversations of `service` know nothing
//! else of them. Both are short queues, so each side runs at the pace of the other.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{Buf, Bytes};
use slipway_core::Problem;
use slipway_core::limits::Limits;
use slipway_forge::pace::{Pace, TooSlow};
use slipway_forge::shares::Place;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::limits::{CHUNKS_AHEAD, DRAIN_BYTES_MAX, INPUT_BYTES_MIN, INPUT_CHUNKS};

/// Why a conversation ended before its time.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The client left. Nobody is to be told.
    Gone,
    /// The client is still to be told.
    Refused(Problem),
    /// The client has been told.
    Told(Problem),
}

impl<E: Into<Problem>> From<E> for Stop {
    fn from(e: E) -> Self {
        Self::Refused(e.into())
    }
}

/// The feeding end of an [`Input`]. Dropping it is the client's end of data.
#[derive(Debug)]
pub(crate) struct InputSender {
    tx: mpsc::Sender<Result<Bytes, Problem>>,
    ended: Arc<AtomicBool>,
}

impl InputSender {
    /// Hands a chunk on, or why there will be none. False once nobody takes any more.
    pub(crate) async fn send(&self, chunk: Result<Bytes, Problem>) -> bool {
        self.tx.send(chunk).await.is_ok()
    }

    /// Returns when nobody takes any more.
    pub(crate) async fn closed(&self) {
        self.tx.closed().await;
    }
}

impl Drop for InputSender {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

/// What the client sends.
#[derive(Debug)]
pub(crate) struct Input {
    rx: mpsc::Receiver<Result<Bytes, Problem>>,
    ended: Arc<AtomicBool>,
}

/// Makes an input and its feeding end.
pub(crate) fn input() -> (InputSender, Input) {
    let (tx, rx) = mpsc::channel(INPUT_CHUNKS);
    let ended = Arc::new(AtomicBool::new(false));
    (InputSender { tx, ended: Arc::clone(&ended) }, Input { rx, ended })
}

impl Input {
    /// The next chunk; `None` at the end of data.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Problem> {
        self.rx.recv().await.transpose()
    }

    /// True once everything has arrived here (though not all of it need have been read).
    pub(crate) fn ended(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.ended)
    }

    /// Reads on and throws away, so that a client which is still sending comes to read its answer.
    pub(crate) async fn drain(&mut self, time: Duration) {
        let mut left = DRAIN_BYTES_MAX;
        let all = async {
            while let Some(Ok(chunk)) = self.rx.recv().await {
                left = left.saturating_sub(chunk.len() as u64);
                if left == 0 {
                    break;
                }
            }
        };
        // Either way it is over: the client has its answer, or does not want it.
        let _ = tokio::time::timeout(time, all).await;
    }

    /// Reads it from a thread that may block, after what has been taken already.
    pub(crate) fn into_reader(self, first: Bytes, place: Arc<Place>) -> InputReader {
        InputReader { front: first, input: self, place, refused: None }
    }
}

/// An [`Input`] for threads that may block.
pub(crate) struct InputReader {
    front: Bytes,
    input: Input,
    /// Told while the client is waited for.
    place: Arc<Place>,
    refused: Option<Problem>,
}

impl InputReader {
    /// The input again, and why it failed if it did.
    pub(crate) fn into_input(self) -> (Input, Option<Problem>) {
        (self.input, self.refused)
    }
}

impl Read for InputReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.front.is_empty() {
            let chunk = self.input.rx.try_recv().ok().or_else(|| {
                self.place.waits(Duration::MAX);
                let chunk = self.input.rx.blocking_recv();
                self.place.works();
                chunk
            });
            match chunk {
                None => return Ok(0),
                Some(Ok(chunk)) => self.front = chunk,
                Some(Err(problem)) => {
                    self.refused = Some(problem.clone());
                    return Err(io::Error::other(problem));
                }
            }
        }
        let len = out.len().min(self.front.len());
        out[..len].copy_from_slice(&self.front[..len]);
        self.front.advance(len);
        Ok(len)
    }
}

/// What the client is sent.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    tx: mpsc::Sender<Bytes>,
    /// A client may take this long for anything, and a second more for each [`Output::rate`] bytes of it.
    stall: Duration,
    rate: u64,
}

/// Makes an output and its emptying end.
pub(crate) fn output(limits: &Limits) -> (Output, mpsc::Receiver<Bytes>) {
    let (tx, rx) = mpsc::channel(CHUNKS_AHEAD);
    (Output { tx, stall: limits.git_send_timeout, rate: limits.transfer_rate_min.max(1) }, rx)
}

impl Output {
    /// Hands bytes on, waiting for room. A client that takes too long for them counts as gone.
    pub(crate) async fn send(&self, bytes: impl Into<Bytes>) -> Result<(), Stop> {
        let bytes = bytes.into();
        if bytes.is_empty() {
            return Ok(());
        }
        match tokio::time::timeout(self.patience(&bytes), self.tx.send(bytes)).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Stop::Gone),
        }
    }

    fn patience(&self, bytes: &Bytes) -> Duration {
        self.stall + Duration::from_secs(bytes.len() as u64 / self.rate)
    }

    /// The same for whoever has a place: while the client is waited for, it may be given to somebody else, and then the
    /// client counts as gone.
    pub(crate) async fn send_as(&self, place: &Place, bytes: Bytes) -> Result<(), Stop> {
        let bytes = match self.tx.try_send(bytes) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Full(bytes)) => bytes,
            Err(TrySendError::Closed(_)) => return Err(Stop::Gone),
        };
        place.waits(self.patience(&bytes));
        let sent = tokio::select! {
            sent = self.send(bytes) => sent,
            () = place.gone() => Err(Stop::Gone),
        };
        place.works();
        sent
    }

    /// Hands bytes on if there is room: for keepalives and progress, which nobody misses while data flows.
    pub(crate) fn offer(&self, bytes: impl Into<Bytes>) {
        let _ = self.tx.try_send(bytes.into());
    }

    /// Returns when the client has left.
    pub(crate) async fn closed(&self) {
        self.tx.closed().await;
    }
}

/// Watches that a client keeps sending what it has begun to send.
pub(crate) fn pace(span: Duration) -> Pace {
    Pace::new(span, INPUT_BYTES_MIN)
}

/// What a client is told that stopped sending.
pub(crate) fn too_slow(span: Duration) -> Problem {
    TooSlow { span }.into()
}
