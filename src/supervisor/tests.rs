//! Builds and deploys with a real store, and hands that are told what to do. The mechanism that all kinds share is tried
//! in `jobs/tests`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use slipway_core::accept::Ledger;
use slipway_core::build::{self, BuildState, TestVerdict};
use slipway_core::delivery::{self, Attempt};
use slipway_core::deploy::{self, DeployCause, DeployState, Phase};
use slipway_core::event::{Cause, Event, EventState, Owed, Work};
use slipway_core::run::{Failure, FailureClass, Run};
use slipway_core::target::RepoRecord;
use slipway_core::{
    BuildNumber, ClusterName, DeployNumber, Digest, EventId, Oid, RefName, RefUpdate, RepoName,
};
use slipway_jobs::Progress;
use slipway_store::{MasterKey, Store};
use tokio_util::sync::CancellationToken;

use super::*;

/// Stages that take a moment, and fail where they are told to.
#[derive(Default)]
struct Script {
    pause: Duration,
    fails: Mutex<BTreeMap<u64, FailureClass>>,
    running: AtomicUsize,
    most: AtomicUsize,
    order: Mutex<Vec<u64>>,
    finished: Mutex<Vec<u64>>,
}

#[async_trait]
impl Hands<Build> for Script {
    async fn carry_out(
        &self,
        build: &Build,
        effect: &build::Effect,
        _: Progress<Build>,
        stop: &CancellationToken,
    ) -> build::Input {
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(running, Ordering::SeqCst);
        let stopped = tokio::time::timeout(self.pause, stop.cancelled()).await.is_ok();
        self.running.fetch_sub(1, Ordering::SeqCst);
        let fails = self.fails.lock().expect("lock").remove(&build.number.0);
        if let Some(class) = fails.or(stopped.then_some(FailureClass::Infra)) {
            return build::Input::Failed(Failure {
                class,
                problem: Problem::new(ProblemKind::Unavailable, "It failed.", "Try again."),
            });
        }
        match effect {
            build::Effect::Prepare => {
                self.order.lock().expect("lock").push(build.number.0);
                build::Input::Prepared { targets: Vec::new(), content: None, reused: None }
            }
            build::Effect::BuildImage => build::Input::Built { image: "sha256:1".into(), bases: None },
            build::Effect::TestImage { .. } => build::Input::Tested { verdict: TestVerdict::Passed },
            _ => {
                let (name, tags) = ("r/app".into(), vec!["latest".into()]);
                let digest = Digest::parse(&format!("sha256:{}", "a".repeat(64))).expect("valid");
                let image = build::PushedImage { name, tags, digest };
                build::Input::Pushed { image, moves: Vec::new(), attached: build::Attached::default() }
            }
        }
    }

    async fn finish(&self, build: &Build) {
        self.finished.lock().expect("lock").push(build.number.0);
    }
}

#[async_trait]
impl Hands<Deploy> for Script {
    async fn carry_out(
        &self,
        deploy: &Deploy,
        _: &deploy::Effect,
        progress: Progress<Deploy>,
        stop: &CancellationToken,
    ) -> deploy::Input {
        drop(progress.send(deploy::Input::Entered(Phase::Rollout)).await);
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(running, Ordering::SeqCst);
        let stopped = tokio::time::timeout(self.pause, stop.cancelled()).await.is_ok();
        self.running.fetch_sub(1, Ordering::SeqCst);
        if stopped {
            return deploy::Input::Failed(Failure {
                class: FailureClass::Infra,
                problem: Problem::new(ProblemKind::Unavailable, "It was stopped.", "Try again."),
            });
        }
        self.order.lock().expect("lock").push(deploy.number.0);
        deploy::Input::Done(Vec::new())
    }
}

#[async_trait]
impl Hands<Delivery> for Script {
    async fn carry_out(
        &self,
        _: &Delivery,
        _: &delivery::Effect,
        _: Progress<Delivery>,
        _: &CancellationToken,
    ) -> delivery::Input {
        delivery::Input::Taken(Attempt { at: now(), took_ms: 0, status: Some(200), said: String::new() })
    }
}

struct World {
    store: Store,
    repo: RepoRecord,
    script: Arc<Script>,
    supervisor: Supervisor,
}

fn open(folder: &Path) -> Store {
    let key = MasterKey::load_or_create(&folder.join("key")).expect("key");
    Store::open(&folder.join("db"), &key).expect("store")
}

fn world(folder: &Path, script: Script, builds_max: usize) -> World {
    let store = open(folder);
    let name = RepoName::parse("app").expect("valid");
    let repo = match store.repo_by_name(&name).expect("read") {
        Some(repo) => repo,
        None => store.create_repo(&name, "", false, now()).expect("repo"),
    };
    let script = Arc::new(script);
    let workers = Workers {
        builds: script.clone(),
        deploys: script.clone(),
        deliveries: script.clone(),
        limits: Arc::new(Limits { builds_max, deploys_max: 4, ..Limits::default() }),
        node: "node".into(),
    };
    let supervisor = Supervisor::new(&store, workers);
    supervisor.builds.open();
    supervisor.deploys.open();
    World { store, repo, script, supervisor }
}

impl World {
    /// An accepted push of `branch` that owes this work.
    fn push(&self, branch: &str, work: Work) -> Orders {
        let name = RefName::branch(branch).expect("valid");
        let update = RefUpdate { name: name.clone(), old: Oid::ZERO_SHA1, new: Oid::Sha1([1; 20]) };
        let owed = Owed { ref_name: name, commit: update.new, title: "subject".into(), work };
        let event = self.store.intend(Event {
            id: EventId(0),
            repo: self.repo.id,
            actor: "ann".into(),
            cause: Cause::Push,
            at: now(),
            updates: vec![update.clone()],
            options: Vec::new(),
            owed: vec![owed],
            state: EventState::Intended,
            certificate: None,
            lease: None,
        });
        self.store.accept(event.expect("intended").id, &[update], now()).expect("accepted")
    }

    fn push_build(&self, branch: &str) -> Orders {
        self.push(branch, Work::Build { broken: None, part: None, needs: Vec::new() })
    }

    fn push_deploy(&self) -> Orders {
        let cluster = ClusterName::parse("lab").expect("valid");
        self.push("main", Work::Deploy { cluster, cause: DeployCause::Event })
    }

    async fn build_state(&self, number: u64, want: BuildState) {
        let store = self.store.clone();
        for _ in 0..1000 {
            let build = store.build(self.repo.id, BuildNumber(number)).expect("read").expect("there");
            if build.run.state == want {
                return;
            }
            assert!(!build.run.state.is_final(), "build {number} is {:?}, not {want:?}", build.run.state);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("build {number} does not become {want:?}");
    }

    async fn deploy_state(&self, number: u64, want: DeployState) {
        let store = self.store.clone();
        for _ in 0..1000 {
            let deploy = store.deploy(self.repo.id, DeployNumber(number)).expect("read").expect("there");
            if deploy.run.state == want {
                return;
            }
            assert!(!deploy.run.state.is_final(), "deploy {number} is {:?}, not {want:?}", deploy.run.state);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("deploy {number} does not become {want:?}");
    }
}

#[tokio::test]
async fn a_build_goes_through_all_stages_and_is_cleaned_up_once() {
    let folder = tempfile::tempdir().expect("temp");
    let world = world(folder.path(), Script::default(), 2);
    world.supervisor.order(&world.push_build("main"));
    world.build_state(1, BuildState::Succeeded).await;
    world.supervisor.drain(Duration::from_secs(5)).await;
    assert_eq!(*world.script.finished.lock().expect("lock"), [1]);
}

#[tokio::test]
async fn the_newest_commit_of_a_branch_takes_the_place_of_what_waits_and_of_what_runs() {
    let folder = tempfile::tempdir().expect("temp");
    // Nothing gets to its push before the newer ones are there.
    let script = Script { pause: Duration::from_secs(60), ..Script::default() };
    let world = world(folder.path(), script, 4);
    for _ in 0..3 {
        world.supervisor.order(&world.push_build("main"));
    }
    world.build_state(1, BuildState::Superseded).await;
    world.build_state(2, BuildState::Superseded).await;
    world.build_state(3, BuildState::Running).await;
}

#[tokio::test]
async fn a_cancelled_build_stops_soon_and_its_place_is_free() {
    let folder = tempfile::tempdir().expect("temp");
    let script = Script { pause: Duration::from_secs(600), ..Script::default() };
    let world = world(folder.path(), script, 1);
    world.supervisor.order(&world.push_build("main"));
    world.build_state(1, BuildState::Running).await;
    assert!(world.supervisor.cancel(Kind::Build, WorkId { repo: world.repo.id, number: 1 }).await);
    world.build_state(1, BuildState::Cancelled).await;
    world.supervisor.order(&world.push_build("other"));
    world.build_state(2, BuildState::Running).await;
    assert!(!world.supervisor.cancel(Kind::Build, WorkId { repo: world.repo.id, number: 9 }).await);
}

#[tokio::test]
async fn an_engine_that_is_down_is_tried_again_and_a_user_s_mistake_is_not() {
    let folder = tempfile::tempdir().expect("temp");
    let fails = [(1, FailureClass::Infra), (2, FailureClass::User)];
    let script = Script { fails: Mutex::new(fails.into()), ..Script::default() };
    let world = world(folder.path(), script, 2);
    world.supervisor.order(&world.push_build("a"));
    world.supervisor.order(&world.push_build("b"));
    world.build_state(2, BuildState::Failed).await;
    world.build_state(1, BuildState::Waiting).await;
    world.build_state(1, BuildState::Succeeded).await;
}

#[tokio::test]
async fn work_that_a_crash_cut_off_is_taken_up_once() {
    let folder = tempfile::tempdir().expect("temp");
    {
        let script = Script { pause: Duration::from_secs(600), ..Script::default() };
        let world = world(folder.path(), script, 2);
        world.supervisor.order(&world.push_build("main"));
        world.supervisor.order(&world.push_deploy());
        world.build_state(1, BuildState::Running).await;
        world.deploy_state(1, DeployState::Running).await;
        // Ends the tasks where they are, as a crash would: nothing more is recorded.
        world.supervisor.builds.abandon();
        world.supervisor.deploys.abandon();
        world.supervisor.drain(Duration::from_secs(5)).await;
    }
    wait_until_free(folder.path()).await;
    let world = world(folder.path(), Script::default(), 2);
    world.supervisor.resume().await.expect("resumed");
    world.build_state(1, BuildState::Succeeded).await;
    world.deploy_state(1, DeployState::Healthy).await;
    world.supervisor.drain(Duration::from_secs(5)).await;
    assert_eq!(*world.script.finished.lock().expect("lock"), [1]);
}

/// The store's lock goes with its last handle, a moment after the tasks that held one.
async fn wait_until_free(folder: &Path) {
    let key = MasterKey::load_or_create(&folder.join("key")).expect("key");
    for _ in 0..100 {
        if Store::open(&folder.join("db"), &key).is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the store does not open again");
}

#[tokio::test]
async fn the_newest_deploy_of_a_cluster_wins_and_two_never_run_at_once() {
    let folder = tempfile::tempdir().expect("temp");
    let script = Script { pause: Duration::from_millis(300), ..Script::default() };
    let world = world(folder.path(), script, 2);
    world.supervisor.order(&world.push_deploy());
    world.deploy_state(1, DeployState::Running).await;
    world.supervisor.order(&world.push_deploy());
    world.supervisor.order(&world.push_deploy());
    world.deploy_state(3, DeployState::Healthy).await;
    for n in [1, 2] {
        world.deploy_state(n, DeployState::Superseded).await;
    }
    assert_eq!(world.script.most.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_drain_leaves_a_running_build_to_the_next_start_and_counts_no_death() {
    let folder = tempfile::tempdir().expect("temp");
    for _ in 0..2 {
        let script = Script { pause: Duration::from_secs(600), ..Script::default() };
        let world = world(folder.path(), script, 2);
        world.supervisor.resume().await.expect("resumed");
        if world.store.build(world.repo.id, BuildNumber(1)).expect("read").is_none() {
            world.supervisor.order(&world.push_build("main"));
        }
        world.build_state(1, BuildState::Running).await;
        world.supervisor.drain(Duration::ZERO).await;
        world.build_state(1, BuildState::Waiting).await;
        drop(world);
        wait_until_free(folder.path()).await;
    }
    let world = world(folder.path(), Script::default(), 2);
    world.supervisor.resume().await.expect("resumed");
    world.build_state(1, BuildState::Succeeded).await;
    let build = world.store.build(world.repo.id, BuildNumber(1)).expect("read").expect("there");
    assert_eq!((build.run.restarts, build.run.retries), (0, 0));
}

#[tokio::test]
async fn a_drain_leaves_a_running_deploy_to_the_next_start_and_counts_no_death() {
    let folder = tempfile::tempdir().expect("temp");
    {
        let script = Script { pause: Duration::from_secs(600), ..Script::default() };
        let world = world(folder.path(), script, 2);
        world.supervisor.order(&world.push_deploy());
        world.deploy_state(1, DeployState::Running).await;
        world.supervisor.drain(Duration::ZERO).await;
        let deploy = world.store.deploy(world.repo.id, DeployNumber(1)).expect("read").expect("there");
        assert_eq!((deploy.run.state, deploy.run.restarts), (DeployState::Waiting, 0));
    }
    wait_until_free(folder.path()).await;
    let world = world(folder.path(), Script::default(), 2);
    world.supervisor.resume().await.expect("resumed");
    world.deploy_state(1, DeployState::Healthy).await;
}

#[tokio::test]
async fn what_another_node_has_taken_is_not_written_over() {
    let folder = tempfile::tempdir().expect("temp");
    let world = world(folder.path(), Script::default(), 2);
    let orders = world.push_build("main");
    let mut theirs = orders.builds[0].clone();
    theirs.run.begin(now());
    theirs.run.take("another", now().plus_ms(60_000));
    world.store.put_build(&theirs).expect("written");
    world.supervisor.order(&orders);
    for _ in 0..1000 {
        if world.supervisor.builds.unfinished() == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let build = world.store.build(world.repo.id, BuildNumber(1)).expect("read").expect("there");
    assert_eq!(build, theirs);
    assert!(world.script.order.lock().expect("lock").is_empty(), "nothing is done twice");
}

#[tokio::test]
async fn a_retry_of_an_old_commit_does_not_take_the_newest_one_s_place() {
    let folder = tempfile::tempdir().expect("temp");
    let script = Script { pause: Duration::from_millis(40), ..Script::default() };
    let world = world(folder.path(), script, 1);
    world.supervisor.order(&world.push_build("main"));
    world.build_state(1, BuildState::Succeeded).await;
    world.supervisor.order(&world.push_build("other"));
    world.supervisor.order(&world.push_build("main"));
    let old = world.store.build(world.repo.id, BuildNumber(1)).expect("read").expect("there");
    let retry = Build { run: Run::new(BuildState::Queued, now()), ..old };
    let retry = world.store.add_build(retry).expect("recorded");
    world.supervisor.builds.start(&retry);
    world.build_state(3, BuildState::Succeeded).await;
    world.build_state(4, BuildState::Succeeded).await;
}

#[tokio::test]
async fn the_deploy_recorded_last_wins_even_if_it_arrives_first() {
    let folder = tempfile::tempdir().expect("temp");
    let script = Script { pause: Duration::from_millis(40), ..Script::default() };
    let world = world(folder.path(), script, 1);
    let (older, newer) = (world.push_deploy(), world.push_deploy());
    world.supervisor.order(&newer);
    world.supervisor.order(&older);
    world.deploy_state(2, DeployState::Healthy).await;
    world.deploy_state(1, DeployState::Superseded).await;
}
