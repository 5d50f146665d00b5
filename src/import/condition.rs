//! When a step runs: branches, tags, paths; and what expressions of old pipelines say about that.

use serde::Serialize;

use super::cursor::{Cursor, is_name};
use super::limits::DEPTH_MAX;

/// Stands for the default branch, whatever it is called.
pub(super) const DEFAULT_BRANCH: &str = "{default}";
/// Every branch or tag.
pub(super) const ALL: &str = "**";

/// Whose pushes a step is for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Refs {
    /// Nothing is said.
    #[default]
    Any,
    /// Those that match.
    Only { branches: Vec<String>, tags: Vec<String> },
}

/// When a step runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Condition {
    pub(super) refs: Refs,
    /// Patterns of paths of which one has to be changed.
    pub(super) paths: Vec<String>,
    /// Somebody has to say so.
    pub(super) by_hand: bool,
}

impl Refs {
    pub(super) fn branches(patterns: &[&str]) -> Self {
        Self::Only { branches: patterns.iter().map(|p| (*p).to_owned()).collect(), tags: Vec::new() }
    }

    pub(super) fn tags(patterns: &[&str]) -> Self {
        Self::Only { branches: Vec::new(), tags: patterns.iter().map(|p| (*p).to_owned()).collect() }
    }

    /// No push at all: pull requests, schedules.
    pub(super) fn none() -> Self {
        Self::branches(&[])
    }

    pub(super) fn is_none(&self) -> bool {
        matches!(self, Self::Only { branches, tags } if branches.is_empty() && tags.is_empty())
    }

    /// Those for whom both hold.
    pub(super) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Any, refs) | (refs, Self::Any) => refs,
            (Self::Only { branches: a, tags: b }, Self::Only { branches: c, tags: d }) => {
                Self::Only { branches: narrower(a, c), tags: narrower(b, d) }
            }
        }
    }

    /// Those for whom one of both holds.
    pub(super) fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Any, _) | (_, Self::Any) => Self::Any,
            (Self::Only { branches: a, tags: b }, Self::Only { branches: c, tags: d }) => {
                Self::Only { branches: either(&a, &c), tags: either(&b, &d) }
            }
        }
    }

    /// All others; `None` where patterns cannot say it.
    pub(super) fn not(self) -> Option<Self> {
        let others = |patterns: Vec<String>| match patterns.as_slice() {
            [] => vec![ALL.to_owned()],
            [all] if all == ALL => Vec::new(),
            _ => std::iter::once(ALL.to_owned()).chain(patterns.iter().map(|p| format!("!{p}"))).collect(),
        };
        match self {
            Self::Any => Some(Self::none()),
            Self::Only { branches, tags } if branches.iter().chain(&tags).any(|p| p.starts_with('!')) => None,
            Self::Only { branches, tags } => {
                Some(Self::Only { branches: others(branches), tags: others(tags) })
            }
        }
    }
}

/// Patterns that match what one of both matches. Of patterns the last that fits decides.
pub(super) fn either(a: &[String], b: &[String]) -> Vec<String> {
    let lets_through = |patterns: &[String], name: &str| {
        let has = |wanted: &str| patterns.iter().any(|p| p == wanted);
        has(name) || has(ALL) && !has(&format!("!{name}"))
    };
    let kept = |own: &[String], other: &[String]| -> Vec<String> {
        let taken_away = |p: &&String| p.strip_prefix('!').is_some_and(|name| !lets_through(other, name));
        own.iter().filter(taken_away).cloned().collect()
    };
    let mut all: Vec<String> = Vec::new();
    for pattern in a.iter().chain(b).filter(|p| !p.starts_with('!')) {
        if !all.contains(pattern) {
            all.push(pattern.clone());
        }
    }
    if all.iter().any(|p| p == ALL) {
        all = vec![ALL.to_owned()];
    }
    for pattern in kept(a, b).into_iter().chain(kept(b, a)) {
        if !all.contains(&pattern) {
            all.push(pattern);
        }
    }
    all
}

/// Patterns that match what both match, as far as patterns can say it.
fn narrower(a: Vec<String>, b: Vec<String>) -> Vec<String> {
    let all = |patterns: &[String]| patterns.first().is_some_and(|p| p == ALL);
    match (all(&a), all(&b)) {
        (true, true) => a.iter().chain(b.iter().filter(|p| !a.contains(p))).cloned().collect(),
        (true, false) => less(b, &a),
        (false, true) => less(a, &b),
        (false, false) => a.into_iter().filter(|p| b.contains(p)).collect(),
    }
}

/// `patterns` without those that `all` takes away.
fn less(patterns: Vec<String>, all: &[String]) -> Vec<String> {
    patterns.into_iter().filter(|p| !all.iter().any(|other| other.strip_prefix('!') == Some(p))).collect()
}

impl Condition {
    /// Where both hold.
    pub(super) fn and(&self, other: &Self) -> Self {
        let paths = if other.paths.is_empty() { &self.paths } else { &other.paths };
        Self {
            refs: self.refs.clone().and(other.refs.clone()),
            paths: paths.clone(),
            by_hand: self.by_hand || other.by_hand,
        }
    }

    pub(super) fn of(refs: Refs) -> Self {
        Self { refs, ..Self::default() }
    }
}

/// What a variable that CI servers set tells.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    Branch,
    Tag,
    /// Either of them, `refs/heads/` or `refs/tags/` before it.
    Ref,
    PullRequest,
    Source,
    DefaultBranch,
    /// Success so far, which every step needs here.
    Success,
}

fn told(name: &str) -> Option<Told> {
    Some(match name {
        "BRANCH_NAME" | "GIT_BRANCH" | "GIT_LOCAL_BRANCH" | "CI_COMMIT_BRANCH" | "CI_COMMIT_REF_NAME"
        | "CI_COMMIT_REF_SLUG" | "CI_BUILD_REF_NAME" | "DRONE_BRANCH" | "BRANCH" => Told::Branch,
        "TAG_NAME" | "CI_COMMIT_TAG" | "GIT_TAG" | "GIT_TAG_NAME" | "DRONE_TAG" | "CI_BUILD_TAG" => Told::Tag,
        "CODEBUILD_WEBHOOK_HEAD_REF" | "CI_COMMIT_REF" | "DRONE_COMMIT_REF" | "GIT_REF" => Told::Ref,
        "CHANGE_ID"
        | "CI_MERGE_REQUEST_IID"
        | "CI_MERGE_REQUEST_ID"
        | "CI_COMMIT_PULL_REQUEST"
        | "CI_OPEN_MERGE_REQUESTS"
        | "CHANGE_TARGET"
        | "CHANGE_BRANCH" => Told::PullRequest,
        "CI_PIPELINE_SOURCE" | "CI_PIPELINE_EVENT" | "DRONE_BUILD_EVENT" | "CODEBUILD_WEBHOOK_EVENT" => {
            Told::Source
        }
        "CI_DEFAULT_BRANCH" | "CI_REPO_DEFAULT_BRANCH" => Told::DefaultBranch,
        "CODEBUILD_BUILD_SUCCEEDING" => Told::Success,
        _ => return None,
    })
}

/// Whose pushes an expression lets through: `BRANCH_NAME == 'main'`, `$CI_COMMIT_TAG =~ /^v/`, with `&&`, `||`, `!` and
/// brackets. `None` where it says something else.
pub(super) fn expression(text: &str) -> Option<Refs> {
    let mut reader = Reader { text: Cursor::new(text, 1), depth: 0 };
    let refs = reader.any()?;
    reader.blanks();
    reader.text.peek().is_none().then_some(refs)
}

struct Reader {
    text: Cursor,
    depth: usize,
}

enum Operand {
    Name(String),
    Text(String),
    Regex(String),
}

impl Reader {
    fn blanks(&mut self) {
        self.text.take_while(char::is_whitespace);
    }

    fn eat(&mut self, text: &str) -> bool {
        self.blanks();
        self.text.eat(text)
    }

    fn any(&mut self) -> Option<Refs> {
        let mut refs = self.all()?;
        while self.eat("||") {
            refs = refs.or(self.all()?);
        }
        Some(refs)
    }

    fn all(&mut self) -> Option<Refs> {
        let mut refs = self.one()?;
        while self.eat("&&") {
            refs = refs.and(self.one()?);
        }
        Some(refs)
    }

    fn one(&mut self) -> Option<Refs> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return None;
        }
        let refs = if self.eat("(") {
            let refs = self.any()?;
            self.eat(")").then_some(refs)
        } else if self.text.peek() == Some('!') && self.text.peek_at(1) != Some('=') && self.eat("!") {
            self.one()?.not()
        } else {
            self.comparison()
        };
        self.depth -= 1;
        refs
    }

    fn comparison(&mut self) -> Option<Refs> {
        let left = self.operand()?;
        for (operator, regex, negated) in [
            ("==~", true, false),
            ("!~", true, true),
            ("=~", true, false),
            ("==", false, false),
            ("!=", false, true),
            ("=", false, false),
            ("-eq", false, false),
        ] {
            if self.eat(operator) {
                let right = self.operand()?;
                let refs = compared(left, right, regex)?;
                return if negated { refs.not() } else { Some(refs) };
            }
        }
        match left {
            Operand::Name(name) => Some(match told(&name)? {
                Told::Branch | Told::Ref => Refs::branches(&[ALL]),
                Told::Tag => Refs::tags(&[ALL]),
                Told::PullRequest => Refs::none(),
                Told::Source | Told::DefaultBranch | Told::Success => return None,
            }),
            Operand::Text(text) if text == "true" => Some(Refs::Any),
            _ => None,
        }
    }

    fn operand(&mut self) -> Option<Operand> {
        self.blanks();
        match self.text.peek()? {
            quote @ ('\'' | '"') => {
                self.text.next();
                let inside = self.text.take_while(|c| c != quote);
                self.text.eat(&quote.to_string());
                let name = inside.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
                let name = name.or_else(|| inside.strip_prefix('$'));
                Some(name.map_or(Operand::Text(inside.clone()), |name| Operand::Name(name.to_owned())))
            }
            '/' => {
                self.text.next();
                let mut regex = String::new();
                while let Some(c) = self.text.next().filter(|c| *c != '/') {
                    regex.push(c);
                    if c == '\\' {
                        regex.extend(self.text.next());
                    }
                }
                Some(Operand::Regex(regex))
            }
            _ => self.name(),
        }
    }

    fn name(&mut self) -> Option<Operand> {
        let braces = self.eat("${");
        if !braces {
            self.eat("$");
        }
        let name = self.text.take_while(|c| is_name(c) || c == '.');
        if braces {
            self.eat("}");
        }
        let name = name.trim_start_matches("env.").trim_start_matches("params.");
        match name {
            "" => None,
            "true" | "false" | "null" => Some(Operand::Text(name.into())),
            n if n.chars().all(|c| c.is_ascii_digit()) => Some(Operand::Text(n.into())),
            n if n.contains('.') => None,
            n => Some(Operand::Name(n.into())),
        }
    }
}

fn compared(left: Operand, right: Operand, regex: bool) -> Option<Refs> {
    let (name, value) = match (left, right) {
        (Operand::Name(name), value) => (name, value),
        (value, Operand::Name(name)) => (name, value),
        _ => return None,
    };
    let patterns = match value {
        Operand::Name(other) if told(&other) == Some(Told::DefaultBranch) => vec![DEFAULT_BRANCH.into()],
        Operand::Name(_) => return None,
        Operand::Text(text) if regex => globs(&text)?,
        Operand::Text(text) => vec![text],
        Operand::Regex(regex) => globs(&regex)?,
    };
    let absent = matches!(patterns.as_slice(), [one] if one == "null" || one.is_empty());
    let patterns: Vec<&str> = patterns.iter().map(|p| p.trim_start_matches("origin/")).collect();
    Some(match told(&name)? {
        // Not on a tag is on a branch, and the other way round.
        Told::Tag if absent => Refs::branches(&[ALL]),
        Told::Branch if absent => Refs::tags(&[ALL]),
        Told::PullRequest if absent => Refs::Any,
        Told::Branch | Told::DefaultBranch => Refs::branches(&patterns),
        Told::Tag => Refs::tags(&patterns),
        Told::Ref => by_prefix(&patterns)?,
        Told::PullRequest => Refs::none(),
        Told::Source => source(patterns.first()?)?,
        Told::Success => Refs::Any,
    })
}

fn by_prefix(patterns: &[&str]) -> Option<Refs> {
    let mut refs = Refs::none();
    for pattern in patterns {
        refs = refs.or(match (pattern.strip_prefix("refs/heads/"), pattern.strip_prefix("refs/tags/")) {
            (Some(branch), _) => Refs::branches(&[branch]),
            (_, Some(tag)) => Refs::tags(&[tag]),
            _ => return None,
        });
    }
    Some(refs)
}

/// What a pipeline was started by.
pub(super) fn source(name: &str) -> Option<Refs> {
    Some(match name {
        "push" | "PUSH" => Refs::Any,
        "tag" => Refs::tags(&[ALL]),
        "merge_request_event"
        | "external_pull_request_event"
        | "pull_request"
        | "pull_request_closed"
        | "schedule"
        | "cron"
        | "web"
        | "manual"
        | "api"
        | "trigger"
        | "triggers"
        | "pipeline"
        | "parent_pipeline"
        | "deployment"
        | "release"
        | "promote"
        | "rollback"
        | "custom" => Refs::none(),
        n if n.starts_with("PULL_REQUEST") => Refs::none(),
        _ => return None,
    })
}

/// A regular expression as patterns, where it is one that patterns can say.
pub(super) fn globs(regex: &str) -> Option<Vec<String>> {
    let body = regex.trim_start_matches('^');
    let (body, closed) = body.strip_suffix('$').map_or((body, false), |body| (body, true));
    if let Some((before, rest)) = body.split_once('(') {
        let (choices, after) = rest.split_once(')')?;
        let all = choices.trim_start_matches("?:").split('|');
        return all.map(|one| glob(&format!("{before}{one}{after}"), closed)).collect();
    }
    body.split('|').map(|one| glob(one.trim_start_matches('^').trim_end_matches('$'), closed)).collect()
}

fn glob(regex: &str, closed: bool) -> Option<String> {
    let (mut glob, mut rest) = (String::new(), regex);
    const PIECES: [(&str, &str); 10] = [
        (".*", "**"),
        (".+", "**"),
        ("[0-9]+", "*"),
        ("[0-9]", "[0-9]"),
        ("\\d+", "*"),
        ("\\d", "[0-9]"),
        ("\\w+", "*"),
        ("[^/]+", "*"),
        ("\\.", "."),
        ("\\/", "/"),
    ];
    while let Some(c) = rest.chars().next() {
        if let Some((piece, means)) = PIECES.iter().find(|(piece, _)| rest.starts_with(piece)) {
            glob.push_str(means);
            rest = &rest[piece.len()..];
        } else if c.is_ascii_alphanumeric() || "-_/ ".contains(c) {
            glob.push(c);
            rest = &rest[c.len_utf8()..];
        } else {
            return None;
        }
    }
    if !closed && !glob.ends_with('*') {
        glob.push_str(ALL);
    }
    Some(glob)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_name_their_refs() {
        let both = Refs::branches(&["main", "release/**"]);
        for (text, want) in [
            ("env.BRANCH_NAME == 'main'", Some(Refs::branches(&["main"]))),
            ("'main' == BRANCH_NAME", Some(Refs::branches(&["main"]))),
            ("BRANCH_NAME == \"main\" || BRANCH_NAME ==~ /release\\/.*/", Some(both.clone())),
            ("($CI_COMMIT_BRANCH == \"main\") || $CI_COMMIT_BRANCH =~ /^release\\//", Some(both)),
            ("$CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH", Some(Refs::branches(&[DEFAULT_BRANCH]))),
            ("$CI_COMMIT_TAG", Some(Refs::tags(&[ALL]))),
            ("$CI_COMMIT_TAG =~ /^v\\d+\\.\\d+$/", Some(Refs::tags(&["v*.*"]))),
            ("$CI_COMMIT_TAG == null", Some(Refs::branches(&[ALL]))),
            (
                "env.GIT_BRANCH != 'origin/main'",
                Some(Refs::Only { branches: vec![ALL.into(), "!main".into()], tags: vec![ALL.into()] }),
            ),
            ("$CI_PIPELINE_SOURCE == \"merge_request_event\"", Some(Refs::none())),
            ("$CI_PIPELINE_SOURCE == 'push' && $CI_COMMIT_BRANCH == 'dev'", Some(Refs::branches(&["dev"]))),
            ("\"$CODEBUILD_WEBHOOK_HEAD_REF\" = \"refs/heads/main\"", Some(Refs::branches(&["main"]))),
            (
                "!(BRANCH_NAME == 'main' && CHANGE_ID == null)",
                Some(Refs::Only { branches: vec![ALL.into(), "!main".into()], tags: vec![ALL.into()] }),
            ),
            ("params.DEPLOY == true", None),
            ("currentBuild.result == null", None),
            ("BRANCH_NAME == 'main' and more", None),
            ("", None),
            ("((((", None),
            ("/", None),
            ("BRANCH_NAME == '", Some(Refs::tags(&[ALL]))),
        ] {
            assert_eq!(expression(text), want, "{text}");
        }
        assert_eq!(expression(&"(".repeat(10_000)), None);
        assert_eq!(expression(&"!".repeat(10_000)), None);
    }

    #[test]
    fn both_and_either_are_as_narrow_as_patterns_allow() {
        let (main, all) = (Refs::branches(&["main"]), Refs::branches(&[ALL]));
        assert_eq!(main.clone().and(all.clone()), main);
        assert_eq!(Refs::Any.and(main.clone()), main);
        assert_eq!(
            main.clone().or(Refs::tags(&["v*"])),
            Refs::Only { branches: vec!["main".into()], tags: vec!["v*".into()] }
        );
        assert!(main.clone().and(Refs::tags(&[ALL])).is_none());
        let not_main = || Refs::Only { branches: vec![ALL.into(), "!main".into()], tags: Vec::new() };
        assert_eq!(main.clone().or(not_main()), all);
        assert_eq!(not_main().or(Refs::branches(&["dev"])), not_main());
        let not_main = Refs::Only { branches: vec![ALL.into(), "!main".into()], tags: Vec::new() };
        assert!(not_main.clone().and(main.clone()).is_none());
        assert!(main.and(not_main).is_none());
    }
}
