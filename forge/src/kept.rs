//! Files that were kept of builds' tests, for readers. The right to read is asked again with every piece.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use slipway_core::kept::{KeptFile, KeptFiles};
use slipway_core::{Action, BuildNumber, Problem, RepoId};

use crate::access::again;
use crate::caller::Caller;
use crate::forge::{Forge, blocking};
use crate::limits::LOG_PIECE_BYTES;
use crate::refusal::missing;

/// The files of one build, and who reads them.
#[derive(Clone)]
pub struct Kept {
    forge: Arc<Forge>,
    caller: Caller,
    repo: RepoId,
    number: BuildNumber,
}

impl Kept {
    /// Opens nothing yet: every read asks whether the caller may.
    pub fn new(forge: &Arc<Forge>, caller: &Caller, repo: RepoId, number: BuildNumber) -> Self {
        Self { forge: Arc::clone(forge), caller: caller.clone(), repo, number }
    }

    /// What there is. Blocking.
    ///
    /// # Errors
    /// What the authoriser says of reading the repository; `Broken` for a failing disk; `NotFound` where it was removed.
    pub fn all(&self) -> Result<KeptFiles, Problem> {
        again(&self.forge, &self.caller, self.repo, Action::ReadRepo)?;
        let kept = self.forge.outside.kept_files(self.repo, self.number)?;
        if kept.files.is_empty()
            && let Some(build) = self.forge.store.build(self.repo, self.number)?
            && let Some(mut removed) = build.removed_log()
        {
            removed.what = removed.what.replacen("The log", "What was kept", 1);
            return Err(removed);
        }
        Ok(kept)
    }

    /// The file of that path, and its bytes as they are read.
    ///
    /// # Errors
    /// The same; `NotFound`.
    pub async fn open(
        self,
        path: &str,
    ) -> Result<(KeptFile, BoxStream<'static, Result<Bytes, Problem>>), Problem> {
        let (look, path) = (self.clone(), path.to_owned());
        let (at, file) = blocking(move || {
            let found = look.all()?.files.into_iter().enumerate().find(|(_, file)| file.path == path);
            found.ok_or_else(|| missing(format!("Build {} has kept no such file.", look.number)))
        })
        .await?;
        let pieces = stream::try_unfold((self, 0u64), move |(kept, offset)| async move {
            let reader = kept.clone();
            let piece = blocking(move || {
                again(&reader.forge, &reader.caller, reader.repo, Action::ReadRepo)?;
                reader.forge.outside.read_kept(reader.repo, reader.number, at, offset, LOG_PIECE_BYTES)
            })
            .await?;
            let next = offset.saturating_add(piece.len() as u64);
            Ok((!piece.is_empty()).then_some((piece, (kept, next))))
        });
        Ok((file, pieces.boxed()))
    }
}
