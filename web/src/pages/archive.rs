//! A revision's files as tar.gz, streamed as they are read; nothing is kept on disk or in memory.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::Body;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::StreamExt as _;
use http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE};
use slipway_core::{Oid, Problem, ProblemKind};
use slipway_forge::access;
use tokio::sync::mpsc;

use super::revision;
use crate::limits::{ARCHIVE_PIECE_BYTES, ARCHIVE_PIECES_MAX};
use crate::refusal::{Answer, missing};
use crate::visit::{Seen, Visit};

pub(crate) async fn archive(visit: Visit, Path((repo, file)): Path<(String, String)>) -> Answer<Response> {
    let seen = visit.see(&repo).await?;
    let Some(rev) = file.strip_suffix(".tar.gz").map(str::to_owned) else {
        return Err(missing("Archives are tar.gz files: …/archive/REVISION.tar.gz."));
    };
    let plain: String =
        rev.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect();
    let stem = format!("{}-{}", seen.record.name, plain.chars().take(60).collect::<String>());
    let commit = visit.git(&seen.record, move |snapshot| Ok(revision::must(snapshot, &rev)?.id)).await?;
    let body = stream(&visit, &seen, commit, format!("{stem}/")).await?;
    let headers = [
        (CONTENT_TYPE, "application/gzip".to_owned()),
        (CONTENT_DISPOSITION, format!("attachment; filename=\"{stem}.tar.gz\"")),
        (CACHE_CONTROL, "private, no-cache".to_owned()),
    ];
    Ok((headers, body).into_response())
}

async fn stream(visit: &Visit, seen: &Seen, commit: Oid, prefix: String) -> Answer<Body> {
    let permit = visit.live()?;
    let (sender, mut receiver) = mpsc::channel(ARCHIVE_PIECES_MAX);
    let (forge, record) = (Arc::clone(visit.forge()), seen.record.clone());
    tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let stop = Arc::new(AtomicBool::new(false));
        let mut out = Pipe { sender: sender.clone(), piece: Vec::new(), stop: Arc::clone(&stop) };
        let written = (|| -> Result<(), Problem> {
            let shown = access::view(&forge, &record)?.snapshot;
            shown.archive(&commit, &prefix, &mut out, &stop)?;
            Ok(())
        })();
        let flushed = |e: io::Error| Problem::new(ProblemKind::Cancelled, format!("{e}."), "");
        let ended = written.and_then(|()| out.flush().map_err(flushed));
        if let Err(problem) = ended {
            // The reader then sees a broken stream, not a short archive that looks whole.
            let _ = sender.blocking_send(Err(problem));
        }
    });
    // What fails before anything is sent is told in words.
    let first = receiver.recv().await.transpose()?;
    let rest = futures_util::stream::poll_fn(move |context| receiver.poll_recv(context));
    let all = futures_util::stream::iter(first.map(Ok)).chain(rest);
    Ok(Body::from_stream(all.map(|piece| piece.map_err(|problem| io::Error::other(problem.to_string())))))
}

/// Hands pieces over to the connection; a reader that went away stops the work.
struct Pipe {
    sender: mpsc::Sender<Result<Bytes, Problem>>,
    piece: Vec<u8>,
    stop: Arc<AtomicBool>,
}

impl Write for Pipe {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(data);
        if self.piece.len() >= ARCHIVE_PIECE_BYTES {
            self.flush()?;
        }
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::take(&mut self.piece);
        self.sender.blocking_send(Ok(piece.into())).map_err(|_| {
            self.stop.store(true, Ordering::Relaxed);
            io::Error::from(io::ErrorKind::BrokenPipe)
        })
    }
}
