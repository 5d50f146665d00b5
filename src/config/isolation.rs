//! What builds, tests and kubeconfigs may do at most: the word of whoever runs the server, above that of owners.

use std::fmt;

use serde::{Deserialize, Deserializer, de};
use slipway_deployer::KubeconfigRules;

/// `[clusters]`: what kubeconfigs may make this machine do.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Clusters {
    /// Programs that exec plugins may be; words after one are what its arguments must begin with.
    exec: Vec<Absolute>,
    /// Variables that an exec plugin gets.
    exec_env: Vec<Variable>,
    /// Files that may be read as token, certificate or key.
    files: Vec<Absolute>,
    /// Whether the service account of the server's own pod may be used.
    in_cluster: bool,
}

impl Clusters {
    pub(crate) fn rules(&self) -> KubeconfigRules {
        let texts = |all: &[Absolute]| all.iter().map(|a| a.0.clone()).collect();
        KubeconfigRules {
            exec: texts(&self.exec),
            exec_env: self.exec_env.iter().map(|v| v.0.clone()).collect(),
            files: texts(&self.files),
            in_cluster: self.in_cluster,
        }
    }
}

/// An absolute path, words behind it aside.
#[derive(Clone, Debug)]
struct Absolute(String);

/// The name of a variable.
#[derive(Clone, Debug)]
struct Variable(String);

impl<'de> Deserialize<'de> for Absolute {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let path = text.split_whitespace().next().unwrap_or_default();
        let dots = path.split('/').any(|part| part == "." || part == "..");
        if text.starts_with('/') && !dots { Ok(Self(text)) } else { Err(wrong(&text, "an absolute path")) }
    }
}

impl<'de> Deserialize<'de> for Variable {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let fits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if fits { Ok(Self(text)) } else { Err(wrong(&text, "the name of a variable")) }
    }
}

fn wrong<E: de::Error>(text: &str, wanted: impl fmt::Display) -> E {
    E::custom(format!("{text:?} is not {wanted}"))
}
