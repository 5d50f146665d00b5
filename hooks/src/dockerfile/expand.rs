//! Variables in image names, as `FROM` knows them: the arguments that are declared before the first stage.

use std::collections::HashMap;

use super::ANYTHING;
use super::words::Words;
use crate::limits::DOCKERFILE_BRACES_MAX;

/// What is known of variables: their value, or that they may be anything.
pub(super) struct Known {
    args: HashMap<String, String>,
    declared: HashMap<String, String>,
    /// Whether a name that was not declared is empty; otherwise it may be anything.
    closed: bool,
}

/// Arguments that every builder declares by itself.
const GIVEN: [&str; 9] = [
    "TARGETPLATFORM",
    "TARGETOS",
    "TARGETARCH",
    "TARGETVARIANT",
    "TARGETSTAGE",
    "BUILDPLATFORM",
    "BUILDOS",
    "BUILDARCH",
    "BUILDVARIANT",
];

impl Known {
    pub(super) fn new(args: &HashMap<String, String>) -> Self {
        Self { args: args.clone(), declared: HashMap::new(), closed: true }
    }

    pub(super) fn nothing() -> Self {
        Self { args: HashMap::new(), declared: HashMap::new(), closed: false }
    }

    /// Takes `ARG NAME[=VALUE]…`. A name that is declared twice with two values may be either, and so anything.
    pub(super) fn declare(&mut self, words: &Words) {
        for word in words.plain.iter().skip(1) {
            let (name, default) = word.split_once('=').unwrap_or((word, ""));
            let value = match self.args.get(name) {
                Some(given) => given.clone(),
                None => expand(default, self),
            };
            let other = self.declared.get(name).is_some_and(|before| *before != value);
            let value = if other { ANYTHING.to_string() } else { value };
            self.declared.insert(name.to_owned(), value);
        }
    }

    fn value(&self, name: &str) -> Option<String> {
        match self.declared.get(name) {
            Some(value) => Some(value.clone()),
            None if !self.closed || GIVEN.contains(&name) => Some(ANYTHING.to_string()),
            None => None,
        }
    }
}

/// The word with its variables filled in. Forms that are not known here may give anything.
pub(super) fn expand(word: &str, known: &Known) -> String {
    expand_within(word, known, 0)
}

fn expand_within(word: &str, known: &Known, depth: usize) -> String {
    if depth > DOCKERFILE_BRACES_MAX {
        return ANYTHING.to_string();
    }
    let mut out = String::new();
    let mut rest = word;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(inner) = rest.strip_prefix('{') {
            let end = closing(inner);
            out.push_str(&braced(&inner[..end], known, depth));
            rest = inner.get(end + 1..).unwrap_or_default();
        } else {
            let end = rest.find(|c: char| !is_name(c)).unwrap_or(rest.len());
            match end {
                0 => out.push(ANYTHING),
                _ => out.push_str(&known.value(&rest[..end]).unwrap_or_default()),
            }
            rest = &rest[end..];
        }
    }
    out.push_str(rest);
    out
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Where the brace closes; the end if it does not.
fn closing(text: &str) -> usize {
    let mut depth = 0usize;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => return at,
            '}' => depth -= 1,
            _ => {}
        }
    }
    text.len()
}

/// `NAME`, `NAME:-other`, `NAME-other`, `NAME:+other`, `NAME+other`.
fn braced(inner: &str, known: &Known, depth: usize) -> String {
    let end = inner.find(|c: char| !is_name(c)).unwrap_or(inner.len());
    let (name, form) = inner.split_at(end);
    let value = known.value(name);
    let colon = form.starts_with(':');
    let is_set = value.as_ref().is_some_and(|v| !colon || !v.is_empty());
    let may_be_either = value.as_ref().is_some_and(|v| v.contains(ANYTHING));
    let form = form.strip_prefix(':').unwrap_or(form);
    match (form.chars().next(), form.get(1..)) {
        _ if name.is_empty() => ANYTHING.to_string(),
        (None, _) => value.unwrap_or_default(),
        (Some('-' | '+'), _) if may_be_either => ANYTHING.to_string(),
        (Some('-'), Some(other)) if !is_set => expand_within(other, known, depth + 1),
        (Some('+'), Some(other)) if is_set => expand_within(other, known, depth + 1),
        (Some('-'), _) => value.unwrap_or_default(),
        (Some('+'), _) => String::new(),
        _ => ANYTHING.to_string(),
    }
}
