//! Why a build is there.

use serde::{Deserialize, Serialize};

use super::{Build, Stage, bumps};
use crate::git::RefName;
use crate::id::{BuildNumber, EventId, UnixMillis};
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
}

impl Build {
    /// The build whose image this moves names to, if that is all it does.
    pub fn promotes(&self) -> Option<BuildNumber> {
        match self.cause {
            BuildCause::Promote { of, .. } => Some(of),
            BuildCause::Push | BuildCause::Start | BuildCause::Retry { .. } => None,
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
        let Self { repo, number, event, ref_name, commit, title, part, needs, .. } = self.clone();
        let queued = Self::queued(repo, number, event, ref_name, commit, title, actor, now);
        let queued = Self { part, needs, ..queued };
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
