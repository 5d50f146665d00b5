//! Who is it: keys and tokens to actors, the same for SSH and HTTP. What an actor may do is decided elsewhere.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use slipway_core::token::TokenValue;
use slipway_core::{Actor, Problem, ProblemKind, UnixMillis, UserName};
use slipway_store::Store;

use crate::limits::{FAILURE_ADDRESSES_MAX, FAILURE_WINDOW_MS, FAILURES_MAX};

/// Turns proofs into actors, and slows down whoever guesses. Its methods block (they ask the store).
pub struct Authenticator {
    store: Store,
    failures: Mutex<HashMap<IpAddr, Failures>>,
}

/// The failed sign-ins of one address.
#[derive(Clone, Copy, Debug)]
struct Failures {
    since: UnixMillis,
    count: u32,
}

impl Authenticator {
    /// Over that store.
    pub fn new(store: Store) -> Self {
        Self { store, failures: Mutex::new(HashMap::new()) }
    }

    /// The user whose key has that fingerprint (`SHA256:…`). The caller has seen the key's signature, or will.
    ///
    /// # Errors
    /// `Unauthenticated` if no user has that key.
    pub fn by_key(&self, fingerprint: &str) -> Result<Actor, Problem> {
        let user = match self.store.key(fingerprint)? {
            Some(key) => self.store.user(&key.user)?,
            None => None,
        };
        match user {
            Some(user) => Ok(Actor::User { name: user.name, owner: user.owner }),
            None => Err(Problem::new(
                ProblemKind::Unauthenticated,
                format!("No account has the key {fingerprint}."),
                "Add it to your account, or use the key that is there.",
            )),
        }
    }

    /// The user whose token has that value. `account`, where a name was given with it, must be that user's.
    ///
    /// # Errors
    /// `Unauthenticated` for a value that is unknown, expired or another account's; `Busy` where the address has
    /// failed too often.
    pub fn by_token(&self, account: Option<&str>, value: &str, peer: IpAddr) -> Result<Actor, Problem> {
        let now = UnixMillis::from(SystemTime::now());
        self.check_rate(peer, now)?;
        let result = self.token(account, value, now);
        if matches!(&result, Err(problem) if problem.kind == ProblemKind::Unauthenticated) {
            self.failed(peer, now);
        }
        result
    }

    fn token(&self, account: Option<&str>, value: &str, now: UnixMillis) -> Result<Actor, Problem> {
        let token = match TokenValue::parse(value) {
            Some(value) => self.store.token_by_value(&value.sha256())?,
            None => None,
        };
        let same = |user: &UserName| account.is_none_or(|name| user.as_str() == name);
        let Some(token) = token.filter(|t| same(&t.user)) else { return Err(wrong()) };
        if token.expired(now) {
            return Err(Problem::new(
                ProblemKind::Unauthenticated,
                format!("The token {:?} of {} has expired.", token.name, token.user),
                "Make a new one.",
            ));
        }
        let Some(user) = self.store.user(&token.user)? else { return Err(wrong()) };
        Ok(Actor::Token { name: user.name, owner: user.owner, scopes: token.scopes })
    }

    /// Refuses an address that has failed too often.
    pub(crate) fn check_rate(&self, peer: IpAddr, now: UnixMillis) -> Result<(), Problem> {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        match failures.get(&group(peer)) {
            Some(f) if f.count >= FAILURES_MAX && now.since(f.since) < FAILURE_WINDOW_MS => {
                Err(Problem::new(
                    ProblemKind::Busy,
                    format!("{} sign-ins from your address have failed within a minute.", f.count),
                    "Wait a minute and check the account and its token.",
                ))
            }
            _ => Ok(()),
        }
    }

    /// Remembers a failed sign-in.
    pub(crate) fn failed(&self, peer: IpAddr, now: UnixMillis) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() >= FAILURE_ADDRESSES_MAX && !failures.contains_key(&group(peer)) {
            failures.retain(|_, f| now.since(f.since) < FAILURE_WINDOW_MS);
            if failures.len() >= FAILURE_ADDRESSES_MAX {
                failures.clear();
            }
        }
        let entry = failures.entry(group(peer)).or_insert(Failures { since: now, count: 0 });
        if now.since(entry.since) >= FAILURE_WINDOW_MS {
            *entry = Failures { since: now, count: 0 };
        }
        entry.count = entry.count.saturating_add(1);
    }
}

/// One guesser commonly has a whole /64 of IPv6: it counts as one address.
pub(crate) fn group(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 => v4,
    }
}

/// Which of the two was wrong is not told.
fn wrong() -> Problem {
    Problem::new(
        ProblemKind::Unauthenticated,
        "The account name and the token do not go together, or there is no such token.",
        "Check both; a token is shown once, when it is made.",
    )
}
