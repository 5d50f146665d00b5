//! Every address that a page links to is made here, percent-encoded by construction.
//!
//! Format: RFC 3986. Path segments and query values keep only unreserved characters; `/` stays between segments.

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use slipway_core::{BuildNumber, DeployNumber, Oid, RepoName};

const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// An address on this server, from its root. Can be put between quotes of an attribute once escaped as HTML.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link(String);

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn encode(raw: &str) -> impl fmt::Display {
    utf8_percent_encode(raw, ENCODED)
}

/// A path of several segments, its slashes kept.
fn encode_path(raw: &str) -> String {
    raw.split('/').map(|part| encode(part).to_string()).collect::<Vec<_>>().join("/")
}

impl Link {
    /// One of the server's own fixed addresses.
    pub(crate) fn fixed(path: &'static str) -> Self {
        Self(path.to_owned())
    }

    /// Signing in, and back to where one came from.
    pub(crate) fn login(next: &str) -> Self {
        Self(format!("/-/login?next={}", encode(next)))
    }

    pub(crate) fn repo(repo: &RepoName) -> Self {
        Self(format!("/{}", encode(repo.as_str())))
    }

    /// A page of a repository that takes a path and a revision. An empty path is the root.
    fn place(repo: &RepoName, page: &str, path: &str, at: Option<&str>) -> Self {
        let mut text = format!("/{}/{page}", encode(repo.as_str()));
        if !path.is_empty() {
            text.push('/');
            text.push_str(&encode_path(path));
        }
        if let Some(at) = at {
            text.push_str("?at=");
            text.push_str(&encode(at).to_string());
        }
        Self(text)
    }

    pub(crate) fn files(repo: &RepoName, path: &str, at: Option<&str>) -> Self {
        Self::place(repo, "files", path, at)
    }

    pub(crate) fn raw(repo: &RepoName, path: &str, at: Option<&str>) -> Self {
        Self::place(repo, "raw", path, at)
    }

    pub(crate) fn log(repo: &RepoName, path: &str, at: Option<&str>) -> Self {
        Self::place(repo, "log", path, at)
    }

    /// The rows of a log after the first `skip`.
    pub(crate) fn log_after(repo: &RepoName, path: &str, at: &str, skip: usize) -> Self {
        let Self(text) = Self::log(repo, path, Some(at));
        Self(format!("{text}&skip={skip}"))
    }

    pub(crate) fn commit(repo: &RepoName, oid: &Oid) -> Self {
        Self(format!("/{}/commit/{oid}", encode(repo.as_str())))
    }

    pub(crate) fn compare(repo: &RepoName, old: &str, new: &str) -> Self {
        Self(format!("/{}/compare/{}...{}", encode(repo.as_str()), encode_path(old), encode_path(new)))
    }

    pub(crate) fn archive(repo: &RepoName, rev: &str) -> Self {
        Self(format!("/{}/archive/{}.tar.gz", encode(repo.as_str()), encode_path(rev)))
    }

    /// A page of a repository without further parts: `refs`, `builds`, …
    pub(crate) fn page(repo: &RepoName, page: &'static str) -> Self {
        Self(format!("/{}/{page}", encode(repo.as_str())))
    }

    pub(crate) fn build(repo: &RepoName, number: BuildNumber) -> Self {
        Self(format!("/{}/builds/{number}", encode(repo.as_str())))
    }

    pub(crate) fn build_log(repo: &RepoName, number: BuildNumber) -> Self {
        Self(format!("/{}/builds/{number}/log", encode(repo.as_str())))
    }

    /// A file that was kept of the build's test.
    pub(crate) fn artifact(repo: &RepoName, number: BuildNumber, path: &str) -> Self {
        let (repo, path) = (encode(repo.as_str()), encode_path(path));
        Self(format!("/-/api/v1/repos/{repo}/builds/{number}/artifacts/{path}"))
    }

    /// What is stated of the build's image: `provenance` or `sbom`.
    pub(crate) fn stated(repo: &RepoName, number: BuildNumber, what: &'static str) -> Self {
        let repo = encode(repo.as_str());
        Self(format!("/-/api/v1/repos/{repo}/builds/{number}/{what}"))
    }

    /// The log from byte `offset` on.
    pub(crate) fn build_log_from(repo: &RepoName, number: BuildNumber, offset: u64) -> Self {
        Self(format!("/{}/builds/{number}/log?offset={offset}", encode(repo.as_str())))
    }

    /// The build's events from byte `offset` of its log.
    pub(crate) fn build_live(repo: &RepoName, number: BuildNumber, offset: u64) -> Self {
        Self(format!("/{}/builds/{number}/live?from={offset}", encode(repo.as_str())))
    }

    pub(crate) fn builds_before(repo: &RepoName, number: BuildNumber) -> Self {
        Self(format!("/{}/builds?before={number}", encode(repo.as_str())))
    }

    pub(crate) fn deploy(repo: &RepoName, number: DeployNumber) -> Self {
        Self(format!("/{}/deploys/{number}", encode(repo.as_str())))
    }

    pub(crate) fn deploy_live(repo: &RepoName, number: DeployNumber) -> Self {
        Self(format!("/{}/deploys/{number}/live", encode(repo.as_str())))
    }

    pub(crate) fn deploys_before(repo: &RepoName, number: DeployNumber) -> Self {
        Self(format!("/{}/deploys?before={number}", encode(repo.as_str())))
    }

    /// The same place with a fragment.
    pub(crate) fn at_line(self, line: usize) -> Self {
        Self(format!("{}#L{line}", self.0))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// The place to go to after signing in: a path on this server, or its root. Whatever could leave the server (a scheme,
/// `//host`, a backslash that browsers read as a slash, control characters) is not followed.
pub(crate) fn safe_next(raw: &str) -> &str {
    let local = raw.starts_with('/') && !raw.starts_with("//") && raw.len() <= 2048;
    let plain = raw.bytes().all(|b| b.is_ascii_graphic() && b != b'\\');
    if local && plain { raw } else { "/" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_path_holds_the_link_holds_it_encoded() {
        let repo = RepoName::parse("app").expect("valid");
        let link = Link::files(&repo, "a b/\"><script>/ü?#%2e", Some("feature/x&y=1"));
        assert_eq!(
            link.as_str(),
            "/app/files/a%20b/%22%3E%3Cscript%3E/%C3%BC%3F%23%252e?at=feature%2Fx%26y%3D1"
        );
        assert_eq!(Link::compare(&repo, "a/b", "c").as_str(), "/app/compare/a/b...c");
        assert_eq!(Link::log_after(&repo, "", "main", 50).as_str(), "/app/log?at=main&skip=50");
    }

    #[test]
    fn signing_in_leads_to_no_other_server() {
        for good in ["/", "/app/builds/3?x=1#a"] {
            assert_eq!(safe_next(good), good);
        }
        for bad in [
            "",
            "//evil",
            "https://evil",
            "/\\evil",
            "\\\\evil",
            "javascript:alert(1)",
            "/a\nb",
            "/\t/evil",
            "evil",
        ] {
            assert_eq!(safe_next(bad), "/", "{bad:?}");
        }
    }
}
