//! The tags of an image: templates of slipway.toml, and what they become for one build.
//!
//! A tag is `[A-Za-z0-9_][A-Za-z0-9._-]{0,127}` (OCI distribution specification), a branch is nearly any text. What has to be
//! changed to be a tag gets a piece of its SHA-256 at its end, so that two branches never share one; `{sha}` is never cut.

use std::fmt;

use serde::{Deserialize, Deserializer, de};
use sha2::{Digest as _, Sha256};

use super::on::MoveOn;
use crate::git::RefName;
use crate::id::{BuildNumber, UnixMillis};
use crate::limits::IMAGE_TAG_BYTES_MAX;
use crate::nearest::nearest;

/// Hexadecimal digits that tell apart what was changed alike.
const HASH_DIGITS: usize = 8;

/// One of `[push] tags`: a template, or a table of one and its condition.
#[derive(Clone, Debug)]
pub struct TagSpec {
    /// What it is called.
    pub template: Template,
    /// Which refs' builds move it; absent as `[push] on` has it.
    pub on: Option<MoveOn>,
}

/// Text with placeholders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Value(Placeholder),
}

/// What a template can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placeholder {
    /// The commit's id.
    Sha,
    /// Its first ten digits.
    Short,
    /// The branch.
    Branch,
    /// The git tag.
    Tag,
    /// The git tag as a version, without a `v`.
    Semver,
    /// The build's number.
    Number,
    /// The day on which the build was queued, in UTC.
    Date,
}

impl Placeholder {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Sha, Self::Short, Self::Branch, Self::Tag, Self::Semver, Self::Number, Self::Date];

    /// As it is written, without braces.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha => "sha",
            Self::Short => "short",
            Self::Branch => "branch",
            Self::Tag => "tag",
            Self::Semver => "semver",
            Self::Number => "number",
            Self::Date => "date",
        }
    }

    /// What it stands for; `None` where the build has none.
    pub(super) fn of(self, facts: &TagFacts<'_>) -> Option<String> {
        Some(match self {
            Self::Sha => facts.commit.to_owned(),
            Self::Short => facts.commit.get(..10).unwrap_or(facts.commit).to_owned(),
            Self::Number => facts.number.to_string(),
            Self::Date => day(facts.created),
            Self::Branch => facts.ref_name.as_branch()?.to_owned(),
            Self::Tag => facts.ref_name.as_tag()?.to_owned(),
            Self::Semver => semver(facts.ref_name.as_tag()?)?,
        })
    }

    /// The most bytes it takes, or, where it can be shortened, the fewest that it wants.
    fn bytes_wanted(self) -> usize {
        match self {
            Self::Sha => 64,
            Self::Short | Self::Date => 10,
            Self::Number => 12,
            Self::Branch | Self::Tag | Self::Semver => HASH_DIGITS,
        }
    }
}

/// Whose a tag is by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// A commit's: it never moves.
    Commit,
    /// A build's: it never moves either, and could yet be another's name.
    Build,
    /// A ref's: it moves with it.
    Ref,
    /// Nobody's: it moves, and needs a condition.
    Shared,
}

/// What a build's tags are made of.
#[derive(Clone, Copy, Debug)]
pub struct TagFacts<'a> {
    /// The commit's id.
    pub commit: &'a str,
    /// The ref.
    pub ref_name: &'a RefName,
    /// The build's number.
    pub number: BuildNumber,
    /// When it was queued.
    pub created: UnixMillis,
}

/// A template, filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilledTag {
    /// The tag.
    pub text: String,
    /// Whose it is.
    pub scope: Scope,
    /// A remark where the ref's name is no tag.
    pub note: Option<String>,
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// A sentence without a full stop on what it cannot be.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parts = parts(text)?;
        if text.is_empty() {
            return Err("a tag cannot be empty".into());
        }
        if text.starts_with(['.', '-']) {
            return Err(format!(
                "the tag {text:?} begins with {:?}; tags begin with a letter, a digit or _",
                &text[..1]
            ));
        }
        let wanted: usize = parts.iter().map(Part::bytes_wanted).sum();
        if wanted > IMAGE_TAG_BYTES_MAX {
            return Err(format!(
                "the tag {text:?} does not fit into the {IMAGE_TAG_BYTES_MAX} characters of a tag"
            ));
        }
        Ok(Self { text: text.to_owned(), parts })
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whose it is.
    pub fn scope(&self) -> Scope {
        let has = |any: &[Placeholder]| any.iter().any(|one| self.parts.contains(&Part::Value(*one)));
        if has(&[Placeholder::Sha, Placeholder::Short]) {
            Scope::Commit
        } else if has(&[Placeholder::Number]) {
            Scope::Build
        } else if has(&[Placeholder::Branch, Placeholder::Tag, Placeholder::Semver]) {
            Scope::Ref
        } else {
            Scope::Shared
        }
    }

    /// The tag of one build; `None` where it names what the build has not (`{tag}` of a branch).
    pub fn fill(&self, facts: &TagFacts<'_>) -> Option<FilledTag> {
        let mut room = IMAGE_TAG_BYTES_MAX;
        let mut stretches = 0;
        for part in &self.parts {
            match part {
                Part::Value(Placeholder::Branch | Placeholder::Tag | Placeholder::Semver) => stretches += 1,
                other => room = room.saturating_sub(other.filled(facts, 0)?.0.len()),
            }
        }
        let each = room / stretches.max(1);
        let (mut text, mut changed) = (String::new(), false);
        for part in &self.parts {
            let (filled, other) = part.filled(facts, each)?;
            text.push_str(&filled);
            changed |= other;
        }
        let note = changed.then(|| {
            let name = facts.ref_name.short();
            format!("{name:?} cannot be a tag as it is, or is too long for one: {} became {text}", self.text)
        });
        Some(FilledTag { text, scope: self.scope(), note })
    }
}

impl Part {
    fn bytes_wanted(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Value(value) => value.bytes_wanted(),
        }
    }

    /// The text, and whether a name had to be changed for it. What can be shortened has at most `most` bytes.
    fn filled(&self, facts: &TagFacts<'_>, most: usize) -> Option<(String, bool)> {
        let value = match self {
            Self::Text(text) => return Some((text.clone(), false)),
            Self::Value(value) => value,
        };
        let text = value.of(facts)?;
        Some(match value {
            Placeholder::Branch | Placeholder::Tag | Placeholder::Semver => clean(&text, most),
            _ => (text, false),
        })
    }
}

fn parts(text: &str) -> Result<Vec<Part>, String> {
    let (mut parts, mut rest) = (Vec::new(), text);
    while !rest.is_empty() {
        let open = rest.find('{').unwrap_or(rest.len());
        if open > 0 {
            parts.push(Part::Text(literal(text, &rest[..open])?));
        }
        let Some(inner) = rest.get(open + 1..) else { break };
        let close = inner.find('}').ok_or_else(|| format!("the tag {text:?} has a {{ that no }} ends"))?;
        parts.push(Part::Value(placeholder(&inner[..close])?));
        rest = &inner[close + 1..];
    }
    Ok(parts)
}

fn literal(whole: &str, text: &str) -> Result<String, String> {
    let odd = text.chars().find(|c| !is_tag_char(*c));
    match odd {
        None => Ok(text.to_owned()),
        Some(odd) => {
            Err(format!("the tag {whole:?} has the character {odd:?}; tags have letters, digits, _, . and -"))
        }
    }
}

pub(super) fn placeholder(name: &str) -> Result<Placeholder, String> {
    if let Some(known) = Placeholder::ALL.into_iter().find(|p| p.name() == name) {
        return Ok(known);
    }
    let shown: String = name.chars().take(40).collect();
    let names = || Placeholder::ALL.into_iter().map(Placeholder::name);
    Err(match nearest(&shown, names()) {
        Some(meant) => format!("unknown placeholder `{{{shown}}}`; did you mean `{{{meant}}}`?"),
        None => {
            let all = names().map(|n| format!("{{{n}}}")).collect::<Vec<_>>().join(", ");
            format!("unknown placeholder `{{{shown}}}`; known are {all}")
        }
    })
}

fn is_tag_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}

/// The name as it may stand in a tag, of at most `most` bytes; true if it had to be changed for that.
fn clean(name: &str, most: usize) -> (String, bool) {
    let kept: String = name.chars().map(|c| if is_tag_char(c) { c } else { '-' }).collect();
    let kept = kept.trim_start_matches(['.', '-']);
    if kept == name && kept.len() <= most {
        return (kept.to_owned(), false);
    }
    let hash = hash(name);
    let room = most.saturating_sub(HASH_DIGITS + 1).min(kept.len());
    let kept = kept[..room].trim_end_matches(['.', '-']);
    (if kept.is_empty() { hash } else { format!("{kept}-{hash}") }, true)
}

fn hash(name: &str) -> String {
    let sum = Sha256::digest(name.as_bytes());
    sum.iter().take(HASH_DIGITS / 2).map(|byte| format!("{byte:02x}")).collect()
}

/// A git tag as a version (semver.org), `v` taken off and the `+` of its build put as `_`, which no version has.
fn semver(tag: &str) -> Option<String> {
    let version = tag.strip_prefix('v').unwrap_or(tag);
    let core_end = version.find(['-', '+']).unwrap_or(version.len());
    let numbers: Vec<&str> = version[..core_end].split('.').collect();
    let is_number = |n: &&str| {
        !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()) && (n.len() == 1 || !n.starts_with('0'))
    };
    let rest = version[core_end..].bytes().all(|b| b.is_ascii_alphanumeric() || b".-+".contains(&b));
    let whole =
        numbers.len() == 3 && numbers.iter().all(is_number) && rest && !version.ends_with(['-', '+', '.']);
    (whole && version.matches('+').count() <= 1).then(|| version.replace('+', "_"))
}

/// `YYYY-MM-DD` in UTC (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days).
fn day(at: UnixMillis) -> String {
    let days = at.0 / 86_400_000 + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

impl<'de> Deserialize<'de> for Template {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(from)?).map_err(de::Error::custom)
    }
}

/// The table form of a tag.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TagTable {
    tag: Template,
    #[serde(default)]
    on: Option<MoveOn>,
}

impl<'de> Deserialize<'de> for TagSpec {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> de::Visitor<'de> for Either {
            type Value = TagSpec;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a tag, or a table such as { tag = \"stable\", on = { tags = [\"v*\"] } }")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<TagSpec, E> {
                Ok(TagSpec { template: Template::parse(text).map_err(E::custom)?, on: None })
            }
            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<TagSpec, A::Error> {
                let TagTable { tag, on } = TagTable::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(TagSpec { template: tag, on })
            }
        }
        from.deserialize_any(Either)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA: &str = "0123456789abcdef0123456789abcdef01234567";

    fn filled(template: &str, name: &RefName) -> Option<FilledTag> {
        let facts = TagFacts {
            commit: SHA,
            ref_name: name,
            number: BuildNumber(7),
            created: UnixMillis(1_796_016_215_000),
        };
        Template::parse(template).expect("a template").fill(&facts)
    }

    fn branch(name: &str) -> RefName {
        RefName::branch(name).expect("valid")
    }

    fn tag(name: &str) -> RefName {
        RefName::tag(name).expect("valid")
    }

    #[test]
    fn templates_are_filled_in() {
        for (template, name, want, scope) in [
            ("{sha}", branch("main"), Some(SHA), Scope::Commit),
            ("{branch}-{short}", branch("main"), Some("main-0123456789"), Scope::Commit),
            ("{date}-{number}", branch("main"), Some("2026-11-30-7"), Scope::Build),
            ("{branch}", branch("release_2.0"), Some("release_2.0"), Scope::Ref),
            ("{branch}", tag("v1"), None, Scope::Ref),
            ("{tag}", tag("v1.0"), Some("v1.0"), Scope::Ref),
            ("{semver}", tag("v1.2.3"), Some("1.2.3"), Scope::Ref),
            ("{semver}", tag("1.2.3-rc.1+b5"), Some("1.2.3-rc.1_b5"), Scope::Ref),
            ("{semver}", tag("v1.2"), None, Scope::Ref),
            ("{semver}", tag("v01.2.3"), None, Scope::Ref),
            ("latest", tag("v1"), Some("latest"), Scope::Shared),
            ("nightly-{date}", branch("main"), Some("nightly-2026-11-30"), Scope::Shared),
        ] {
            let got = filled(template, &name);
            assert_eq!(got.as_ref().map(|f| f.text.as_str()), want, "{template} of {name:?}");
            assert_eq!(Template::parse(template).expect("a template").scope(), scope, "{template}");
            assert!(got.is_none_or(|f| f.note.is_none()), "{template}");
        }
    }

    #[test]
    fn two_names_never_become_one_tag_and_nothing_becomes_no_tag() {
        let names = ["feature/x", "feature-x", "feature_x", "-feature-x", "feature/x/", "功能", "作用", "ä"];
        let names = names.iter().filter_map(|n| RefName::branch(n).ok()).chain([
            branch(&"l".repeat(140)),
            branch(&format!("{}m", "l".repeat(139))),
            branch(&format!("{}/m", "l".repeat(100))),
        ]);
        let mut seen = std::collections::BTreeMap::new();
        for name in names {
            for template in ["{branch}", "{branch}-{sha}", "{sha}-{branch}-{branch}", "{branch}{number}"] {
                let got = filled(template, &name).expect("a branch");
                let legal = got.text.len() <= 128
                    && got.text.chars().all(is_tag_char)
                    && !got.text.starts_with(['.', '-']);
                assert!(legal, "{template} {name:?}: {}", got.text);
                assert!(!template.contains("{sha}") || got.text.contains(SHA), "{}", got.text);
                assert!(
                    got.note.is_some() || got.text.contains(name.short()),
                    "{template} {name:?}: {got:?}"
                );
                let other = seen.insert((template, got.text.clone()), name.clone());
                assert!(other.is_none(), "{}: {name:?} and {other:?}", got.text);
            }
        }
    }

    #[test]
    fn what_is_no_template_is_told_with_what_was_meant() {
        for (text, want) in [
            ("{brnach}", "unknown placeholder `{brnach}`; did you mean `{branch}`?"),
            (
                "{foo}",
                "unknown placeholder `{foo}`; known are {sha}, {short}, {branch}, {tag}, {semver}, {number}, {date}",
            ),
            ("{sha", "the tag \"{sha\" has a { that no } ends"),
            ("a b", "the tag \"a b\" has the character ' '; tags have letters, digits, _, . and -"),
            ("sha}", "the tag \"sha}\" has the character '}'; tags have letters, digits, _, . and -"),
            ("-x", "the tag \"-x\" begins with \"-\"; tags begin with a letter, a digit or _"),
            ("", "a tag cannot be empty"),
            ("{sha}-{sha}", "the tag \"{sha}-{sha}\" does not fit into the 128 characters of a tag"),
        ] {
            assert_eq!(Template::parse(text).expect_err(text), want);
        }
    }
}
