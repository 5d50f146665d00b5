//! What is wrong with a slipway.toml, where, and what was meant.

use crate::nearest::nearest;
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
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |i| i + 1);
    SpecError {
        line: before.matches('\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
        message: message.lines().next().unwrap_or_default().to_owned(),
    }
}

/// Where a key stands, for rules that look at values together: its line, or that of a table below it.
pub(super) fn find_key(text: &str, key: &str) -> usize {
    let below = format!(".{key}");
    let names = |line: &str| line.trim_start_matches('[').starts_with(key);
    let is_below = |line: &str| line.starts_with('[') && line.contains(&below);
    find_line(text, names).or_else(|| find_line(text, is_below)).unwrap_or_default()
}

fn find_line(text: &str, is: impl Fn(&str) -> bool) -> Option<usize> {
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        let trimmed = line.trim_start();
        if is(trimmed) {
            return Some(offset + (line.len() - trimmed.len()));
        }
        offset += line.len();
    }
    None
}

/// Adds the nearest known key to serde's "unknown field `x`, expected one of `a`, `b`".
pub(super) fn suggest(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    if !message.starts_with("unknown field") {
        return message.to_owned();
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
    match nearest(wrong, known) {
        Some(known) => format!("unknown key `{wrong}`; did you mean `{known}`?"),
        None => message.replacen("unknown field", "unknown key", 1),
    }
}
