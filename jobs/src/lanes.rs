//! Who is at work, and who comes after whom: of one lane one alone has its turn, in the order in which they came.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use slipway_core::RepoId;
use slipway_core::run::{Machine, Signal, WorkId};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::limits::INBOX_MAX;

/// Everything of one kind that is not over.
pub(crate) struct Lanes<W: Machine> {
    places: HashMap<WorkId, Place<W>>,
    lanes: HashMap<W::Lane, VecDeque<WorkId>>,
}

impl<W: Machine> Default for Lanes<W> {
    fn default() -> Self {
        Self { places: HashMap::new(), lanes: HashMap::new() }
    }
}

/// One that is not over.
struct Place<W> {
    /// As it came; what decides who gives way never changes.
    work: Arc<W>,
    inbox: mpsc::Sender<Signal>,
    /// Cancelled once it is the first of its lane.
    turn: CancellationToken,
    /// Cancelled when its task has ended.
    end: CancellationToken,
}

/// What a task holds of its place.
pub(crate) struct Seat {
    pub(crate) inbox: mpsc::Receiver<Signal>,
    /// Cancelled once it is the first of its lane.
    pub(crate) turn: CancellationToken,
}

impl<W: Machine> Lanes<W> {
    /// Puts work at the end of its lane and tells those who give way. `None` if it is there already.
    pub(crate) fn enter(&mut self, work: &W) -> Option<Seat> {
        let id = work.id();
        if self.places.contains_key(&id) {
            return None;
        }
        let (sender, inbox) = mpsc::channel(INBOX_MAX);
        let (turn, end) = (CancellationToken::new(), CancellationToken::new());
        let lane = self.lanes.entry(work.lane()).or_default();
        for other in lane.iter().filter_map(|other| self.places.get(other)) {
            let told = if other.work.gives_way_to(work) {
                &other.inbox
            } else if work.gives_way_to(&other.work) {
                &sender
            } else {
                continue;
            };
            // Full or gone means that it is told already, or over.
            let _ = told.try_send(Signal::Supersede);
        }
        if lane.is_empty() {
            turn.cancel();
        }
        lane.push_back(id);
        let place = Place { work: Arc::new(work.clone()), inbox: sender, turn: turn.clone(), end };
        self.places.insert(id, place);
        Some(Seat { inbox, turn })
    }

    /// Takes work out of its lane; the next one has its turn.
    pub(crate) fn leave(&mut self, id: WorkId) {
        let Some(place) = self.places.remove(&id) else { return };
        let lane = place.work.lane();
        if let Some(queue) = self.lanes.get_mut(&lane) {
            queue.retain(|other| *other != id);
            match queue.front().and_then(|first| self.places.get(first)) {
                Some(first) => first.turn.cancel(),
                None => drop(self.lanes.remove(&lane)),
            }
        }
        place.end.cancel();
    }

    /// Where signals for it go.
    pub(crate) fn inbox(&self, id: WorkId) -> Option<mpsc::Sender<Signal>> {
        self.places.get(&id).map(|place| place.inbox.clone())
    }

    /// Cancels everything of a repository; what to wait for.
    pub(crate) fn cancel_repo(&self, repo: RepoId) -> Vec<CancellationToken> {
        let of_repo = self.places.iter().filter(|(id, _)| id.repo == repo);
        let cancelled = of_repo.map(|(_, place)| {
            let _ = place.inbox.try_send(Signal::Cancel);
            place.end.clone()
        });
        cancelled.collect()
    }

    /// How many are not over.
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }
}
