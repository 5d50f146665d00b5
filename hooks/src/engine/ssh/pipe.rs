//! Bytes between a connection's holder and a command on the other machine; the command's complaints become the error.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use russh::client::{Handle, Msg};
use russh::{Channel, ChannelMsg, ChannelReadHalf};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, WriteHalf};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Other, leave};
use crate::engine::address::Refusal;
use crate::error::one_line;
use crate::limits::{ENGINE_PIPE_BYTES, ENGINE_WORDS_BYTES_MAX};

/// What went wrong on the other side, once that is known.
type Wrong = Arc<Mutex<Option<Refusal>>>;

/// The holder's end. Dropping it ends the command and closes the connection.
pub(super) struct Pipe {
    near: DuplexStream,
    wrong: Wrong,
    _alive: DropGuard,
}

/// Begins to carry; `cure` is told where the command fails.
pub(super) fn begin(handle: Handle<Other>, channel: Channel<Msg>, cure: String) -> Pipe {
    let (near, far) = tokio::io::duplex(ENGINE_PIPE_BYTES);
    let (wrong, over) = (Wrong::default(), CancellationToken::new());
    let told = (wrong.clone(), cure);
    let gone = over.clone();
    tokio::spawn(async move {
        tokio::select! {
            () = gone.cancelled() => {}
            () = carry(channel, far, told) => {}
        }
        leave(&handle).await;
    });
    Pipe { near, wrong, _alive: over.drop_guard() }
}

async fn carry(channel: Channel<Msg>, far: DuplexStream, (wrong, cure): (Wrong, String)) {
    let (mut mouth, to) = channel.split();
    let (mut read, write) = tokio::io::split(far);
    let up = async {
        let mut writer = to.make_writer();
        // Either side closing is the usual end.
        let _ = tokio::io::copy(&mut read, &mut writer).await;
        let _ = to.eof().await;
    };
    let down = async {
        if let Some(why) = listen(&mut mouth, write).await {
            *wrong.lock().unwrap_or_else(PoisonError::into_inner) = Some(Refusal::new(why, cure));
        }
    };
    // What comes down ends it; while it comes, what goes up may have ended.
    tokio::select! {
        () = down => {}
        () = async { up.await; std::future::pending().await } => {}
    }
}

/// Carries what comes until its end; why the command failed, if it did.
async fn listen(mouth: &mut ChannelReadHalf, mut write: WriteHalf<DuplexStream>) -> Option<String> {
    let (mut words, mut status) = (Vec::new(), None);
    while let Some(message) = mouth.wait().await {
        match message {
            ChannelMsg::Data { data } => write.write_all(&data).await.ok()?,
            ChannelMsg::ExtendedData { data, .. } => {
                let room = ENGINE_WORDS_BYTES_MAX.saturating_sub(words.len());
                words.extend_from_slice(&data[..data.len().min(room)]);
            }
            ChannelMsg::ExitStatus { exit_status } => status = Some(exit_status),
            ChannelMsg::Failure => {
                words.extend_from_slice(b"no command may be run there");
                status = Some(1);
                break;
            }
            ChannelMsg::Close => break,
            _ => {}
        }
    }
    let failed = status.is_some_and(|status| status != 0);
    failed.then(|| match words.trim_ascii() {
        [] => format!("docker system dial-stdio ended with exit status {}", status.unwrap_or_default()),
        words => one_line(&String::from_utf8_lossy(words)),
    })
}

impl AsyncRead for Pipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.near).poll_read(cx, buf);
        let ended =
            matches!(read, Poll::Ready(Ok(()))) && buf.filled().len() == before && buf.remaining() > 0;
        if ended && let Some(wrong) = self.wrong.lock().unwrap_or_else(PoisonError::into_inner).clone() {
            return Poll::Ready(Err(io::Error::other(wrong)));
        }
        read
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.near).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.near).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.near).poll_shutdown(cx)
    }
}
