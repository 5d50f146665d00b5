//! The patterns of a `sparse:oid` filter: a file in the form of `.gitignore` (gitignore(5)), in which what matches is
//! sent (git-sparse-checkout(1)). Patterns in cone form are such patterns too and need no rule of their own.

use gix::bstr::ByteSlice;
use gix::glob::pattern::Case;
use gix::glob::{Pattern, wildmatch};

use crate::error::{RepoError, Result};
use crate::limits::{SPARSE_BYTES_MAX, SPARSE_PATTERNS_MAX};

/// Patterns, the last that matches decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sparse {
    patterns: Vec<Pattern>,
}

impl Sparse {
    /// Reads them.
    ///
    /// # Errors
    /// [`RepoError::TooLong`] beyond 1 MiB or 4096 patterns.
    pub fn parse(text: &[u8]) -> Result<Self> {
        if text.len() > SPARSE_BYTES_MAX {
            return Err(RepoError::TooLong {
                what: "the size of the sparse patterns in bytes",
                max: SPARSE_BYTES_MAX,
            });
        }
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        let mut patterns = Vec::new();
        for line in text.split(|b| *b == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.starts_with(b"#") {
                continue;
            }
            let Some(pattern) = Pattern::from_bytes(line) else { continue };
            if patterns.len() >= SPARSE_PATTERNS_MAX {
                return Err(RepoError::TooLong {
                    what: "the number of sparse patterns",
                    max: SPARSE_PATTERNS_MAX,
                });
            }
            patterns.push(pattern);
        }
        Ok(Self { patterns })
    }

    /// What the patterns say of a path below the root: sent, not sent, or nothing (then its folder decides).
    pub(crate) fn matches(&self, path: &[u8], is_folder: bool) -> Option<bool> {
        // A damaged tree may have a name that is empty or begins with a slash; no pattern is about those.
        if path.is_empty() || path.starts_with(b"/") {
            return None;
        }
        let name = path.rfind_byte(b'/').map(|at| at + 1);
        let mode = wildmatch::Mode::NO_MATCH_SLASH_LITERAL;
        let found = self.patterns.iter().rev().find(|pattern| {
            pattern.matches_repo_relative_path(path.as_bstr(), name, Some(is_folder), Case::Sensitive, mode)
        });
        found.map(|pattern| !pattern.is_negative())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_pattern_that_matches_decides() {
        let sparse =
            Sparse::parse(b"# cone\r\n/*\r\n!/*/\n/a/\n!/a/*/\n/a/b/\n*.md\n!secret.md\n").expect("small");
        for (path, folder, want) in [
            ("f", false, Some(true)),
            ("x", true, Some(false)),
            ("a", true, Some(true)),
            ("a/f", false, None),
            ("a/c", true, Some(false)),
            ("a/b", true, Some(true)),
            ("x/y/README.md", false, Some(true)),
            ("x/secret.md", false, Some(false)),
            ("x/y/z", false, None),
            ("", true, None),
            ("/", true, None),
            ("/README.md", false, None),
        ] {
            assert_eq!(sparse.matches(path.as_bytes(), folder), want, "{path}");
        }
    }

    #[test]
    fn bounds_hold() {
        assert!(Sparse::parse(&vec![b'\n'; SPARSE_BYTES_MAX + 1]).is_err());
        assert!(Sparse::parse(&b"a\n".repeat(SPARSE_PATTERNS_MAX)).is_ok());
        assert!(Sparse::parse(&b"a\n".repeat(SPARSE_PATTERNS_MAX + 1)).is_err());
    }
}
