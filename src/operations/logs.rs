//! Build logs as followers of a push read them.

use async_trait::async_trait;
use slipway_core::{BuildNumber, Problem, ProblemKind, RepoId};
use slipway_hooks::BuildLogs;

use crate::follow::LogReader;
use crate::supervisor::blocking;

/// Bytes of one piece.
const PIECE_BYTES_MAX: usize = 64 << 10;

pub(super) fn unreadable(number: BuildNumber, error: &std::io::Error) -> Problem {
    Problem::new(
        ProblemKind::Broken,
        format!("The log of build {number} cannot be read: {error}."),
        "Check the server's disk.",
    )
}

pub(super) fn not_removed(error: &std::io::Error) -> Problem {
    Problem::new(ProblemKind::Broken, format!("They cannot be deleted: {error}."), "Check the server's disk.")
}

#[async_trait]
pub(super) trait ReadPiece {
    async fn read_piece(&self, repo: RepoId, number: BuildNumber, offset: u64) -> Result<Vec<u8>, Problem>;
}

#[async_trait]
impl ReadPiece for std::sync::Arc<BuildLogs> {
    async fn read_piece(&self, repo: RepoId, number: BuildNumber, offset: u64) -> Result<Vec<u8>, Problem> {
        let logs = self.clone();
        blocking(move || logs.read(repo, number, offset, PIECE_BYTES_MAX).map_err(|e| unreadable(number, &e)))
            .await
    }
}

/// Build logs as followers of a push read them.
pub(crate) struct Logs(pub(crate) std::sync::Arc<BuildLogs>);

#[async_trait]
impl LogReader for Logs {
    async fn read(&self, repo: RepoId, number: BuildNumber, offset: u64) -> Result<Vec<u8>, Problem> {
        self.0.read_piece(repo, number, offset).await
    }
}
