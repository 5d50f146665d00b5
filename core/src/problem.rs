//! What went wrong, for people: one sentence on what happened, one on what to do.
//!
//! Every room keeps typed errors of its own and turns them into a [`Problem`] at its edge; SSH, HTTP, the command
//! line and the pages print the same two sentences.

use serde::{Deserialize, Serialize};

/// The class of a problem: all that a surface needs to choose an exit status or an HTTP status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProblemKind {
    /// It does not exist, or the actor may not know that it does.
    NotFound,
    /// The actor is known and may not do this.
    Denied,
    /// Nobody has proved who they are.
    Unauthenticated,
    /// The input is wrong.
    Invalid,
    /// It clashes with what is there (a name taken, a ref that moved).
    Conflict,
    /// A limit was crossed.
    TooLarge,
    /// Too much work is under way; later it may go through.
    Busy,
    /// The server's disk takes nothing now: it is full, or fails. Later it may go through.
    Unwritable,
    /// A part outside this program (engine, registry, cluster) does not answer.
    Unavailable,
    /// It was cancelled.
    Cancelled,
    /// It took longer than allowed.
    TimedOut,
    /// Something is broken here: disk, database, repository.
    Broken,
}

/// One thing that went wrong, ready to be shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{what} {cure}")]
pub struct Problem {
    /// The class.
    pub kind: ProblemKind,
    /// What happened: a full sentence with names and numbers.
    pub what: String,
    /// What to do about it: a full sentence. May be empty only where nothing can be done.
    pub cure: String,
}

impl Problem {
    /// Builds a problem from its two sentences.
    pub fn new(kind: ProblemKind, what: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { kind, what: what.into(), cure: cure.into() }
    }

    /// The one answer for "no such repository" and "not yours to see", so that neither reveals the other.
    pub fn no_such_repository(name: &str) -> Self {
        Self::new(
            ProblemKind::NotFound,
            format!("There is no repository {name:?} that you may see."),
            "Check the name, or ask an owner of this server for access.",
        )
    }

    /// True where the same may go through a little later.
    pub fn may_pass(&self) -> bool {
        matches!(self.kind, ProblemKind::Busy | ProblemKind::Unwritable | ProblemKind::Unavailable)
    }

    /// The HTTP status that goes with the class.
    pub fn http_status(&self) -> u16 {
        match self.kind {
            ProblemKind::NotFound => 404,
            ProblemKind::Denied => 403,
            ProblemKind::Unauthenticated => 401,
            ProblemKind::Invalid => 400,
            ProblemKind::Conflict => 409,
            ProblemKind::TooLarge => 413,
            ProblemKind::Busy | ProblemKind::Unwritable | ProblemKind::Unavailable => 503,
            ProblemKind::Cancelled => 409,
            ProblemKind::TimedOut => 504,
            ProblemKind::Broken => 500,
        }
    }
}

/// The words of an error as a sentence: a full stop at its end, and its first letter raised, unless it begins with a name (a ref,
/// a path, a quotation), which is never written otherwise than it is.
pub fn sentence(words: &str) -> String {
    let first = words.split(' ').next().unwrap_or_default();
    let is_word = !first.is_empty() && first.chars().all(|c| c.is_alphabetic() || matches!(c, '\'' | ','));
    let mut text = String::with_capacity(words.len() + 1);
    let mut rest = words.chars();
    if is_word {
        text.extend(rest.next().into_iter().flat_map(char::to_uppercase));
    }
    text.extend(rest);
    if !text.ends_with(['.', '!', '?']) {
        text.push('.');
    }
    text
}

/// An address as it may be told: without the name and password that some write before the host.
pub fn without_account(address: &str) -> String {
    let (scheme, rest) = address
        .split_once("://")
        .map_or(("", address), |(_, rest)| address.split_at(address.len() - rest.len()));
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..end].rfind('@') {
        Some(at) if rest[..at].contains(':') => format!("{scheme}…{}", &rest[at..]),
        _ => address.to_owned(),
    }
}

#[cfg(test)]
#[test]
fn an_address_is_told_without_its_password() {
    for (address, told) in [
        ("tcp://u:hunter2@x:1", "tcp://…@x:1"),
        ("http://u:a@hunter2@x/p", "http://…@x/p"),
        ("u:hunter2@x", "…@x"),
        ("ssh://ci@h:22/run", "ssh://ci@h:22/run"),
        ("https://h/a:b@c", "https://h/a:b@c"),
        ("", ""),
    ] {
        assert_eq!(without_account(address), told);
    }
}

#[cfg(test)]
mod tests {
    use super::sentence;

    #[test]
    fn words_become_a_sentence_and_names_stay_as_they_are() {
        for (words, wanted) in [
            ("the ref x is gone", "The ref x is gone."),
            ("refs/heads/x is gone", "refs/heads/x is gone."),
            ("main.rs:3: it ends here.", "main.rs:3: it ends here."),
            ("\"a b\" has ' '", "\"a b\" has ' '."),
            ("it's over", "It's over."),
            ("", "."),
        ] {
            assert_eq!(sentence(words), wanted);
        }
    }
}
