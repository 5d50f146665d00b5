//! Verbs about builds: what can be said, and what it asks of the JSON API. Pure.

use std::collections::BTreeMap;

use clap::Subcommand;
use serde_json::json;
use slipway_core::RepoName;

use super::request::{Request, Shows, call, segment, send};

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
    /// Show the stages and steps of its log, how each ended and how long it took
    Steps {
        /// The repository's name
        repo: RepoName,
        /// Its number
        number: u64,
    },
    /// List the files that were kept of its test, or write one to standard output
    Artifacts {
        /// The repository's name
        repo: RepoName,
        /// Its number
        number: u64,
        /// One of them, by its path
        path: Option<String>,
    },
    /// Wait until it is over; the exit status is 0 if it succeeded, 1 if not
    Wait {
        /// The repository's name
        repo: RepoName,
        /// Its number, or its commit: then the newest build of that
        #[arg(value_name = "COMMIT|N")]
        build: String,
    },
    /// Build a branch, a tag or a commit, whether or not a push to it would
    Start {
        /// The repository's name
        repo: RepoName,
        /// Branch, tag or commit [default: the default branch]
        #[arg(value_name = "REF")]
        revision: Option<String>,
        /// One image of a commit that has several ([[image]] of slipway.toml) [default: all]
        #[arg(long, value_name = "NAME")]
        image: Option<String>,
        /// Do every step anew, whatever the engine remembers
        #[arg(long)]
        no_cache: bool,
        /// A parameter of the commit's slipway.toml ([build.params.KEY]), again for more
        #[arg(long, value_name = "KEY=VALUE", value_parser = param)]
        param: Vec<(String, String)>,
    },
    /// What starts builds by itself
    #[command(subcommand)]
    Schedule(ScheduleVerb),
    /// Build the same commit again
    Retry {
        /// The repository's name
        repo: RepoName,
        /// Its number
        number: u64,
    },
    /// Move tags and manifests to what a build has pushed, without building
    Promote {
        /// The repository's name
        repo: RepoName,
        /// Its number
        number: u64,
        /// A tag or a [deploy.*] of slipway.toml, again for more [default: what builds of its ref move by themselves]
        #[arg(long, value_name = "NAME")]
        to: Vec<String>,
    },
    /// Let deploys that wait for approval ([deploy.*] approve = true) have what a build has pushed
    Approve {
        /// The repository's name
        repo: RepoName,
        /// Its number
        number: u64,
        /// A [deploy.*] of slipway.toml, again for more [default: all that wait]
        #[arg(long, value_name = "NAME")]
        to: Vec<String>,
    },
    /// Check by its signature that a build here has made an image, and tell which; the exit status is 1 if none has
    Verify {
        /// HOST[:PORT]/PATH:TAG or HOST[:PORT]/PATH@sha256:...
        image: String,
    },
    /// Print the public key that images are signed with
    PublicKey,
    /// Write what is stated of its image to standard output: where it comes from, in JSON
    Provenance {
        /// The repository's name
        repo: RepoName,
        /// Its number
        number: u64,
    },
    /// Write what is in its image to standard output: CycloneDX, in JSON
    Sbom {
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

#[derive(Debug, Subcommand)]
pub(crate) enum ScheduleVerb {
    /// List times, nights and base images that start builds, when each is due and what came of it last
    List {
        /// The repository's name
        repo: RepoName,
    },
}

fn param(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("it wants KEY=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// The API call for a verb.
pub(super) fn request(verb: BuildVerb) -> Option<Request> {
    const COLUMNS: &[&str] = &["number", "state", "stage", "commit", "title", "why", "created"];
    Some(match verb {
        // Asks again and again.
        BuildVerb::Wait { .. } => return None,
        BuildVerb::List { repo } => {
            call("GET", format!("/repos/{repo}/builds"), Shows::Rows("builds", COLUMNS))
        }
        BuildVerb::Show { repo, number } => {
            call("GET", format!("/repos/{repo}/builds/{number}"), Shows::Record)
        }
        BuildVerb::Log { repo, number, follow } => {
            let follow = if follow { "?follow=true" } else { "" };
            call("GET", format!("/repos/{repo}/builds/{number}/log{follow}"), Shows::Log)
        }
        BuildVerb::Steps { repo, number } => {
            call("GET", format!("/repos/{repo}/builds/{number}/steps"), Shows::Steps)
        }
        BuildVerb::Artifacts { repo, number, path: None } => {
            let path = format!("/repos/{repo}/builds/{number}/artifacts");
            call("GET", path, Shows::Rows("artifacts", &["path", "bytes"]))
        }
        BuildVerb::Artifacts { repo, number, path: Some(path) } => {
            let path: Vec<String> = path.trim_start_matches('/').split('/').map(segment).collect();
            let path = format!("/repos/{repo}/builds/{number}/artifacts/{}", path.join("/"));
            call("GET", path, Shows::Stream)
        }
        BuildVerb::Schedule(ScheduleVerb::List { repo }) => {
            const SCHEDULE: &[&str] = &["name", "when", "tz", "branches", "next", "last", "builds", "told"];
            call("GET", format!("/repos/{repo}/schedules"), Shows::Rows("schedules", SCHEDULE))
        }
        BuildVerb::Start { repo, revision, image, no_cache, param } => {
            let mut body = if no_cache { json!({"no_cache": true}) } else { json!({}) };
            for (key, said) in [("ref", revision), ("image", image)] {
                if let Some(said) = said {
                    body[key] = json!(said);
                }
            }
            if !param.is_empty() {
                body["params"] = json!(param.into_iter().collect::<BTreeMap<_, _>>());
            }
            send("POST", format!("/repos/{repo}/builds"), body, Shows::Record)
        }
        BuildVerb::Retry { repo, number } => {
            send("POST", format!("/repos/{repo}/builds/{number}/retry"), json!({}), Shows::Record)
        }
        BuildVerb::Promote { repo, number, to } => {
            let path = format!("/repos/{repo}/builds/{number}/promote");
            send("POST", path, json!({"to": to}), Shows::Record)
        }
        BuildVerb::Approve { repo, number, to } => {
            let path = format!("/repos/{repo}/builds/{number}/approve");
            send("POST", path, json!({"to": to}), Shows::Record)
        }
        BuildVerb::Verify { image } => {
            call("GET", format!("/images/verify?image={}", segment(&image)), Shows::Record)
        }
        BuildVerb::PublicKey => call("GET", "/signing-key", Shows::Stream),
        BuildVerb::Provenance { repo, number } => {
            call("GET", format!("/repos/{repo}/builds/{number}/provenance"), Shows::Stream)
        }
        BuildVerb::Sbom { repo, number } => {
            call("GET", format!("/repos/{repo}/builds/{number}/sbom"), Shows::Stream)
        }
        BuildVerb::Cancel { repo, number } => {
            send("POST", format!("/repos/{repo}/builds/{number}/cancel"), json!({}), Shows::Record)
        }
    })
}
