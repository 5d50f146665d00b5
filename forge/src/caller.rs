//! Who acts: the actor, by which credential, by which surface, from where. Says nothing of what they may do.

use std::net::IpAddr;
use std::sync::Arc;

use slipway_core::{Actor, UnixMillis, UserName};

/// What proved who the caller is. It is looked up again when something is done ([`crate::access::renew`]), so nothing
/// here is a right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// Nothing: nobody in particular, or the server itself.
    None,
    /// A place that only the server's owner can reach: the admin socket.
    Host,
    /// An SSH key.
    Key {
        /// `SHA256:…`.
        fingerprint: Arc<str>,
    },
    /// An access token.
    Token {
        /// Its public id.
        id: String,
        /// The SHA-256 of its value.
        sha256: [u8; 32],
        /// Until when it is good.
        expires: Option<UnixMillis>,
    },
    /// A browser's session.
    Session {
        /// The SHA-256 of its cookie.
        sha256: [u8; 32],
    },
}

/// The way by which somebody came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Surface {
    /// The pages.
    Pages,
    /// The JSON API over HTTP.
    Api,
    /// Git over HTTP.
    GitHttp,
    /// SSH: Git, or a verb of the command line.
    Ssh,
    /// The admin socket.
    Admin,
    /// The server itself.
    Server,
}

impl Surface {
    /// Its name in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pages => "pages",
            Self::Api => "api",
            Self::GitHttp => "git over http",
            Self::Ssh => "ssh",
            Self::Admin => "admin socket",
            Self::Server => "server",
        }
    }
}

/// Who acts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Who.
    pub actor: Actor,
    /// By which credential.
    pub credential: Credential,
    /// By which surface.
    pub surface: Surface,
    /// From where; `None` where there is no network between.
    pub from: Option<IpAddr>,
}

impl Caller {
    /// Nobody in particular.
    pub fn anonymous(surface: Surface, from: Option<IpAddr>) -> Self {
        Self { actor: Actor::Anonymous, credential: Credential::None, surface, from }
    }

    /// Whoever can open the admin socket in the data folder.
    pub fn host() -> Self {
        Self { actor: Actor::Server, credential: Credential::Host, surface: Surface::Admin, from: None }
    }

    /// The server, acting by itself.
    pub fn server() -> Self {
        Self { actor: Actor::Server, credential: Credential::None, surface: Surface::Server, from: None }
    }

    /// The user behind it, if there is one.
    pub fn user(&self) -> Option<&UserName> {
        self.actor.user()
    }
}
