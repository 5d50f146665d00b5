//! Roles that users have in repositories.

use slipway_core::{Action, Problem, Role, UserName};

use crate::access::repo;
use crate::caller::Caller;
use crate::forge::Forge;
use crate::page::{Page, Rows};
use crate::refusal::no_user;

/// Who has which role in a repository, by name.
///
/// # Errors
/// `Denied` unless the caller is an admin of it.
pub fn list(
    forge: &Forge,
    caller: &Caller,
    name: &str,
    page: &Page,
) -> Result<Rows<(UserName, Role)>, Problem> {
    let record = repo(forge, caller, name, Action::AdminRepo)?;
    let mut grants = forge.store.grants(record.id)?;
    grants.sort();
    page.cut(grants, |(user, _)| user.as_str())
}

/// Gives a user a role.
///
/// # Errors
/// `Denied` unless the caller is an admin of the repository; `NotFound` for an unknown user.
pub fn give(forge: &Forge, caller: &Caller, name: &str, user: &UserName, role: Role) -> Result<(), Problem> {
    let record = repo(forge, caller, name, Action::AdminRepo)?;
    forge.store.user(user)?.ok_or_else(|| no_user(user))?;
    forge.store.grant(user, record.id, role)
}

/// Takes a user's role away; fine if there is none.
///
/// # Errors
/// `Denied` unless the caller is an admin of the repository.
pub fn take(forge: &Forge, caller: &Caller, name: &str, user: &UserName) -> Result<(), Problem> {
    let record = repo(forge, caller, name, Action::AdminRepo)?;
    forge.store.revoke(user, record.id)
}
