//! Places that many want: so many in all, and of those so many for one party, so that nobody can hold the last one.
//!
//! Whoever holds a place and waits for its client may be asked to give way ([`Place::gone`]) when another party finds none
//! free: of the party that holds most, the one that has waited longest. Whoever is at work is never interrupted. A place
//! that comes free goes to whichever waits for one and holds fewest. Owners and the host have places of their own on top:
//! an owner can always act. Knows neither connections nor requests.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use slipway_core::{Actor, Problem, ProblemKind, UserName};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::caller::Caller;
use crate::limits::PLACE_WAITERS_MAX;

/// How often whoever waits for a place looks whether somebody can give way.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Whom a place counts against.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Party {
    /// Whoever comes from there and has not signed in. A whole /64 of IPv6 is one.
    Address(IpAddr),
    /// A trusted proxy that has not said yet for whom: no share of its own bounds it.
    Proxy,
    /// An account.
    Account(UserName),
    /// The account of an owner of the server.
    Owner(UserName),
    /// Whoever can open the admin socket, and the server itself.
    Host,
}

impl Party {
    /// Somebody at that address.
    pub fn at(address: IpAddr) -> Self {
        Self::Address(network(address))
    }

    /// Whoever that caller is.
    pub fn of(caller: &Caller) -> Self {
        match &caller.actor {
            Actor::Anonymous => Self::at(caller.from.unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED))),
            Actor::User { name, owner: true } | Actor::Token { name, owner: true, .. } => {
                Self::Owner(name.clone())
            }
            Actor::User { name, .. } | Actor::Token { name, .. } => Self::Account(name.clone()),
            Actor::Server => Self::Host,
        }
    }

    fn is_owner(&self) -> bool {
        matches!(self, Self::Owner(_) | Self::Host)
    }

    fn has_share(&self) -> bool {
        !matches!(self, Self::Proxy | Self::Host)
    }
}

/// The network that an address counts as: whoever has one address of IPv6 commonly has a whole /64.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 => v4,
    }
}

/// How many places there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// In all, those of owners aside.
    pub places: usize,
    /// For one party.
    pub each: usize,
    /// More, for owners and the host alone.
    pub owners: usize,
    /// Who may wait for one; half of them at most are one party's.
    pub queue: usize,
    /// How long whoever has one waits for its client before it may be asked to give way.
    pub patience: Duration,
}

impl Bounds {
    /// So many, of which one party has three quarters at most, and a quarter more for owners.
    pub fn of(places: usize) -> Self {
        let (each, owners) = ((places * 3 / 4).max(1), (places / 4).max(1));
        Self { places, each, owners, queue: PLACE_WAITERS_MAX, patience: Duration::ZERO }
    }
}

/// Places of one kind.
pub struct Shares {
    what: &'static str,
    bounds: Bounds,
    state: Mutex<State>,
    begun: Instant,
}

#[derive(Default)]
struct State {
    seats: BTreeMap<u64, (Party, Arc<Seat>)>,
    held: HashMap<Party, usize>,
    /// Those who wait for a place, the first first.
    queue: Vec<Waiter>,
    next: u64,
}

struct Waiter {
    party: Party,
    told: oneshot::Sender<Place>,
}

struct Seat {
    /// Since when it waits for its client, and until when it may, in milliseconds; 0 while it is at work.
    since: AtomicU64,
    until: AtomicU64,
    gone: CancellationToken,
}

impl State {
    fn held(&self, party: &Party) -> usize {
        self.held.get(party).copied().unwrap_or_default()
    }

    fn remove(&mut self, number: u64) -> Option<Arc<Seat>> {
        let (party, seat) = self.seats.remove(&number)?;
        self.uncount(&party);
        Some(seat)
    }

    fn uncount(&mut self, party: &Party) {
        if let Some(count) = self.held.get_mut(party) {
            *count -= 1;
            if *count == 0 {
                self.held.remove(party);
            }
        }
    }

    /// Whoever is to give way to `party`: of the party that holds most, and not fewer than this one, the seat that has
    /// waited for its client longest, and since `before`.
    fn may_go(&self, party: &Party, own: bool, before: u64) -> Option<u64> {
        let mine = self.held(party);
        let waits = |seat: &Seat| seat.since.load(Ordering::Relaxed);
        let seats = self.seats.iter().filter(|(_, (whose, seat))| {
            let theirs = if own { whose == party } else { !whose.is_owner() || party.is_owner() };
            theirs && (1..=before).contains(&waits(seat)) && self.held(whose) >= mine
        });
        let first = seats.max_by_key(|(_, (whose, seat))| (self.held(whose), std::cmp::Reverse(waits(seat))));
        first.map(|(number, _)| *number)
    }
}

impl Shares {
    /// Places for `what` (a noun in the plural, for people).
    pub fn new(what: &'static str, bounds: Bounds) -> Arc<Self> {
        Arc::new(Self { what, bounds, state: Mutex::default(), begun: Instant::now() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics half way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True if the party may have one more without anybody giving way.
    fn has_room(&self, state: &State, party: &Party) -> bool {
        let more = if party.is_owner() { self.bounds.owners } else { 0 };
        let share = party.is_owner() || !party.has_share() || state.held(party) < self.bounds.each;
        share && state.seats.len() < self.bounds.places + more
    }

    fn seat(self: &Arc<Self>, state: &mut State, party: Party) -> Place {
        state.next += 1;
        let number = state.next;
        *state.held.entry(party.clone()).or_default() += 1;
        let seat = Arc::new(Seat { since: 0.into(), until: u64::MAX.into(), gone: CancellationToken::new() });
        state.seats.insert(number, (party, Arc::clone(&seat)));
        Place { shares: Arc::clone(self), number, seat }
    }

    /// A place now: a free one, or that of somebody who waits for a client and gives way.
    pub fn enter_now(self: &Arc<Self>, party: Party) -> Option<Place> {
        let mut state = self.lock();
        (self.has_room(&state, &party) || self.make_room(&mut state, &party))
            .then(|| self.seat(&mut state, party))
    }

    /// Has somebody give way to the party; false if nobody can.
    fn make_room(&self, state: &mut State, party: &Party) -> bool {
        let patience = u64::try_from(self.bounds.patience.as_millis()).unwrap_or(u64::MAX);
        let before = self.now().saturating_sub(patience);
        let goes = state.may_go(party, self.is_own_limit(state, party), before);
        let seat = goes.and_then(|goes| state.remove(goes));
        seat.inspect(|seat| seat.gone.cancel()).is_some()
    }

    /// True if it is its own share that leaves the party no room.
    fn is_own_limit(&self, state: &State, party: &Party) -> bool {
        party.has_share() && !party.is_owner() && state.held(party) >= self.bounds.each
    }

    /// A place, waited for if there is none.
    ///
    /// # Errors
    /// `Busy` if none came free in time, or too many wait.
    pub async fn enter(self: &Arc<Self>, party: Party, wait: Duration) -> Result<Place, Problem> {
        if let Some(place) = self.enter_now(party.clone()) {
            return Ok(place);
        }
        let mut told = {
            let mut state = self.lock();
            state.queue.retain(|waiter| !waiter.told.is_closed());
            let mine = state.queue.iter().filter(|waiter| waiter.party == party).count();
            if state.queue.len() >= self.bounds.queue || mine * 2 >= self.bounds.queue {
                return Err(self.full(&state, &party));
            }
            let (tell, told) = oneshot::channel();
            state.queue.push(Waiter { party: party.clone(), told: tell });
            told
        };
        let end = tokio::time::Instant::now() + wait;
        loop {
            let look = end.min(tokio::time::Instant::now() + LOOK_EVERY);
            match tokio::time::timeout_at(look, &mut told).await {
                Ok(Ok(place)) => return Ok(place),
                Ok(Err(_)) => return Err(self.refusal(&party)),
                Err(_) if look == end => return Err(self.refusal(&party)),
                // Somebody may have become one who can give way.
                Err(_) => self.look(&party),
            }
        }
    }

    fn look(self: &Arc<Self>, party: &Party) {
        let mut state = self.lock();
        if !self.has_room(&state, party) && self.make_room(&mut state, party) {
            let back = self.grant(&mut state);
            drop(state);
            drop(back);
        }
    }

    /// What a party is told that finds no place.
    pub fn refusal(&self, party: &Party) -> Problem {
        self.full(&self.lock(), party)
    }

    fn full(&self, state: &State, party: &Party) -> Problem {
        let what = self.what;
        let own = self.is_own_limit(state, party);
        let said = match party {
            Party::Address(_) if own => format!("There are too many {what} from your address."),
            Party::Account(name) if own => format!("There are too many {what} of {name}."),
            _ => format!("There are too many {what} on this server just now."),
        };
        Problem::new(ProblemKind::Busy, said, "Let some of them end, and try again in a minute.")
    }

    /// Has everybody give way who has waited for a client longer than it may.
    pub fn sweep(&self) {
        let now = self.now();
        let mut state = self.lock();
        let overdue = |seat: &Seat| {
            seat.since.load(Ordering::Relaxed) != 0 && seat.until.load(Ordering::Relaxed) <= now
        };
        let late: Vec<u64> =
            state.seats.iter().filter(|(_, (_, seat))| overdue(seat)).map(|(number, _)| *number).collect();
        for number in late {
            if let Some(seat) = state.remove(number) {
                seat.gone.cancel();
            }
        }
    }

    /// How many places are taken.
    pub fn taken(&self) -> usize {
        self.lock().seats.len()
    }

    fn now(&self) -> u64 {
        // Never 0, which means at work.
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
    }

    /// Gives what is free to those who wait; what nobody takes any more comes back.
    fn grant(self: &Arc<Self>, state: &mut State) -> Vec<Place> {
        let mut back = Vec::new();
        loop {
            let may = (0..state.queue.len()).filter(|at| self.has_room(state, &state.queue[*at].party));
            let Some(at) = may.min_by_key(|at| state.held(&state.queue[*at].party)) else { return back };
            let Waiter { party, told } = state.queue.remove(at);
            if told.is_closed() {
                continue;
            }
            let place = self.seat(state, party);
            back.extend(told.send(place).err());
        }
    }

    fn leave(self: &Arc<Self>, number: u64) {
        let mut state = self.lock();
        state.remove(number);
        let back = if state.queue.is_empty() { Vec::new() } else { self.grant(&mut state) };
        drop(state);
        // Outside of the lock: it leaves again.
        drop(back);
    }
}

/// A place that somebody has; given back when dropped.
pub struct Place {
    shares: Arc<Shares>,
    number: u64,
    seat: Arc<Seat>,
}

impl Place {
    /// From now on it waits for its client, `patience` long at most: it may be asked to give way.
    pub fn waits(&self, patience: Duration) {
        let now = self.shares.now();
        // The order matters to nobody: whoever looks in between sees a moment that was.
        let patience = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
        self.seat.until.store(now.saturating_add(patience), Ordering::Relaxed);
        let _ = self.seat.since.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// From now on it is at work.
    pub fn works(&self) {
        self.seat.since.store(0, Ordering::Relaxed);
    }

    /// Counts against another party from now on, where it is known who it is.
    ///
    /// # Errors
    /// `Busy` if that party has all of its share; it counts as before then.
    pub fn becomes(&self, party: Party) -> Result<(), Problem> {
        let mut state = self.shares.lock();
        let Some((before, _)) = state.seats.get(&self.number) else { return Ok(()) };
        if *before == party {
            return Ok(());
        }
        let before = before.clone();
        if self.shares.is_own_limit(&state, &party) && !self.shares.make_room(&mut state, &party) {
            return Err(self.shares.full(&state, &party));
        }
        state.uncount(&before);
        *state.held.entry(party.clone()).or_default() += 1;
        if let Some((whose, _)) = state.seats.get_mut(&self.number) {
            *whose = party;
        }
        Ok(())
    }

    /// Returns when the place has been given to somebody else.
    pub async fn gone(&self) {
        self.seat.gone.cancelled().await;
    }

    /// Cancelled when the place has been given to somebody else.
    pub fn notice(&self) -> CancellationToken {
        self.seat.gone.clone()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Whoever watches over what was held for it need not any more.
        self.seat.gone.cancel();
        self.shares.leave(self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: u8) -> Party {
        Party::at(IpAddr::from([10, 0, 0, n]))
    }

    fn shares(places: usize, each: usize) -> Arc<Shares> {
        Shares::new("things", Bounds { each, owners: 1, ..Bounds::of(places) })
    }

    fn owner() -> Party {
        Party::Owner(UserName::parse("root").expect("a name"))
    }

    #[test]
    fn one_party_never_holds_the_last_place_and_owners_have_one_of_their_own() {
        let shares = shares(4, 3);
        let held: Vec<Place> = (0..3).map(|_| shares.enter_now(address(1)).expect("a place")).collect();
        let refused = shares.enter_now(address(1));
        assert!(refused.is_none());
        assert!(shares.refusal(&address(1)).what.contains("from your address"));
        let _other = shares.enter_now(address(2)).expect("another's place");
        assert!(shares.enter_now(address(3)).is_none(), "all are taken");
        let own = shares.enter_now(owner()).expect("an owner's lane");
        assert!(shares.enter_now(owner()).is_none());
        drop((held, own));
        assert_eq!(shares.taken(), 1);
        assert!(shares.enter_now(address(1)).is_some());
    }

    #[test]
    fn a_network_of_ipv6_and_an_address_in_two_forms_are_one_party() {
        let at = |text: &str| Party::at(text.parse().expect("an address"));
        assert_eq!(at("2001:db8::1"), at("2001:db8::ffff:1"));
        assert_ne!(at("2001:db8::1"), at("2001:db8:0:1::1"));
        assert_eq!(at("::ffff:10.0.0.1"), at("10.0.0.1"));
    }

    #[test]
    fn who_waits_for_a_client_gives_way_the_largest_party_first_and_who_works_does_not() {
        let shares = shares(4, 3);
        let many: Vec<Place> = (0..3).map(|_| shares.enter_now(address(1)).expect("a place")).collect();
        let few = shares.enter_now(address(2)).expect("a place");
        few.waits(Duration::from_secs(9));
        std::thread::sleep(Duration::from_millis(5));
        many[1].waits(Duration::from_secs(9));
        let third = shares.enter_now(address(3)).expect("the one that waits of the largest gives way");
        let gone = |place: &Place| place.seat.gone.is_cancelled();
        assert!(gone(&many[1]) && !gone(&few) && !gone(&many[0]));
        drop(third);
        // What had given way counts for nothing when it goes at last.
        drop(many);
        assert_eq!(shares.taken(), 1);
        few.works();
        shares.sweep();
        assert!(!gone(&few));
        few.waits(Duration::ZERO);
        shares.sweep();
        assert!(gone(&few) && shares.taken() == 0, "it has waited for too long");
    }

    #[test]
    fn whoever_turns_out_to_be_another_counts_as_that_one() {
        let shares = shares(4, 1);
        let first = shares.enter_now(Party::Proxy).expect("a place");
        let second = shares.enter_now(Party::Proxy).expect("a proxy has no share");
        first.becomes(address(1)).expect("its share");
        assert!(second.becomes(address(1)).is_err(), "the share is taken");
        first.waits(Duration::from_secs(9));
        second.becomes(address(1)).expect("the one that waits gives way");
        assert!(first.seat.gone.is_cancelled());
        drop((first, second));
        assert_eq!((shares.taken(), shares.lock().held.len()), (0, 0));
    }

    #[tokio::test]
    async fn what_comes_free_goes_to_whoever_holds_fewest() {
        let shares = shares(2, 2);
        let (first, _second) = (shares.enter_now(address(1)), shares.enter_now(address(1)));
        let wait = |n| {
            let shares = Arc::clone(&shares);
            tokio::spawn(async move { shares.enter(address(n), Duration::from_secs(20)).await.map(drop) })
        };
        let (greedy, modest) = (wait(1), wait(2));
        while shares.lock().queue.len() < 2 {
            tokio::task::yield_now().await;
        }
        drop(first);
        modest.await.expect("ended").expect("its place");
        greedy.await.expect("ended").expect("a place, after the other");
        let late = shares.enter(address(3), Duration::ZERO);
        let _third = shares.enter_now(address(2));
        drop(late);
        let refused = shares.enter(address(3), Duration::from_millis(1)).await.map(drop);
        assert_eq!(refused.map_err(|p| p.kind), Err(ProblemKind::Busy));
    }
}
