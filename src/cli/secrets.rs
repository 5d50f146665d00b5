//! The verbs about a repository's secrets, and what they ask of the JSON API.

use clap::Subcommand;
use serde_json::json;
use slipway_core::repo_secret::SecretUse;
use slipway_core::{Problem, RepoName, SecretName};

use super::request::{Files, Request, Shows, call, says, send};

#[derive(Debug, Subcommand)]
pub(crate) enum SecretVerb {
    /// Set a secret that builds or tests of a repository are given; its value comes from a file or standard input
    Set {
        /// The repository's name
        repo: RepoName,
        /// What it is called: RUN --mount=type=secret,id=NAME, and test.secrets in slipway.toml
        name: SecretName,
        /// File with its value (`-` reads standard input); a line end at its end is taken off
        #[arg(long, value_name = "FILE", default_value = "-")]
        file: String,
        /// What it is for: build, test; or ssh, of a private key that steps sign with and nobody is given
        #[arg(long = "for", value_name = "USE", value_delimiter = ',', default_value = "build,test")]
        uses: Vec<SecretUse>,
        /// Branches whose builds are given it, such as release/*; without --branch and --tag the default branch alone
        #[arg(long = "branch", value_name = "PATTERN")]
        branches: Vec<String>,
        /// Git tags whose builds are given it, such as v*
        #[arg(long = "tag", value_name = "PATTERN")]
        tags: Vec<String>,
    },
    /// List the secrets of a repository, without their values
    List {
        /// The repository's name
        repo: RepoName,
    },
    /// Remove a secret
    Remove {
        /// The repository's name
        repo: RepoName,
        /// What it is called
        name: SecretName,
    },
}

impl SecretVerb {
    /// True if it reads standard input.
    pub(crate) fn reads_input(&self) -> bool {
        matches!(self, Self::Set { file, .. } if file == "-")
    }
}

/// The API call for a verb.
pub(super) fn request(verb: SecretVerb, files: &mut dyn Files) -> Result<Request, Problem> {
    Ok(match verb {
        SecretVerb::Set { repo, name, file, uses, branches, tags } => {
            let text = files.read(&file)?;
            let value = text.strip_suffix('\n').unwrap_or(&text);
            let value = value.strip_suffix('\r').unwrap_or(value);
            let body = json!({"value": value, "for": uses, "on": {"branches": branches, "tags": tags}});
            let sentence = format!("The secret {name} of {repo} is set. See: slipway secret list {repo}");
            send("PUT", format!("/repos/{repo}/secrets/{name}"), body, says(sentence))
        }
        SecretVerb::List { repo } => {
            let columns = &["name", "for", "given_to", "by", "changed"];
            call("GET", format!("/repos/{repo}/secrets"), Shows::Rows("secrets", columns))
        }
        SecretVerb::Remove { repo, name } => {
            let sentence = format!("The secret {name} of {repo} is removed.");
            call("DELETE", format!("/repos/{repo}/secrets/{name}"), says(sentence))
        }
    })
}
