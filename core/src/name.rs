//! Names that people choose. The only way in is `parse`; past it nobody checks again.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::limits::{NAME_BYTES_MAX, REPO_NAME_BYTES_MAX};
use crate::problem::{Problem, ProblemKind, sentence};

/// Names that the server's own addresses use; no repository can have them.
const RESERVED: [&str; 4] = ["-", "v1", "robots.txt", "favicon.ico"];

/// Why a name was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// Nothing was given.
    #[error("the {what} is empty")]
    Empty {
        /// Which kind of name.
        what: &'static str,
    },
    /// It is too long.
    #[error("the {what} has {len} bytes and may have {max}")]
    TooLong {
        /// Which kind of name.
        what: &'static str,
        /// Its length in bytes.
        len: usize,
        /// The longest allowed, in bytes.
        max: usize,
    },
    /// It has a character outside `A-Za-z0-9._-`.
    #[error("the {what} {name:?} has {found:?}, which is not a letter, a digit, '.', '_' or '-'")]
    Character {
        /// Which kind of name.
        what: &'static str,
        /// The name as given.
        name: String,
        /// The first character that is not allowed.
        found: char,
    },
    /// It starts with a dot or a dash.
    #[error("the {what} {name:?} starts with {found:?}")]
    Start {
        /// Which kind of name.
        what: &'static str,
        /// The name as given.
        name: String,
        /// The first character.
        found: char,
    },
    /// It ends in `.git`, which addresses may carry as an ornament.
    #[error("the {what} {name:?} ends in .git")]
    GitSuffix {
        /// Which kind of name.
        what: &'static str,
        /// The name as given.
        name: String,
    },
    /// The server needs it for itself.
    #[error("the {what} {name:?} is reserved")]
    Reserved {
        /// Which kind of name.
        what: &'static str,
        /// The name as given.
        name: String,
    },
}

impl From<InvalidName> for Problem {
    fn from(e: InvalidName) -> Self {
        Problem::new(
            ProblemKind::Invalid,
            sentence(&e.to_string()),
            "Use letters, digits, '.', '_' and '-', starting with a letter or a digit.",
        )
    }
}

fn check(what: &'static str, raw: &str, max: usize) -> Result<(), InvalidName> {
    let Some(first) = raw.chars().next() else { return Err(InvalidName::Empty { what }) };
    if raw.len() > max {
        return Err(InvalidName::TooLong { what, len: raw.len(), max });
    }
    let allowed = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if let Some(found) = raw.chars().find(|c| !allowed(c)) {
        return Err(InvalidName::Character { what, name: raw.into(), found });
    }
    if matches!(first, '.' | '-') && !RESERVED.contains(&raw) {
        return Err(InvalidName::Start { what, name: raw.into(), found: first });
    }
    Ok(())
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $parse:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Box<str>);

        impl $name {
            /// Checks the rule and makes the name.
            pub fn parse(raw: &str) -> Result<Self, InvalidName> {
                let check: fn(&str) -> Result<(), InvalidName> = $parse;
                check(raw)?;
                Ok(Self(raw.into()))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
        impl FromStr for $name {
            type Err = InvalidName;
            fn from_str(raw: &str) -> Result<Self, InvalidName> {
                Self::parse(raw)
            }
        }
        impl TryFrom<String> for $name {
            type Error = InvalidName;
            fn try_from(raw: String) -> Result<Self, InvalidName> {
                Self::parse(&raw)
            }
        }
        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0.into()
            }
        }
        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

name_type!(
    /// A repository's name: `[A-Za-z0-9._-]{1,100}`, no leading dot or dash, no `.git` ending, none of the reserved words.
    RepoName,
    |raw| {
        let what = "repository name";
        check(what, raw, REPO_NAME_BYTES_MAX)?;
        if raw.len() >= 4 && raw.as_bytes()[raw.len() - 4..].eq_ignore_ascii_case(b".git") {
            return Err(InvalidName::GitSuffix { what, name: raw.into() });
        }
        if RESERVED.iter().any(|r| r.eq_ignore_ascii_case(raw)) {
            return Err(InvalidName::Reserved { what, name: raw.into() });
        }
        Ok(())
    }
);
name_type!(
    /// A user's name.
    UserName,
    |raw| check("user name", raw, NAME_BYTES_MAX).and_then(|()| reject_dash("user name", raw))
);
name_type!(
    /// The name under which a registry is known here.
    RegistryName,
    |raw| check("registry name", raw, NAME_BYTES_MAX).and_then(|()| reject_dash("registry name", raw))
);
name_type!(
    /// The name under which a Kubernetes API is known here.
    ClusterName,
    |raw| check("cluster name", raw, NAME_BYTES_MAX).and_then(|()| reject_dash("cluster name", raw))
);

name_type!(
    /// The name of a repository's secret: letters, digits, '.', '_' and '-', as Dockerfiles write it after `id=`.
    SecretName,
    |raw| check("secret's name", raw, NAME_BYTES_MAX).and_then(|()| reject_dash("secret's name", raw))
);

fn reject_dash(what: &'static str, raw: &str) -> Result<(), InvalidName> {
    if raw == "-" { Err(InvalidName::Reserved { what, name: raw.into() }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_name_follows_codecommits_rule() {
        for good in ["AppCodeRepo", "a", "0", "a.b_c-d", "x".repeat(100).as_str(), "git", "v1x"] {
            assert!(RepoName::parse(good).is_ok(), "{good:?}");
        }
        for bad in [
            "",
            ".",
            "..",
            ".hidden",
            "-",
            "-x",
            "a/b",
            "../etc",
            "a b",
            "a\0b",
            "a\nb",
            "é",
            "x.git",
            "x.GIT",
            "v1",
            "V1",
            "robots.txt",
            "favicon.ico",
            "a%2e",
            "a\\b",
            "x".repeat(101).as_str(),
        ] {
            assert!(RepoName::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_refused_name_is_a_sentence_with_a_cure() {
        let problem = Problem::from(RepoName::parse("a/b").expect_err("a slash is not allowed"));
        assert_eq!(problem.kind, ProblemKind::Invalid);
        assert!(problem.what.starts_with("The repository name \"a/b\" has '/'"), "{}", problem.what);
        assert!(!problem.cure.is_empty());
    }

    #[test]
    fn names_do_not_come_in_through_json_unchecked() {
        assert!(serde_json::from_str::<RepoName>("\"../x\"").is_err());
        assert!(serde_json::from_str::<UserName>("\"a b\"").is_err());
    }
}
