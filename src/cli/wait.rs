//! `slipway build wait`: until a build is over, with its end as the exit status.

use std::time::Duration;

use serde_json::Value;
use slipway_core::{Problem, ProblemKind, RepoName};

use super::output;
use super::request::{Shows, call};
use super::run::{Session, client_left};

/// Builds that are looked through for one of a commit.
const LOOKED_MAX: usize = 1000;
/// First pause between two looks; it grows up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(200);
/// See [`PAUSE_MIN`].
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// A number longer than this is a commit's.
const NUMBER_DIGITS_MAX: usize = 6;

/// Waits for the build of that number or commit. True if it succeeded.
pub(super) async fn run(
    repo: &RepoName,
    named: &str,
    as_json: bool,
    session: Session<'_>,
) -> Result<bool, Problem> {
    let Session { client, out, .. } = session;
    let is_number = named.len() <= NUMBER_DIGITS_MAX && named.bytes().all(|b| b.is_ascii_digit());
    let number = if is_number {
        named.to_owned()
    } else {
        let list = call("GET", format!("/repos/{repo}/builds?limit={LOOKED_MAX}"), Shows::Record);
        of_commit(repo, &client.send(&list).await?.json().await?, named)?
    };
    let look = call("GET", format!("/repos/{repo}/builds/{number}"), Shows::Record);
    let mut pause = PAUSE_MIN;
    let build = loop {
        let build = client.send(&look).await?.json().await?;
        if is_over(&build) {
            break build;
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = out.left() => return Err(client_left()),
        }
        pause = (pause * 2).min(PAUSE_MAX);
    };
    let text = match as_json {
        true => format!("{}\n", serde_json::to_string_pretty(&build).unwrap_or_default()),
        false => output::record(&build),
    };
    out.write(text.as_bytes()).await?;
    Ok(build["state"] == "succeeded")
}

fn is_over(build: &Value) -> bool {
    matches!(build["state"].as_str(), Some("succeeded" | "failed" | "cancelled" | "superseded"))
}

/// The newest build of the commit, promotions aside.
fn of_commit(repo: &RepoName, list: &Value, commit: &str) -> Result<String, Problem> {
    let commit = commit.to_ascii_lowercase();
    let builds = list["builds"].as_array().map(Vec::as_slice).unwrap_or_default();
    let of = |build: &&Value| {
        let id = build["commit"].as_str().unwrap_or_default();
        !commit.is_empty() && id.starts_with(&commit) && build["cause"]["kind"] != "promote"
    };
    let found = builds.iter().find(of).and_then(|build| build["number"].as_u64());
    found.map(|number| number.to_string()).ok_or_else(|| {
        let shown: String = commit.chars().take(64).collect();
        Problem::new(
            ProblemKind::NotFound,
            format!("None of the last {LOOKED_MAX} builds of {repo} is of a commit {shown:?}."),
            format!("See slipway build list {repo}, or start one: slipway build start {repo} {shown}"),
        )
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::{Client, Out};

    #[test]
    fn a_commit_s_newest_build_is_waited_for() {
        let repo = RepoName::parse("app").expect("valid");
        let list = json!({"builds": [
            {"number": 4, "commit": "abcdef12", "cause": {"kind": "promote"}},
            {"number": 3, "commit": "abcdef12"},
            {"number": 2, "commit": "1234567890"},
            {"number": 1, "commit": "abcdef12"},
        ]});
        assert_eq!(of_commit(&repo, &list, "ABCDEF").expect("found"), "3");
        assert_eq!(of_commit(&repo, &list, "1234567").expect("found"), "2");
        assert_eq!(of_commit(&repo, &list, "ffff").expect_err("none").kind, ProblemKind::NotFound);
        assert!(of_commit(&repo, &list, "").is_err());
    }

    /// A reader who has gone.
    struct Gone;

    #[async_trait::async_trait]
    impl Out for Gone {
        async fn write(&mut self, _: &[u8]) -> Result<(), Problem> {
            panic!("nobody reads it")
        }

        async fn left(&mut self) {}
    }

    #[tokio::test]
    async fn a_client_that_leaves_is_not_waited_for() {
        let queued = axum::routing::get(async || axum::Json(json!({"number": 1, "state": "queued"})));
        let router = axum::Router::new().fallback_service(queued);
        let client = Client::InProcess { router, caller: slipway_forge::Caller::host() };
        let session = Session { client, files: &mut crate::LocalFiles, out: &mut Gone };
        let repo = RepoName::parse("app").expect("valid");
        let waiting = run(&repo, "1", false, session);
        let told = tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("it ends");
        assert_eq!(told.map_err(|problem| problem.kind), Err(ProblemKind::Cancelled));
    }
}
