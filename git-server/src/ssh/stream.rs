//! The TCP stream below a session: it can be cut from outside, for the SSH library offers no other way to end a session
//! that is stuck, and it acknowledges at once what it reads.
//!
//! OpenSSH's client leaves Nagle's algorithm on until it has signed in: its second small packet waits until the first is
//! acknowledged. The kernel holds that acknowledgement back for 40 ms in the hope of an answer to send it with, and there
//! is none, for the answer takes both packets. Such pauses were most of the time of a `git ls-remote`.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, BufReader, ReadBuf};
use tokio::net::TcpStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::limits::SSH_READ_BYTES;

/// A buffered TCP stream without delayed acknowledgements that fails once its token is cancelled.
pub(super) struct Cuttable {
    /// What was read before, which comes first.
    heard: Bytes,
    /// How many bytes were sent before, which are not sent again.
    said: usize,
    stream: BufReader<TcpStream>,
    read_cut: Pin<Box<WaitForCancellationFutureOwned>>,
    write_cut: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Cuttable {
    /// After that much was heard and said on `stream`.
    pub(super) fn new(stream: TcpStream, (heard, said): (Vec<u8>, usize), cut: &CancellationToken) -> Self {
        Self {
            heard: heard.into(),
            said,
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

    fn poll_write_cut(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
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
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn who_waits_for_the_peer_has_acknowledged_all_and_delays_nothing() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let mut peer = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("connected");
        let (stream, _) = listener.accept().await.expect("accepted");
        let mut stream = Cuttable::new(stream, (b"hea".to_vec(), 2), &CancellationToken::new());
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
}
