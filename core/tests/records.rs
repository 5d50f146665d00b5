//! Records as an earlier Slipway kept them: each is read, and written back the same.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use slipway_core::UnixMillis;
use slipway_core::build::{Build, BuildState};
use slipway_core::deploy::{Deploy, DeployState};
use slipway_core::people::{Parent, Session, Token};
use slipway_core::run::Lease;
use slipway_core::target::RepoRecord;

fn queued_build() -> Value {
    json!({
        "repo": 7, "number": 3, "event": 41, "ref_name": "refs/heads/main",
        "commit": "b2f7a3f1c0d4e5968778695a4b3c2d1e0f9a8b7c", "title": "Say hello", "actor": "ann",
        "state": "queued", "stage": "clone", "stages": [], "failure": null, "image": null, "test": "pending",
        "pushed": null, "bumps": [], "retries": 0, "restarts": 0, "retry_at": null,
        "created": 1753000000000u64, "started": null, "ended": null
    })
}

fn waiting_build() -> Value {
    let mut build = queued_build();
    build["state"] = json!("waiting");
    build["stage"] = json!("push");
    build["stages"] = json!([{"stage": "clone", "started": 5, "ended": 6, "skipped": false}]);
    build["failure"] = json!({"class": "infra", "problem": {
        "kind": "unavailable", "what": "The registry does not answer.", "cure": "Start it."
    }});
    build["image"] = json!("sha256:1");
    build["test"] = json!("passed");
    build["bumps"] =
        json!([{"target": "prod", "repo": "manifests", "commit": null, "event": null, "done": false}]);
    build["retries"] = json!(2);
    build["restarts"] = json!(1);
    build["retry_at"] = json!(1753000009000u64);
    build["started"] = json!(1753000000001u64);
    build
}

fn ended_build() -> Value {
    let mut build = waiting_build();
    build["state"] = json!("succeeded");
    build["failure"] = Value::Null;
    build["retry_at"] = Value::Null;
    build["pushed"] = json!({
        "name": "127.0.0.1:5000/app", "tags": ["latest"], "digest": format!("sha256:{}", "a".repeat(64))
    });
    build["ended"] = json!(1753000010000u64);
    build
}

fn running_deploy() -> Value {
    json!({
        "repo": 7, "number": 12, "event": null, "cause": {"kind": "rollback", "to": 9}, "cluster": "lab",
        "commit": "b2f7a3f1c0d4e5968778695a4b3c2d1e0f9a8b7c", "title": "Say hello", "actor": "ann",
        "state": "running", "phase": "rollout",
        "objects": [{
            "group": "apps", "version": "v1", "kind": "Deployment", "namespace": "default", "name": "app",
            "source": "app.yaml:1", "change": "configured", "health": "progressing", "message": "0 of 1"
        }],
        "notes": ["a note"], "failure": null, "retries": 0, "restarts": 2, "retry_at": null,
        "created": 1753000000000u64, "started": 1753000000001u64, "ended": null
    })
}

fn failed_deploy() -> Value {
    let mut deploy = running_deploy();
    deploy["event"] = json!(41);
    deploy["cause"] = json!({"kind": "event"});
    deploy["state"] = json!("failed");
    deploy["failure"] = json!({"class": "user", "problem": {
        "kind": "invalid", "what": "app.yaml is no YAML.", "cure": "Mend it."
    }});
    deploy["ended"] = json!(1753000020000u64);
    deploy
}

/// Reads what was kept, and sees it written back the same.
fn kept<W: Serialize + DeserializeOwned>(old: &Value) -> W {
    let read: W = serde_json::from_str(&old.to_string()).expect("read");
    assert_eq!(serde_json::to_value(&read).expect("written"), *old);
    read
}

#[test]
fn builds_from_before_runs_were_one_type_are_read_and_written_back_the_same() {
    assert_eq!(kept::<Build>(&queued_build()).run.state, BuildState::Queued);
    let waiting: Build = kept(&waiting_build());
    assert_eq!((waiting.run.state, waiting.run.retries, waiting.run.restarts), (BuildState::Waiting, 2, 1));
    assert_eq!(waiting.run.retry_at, Some(UnixMillis(1_753_000_009_000)));
    assert_eq!(kept::<Build>(&ended_build()).run.state, BuildState::Succeeded);
}

#[test]
fn deploys_from_before_runs_were_one_type_are_read_and_written_back_the_same() {
    assert_eq!(kept::<Deploy>(&running_deploy()).run.restarts, 2);
    assert_eq!(kept::<Deploy>(&failed_deploy()).run.state, DeployState::Failed);
}

#[test]
fn a_lease_is_written_while_it_is_held_and_read_again() {
    let mut deploy: Deploy = kept(&running_deploy());
    deploy.run.lease = Some(Lease { owner: "node".into(), until: UnixMillis(5), fence: 3 });
    let written = serde_json::to_value(&deploy).expect("written");
    assert_eq!(written["lease"], json!({"owner": "node", "until": 5, "fence": 3}));
    assert_eq!(kept::<Deploy>(&written), deploy);
}

#[test]
fn what_was_recorded_before_parents_were_kept_has_none() {
    let mut token = json!({
        "id": "AbCdEf012345", "user": "ann", "name": "ci", "scopes": ["repo:read", "api"],
        "created": 1753000000000u64, "expires": null
    });
    assert_eq!(kept::<Token>(&token).parent, None);
    let session = json!({"user": "ann", "expires": 1753000000000u64});
    assert_eq!(kept::<Session>(&session).parent, None);
    token["parent"] = json!({"kind": "key", "fingerprint": "SHA256:x"});
    assert_eq!(kept::<Token>(&token).parent, Some(Parent::Key { fingerprint: "SHA256:x".into() }));
}

#[test]
fn a_repository_from_before_changes_were_noted_is_read() {
    let repo = json!({
        "id": 7, "name": "app", "description": "", "public": false, "object_format": "sha256",
        "created": 1753000000000u64
    });
    assert_eq!(kept::<RepoRecord>(&repo).last_modified, None);
}
