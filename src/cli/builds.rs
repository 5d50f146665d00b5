//! Verbs about builds: what can be said, and what it asks of the JSON API. Pure.

use clap::Subcommand;
use serde_json::json;
use slipway_core::RepoName;

use super::request::{Request, Shows, call, send};

#[derive(Debug, Subcommand)]
pub(crate) enum BuildVerb {
    /// List builds, newest first
    List {
        /// The repository's name
        repo: RepoName,
    },
    /// Show one
    Show {
        /// The repository's name
        repo: RepoName,
        /// Its number
        number: u64,
    },
    /// Print its log
    Log {
        /// The repository's name
        repo: RepoName,
        /// Its number
        number: u64,
        /// Go on until the build ends
        #[arg(long, short)]
        follow: bool,
    },
    /// Build a branch, a tag or a commit, whether or not a push to it would
    Start {
        /// The repository's name
        repo: RepoName,
        /// Branch, tag or commit [default: the default branch]
        #[arg(value_name = "REF")]
        revision: Option<String>,
    },
    /// Build the same commit again
    Retry {
        /// The repository's name
        repo: RepoName,
        /// Its number
        number: u64,
    },
    /// Stop it
    Cancel {
        /// The repository's name
        repo: RepoName,
        /// Its number
        number: u64,
    },
}

/// The API call for a verb.
pub(super) fn request(verb: BuildVerb) -> Request {
    const COLUMNS: &[&str] = &["number", "state", "stage", "commit", "title", "actor", "created"];
    match verb {
        BuildVerb::List { repo } => {
            call("GET", format!("/repos/{repo}/builds"), Shows::Rows("builds", COLUMNS))
        }
        BuildVerb::Show { repo, number } => {
            call("GET", format!("/repos/{repo}/builds/{number}"), Shows::Record)
        }
        BuildVerb::Log { repo, number, follow } => {
            let follow = if follow { "?follow=true" } else { "" };
            call("GET", format!("/repos/{repo}/builds/{number}/log{follow}"), Shows::Stream)
        }
        BuildVerb::Start { repo, revision } => {
            let body = revision.map_or_else(|| json!({}), |revision| json!({"ref": revision}));
            send("POST", format!("/repos/{repo}/builds"), body, Shows::Record)
        }
        BuildVerb::Retry { repo, number } => {
            send("POST", format!("/repos/{repo}/builds/{number}/retry"), json!({}), Shows::Record)
        }
        BuildVerb::Cancel { repo, number } => {
            send("POST", format!("/repos/{repo}/builds/{number}/cancel"), json!({}), Shows::Record)
        }
    }
}
