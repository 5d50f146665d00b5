//! The TCP stream below a session: it can be cut from outside, for the SSH library offers no other way to end a session
//! that is stuck, and it acknowledges at once what it reads.
//!
//! OpenSSH's client leaves Nagle's algorithm on until it has signed in: its second small packet waits until the first is
//! acknowledged. The kernel holds that acknowledgement back for 40 ms in the hope of an answer to send it with, and there
//! is none, for the answer takes both packets. Such pauses were most of the time of a `git ls-remote`.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, BufReader, ReadBuf};
use tokio::net::TcpStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::turns::Turns;
use crate::limits::SSH_READ_BYTES;

/// A buffered TCP stream without delayed acknowledgements that fails once its token is cancelled.
pub(super) struct Cuttable {
    /// What was read before, which comes first.
    heard: Bytes,
    /// How many bytes were sent before, which are not sent again.
    said: usize,
    stream: BufReader<TcpStream>,
    /// Where what it sends is dear to work on.
    turns: Option<Turns>,
    read_cut: Pin<Box<WaitForCancellationFutureOwned>>,
    write_cut: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Cuttable {
    /// After that much was heard and said on `stream`.
    pub(super) fn new(
        stream: TcpStream,
        (heard, said): (Vec<u8>, usize),
        turns: Option<Turns>,
        cut: &CancellationToken,
    ) -> Self {
        Self {
            heard: heard.into(),
            said,
            turns,
            stream: BufReader::with_capacity(SSH_READ_BYTES, stream),
            read_cut: Box::pin(cut.clone().cancelled_owned()),
            write_cut: Box::pin(cut.clone().cancelled_owned()),
        }
    }

    /// Sends what is to be acknowledged now, and with the next read at once: sending turns the delay on again.
    fn acknowledge(&self) {
        #[cfg(target_os = "linux")]
        let _ = self.stream.get_ref().set_quickack(true);
    }

    /// Waits until there is something to work on and, where that takes a turn, for that.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(turns) = &mut self.turns else { return Poll::Ready(Ok(())) };
        turns.end();
        if self.heard.is_empty() {
            match Pin::new(&mut self.stream).poll_fill_buf(cx) {
                Poll::Ready(came) => drop(came?),
                Poll::Pending => {
                    self.acknowledge();
                    return Poll::Pending;
                }
            }
        }
        turns.poll_begin(cx).map(Ok)
    }

    fn poll_write_cut(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if let Some(turns) = &mut self.turns {
            turns.end();
        }
        if self.write_cut.as_mut().poll(cx).is_ready() {
            Err(io::ErrorKind::ConnectionAborted.into())
        } else {
            Ok(())
        }
    }
}

impl AsyncRead for Cuttable {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read_cut.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        ready!(self.poll_turn(cx))?;
        if !self.heard.is_empty() {
            let length = self.heard.len().min(buf.remaining());
            buf.put_slice(&self.heard.split_to(length));
            return Poll::Ready(Ok(()));
        }
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if read.is_pending() {
            self.acknowledge();
        }
        read
    }
}

impl AsyncWrite for Cuttable {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_cut(cx)?;
        if self.said > 0 {
            let length = self.said.min(buf.len());
            self.said -= length;
            return Poll::Ready(Ok(length));
        }
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_write_cut(cx)?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_write_cut(cx)?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn who_waits_for_the_peer_has_acknowledged_all_and_delays_nothing() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let mut peer = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("connected");
        let (stream, _) = listener.accept().await.expect("accepted");
        let mut stream = Cuttable::new(stream, (b"hea".to_vec(), 2), None, &CancellationToken::new());
        let mut heard = [0; 3];
        stream.read_exact(&mut heard).await.expect("read");
        assert_eq!(&heard, b"hea");
        stream.write_all(b"sa").await.expect("left out");
        let mut word = [0; 4];
        for _ in 0..3 {
            peer.write_all(b"ping").await.expect("sent");
            stream.read_exact(&mut word).await.expect("read");
            stream.write_all(b"pong").await.expect("sent");
            peer.read_exact(&mut word).await.expect("read");
            // What a kernel makes of sending an answer; it may do so by itself.
            stream.stream.get_ref().set_quickack(false).expect("set");
            let waiting = std::future::poll_fn(|cx| {
                let mut one = [0; 1];
                Poll::Ready(Pin::new(&mut stream).poll_read(cx, &mut ReadBuf::new(&mut one)).is_pending())
            });
            assert!(waiting.await);
            assert!(stream.stream.get_ref().quickack().expect("asked"));
        }
    }

    #[tokio::test]
    async fn a_turn_is_held_while_something_is_worked_on_and_by_nobody_who_is_silent() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let mut peer = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("connected");
        let (stream, _) = listener.accept().await.expect("accepted");
        let (all, over) = (Arc::new(Semaphore::new(1)), Arc::new(AtomicBool::new(false)));
        let turns = Turns::new(Arc::clone(&all), Arc::clone(&over));
        let mut stream = Cuttable::new(stream, (b"he".to_vec(), 0), Some(turns), &CancellationToken::new());
        let mut word = [0; 2];
        stream.read_exact(&mut word).await.expect("read");
        assert_eq!(all.available_permits(), 0, "it works on what was heard before");
        let silent = tokio::time::timeout(Duration::from_millis(50), stream.read_exact(&mut word)).await;
        assert!(silent.is_err() && all.available_permits() == 1, "it waits for more");
        let other = Arc::clone(&all).acquire_owned().await.expect("a turn");
        peer.write_all(b"half").await.expect("sent");
        let waits = tokio::time::timeout(Duration::from_millis(50), stream.read_exact(&mut word)).await;
        assert!(waits.is_err(), "another has the turn");
        drop(other);
        stream.read_exact(&mut word).await.expect("read");
        assert_eq!(all.available_permits(), 0);
        stream.write_all(b"answer").await.expect("sent");
        assert_eq!(all.available_permits(), 1, "it has answered");
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        stream.read_exact(&mut word).await.expect("read");
        assert_eq!(all.available_permits(), 1, "no turns are taken any more");
    }
}
