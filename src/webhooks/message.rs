//! What is sent: method, address, headers and body, in the form that the webhook asks for. Pure.
//!
//! The bodies are those of Gitea's and GitHub's push events as far as there is something to say here; `X-Hub-Signature-256`
//! and its elder and sisters are HMACs of the body under the webhook's secret.

use aws_lc_rs::{digest, hmac};
use http::Uri;
use serde_json::{Value, json};
use slipway_core::build::Build;
use slipway_core::delivery::Delivery;
use slipway_core::deploy::Deploy;
use slipway_core::webhook::WebhookKind;
use slipway_core::{RepoName, Secret, UnixMillis};
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};

use super::facts::{Facts, Listed, Push, What};

/// Longest commit message that is sent, in bytes.
const MESSAGE_BYTES_MAX: usize = 16 << 10;

/// Where people reach this server.
#[derive(Clone, Debug)]
pub(crate) struct Addresses {
    /// The pages, without a slash at the end.
    pub(crate) http: String,
    /// `HOST:PORT`.
    pub(crate) ssh: String,
    /// Which server this is.
    pub(crate) node: String,
}

/// One request.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) method: &'static str,
    pub(super) uri: Uri,
    /// The address's host, for sentences.
    pub(super) host: String,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
}

/// Makes it; `None` where there is nothing to tell.
pub(super) fn make(facts: &Facts, delivery: &Delivery, addresses: &Addresses) -> Option<Message> {
    match facts.webhook.kind {
        WebhookKind::Jenkins => jenkins(facts, addresses),
        kind => {
            let id = delivery_id(delivery, addresses);
            let event = delivery.told.event().as_str();
            let body = match kind {
                WebhookKind::Plain => plain(facts, delivery, addresses, &id),
                _ => like_gitea(facts, addresses),
            };
            let body = serde_json::to_vec(&body).unwrap_or_default();
            let mut headers = vec![("content-type", "application/json".to_owned())];
            headers.extend(names(kind, event, &id));
            headers.extend(facts.secret.iter().flat_map(|secret| signatures(kind, secret, &body)));
            message("POST", &facts.webhook.url, headers, body)
        }
    }
}

fn message(
    method: &'static str,
    url: &str,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
) -> Option<Message> {
    // Checked when the webhook was added.
    let uri: Uri = url.parse().ok()?;
    let host = uri.host()?.to_owned();
    Some(Message { method, uri, host, headers, body })
}

/// The id of a delivery: the same for each of its attempts, so that who gets one twice can tell.
fn delivery_id(delivery: &Delivery, addresses: &Addresses) -> String {
    let of = format!("{}/{}/{}/{}", addresses.node, delivery.repo, delivery.number, delivery.run.created.0);
    let hash = digest::digest(&digest::SHA256, of.as_bytes());
    let mut id = [0; 16];
    id.copy_from_slice(&hash.as_ref()[..16]);
    // A UUID of version 8, "custom" (RFC 9562).
    id[6] = id[6] & 0x0f | 0x80;
    id[8] = id[8] & 0x3f | 0x80;
    let hex = hex(&id);
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn names(kind: WebhookKind, event: &str, id: &str) -> Vec<(&'static str, String)> {
    let mut names = vec![("x-slipway-event", event.to_owned()), ("x-slipway-delivery", id.to_owned())];
    if kind == WebhookKind::Gitea {
        for name in ["x-gitea-event", "x-gitea-event-type", "x-gogs-event", "x-gogs-event-type"] {
            names.push((name, event.to_owned()));
        }
        for name in ["x-github-event", "x-github-event-type"] {
            names.push((name, event.to_owned()));
        }
        for name in ["x-gitea-delivery", "x-gogs-delivery", "x-github-delivery"] {
            names.push((name, id.to_owned()));
        }
    }
    names
}

fn signatures(kind: WebhookKind, secret: &Secret, body: &[u8]) -> Vec<(&'static str, String)> {
    let sign =
        |algorithm| hex(hmac::sign(&hmac::Key::new(algorithm, secret.expose().as_bytes()), body).as_ref());
    let sha256 = sign(hmac::HMAC_SHA256);
    let mut signatures = vec![("x-hub-signature-256", format!("sha256={sha256}"))];
    if kind == WebhookKind::Gitea {
        let sha1 = sign(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY);
        signatures.push(("x-hub-signature", format!("sha1={sha1}")));
        signatures.push(("x-gitea-signature", sha256.clone()));
        signatures.push(("x-gogs-signature", sha256));
    }
    signatures
}

/// Jenkins's Git plugin: `git/notifyCommit` below its address, with its access token where it has one. It asks the
/// repository itself; what is deleted is nothing to build.
fn jenkins(facts: &Facts, addresses: &Addresses) -> Option<Message> {
    let What::Push(push) = &facts.what else { return None };
    if push.update.is_delete() {
        return None;
    }
    let (base, more) = match facts.webhook.url.split_once('?') {
        Some((base, more)) => (base, format!("&{more}")),
        None => (facts.webhook.url.as_str(), String::new()),
    };
    let token = facts.secret.as_ref().map(|s| format!("&token={}", encoded(s.expose()))).unwrap_or_default();
    let url = format!(
        "{}/git/notifyCommit?url={}&branches={}&sha1={}{token}{more}",
        base.trim_end_matches('/'),
        encoded(&page(addresses, &facts.repo.name)),
        encoded(push.update.name.short()),
        push.update.new,
    );
    message("GET", &url, Vec::new(), Vec::new())
}

/// Percent-encodes what goes into a query.
fn encoded(raw: &str) -> String {
    let keep = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    raw.bytes().map(|b| if keep(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

fn page(addresses: &Addresses, repo: &RepoName) -> String {
    format!("{}/{repo}", addresses.http)
}

fn like_gitea(facts: &Facts, addresses: &Addresses) -> Value {
    let here = page(addresses, &facts.repo.name);
    let repository = repository(facts, addresses);
    match &facts.what {
        What::Push(push) => {
            let Push { actor, update, commits, forced } = push;
            let listed: Vec<Value> = commits.iter().map(|listed| commit(listed, &here)).collect();
            json!({
                "ref": update.name,
                "before": update.old,
                "after": update.new,
                "created": update.is_create(),
                "deleted": update.is_delete(),
                "forced": forced,
                "base_ref": null,
                "compare": compare(push, &here),
                "compare_url": compare(push, &here),
                "head_commit": listed.last(),
                "total_commits": listed.len(),
                "commits": listed,
                "repository": repository,
                "pusher": person(actor),
                "sender": person(actor),
            })
        }
        What::Build(build) => json!({
            "action": build.run.state,
            "build": build_facts(build, &here),
            "repository": repository,
            "sender": person(&build.actor),
        }),
        What::Deploy(deploy) => json!({
            "action": deploy.run.state,
            "deploy": deploy_facts(deploy, &here),
            "repository": repository,
            "sender": person(&deploy.actor),
        }),
    }
}

fn compare(push: &Push, here: &str) -> String {
    let update = &push.update;
    if update.is_create() || update.is_delete() {
        let id = if update.is_delete() { update.old } else { update.new };
        return format!("{here}/commit/{id}");
    }
    format!("{here}/compare/{}...{}", update.old, update.new)
}

/// Repositories here lie in no one's folder: the owner is the server, and the full name is the name, as in addresses.
fn repository(facts: &Facts, addresses: &Addresses) -> Value {
    let repo = &facts.repo;
    let here = page(addresses, &repo.name);
    json!({
        "id": repo.id,
        "name": repo.name,
        "full_name": repo.name,
        "owner": person("slipway"),
        "description": repo.description,
        "private": !repo.public,
        "fork": false,
        "html_url": here,
        "url": here,
        "clone_url": here,
        "git_http_url": here,
        "ssh_url": format!("ssh://git@{}/{}", addresses.ssh, repo.name),
        "default_branch": facts.default_branch.short(),
        "created_at": when(repo.created),
    })
}

fn person(name: &str) -> Value {
    json!({"login": name, "username": name, "name": name, "full_name": name, "email": ""})
}

fn commit(listed: &Listed, here: &str) -> Value {
    let commit = &listed.commit;
    let person =
        |who: &slipway_repository::Person| json!({"name": who.name, "email": who.email, "username": ""});
    json!({
        "id": commit.id,
        "tree_id": commit.tree,
        "distinct": true,
        "message": super::cut(&commit.message, MESSAGE_BYTES_MAX),
        "url": format!("{here}/commit/{}", commit.id),
        "author": person(&commit.author),
        "committer": person(&commit.committer),
        "timestamp": stamp(commit.committer.at, commit.committer.offset_minutes),
        "added": listed.added,
        "removed": listed.removed,
        "modified": listed.modified,
    })
}

fn build_facts(build: &Build, here: &str) -> Value {
    json!({
        "number": build.number,
        "state": build.run.state,
        "part": build.part,
        "ref": build.ref_name,
        "commit": build.commit,
        "title": build.title,
        "image": build.pushed.as_ref().map(|image| format!("{}@{}", image.name, image.digest)),
        "tags": build.pushed.as_ref().map(|image| image.tags.clone()).unwrap_or_default(),
        "failure": build.run.failure.as_ref().map(|failure| failure.problem.to_string()),
        "started_at": build.run.started.map(when),
        "ended_at": build.run.ended.map(when),
        "url": format!("{here}/builds/{}", build.number),
    })
}

fn deploy_facts(deploy: &Deploy, here: &str) -> Value {
    json!({
        "number": deploy.number,
        "state": deploy.run.state,
        "cluster": deploy.cluster,
        "commit": deploy.commit,
        "title": deploy.title,
        "failure": deploy.run.failure.as_ref().map(|failure| failure.problem.to_string()),
        "started_at": deploy.run.started.map(when),
        "ended_at": deploy.run.ended.map(when),
        "url": format!("{here}/deploys/{}", deploy.number),
    })
}

/// Little, and flat.
fn plain(facts: &Facts, delivery: &Delivery, addresses: &Addresses, id: &str) -> Value {
    let here = page(addresses, &facts.repo.name);
    let mut body = json!({
        "event": delivery.told.event(),
        "delivery": id,
        "at": when(delivery.run.created),
        "repository": facts.repo.name,
        "url": here,
    });
    let (key, value) = match &facts.what {
        What::Push(Push { actor, update, .. }) => {
            ("push", json!({"ref": update.name, "before": update.old, "after": update.new, "actor": actor}))
        }
        What::Build(build) => ("build", build_facts(build, &here)),
        What::Deploy(deploy) => ("deploy", deploy_facts(deploy, &here)),
    };
    body[key] = value;
    body
}

fn when(at: UnixMillis) -> String {
    stamp(i64::try_from(at.0 / 1000).unwrap_or_default(), 0)
}

/// As RFC 3339 writes it; what no calendar holds becomes the beginning of time.
fn stamp(seconds: i64, offset_minutes: i32) -> String {
    let at = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let offset = UtcOffset::from_whole_seconds(offset_minutes.saturating_mul(60)).unwrap_or(UtcOffset::UTC);
    let at = at.checked_to_offset(offset).unwrap_or(at);
    at.format(&Rfc3339).unwrap_or_else(|_| "1970-01-01T00:00:00Z".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_those_that_consumers_check() {
        // GitHub's own example, from its page on validating deliveries.
        let signed =
            signatures(WebhookKind::Gitea, &Secret::new("It's a Secret to Everybody"), b"Hello, World!");
        let of = |name: &str| signed.iter().find(|(n, _)| *n == name).map(|(_, v)| v.as_str());
        let hmac = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        assert_eq!(of("x-hub-signature-256"), Some(format!("sha256={hmac}").as_str()));
        assert_eq!(of("x-gitea-signature"), Some(hmac));
        assert_eq!(of("x-gogs-signature"), Some(hmac));
        assert!(of("x-hub-signature").is_some_and(|v| v.len() == "sha1=".len() + 40));
    }

    #[test]
    fn times_are_rfc_3339_whatever_a_commit_says() {
        assert_eq!(stamp(1_700_000_000, 90), "2023-11-14T23:43:20+01:30");
        assert_eq!(stamp(i64::MAX, 0), "1970-01-01T00:00:00Z");
        assert_eq!(stamp(0, i32::MAX), "1970-01-01T00:00:00Z");
    }

    #[test]
    fn what_goes_into_a_query_cannot_leave_its_place() {
        assert_eq!(encoded("a&b=c#d é"), "a%26b%3Dc%23d%20%C3%A9");
    }
}
