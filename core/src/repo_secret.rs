//! Secrets of a repository: what its builds and tests are given, and which refs' builds are.
//!
//! Who may push a feature branch can write any Dockerfile and any test there, and print what they are given. So a secret is for
//! the builds of the default branch, unless an admin says otherwise by name.

use std::collections::BTreeSet;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::git::RefName;
use crate::id::{RepoId, UnixMillis};
use crate::limits::SECRET_PATTERNS_MAX;
use crate::name::SecretName;
use crate::problem::{Problem, ProblemKind};
use crate::spec::MoveOn;

/// What a secret is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", try_from = "String")]
pub enum SecretUse {
    /// Steps of the Dockerfile that mount it: `RUN --mount=type=secret,id=NAME`.
    Build,
    /// Tests, where slipway.toml names it.
    Test,
    /// Steps of the Dockerfile that sign with it, a private key, through an agent: `RUN --mount=type=ssh`, where slipway.toml
    /// names it in `[build] ssh`. Nobody is given it.
    Ssh,
}

impl SecretUse {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Build, Self::Test, Self::Ssh];
    /// What a secret is for of which nothing is said.
    pub const USUAL: [Self; 2] = [Self::Build, Self::Test];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Build => "build",
            Self::Test => "test",
            Self::Ssh => "ssh",
        }
    }
}

impl FromStr for SecretUse {
    type Err = Problem;
    fn from_str(raw: &str) -> Result<Self, Problem> {
        Self::ALL.into_iter().find(|one| one.as_str() == raw).ok_or_else(|| {
            if raw == "deploy" {
                // Putting a value into what is applied would show it to whoever reads the cluster's objects, and keep it in
                // what a rollback applies again.
                return Problem::new(
                    ProblemKind::Invalid,
                    "Deploys are given no secrets: what is applied is what the manifests say, and those are read by many.",
                    "Keep it in the cluster, as a Secret that the manifests name (imagePullSecrets, secretKeyRef).",
                );
            }
            let shown: String = raw.chars().take(40).collect();
            let told = format!("{shown:?} is nothing that a secret can be for.");
            Problem::new(ProblemKind::Invalid, told, "Say build, test, or both; or ssh, of a private key.")
        })
    }
}

impl TryFrom<String> for SecretUse {
    type Error = Problem;
    fn try_from(raw: String) -> Result<Self, Problem> {
        raw.parse()
    }
}

/// Which refs' builds are given a secret, as an admin says it: patterns as in slipway.toml.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SecretRefs {
    /// Patterns of branches.
    pub branches: Vec<String>,
    /// Patterns of git tags.
    pub tags: Vec<String>,
}

impl SecretRefs {
    /// True if nothing is said: the default branch alone.
    pub fn is_default(&self) -> bool {
        self.branches.is_empty() && self.tags.is_empty()
    }

    /// Checks what somebody says.
    ///
    /// # Errors
    /// `Invalid` for what is no pattern, and for too many.
    pub fn check(&self) -> Result<(), Problem> {
        if self.branches.len().max(self.tags.len()) > SECRET_PATTERNS_MAX {
            return Err(Problem::new(
                ProblemKind::Invalid,
                format!("There are more than {SECRET_PATTERNS_MAX} patterns of branches or of tags."),
                "Say it with fewer: * stands for a part of a name, ** for several.",
            ));
        }
        self.read().map(drop).map_err(|why| {
            Problem::new(ProblemKind::Invalid, format!("{why}."), "Give one such as main, release/* or v*.")
        })
    }

    fn read(&self) -> Result<MoveOn, String> {
        MoveOn::new(&self.branches, &self.tags)
    }

    /// True if builds of `name` are given it.
    pub fn matches(&self, name: &RefName, default_branch: &RefName) -> bool {
        if self.is_default() {
            return name == default_branch;
        }
        self.read().is_ok_and(|on| on.matches(name))
    }

    /// What it names, for a sentence: `branches main, release/*`.
    pub fn said(&self) -> String {
        if self.is_default() {
            return "the default branch".to_owned();
        }
        self.read().map_or_else(|_| "nothing".to_owned(), |on| on.said())
    }
}

/// A secret as recorded; its value lies encrypted beside it in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepoSecret {
    /// Whose.
    pub repo: RepoId,
    /// What it is called.
    pub name: SecretName,
    /// What it is for; never nothing.
    pub uses: BTreeSet<SecretUse>,
    /// Which refs' builds are given it.
    #[serde(default, skip_serializing_if = "SecretRefs::is_default")]
    pub on: SecretRefs,
    /// Who gave it its value.
    pub by: String,
    /// When.
    pub changed: UnixMillis,
}

impl RepoSecret {
    /// Why builds of `name` are not given it for that; `None` where they are.
    pub fn why_not(&self, purpose: SecretUse, name: &RefName, default_branch: &RefName) -> Option<String> {
        if !self.uses.contains(&purpose) {
            let uses: Vec<&str> = self.uses.iter().map(|one| one.as_str()).collect();
            return Some(format!("it is for {}, not for {}", uses.join(" and "), purpose.as_str()));
        }
        (!self.on.matches(name, default_branch)).then(|| {
            format!("it is given to builds of {} and not to those of {}", self.on.said(), name.short())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refs(branches: &[&str], tags: &[&str]) -> SecretRefs {
        let all = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        SecretRefs { branches: all(branches), tags: all(tags) }
    }

    fn branch(name: &str) -> RefName {
        RefName::branch(name).expect("branch")
    }

    #[test]
    fn a_secret_is_the_default_branch_s_unless_somebody_says_otherwise() {
        let (main, tag) = (branch("main"), RefName::tag("v1").expect("tag"));
        let unsaid = SecretRefs::default();
        assert!(
            unsaid.matches(&main, &main)
                && !unsaid.matches(&branch("x"), &main)
                && !unsaid.matches(&tag, &main)
        );
        let said = refs(&["release/*"], &["v*"]);
        assert!(said.matches(&branch("release/1"), &main) && said.matches(&tag, &main));
        assert!(!said.matches(&main, &main) && !said.matches(&branch("release/1/x"), &main));
        assert_eq!(said.said(), "branches release/* and tags v*");
        let tags_alone = refs(&[], &["v*"]);
        assert!(!tags_alone.matches(&main, &main));
    }

    #[test]
    fn a_deploy_is_given_none_and_everybody_hears_where_it_belongs() {
        let told = "deploy".parse::<SecretUse>().expect_err("refused").to_string();
        assert!(told.contains("Deploys are given no secrets") && told.contains("imagePullSecrets"), "{told}");
        let by_api = serde_json::from_str::<SecretUse>("\"deploy\"").expect_err("refused").to_string();
        assert!(by_api.contains("Deploys are given no secrets"), "{by_api}");
        assert_eq!(serde_json::from_str::<SecretUse>("\"test\"").expect("read"), SecretUse::Test);
    }

    #[test]
    fn what_is_no_pattern_is_refused_and_gives_nothing() {
        let bad = refs(&["a["], &[]);
        let told = bad.check().expect_err("no pattern");
        assert!(told.what.contains("\"a[\" is not a pattern"), "{told}");
        assert!(!bad.matches(&branch("a"), &branch("main")));
        assert!(refs(&["x"; SECRET_PATTERNS_MAX + 1], &[]).check().is_err());
    }

    #[test]
    fn why_a_build_is_not_given_it_is_said() {
        let main = branch("main");
        let secret = RepoSecret {
            repo: RepoId(1),
            name: SecretName::parse("npm_token").expect("name"),
            uses: BTreeSet::from([SecretUse::Build]),
            on: SecretRefs::default(),
            by: "ann".into(),
            changed: UnixMillis(1),
        };
        assert_eq!(secret.why_not(SecretUse::Build, &main, &main), None);
        let told = secret.why_not(SecretUse::Test, &main, &main).expect("not");
        assert_eq!(told, "it is for build, not for test");
        let told = secret.why_not(SecretUse::Build, &branch("x"), &main).expect("not");
        assert_eq!(told, "it is given to builds of the default branch and not to those of x");
    }
}
