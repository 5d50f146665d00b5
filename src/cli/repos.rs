//! Verbs about repositories: what can be said, and what it asks of the JSON API. Pure.

use clap::Subcommand;
use serde_json::json;
use slipway_core::{ObjectFormat, Problem, ProblemKind, RepoName};

use super::request::{Request, Shows, call, says, send};

#[derive(Debug, Subcommand)]
pub(crate) enum RepoVerb {
    /// Make an empty repository
    Create {
        /// The repository's name
        name: RepoName,
        #[arg(long, default_value = "")]
        description: String,
        /// Everyone may read it
        #[arg(long)]
        public: bool,
        /// The hash that makes its ids, for good: sha1 or sha256
        #[arg(long, value_name = "FORMAT", default_value_t)]
        object_format: ObjectFormat,
        /// The branch that HEAD names until the first one is pushed [default: main]
        #[arg(long, value_name = "BRANCH")]
        default_branch: Option<String>,
    },
    /// List the repositories
    List,
    /// Show one
    Show {
        /// The repository's name
        name: RepoName,
    },
    /// Roll its packs up and write what makes answers fast, now
    Maintain {
        /// The repository's name
        name: RepoName,
        /// Pack everything anew, and let go of old objects that nothing reaches
        #[arg(long)]
        full: bool,
    },
    /// Choose its default branch, describe it, show it to everyone or not
    #[command(group(clap::ArgGroup::new("what").required(true).multiple(true)
        .args(["default_branch", "description", "public", "private"])))]
    Set {
        /// The repository's name
        name: RepoName,
        /// A branch that is there; any while there is none
        #[arg(long, value_name = "BRANCH")]
        default_branch: Option<String>,
        /// A line about it
        #[arg(long)]
        description: Option<String>,
        /// Everyone may read it
        #[arg(long, conflicts_with = "private")]
        public: bool,
        /// Only those with a role may read it
        #[arg(long)]
        private: bool,
    },
    /// Give it another name
    Rename {
        /// Its name now
        old: RepoName,
        /// Its name from then on
        new: RepoName,
    },
    /// Delete it with its history, builds and deploys
    Remove {
        /// The repository's name
        name: RepoName,
        /// Yes, delete it
        #[arg(long)]
        yes: bool,
    },
}

/// The API call for a verb.
///
/// # Errors
/// A removal that is not confirmed.
pub(super) fn request(verb: RepoVerb) -> Result<Request, Problem> {
    Ok(match verb {
        RepoVerb::Create { name, description, public, object_format, default_branch } => {
            let mut body = json!({
                "name": name,
                "description": description,
                "public": public,
                "object_format": object_format,
            });
            if let Some(branch) = default_branch {
                body["default_branch"] = json!(branch);
            }
            let sentence = format!("Repository {name} is made. Its addresses: slipway repo show {name}");
            send("POST", "/repos", body, says(sentence))
        }
        RepoVerb::Set { name, default_branch, description, public, private } => {
            let sentence = match &default_branch {
                Some(branch) => {
                    let branch = branch.strip_prefix("refs/heads/").unwrap_or(branch);
                    format!("The default branch of {name} is {branch}.")
                }
                None => format!("Repository {name} is changed."),
            };
            let mut body = json!({});
            for (key, value) in [("default_branch", default_branch), ("description", description)] {
                if let Some(value) = value {
                    body[key] = json!(value);
                }
            }
            if public || private {
                body["public"] = json!(public);
            }
            send("PATCH", format!("/repos/{name}"), body, says(sentence))
        }
        RepoVerb::List => {
            call("GET", "/repos?limit=1000", Shows::Rows("repos", &["name", "public", "description", "ssh"]))
        }
        RepoVerb::Show { name } => call("GET", format!("/repos/{name}"), Shows::Record),
        RepoVerb::Maintain { name, full } => {
            send("POST", format!("/repos/{name}/maintenance"), json!({"full": full}), Shows::Maintained)
        }
        RepoVerb::Rename { old, new } => {
            let sentence = format!("Repository {old} is now {new}.");
            send("PATCH", format!("/repos/{old}"), json!({"name": new}), says(sentence))
        }
        RepoVerb::Remove { name, yes: true } => {
            call("DELETE", format!("/repos/{name}"), says(format!("Repository {name} is removed.")))
        }
        RepoVerb::Remove { name, yes: false } => {
            return Err(Problem::new(
                ProblemKind::Invalid,
                format!("Removing {name} deletes its history, builds and deploys."),
                "Say --yes if that is meant.",
            ));
        }
    })
}
