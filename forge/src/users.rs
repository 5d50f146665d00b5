//! Accounts.

use slipway_core::people::{PublicKey, User};
use slipway_core::{Action, Problem, UserName};

use crate::access::{may, may_manage};
use crate::caller::Caller;
use crate::forge::Forge;
use crate::keys::read_key;
use crate::limits::USER_KEYS_MAX;
use crate::page::{Page, Rows};
use crate::refusal::{invalid, key_taken, no_user};

/// A user to be added.
#[derive(Clone, Debug)]
pub struct NewUser {
    /// The account's name.
    pub name: UserName,
    /// Owner of the server.
    pub owner: bool,
    /// Public keys, as OpenSSH writes them.
    pub keys: Vec<String>,
}

/// All users, by name.
///
/// # Errors
/// `Denied` unless the caller is an owner.
pub fn list(forge: &Forge, caller: &Caller, page: &Page) -> Result<Rows<User>, Problem> {
    may(caller, Action::AdminServer)?;
    page.ask(|after, limit| forge.store.users_after(after, limit), |u| u.name.as_str())
}

/// One user: oneself, or anybody for an owner.
///
/// # Errors
/// `Denied` for others; `NotFound`.
pub fn show(forge: &Forge, caller: &Caller, name: &UserName) -> Result<User, Problem> {
    may_manage(caller, name)?;
    forge.store.user(name)?.ok_or_else(|| no_user(name))
}

/// Adds a user with their first keys: all of it or nothing.
///
/// # Errors
/// `Denied` unless the caller is an owner; `Conflict` for a name or a key that is known; `Invalid`.
pub fn add(forge: &Forge, caller: &Caller, new: &NewUser) -> Result<(User, Vec<PublicKey>), Problem> {
    may(caller, Action::AdminServer)?;
    if new.keys.len() > USER_KEYS_MAX {
        return Err(invalid(
            format!("A user can be added with {USER_KEYS_MAX} keys."),
            "Add the others later.",
        ));
    }
    let now = forge.now();
    let keys =
        new.keys.iter().map(|line| read_key(&new.name, line, None, now)).collect::<Result<Vec<_>, _>>()?;
    let user = User { name: new.name.clone(), owner: new.owner, created: now };
    forge.store.transact(|tx| {
        tx.create_user(&user)?;
        for key in &keys {
            if tx.view().key(&key.fingerprint)?.is_some() {
                return Err(key_taken(&key.fingerprint).into());
            }
            tx.add_key(key)?;
        }
        Ok(())
    })?;
    Ok((user, keys))
}

/// Makes a user an owner of the server, or no owner any more. Sessions, keys and tokens are good for what their user may do
/// at each moment, so it holds at once.
///
/// # Errors
/// `Denied` unless the caller is an owner; `Conflict` for the last owner; `NotFound`.
pub fn set_owner(forge: &Forge, caller: &Caller, name: &UserName, owner: bool) -> Result<User, Problem> {
    may(caller, Action::AdminServer)?;
    let user = forge.store.transact(|tx| tx.set_owner(name, owner))?;
    tracing::info!(user = %name, owner, by = caller.actor.label(), "who owns the server was changed");
    Ok(user)
}

/// Removes a user with their keys, tokens, sessions and roles.
///
/// # Errors
/// `Denied` unless the caller is an owner; `Conflict` for the last owner; `NotFound`.
pub fn remove(forge: &Forge, caller: &Caller, name: &UserName) -> Result<(), Problem> {
    may(caller, Action::AdminServer)?;
    forge.store.remove_user(name)
}

/// For whom something is made: the named user, or the caller. The server itself has no keys and no tokens.
pub(crate) fn subject(caller: &Caller, named: Option<UserName>) -> Result<UserName, Problem> {
    let user = match (named, caller.user()) {
        (Some(user), _) => user,
        (None, Some(own)) => own.clone(),
        (None, None) => {
            may(caller, Action::AdminServer)?;
            return Err(invalid("No user is named.", "Name the user it is for."));
        }
    };
    may_manage(caller, &user)?;
    Ok(user)
}

/// Whose rows a list shows: those of the named user; without a name everybody's for owners, else one's own.
pub(crate) fn whose(caller: &Caller, named: Option<&UserName>) -> Result<Option<UserName>, Problem> {
    match (named, caller.user()) {
        (Some(user), _) => may_manage(caller, user).map(|()| Some(user.clone())),
        (None, Some(own)) if may(caller, Action::AdminServer).is_err() => {
            may_manage(caller, own).map(|()| Some(own.clone()))
        }
        (None, _) => may(caller, Action::AdminServer).map(|()| None),
    }
}
