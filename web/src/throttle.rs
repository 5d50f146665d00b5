//! Failed sign-ins, counted per address in a fixed window. Bounded: when the table is full of live entries, strangers
//! share the last place.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use slipway_core::{Problem, ProblemKind};

use crate::limits::{LOGIN_ADDRESSES_MAX, LOGIN_FAILURES_MAX, LOGIN_WINDOW};

#[derive(Clone, Copy)]
struct Failures {
    since: Instant,
    count: u32,
}

pub(crate) struct Throttle {
    table: Mutex<HashMap<Option<IpAddr>, Failures>>,
}

impl Throttle {
    pub(crate) fn new() -> Self {
        Self { table: Mutex::new(HashMap::new()) }
    }

    /// Refuses an address that failed too often of late.
    pub(crate) fn admit(&self, peer: Option<IpAddr>, now: Instant) -> Result<(), Problem> {
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let key = key(&table, peer);
        match table.get(&key) {
            Some(f) if f.count >= LOGIN_FAILURES_MAX && now.duration_since(f.since) < LOGIN_WINDOW => {
                Err(Problem::new(
                    ProblemKind::Busy,
                    format!("More than {LOGIN_FAILURES_MAX} attempts to sign in failed."),
                    "Wait a minute, then try again.",
                ))
            }
            _ => Ok(()),
        }
    }

    /// Counts a failure.
    pub(crate) fn failed(&self, peer: Option<IpAddr>, now: Instant) {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if table.len() >= LOGIN_ADDRESSES_MAX {
            table.retain(|_, f| now.duration_since(f.since) < LOGIN_WINDOW);
        }
        let key = key(&table, peer);
        let entry = table.entry(key).or_insert(Failures { since: now, count: 0 });
        if now.duration_since(entry.since) >= LOGIN_WINDOW {
            *entry = Failures { since: now, count: 0 };
        }
        entry.count = entry.count.saturating_add(1);
    }
}

fn key(table: &HashMap<Option<IpAddr>, Failures>, peer: Option<IpAddr>) -> Option<IpAddr> {
    if table.len() >= LOGIN_ADDRESSES_MAX && !table.contains_key(&peer) { None } else { peer }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_failures_close_the_door_for_a_minute_and_for_one_address() {
        let (throttle, start) = (Throttle::new(), Instant::now());
        let (one, other) = (Some(IpAddr::from([10, 0, 0, 1])), Some(IpAddr::from([10, 0, 0, 2])));
        for _ in 0..LOGIN_FAILURES_MAX {
            assert!(throttle.admit(one, start).is_ok());
            throttle.failed(one, start);
        }
        assert!(throttle.admit(one, start).is_err());
        assert!(throttle.admit(other, start).is_ok());
        assert!(throttle.admit(one, start + LOGIN_WINDOW).is_ok());
    }

    #[test]
    fn the_table_stays_bounded() {
        let (throttle, start) = (Throttle::new(), Instant::now());
        for n in 0..u32::try_from(LOGIN_ADDRESSES_MAX).expect("small") + 500 {
            throttle.failed(Some(IpAddr::from(n.to_be_bytes())), start);
        }
        let len = throttle.table.lock().expect("whole").len();
        assert!(len <= LOGIN_ADDRESSES_MAX + 1, "{len}");
    }
}
