//! Pages that change as builds and deploys do: server-sent events.
//!
//! Events: `state` (the page's changing part as a JSON string of HTML), `log` (lines as a JSON string; the event's id is
//! the byte offset behind them, so `Last-Event-ID` resumes without loss or repetition), `end`. Format: WHATWG HTML,
//! server-sent events. A sign of life goes out every ten seconds; then, too, the visitor's right to look is asked again.

use std::convert::Infallible;

use axum::body::Body;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use http::HeaderMap;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use serde::Deserialize;
use slipway_core::{Action, Problem};
use slipway_forge::logs::{Log, LogChunk};
use slipway_forge::{Subject, runs};
use tokio::sync::mpsc;

use super::{builds, deploys};
use crate::api::{Keys, find_build, find_deploy};
use crate::limits::{LIVE_PING, LIVE_QUEUE_MAX, LOG_LINE_BYTES_MAX};
use crate::refusal::Answer;
use crate::text::without_ansi;
use crate::visit::Visit;

#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct From {
    from: u64,
}

pub(crate) async fn build(
    visit: Visit,
    Path((repo, number)): Path<(String, String)>,
    Keys(from): Keys<From>,
    headers: HeaderMap,
) -> Answer<Response> {
    let record = visit.repo(&repo, Action::ReadRepo).await?;
    let number = find_build(&visit, &record, &number).await?.number;
    let last = headers.get("last-event-id").and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
    let from = last.unwrap_or(from.from);
    let log = Log::new(visit.forge(), visit.caller(), record.id, number).follow(from);
    let watched = Watched { repo, subject: Subject::Build(number) };
    open(visit, watched, record.id, log, from)
}

pub(crate) async fn deploy(visit: Visit, Path((repo, number)): Path<(String, String)>) -> Answer<Response> {
    let record = visit.repo(&repo, Action::ReadRepo).await?;
    let number = find_deploy(&visit, &record, &number).await?.number;
    let watched = Watched { repo, subject: Subject::Deploy(number) };
    open(visit, watched, record.id, stream::empty().boxed(), 0)
}

/// What a live page is about.
struct Watched {
    repo: String,
    subject: Subject,
}

impl Watched {
    /// The changing part now, and whether it will change again. Asks the authoriser anew.
    async fn look(&self, visit: &Visit) -> Answer<(String, bool)> {
        let record = visit.repo(&self.repo, Action::ReadRepo).await?;
        let now = visit.now();
        match self.subject {
            Subject::Build(number) => {
                let build = find_build(visit, &record, &number.to_string()).await?;
                Ok((builds::state_html(&record.name, &build, now)?, build.run.state.is_final()))
            }
            Subject::Deploy(number) => {
                let deploy = find_deploy(visit, &record, &number.to_string()).await?;
                Ok((deploys::state_html(&record.name, &deploy, now)?, deploy.run.state.is_final()))
            }
        }
    }
}

fn open(
    visit: Visit,
    watched: Watched,
    repo: slipway_core::RepoId,
    log: BoxStream<'static, Result<LogChunk, Problem>>,
    from: u64,
) -> Answer<Response> {
    let place = visit.live()?;
    let (sender, mut receiver) = mpsc::channel::<Result<Bytes, Infallible>>(LIVE_QUEUE_MAX);
    tokio::spawn(async move {
        let _place = place;
        // A reader that went away ends it; so does a right that was taken away.
        let _ = follow(visit, watched, repo, log, from, Events(sender)).await;
    });
    let body = Body::from_stream(stream::poll_fn(move |context| receiver.poll_recv(context)));
    let headers = [
        (CONTENT_TYPE.as_str(), "text/event-stream"),
        (CACHE_CONTROL.as_str(), "no-store"),
        ("x-accel-buffering", "no"),
    ];
    Ok((headers, body).into_response())
}

/// The writing end; an error means that nobody reads any more.
struct Events(mpsc::Sender<Result<Bytes, Infallible>>);

struct Gone;

impl Events {
    async fn send(&self, text: String) -> Result<(), Gone> {
        self.0.send(Ok(text.into())).await.map_err(|_| Gone)
    }

    async fn event(&self, name: &str, id: Option<u64>, text: &str) -> Result<(), Gone> {
        let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
        // JSON keeps line ends out of the frame.
        self.send(format!("event: {name}\n{id}data: {}\n\n", serde_json::Value::from(text))).await
    }
}

async fn follow(
    visit: Visit,
    watched: Watched,
    repo: slipway_core::RepoId,
    log: BoxStream<'static, Result<LogChunk, Problem>>,
    from: u64,
    out: Events,
) -> Result<(), Gone> {
    let mut log = Some(log);
    let mut changes = runs::changes(visit.forge());
    let mut changes_live = true;
    let mut tick = tokio::time::interval(LIVE_PING);
    let (mut lines, mut sent) = (Lines::from(from), String::new());
    loop {
        let look = tokio::select! {
            chunk = next(&mut log) => {
                match chunk {
                    Some(Ok(chunk)) => lines.push(&chunk),
                    Some(Err(_)) | None => { log = None; lines.finish(); }
                }
                if let Some((text, end)) = lines.take() {
                    out.event("log", Some(end), &text).await?;
                }
                log.is_none()
            }
            change = changes.next(), if changes_live => {
                changes_live = change.is_some();
                change.is_some_and(|c| c.repo == repo && c.subject == watched.subject)
            }
            _ = tick.tick() => {
                out.send(":\n\n".to_owned()).await?;
                true
            }
        };
        if !look {
            continue;
        }
        let (html, ended) = watched.look(&visit).await.map_err(|_| Gone)?;
        if html != sent {
            out.event("state", None, &html).await?;
            sent = html;
        }
        if ended && log.is_none() {
            return out.event("end", None, "").await;
        }
    }
}

/// The next piece of a log that is still open; waits for ever on one that is not.
async fn next(
    log: &mut Option<BoxStream<'static, Result<LogChunk, Problem>>>,
) -> Option<Result<LogChunk, Problem>> {
    match log {
        Some(log) => log.next().await,
        None => std::future::pending().await,
    }
}

/// Cuts a log into whole lines, so that no character and no terminal sequence is split between two events.
struct Lines {
    bytes: Vec<u8>,
    /// Where the first of them lies in the log.
    start: u64,
    finished: bool,
}

impl Lines {
    fn from(start: u64) -> Self {
        Self { bytes: Vec::new(), start, finished: false }
    }

    fn push(&mut self, chunk: &LogChunk) {
        if chunk.offset != self.start.saturating_add(self.bytes.len() as u64) {
            (self.bytes, self.start) = (Vec::new(), chunk.offset);
        }
        self.bytes.extend_from_slice(&chunk.bytes);
    }

    fn finish(&mut self) {
        self.finished = true;
    }

    /// The whole lines, and the offset behind them.
    fn take(&mut self) -> Option<(String, u64)> {
        let whole = match self.bytes.iter().rposition(|b| *b == b'\n') {
            _ if self.finished => self.bytes.len(),
            Some(last) => last + 1,
            None if self.bytes.len() >= LOG_LINE_BYTES_MAX => self.bytes.len(),
            None => 0,
        };
        if whole == 0 {
            return None;
        }
        let rest = self.bytes.split_off(whole);
        let text = without_ansi(&String::from_utf8_lossy(&self.bytes));
        self.bytes = rest;
        self.start = self.start.saturating_add(whole as u64);
        Some((text, self.start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(offset: u64, text: &str) -> LogChunk {
        LogChunk { offset, bytes: Bytes::copy_from_slice(text.as_bytes()) }
    }

    #[test]
    fn lines_go_out_whole_with_the_offset_behind_them() {
        let mut lines = Lines::from(10);
        lines.push(&chunk(10, "one\ntw"));
        assert_eq!(lines.take(), Some(("one\n".into(), 14)));
        assert_eq!(lines.take(), None);
        lines.push(&chunk(16, "o\n\u{1b}[3"));
        assert_eq!(lines.take(), Some(("two\n".into(), 18)));
        lines.push(&chunk(21, "1mred"));
        lines.finish();
        assert_eq!(lines.take(), Some(("red".into(), 26)));
    }

    #[test]
    fn an_endless_line_is_sent_in_pieces() {
        let mut lines = Lines::from(0);
        lines.push(&chunk(0, &"x".repeat(LOG_LINE_BYTES_MAX)));
        assert!(lines.take().is_some());
    }
}
