//! A delivery and its machine: one thing that happened, told to one address.
//!
//! At least once: a crash between the sending and its record is answered by sending again, under the same id. In order:
//! one delivery of a webhook alone is under way, and one that is refused for now keeps the later ones waiting, but not
//! for ever.

use serde::{Deserialize, Serialize};

use crate::git::RefUpdate;
use crate::id::{BuildNumber, DeliveryNumber, DeployNumber, EventId, RepoId, UnixMillis, WebhookNumber};
use crate::limits::{
    DELIVERY_AGE_MS_MAX, DELIVERY_ATTEMPTS_KEPT, DELIVERY_PAUSE_MS_MAX, DELIVERY_PAUSE_MS_MIN,
    DELIVERY_RETRIES_MAX,
};
use crate::run::{Failure, Kind, Machine, Next, Patience, Run, Signal, Standing, State, WorkId};
use crate::webhook::WebhookEvent;

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// Waits for those before it.
    Queued,
    /// It is being sent.
    Running,
    /// The address refused it for now, or did not answer; tried again at `retry_at`.
    Waiting,
    /// The address took it.
    Delivered,
    /// The address did not take it.
    Failed,
    /// Somebody cancelled it.
    Cancelled,
}

impl State for DeliveryState {
    const RUNNING: Self = Self::Running;
    const WAITING: Self = Self::Waiting;
    const FAILED: Self = Self::Failed;

    fn standing(self) -> Standing {
        match self {
            Self::Queued => Standing::Queued,
            Self::Running => Standing::Running,
            Self::Waiting => Standing::Waiting,
            Self::Delivered | Self::Failed | Self::Cancelled => Standing::Over,
        }
    }
}

/// What happened. Its details are read when it is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Told {
    /// A ref moved.
    Push {
        /// The push.
        push: EventId,
        /// Who pushed.
        actor: String,
        /// The ref.
        update: RefUpdate,
    },
    /// A build ended.
    Build {
        /// Which.
        build: BuildNumber,
    },
    /// A deploy ended.
    Deploy {
        /// Which.
        deploy: DeployNumber,
    },
}

impl Told {
    /// Of which kind it is.
    pub fn event(&self) -> WebhookEvent {
        match self {
            Self::Push { .. } => WebhookEvent::Push,
            Self::Build { .. } => WebhookEvent::Build,
            Self::Deploy { .. } => WebhookEvent::Deploy,
        }
    }
}

/// One attempt to deliver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// When it began.
    pub at: UnixMillis,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// The HTTP status, if there was an answer.
    pub status: Option<u16>,
    /// The beginning of the answer, or why there was none.
    pub said: String,
}

/// A delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Whose.
    pub repo: RepoId,
    /// Which.
    pub number: DeliveryNumber,
    /// By which webhook.
    pub webhook: WebhookNumber,
    /// What.
    #[serde(flatten)]
    pub told: Told,
    /// The last attempts.
    pub attempts: Vec<Attempt>,
    /// Where it stands.
    #[serde(flatten)]
    pub run: Run<DeliveryState>,
}

/// What happened to a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// What can happen to all work.
    Signal(Signal),
    /// The address took it.
    Taken(Attempt),
    /// It did not; or nothing could be sent at all.
    Failed(Option<Attempt>, Failure),
}

impl From<Signal> for Input {
    fn from(signal: Signal) -> Self {
        Self::Signal(signal)
    }
}

/// What is done for a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send it.
    Send,
}

impl Machine for Delivery {
    type State = DeliveryState;
    type Input = Input;
    type Effect = Effect;
    type Lane = (RepoId, WebhookNumber);

    const KIND: Kind = Kind::Delivery;
    const PAUSE_MS_MAX: u64 = DELIVERY_PAUSE_MS_MAX;

    fn run(&self) -> &Run<DeliveryState> {
        &self.run
    }

    fn run_mut(&mut self) -> &mut Run<DeliveryState> {
        &mut self.run
    }

    fn id(&self) -> WorkId {
        WorkId { repo: self.repo, number: self.number.0 }
    }

    fn lane(&self) -> (RepoId, WebhookNumber) {
        (self.repo, self.webhook)
    }

    /// Whatever happened is told, however much has happened since.
    fn gives_way_to(&self, _: &Self) -> bool {
        false
    }

    fn step(&mut self, input: Input, now: UnixMillis) -> Next<Effect> {
        if self.run.is_over() {
            return Next::Nothing;
        }
        match (input, self.run.state) {
            (Input::Signal(Signal::Start), DeliveryState::Queued)
            | (Input::Signal(Signal::RetryDue), DeliveryState::Waiting) => self.send(now),
            (Input::Signal(Signal::Restarted), DeliveryState::Running) => {
                match self.run.died(Kind::Delivery, now) {
                    Some(over) => over,
                    None => self.send(now),
                }
            }
            (Input::Signal(Signal::Interrupted), DeliveryState::Running) => {
                self.run.interrupt(Kind::Delivery, now)
            }
            (Input::Signal(Signal::Cancel), _) => self.run.end(DeliveryState::Cancelled, now),
            (Input::Taken(attempt), DeliveryState::Running) => {
                self.note(attempt);
                self.run.failure = None;
                self.run.end(DeliveryState::Delivered, now)
            }
            (Input::Failed(attempt, failure), DeliveryState::Running) => {
                attempt.into_iter().for_each(|attempt| self.note(attempt));
                let patience = self.patience(now);
                self.run.fail(failure, patience, now)
            }
            (_, _) => Next::Nothing,
        }
    }
}

impl Delivery {
    /// A delivery that is owed. Its number is given by the store.
    pub fn queued(repo: RepoId, webhook: WebhookNumber, told: Told, now: UnixMillis) -> Self {
        let run = Run::new(DeliveryState::Queued, now);
        Self { repo, number: DeliveryNumber(0), webhook, told, attempts: Vec::new(), run }
    }

    fn send(&mut self, now: UnixMillis) -> Next<Effect> {
        self.run.begin(now);
        Next::Do(Effect::Send)
    }

    fn note(&mut self, attempt: Attempt) {
        if self.attempts.len() >= DELIVERY_ATTEMPTS_KEPT {
            self.attempts.remove(0);
        }
        self.attempts.push(attempt);
    }

    /// What is too old is tried once, no more: others wait behind it.
    fn patience(&self, now: UnixMillis) -> Patience {
        let old = now.since(self.run.created) > DELIVERY_AGE_MS_MAX;
        Patience {
            retries_max: if old { 0 } else { DELIVERY_RETRIES_MAX },
            pause_ms_min: DELIVERY_PAUSE_MS_MIN,
            pause_ms_max: DELIVERY_PAUSE_MS_MAX,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::{Problem, ProblemKind};
    use crate::run::FailureClass;

    fn delivery() -> Delivery {
        Delivery::queued(RepoId(1), WebhookNumber(1), Told::Build { build: BuildNumber(1) }, UnixMillis(1))
    }

    fn attempt(status: u16) -> Attempt {
        Attempt { at: UnixMillis(1), took_ms: 2, status: Some(status), said: "no".into() }
    }

    fn refused(class: FailureClass) -> Input {
        let problem = Problem::new(ProblemKind::Unavailable, "It answers 500.", "Look there.");
        Input::Failed(Some(attempt(500)), Failure { class, problem })
    }

    #[test]
    fn what_is_down_is_told_later_with_growing_pauses_and_given_up_within_a_day() {
        let mut delivery = delivery();
        let mut now = UnixMillis(1);
        assert_eq!(delivery.step(Signal::Start.into(), now), Next::Do(Effect::Send));
        let mut pauses = Vec::new();
        while let Next::WakeAt(at) = delivery.step(refused(FailureClass::Infra), now) {
            pauses.push(at.since(now));
            now = at;
            assert_eq!(delivery.step(Signal::RetryDue.into(), now), Next::Do(Effect::Send));
        }
        assert_eq!(delivery.run.state, DeliveryState::Failed);
        assert!(pauses.is_sorted() && *pauses.last().expect("tried again") == DELIVERY_PAUSE_MS_MAX);
        assert!(now.0 < 2 * DELIVERY_AGE_MS_MAX, "{now:?}");
        assert_eq!(delivery.attempts.len(), DELIVERY_ATTEMPTS_KEPT);
    }

    #[test]
    fn what_waited_too_long_behind_another_is_still_tried_once() {
        let (mut delivery, late) = (delivery(), UnixMillis(DELIVERY_AGE_MS_MAX + 2));
        assert_eq!(delivery.step(Signal::Start.into(), late), Next::Do(Effect::Send));
        assert_eq!(delivery.step(refused(FailureClass::Infra), late), Next::Over);
    }

    #[test]
    fn a_crash_sends_it_again_and_what_is_taken_is_over() {
        let mut delivery = delivery();
        delivery.step(Signal::Start.into(), UnixMillis(1));
        assert_eq!(delivery.step(Signal::Restarted.into(), UnixMillis(2)), Next::Do(Effect::Send));
        assert_eq!(delivery.step(Signal::Supersede.into(), UnixMillis(2)), Next::Nothing);
        assert_eq!(delivery.step(Input::Taken(attempt(204)), UnixMillis(3)), Next::Over);
        assert_eq!(delivery.run.state, DeliveryState::Delivered);
        assert_eq!(delivery.step(Signal::Cancel.into(), UnixMillis(4)), Next::Nothing);
    }

    #[test]
    fn an_address_that_says_no_for_good_is_not_asked_again() {
        let mut delivery = delivery();
        delivery.step(Signal::Start.into(), UnixMillis(1));
        assert_eq!(delivery.step(refused(FailureClass::User), UnixMillis(1)), Next::Over);
        assert_eq!(delivery.run.state, DeliveryState::Failed);
    }
}
