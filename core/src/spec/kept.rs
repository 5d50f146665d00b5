//! Files that are kept of a test: patterns of absolute paths in its container.

use std::path::Path;

use globset::{GlobBuilder, GlobMatcher};
use serde::{Deserialize, Deserializer, de};

/// Most patterns of one list.
pub(super) const PATTERNS_MAX: usize = 20;
/// Longest pattern, in bytes.
const PATTERN_BYTES_MAX: usize = 500;

/// An absolute path in a container, whose parts may have `*`, `?` and `**` after the first.
#[derive(Clone, Debug)]
pub struct KeptPath {
    text: String,
    root: String,
    matcher: GlobMatcher,
}

impl KeptPath {
    /// Reads one.
    ///
    /// # Errors
    /// A clause on what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| Err(format!("{:?} {why}", text.chars().take(80).collect::<String>()));
        let Some(inner) = text.strip_prefix('/') else { return wrong("is no absolute path") };
        let parts: Vec<&str> = inner.split('/').collect();
        if text.len() > PATTERN_BYTES_MAX || text.chars().any(char::is_control) {
            return wrong("is too long, or has control characters in it");
        }
        if parts.iter().any(|part| matches!(*part, "" | "." | "..")) {
            return wrong("has an empty part, or one that is . or ..");
        }
        let is_fixed = |part: &&&str| !part.contains(['*', '?', '[', ']', '{', '}', '!', '\\']);
        let fixed: Vec<&str> = parts.iter().take_while(is_fixed).copied().collect();
        if fixed.is_empty() {
            return wrong("begins with a pattern; name the folder first, as in /app/*.xml");
        }
        let glob = GlobBuilder::new(text).literal_separator(true).build();
        let glob = glob.map_err(|e| format!("is no pattern: {}", e.kind()))?;
        Ok(Self {
            text: text.to_owned(),
            root: format!("/{}", fixed.join("/")),
            matcher: glob.compile_matcher(),
        })
    }

    /// The path as it is written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The file or folder in which everything lies that it is about.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// Whether it is about this file.
    pub fn matches(&self, path: &str) -> bool {
        path == self.text || self.matcher.is_match(Path::new(path))
    }
}

impl<'de> Deserialize<'de> for KeptPath {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(from)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_absolute_and_names_where_to_look() {
        for (text, root, yes, no) in [
            ("/app/report.xml", "/app/report.xml", "/app/report.xml", "/app/report.xml2"),
            ("/app/out/**", "/app/out", "/app/out/a/b", "/app/other"),
            ("/app/*/x-?.xml", "/app", "/app/a/x-1.xml", "/app/a/b/x-1.xml"),
        ] {
            let path = KeptPath::parse(text).expect(text);
            assert_eq!((path.root(), path.matches(yes), path.matches(no)), (root, true, false), "{text}");
        }
        for bad in ["", "app/x", "/", "//a", "/a/../b", "/*", "/**/x", "/a/./b", "/a\\nb", "/a/[", "/a/"] {
            assert!(KeptPath::parse(bad).is_err(), "{bad:?}");
        }
    }
}
