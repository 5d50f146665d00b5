//! Names of what one may not see. Whoever makes a repository has to be told that its name is taken, and whoever gives a role
//! that there is no such user; but nobody may learn by trying which names there are. Such answers are counted for each
//! account, and beyond some in a minute it is answered nothing of the kind, right names and wrong ones alike.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use slipway_core::{Problem, ProblemKind, UnixMillis, UserName};

use crate::access::is_owner;
use crate::caller::Caller;
use crate::forge::Forge;
use crate::limits::{PROBE_WINDOW_MS, PROBES_KEPT_MAX};

/// The answers of the last minute, by account.
pub(crate) struct Probes {
    /// How many one account gets.
    most: u32,
    told: Mutex<HashMap<UserName, (UnixMillis, u32)>>,
}

impl Probes {
    pub(crate) fn new(most: usize) -> Self {
        Self { most: u32::try_from(most).unwrap_or(u32::MAX), told: Mutex::default() }
    }

    fn count(&self, user: &UserName, now: UnixMillis) {
        // Every change is a count: a panic elsewhere leaves nothing half-done.
        let mut all = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= PROBES_KEPT_MAX {
            all.retain(|_, (since, _)| now.since(*since) < PROBE_WINDOW_MS);
        }
        if all.len() >= PROBES_KEPT_MAX && !all.contains_key(user) {
            return;
        }
        let (since, count) = all.entry(user.clone()).or_insert((now, 0));
        if now.since(*since) >= PROBE_WINDOW_MS {
            (*since, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
    }

    fn are_too_many(&self, user: &UserName, now: UnixMillis) -> bool {
        let all = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(user).is_some_and(|(since, count)| *count >= self.most && now.since(*since) < PROBE_WINDOW_MS)
    }
}

/// Before a name is looked at that the caller may not be entitled to know of. Owners know all.
///
/// # Errors
/// `Busy` for an account that has met too many names that are taken, or not there, within a minute.
pub(crate) fn check(forge: &Forge, caller: &Caller) -> Result<(), Problem> {
    match caller.user() {
        Some(user) if !is_owner(caller) && forge.probes.are_too_many(user, forge.now()) => Err(Problem::new(
            ProblemKind::Busy,
            format!("{user} has tried too many names within a minute."),
            "Wait a minute; whoever invited you, or an owner of this server, knows the right one.",
        )),
        _ => Ok(()),
    }
}

/// Afterwards: counts an answer that told of a name.
pub(crate) fn told<T>(forge: &Forge, caller: &Caller, answer: Result<T, Problem>) -> Result<T, Problem> {
    let tells = |problem: &Problem| matches!(problem.kind, ProblemKind::Conflict | ProblemKind::NotFound);
    if let (Err(problem), Some(user)) = (&answer, caller.user())
        && tells(problem)
    {
        forge.probes.count(user, forge.now());
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_answers_a_minute_and_an_account_by_itself() {
        let (probes, now) = (Probes::new(20), UnixMillis(1_000_000));
        let name = |n: usize| UserName::parse(&format!("user{n}")).expect("valid");
        for _ in 0..20 {
            assert!(!probes.are_too_many(&name(1), now));
            probes.count(&name(1), now);
        }
        assert!(probes.are_too_many(&name(1), now) && !probes.are_too_many(&name(2), now));
        let later = now.plus_ms(PROBE_WINDOW_MS);
        assert!(!probes.are_too_many(&name(1), later));
        for n in 0..PROBES_KEPT_MAX + 10 {
            probes.count(&name(n), now);
        }
        assert_eq!(probes.told.lock().expect("whole").len(), PROBES_KEPT_MAX);
        probes.count(&name(PROBES_KEPT_MAX + 20), later);
        assert_eq!(probes.told.lock().expect("whole").len(), 1, "what is over is forgotten");
    }
}
