//! Users, and what goes with them.

use slipway_core::people::User;
use slipway_core::{Problem, ProblemKind, UserName};

use super::refusal;
use crate::engine::Scan;
use crate::error::StoreError;
use crate::keys::{self, Counter};
use crate::store::Store;
use crate::tx::Tx;
use crate::view::View;

impl View<'_> {
    /// The user of that name.
    pub fn user(&self, name: &UserName) -> Result<Option<User>, StoreError> {
        self.get(&keys::user(name))
    }

    /// Users by name: those after `after` (`None`: from the first), at most `limit`.
    pub fn users_after(&self, after: Option<&str>, limit: usize) -> Result<Vec<User>, StoreError> {
        self.page(&keys::users(), after, limit)
    }

    fn another_owner(&self, than: &UserName) -> Result<bool, StoreError> {
        for user in self.records::<User>(&keys::users(), Scan::Up) {
            let user = user?;
            if user.owner && user.name != *than {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Tx<'_> {
    /// Records a new user.
    pub fn create_user(&mut self, user: &User) -> Result<(), StoreError> {
        let key = keys::user(&user.name);
        if self.has(&key)? {
            return Err(refusal::taken("user", &user.name));
        }
        if let Some(other) = self.view().alike(&keys::users(), user.name.as_str(), None)? {
            return Err(refusal::alike("user", &user.name, &other));
        }
        let most = self.limits.accounts_max;
        if self.count_up(Counter::Users)? > most as u64 {
            return Err(refusal::full("users", most));
        }
        self.put(key, user).map(drop)
    }

    /// Makes a user an owner of the server, or no owner any more; gives what is recorded then. The last owner stays one.
    pub fn set_owner(&mut self, name: &UserName, owner: bool) -> Result<User, StoreError> {
        let user = self.view().user(name)?.ok_or_else(|| refusal::missing("user", name))?;
        if user.owner == owner {
            return Ok(user);
        }
        if user.owner && !self.view().another_owner(name)? {
            return Err(refusal::refuse(
                ProblemKind::Conflict,
                format!("{name} is the last owner of this server and has to stay one."),
                "Make somebody else an owner first.",
            ));
        }
        let user = User { owner, ..user };
        self.put(keys::user(name), &user)?;
        Ok(user)
    }

    /// Forgets a user with their keys, tokens, sessions and grants. The last owner cannot go.
    pub fn remove_user(&mut self, name: &UserName) -> Result<(), StoreError> {
        let user = self.view().user(name)?.ok_or_else(|| refusal::missing("user", name))?;
        if user.owner && !self.view().another_owner(name)? {
            return Err(refusal::refuse(
                ProblemKind::Conflict,
                format!("{name} is the last owner of this server and cannot be removed."),
                "Add another owner first.",
            ));
        }
        self.remove(keys::user(name))?;
        self.count_down(Counter::Users, 1)?;
        self.remove_keys_of(name)?;
        self.remove_tokens_of(name)?;
        self.remove_sessions_of(name)?;
        self.forget_made_by(name)?;
        self.remove_grants_of(name)
    }

    /// Refuses what belongs to nobody.
    pub(crate) fn need_user(&self, user: &UserName) -> Result<(), StoreError> {
        if self.has(&keys::user(user))? { Ok(()) } else { Err(refusal::missing("user", user)) }
    }
}

impl Store {
    /// Records a new user.
    pub fn create_user(&self, user: &User) -> Result<(), Problem> {
        self.transact(|tx| tx.create_user(user))
    }
    /// The user of that name.
    pub fn user(&self, name: &UserName) -> Result<Option<User>, Problem> {
        self.read(|view| view.user(name))
    }
    /// All users by name, up to the bound of the server's: for what needs all of them.
    pub fn users(&self) -> Result<Vec<User>, Problem> {
        self.users_after(None, usize::MAX)
    }
    /// Users by name: those after `after` (`None`: from the first), at most `limit`.
    pub fn users_after(&self, after: Option<&str>, limit: usize) -> Result<Vec<User>, Problem> {
        self.read(|view| view.users_after(after, limit))
    }
    /// Forgets a user with their keys, tokens, sessions and grants. The last owner cannot go.
    pub fn remove_user(&self, name: &UserName) -> Result<(), Problem> {
        self.transact(|tx| tx.remove_user(name))
    }
}
