//! SSH public keys that prove users.

use slipway_core::people::PublicKey;
use slipway_core::{Action, Actor, Problem, SshKey, UnixMillis, UserName};

use crate::access::{is_owner, may};
use crate::caller::Caller;
use crate::forge::Forge;
use crate::limits::TITLE_BYTES_MAX;
use crate::page::{Page, Rows};
use crate::refusal::{cut, missing, no_user, plain_line};
use crate::users::{subject, whose};

/// Keys: of the named user; without a name everybody's for owners, else one's own.
///
/// # Errors
/// `Denied` for others' keys.
pub fn list(
    forge: &Forge,
    caller: &Caller,
    user: Option<&UserName>,
    page: &Page,
) -> Result<Rows<PublicKey>, Problem> {
    let whose = whose(caller, user)?;
    page.ask(|after, limit| forge.store.keys_after(whose.as_ref(), after, limit), |k| &k.fingerprint)
}

/// Keys of one user that are known, for whoever checks signatures in a push: an account's keys are no secret to the
/// account.
///
/// # Errors
/// `Broken` for a failing disk.
pub fn of_user(forge: &Forge, user: &UserName) -> Result<Vec<PublicKey>, Problem> {
    forge.store.keys(Some(user))
}

/// Whose key that is, by its fingerprint.
///
/// # Errors
/// `Broken` for a failing disk.
pub fn find(forge: &Forge, fingerprint: &str) -> Result<Option<PublicKey>, Problem> {
    forge.store.key(fingerprint)
}

/// Records a key for `user`, or for the caller.
///
/// # Errors
/// `Denied` for others' accounts; `Conflict` for a key that is known; `Invalid`; `NotFound`.
pub fn add(
    forge: &Forge,
    caller: &Caller,
    user: Option<UserName>,
    line: &str,
    title: Option<String>,
) -> Result<PublicKey, Problem> {
    let user = subject(caller, user)?;
    let key = read_key(&user, line, title, forge.now())?;
    forge.store.transact(|tx| {
        tx.view().user(&user)?.ok_or_else(|| no_user(&user))?;
        tx.add_key(&key)
    })?;
    Ok(key)
}

/// Forgets a key of the caller's, or of anybody's for an owner, and ends what was made with it. Others' keys are answered
/// as unknown ones.
///
/// # Errors
/// `NotFound`; `Denied`.
pub fn remove(forge: &Forge, caller: &Caller, fingerprint: &str) -> Result<(), Problem> {
    may(caller, own_or_server(caller))?;
    let (own, all) = (caller.user(), is_owner(caller));
    forge.store.transact(|tx| match tx.view().key(fingerprint)? {
        Some(key) if all || Some(&key.user) == own => tx.remove_key(fingerprint),
        _ => Err(missing(format!("There is no key {:?} of yours.", cut(fingerprint))).into()),
    })
}

pub(crate) fn own_or_server(caller: &Caller) -> Action {
    if matches!(caller.actor, Actor::Server) { Action::AdminServer } else { Action::ManageSelf }
}

pub(crate) fn read_key(
    user: &UserName,
    line: &str,
    given: Option<String>,
    now: UnixMillis,
) -> Result<PublicKey, Problem> {
    let key = SshKey::parse(line)?;
    let given = given.filter(|t| !t.trim().is_empty()).unwrap_or(key.comment);
    Ok(PublicKey {
        user: user.clone(),
        fingerprint: key.fingerprint,
        openssh: key.openssh,
        title: plain_line(&given, "key's title", TITLE_BYTES_MAX)?,
        created: now,
    })
}
