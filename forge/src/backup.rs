//! What is written on a thread that may block as a stream that is read at the client's pace: backups, exports.

use std::io::{self, Write};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use slipway_core::Problem;
use tokio::sync::mpsc;

/// Bytes of one piece, and how many may wait.
const PIECE_BYTES: usize = 256 << 10;
const PIECES_MAX: usize = 4;

/// All bytes that `write` writes, as it writes them; where it fails, the stream ends with that.
pub fn streamed(
    write: impl FnOnce(&mut dyn Write) -> Result<(), Problem> + Send + 'static,
) -> BoxStream<'static, Result<Bytes, Problem>> {
    let (pieces, out) = mpsc::channel(PIECES_MAX);
    tokio::task::spawn_blocking(move || {
        let mut writer = io::BufWriter::with_capacity(PIECE_BYTES, Pieces(pieces.clone()));
        let done = write(&mut writer).and_then(|()| {
            writer.flush().map_err(|e| {
                Problem::new(
                    slipway_core::ProblemKind::Cancelled,
                    format!("The reader left: {e}."),
                    "Start again.",
                )
            })
        });
        if let Err(problem) = done {
            drop(pieces.blocking_send(Err(problem)));
        }
    });
    stream::unfold(out, |mut out| async move { out.recv().await.map(|piece| (piece, out)) }).boxed()
}

struct Pieces(mpsc::Sender<Result<Bytes, Problem>>);

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.blocking_send(Ok(Bytes::copy_from_slice(bytes))).map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
