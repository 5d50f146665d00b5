//! `when`, `trigger` and `branches`: which pushes a step is for.

use crate::import::condition::{self, ALL, Condition, Refs};
use crate::import::found::{Found, quoted};
use crate::import::yaml::Node;

/// A condition, or a list of them of which one has to hold.
pub(super) fn of(found: &mut Found, node: &Node) -> Condition {
    if node.items().is_empty() {
        return one(found, node);
    }
    let all: Vec<Condition> = node.items().iter().map(|item| one(found, item)).collect();
    let paths = if all.iter().any(|c| c.paths.is_empty()) {
        Vec::new()
    } else {
        all.iter().flat_map(|c| c.paths.clone()).collect()
    };
    let refs = all.into_iter().map(|condition| condition.refs).reduce(Refs::or).unwrap_or_default();
    Condition { refs, paths, by_hand: false }
}

/// `branches: [main]`, of the whole workflow.
pub(super) fn branches(node: &Node) -> Condition {
    Condition::of(
        patterns(node)
            .map_or(Refs::Any, |p| Refs::branches(&p.iter().map(String::as_str).collect::<Vec<_>>())),
    )
}

fn one(found: &mut Found, node: &Node) -> Condition {
    let events = node.get("event").map(|event| event.texts_of_all()).unwrap_or_default();
    let by_event = events.iter().map(|event| match event.as_str() {
        "push" => Refs::branches(&[ALL]),
        event => condition::source(event).unwrap_or_default(),
    });
    let mut refs = by_event.reduce(Refs::or).unwrap_or_default();
    if let Some(branches) = node.get("branch").and_then(patterns) {
        // Tags have no branch: an event that names them lets them through.
        let tags = if events.iter().any(|event| event == "tag") { vec![ALL.to_owned()] } else { Vec::new() };
        refs = refs.and(Refs::Only { branches, tags });
    }
    if let Some(names) = node.get("ref").and_then(patterns) {
        let of = |prefix: &str| {
            names.iter().filter_map(|name| name.strip_prefix(prefix)).map(str::to_owned).collect()
        };
        refs = refs.and(Refs::Only { branches: of("refs/heads/"), tags: of("refs/tags/") });
    }
    if let Some(expression) = node.get("evaluate") {
        let text = expression.text().unwrap_or_default();
        match condition::expression(text) {
            Some(said) => refs = refs.and(said),
            None => found.note(
                expression.line,
                format!("the condition `{}`", quoted(text)),
                "It is taken to hold always.",
            ),
        }
    }
    let paths = node.get("path").or_else(|| node.get("paths")).and_then(patterns).unwrap_or_default();
    Condition { refs, paths, by_hand: false }
}

/// Patterns, or a mapping of those that fit and those that do not.
fn patterns(node: &Node) -> Option<Vec<String>> {
    let owned = |all: Vec<&str>| all.into_iter().map(str::to_owned).collect::<Vec<_>>();
    if node.entries().is_empty() {
        return Some(node.texts().into_iter().map(|(text, _)| text.to_owned()).collect());
    }
    let (include, exclude) = (owned(node.texts_of("include")), node.texts_of("exclude"));
    let mut all = if include.is_empty() && !exclude.is_empty() { vec![ALL.to_owned()] } else { include };
    all.extend(exclude.iter().map(|pattern| format!("!{pattern}")));
    (!all.is_empty()).then_some(all)
}

impl Node {
    /// Its texts, or those under `include`.
    fn texts_of_all(&self) -> Vec<String> {
        let node = self.get("include").unwrap_or(self);
        node.texts().into_iter().map(|(text, _)| text.to_owned()).collect()
    }
}
