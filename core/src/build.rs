//! A build and its machine: a pure function of state and input to state and effects.
//!
//! The state that a step leaves is recorded *before* its effect is carried out, so a crash at any point is answered by
//! [`Signal::Restarted`]: the stage under way is done again, and every stage is written to be harmless when done twice. A test that has not passed can never be followed by a push, because
//! [`Effect::PushImage`] is only made from [`Input::Tested`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::git::{Oid, RefName};
use crate::id::{BuildNumber, EventId, RepoId, UnixMillis};
use crate::limits::{INFRA_RETRIES_MAX, RESTARTS_MAX, RETRY_PAUSE_MS_MAX, RETRY_PAUSE_MS_MIN};
use crate::moving::Move;
use crate::run::{Failure, FailureClass, Kind, Machine, Next, Patience, Run, Signal, WorkId};

mod asked;
mod attached;
mod bump;
mod cause;
mod content;
mod pushed;
mod results;
mod stage;
mod state;
pub use self::asked::Asked;
pub use self::attached::{Attached, Contents};
pub use self::bump::Bump;
use self::bump::bumps;
pub use self::cause::BuildCause;
pub use self::content::{Content, Reused};
pub use self::pushed::PushedImage;
pub use self::results::{FirstLine, Learned, LogRemoved, Results};
pub use self::stage::{Stage, StageTime};
pub use self::state::{BuildState, TestVerdict};

/// A build: build, test and push of one commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    /// Where.
    pub repo: RepoId,
    /// Which.
    pub number: BuildNumber,
    /// The event that owes it.
    pub event: EventId,
    /// The ref that moved.
    pub ref_name: RefName,
    /// What is built.
    pub commit: Oid,
    /// Which of the commit's images (`[[image]]` of slipway.toml); `None` where there is the one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<String>,
    /// The parts whose images it needs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<String>,
    /// The commit's subject line.
    pub title: String,
    /// Who pushed.
    pub actor: String,
    /// Why it is there.
    #[serde(default, skip_serializing_if = "BuildCause::is_push")]
    pub cause: BuildCause,
    /// What was said by whoever started it.
    #[serde(default, skip_serializing_if = "Asked::is_empty")]
    pub asked: Asked,
    /// Built without the engine's cache.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_cache: bool,
    /// What its image is made of, where that can be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Content>,
    /// The build that had made the same: its image is taken, and nothing is built.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reuses: Option<BuildNumber>,
    /// Nothing is taken from an earlier build.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub afresh: bool,
    /// The stage under way, or the last one.
    pub stage: Stage,
    /// When the stages ran; a stage that ran again has its last time.
    pub stages: Vec<StageTime>,
    /// The engine's image id, once built.
    pub image: Option<String>,
    /// The engine that builds it, by its name in the configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
    /// What came of the tests.
    pub test: TestVerdict,
    /// What was pushed.
    pub pushed: Option<PushedImage>,
    /// The manifests that get the digest.
    pub bumps: Vec<Bump>,
    /// What it moved of the names that others follow, and what it left where it was.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub moves: Vec<Move>,
    /// Its base images, where `content` has no place for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bases: Option<BTreeMap<String, String>>,
    /// What is beside its image in the registry.
    #[serde(default, skip_serializing_if = "Attached::is_empty")]
    pub attached: Attached,
    /// What was learned of it for people.
    #[serde(default, skip_serializing_if = "Results::is_empty")]
    pub results: Results,
    /// Where it stands.
    #[serde(flatten)]
    pub run: Run<BuildState>,
}

/// What happened to a build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// What can happen to all work.
    Signal(Signal),
    /// The instructions are read; these `[deploy.*]` targets (name, manifest repository) want the digest.
    Prepared {
        /// Target name and manifest repository.
        targets: Vec<(String, String)>,
        /// The key of what goes into the image, where it can be told.
        content: Option<String>,
        /// An earlier build that has made the same.
        reused: Option<Reused>,
    },
    /// The image is built.
    Built {
        /// The engine's image id.
        image: String,
        /// The base images that went into it, and which each was, where the builder tells.
        bases: Option<BTreeMap<String, String>>,
    },
    /// The test stage is over and nothing stands against a push.
    Tested {
        /// `Passed` or `None`.
        verdict: TestVerdict,
    },
    /// The image is in the registry.
    Pushed {
        /// The image.
        image: PushedImage,
        /// What came of the tags that move.
        moves: Vec<Move>,
        /// What is beside it.
        attached: Attached,
    },
    /// One manifest has the digest.
    Bumped {
        /// The target's name.
        target: String,
        /// The commit, if one was needed.
        commit: Option<Oid>,
        /// Its event.
        event: Option<EventId>,
        /// What came of the target as a name.
        moved: Move,
    },
    /// What was still to be put beside the image is there, or is not to be had.
    Listed(Attached),
    /// The stage under way failed.
    Failed(Failure),
    /// The engine has lost the image that was built: the build starts over, and what it makes is tested anew.
    ImageGone(Failure),
    /// Something was learned by the way.
    Learned(Learned),
}

impl From<Signal> for Input {
    fn from(signal: Signal) -> Self {
        Self::Signal(signal)
    }
}

/// What is done for a build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Read the commit's instructions.
    Prepare,
    /// Build the image.
    BuildImage,
    /// Test it.
    TestImage {
        /// The engine's image id.
        image: String,
    },
    /// Push it.
    PushImage {
        /// The engine's image id.
        image: String,
    },
    /// Give the image of the earlier build that made the same, which its registry has, this one's tags.
    Retag,
    /// Give the image of another build, which its registry has, the tags that somebody named.
    MoveTags,
    /// Write the digest into one manifest repository.
    BumpManifest {
        /// The target's name in slipway.toml.
        target: String,
    },
    /// List what is in the image, and put beside it what is not there yet.
    ListContents,
}

/// How an engine or registry that is down is waited for.
const PATIENCE: Patience = Patience {
    retries_max: INFRA_RETRIES_MAX,
    pause_ms_min: RETRY_PAUSE_MS_MIN,
    pause_ms_max: RETRY_PAUSE_MS_MAX,
};

impl Machine for Build {
    type State = BuildState;
    type Input = Input;
    type Effect = Effect;
    type Lane = (RepoId, Option<(RefName, Option<String>)>);

    const KIND: Kind = Kind::Build;
    const PAUSE_MS_MAX: u64 = RETRY_PAUSE_MS_MAX;

    fn run(&self) -> &Run<BuildState> {
        &self.run
    }

    fn run_mut(&mut self) -> &mut Run<BuildState> {
        &mut self.run
    }

    fn id(&self) -> WorkId {
        WorkId { repo: self.repo, number: self.number.0 }
    }

    fn lane(&self) -> Self::Lane {
        (self.repo, self.lane_of_ref())
    }

    /// A retry builds an old commit again, under a new number: the newest commit does not give way to it, nor it to the
    /// newest.
    fn gives_way_to(&self, other: &Self) -> bool {
        self.promotes().is_none() && self.event < other.event && self.number < other.number
    }

    fn step(&mut self, input: Input, now: UnixMillis) -> Next<Effect> {
        if self.run.is_over() {
            return Next::Nothing;
        }
        match (input, self.run.state) {
            (Input::Signal(signal), state) => self.told(signal, state, now),
            (Input::Failed(failure), BuildState::Running) => self.failed(failure, now),
            (Input::ImageGone(failure), BuildState::Running) => self.image_gone(failure, now),
            (Input::Learned(learned), BuildState::Running) => self.learn(learned),
            (done, BuildState::Running) => self.advance(done, now),
            (_, _) => Next::Nothing,
        }
    }
}

impl Build {
    fn told(&mut self, signal: Signal, state: BuildState, now: UnixMillis) -> Next<Effect> {
        match (signal, state) {
            (Signal::Start, BuildState::Queued) => self.resume(now),
            (Signal::RetryDue, BuildState::Waiting) => self.resume(now),
            // What is left to do is no reason to fail, and nothing that somebody could stop in time.
            (Signal::Cancel, BuildState::Running) if self.stage == Stage::Contents => self.give_up(now),
            (Signal::Restarted, BuildState::Running)
                if self.stage == Stage::Contents && self.run.restarts + 1 >= RESTARTS_MAX =>
            {
                self.give_up(now)
            }
            (Signal::Restarted, BuildState::Running) => match self.run.died(Kind::Build, now) {
                Some(over) => self.close(over, now),
                None => self.resume(now),
            },
            (Signal::Interrupted, BuildState::Running) => self.run.interrupt(Kind::Build, now),
            (Signal::Cancel, _) => self.end(BuildState::Cancelled, now),
            (Signal::Supersede, BuildState::Queued) => self.end(BuildState::Superseded, now),
            // An image on its way out is let go through: half a push helps nobody, and the newer build's follows.
            (Signal::Supersede, BuildState::Running | BuildState::Waiting) if self.stage < Stage::Push => {
                self.end(BuildState::Superseded, now)
            }
            (_, _) => Next::Nothing,
        }
    }

    /// The stage under way is done: on to the next.
    fn advance(&mut self, done: Input, now: UnixMillis) -> Next<Effect> {
        match (done, self.stage) {
            (Input::Prepared { targets, content, reused }, Stage::Clone) => {
                if self.bumps.is_empty() {
                    self.bumps = bumps(targets);
                }
                self.content = content.map(|key| Content { key, bases: None });
                let is_tested = |r: &Reused| matches!(r.test, TestVerdict::Passed | TestVerdict::None);
                match reused.filter(|r| self.may_reuse() && is_tested(r)) {
                    Some(reused) => self.reuse(reused, now),
                    None => self.enter(Stage::Build, now),
                }
            }
            (Input::Built { image, bases }, Stage::Build) => {
                self.image = Some(image);
                match &mut self.content {
                    Some(content) => content.bases = bases,
                    None => self.bases = bases,
                }
                self.enter(Stage::Test, now)
            }
            (Input::Tested { verdict }, Stage::Test)
                if matches!(verdict, TestVerdict::Passed | TestVerdict::None) =>
            {
                self.test = verdict;
                let skipped = verdict == TestVerdict::None;
                if let Some(time) = self.stages.iter_mut().rev().find(|t| t.stage == Stage::Test) {
                    time.skipped = skipped;
                }
                self.enter(Stage::Push, now)
            }
            (Input::Pushed { image, moves, attached }, Stage::Push) => {
                (self.pushed, self.moves, self.attached) = (Some(image), moves, attached);
                if self.bumps.iter().all(|b| b.done) { self.rest(now) } else { self.enter(Stage::Bump, now) }
            }
            (Input::Bumped { target, commit, event, moved }, Stage::Bump) => {
                if let Some(bump) = self.bumps.iter_mut().find(|b| b.target == target && !b.done) {
                    (bump.commit, bump.event, bump.done) = (commit, event, true);
                    self.moves.push(moved);
                }
                self.next_bump(now)
            }
            (Input::Listed(attached), Stage::Contents) => {
                self.attached = Attached { owed: false, ..attached };
                self.succeed(now)
            }
            _ => Next::Nothing,
        }
    }

    fn enter(&mut self, stage: Stage, now: UnixMillis) -> Next<Effect> {
        self.close_stage(now);
        self.run.begin(now);
        self.results.begin(stage);
        self.stage = stage;
        self.stages.retain(|t| t.stage != stage);
        self.stages.push(StageTime { stage, started: now, ended: None, skipped: false });
        self.effect()
    }

    /// What the stage under way asks for.
    fn effect(&self) -> Next<Effect> {
        let image = || self.image.clone().unwrap_or_default();
        match self.stage {
            Stage::Clone => Next::Do(Effect::Prepare),
            Stage::Build => Next::Do(Effect::BuildImage),
            Stage::Test => Next::Do(Effect::TestImage { image: image() }),
            Stage::Push if self.promotes().is_some() => Next::Do(Effect::MoveTags),
            Stage::Push if self.reuses.is_some() => Next::Do(Effect::Retag),
            Stage::Push => Next::Do(Effect::PushImage { image: image() }),
            Stage::Bump => match self.bumps.iter().find(|b| b.is_due()) {
                Some(bump) => Next::Do(Effect::BumpManifest { target: bump.target.clone() }),
                None => Next::Nothing,
            },
            Stage::Contents => Next::Do(Effect::ListContents),
        }
    }

    fn image_gone(&mut self, failure: Failure, now: UnixMillis) -> Next<Effect> {
        if self.reuses.is_some() && self.stage == Stage::Push {
            return self.build_afresh(now);
        }
        if self.run.retries >= INFRA_RETRIES_MAX || self.pushed.is_some() || self.promotes().is_some() {
            return self.failed(failure, now);
        }
        self.run.retries += 1;
        self.image = None;
        self.test = TestVerdict::Pending;
        self.enter(Stage::Clone, now)
    }

    fn failed(&mut self, failure: Failure, now: UnixMillis) -> Next<Effect> {
        if self.stage == Stage::Test && failure.class != FailureClass::Infra {
            self.test = TestVerdict::Failed;
        }
        if self.stage == Stage::Contents {
            return self.left_out(failure.problem.what, now);
        }
        if self.stage == Stage::Bump
            && let Some(bump) = self.bumps.iter_mut().find(|b| b.is_due())
        {
            bump.failed = Some(failure);
            return self.next_bump(now);
        }
        self.fail(failure, now)
    }

    /// On to the next target; when all have been tried, what failed of them is the build's failure. One that may go through
    /// later comes first: it is waited for, and then the others still are what they are.
    fn next_bump(&mut self, now: UnixMillis) -> Next<Effect> {
        if self.bumps.iter().any(Bump::is_due) {
            return self.effect();
        }
        let mut failed: Vec<&Failure> = self.bumps.iter().filter_map(|b| b.failed.as_ref()).collect();
        failed.sort_by_key(|failure| failure.class != FailureClass::Infra);
        match failed.first().copied().cloned() {
            Some(failure) => self.fail(failure, now),
            None => self.rest(now),
        }
    }

    fn fail(&mut self, failure: Failure, now: UnixMillis) -> Next<Effect> {
        let next = self.run.fail(failure, PATIENCE, now);
        self.close(next, now)
    }

    /// Takes the work up again. What the engine built may be gone by now, so everything before the push starts over
    /// (cheap: its cache remembers); from the push on, the tested image is recorded and only that may be pushed.
    fn resume(&mut self, now: UnixMillis) -> Next<Effect> {
        let from = if self.stage >= Stage::Push { self.stage } else { Stage::Clone };
        for bump in &mut self.bumps {
            bump.failed.take_if(|failure| failure.class == FailureClass::Infra);
        }
        self.enter(from, now)
    }

    fn succeed(&mut self, now: UnixMillis) -> Next<Effect> {
        self.run.failure = None;
        self.end(BuildState::Succeeded, now)
    }

    fn end(&mut self, state: BuildState, now: UnixMillis) -> Next<Effect> {
        let over = self.run.end(state, now);
        self.close(over, now)
    }

    /// Nothing of what is over goes on.
    fn close(&mut self, next: Next<Effect>, now: UnixMillis) -> Next<Effect> {
        if next == Next::Over {
            self.close_stage(now);
        }
        next
    }

    fn close_stage(&mut self, now: UnixMillis) {
        if let Some(time) = self.stages.last_mut() {
            time.ended.get_or_insert(now);
        }
    }

    /// A queued build, as an event owes it. `number` is given by the store.
    #[allow(clippy::too_many_arguments)] // A record's facts; a struct for them would be the record again.
    pub fn queued(
        repo: RepoId,
        number: BuildNumber,
        event: EventId,
        ref_name: RefName,
        commit: Oid,
        title: String,
        actor: String,
        now: UnixMillis,
    ) -> Self {
        Self {
            repo,
            number,
            event,
            ref_name,
            commit,
            part: None,
            needs: Vec::new(),
            title,
            actor,
            cause: BuildCause::Push,
            asked: Asked::default(),
            no_cache: false,
            content: None,
            reuses: None,
            afresh: false,
            stage: Stage::Clone,
            stages: Vec::new(),
            image: None,
            engine: None,
            test: TestVerdict::Pending,
            pushed: None,
            bumps: Vec::new(),
            moves: Vec::new(),
            bases: None,
            attached: Attached::default(),
            results: Results::default(),
            run: Run::new(BuildState::Queued, now),
        }
    }
}
