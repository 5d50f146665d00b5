//! Which refs and paths a part of slipway.toml is about: patterns of branches, tags and paths.

use globset::{GlobBuilder, GlobMatcher};
use serde::{Deserialize, Deserializer, de};

use crate::git::RefName;
use crate::limits::PATTERNS_SAID_MAX;

/// `[build] on`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OnSpec {
    /// Branch patterns; absent is the default branch.
    pub branches: Option<Vec<Pattern>>,
    /// Tag patterns; absent is none.
    pub tags: Vec<Pattern>,
    /// Path patterns, the last match wins, `!` negates; absent is everything.
    pub paths: Vec<Pattern>,
}

/// `on` of a tag that moves, or of a `[deploy.*]`: whose builds move it. What it does not name does not move it, unlike
/// `[build] on`: `{ tags = ["v*"] }` is those tags alone.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MoveOn {
    /// Branch patterns.
    pub branches: Vec<Pattern>,
    /// Tag patterns.
    pub tags: Vec<Pattern>,
}

/// A glob pattern of slipway.toml, `!` before it negates.
#[derive(Clone, Debug)]
pub struct Pattern {
    matcher: GlobMatcher,
    negated: bool,
    text: String,
}

impl OnSpec {
    /// True if a push to `name` builds.
    pub fn matches_ref(&self, name: &RefName, default_branch: &RefName) -> bool {
        if let Some(branch) = name.as_branch() {
            return match &self.branches {
                None => name == default_branch,
                Some(patterns) => last_match(patterns, branch),
            };
        }
        name.as_tag().is_some_and(|tag| last_match(&self.tags, tag))
    }

    /// Why a push to `name`, which [`OnSpec::matches_ref`] leaves out, does not build.
    pub fn why_not(&self, name: &RefName, default_branch: &RefName) -> String {
        let (kind, patterns) = match (name.as_branch(), &self.branches) {
            (Some(_), None) => {
                return format!(
                    "not the default branch ({} builds; [build] on in slipway.toml can name others)",
                    default_branch.short()
                );
            }
            (Some(_), Some(patterns)) => ("branches", patterns),
            (None, _) if name.as_tag().is_some() => ("tags", &self.tags),
            (None, _) => return "only branches and tags are built".into(),
        };
        if patterns.is_empty() {
            return format!("no {kind} are built unless [build] on in slipway.toml names them");
        }
        let mut said: Vec<String> = patterns.iter().take(PATTERNS_SAID_MAX).map(Pattern::said).collect();
        if patterns.len() > said.len() {
            said.push("…".into());
        }
        format!("not among the {kind} that slipway.toml builds ({})", said.join(", "))
    }

    /// True if no `paths` are given.
    pub fn all_paths(&self) -> bool {
        self.paths.is_empty() || self.paths.iter().all(|p| !p.negated && p.text == "**")
    }

    /// True if a change of `path` builds.
    pub fn matches_path(&self, path: &str) -> bool {
        self.all_paths() || last_match(&self.paths, path)
    }
}

impl MoveOn {
    /// Reads patterns as slipway.toml has them.
    ///
    /// # Errors
    /// A sentence without a full stop about the first that is none.
    pub fn new(branches: &[String], tags: &[String]) -> Result<Self, String> {
        let read =
            |all: &[String]| all.iter().map(|text| Pattern::parse(text)).collect::<Result<Vec<_>, _>>();
        Ok(Self { branches: read(branches)?, tags: read(tags)? })
    }

    /// True if builds of that ref move what this is about.
    pub fn matches(&self, name: &RefName) -> bool {
        match (name.as_branch(), name.as_tag()) {
            (Some(branch), _) => last_match(&self.branches, branch),
            (_, Some(tag)) => last_match(&self.tags, tag),
            _ => false,
        }
    }

    /// What it names, for a sentence: `branches main, release/*`.
    pub fn said(&self) -> String {
        let list = |kind: &str, patterns: &[Pattern]| {
            let said: Vec<String> = patterns.iter().take(PATTERNS_SAID_MAX).map(Pattern::said).collect();
            (!said.is_empty()).then(|| format!("{kind} {}", said.join(", ")))
        };
        let all: Vec<String> =
            list("branches", &self.branches).into_iter().chain(list("tags", &self.tags)).collect();
        if all.is_empty() { "nothing".into() } else { all.join(" and ") }
    }
}

impl Pattern {
    fn parse(text: &str) -> Result<Self, String> {
        let (negated, glob) = text.strip_prefix('!').map_or((false, text), |rest| (true, rest));
        let matcher = GlobBuilder::new(glob)
            .literal_separator(true)
            .build()
            .map_err(|e| format!("{text:?} is not a pattern: {}", e.kind()))?
            .compile_matcher();
        Ok(Self { matcher, negated, text: glob.to_owned() })
    }

    /// As it was written.
    pub fn text(&self) -> String {
        let before = if self.negated { "!" } else { "" };
        format!("{before}{}", self.text)
    }

    /// As it was written, cut to what fits into a sentence.
    fn said(&self) -> String {
        let text: String = self.text.chars().take(40).collect();
        if self.negated { format!("!{text}") } else { text }
    }
}

/// Whether patterns, as they were written, take a branch in.
pub fn matches_branch(patterns: &[String], branch: &str) -> bool {
    let read: Vec<Pattern> = patterns.iter().filter_map(|text| Pattern::parse(text).ok()).collect();
    last_match(&read, branch)
}

fn last_match(patterns: &[Pattern], text: &str) -> bool {
    patterns.iter().rev().find(|p| p.matcher.is_match(text)).is_some_and(|p| !p.negated)
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(from)?).map_err(de::Error::custom)
    }
}
