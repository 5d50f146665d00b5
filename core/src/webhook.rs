//! Webhooks as recorded: which address hears of what, and in which form. Knows no HTTP.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::id::{RepoId, UnixMillis, WebhookNumber};
use crate::problem::{Problem, ProblemKind};

/// In which form an address is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WebhookKind {
    /// A body and headers that consumers of Gitea, Gogs and GitHub understand.
    #[default]
    Gitea,
    /// Jenkins's `git/notifyCommit`.
    Jenkins,
    /// A small body of our own.
    Plain,
}

/// What an address can hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WebhookEvent {
    /// A ref moved.
    Push,
    /// A build ended.
    Build,
    /// A deploy ended.
    Deploy,
}

impl WebhookKind {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gitea => "gitea",
            Self::Jenkins => "jenkins",
            Self::Plain => "plain",
        }
    }
}

impl FromStr for WebhookKind {
    type Err = Problem;
    fn from_str(raw: &str) -> Result<Self, Problem> {
        match raw {
            // They are told in one and the same form.
            "gitea" | "github" | "gogs" => Ok(Self::Gitea),
            "jenkins" => Ok(Self::Jenkins),
            "plain" => Ok(Self::Plain),
            _ => Err(unknown("kind of webhook", raw, "gitea, jenkins or plain")),
        }
    }
}

impl WebhookEvent {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Push, Self::Build, Self::Deploy];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::Build => "build",
            Self::Deploy => "deploy",
        }
    }
}

impl fmt::Display for WebhookEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for WebhookEvent {
    type Err = Problem;
    fn from_str(raw: &str) -> Result<Self, Problem> {
        let found = Self::ALL.into_iter().find(|event| event.as_str() == raw);
        found.ok_or_else(|| unknown("event", raw, "push, build or deploy"))
    }
}

fn unknown(what: &str, raw: &str, known: &str) -> Problem {
    let raw: String = raw.chars().take(40).collect();
    Problem::new(ProblemKind::Invalid, format!("There is no {what} {raw:?}."), format!("Use {known}."))
}

/// A webhook as recorded; its secret lies encrypted beside it in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Webhook {
    /// Whose.
    pub repo: RepoId,
    /// Which of the repository's, from 1.
    pub number: WebhookNumber,
    /// Where it sends to.
    pub url: String,
    /// In which form.
    pub kind: WebhookKind,
    /// Of what.
    pub events: BTreeSet<WebhookEvent>,
    /// Whether it has a secret.
    pub signed: bool,
    /// Who added it.
    pub by: String,
    /// Since when.
    pub created: UnixMillis,
}

impl Webhook {
    /// The address for people: what follows a `?` may be a password.
    pub fn shown_url(&self) -> String {
        match self.url.split_once('?') {
            Some((address, _)) => format!("{address}?…"),
            None => self.url.clone(),
        }
    }
}
