//! Places to work at: how many are under way at once, and who has the next one that frees.
//!
//! Shared out by repository: whoever has the fewest comes first, then whoever had none for the longest, so that one with fifty
//! waiting keeps nobody else waiting. Within a repository the more urgent comes first, then the one that waits longer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use slipway_core::RepoId;
use tokio::sync::oneshot;

use crate::ports::Rank;

/// The places of one desk. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Slots(Arc<Mutex<State>>);

/// A place, held until it is dropped.
pub(crate) struct Slot {
    slots: Slots,
    repo: RepoId,
}

struct State {
    free: usize,
    each: usize,
    waiting: Vec<Waiter>,
    parties: HashMap<RepoId, Party>,
    /// Counts who came and who was served.
    clock: u64,
}

struct Waiter {
    repo: RepoId,
    rank: Rank,
    since: u64,
    tell: oneshot::Sender<Slot>,
}

/// A repository that has places, or waits for one.
#[derive(Default)]
struct Party {
    held: usize,
    served: u64,
}

impl Slots {
    /// `total` places, of which one repository has `each` at most.
    pub(crate) fn new(total: usize, each: usize) -> Self {
        let (waiting, parties, clock) = Default::default();
        Self(Arc::new(Mutex::new(State { free: total, each: each.max(1), waiting, parties, clock })))
    }

    /// Waits for a place. Who stops waiting is passed over.
    pub(crate) async fn take(&self, repo: RepoId, rank: Rank) -> Option<Slot> {
        let (tell, told) = oneshot::channel();
        {
            let mut state = self.state();
            state.clock += 1;
            let since = state.clock;
            state.waiting.push(Waiter { repo, rank, since, tell });
        }
        self.serve();
        told.await.ok()
    }

    /// Gives free places away.
    fn serve(&self) {
        loop {
            let Some(waiter) = self.state().next() else { return };
            let slot = Slot { slots: self.clone(), repo: waiter.repo };
            // Who has just stopped waiting gives it back.
            drop(waiter.tell.send(slot));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No change of it can panic half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The next one to have a place, which is counted as taken.
    fn next(&mut self) -> Option<Waiter> {
        self.waiting.retain(|waiter| !waiter.tell.is_closed());
        let (waiting, parties) = (&self.waiting, &mut self.parties);
        parties.retain(|repo, party| party.held > 0 || waiting.iter().any(|w| w.repo == *repo));
        if self.free == 0 {
            return None;
        }
        let party = |repo: &RepoId| self.parties.get(repo).map_or((0, 0), |p| (p.held, p.served));
        let may = self.waiting.iter().enumerate().filter(|(_, w)| party(&w.repo).0 < self.each);
        let (at, _) = may.min_by_key(|(_, w)| (party(&w.repo), w.rank, w.since))?;
        let waiter = self.waiting.remove(at);
        self.free -= 1;
        self.clock += 1;
        let party = self.parties.entry(waiter.repo).or_default();
        (party.held, party.served) = (party.held + 1, self.clock);
        Some(waiter)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        {
            let mut state = self.slots.state();
            state.free += 1;
            if let Some(party) = state.parties.get_mut(&self.repo) {
                party.held = party.held.saturating_sub(1);
            }
        }
        self.slots.serve();
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    type Wait = Pin<Box<dyn Future<Output = Option<Slot>>>>;

    fn wait(slots: &Slots, repo: u64, rank: Rank) -> Wait {
        let slots = slots.clone();
        let mut wait: Wait = Box::pin(async move { slots.take(RepoId(repo), rank).await });
        assert!(got(&mut wait).is_none(), "a place too many");
        wait
    }

    fn got(wait: &mut Wait) -> Option<Slot> {
        match wait.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(slot) => slot,
            Poll::Pending => None,
        }
    }

    fn take(slots: &Slots, repo: u64) -> Slot {
        let slots = slots.clone();
        let mut wait: Wait = Box::pin(async move { slots.take(RepoId(repo), Rank::Then).await });
        got(&mut wait).expect("a free place")
    }

    #[test]
    fn one_with_fifty_waiting_keeps_nobody_else_waiting() {
        let slots = Slots::new(2, 2);
        let (one, _two) = (take(&slots, 1), take(&slots, 1));
        let mut of_a: Vec<Wait> = (0..50).map(|_| wait(&slots, 1, Rank::First)).collect();
        let mut of_b = wait(&slots, 2, Rank::Then);
        drop(one);
        let b = got(&mut of_b).expect("the next place is the other's");
        assert!(of_a.iter_mut().all(|w| got(w).is_none()));
        // And with one place each, it goes round.
        let mut of_b = wait(&slots, 2, Rank::Then);
        drop(b);
        assert!(got(&mut of_b).is_some(), "it has none, the first has one");
    }

    #[test]
    fn with_one_place_it_goes_round_and_the_urgent_come_first_within_their_own() {
        let slots = Slots::new(1, 1);
        let mut held = take(&slots, 1);
        let mut waits = vec![
            ("a1", wait(&slots, 1, Rank::Then)),
            ("a2", wait(&slots, 1, Rank::First)),
            ("b1", wait(&slots, 2, Rank::Then)),
            ("b2", wait(&slots, 2, Rank::Then)),
        ];
        let gone = wait(&slots, 3, Rank::First);
        drop(gone);
        let mut order = Vec::new();
        while !waits.is_empty() {
            drop(held);
            let served = waits.iter_mut().enumerate().find_map(|(at, (_, w))| Some((at, got(w)?)));
            let (at, slot) = served.expect("one is served");
            order.push(waits.remove(at).0);
            held = slot;
        }
        assert_eq!(order, ["b1", "a2", "b2", "a1"]);
        drop(held);
        assert!(slots.state().parties.is_empty(), "nothing is remembered of who has gone");
    }

    #[test]
    fn a_repository_has_no_more_than_its_own() {
        let slots = Slots::new(3, 1);
        let one = take(&slots, 1);
        let mut second = wait(&slots, 1, Rank::First);
        let _other = take(&slots, 2);
        assert!(got(&mut second).is_none());
        drop(one);
        assert!(got(&mut second).is_some());
    }
}
