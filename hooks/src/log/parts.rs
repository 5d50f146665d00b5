//! The outline of a log, kept beside it so that a long one is read once, and the line where its failure begins. The file
//! may be lost: then it is made again.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use slipway_core::build::{FirstLine, Stage};
use slipway_core::outline::{Outline, Search};
use slipway_core::{BuildNumber, RepoId};

use super::{BuildLogs, length_of, read_at};
use crate::limits::{LOG_READ_BYTES_MAX, LOG_SEARCHED_BYTES_MAX};

impl BuildLogs {
    /// The stages and steps of a log as far as it is written (blocking: file system).
    ///
    /// # Errors
    /// Where the log cannot be read.
    pub fn outline(&self, repo: RepoId, number: BuildNumber) -> io::Result<Outline> {
        let (log, kept) = (self.path(repo, number), self.outline_path(repo, number));
        let mut outline = kept_outline(&kept, length_of(&log)?);
        let before = outline.read;
        loop {
            let at = outline.read;
            let bytes = read_at(&log, at, LOG_READ_BYTES_MAX)?;
            outline.take(&bytes);
            // The end, or a line that is not whole yet.
            if outline.read == at {
                break;
            }
        }
        if outline.read > before {
            keep(&kept, &outline);
        }
        Ok(outline)
    }

    /// The line where the failure of a stage begins, by the log's last part of that stage (blocking: file system).
    ///
    /// # Errors
    /// Where the log cannot be read.
    pub fn first_line(
        &self,
        repo: RepoId,
        number: BuildNumber,
        stage: Stage,
    ) -> io::Result<Option<FirstLine>> {
        let outline = self.outline(repo, number)?;
        let Some(part) = outline.stages.iter().rev().find(|part| part.stage == stage) else {
            return Ok(None);
        };
        let mut at = part.start.max(part.end.saturating_sub(LOG_SEARCHED_BYTES_MAX));
        let (log, mut search) = (self.path(repo, number), Search::new(stage));
        while at < part.end {
            let most = usize::try_from(part.end - at).unwrap_or(usize::MAX).min(LOG_READ_BYTES_MAX);
            match search.take(&read_at(&log, at, most)?, at) {
                0 => break,
                taken => at += taken as u64,
            }
        }
        Ok(search.found())
    }

    pub(super) fn outline_path(&self, repo: RepoId, number: BuildNumber) -> PathBuf {
        self.path(repo, number).with_extension("outline")
    }
}

/// What is kept of a log of that length, or nothing where it is another's or cannot be read.
fn kept_outline(path: &Path, length: u64) -> Outline {
    let read = fs::read(path).ok().and_then(|bytes| serde_json::from_slice::<Outline>(&bytes).ok());
    read.filter(|outline| outline.read <= length).unwrap_or_default()
}

/// Writes it beside the log. Where the disk does not take it, it is made again the next time.
fn keep(path: &Path, outline: &Outline) {
    let fresh = path.with_extension(format!("outline.{:?}", std::thread::current().id()));
    let written = serde_json::to_vec(outline)
        .map_err(io::Error::other)
        .and_then(|bytes| fs::write(&fresh, bytes))
        .and_then(|()| fs::rename(&fresh, path));
    if let Err(e) = written {
        tracing::debug!(error = %e, "the outline of a build log is not kept");
        drop(fs::remove_file(&fresh));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPO: RepoId = RepoId(1);
    const ONE: BuildNumber = BuildNumber(1);

    fn logs(text: &str) -> (tempfile::TempDir, BuildLogs) {
        let folder = tempfile::tempdir().expect("a folder");
        let logs = BuildLogs::new(folder.path());
        fs::create_dir_all(folder.path().join("1")).expect("made");
        fs::write(logs.path(REPO, ONE), text).expect("written");
        (folder, logs)
    }

    #[test]
    fn an_outline_is_kept_goes_on_and_is_made_again_where_it_is_lost_or_wrong() {
        let (_folder, logs) = logs("== clone repository\n== build image\n#1 [a] RU");
        let first = logs.outline(REPO, ONE).expect("read");
        assert_eq!((first.stages.len(), first.stages[1].steps.len()), (2, 0));
        let text =
            "== clone repository\n== build image\n#1 [a] RUN x\n#1 0.001 error: y\n#1 ERROR: exit code: 1\n";
        fs::write(logs.path(REPO, ONE), text).expect("written");
        let whole = logs.outline(REPO, ONE).expect("read");
        assert_eq!((whole.read, whole.stages[1].steps.len()), (text.len() as u64, 1));
        let kept = logs.outline_path(REPO, ONE);
        for wrong in ["", "{", r#"{"read":99999,"stages":[],"steps":0}"#] {
            fs::write(&kept, wrong).expect("written");
            assert_eq!(logs.outline(REPO, ONE).expect("read"), whole, "{wrong:?}");
        }
        fs::remove_file(&kept).expect("removed");
        assert_eq!(logs.outline(REPO, ONE).expect("read"), whole);
        assert!(kept.exists());
        let line = logs.first_line(REPO, ONE, Stage::Build).expect("read").expect("found");
        assert_eq!((line.text.as_str(), &text[line.offset as usize..][..8]), ("error: y", "#1 0.001"));
        assert_eq!(logs.first_line(REPO, ONE, Stage::Test).expect("read"), None);
        assert_eq!(logs.outline(REPO, BuildNumber(2)).expect("no log"), Outline::default());
    }

    #[test]
    fn a_stage_that_was_tried_again_is_searched_in_its_last_try() {
        let text =
            "== test image\nerror: first\n== try 1 failed: x\n== test image\nerror: second\n== failed: y\n";
        let (_folder, logs) = logs(text);
        let line = logs.first_line(REPO, ONE, Stage::Test).expect("read").expect("found");
        assert_eq!(line.text, "error: second");
    }
}
