//! Who has had much long work done lately: what they ask next begins as that went on, with a lower priority. Otherwise whoever asks for
//! long work again and again has the beginning of each before what others ask.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::shares::Party;

/// Processor time of long work that a party has before its next is lowered at once.
const ALLOWED: Duration = Duration::from_millis(250);
/// What is had falls by one part in so many of the time that passes.
const FALLS_BY: u32 = 10;
/// Parties that are remembered; with more, those are forgotten that have nothing on them any more, and then all.
const PARTIES_MAX: usize = 10_000;

/// What parties have had.
#[derive(Default)]
pub(super) struct Debts(HashMap<Party, Debt>);

struct Debt {
    had: Duration,
    at: Instant,
}

impl Debt {
    fn now(&self, now: Instant) -> Duration {
        self.had.saturating_sub(now.saturating_duration_since(self.at) / FALLS_BY)
    }
}

impl Debts {
    /// True if the party's next work is lowered at once.
    pub(super) fn owes(&self, party: &Party, now: Instant) -> bool {
        self.0.get(party).is_some_and(|debt| debt.now(now) > ALLOWED)
    }

    /// Notes long work that was done for it.
    pub(super) fn add(&mut self, party: Party, took: Duration, now: Instant) {
        if self.0.len() >= PARTIES_MAX && !self.0.contains_key(&party) {
            self.0.retain(|_, debt| !debt.now(now).is_zero());
            if self.0.len() >= PARTIES_MAX {
                self.0.clear();
            }
        }
        let debt = self.0.entry(party).or_insert(Debt { had: Duration::ZERO, at: now });
        *debt = Debt { had: debt.now(now).saturating_add(took), at: now };
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn party(n: u32) -> Party {
        Party::at(IpAddr::V4(n.into()))
    }

    #[test]
    fn what_was_had_falls_with_time() {
        let (mut debts, begun) = (Debts::default(), Instant::now());
        let after = |ms: u64| begun + Duration::from_millis(ms);
        debts.add(party(1), Duration::from_millis(200), begun);
        assert!(!debts.owes(&party(1), begun), "a first large push is everybody's");
        debts.add(party(1), Duration::from_millis(200), after(100));
        assert!(debts.owes(&party(1), after(100)) && !debts.owes(&party(2), after(100)));
        assert!(debts.owes(&party(1), after(1_000)));
        assert!(!debts.owes(&party(1), after(2_000)));
    }

    #[test]
    fn there_are_so_many_at_most() {
        let (mut debts, now) = (Debts::default(), Instant::now());
        for n in 0..=PARTIES_MAX as u32 {
            debts.add(party(n), Duration::from_secs(1), now);
        }
        assert!(debts.0.len() <= PARTIES_MAX && debts.owes(&party(PARTIES_MAX as u32), now));
    }
}
