//! Signed-in browsers: seen and ended by whose they are, and by owners.

use slipway_core::people::Parent;
use slipway_core::{Problem, UnixMillis, UserName};

use crate::access::may_manage;
use crate::caller::{Caller, Credential};
use crate::forge::Forge;
use crate::refusal::no_user;

/// A session, as people see it.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The first characters of its cookie's SHA-256, which tell it from the user's others and open nothing.
    pub id: String,
    /// Until when.
    pub expires: UnixMillis,
    /// What it was opened with, where that is known.
    pub parent: Option<Parent>,
    /// Whether it is the one that asks.
    pub current: bool,
}

/// The sessions of a user: what ends soonest comes first. At most as many as a user may have at once.
///
/// # Errors
/// `Denied` for others' unless the caller is an owner; `NotFound`.
pub fn list(forge: &Forge, caller: &Caller, user: &UserName) -> Result<Vec<Shown>, Problem> {
    may_manage(caller, user)?;
    let now = forge.now();
    let found = forge.store.read(|records| {
        records.user(user)?.ok_or_else(|| no_user(user))?;
        records.sessions_of(user, now)
    })?;
    let own = match &caller.credential {
        Credential::Session { sha256 } => Some(*sha256),
        _ => None,
    };
    let show = |(cookie, session): ([u8; 32], slipway_core::people::Session)| Shown {
        id: cookie.iter().take(6).map(|byte| format!("{byte:02x}")).collect(),
        expires: session.expires,
        parent: session.parent,
        current: own == Some(cookie),
    };
    Ok(found.into_iter().map(show).collect())
}

/// Signs a user out everywhere: ends all their sessions, the one that asks among them.
///
/// # Errors
/// `Denied` for others' unless the caller is an owner; `NotFound`.
pub fn end_all(forge: &Forge, caller: &Caller, user: &UserName) -> Result<(), Problem> {
    may_manage(caller, user)?;
    forge.store.transact(|tx| {
        tx.view().user(user)?.ok_or_else(|| no_user(user))?;
        tx.remove_sessions_of(user)
    })
}
