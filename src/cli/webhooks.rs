//! The verbs about webhooks, and what they ask of the JSON API.

use clap::Subcommand;
use serde_json::json;
use slipway_core::webhook::{WebhookEvent, WebhookKind};
use slipway_core::{Problem, RepoName};

use super::request::{Files, Request, Shows, call, says, send};

#[derive(Debug, Subcommand)]
pub(crate) enum WebhookVerb {
    /// Tell an address of what happens in a repository
    Add {
        /// The repository's name
        repo: RepoName,
        /// Where to: https://…
        #[arg(long)]
        url: String,
        /// File with the secret that signs deliveries; with jenkins its access token (`-` reads standard input)
        #[arg(long, value_name = "FILE")]
        secret_file: Option<String>,
        /// Of what: push, build, deploy
        #[arg(long, value_delimiter = ',', default_value = "push")]
        events: Vec<WebhookEvent>,
        /// In which form: gitea (which GitHub's and Gogs's consumers understand too), jenkins or plain
        #[arg(long, default_value = "gitea")]
        kind: WebhookKind,
    },
    /// List the webhooks of a repository
    List {
        /// The repository's name
        repo: RepoName,
    },
    /// Remove a webhook with what it was to deliver
    Remove {
        /// The repository's name
        repo: RepoName,
        /// Its number, as `slipway webhook list` prints it
        id: u64,
    },
    /// List deliveries, newest first, or show one with what was answered
    Deliveries {
        /// The repository's name
        repo: RepoName,
        /// The delivery's number
        id: Option<u64>,
    },
    /// Deliver the same again
    Redeliver {
        /// The repository's name
        repo: RepoName,
        /// The delivery's number
        id: u64,
    },
}

impl WebhookVerb {
    /// True if it reads standard input.
    pub(crate) fn reads_input(&self) -> bool {
        matches!(self, Self::Add { secret_file: Some(file), .. } if file == "-")
    }
}

/// The API call for a verb.
pub(super) fn request(verb: WebhookVerb, files: &mut dyn Files) -> Result<Request, Problem> {
    const DELIVERIES: &[&str] = &["number", "webhook", "event", "state", "retries", "created"];
    Ok(match verb {
        WebhookVerb::Add { repo, url, secret_file, events, kind } => {
            let mut body = json!({"url": url, "kind": kind, "events": events});
            if let Some(file) = secret_file {
                body["secret"] = json!(files.read(&file)?.trim_end_matches(['\r', '\n']));
            }
            let sentence = format!("{repo} tells that address from now on. See: slipway webhook list {repo}");
            send("POST", format!("/repos/{repo}/webhooks"), body, says(sentence))
        }
        WebhookVerb::List { repo } => {
            let columns = &["number", "kind", "url", "events", "signed", "by", "created"];
            call("GET", format!("/repos/{repo}/webhooks"), Shows::Rows("webhooks", columns))
        }
        WebhookVerb::Remove { repo, id } => {
            let sentence = format!("Webhook {id} of {repo} is removed.");
            call("DELETE", format!("/repos/{repo}/webhooks/{id}"), says(sentence))
        }
        WebhookVerb::Deliveries { repo, id: None } => {
            call("GET", format!("/repos/{repo}/deliveries"), Shows::Rows("deliveries", DELIVERIES))
        }
        WebhookVerb::Deliveries { repo, id: Some(id) } => {
            call("GET", format!("/repos/{repo}/deliveries/{id}"), Shows::Record)
        }
        WebhookVerb::Redeliver { repo, id } => {
            send("POST", format!("/repos/{repo}/deliveries/{id}/redeliver"), json!({}), Shows::Record)
        }
    })
}
