//! What is said of a commit: by our builds and deploys, and by other systems. Pure.

use serde::{Deserialize, Serialize};

use crate::git::Oid;
use crate::id::{RepoId, UnixMillis};
use crate::limits::{STATUS_CONTEXT_BYTES_MAX, STATUS_DESCRIPTION_CHARS_MAX, STATUS_URL_BYTES_MAX};
use crate::problem::{Problem, ProblemKind};

/// What the contexts of our own begin with: nobody else can say them.
pub const OWN: &str = "slipway/";

/// What one system says of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StatusState {
    /// It is not over.
    Pending,
    /// It is well.
    Success,
    /// It is not.
    #[serde(alias = "error")]
    Failure,
}

/// One status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitStatus {
    /// Of which repository.
    pub repo: RepoId,
    /// Of which commit.
    pub commit: Oid,
    /// What says it, such as `ci/lint`: a later one of the same context takes its place.
    pub context: String,
    /// What it says.
    pub state: StatusState,
    /// Where more is to be seen.
    pub url: Option<String>,
    /// A few words; may be empty.
    pub description: String,
    /// By whom it was set.
    pub by: String,
    /// When.
    pub at: UnixMillis,
}

impl CommitStatus {
    /// Whether it can be recorded.
    ///
    /// # Errors
    /// `Invalid`, with what is wrong.
    pub fn check(&self) -> Result<(), Problem> {
        let (context, url) = (&self.context, self.url.as_deref().unwrap_or("https://x"));
        let plain = |text: &str| !text.chars().any(char::is_control);
        if context.trim().is_empty() || context.len() > STATUS_CONTEXT_BYTES_MAX || !plain(context) {
            let cure =
                format!("Give `context` 1 to {STATUS_CONTEXT_BYTES_MAX} bytes in one line, such as ci/lint.");
            return Err(invalid("The status has no context that can be recorded.", &cure));
        }
        if context.starts_with(OWN) {
            let cure = "Choose another `context`: these are derived from builds and deploys.";
            return Err(invalid(&format!("Contexts that begin with {OWN} are Slipway's own."), cure));
        }
        if self.description.chars().count() > STATUS_DESCRIPTION_CHARS_MAX || !plain(&self.description) {
            let cure = format!("Give {STATUS_DESCRIPTION_CHARS_MAX} characters at most, in one line.");
            return Err(invalid("The description is too long, or has control characters in it.", &cure));
        }
        if !is_address(url) {
            let cure = "Give an absolute http:// or https:// address, or none.";
            return Err(invalid("The status' address is none that a page may lead to.", cure));
        }
        Ok(())
    }
}

/// An address that a browser opens and nothing else: no `javascript:`, no blanks, no quotes.
fn is_address(url: &str) -> bool {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let host = rest.and_then(|rest| rest.split(['/', '?', '#']).next()).unwrap_or_default();
    let plain = url.bytes().all(|b| b.is_ascii_graphic() && !b"\"'<>\\^`{|}".contains(&b));
    !host.is_empty() && !host.contains('@') && plain && url.len() <= STATUS_URL_BYTES_MAX
}

fn invalid(what: &str, cure: &str) -> Problem {
    Problem::new(ProblemKind::Invalid, what, cure)
}

/// What all statuses of a commit come to; `None` where there is none.
pub fn combined(states: impl IntoIterator<Item = StatusState>) -> Option<StatusState> {
    states.into_iter().reduce(|all, one| match (all, one) {
        (StatusState::Failure, _) | (_, StatusState::Failure) => StatusState::Failure,
        (StatusState::Pending, _) | (_, StatusState::Pending) => StatusState::Pending,
        (StatusState::Success, StatusState::Success) => StatusState::Success,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> CommitStatus {
        CommitStatus {
            repo: RepoId(1),
            commit: Oid::Sha1([1; 20]),
            context: "ci/lint".into(),
            state: StatusState::Success,
            url: Some("https://ci.example/1?x=%20".into()),
            description: "fine".into(),
            by: "ann".into(),
            at: UnixMillis(1),
        }
    }

    #[test]
    fn what_cannot_be_recorded_or_shown_is_refused() {
        status().check().expect("fine");
        CommitStatus { url: None, description: String::new(), ..status() }.check().expect("fine");
        for context in ["", " ", "a\nb", "slipway/build", &"x".repeat(256)] {
            assert!(CommitStatus { context: context.into(), ..status() }.check().is_err(), "{context:?}");
        }
        for description in ["x".repeat(141), "a\u{1b}b".into()] {
            assert!(CommitStatus { description, ..status() }.check().is_err());
        }
        for url in [
            "javascript:alert(1)",
            "//x",
            "ftp://x",
            "https://",
            "https:///x",
            "https://x/\"onclick=",
            "https://x y",
            "https://a@b/",
            "HTTP://x",
        ] {
            assert!(CommitStatus { url: Some(url.into()), ..status() }.check().is_err(), "{url:?}");
        }
        let long = format!("https://x/{}", "y".repeat(3_000));
        assert!(CommitStatus { url: Some(long), ..status() }.check().is_err());
    }

    #[test]
    fn one_failure_is_the_commits_and_nothing_said_is_nothing() {
        use StatusState::{Failure, Pending, Success};
        assert_eq!(combined([]), None);
        assert_eq!(combined([Success, Success]), Some(Success));
        assert_eq!(combined([Success, Pending]), Some(Pending));
        assert_eq!(combined([Pending, Failure, Success]), Some(Failure));
        assert_eq!(serde_json::from_str::<StatusState>("\"error\"").expect("read"), Failure);
    }
}
