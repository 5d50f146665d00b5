//! SSH keys, each of one user.

use slipway_core::people::{Parent, PublicKey};
use slipway_core::{Problem, UserName};

use super::refusal;
use crate::engine::Scan;
use crate::error::StoreError;
use crate::keys;
use crate::limits::{ID_BYTES_MAX, TEXT_BYTES_MAX};
use crate::store::Store;
use crate::tx::Tx;
use crate::view::View;

impl View<'_> {
    /// The key of that fingerprint.
    pub fn key(&self, fingerprint: &str) -> Result<Option<PublicKey>, StoreError> {
        if fingerprint.len() > ID_BYTES_MAX {
            return Ok(None);
        }
        self.get(&keys::public_key(fingerprint))
    }

    /// Keys by fingerprint, of one user or of all: those after `after`, at most `limit`.
    pub fn keys_after(
        &self,
        user: Option<&UserName>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<PublicKey>, StoreError> {
        let Some(user) = user else { return self.page(&keys::public_keys(), after, limit) };
        self.page_by_marks(&keys::keys_of(user), after, limit, |fingerprint| self.key(fingerprint))
    }
}

impl Tx<'_> {
    /// Records a key; its fingerprint must be new on the server.
    pub fn add_key(&mut self, new: &PublicKey) -> Result<(), StoreError> {
        refusal::check_length("fingerprint", &new.fingerprint, ID_BYTES_MAX)?;
        refusal::check_length("key", &new.openssh, TEXT_BYTES_MAX)?;
        refusal::check_length("title of the key", &new.title, TEXT_BYTES_MAX)?;
        self.need_user(&new.user)?;
        let key = keys::public_key(&new.fingerprint);
        if self.has(&key)? {
            return Err(refusal::taken("key", &new.fingerprint));
        }
        let most = self.limits.keys_per_account_max;
        if self.view().keys(&keys::keys_of(&new.user), Scan::Up).count() >= most {
            return Err(refusal::full(&format!("keys of {}", new.user), most));
        }
        self.mark(keys::key_of(&new.user, &new.fingerprint));
        self.put(key, new).map(drop)
    }

    /// Forgets a key, and ends what was made with it.
    pub fn remove_key(&mut self, fingerprint: &str) -> Result<(), StoreError> {
        refusal::check_length("fingerprint", fingerprint, ID_BYTES_MAX)?;
        if !self.has(&keys::public_key(fingerprint))? {
            return Err(refusal::missing("key", fingerprint));
        }
        self.end(Parent::Key { fingerprint: fingerprint.to_owned() })
    }

    /// Forgets the key alone, as part of a larger change; fine if there is none.
    pub(crate) fn forget_key(&mut self, fingerprint: &str) -> Result<(), StoreError> {
        let Some(old) = self.view().key(fingerprint)? else { return Ok(()) };
        self.remove(keys::key_of(&old.user, fingerprint))?;
        self.remove(keys::public_key(fingerprint))
    }

    /// Forgets a user's keys, as part of a larger change.
    pub(crate) fn remove_keys_of(&mut self, user: &UserName) -> Result<(), StoreError> {
        for key in self.view().keys_after(Some(user), None, usize::MAX)? {
            self.end(Parent::Key { fingerprint: key.fingerprint })?;
        }
        Ok(())
    }
}

impl Store {
    /// Records a key; its fingerprint must be new on the server.
    pub fn add_key(&self, key: &PublicKey) -> Result<(), Problem> {
        self.transact(|tx| tx.add_key(key))
    }
    /// The key of that fingerprint.
    pub fn key(&self, fingerprint: &str) -> Result<Option<PublicKey>, Problem> {
        self.read(|view| view.key(fingerprint))
    }
    /// All keys, or those of one user: for what needs all of them.
    pub fn keys(&self, user: Option<&UserName>) -> Result<Vec<PublicKey>, Problem> {
        self.keys_after(user, None, usize::MAX)
    }
    /// Keys by fingerprint, of one user or of all: those after `after`, at most `limit`.
    pub fn keys_after(
        &self,
        user: Option<&UserName>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<PublicKey>, Problem> {
        self.read(|view| view.keys_after(user, after, limit))
    }
    /// Forgets a key, and ends what was made with it.
    pub fn remove_key(&self, fingerprint: &str) -> Result<(), Problem> {
        self.transact(|tx| tx.remove_key(fingerprint))
    }
}
