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

/// What a session or a token was made with: it ends with it at the latest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Parent {
    /// A token.
    Token {
        /// Its public id.
        id: String,
    },
    /// An SSH key.
    Key {
        /// `SHA256:…`.
        fingerprint: String,
    },
}

/// A signed-in browser. Its cookie is never stored, only the cookie's SHA-256.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Whose.
    pub user: UserName,
    /// Until when.
    pub expires: UnixMillis,
    /// What it was opened with. Records from before this was kept have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Parent>,
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
    /// What it was made with. `None`: made by whoever holds the server, or before this was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Parent>,
}

impl Token {
    /// True once its time is over.
    pub fn expired(&self, now: UnixMillis) -> bool {
        self.expires.is_some_and(|end| end <= now)
    }
}
