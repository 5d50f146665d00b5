//! The desk with a kind of work made up for it, records in memory, and hands that are told what to do.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use slipway_core::run::{
    Failure, FailureClass, Kind, Machine, Next, Patience, Run, Signal, Standing, State, WorkId,
};
use slipway_core::{Problem, ProblemKind, RepoId, UnixMillis};
use slipway_jobs::{Changes, Desk, Hands, Kept, Parts, Progress, Records, Rules, now};
use tokio_util::sync::CancellationToken;

mod world;

use self::world::{Script, World};

/// Where an errand stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ErrandState {
    Queued,
    Running,
    Waiting,
    Done,
    Failed,
    Cancelled,
    Superseded,
}

impl State for ErrandState {
    const RUNNING: Self = Self::Running;
    const WAITING: Self = Self::Waiting;
    const FAILED: Self = Self::Failed;
    fn standing(self) -> Standing {
        match self {
            Self::Queued => Standing::Queued,
            Self::Running => Standing::Running,
            Self::Waiting => Standing::Waiting,
            _ => Standing::Over,
        }
    }
}

/// Work of a kind that no server has: `steps` effects, one after the other.
#[derive(Clone, Debug, PartialEq)]
struct Errand {
    repo: RepoId,
    number: u64,
    lane: &'static str,
    /// Whether it gives way to newer ones while it has not begun, and even while it runs.
    gives_way: bool,
    stops_for_newer: bool,
    steps: u32,
    done: u32,
    notes: u32,
    run: Run<ErrandState>,
}

#[derive(Clone)]
enum Input {
    Signal(Signal),
    Note,
    Done,
    Failed(Failure),
}

impl From<Signal> for Input {
    fn from(signal: Signal) -> Self {
        Self::Signal(signal)
    }
}

const PATIENCE: Patience = Patience { retries_max: 3, pause_ms_min: 5, pause_ms_max: 10 };

impl Machine for Errand {
    type State = ErrandState;
    type Input = Input;
    type Effect = u32;
    type Lane = (RepoId, &'static str);
    const KIND: Kind = Kind::Build;
    const PAUSE_MS_MAX: u64 = 10;

    fn run(&self) -> &Run<ErrandState> {
        &self.run
    }
    fn run_mut(&mut self) -> &mut Run<ErrandState> {
        &mut self.run
    }
    fn id(&self) -> WorkId {
        WorkId { repo: self.repo, number: self.number }
    }
    fn lane(&self) -> Self::Lane {
        (self.repo, self.lane)
    }
    fn gives_way_to(&self, other: &Self) -> bool {
        self.gives_way && self.number < other.number
    }
    fn step(&mut self, input: Input, now: UnixMillis) -> Next<u32> {
        match (input, self.run.state) {
            (_, state) if state.standing() == Standing::Over => Next::Nothing,
            (Input::Signal(Signal::Start), ErrandState::Queued)
            | (Input::Signal(Signal::RetryDue), ErrandState::Waiting) => {
                self.run.begin(now);
                Next::Do(self.done)
            }
            (Input::Signal(Signal::Restarted), ErrandState::Running) => {
                self.run.died(Kind::Build, now).unwrap_or(Next::Do(self.done))
            }
            (Input::Signal(Signal::Interrupted), ErrandState::Running) => {
                self.run.interrupt(Kind::Build, now)
            }
            (Input::Signal(Signal::Cancel), _) => self.run.end(ErrandState::Cancelled, now),
            (Input::Signal(Signal::Supersede), state)
                if state == ErrandState::Queued || self.stops_for_newer =>
            {
                self.run.end(ErrandState::Superseded, now)
            }
            (Input::Note, ErrandState::Running) => {
                self.notes += 1;
                Next::Nothing
            }
            (Input::Done, ErrandState::Running) => {
                self.done += 1;
                if self.done == self.steps {
                    return self.run.end(ErrandState::Done, now);
                }
                Next::Do(self.done)
            }
            (Input::Failed(failure), ErrandState::Running) => self.run.fail(failure, PATIENCE, now),
            _ => Next::Nothing,
        }
    }
}

#[tokio::test]
async fn an_errand_is_recorded_before_each_effect_and_cleaned_up_once() {
    let world = World::new(Script::default());
    world.order(1, |errand| errand.steps = 3);
    world.becomes(1, ErrandState::Done).await;
    world.desk.drain(Duration::from_secs(5)).await;
    assert_eq!(world.script.log(), ["do 1.0", "do 1.1", "do 1.2", "conclude 1", "finish 1"]);
    assert_eq!(world.desk.unfinished(), 0);
    assert_eq!(world.records.get(1).notes, 3, "progress is recorded");
    assert!(world.script.unrecorded.lock().expect("lock").is_empty(), "an effect ran ahead of its record");
}

#[tokio::test]
async fn no_more_run_than_there_are_slots() {
    let world = World::new(Script { pause: Duration::from_millis(10), ..Script::default() });
    for (number, lane) in (1..).zip(["a", "b", "c", "d", "e", "f"]) {
        world.order(number, |errand| errand.lane = lane);
    }
    for number in 1..=6 {
        world.becomes(number, ErrandState::Done).await;
    }
    assert_eq!(world.script.most.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn many_of_one_repository_keep_one_of_another_waiting_for_one_place_alone() {
    let world = World::new(Script { pause: Duration::from_millis(40), ..Script::default() });
    for number in 1..=50 {
        let lane: &'static str = Box::leak(format!("lane {number}").into_boxed_str());
        world.order(number, |errand| errand.lane = lane);
    }
    world.order(51, |errand| (errand.repo, errand.lane) = (RepoId(2), "other"));
    world.becomes(51, ErrandState::Done).await;
    let begun: Vec<String> = world.script.log().into_iter().filter(|line| line.starts_with("do")).collect();
    let at = begun.iter().position(|line| line == "do 51.0").expect("it was done");
    assert!(at < 5, "two were under way, and the next place was its: {begun:?}");
}

#[tokio::test]
async fn those_of_one_lane_come_one_after_the_other_in_their_order() {
    let world = World::new(Script { pause: Duration::from_millis(3), ..Script::default() });
    for number in 1..=20 {
        world.order(number, |_| {});
    }
    world.becomes(20, ErrandState::Done).await;
    let done: Vec<String> = (1..=20).map(|n| format!("do {n}.0")).collect();
    let log: Vec<String> = world.script.log().into_iter().filter(|line| line.starts_with("do")).collect();
    assert_eq!(log, done);
    assert_eq!(world.script.most.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn one_that_waits_gives_way_and_the_next_does_not_start_beside_the_first() {
    let world = World::new(Script { pause: Duration::from_millis(60), ..Script::default() });
    world.order(1, |errand| errand.gives_way = true);
    world.becomes(1, ErrandState::Running).await;
    world.order(2, |errand| errand.gives_way = true);
    world.order(3, |errand| errand.gives_way = true);
    world.becomes(2, ErrandState::Superseded).await;
    world.becomes(1, ErrandState::Done).await;
    world.becomes(3, ErrandState::Done).await;
    assert_eq!(world.script.most.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn the_newest_wins_even_if_it_arrives_first() {
    let world = World::new(Script { pause: Duration::from_millis(40), ..Script::default() });
    let gives_way = |errand: &mut Errand| (errand.gives_way, errand.stops_for_newer) = (true, true);
    world.order(2, gives_way);
    world.order(1, gives_way);
    world.becomes(1, ErrandState::Superseded).await;
    world.becomes(2, ErrandState::Done).await;
    world.order(3, gives_way);
    world.becomes(3, ErrandState::Running).await;
    world.order(4, gives_way);
    world.becomes(3, ErrandState::Superseded).await;
    world.becomes(4, ErrandState::Done).await;
}

#[tokio::test]
async fn a_cancelled_one_stops_soon_and_its_place_is_free() {
    let world = World::new(Script { pause: Duration::from_secs(600), ..Script::default() });
    for number in 1..=3 {
        world.order(number, |_| {});
    }
    world.becomes(1, ErrandState::Running).await;
    assert!(world.desk.cancel(world.id(1)).await && world.desk.cancel(world.id(2)).await);
    world.becomes(1, ErrandState::Cancelled).await;
    world.becomes(2, ErrandState::Cancelled).await;
    world.becomes(3, ErrandState::Running).await;
    assert!(!world.desk.cancel(world.id(9)).await);
    world.desk.stop_repo(RepoId(1), Duration::from_secs(5)).await;
    assert_eq!(world.records.get(3).run.state, ErrandState::Cancelled);
}

#[tokio::test]
async fn what_is_down_is_tried_again_with_pauses_and_not_for_ever() {
    let world = World::new(Script { fails: Mutex::new([(1, 2), (2, 99)].into()), ..Script::default() });
    world.order(1, |errand| errand.lane = "a");
    world.order(2, |errand| errand.lane = "b");
    world.becomes(1, ErrandState::Done).await;
    world.becomes(2, ErrandState::Failed).await;
    assert_eq!(world.records.get(1).run.retries, 2);
    assert_eq!(world.records.get(2).run.retries, 3);
}

#[tokio::test]
async fn what_a_crash_cut_off_is_taken_up_and_what_kills_the_server_is_given_up() {
    let mut world = World::new(Script { pause: Duration::from_secs(600), ..Script::default() });
    world.order(1, |_| {});
    world.order(2, |_| {});
    for deaths in 0..=slipway_core::limits::RESTARTS_MAX {
        world.becomes(1, ErrandState::Running).await;
        while world.script.running.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(world.records.get(1).run.restarts, deaths);
        world =
            world.killed_and_started(Script { pause: Duration::from_secs(600), ..Script::default() }).await;
    }
    world.becomes(1, ErrandState::Failed).await;
    world.becomes(2, ErrandState::Running).await;
    let told = world.records.get(1).run.failure.expect("told").problem.what;
    assert!(told.starts_with("The server stopped 6 times"), "{told}");
}

#[tokio::test]
async fn a_drain_puts_work_down_and_counts_no_death() {
    let slow = || Script { pause: Duration::from_secs(600), ..Script::default() };
    let mut world = World::new(slow());
    world.order(1, |_| {});
    for _ in 0..10 {
        world.becomes(1, ErrandState::Running).await;
        world.desk.drain(Duration::ZERO).await;
        let record = world.records.get(1);
        assert_eq!((record.run.state, record.run.restarts), (ErrandState::Waiting, 0));
        assert!(record.run.is_free_for("another", now()), "put down: whoever comes first may take it");
        world = world.killed_and_started(slow()).await;
    }
}

#[tokio::test]
async fn one_resumed_that_waits_for_a_place_can_be_cancelled() {
    let slow = || Script { pause: Duration::from_secs(600), ..Script::default() };
    let world = World::new(slow());
    world.order(1, |errand| errand.lane = "a");
    world.order(2, |errand| errand.lane = "b");
    world.becomes(1, ErrandState::Running).await;
    world.becomes(2, ErrandState::Running).await;
    let world = world.with_slots(1, slow()).await;
    let cancelled = world.desk.cancel(world.id(2)).await;
    assert!(cancelled);
    world.becomes(2, ErrandState::Cancelled).await;
    world.desk.drain(Duration::ZERO).await;
}

#[tokio::test]
async fn another_node_s_work_is_left_alone_until_its_lease_has_ended() {
    let world = World::new(Script::default());
    let mut theirs = world.errand(1);
    theirs.run.begin(now());
    theirs.run.take("another", now().plus_ms(60_000));
    world.records.write(theirs.clone());
    let mut left = Errand { number: 2, ..theirs.clone() };
    left.run.hold_until(now());
    world.records.write(left);
    world.desk.resume().await.expect("resumed");
    world.becomes(2, ErrandState::Done).await;
    assert_eq!(world.records.get(2).run.fence(), 2, "taken a second time");
    assert_eq!(world.records.get(1), theirs);
}

#[tokio::test]
async fn who_loses_the_lease_stops_and_records_nothing() {
    let world = World::new(Script { pause: Duration::from_secs(600), ..Script::default() });
    world.order(1, |_| {});
    world.becomes(1, ErrandState::Running).await;
    let before = world.records.get(1).run.lease.expect("leased").until;
    tokio::time::sleep(Duration::from_millis(120)).await;
    let mut theirs = world.records.get(1);
    assert!(theirs.run.lease.as_ref().expect("leased").until > before, "a lease is renewed");
    theirs.run.take("another", now().plus_ms(60_000));
    world.records.write(theirs.clone());
    world.stops_by_itself().await;
    assert_eq!(world.records.get(1), theirs);
    assert!(!world.script.log().contains(&"finish 1".to_owned()), "what is the other's is not cleaned away");
}

#[tokio::test]
async fn of_two_nodes_that_start_the_same_work_one_alone_does_it() {
    let world = World::new(Script { pause: Duration::from_millis(20), ..Script::default() });
    let other = world.beside("another");
    let errand = world.errand(1);
    world.records.write(errand.clone());
    world.desk.start(&errand);
    other.desk.start(&errand);
    world.becomes(1, ErrandState::Done).await;
    world.stops_by_itself().await;
    other.stops_by_itself().await;
    assert_eq!(world.script.log().len() + other.script.log().len(), 3, "done, concluded and cleaned up once");
}

#[tokio::test]
async fn a_record_that_cannot_be_written_holds_its_effect_back() {
    let world = World::new(Script::default());
    world.records.fail(2);
    world.order(1, |_| {});
    world.becomes(1, ErrandState::Done).await;
    assert!(world.script.unrecorded.lock().expect("lock").is_empty());
}

#[tokio::test]
async fn work_whose_repository_is_gone_ends() {
    let world = World::new(Script { pause: Duration::from_millis(30), ..Script::default() });
    world.order(1, |errand| errand.steps = 1000);
    world.becomes(1, ErrandState::Running).await;
    world.records.forget(1);
    world.stops_by_itself().await;
}
