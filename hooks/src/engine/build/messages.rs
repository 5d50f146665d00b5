//! What the messages of one build say: lines for its log, its base images, and in the end the image.

use bollard::models::{BuildInfo, BuildInfoAux};

use super::{Done, ImageBuild};
use crate::engine::Engine;
use crate::engine::failure::Known;
use crate::engine::progress::Progress;
use crate::error::HookError;
use crate::limits::LOG_LINE_BYTES_MAX;
use crate::log::BuildLog;
use crate::log::mask::Lines;
use crate::permit::Names;

/// What the messages of one build have said so far.
pub(super) struct Messages<'a> {
    log: &'a BuildLog,
    dockerfile: &'a str,
    target: &'a str,
    progress: Progress,
    lines: Lines,
    image: Option<String>,
    /// The classic builder names an image after every stage; only this line is the end.
    complete: bool,
    buildkit: bool,
}

impl<'a> Messages<'a> {
    pub(super) fn new(log: &'a BuildLog, buildkit: bool, build: &'a ImageBuild) -> Self {
        Self {
            log,
            dockerfile: &build.plan.dockerfile,
            target: &build.target,
            progress: Progress::new(log.masker()),
            lines: Lines::default(),
            image: None,
            complete: buildkit,
            buildkit,
        }
    }

    pub(super) async fn take(&mut self, info: BuildInfo) {
        match info.aux {
            Some(BuildInfoAux::BuildKit(status)) => {
                for line in self.progress.take(&status) {
                    self.log.output(&line).await;
                }
            }
            Some(BuildInfoAux::Default(image)) => self.image = image.id.or(self.image.take()),
            None => {}
        }
        if let Some(text) = info.stream {
            self.complete |= text.starts_with("Successfully built ");
            let mut lines = Vec::new();
            self.lines.push(text.as_bytes(), &self.log.masker(), LOG_LINE_BYTES_MAX, |line| {
                lines.push(line.to_vec())
            });
            for line in lines {
                self.log.output(&line).await;
            }
        }
        // Pulling: only what has no percentages.
        if let (Some(status), None) = (info.status, info.progress_detail.and_then(|p| p.current)) {
            let id = info.id.map(|id| format!("{id}: ")).unwrap_or_default();
            self.log.output(format!("{id}{status}").as_bytes()).await;
        }
    }

    pub(super) async fn tell_rest(&mut self) {
        let mut rest = self.progress.finish();
        self.lines.finish(|line| rest.push(line.to_vec()));
        for line in rest {
            self.log.output(&line).await;
        }
    }

    /// The stream has ended without an error of its own.
    pub(super) fn end(&mut self, engine: &Engine) -> Result<Done, HookError> {
        match self.image.take() {
            Some(id) if self.complete => Ok((id, self.progress.bases().filter(|_| self.buildkit).cloned())),
            _ => Err(engine.lost("the image build", "its answer ended before the image was named")),
        }
    }

    /// An image that the builder has begun to look for, and that is not to be used: a trigger (`ONBUILD`) of a base image
    /// can name one that the Dockerfile does not.
    pub(super) fn forbidden(&self, names: &Names) -> Option<String> {
        self.progress.images().iter().find(|image| names.has(image)).cloned()
    }

    pub(super) fn known(&self) -> Known<'_> {
        Known { step: self.progress.failed_step(), target: self.target, dockerfile: self.dockerfile }
    }
}
