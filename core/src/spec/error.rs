//! What is wrong with a slipway.toml, where, and what was meant.

use crate::place::{Place, Wrong, with_what_was_meant};
use crate::problem::{Problem, ProblemKind};

/// What is wrong with a slipway.toml, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("slipway.toml:{line}:{column}: {message}")]
pub struct SpecError {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
}

/// With a full stop, unless a mark ends it already ("did you mean `test`?").
fn sentence(text: &str) -> String {
    if text.ends_with(['?', '!', '.']) { text.to_owned() } else { format!("{text}.") }
}

impl From<SpecError> for Problem {
    fn from(e: SpecError) -> Self {
        Problem::new(ProblemKind::Invalid, sentence(&e.to_string()), "Mend slipway.toml and push again.")
    }
}

pub(super) fn at(text: &str, offset: usize, message: String) -> SpecError {
    let Place { line, column } = Place::of(text, offset);
    SpecError { line, column, message: message.lines().next().unwrap_or_default().to_owned() }
}

/// What is wrong with values that were read, with its place.
pub(super) fn placed(text: &str, wrong: Wrong) -> SpecError {
    at(text, wrong.offset(text), wrong.what)
}

/// Adds the nearest known key to serde's "unknown field `x`, expected one of `a`, `b`".
pub(super) fn suggest(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    if !message.starts_with("unknown field") {
        return with_what_was_meant(message);
    }
    let Some(wrong) = quoted.next() else { return message.to_owned() };
    let known: Vec<&str> = quoted.collect();
    // The nearest key would be `branch`, which is the manifests' own, and makes it worse.
    if matches!(wrong, "branches" | "tags" | "ref" | "refs" | "when") && known.contains(&"on") {
        let does = match () {
            () if known.contains(&"repo") => "deploy",
            () if known.contains(&"dockerfile") => "build",
            () => "move it",
        };
        let named = if wrong == "tags" { "tags" } else { "branches" };
        return format!("unknown key `{wrong}`; which refs {does} is said by `on = {{ {named} = […] }}`");
    }
    with_what_was_meant(message)
}
