//! What an image was made of, and builds that need not be: what was made of the same before is the same image.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Build, Effect, PushedImage, Stage, StageTime, TestVerdict};
use crate::id::{BuildNumber, UnixMillis};
use crate::run::Next;

/// What an image was made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// SHA-256 in hexadecimal of all that its repository and the server put into it: files, Dockerfile, slipway.toml, arguments,
    /// versions of secrets.
    pub key: String,
    /// Its base images, and which each was: a registry's digest, or the engine's id of what it has alone. `None` until it is built, and where the
    /// builder does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bases: Option<BTreeMap<String, String>>,
}

/// An earlier build that made the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reused {
    /// Which.
    pub of: BuildNumber,
    /// Its image.
    pub image: PushedImage,
    /// What came of its test.
    pub test: TestVerdict,
    /// Its base images.
    pub bases: BTreeMap<String, String>,
}

impl Build {
    /// True if what an earlier build made may be taken for it.
    pub fn may_reuse(&self) -> bool {
        !self.no_cache && !self.afresh
    }

    /// What that build made is what this one would: on to the push, past the build and the test that it has passed.
    pub(super) fn reuse(&mut self, reused: Reused, now: UnixMillis) -> Next<Effect> {
        for stage in [Stage::Build, Stage::Test] {
            self.close_stage(now);
            self.stages.retain(|time| time.stage != stage);
            self.stages.push(StageTime { stage, started: now, ended: Some(now), skipped: true });
        }
        let Reused { of, image, test, bases } = reused;
        (self.reuses, self.test) = (Some(of), test);
        self.pushed = Some(PushedImage { tags: Vec::new(), ..image });
        if let Some(content) = &mut self.content {
            content.bases = Some(bases);
        }
        self.enter(Stage::Push, now)
    }

    /// What it would have taken is not in the registry any more: it is built after all.
    pub(super) fn build_afresh(&mut self, now: UnixMillis) -> Next<Effect> {
        (self.reuses, self.pushed, self.content, self.afresh) = (None, None, None, true);
        self.test = TestVerdict::Pending;
        self.enter(Stage::Clone, now)
    }
}
