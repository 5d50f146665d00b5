//! Alternating measurements: one of git, one of Slipway, the next pair the other way round.

use std::time::{Duration, Instant};

use crate::client::Road;
use crate::site::{Outcome, Site};

/// Both sides of one measurement, in the order of pairs.
pub(crate) struct Pairs<T> {
    /// git's.
    pub(crate) peer: Vec<T>,
    /// Ours.
    pub(crate) ours: Vec<T>,
}

impl<T> Pairs<T> {
    /// A number of each, both sides.
    pub(crate) fn map(&self, value: impl Fn(&T) -> f64) -> (Vec<f64>, Vec<f64>) {
        (self.peer.iter().map(&value).collect(), self.ours.iter().map(&value).collect())
    }
}

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// git's own server side.
    Peer,
    /// Slipway.
    Ours,
}

/// Measures `pairs` pairs after one that warms both sides up. `one` gets the server, its side and the round (0 is the
/// warm-up).
pub(crate) fn alternate<T>(
    pairs: usize,
    peer: Option<&Site>,
    ours: &Site,
    one: impl FnMut(&Site, Side, usize) -> Outcome<T>,
) -> Outcome<Pairs<T>> {
    rounds(0, pairs, peer, ours, one)
}

/// As [`alternate`] without a pair that warms up, for what is done once to a repository.
pub(crate) fn alternate_at_once<T>(
    pairs: usize,
    peer: Option<&Site>,
    ours: &Site,
    one: impl FnMut(&Site, Side, usize) -> Outcome<T>,
) -> Outcome<Pairs<T>> {
    rounds(1, pairs, peer, ours, one)
}

fn rounds<T>(
    from: usize,
    to: usize,
    peer: Option<&Site>,
    ours: &Site,
    mut one: impl FnMut(&Site, Side, usize) -> Outcome<T>,
) -> Outcome<Pairs<T>> {
    let mut all = Pairs { peer: Vec::new(), ours: Vec::new() };
    for round in from..=to {
        let mut turns = vec![(Side::Ours, Some(ours)), (Side::Peer, peer)];
        if round % 2 == 0 {
            turns.reverse();
        }
        for (side, site) in turns {
            let Some(site) = site else { continue };
            let value = one(site, side, round)?;
            match (round, side) {
                (0, _) => {}
                (_, Side::Ours) => all.ours.push(value),
                (_, Side::Peer) => all.peer.push(value),
            }
        }
    }
    Ok(all)
}

/// A measured value with the processor time the server took for it.
pub(crate) struct Costed<T> {
    /// The value.
    pub(crate) value: T,
    /// The server's processor time.
    pub(crate) cpu: Duration,
    /// From the beginning to the value, wall clock.
    pub(crate) wall: Duration,
}

/// Runs `what` and adds up the server's processor time until it is quiet again.
pub(crate) fn costed<T>(site: &Site, what: impl FnOnce() -> Outcome<T>) -> Outcome<Costed<T>> {
    let before = site.account.settled_cpu();
    let begun = Instant::now();
    let value = what()?;
    let wall = begun.elapsed();
    let cpu = site.account.settled_cpu().saturating_sub(before);
    Ok(Costed { value, cpu, wall })
}

/// Milliseconds.
pub(crate) fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// For names of workloads.
pub(crate) fn word(road: Road) -> &'static str {
    match road {
        Road::Http => "HTTP",
        Road::Ssh => "SSH",
    }
}
