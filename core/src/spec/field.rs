//! Paths to fields of a manifest: `spec.values.image`, `spec.containers[*].env[0].value`, `data."run.sh"`.

use std::fmt;

use serde::{Deserialize, Deserializer};

/// Steps of one path.
const STEPS_MAX: usize = 64;
/// Bytes of one path.
const BYTES_MAX: usize = 1024;

/// One step from a node of a document to one below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// To a key of a mapping.
    Key(String),
    /// To an item of a list, from 0.
    Item(usize),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Is(Step),
    /// `*`: any key; `[*]`: any item.
    AnyKey,
    AnyItem,
}

/// A path from a document's root: keys with dots between them, quoted where they have dots or brackets themselves, `[N]` for
/// items of lists from 0; `*` and `[*]` for any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldPath {
    text: String,
    parts: Vec<Part>,
}

impl FieldPath {
    /// Reads a path.
    ///
    /// # Errors
    /// One sentence on what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bad = |why: &str| {
            format!(
                "{text:?} is no path of a field: {why}; it looks like spec.containers[*].image or data.\"run.sh\""
            )
        };
        if text.len() > BYTES_MAX {
            return Err(format!("a path of a field has more than {BYTES_MAX} bytes"));
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let (part, left) = match rest.strip_prefix('[') {
                Some(inside) => item(inside).ok_or_else(|| bad("after [ comes a number or * and ]"))?,
                None if parts.is_empty() => {
                    key(rest).ok_or_else(|| bad("a key is empty or its quote is open"))?
                }
                None => match rest.strip_prefix('.') {
                    Some(rest) => key(rest).ok_or_else(|| bad("a key is empty or its quote is open"))?,
                    None => return Err(bad("between keys stands a dot")),
                },
            };
            parts.push(part);
            rest = left;
        }
        match parts.len() {
            0 => Err(bad("it is empty")),
            n if n > STEPS_MAX => Err(format!("{text:?} has more than {STEPS_MAX} steps")),
            _ => Ok(Self { text: text.to_owned(), parts }),
        }
    }

    /// True if it leads to the end of these steps.
    pub fn leads_to(&self, steps: &[Step]) -> bool {
        self.parts.len() == steps.len() && self.is_begun(steps)
    }

    /// True if it leads to the end of these steps or to something above it.
    pub fn covers(&self, steps: &[Step]) -> bool {
        steps.get(..self.parts.len()).is_some_and(|begin| self.leads_to(begin))
    }

    fn is_begun(&self, steps: &[Step]) -> bool {
        self.parts.iter().zip(steps).all(|(part, step)| match (part, step) {
            (Part::Is(wanted), step) => wanted == step,
            (Part::AnyKey, Step::Key(_)) | (Part::AnyItem, Step::Item(_)) => true,
            (Part::AnyKey, Step::Item(_)) | (Part::AnyItem, Step::Key(_)) => false,
        })
    }
}

/// `N]` or `*]`, and what follows.
fn item(inside: &str) -> Option<(Part, &str)> {
    let (index, rest) = inside.split_once(']')?;
    if index == "*" {
        return Some((Part::AnyItem, rest));
    }
    let digits = !index.is_empty() && index.bytes().all(|b| b.is_ascii_digit());
    Some((Part::Is(Step::Item(index.parse().ok().filter(|_| digits)?)), rest))
}

/// A key, and what follows.
fn key(text: &str) -> Option<(Part, &str)> {
    if let Some(quoted) = text.strip_prefix('"') {
        let (key, rest) = quoted.split_once('"')?;
        return Some((Part::Is(Step::Key(key.to_owned())), rest));
    }
    let (key, rest) = text.split_at(text.find(['.', '[']).unwrap_or(text.len()));
    match key {
        "" => None,
        "*" => Some((Part::AnyKey, rest)),
        key => Some((Part::Is(Step::Key(key.to_owned())), rest)),
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Steps as a [`FieldPath`] is written.
pub fn written(steps: &[Step]) -> String {
    let mut text = String::new();
    for step in steps {
        match step {
            Step::Item(index) => text.push_str(&format!("[{index}]")),
            Step::Key(key) => {
                let plain = !key.is_empty() && key != "*" && !key.contains(['.', '[', '"']);
                let dot = if text.is_empty() { "" } else { "." };
                let quote = if plain { "" } else { "\"" };
                text.push_str(&format!("{dot}{quote}{key}{quote}"));
            }
        }
    }
    text
}

impl<'de> Deserialize<'de> for FieldPath {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(from)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(text: &str) -> Vec<Step> {
        let path = FieldPath::parse(text).expect(text);
        let is = |part: &Part| match part {
            Part::Is(step) => step.clone(),
            _ => panic!("{text}: no pattern here"),
        };
        path.parts.iter().map(is).collect()
    }

    #[test]
    fn paths_lead_to_their_fields_and_to_no_others() {
        let at = steps("spec.containers[1].image");
        for (path, leads) in [
            ("spec.containers[1].image", true),
            ("spec.containers[*].image", true),
            ("*.*[*].*", true),
            ("spec.containers[0].image", false),
            ("spec.containers.*.image", false),
            ("spec.containers[*]", false),
            ("spec.containers[*].image.tag", false),
        ] {
            assert_eq!(FieldPath::parse(path).expect(path).leads_to(&at), leads, "{path}");
        }
        assert!(FieldPath::parse("spec.containers").expect("path").covers(&at));
        assert!(!FieldPath::parse("spec.image").expect("path").covers(&at));
        assert_eq!(steps("data.\"run.sh\"")[1], Step::Key("run.sh".into()));
        for text in ["a.\"b.c\"[0].d", "[3].x", "a.\"*\""] {
            assert_eq!(written(&steps(text)), text);
        }
    }

    #[test]
    fn what_is_no_path_is_told() {
        for text in [
            "",
            ".a",
            "a.",
            "a..b",
            "a[",
            "a[x]",
            "a[-1]",
            "a[]",
            "a.\"b",
            "a[0]b",
            "a[99999999999999999999999]",
        ] {
            assert!(FieldPath::parse(text).is_err(), "{text:?}");
        }
        assert!(FieldPath::parse(&"a.".repeat(600)).is_err());
        assert!(FieldPath::parse(&vec!["a"; 65].join(".")).is_err());
    }
}
