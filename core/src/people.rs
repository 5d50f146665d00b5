//! Users, their keys and their tokens, as recorded.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::access::Scope;
use crate::id::UnixMillis;
use crate::name::UserName;

/// A person or a machine with an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The account name.
    pub name: UserName,
    /// Owner of the server: may do everything.
    pub owner: bool,
    /// Since when.
    pub created: UnixMillis,
}

/// An SSH public key that proves a user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicKey {
    /// Whose.
    pub user: UserName,
    /// `SHA256:` and 43 base64 digits, as `ssh-keygen -l` prints it. Unique on the server.
    pub fingerprint: String,
    /// `ssh-ed25519 AAAA…`: algorithm and key, without the comment.
    pub openssh: String,
    /// What the user calls it.
    pub title: String,
    /// Since when.
    pub created: UnixMillis,
}

/// An access token. Its value is never stored, only the value's SHA-256.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Its public id: 12 characters, also part of the value.
    pub id: String,
    /// Whose.
    pub user: UserName,
    /// What the user calls it.
    pub name: String,
    /// What it is good for.
    pub scopes: BTreeSet<Scope>,
    /// Since when.
    pub created: UnixMillis,
    /// Until when; `None` is for ever.
    pub expires: Option<UnixMillis>,
}

impl Token {
    /// True once its time is over.
    pub fn expired(&self, now: UnixMillis) -> bool {
        self.expires.is_some_and(|end| end <= now)
    }
}
