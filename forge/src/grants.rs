//! Roles that users have in repositories.

use slipway_core::{Action, Problem, Role, UserName};

use crate::access::{repo, repo_in};
use crate::caller::Caller;
use crate::forge::Forge;
use crate::page::{Page, Rows};
use crate::probes;
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
    page.ask(|after, limit| forge.store.grants_after(record.id, after, limit), |(user, _)| user.as_str())
}

/// Gives a user a role.
///
/// # Errors
/// `Denied` unless the caller is an admin of the repository; `NotFound` for an unknown user; `Busy` for too many of those.
pub fn give(forge: &Forge, caller: &Caller, name: &str, user: &UserName, role: Role) -> Result<(), Problem> {
    probes::check(forge, caller)?;
    let given = forge.store.transact(|tx| {
        let record = repo_in(tx.view(), caller, name, Action::AdminRepo)?;
        tx.view().user(user)?.ok_or_else(|| no_user(user))?;
        tx.grant(user, record.id, role)
    });
    probes::told(forge, caller, given)
}

/// Takes a user's role away; fine if there is none.
///
/// # Errors
/// `Denied` unless the caller is an admin of the repository.
pub fn take(forge: &Forge, caller: &Caller, name: &str, user: &UserName) -> Result<(), Problem> {
    forge.store.transact(|tx| {
        let record = repo_in(tx.view(), caller, name, Action::AdminRepo)?;
        tx.revoke(user, record.id)
    })
}
