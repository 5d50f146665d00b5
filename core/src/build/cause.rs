//! Why a build is there.

use serde::{Deserialize, Serialize};

use super::{Build, Stage, bumps};
use crate::git::RefName;
use crate::id::{BuildNumber, EventId, RepoId, UnixMillis};
use crate::moving::Name;

/// Why a build is there. Records from before this was kept say that it was pushed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum BuildCause {
    /// Somebody pushed.
    #[default]
    Push,
    /// Somebody asked for the build of a commit.
    Start,
    /// Somebody asked for a build once more.
    Retry {
        /// Which.
        of: BuildNumber,
    },
    /// A time of `[on] cron` has come.
    Schedule {
        /// What the schedule is called.
        name: String,
    },
    /// A night has come (`[build] rebuild = "nightly"`).
    Nightly,
    /// A base image has moved (`[build] rebuild = "base"`).
    Base {
        /// Which, with its tag.
        image: String,
        /// Whose build has moved it.
        repo: RepoId,
        /// Which build.
        build: BuildNumber,
        /// How many such builds lie behind this one, itself counted: each moved the base of the next.
        depth: u32,
    },
    /// Somebody moves names to what another build has pushed, by name: nothing is built.
    Promote {
        /// Which build's image.
        of: BuildNumber,
        /// What moves.
        to: Vec<Name>,
        /// Who.
        by: String,
    },
}

impl BuildCause {
    /// True for what most are; said by saying nothing.
    pub(super) fn is_push(&self) -> bool {
        *self == Self::Push
    }

    /// True where nobody asked for the build, and no push owes it.
    pub fn is_by_itself(&self) -> bool {
        matches!(self, Self::Schedule { .. } | Self::Nightly | Self::Base { .. })
    }

    /// True where base images are asked for anew, whatever slipway.toml says of pulling them.
    pub fn is_for_bases(&self) -> bool {
        matches!(self, Self::Nightly | Self::Base { .. })
    }

    /// How many builds lie behind it, itself counted, each of which moved the base of the next.
    pub fn depth(&self) -> u32 {
        match self {
            Self::Base { depth, .. } => *depth,
            _ => 0,
        }
    }

    /// Why the build is there, in words that go before who it is by: `pushed by`.
    pub fn words(&self) -> String {
        match self {
            Self::Push => "pushed by".into(),
            Self::Start => "started by".into(),
            Self::Retry { of } => format!("build {of} again by"),
            Self::Promote { of, .. } => format!("build {of} promoted by"),
            Self::Schedule { name } => format!("schedule {name}, for"),
            Self::Nightly => "nightly, for".into(),
            // Whose build has moved it is told to those who may know of that repository.
            Self::Base { image, .. } => format!("base image {image} has moved, for"),
        }
    }
}

impl Build {
    /// The build whose image this moves names to, if that is all it does.
    pub fn promotes(&self) -> Option<BuildNumber> {
        match self.cause {
            BuildCause::Promote { of, .. } => Some(of),
            _ => None,
        }
    }

    /// Who moves that name by saying so.
    pub fn promoter(&self, name: &Name) -> Option<&str> {
        match &self.cause {
            BuildCause::Promote { to, by, .. } if to.contains(name) => Some(by),
            _ => None,
        }
    }

    /// Of one lane one alone is under way: the builds of a ref's image, and the promotions, which need not wait for any build.
    pub(super) fn lane_of_ref(&self) -> Option<(RefName, Option<String>)> {
        self.promotes().is_none().then(|| (self.ref_name.clone(), self.part.clone()))
    }

    /// The same once more, queued: by `actor`, as `by` asked for.
    pub fn again(&self, actor: String, by: &str, now: UnixMillis) -> Self {
        let Self { repo, number, event, ref_name, commit, title, part, needs, asked, .. } = self.clone();
        let queued = Self::queued(repo, number, event, ref_name, commit, title, actor, now);
        let queued = Self { part, needs, asked, ..queued };
        match &self.cause {
            BuildCause::Promote { of, to, .. } => {
                let cause = BuildCause::Promote { of: *of, to: to.clone(), by: by.to_owned() };
                let targets = self.bumps.iter().map(|b| (b.target.clone(), b.repo.clone())).collect();
                let bumps = bumps(targets);
                let (stage, test, pushed) = (Stage::Push, self.test, self.pushed.clone());
                Self { cause, stage, test, pushed, bumps, ..queued }
            }
            _ => Self { cause: BuildCause::Retry { of: number }, no_cache: self.no_cache, ..queued },
        }
    }

    /// A queued promotion of `of`'s image, which passed its test and is in the registry, to the names in `cause`; of these the
    /// targets with their manifest repositories. It has no event: no push owes it. `None` where that build has pushed nothing.
    pub fn promotion(
        of: &Self,
        targets: Vec<(String, String)>,
        actor: String,
        cause: BuildCause,
        now: UnixMillis,
    ) -> Option<Self> {
        let mut pushed = of.pushed.clone()?;
        pushed.tags.truncate(1);
        let (number, event, title) = (BuildNumber(0), EventId(0), of.title.clone());
        let queued = Self::queued(of.repo, number, event, of.ref_name.clone(), of.commit, title, actor, now);
        let (stage, test, bumps) = (Stage::Push, of.test, bumps(targets));
        let part = of.part.clone();
        Some(Self { cause, stage, test, pushed: Some(pushed), bumps, part, ..queued })
    }
}
