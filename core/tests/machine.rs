//! The build machine against a world that crashes at every point: a fake engine, registry and manifest repository, and
//! a supervisor that records the state before it carries out an effect, as the real one does.

use proptest::prelude::*;
use slipway_core::build::{
    Attached, Build, BuildCause, BuildState, Contents, Effect, FirstLine, Input, Learned, PushedImage,
    Results, Reused, Stage, TestVerdict,
};
use slipway_core::deploy::{Deploy, DeployCause, DeployState};
use slipway_core::moving::{Move, Name};
use slipway_core::run::{Failure, FailureClass, Machine, Next, Signal};
use slipway_core::{
    BuildNumber, ClusterName, Digest, EventId, Oid, Problem, ProblemKind, RefName, RepoId, UnixMillis,
};

/// What an effect does when it is carried out.
#[derive(Clone, Copy, Debug)]
enum Luck {
    Works,
    /// The server dies before the effect touches the world.
    CrashBefore,
    /// The effect happens, and the server dies before the outcome is recorded.
    CrashAfter,
    EngineDown,
    UserError,
    /// The engine has lost the image (test and push alone can notice).
    ImageGone,
}

#[derive(Default)]
struct World {
    tests_passed: bool,
    pushes: Vec<bool>,
    bumps: Vec<String>,
    listed: usize,
    finishes: usize,
}

fn build() -> Build {
    Build::queued(
        RepoId(1),
        BuildNumber(1),
        EventId(1),
        RefName::branch("main").expect("valid"),
        Oid::ZERO_SHA1,
        "subject".into(),
        "ann".into(),
        UnixMillis(0),
    )
}

fn failure(class: FailureClass) -> Input {
    Input::Failed(Failure {
        class,
        problem: Problem::new(ProblemKind::Unavailable, "It failed.", "Try again."),
    })
}

impl World {
    /// Carries out one effect; every one of them is harmless when done twice.
    fn carry_out(&mut self, effect: &Effect) -> Input {
        match effect {
            Effect::Prepare => {
                let targets = vec![("prod".into(), "M".into()), ("eu".into(), "M".into())];
                Input::Prepared { targets, content: Some("key".into()), reused: None }
            }
            Effect::BuildImage => Input::Built { image: "sha256:1".into(), bases: Some(Default::default()) },
            Effect::TestImage { .. } => {
                self.tests_passed = true;
                Input::Tested { verdict: TestVerdict::Passed }
            }
            Effect::PushImage { .. } => {
                self.pushes.push(self.tests_passed);
                let image = PushedImage {
                    name: "r/app".into(),
                    tags: vec!["latest".into()],
                    digest: Digest::parse(&format!("sha256:{}", "a".repeat(64))).expect("valid"),
                };
                let attached = Attached { signed: true, owed: true, ..Attached::default() };
                Input::Pushed { image, moves: Vec::new(), attached }
            }
            Effect::BumpManifest { target } => {
                if !self.bumps.contains(target) {
                    self.bumps.push(target.clone());
                }
                let moved = Move { name: Name::Deploy(target.clone()), left: None };
                Input::Bumped { target: target.clone(), commit: None, event: None, moved }
            }
            Effect::ListContents => {
                self.listed += 1;
                let contents = Some(Contents { packages: 3, partial: false });
                Input::Listed(Attached { signed: true, contents, ..Attached::default() })
            }
            Effect::Retag | Effect::MoveTags => unreachable!("nothing is promoted"),
        }
    }
}

/// Runs a build to its end. Returns its record and the world.
fn run(luck: &[Luck]) -> (Build, World) {
    let mut luck = luck.iter().copied();
    let mut world = World::default();
    let mut recorded = build();
    let mut next = recorded.step(Signal::Start.into(), UnixMillis(1));
    for tick in 2..10_000u64 {
        let now = UnixMillis(tick);
        let effect = match next {
            Next::Over => {
                world.finishes += 1;
                return (recorded, world);
            }
            Next::WakeAt(_) => {
                next = recorded.step(Signal::RetryDue.into(), now);
                continue;
            }
            Next::Nothing => panic!("stuck in {recorded:?}"),
            Next::Do(effect) => effect,
        };
        let input = match (&effect, luck.next().unwrap_or(Luck::Works)) {
            (_, Luck::CrashBefore) => Signal::Restarted.into(),
            (_, Luck::CrashAfter) => {
                world.carry_out(&effect);
                Signal::Restarted.into()
            }
            (_, Luck::EngineDown) => failure(FailureClass::Infra),
            (_, Luck::UserError) => failure(FailureClass::User),
            (Effect::TestImage { .. } | Effect::PushImage { .. }, Luck::ImageGone) => {
                world.tests_passed = false;
                let Input::Failed(failure) = failure(FailureClass::Infra) else {
                    unreachable!("made just there")
                };
                Input::ImageGone(failure)
            }
            (_, Luck::Works | Luck::ImageGone) => world.carry_out(&effect),
        };
        next = recorded.step(input, now);
    }
    panic!("never ends: {recorded:?}");
}

fn any_luck() -> impl Strategy<Value = Luck> {
    prop_oneof![
        6 => Just(Luck::Works),
        1 => Just(Luck::CrashBefore),
        1 => Just(Luck::CrashAfter),
        1 => Just(Luck::EngineDown),
        1 => Just(Luck::UserError),
        1 => Just(Luck::ImageGone),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_it_ends_once_and_pushes_only_what_was_tested(luck in prop::collection::vec(any_luck(), 0..40)) {
        let (build, world) = run(&luck);
        prop_assert!(build.run.state.is_final());
        prop_assert!(world.pushes.iter().all(|tested| *tested), "an untested image was pushed");
        prop_assert!(build.run.ended.is_some());
        prop_assert_eq!(world.finishes, 1);
        if build.run.state == BuildState::Succeeded {
            prop_assert!(build.pushed.is_some());
            prop_assert_eq!(world.bumps.len(), 2);
            prop_assert!(build.bumps.iter().all(|b| b.done));
            prop_assert!(build.attached.signed && !build.attached.owed);
            prop_assert!(build.attached.contents.is_some() || !build.attached.notes.is_empty());
        }
        if build.pushed.is_none() {
            prop_assert!(world.bumps.is_empty(), "a manifest names an image that is not in the registry");
        }
    }

    #[test]
    fn crashes_alone_never_fail_a_build(points in prop::collection::vec(0usize..8, 0..5)) {
        let mut luck = vec![Luck::Works; 40];
        for (i, p) in points.iter().enumerate() {
            luck[p + i * 8] = if p % 2 == 0 { Luck::CrashBefore } else { Luck::CrashAfter };
        }
        let (build, _) = run(&luck);
        prop_assert_eq!(build.run.state, BuildState::Succeeded);
    }
}

#[test]
fn a_failing_test_pushes_nothing() {
    let (build, world) = run(&[Luck::Works, Luck::Works, Luck::UserError]);
    assert_eq!(build.run.state, BuildState::Failed);
    assert_eq!(build.test, TestVerdict::Failed);
    assert!(world.pushes.is_empty() && world.bumps.is_empty());
}

#[test]
fn what_a_failure_begins_with_is_recorded_and_forgotten_when_it_is_tried_again() {
    let line = |text: &str| {
        let text = text.to_owned();
        Input::from(Learned::FirstLine(FirstLine { stage: Stage::Build, step: None, offset: 7, text }))
    };
    let mut build = build();
    build.step(line("too early"), UnixMillis(1));
    assert_eq!(build.results, Results::default());
    build.step(Signal::Start.into(), UnixMillis(1));
    build.step(Input::Prepared { targets: Vec::new(), content: None, reused: None }, UnixMillis(2));
    assert_eq!(build.step(line("error: one"), UnixMillis(3)), Next::Nothing);
    build.step(failure(FailureClass::Infra), UnixMillis(4));
    assert_eq!(build.results.first_line.as_ref().map(|l| l.text.as_str()), Some("error: one"));
    build.step(Signal::RetryDue.into(), UnixMillis(90_000));
    assert_eq!(build.results.first_line, None, "it is tried again");
    build.step(Input::Prepared { targets: Vec::new(), content: None, reused: None }, UnixMillis(90_001));
    build.step(line("error: two"), UnixMillis(90_002));
    build.step(failure(FailureClass::User), UnixMillis(90_003));
    assert_eq!(build.run.state, BuildState::Failed);
    let kept = serde_json::to_value(&build).expect("written");
    assert_eq!(kept["results"]["first_line"]["text"], "error: two");
    build.step(line("too late"), UnixMillis(90_004));
    assert_eq!(serde_json::from_value::<Build>(kept).expect("read"), build);
}

#[test]
fn targets_are_independent_and_one_that_fails_is_the_builds_failure() {
    let pushed = [Luck::Works; 4];
    let with = |rest: &[Luck]| run(&[&pushed, rest].concat());
    let (build, world) = with(&[Luck::UserError]);
    assert_eq!((build.run.state, world.bumps), (BuildState::Failed, vec!["eu".to_owned()]));
    assert!(build.bumps[0].failed.is_some() && !build.bumps[0].done && build.bumps[1].done);
    assert_eq!(build.run.failure, build.bumps[0].failed);
    // What may go through later is tried again alone; what was refused is not.
    let (build, world) = with(&[Luck::EngineDown]);
    assert_eq!((build.run.state, build.run.retries), (BuildState::Succeeded, 1));
    assert_eq!(world.bumps, ["eu", "prod"]);
    let (build, world) = with(&[Luck::UserError, Luck::EngineDown]);
    assert_eq!((build.run.state, build.run.retries), (BuildState::Failed, 1));
    assert_eq!((world.bumps, build.run.failure), (vec!["eu".to_owned()], build.bumps[0].failed.clone()));
}

#[test]
fn what_is_left_after_the_manifests_fails_nothing() {
    let done = [Luck::Works; 6];
    let (build, world) = run(&done);
    assert_eq!((build.stage, world.listed), (Stage::Contents, 1));
    assert_eq!(build.attached.contents, Some(Contents { packages: 3, partial: false }));
    for luck in [Luck::EngineDown, Luck::UserError] {
        let (build, world) = run(&[&done[..], &[luck]].concat());
        assert_eq!((build.run.state, world.listed), (BuildState::Succeeded, 0), "{luck:?}");
        assert_eq!((build.attached.notes, build.run.failure), (vec!["It failed.".to_owned()], None));
    }
    // A server that dies of it does not fail the build, either; nor is a stop one.
    let (build, world) = run(&[&done[..], &[Luck::CrashBefore; 9]].concat());
    assert_eq!((build.run.state, world.listed), (BuildState::Succeeded, 0));
    assert_eq!(build.attached.notes.len(), 1);
    let mut stopped = build.clone();
    stopped.run.state = BuildState::Running;
    assert_eq!(stopped.step(Signal::Cancel.into(), UnixMillis(1)), Next::Over);
    assert_eq!(stopped.run.state, BuildState::Succeeded);
    // As before there was such a thing.
    let mut old = serde_json::to_value(&build).expect("written");
    old.as_object_mut().expect("a record").remove("attached");
    assert_eq!(serde_json::from_value::<Build>(old).expect("read").attached, Attached::default());
}

#[test]
fn an_engine_that_stays_down_fails_the_build_in_the_end() {
    let (build, _) = run(&[Luck::EngineDown; 20]);
    assert_eq!(build.run.state, BuildState::Failed);
    assert_eq!(build.run.retries, slipway_core::limits::INFRA_RETRIES_MAX);
}

#[test]
fn a_newer_commit_supersedes_a_build_until_its_image_is_on_its_way_out() {
    let mut queued = build();
    let mut running = build();
    assert_eq!(queued.step(Signal::Supersede.into(), UnixMillis(1)), Next::Over);
    assert_eq!(queued.run.state, BuildState::Superseded);

    running.step(Signal::Start.into(), UnixMillis(1));
    let mut begun = running.clone();
    assert_eq!(begun.step(Signal::Supersede.into(), UnixMillis(2)), Next::Over);
    assert_eq!(begun.run.state, BuildState::Superseded);
    let mut waiting = running.clone();
    waiting.step(failure(FailureClass::Infra), UnixMillis(2));
    assert_eq!(waiting.step(Signal::Supersede.into(), UnixMillis(3)), Next::Over);

    running.step(Input::Prepared { targets: Vec::new(), content: None, reused: None }, UnixMillis(2));
    running.step(Input::Built { image: "i".into(), bases: None }, UnixMillis(3));
    running.step(Input::Tested { verdict: TestVerdict::None }, UnixMillis(4));
    assert_eq!(running.step(Signal::Supersede.into(), UnixMillis(5)), Next::Nothing);
    running.step(failure(FailureClass::Infra), UnixMillis(5));
    assert_eq!(running.step(Signal::Supersede.into(), UnixMillis(6)), Next::Nothing);
    assert_eq!(running.run.state, BuildState::Waiting);
}

fn reused(test: TestVerdict) -> Input {
    let digest = Digest::parse(&format!("sha256:{}", "a".repeat(64))).expect("valid");
    let image = PushedImage { name: "r/app".into(), tags: vec!["old".into()], digest };
    let reused = Reused { of: BuildNumber(7), image, test, bases: Default::default() };
    Input::Prepared { targets: Vec::new(), content: Some("key".into()), reused: Some(reused) }
}

fn prepared(first: Build, with: Input) -> (Build, Next<Effect>) {
    let mut build = first;
    build.step(Signal::Start.into(), UnixMillis(1));
    let next = build.step(with, UnixMillis(2));
    (build, next)
}

#[test]
fn an_image_of_the_same_content_is_taken_if_it_passed_its_test_and_the_registry_has_it() {
    let (mut taken, next) = prepared(build(), reused(TestVerdict::Passed));
    assert_eq!(
        (next, taken.reuses, taken.stage),
        (Next::Do(Effect::Retag), Some(BuildNumber(7)), Stage::Push)
    );
    assert!(taken.stages.iter().filter(|s| s.skipped).map(|s| s.stage).eq([Stage::Build, Stage::Test]));
    assert!(taken.pushed.as_ref().is_some_and(|p| p.tags.is_empty()), "its tags are not pushed yet");
    // A crash goes on with it; a registry that lost it has it built, and then nothing is taken.
    assert_eq!(taken.step(Signal::Restarted.into(), UnixMillis(3)), Next::Do(Effect::Retag));
    let Input::Failed(gone) = failure(FailureClass::User) else { unreachable!("as made") };
    assert_eq!(taken.step(Input::ImageGone(gone), UnixMillis(4)), Next::Do(Effect::Prepare));
    assert!(taken.pushed.is_none() && taken.test == TestVerdict::Pending);
    assert_eq!(taken.step(reused(TestVerdict::Passed), UnixMillis(5)), Next::Do(Effect::BuildImage));
    // What did not pass, and who wants everything anew, is built.
    for verdict in [TestVerdict::Failed, TestVerdict::Pending] {
        assert_eq!(prepared(build(), reused(verdict)).1, Next::Do(Effect::BuildImage), "{verdict:?}");
    }
    let anew = Build { no_cache: true, ..build() };
    assert_eq!(prepared(anew, reused(TestVerdict::Passed)).1, Next::Do(Effect::BuildImage));
}

#[test]
fn a_promotion_moves_tags_and_manifests_and_builds_nothing() {
    let pushed = PushedImage {
        name: "r/app".into(),
        tags: vec!["c0ffee".into(), "latest".into()],
        digest: Digest::parse(&format!("sha256:{}", "a".repeat(64))).expect("valid"),
    };
    let of = Build { pushed: Some(pushed.clone()), test: TestVerdict::Passed, ..build() };
    let (to, by) = (vec![Name::Tag("latest".into()), Name::Deploy("prod".into())], "ann".to_owned());
    let cause = BuildCause::Promote { of: of.number, to, by };
    assert_eq!(Build::promotion(&build(), Vec::new(), "ann".into(), cause.clone(), UnixMillis(1)), None);
    let targets = vec![("prod".to_owned(), "manifests".to_owned())];
    let promotion = Build::promotion(&of, targets, "ann".into(), cause, UnixMillis(1)).expect("pushed");
    assert_ne!(promotion.lane(), of.lane(), "it waits for no build");
    // As it was recorded, and once more after it has ended.
    let again = promotion.again("ann".into(), "ann", UnixMillis(1));
    let stored = serde_json::to_string(&promotion).expect("written");
    for mut one in [serde_json::from_str(&stored).expect("read"), again, promotion] {
        assert_eq!(one.step(Signal::Start.into(), UnixMillis(2)), Next::Do(Effect::MoveTags));
        assert_eq!(one.step(Signal::Restarted.into(), UnixMillis(3)), Next::Do(Effect::MoveTags));
        let moved = Input::Pushed { image: pushed.clone(), moves: Vec::new(), attached: Attached::default() };
        assert_eq!(one.step(moved, UnixMillis(4)), Next::Do(Effect::BumpManifest { target: "prod".into() }));
        let moved = Move { name: Name::Deploy("prod".into()), left: None };
        let bumped = Input::Bumped { target: "prod".into(), commit: None, event: None, moved };
        assert_eq!((one.step(bumped, UnixMillis(5)), one.run.state), (Next::Over, BuildState::Succeeded));
    }
}

#[test]
fn a_retry_of_an_old_commit_and_the_newest_commit_do_not_give_way_to_each_other() {
    let number = |n, event| Build { number: BuildNumber(n), event: EventId(event), ..build() };
    assert!(number(1, 1).gives_way_to(&number(2, 2)));
    assert!(!number(2, 2).gives_way_to(&number(1, 1)));
    assert!(!number(2, 2).gives_way_to(&number(3, 1)) && !number(3, 1).gives_way_to(&number(2, 2)));
}

#[test]
fn a_late_answer_of_a_stopped_stage_changes_nothing() {
    let mut build = build();
    build.step(Signal::Start.into(), UnixMillis(1));
    assert_eq!(build.step(Signal::Cancel.into(), UnixMillis(2)), Next::Over);
    let before = build.clone();
    assert_eq!(
        build.step(Input::Prepared { targets: Vec::new(), content: None, reused: None }, UnixMillis(3)),
        Next::Nothing
    );
    assert_eq!(build, before);
}

#[test]
fn a_drain_however_often_never_fails_a_build() {
    let mut build = build();
    build.step(Signal::Start.into(), UnixMillis(1));
    for _ in 0..20 {
        build.step(Signal::Interrupted.into(), UnixMillis(1));
        assert_eq!(build.run.state, BuildState::Waiting);
        build.step(Signal::Restarted.into(), UnixMillis(1));
        build.step(Signal::RetryDue.into(), UnixMillis(1));
        assert_eq!((build.run.state, build.run.restarts), (BuildState::Running, 0));
    }
}

fn deploy() -> Deploy {
    Deploy::queued(
        RepoId(1),
        None,
        DeployCause::Sync,
        ClusterName::parse("lab").expect("valid"),
        Oid::ZERO_SHA1,
        "subject".into(),
        "ann".into(),
        UnixMillis(0),
    )
}

#[test]
fn a_deploy_that_kills_the_server_is_given_up_and_a_drain_counts_nothing() {
    let mut deploy = deploy();
    let mut next = deploy.step(Signal::Start.into(), UnixMillis(1));
    for _ in 0..slipway_core::limits::RESTARTS_MAX {
        assert_eq!(next, Next::Do(slipway_core::deploy::Effect::Reconcile));
        deploy.step(Signal::Interrupted.into(), UnixMillis(1));
        next = deploy.step(Signal::RetryDue.into(), UnixMillis(1));
        assert_eq!(next, Next::Do(slipway_core::deploy::Effect::Reconcile));
        next = deploy.step(Signal::Restarted.into(), UnixMillis(1));
    }
    assert_eq!(deploy.step(Signal::Restarted.into(), UnixMillis(1)), Next::Over);
    assert_eq!(deploy.run.state, DeployState::Failed);
    assert!(deploy.run.failure.expect("told").problem.what.contains("during this deploy"));
}

#[test]
fn a_cluster_that_is_down_for_days_is_waited_for_but_not_for_ever() {
    let mut deploy = deploy();
    let down = || {
        let problem = Problem::new(ProblemKind::Unavailable, "It failed.", "Try again.");
        slipway_core::deploy::Input::Failed(Failure { class: FailureClass::Infra, problem })
    };
    let mut now = UnixMillis(1);
    deploy.step(Signal::Start.into(), now);
    while let Next::WakeAt(at) = deploy.step(down(), now) {
        now = at;
        deploy.step(Signal::RetryDue.into(), now);
    }
    assert_eq!(deploy.run.state, DeployState::Failed);
    assert!(now.0 > 5 * 86_400_000 && now.0 < 10 * 86_400_000, "{now:?}");
}
