//! A build and its machine: a pure function of state and input to state and effects.
//!
//! The supervisor records the state that [`Build::step`] leaves *before* it carries out the effects, so a crash at any
//! point is answered by [`Input::Restarted`]: the stage under way is done again, and every stage is written to be
//! harmless when done twice. A test that has not passed can never be followed by a push, because
//! [`Effect::PushImage`] is only made from [`Input::Tested`].

use serde::{Deserialize, Serialize};

use crate::git::{Oid, RefName};
use crate::id::{BuildNumber, Digest, EventId, RepoId, UnixMillis};
use crate::limits::{INFRA_RETRIES_MAX, RESTARTS_MAX, RETRY_PAUSE_MS_MAX, RETRY_PAUSE_MS_MIN};
use crate::problem::{Problem, ProblemKind};
use crate::run::{Failure, FailureClass, Run};

/// The stages, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Read the commit's instructions.
    Clone,
    /// Build the image.
    Build,
    /// Test the image.
    Test,
    /// Push the image.
    Push,
    /// Write the digest into the manifest repositories.
    Bump,
}

impl Stage {
    /// The stage as people know it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Clone => "clone repository",
            Self::Build => "build image",
            Self::Test => "test image",
            Self::Push => "push image",
            Self::Bump => "update manifest",
        }
    }
}

/// Where a build stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BuildState {
    /// Waits for a free place.
    Queued,
    /// A stage is under way.
    Running,
    /// A stage failed for reasons outside the repository; it is tried again at `retry_at`.
    Waiting,
    /// All stages done.
    Succeeded,
    /// A stage failed.
    Failed,
    /// Somebody cancelled it.
    Cancelled,
    /// A newer commit of the same ref took its place.
    Superseded,
}

impl BuildState {
    /// True for the states that never change again.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled | Self::Superseded)
    }
}

/// When a stage ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageTime {
    /// Which.
    pub stage: Stage,
    /// From when.
    pub started: UnixMillis,
    /// Until when.
    pub ended: Option<UnixMillis>,
    /// Whether it had nothing to do (no test declared).
    pub skipped: bool,
}

/// What came of the tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TestVerdict {
    /// Not run yet.
    Pending,
    /// The repository declares none.
    None,
    /// Passed.
    Passed,
    /// Failed.
    Failed,
}

/// An image as pushed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushedImage {
    /// `HOST[:PORT]/PATH`, without tag.
    pub name: String,
    /// The tags, in the order pushed.
    pub tags: Vec<String>,
    /// The digest by which the registry knows it.
    pub digest: Digest,
}

/// One `[deploy.*]` target and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bump {
    /// The target's name in slipway.toml.
    pub target: String,
    /// The manifest repository's name.
    pub repo: String,
    /// The commit that carries the digest. `None` with `done`: the manifest had it already.
    pub commit: Option<Oid>,
    /// The event that this commit made.
    pub event: Option<EventId>,
    /// Done.
    pub done: bool,
}

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
    /// The commit's subject line.
    pub title: String,
    /// Who pushed.
    pub actor: String,
    /// The stage under way, or the last one.
    pub stage: Stage,
    /// When the stages ran; a stage that ran again has its last time.
    pub stages: Vec<StageTime>,
    /// The engine's image id, once built.
    pub image: Option<String>,
    /// What came of the tests.
    pub test: TestVerdict,
    /// What was pushed.
    pub pushed: Option<PushedImage>,
    /// The manifests that get the digest.
    pub bumps: Vec<Bump>,
    /// Where it stands.
    #[serde(flatten)]
    pub run: Run<BuildState>,
}

/// What happened to a build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A place is free.
    Start,
    /// The instructions are read; these `[deploy.*]` targets (name, manifest repository) want the digest.
    Prepared {
        /// Target name and manifest repository.
        targets: Vec<(String, String)>,
    },
    /// The image is built.
    Built {
        /// The engine's image id.
        image: String,
    },
    /// The test stage is over and nothing stands against a push.
    Tested {
        /// `Passed` or `None`.
        verdict: TestVerdict,
    },
    /// The image is in the registry.
    Pushed(PushedImage),
    /// One manifest has the digest.
    Bumped {
        /// The target's name.
        target: String,
        /// The commit, if one was needed.
        commit: Option<Oid>,
        /// Its event.
        event: Option<EventId>,
    },
    /// The stage under way failed.
    Failed(Failure),
    /// The engine has lost the image that was built: the build starts over, and what it makes is tested anew.
    ImageGone(Failure),
    /// Somebody cancelled it.
    Cancel,
    /// A newer commit of the same ref is queued.
    Supersede,
    /// The server is being stopped and cuts the stage short. No restart is counted: nothing died.
    Interrupted,
    /// The server has started and finds it unfinished.
    Restarted,
    /// `retry_at` has come.
    RetryDue,
}

/// What the supervisor shall do next.
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
    /// Write the digest into one manifest repository.
    BumpManifest {
        /// The target's name in slipway.toml.
        target: String,
    },
    /// Stop what runs for this build.
    StopStage,
    /// Come back with [`Input::RetryDue`].
    WakeAt(UnixMillis),
    /// Remove its containers and untagged images, tell whoever follows.
    Finish,
}

impl Build {
    /// Takes one input: changes the state and says what to do. An input that does not fit the state changes nothing.
    pub fn step(&mut self, input: Input, now: UnixMillis) -> Vec<Effect> {
        if self.run.state.is_final() {
            return Vec::new();
        }
        match (input, self.run.state) {
            (Input::Start, BuildState::Queued) => {
                self.run.started.get_or_insert(now);
                self.enter(Stage::Clone, now)
            }
            (Input::RetryDue, BuildState::Waiting) => self.resume(now),
            (Input::Restarted, state) => self.restarted(state, now),
            (Input::Interrupted, BuildState::Running) => self.interrupted(now),
            (Input::Cancel, state) => self.stop(state, BuildState::Cancelled, now),
            // An image on its way out is let go through: half a push helps nobody, and the newer build's follows.
            (Input::Supersede, BuildState::Running | BuildState::Waiting) if self.stage >= Stage::Push => {
                Vec::new()
            }
            (Input::Supersede, state) => self.stop(state, BuildState::Superseded, now),
            (Input::Failed(failure), BuildState::Running) => self.failed(failure, now),
            (Input::ImageGone(failure), BuildState::Running) => self.image_gone(failure, now),
            (done, BuildState::Running) => self.advance(done, now),
            (_, _) => Vec::new(),
        }
    }

    /// The stage under way is done: on to the next.
    fn advance(&mut self, done: Input, now: UnixMillis) -> Vec<Effect> {
        match (done, self.stage) {
            (Input::Prepared { targets }, Stage::Clone) => {
                if self.bumps.is_empty() {
                    self.bumps = targets
                        .into_iter()
                        .map(|(target, repo)| Bump { target, repo, commit: None, event: None, done: false })
                        .collect();
                }
                self.enter(Stage::Build, now)
            }
            (Input::Built { image }, Stage::Build) => {
                self.image = Some(image);
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
            (Input::Pushed(image), Stage::Push) => {
                self.pushed = Some(image);
                if self.bumps.iter().all(|b| b.done) {
                    self.succeed(now)
                } else {
                    self.enter(Stage::Bump, now)
                }
            }
            (Input::Bumped { target, commit, event }, Stage::Bump) => {
                if let Some(bump) = self.bumps.iter_mut().find(|b| b.target == target && !b.done) {
                    (bump.commit, bump.event, bump.done) = (commit, event, true);
                }
                if self.bumps.iter().all(|b| b.done) { self.succeed(now) } else { self.effects() }
            }
            _ => Vec::new(),
        }
    }

    fn enter(&mut self, stage: Stage, now: UnixMillis) -> Vec<Effect> {
        self.close_stage(now);
        self.run.state = BuildState::Running;
        self.stage = stage;
        self.run.failure = None;
        self.run.retry_at = None;
        self.stages.retain(|t| t.stage != stage);
        self.stages.push(StageTime { stage, started: now, ended: None, skipped: false });
        self.effects()
    }

    /// What the stage under way asks for.
    fn effects(&self) -> Vec<Effect> {
        let image = || self.image.clone().unwrap_or_default();
        match self.stage {
            Stage::Clone => vec![Effect::Prepare],
            Stage::Build => vec![Effect::BuildImage],
            Stage::Test => vec![Effect::TestImage { image: image() }],
            Stage::Push => vec![Effect::PushImage { image: image() }],
            Stage::Bump => self
                .bumps
                .iter()
                .find(|b| !b.done)
                .map(|b| Effect::BumpManifest { target: b.target.clone() })
                .into_iter()
                .collect(),
        }
    }

    fn image_gone(&mut self, failure: Failure, now: UnixMillis) -> Vec<Effect> {
        if self.run.retries >= INFRA_RETRIES_MAX || self.pushed.is_some() {
            return self.failed(failure, now);
        }
        self.run.retries += 1;
        self.image = None;
        self.test = TestVerdict::Pending;
        self.enter(Stage::Clone, now)
    }

    fn failed(&mut self, failure: Failure, now: UnixMillis) -> Vec<Effect> {
        if failure.class == FailureClass::Infra && self.run.retries < INFRA_RETRIES_MAX {
            let pause = (RETRY_PAUSE_MS_MIN << self.run.retries.min(16)).min(RETRY_PAUSE_MS_MAX);
            let at = now.plus_ms(pause);
            self.run.retries += 1;
            self.run.state = BuildState::Waiting;
            self.run.failure = Some(failure);
            self.run.retry_at = Some(at);
            return vec![Effect::WakeAt(at)];
        }
        if self.stage == Stage::Test && failure.class != FailureClass::Infra {
            self.test = TestVerdict::Failed;
        }
        self.run.failure = Some(failure);
        self.finish(BuildState::Failed, now)
    }

    /// Takes the work up again. What the engine built may be gone by now, so everything before the push starts over
    /// (cheap: its cache remembers); from the push on, the tested image is recorded and only that may be pushed.
    fn resume(&mut self, now: UnixMillis) -> Vec<Effect> {
        let from = if self.stage >= Stage::Push { self.stage } else { Stage::Clone };
        self.enter(from, now)
    }

    fn restarted(&mut self, state: BuildState, now: UnixMillis) -> Vec<Effect> {
        match state {
            BuildState::Running if self.run.restarts >= RESTARTS_MAX => {
                self.run.failure = Some(Failure {
                    class: FailureClass::Infra,
                    problem: Problem::new(
                        ProblemKind::Broken,
                        format!("The server stopped {} times during this build.", self.run.restarts + 1),
                        "Look at the server's log and its memory, then retry the build.",
                    ),
                });
                self.finish(BuildState::Failed, now)
            }
            BuildState::Running => {
                self.run.restarts += 1;
                self.resume(now)
            }
            BuildState::Waiting => vec![Effect::WakeAt(self.run.retry_at.unwrap_or(now))],
            _ => Vec::new(),
        }
    }

    fn interrupted(&mut self, now: UnixMillis) -> Vec<Effect> {
        self.run.failure = Some(Failure {
            class: FailureClass::Infra,
            problem: Problem::new(
                ProblemKind::Unavailable,
                "The server was stopped during this build.",
                "It goes on when the server is back.",
            ),
        });
        self.run.state = BuildState::Waiting;
        self.run.retry_at = Some(now);
        vec![Effect::WakeAt(now)]
    }

    fn stop(&mut self, was: BuildState, becomes: BuildState, now: UnixMillis) -> Vec<Effect> {
        let mut effects = if was == BuildState::Running { vec![Effect::StopStage] } else { Vec::new() };
        effects.extend(self.finish(becomes, now));
        effects
    }

    fn succeed(&mut self, now: UnixMillis) -> Vec<Effect> {
        self.run.failure = None;
        self.finish(BuildState::Succeeded, now)
    }

    fn finish(&mut self, state: BuildState, now: UnixMillis) -> Vec<Effect> {
        self.close_stage(now);
        self.run.state = state;
        self.run.retry_at = None;
        self.run.ended = Some(now);
        vec![Effect::Finish]
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
            title,
            actor,
            stage: Stage::Clone,
            stages: Vec::new(),
            image: None,
            test: TestVerdict::Pending,
            pushed: None,
            bumps: Vec::new(),
            run: Run::new(BuildState::Queued, now),
        }
    }
}
