//! Build logs for readers. A log belongs to a repository's id, and the right to read it is asked again with every piece:
//! who follows one for hours reads on only while they may, and never in another repository that took the name.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use slipway_core::build::Build;
use slipway_core::outline::Outline;
use slipway_core::{Action, BuildNumber, Problem, ProblemKind, RepoId};

use crate::access::again;
use crate::caller::Caller;
use crate::forge::{Forge, blocking};
use crate::limits::LOG_PIECE_BYTES;

/// How often a follower that hears nothing looks again.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Bytes of a build log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogChunk {
    /// Where in the log the first byte lies.
    pub offset: u64,
    /// The bytes.
    pub bytes: Bytes,
}

impl LogChunk {
    /// Where the log goes on after this chunk.
    pub fn end(&self) -> u64 {
        self.offset.saturating_add(self.bytes.len() as u64)
    }
}

/// One build's log, and who reads it.
#[derive(Clone)]
pub struct Log {
    forge: Arc<Forge>,
    caller: Caller,
    repo: RepoId,
    number: BuildNumber,
}

impl Log {
    /// Opens nothing yet: every read asks whether the caller may.
    pub fn new(forge: &Arc<Forge>, caller: &Caller, repo: RepoId, number: BuildNumber) -> Self {
        Self { forge: Arc::clone(forge), caller: caller.clone(), repo, number }
    }

    /// How many bytes it has. Blocking.
    ///
    /// # Errors
    /// What the authoriser says of reading the repository; `Broken` for a failing disk.
    pub fn size(&self) -> Result<u64, Problem> {
        again(&self.forge, &self.caller, self.repo, Action::ReadRepo)?;
        self.forge.outside.log_size(self.repo, self.number)
    }

    /// Up to a piece of it from `offset`; empty at its end. Blocking.
    ///
    /// # Errors
    /// What the authoriser says of reading the repository; `Broken` for a failing disk.
    pub fn read(&self, offset: u64) -> Result<LogChunk, Problem> {
        again(&self.forge, &self.caller, self.repo, Action::ReadRepo)?;
        let bytes = self.forge.outside.read_log(self.repo, self.number, offset, LOG_PIECE_BYTES)?;
        if bytes.is_empty() {
            self.check_is_all(offset)?;
        }
        Ok(LogChunk { offset, bytes })
    }

    /// Its stages and steps, as far as it is written. Blocking.
    ///
    /// # Errors
    /// What the authoriser says of reading the repository; `Broken` for a failing disk.
    pub fn outline(&self) -> Result<Outline, Problem> {
        again(&self.forge, &self.caller, self.repo, Action::ReadRepo)?;
        let outline = self.forge.outside.log_outline(self.repo, self.number)?;
        if outline.read == 0 {
            self.check_is_all(0)?;
        }
        Ok(outline)
    }

    /// Nothing was written of a build that never began. Of every other there is a log, and one that is gone is not empty.
    fn check_is_all(&self, offset: u64) -> Result<(), Problem> {
        let build = self.forge.store.build(self.repo, self.number)?;
        if let Some(removed) = build.as_ref().and_then(Build::removed_log) {
            return Err(removed);
        }
        if offset > 0 {
            return Ok(());
        }
        if build.is_none_or(|b| b.run.started.is_none() || !b.run.state.is_final()) {
            return Ok(());
        }
        Err(Problem::new(
            ProblemKind::Broken,
            format!("The log of build {} is gone.", self.number),
            "Put it back from a backup of the folder builds.",
        ))
    }

    /// The log from `offset` as it is now.
    pub fn pieces(self, offset: u64) -> BoxStream<'static, Result<LogChunk, Problem>> {
        stream::try_unfold((self, offset), |(log, at)| async move {
            let reader = log.clone();
            let chunk = blocking(move || reader.read(at)).await?;
            let end = chunk.end();
            Ok((!chunk.bytes.is_empty()).then_some((chunk, (log, end))))
        })
        .boxed()
    }

    /// The log from `offset` as it grows; ends when the build is over and everything was sent.
    pub fn follow(self, offset: u64) -> BoxStream<'static, Result<LogChunk, Problem>> {
        stream::try_unfold((self, offset), |(log, at)| async move {
            loop {
                let reader = log.clone();
                let (chunk, over) = blocking(move || {
                    // Asked before reading: what was written before the end is then surely read.
                    let build = reader.forge.store.build(reader.repo, reader.number)?;
                    Ok((reader.read(at)?, build.is_none_or(|b| b.run.state.is_final())))
                })
                .await?;
                if !chunk.bytes.is_empty() {
                    let end = chunk.end();
                    return Ok(Some((chunk, (log, end))));
                }
                if over {
                    return Ok(None);
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        })
        .boxed()
    }
}
