//! Text with placeholders, for build arguments and variables: unlike a tag it may be any text.

use serde::{Deserialize, Deserializer, de};

use super::tags::{Placeholder, TagFacts, placeholder};

/// A value of `[build] args` or of `[test] env`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Value(Placeholder),
}

impl Text {
    /// A text without placeholders, whatever is in it.
    pub fn plain(text: &str) -> Self {
        Self { parts: vec![Part::Text(text.to_owned())] }
    }

    /// Reads a text. A placeholder is `{name}` in small letters; `{{name}}` and `${name}` are what they look like, `{name}` and
    /// `${name}`, and so are all other braces.
    ///
    /// # Errors
    /// A sentence without a full stop about a placeholder that is not known.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (mut parts, mut plain, mut rest) = (Vec::new(), String::new(), text);
        while let Some(open) = rest.find('{') {
            let (before, braced) = rest.split_at(open);
            plain.push_str(before);
            let doubled = braced.strip_prefix("{{").and_then(name_in_braces);
            if let Some(name) = doubled.filter(|name| braced[name.len() + 3..].starts_with('}')) {
                plain.push_str(&braced[1..name.len() + 3]);
                rest = &braced[name.len() + 4..];
                continue;
            }
            let name = braced.strip_prefix('{').and_then(name_in_braces).filter(|_| !plain.ends_with('$'));
            let Some(name) = name else {
                plain.push('{');
                rest = &braced[1..];
                continue;
            };
            let value =
                placeholder(name).map_err(|why| format!("{why} (`{{{{{name}}}}}` is the text itself)"))?;
            parts.push(Part::Text(std::mem::take(&mut plain)));
            parts.push(Part::Value(value));
            rest = &braced[name.len() + 2..];
        }
        plain.push_str(rest);
        parts.push(Part::Text(plain));
        parts.retain(|part| !matches!(part, Part::Text(text) if text.is_empty()));
        Ok(Self { parts })
    }

    /// The text for one build; what it has not (`{tag}` of a branch) is nothing.
    pub fn fill(&self, facts: &TagFacts<'_>) -> String {
        let filled = self.parts.iter().map(|part| match part {
            Part::Text(text) => text.clone(),
            Part::Value(value) => value.of(facts).unwrap_or_default(),
        });
        filled.collect()
    }
}

/// The small letters up to a closing brace.
fn name_in_braces(text: &str) -> Option<&str> {
    let name = &text[..text.find('}')?];
    (!name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase())).then_some(name)
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(from)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::RefName;
    use crate::id::{BuildNumber, UnixMillis};

    fn filled(text: &str) -> String {
        let name = RefName::branch("feature/ü").expect("branch");
        let commit = "0123456789abcdef0123456789abcdef01234567";
        let facts = TagFacts {
            commit,
            ref_name: &name,
            number: BuildNumber(7),
            created: UnixMillis(1_800_000_000_000),
        };
        Text::parse(text).expect("text").fill(&facts)
    }

    #[test]
    fn placeholders_are_filled_and_all_other_braces_stay() {
        for (text, wanted) in [
            ("", ""),
            ("plain", "plain"),
            ("v{number}-{short}", "v7-0123456789"),
            ("{sha}", "0123456789abcdef0123456789abcdef01234567"),
            // Not cleaned: it is no tag.
            ("{branch}", "feature/ü"),
            ("a{tag}b{semver}c", "abc"),
            ("{date}", "2027-01-15"),
            ("{{sha}}", "{sha}"),
            ("{{sha}", "{0123456789abcdef0123456789abcdef01234567"),
            ("${branch}", "${branch}"),
            ("{\"a\": {\"b\": 1}}", "{\"a\": {\"b\": 1}}"),
            ("{{ .Values.tag }}", "{{ .Values.tag }}"),
            ("{}{{}}{", "{}{{}}{"),
            ("{SHA} {a b} {ä}", "{SHA} {a b} {ä}"),
        ] {
            assert_eq!(filled(text), wanted, "{text:?}");
        }
    }

    #[test]
    fn an_unknown_placeholder_is_an_error_with_a_guess() {
        let told = Text::parse("{brnch}").expect_err("unknown");
        assert_eq!(
            told,
            "unknown placeholder `{brnch}`; did you mean `{branch}`? (`{{brnch}}` is the text itself)"
        );
        assert!(Text::parse("x {zzzzzzzzzz}").expect_err("unknown").contains("known are {sha}"));
    }
}
