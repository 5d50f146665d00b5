//! Build logs for readers: pieces, and the stream that ends with the build.

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use slipway_core::{BuildNumber, Problem, ProblemKind, RepoId, RepoName};
use slipway_hooks::BuildLogs;
use slipway_web::LogChunk;

use crate::app::Rooms;
use crate::follow::LogReader;
use crate::supervisor::blocking;

/// Bytes of one piece.
const PIECE_BYTES_MAX: usize = 64 << 10;
/// How often a follower that hears nothing looks again.
const LOOK_EVERY: std::time::Duration = std::time::Duration::from_millis(100);

pub(super) fn unreadable(number: BuildNumber, error: &std::io::Error) -> Problem {
    Problem::new(
        ProblemKind::Broken,
        format!("The log of build {number} cannot be read: {error}."),
        "Check the server's disk.",
    )
}

/// The log from `offset` until the build is over and everything was sent.
pub(super) fn follow(
    rooms: Rooms,
    repo: RepoName,
    number: BuildNumber,
    offset: u64,
) -> BoxStream<'static, Result<LogChunk, Problem>> {
    let state = Some((rooms, Followed::Named(repo), offset));
    stream::unfold(state, move |state| async move {
        let (rooms, mut repo, offset) = state?;
        match next(&rooms, &mut repo, number, offset).await {
            Ok(Some(chunk)) => {
                let end = chunk.end();
                Some((Ok(chunk), Some((rooms, repo, end))))
            }
            Ok(None) => None,
            Err(problem) => Some((Err(problem), None)),
        }
    })
    .boxed()
}

/// Whose log is followed: the repository that had the name at first. One that takes the name later is another's.
enum Followed {
    Named(RepoName),
    Known(RepoId),
}

async fn next(
    rooms: &Rooms,
    repo: &mut Followed,
    number: BuildNumber,
    offset: u64,
) -> Result<Option<LogChunk>, Problem> {
    loop {
        // Asked before reading: what was written before the end is then surely read.
        let store = rooms.store.clone();
        let record = match &*repo {
            Followed::Named(name) => {
                let name = name.clone();
                blocking(move || store.repo_by_name(&name)).await?
            }
            Followed::Known(id) => {
                let id = *id;
                blocking(move || store.repo(id)).await?
            }
        };
        let Some(record) = record else { return Ok(None) };
        *repo = Followed::Known(record.id);
        let (store, id) = (rooms.store.clone(), record.id);
        let over =
            blocking(move || Ok(store.build(id, number)?.is_none_or(|b| b.run.state.is_final()))).await?;
        let bytes = rooms.logs.read_piece(&record.name, number, offset).await?;
        if !bytes.is_empty() {
            return Ok(Some(LogChunk { offset, bytes: bytes.into() }));
        }
        if over {
            return Ok(None);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

#[async_trait]
pub(super) trait ReadPiece {
    async fn read_piece(&self, repo: &RepoName, number: BuildNumber, offset: u64)
    -> Result<Vec<u8>, Problem>;
}

#[async_trait]
impl ReadPiece for std::sync::Arc<BuildLogs> {
    async fn read_piece(
        &self,
        repo: &RepoName,
        number: BuildNumber,
        offset: u64,
    ) -> Result<Vec<u8>, Problem> {
        let (logs, repo) = (self.clone(), repo.clone());
        blocking(move || {
            logs.read(&repo, number, offset, PIECE_BYTES_MAX).map_err(|e| unreadable(number, &e))
        })
        .await
    }
}

/// Build logs as followers of a push read them.
pub(crate) struct Logs(pub(crate) std::sync::Arc<BuildLogs>);

#[async_trait]
impl LogReader for Logs {
    async fn read(&self, repo: &RepoName, number: BuildNumber, offset: u64) -> Result<Vec<u8>, Problem> {
        self.0.read_piece(repo, number, offset).await
    }
}
