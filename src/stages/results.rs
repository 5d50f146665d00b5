//! What is learned of a build from its log, for its record.

use slipway_core::build::{Build, Effect, Input, Learned, Stage};
use slipway_jobs::Progress;

use super::EngineBuilds;

impl EngineBuilds {
    /// Tells the line where the failure of the stage under way begins, of stages in which the repository's own programs
    /// run. A log that cannot be read costs the line and nothing else.
    pub(super) async fn learn_first_line(&self, build: &Build, input: &Input, progress: &Progress<Build>) {
        let (repo, number, stage) = (build.repo, build.number, build.stage);
        if !matches!(input, Input::Failed(_)) || !matches!(stage, Stage::Build | Stage::Test) {
            return;
        }
        // Its writer comes after the stage's, all of whose words are then in the file.
        let Ok((_, job)) = self.job(build).await else { return };
        job.log.flush().await;
        let logs = self.rooms.logs.clone();
        let looked = tokio::task::spawn_blocking(move || logs.first_line(repo, number, stage)).await;
        match looked {
            Ok(Ok(Some(line))) => drop(progress.send(Learned::FirstLine(line).into()).await),
            Ok(Ok(None)) => {}
            Ok(Err(error)) => tracing::debug!(%error, build = number.0, "the log is not searched"),
            Err(error) => tracing::debug!(%error, build = number.0, "the log is not searched"),
        }
    }

    /// Tells what reports of the test say, whether it passed or failed.
    pub(super) async fn learn_tests(&self, build: &Build, effect: &Effect, progress: &Progress<Build>) {
        if !matches!(effect, Effect::TestImage { .. }) {
            return;
        }
        let (logs, repo, number) = (self.rooms.logs.clone(), build.repo, build.number);
        let kept = tokio::task::spawn_blocking(move || logs.kept(repo, number)).await;
        match kept {
            Ok(Ok(kept)) => {
                if let Some(report) = kept.report {
                    drop(progress.send(Learned::Tests(report).into()).await);
                }
            }
            Ok(Err(error)) => tracing::debug!(%error, build = number.0, "the reports are not read"),
            Err(error) => tracing::debug!(%error, build = number.0, "the reports are not read"),
        }
    }
}
