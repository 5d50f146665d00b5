//! Failed sign-ins, counted by account and address in a fixed window. Bounded: when the table is full of live entries,
//! strangers share the place of their address. Decides how a failure is answered, never whether a right credential
//! passes.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use slipway_core::UnixMillis;

use crate::limits::{FAILURE_LINES_MAX, FAILURE_WINDOW_MS, FAILURES_KEPT_MAX};
use crate::shares::network;

/// What is remembered of failures.
pub(crate) struct Throttle {
    /// How many failures of one account from one address are answered as ever.
    failures_max: u32,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    failures: HashMap<(Means, String, Option<IpAddr>), Failures>,
    /// Lines in the log.
    told: Failures,
}

#[derive(Clone, Copy, Default)]
struct Failures {
    since: UnixMillis,
    count: u32,
}

impl Failures {
    fn count_up(&mut self, now: UnixMillis) -> u32 {
        if now.since(self.since) >= FAILURE_WINDOW_MS {
            *self = Self { since: now, count: 0 };
        }
        self.count = self.count.saturating_add(1);
        self.count
    }
}

/// What somebody tried to sign in with. Who tries keys is counted apart from who tries tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Means {
    Key,
    Token,
}

/// What follows from a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// How many there were within the window, this one included.
    pub(super) failures: u32,
    /// Whether the log is told: each up to the bound, then once that there are more.
    pub(super) tell: bool,
    /// Whether whoever fails is asked to wait.
    pub(super) slowed: bool,
}

impl Throttle {
    pub(crate) fn new(failures_max: usize) -> Self {
        Self { failures_max: u32::try_from(failures_max).unwrap_or(u32::MAX), table: Mutex::default() }
    }

    /// Counts a failure.
    pub(super) fn failed(
        &self,
        means: Means,
        account: &str,
        from: Option<IpAddr>,
        now: UnixMillis,
    ) -> Verdict {
        // Every change is a count: a panic elsewhere leaves nothing half-done.
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let mut key = (means, account.to_owned(), from.map(network));
        if table.failures.len() >= FAILURES_KEPT_MAX && !table.failures.contains_key(&key) {
            table.failures.retain(|_, f| now.since(f.since) < FAILURE_WINDOW_MS);
            if table.failures.len() >= FAILURES_KEPT_MAX {
                key.1.clear();
                if !table.failures.contains_key(&key) {
                    key.2 = None;
                }
            }
        }
        let failures = table.failures.entry(key).or_default().count_up(now);
        let slowed = failures > self.failures_max;
        let tell =
            failures <= self.failures_max.saturating_add(1) && table.told.count_up(now) <= FAILURE_LINES_MAX;
        Verdict { failures, tell, slowed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: UnixMillis = UnixMillis(1_000_000);

    fn address(n: u32) -> Option<IpAddr> {
        Some(IpAddr::from(n.to_be_bytes()))
    }

    #[test]
    fn failures_count_against_one_account_at_one_address_and_for_a_minute() {
        let throttle = Throttle::new(10);
        let fail = |account: &str, from, now| throttle.failed(Means::Token, account, from, now);
        for n in 1..=10 {
            assert_eq!(fail("ann", address(1), START), Verdict { failures: n, tell: true, slowed: false });
        }
        let more = fail("ann", address(1), START);
        assert_eq!(more, Verdict { failures: 11, tell: true, slowed: true });
        assert!(!fail("ann", address(1), START).tell, "the log has heard of it");
        assert!(!fail("ann", address(2), START).slowed, "elsewhere");
        assert!(!fail("bob", address(1), START).slowed, "somebody else");
        assert!(throttle.failed(Means::Key, "ann", address(1), START).tell, "by another means");
        assert!(!fail("ann", address(1), START.plus_ms(FAILURE_WINDOW_MS)).slowed, "later");
    }

    #[test]
    fn a_whole_network_of_ipv6_is_one_guesser() {
        let throttle = Throttle::new(10);
        for n in 0..=10 {
            let from = IpAddr::from([0x2001, 0xdb8, 0, 1, 0, 0, 0, n as u16]);
            assert_eq!(throttle.failed(Means::Token, "ann", Some(from), START).slowed, n == 10);
        }
    }

    #[test]
    fn the_table_and_the_log_stay_bounded() {
        let (throttle, mut told) = (Throttle::new(10), 0);
        for n in 0..u32::try_from(FAILURES_KEPT_MAX).expect("small") + 500 {
            told += u32::from(throttle.failed(Means::Token, &format!("a{n}"), address(n), START).tell);
        }
        let table = throttle.table.lock().expect("whole");
        assert!(table.failures.len() <= FAILURES_KEPT_MAX + 2, "{}", table.failures.len());
        assert_eq!(told, FAILURE_LINES_MAX);
    }
}
