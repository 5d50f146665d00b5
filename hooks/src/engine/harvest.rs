//! Takes the files that a test leaves out of its container, after it has ended and before the container goes.

use std::io::{self, Read as _};
use std::path::PathBuf;

use bollard::errors::Error as DockerError;
use bollard::query_parameters::DownloadFromContainerOptionsBuilder;
use futures_util::StreamExt;
use slipway_core::spec::KeptPath;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Engine, is_missing};
use crate::error::one_line;
use crate::limits::{HARVEST_BYTES_MAX, HARVEST_MAX, HARVEST_PIECES_WAITING};
use crate::log::BuildLog;
use crate::log::files::{Bounds, Keeper};
use crate::pieces::Pieces;

/// What is kept of a test.
#[derive(Clone, Debug, Default)]
pub(crate) struct Keeps {
    /// Reports that are read.
    pub(crate) reports: Vec<KeptPath>,
    /// Other files.
    pub(crate) artifacts: Vec<KeptPath>,
    /// Where they go.
    pub(crate) folder: PathBuf,
}

impl Keeps {
    /// The files and folders to ask for; one within another is not asked for twice.
    fn roots(&self) -> Vec<String> {
        let mut roots: Vec<String> =
            self.reports.iter().chain(&self.artifacts).map(|path| path.root().to_owned()).collect();
        roots.sort();
        let mut found: Vec<String> = Vec::new();
        for root in roots {
            if !found.iter().any(|known| root == *known || root.starts_with(&format!("{known}/"))) {
                found.push(root);
            }
        }
        found
    }
}

impl Engine {
    /// Keeps what is to be kept. What goes wrong is told in the log and changes no verdict.
    pub(super) async fn harvest(&self, id: &str, keeps: &Keeps, log: &BuildLog, stop: &CancellationToken) {
        let roots = keeps.roots();
        if roots.is_empty() {
            return;
        }
        let gathering = tokio::time::timeout(HARVEST_MAX, self.gather(id, keeps, roots, log));
        // Whoever cancels does not wait for files.
        let gathered = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            gathered = gathering => gathered,
        };
        let lines = match gathered {
            Ok(Ok(lines)) => lines,
            Ok(Err(why)) => vec![format!("note: the files of the test are not kept: {why}")],
            Err(_) => {
                vec![format!(
                    "note: the files of the test are not kept: taking them took longer than {} s",
                    HARVEST_MAX.as_secs()
                )]
            }
        };
        for line in lines {
            log.line(&line).await;
        }
    }

    async fn gather(
        &self,
        id: &str,
        keeps: &Keeps,
        roots: Vec<String>,
        log: &BuildLog,
    ) -> Result<Vec<String>, String> {
        let Keeps { reports, artifacts, folder } = keeps.clone();
        let (masker, bounds) = (log.masker(), Bounds::from(&*self.limits));
        let mut keeper = off(move || Keeper::begin(folder, reports, artifacts, masker, bounds)).await?;
        for root in roots {
            keeper = self.take(id, &root, keeper).await?;
        }
        off(move || keeper.finish()).await
    }

    async fn take(&self, id: &str, root: &str, mut keeper: Keeper) -> Result<Keeper, String> {
        let docker = self.docker().map_err(|e| e.to_string())?;
        let options = DownloadFromContainerOptionsBuilder::default().path(root).build();
        let mut pieces = Box::pin(docker.download_from_container(id, Some(options)));
        let (sender, receiver) = mpsc::channel(HARVEST_PIECES_WAITING);
        let above = root.rsplit_once('/').map_or("", |(above, _)| above).to_owned();
        let reading = tokio::task::spawn_blocking(move || {
            let tar = Pieces::new(receiver).take(HARVEST_BYTES_MAX);
            let done = keeper.take(&above, tar);
            (keeper, done)
        });
        let mut missing = None;
        while let Some(piece) = pieces.next().await {
            match piece {
                // Whoever reads has seen enough.
                Ok(piece) => {
                    if sender.send(piece).await.is_err() {
                        break;
                    }
                }
                Err(e) if is_missing(&e) => {
                    missing = Some(format!("the test has left nothing at {root}"));
                    break;
                }
                Err(e) => return Err(words(&e)),
            }
        }
        drop(sender);
        let (mut keeper, done) = reading.await.map_err(|e| e.to_string())?;
        match (missing, done) {
            (Some(missing), _) => keeper.note(missing),
            (None, Err(e)) => keeper.note(format!("{root} cannot be read: {}", one_line(&e.to_string()))),
            (None, Ok(())) => {}
        }
        Ok(keeper)
    }
}

fn words(e: &DockerError) -> String {
    one_line(&e.to_string())
}

/// Where blocking is allowed.
async fn off<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T, String> {
    let done = tokio::task::spawn_blocking(work).await.map_err(|e| e.to_string())?;
    done.map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_within_another_is_asked_for_once() {
        let paths =
            |all: &[&str]| all.iter().map(|p| KeptPath::parse(p).expect("a path")).collect::<Vec<_>>();
        let keeps = Keeps {
            reports: paths(&["/app/out/r.xml", "/other/r.xml"]),
            artifacts: paths(&["/app/out/**", "/app/outer/*"]),
            folder: PathBuf::new(),
        };
        assert_eq!(keeps.roots(), ["/app/out", "/app/outer", "/other/r.xml"]);
    }
}
