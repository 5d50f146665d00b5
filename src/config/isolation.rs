//! What builds, tests and kubeconfigs may do at most: the word of whoever runs the server, above that of owners.

use serde::Deserialize;
use slipway_core::place::Wrong;
use slipway_deployer::KubeconfigRules;

/// `[clusters]`: what kubeconfigs may make this machine do.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Clusters {
    /// Programs that exec plugins may be; words after one are what its arguments must begin with.
    exec: Vec<String>,
    /// Variables that an exec plugin gets.
    exec_env: Vec<String>,
    /// Files that may be read as token, certificate or key.
    files: Vec<String>,
    /// Whether the service account of the server's own pod may be used.
    in_cluster: bool,
}

impl Clusters {
    pub(crate) fn rules(&self) -> KubeconfigRules {
        KubeconfigRules {
            exec: self.exec.clone(),
            exec_env: self.exec_env.clone(),
            files: self.files.clone(),
            in_cluster: self.in_cluster,
        }
    }

    /// Looks whether each is what it is to be.
    ///
    /// # Errors
    /// The first that is not, with the way to it from `[clusters]`.
    pub(super) fn check(&self) -> Result<(), Wrong> {
        each("exec", &self.exec, is_absolute, "an absolute path")?;
        each("files", &self.files, is_absolute, "an absolute path")?;
        each("exec_env", &self.exec_env, is_variable, "the name of a variable")
    }
}

fn each(key: &str, all: &[String], fits: fn(&str) -> bool, wanted: &str) -> Result<(), Wrong> {
    match all.iter().position(|text| !fits(text)) {
        None => Ok(()),
        Some(at) => Err(Wrong::at(key, format!("{:?} is not {wanted}", all[at])).item(at)),
    }
}

/// An absolute path, words behind it aside.
fn is_absolute(text: &str) -> bool {
    let path = text.split_whitespace().next().unwrap_or_default();
    text.starts_with('/') && !path.split('/').any(|part| part == "." || part == "..")
}

fn is_variable(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}
