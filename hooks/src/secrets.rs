//! What a build is given beside its files: secrets of its repository, and words about those that it is not given.

use std::collections::{BTreeSet, HashMap};

use slipway_core::repo_secret::SecretUse;
use slipway_core::spec::SshKey;
use slipway_core::{Secret, SecretName};

use crate::engine::agent::Keys;
use crate::error::HookError;

/// Secrets of one build.
#[derive(Clone, Debug, Default)]
pub struct Secrets {
    /// Those that it is given, and for what.
    pub given: Vec<GivenSecret>,
    /// Those that it is not given for a purpose, and why: a clause with "it".
    pub withheld: Vec<(SecretName, SecretUse, String)>,
}

/// A secret that a build is given.
#[derive(Clone, Debug)]
pub struct GivenSecret {
    /// What it is called.
    pub name: SecretName,
    /// What it is for.
    pub uses: BTreeSet<SecretUse>,
    /// Its value.
    pub value: Secret,
    /// When it was given that, in milliseconds since 1970: a version.
    pub changed: u64,
}

impl Secrets {
    /// All values, to be hidden in the log.
    pub fn values(&self) -> impl Iterator<Item = &Secret> {
        self.given.iter().map(|one| &one.value)
    }

    /// What steps of a Dockerfile may mount; where its stage is the test, what is for tests too.
    pub(crate) fn mounted(&self, is_test: bool) -> HashMap<String, Secret> {
        let is_for = |one: &&GivenSecret| {
            one.uses.contains(&SecretUse::Build) || (is_test && one.uses.contains(&SecretUse::Test))
        };
        self.given.iter().filter(is_for).map(|one| (one.name.to_string(), one.value.clone())).collect()
    }

    /// What steps may sign with, as slipway.toml names it: those keys that this build may use, each with its name, by id.
    ///
    /// # Errors
    /// [`HookError::NoSecret`] for one that the repository has not at all.
    pub(crate) fn signing(&self, named: &[SshKey]) -> Result<Keys, HookError> {
        let mut keys = Keys::new();
        for key in named {
            let is_it = |one: &&GivenSecret| one.name == key.secret && one.uses.contains(&SecretUse::Ssh);
            if let Some(given) = self.given.iter().find(is_it) {
                let of_id = keys.entry(key.id.clone()).or_default();
                of_id.push((key.secret.to_string(), given.value.clone()));
            } else if !self.is_kept_back(&key.secret) {
                return Err(HookError::NoSecret {
                    what: "SSH key",
                    name: key.secret.to_string(),
                    asked: "build.ssh of slipway.toml",
                    why: self.why_not(key.secret.as_str(), SecretUse::Ssh),
                });
            }
        }
        Ok(keys)
    }

    /// True for an SSH key that this build is not given, and others are: a step can do without, if it says so.
    fn is_kept_back(&self, name: &SecretName) -> bool {
        let has = |one: &&GivenSecret| one.name == *name;
        self.given.iter().find(has).is_none() && self.why_not(name.as_str(), SecretUse::Ssh).is_some()
    }

    /// The value of a secret that a test names.
    pub(crate) fn of_test(&self, name: &SecretName) -> Result<Secret, HookError> {
        let found = self.given.iter().find(|one| one.name == *name && one.uses.contains(&SecretUse::Test));
        found.map(|one| one.value.clone()).ok_or_else(|| HookError::NoSecret {
            what: "secret",
            name: name.to_string(),
            asked: "test.secrets of slipway.toml",
            why: self.why_not(name.as_str(), SecretUse::Test),
        })
    }

    /// Why a build has it not, where there is one of that name.
    pub(crate) fn why_not(&self, name: &str, purpose: SecretUse) -> Option<String> {
        let found = self.withheld.iter().find(|(known, of, _)| known.as_str() == name && *of == purpose);
        found.map(|(_, _, why)| why.clone())
    }
}
