//! What the API answers, beyond who may ask.

use serde_json::json;
use slipway_core::{Actor, Scope};

use crate::world::{As, World, error_kind, key_line, member, owner};

#[tokio::test]
async fn a_token_works_once_made_and_its_value_is_nowhere_else() {
    let world = World::new();
    let body = json!({"name": "ci", "scopes": ["repo:read", "api"], "expires_in_s": 60});
    let made = world.call("POST", "/tokens", &member("rita"), Some(body)).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let value = made.json()["value"].as_str().expect("text").to_owned();
    assert!(value.starts_with("slp_") && value.len() >= 4 + 12 + 1 + 32);
    let who = world.call("GET", "/whoami", &As::Bearer(value.clone()), None).await.json();
    assert_eq!((who["actor"]["kind"].as_str(), who["actor"]["name"].as_str()), (Some("token"), Some("rita")));
    let listed = world.call("GET", "/tokens", &member("rita"), None).await.text();
    assert!(listed.contains("\"ci\"") && !listed.contains(&value));
}

#[tokio::test]
async fn basic_needs_the_tokens_own_account_or_none() {
    use base64::Engine as _;
    let world = World::new();
    let token = world.token("rita", &[Scope::RepoRead]);
    for (account, status) in [("rita", 200), ("Rita", 200), ("will", 401), ("", 200), ("x-access-token", 200)]
    {
        let value = base64::engine::general_purpose::STANDARD.encode(format!("{account}:{token}"));
        let request =
            http::Request::get("/-/api/v1/repos/app").header("authorization", format!("Basic {value}"));
        assert_eq!(
            world.send(request, &As::Nobody, axum::body::Body::empty()).await.status,
            status,
            "{account}"
        );
    }
}

#[tokio::test]
async fn what_is_no_token_is_refused_and_not_taken_for_nobody() {
    let world = World::new();
    for bad in ["", "x", "slp_000000000000_0000000000000000000000000000000000000000", &"y".repeat(4000)] {
        let reply = world.call("GET", "/repos/open", &As::Bearer(bad.into()), None).await;
        assert_eq!((reply.status.as_u16(), error_kind(&reply)), (401, "unauthenticated".into()), "{bad:.20}");
        assert!(reply.header("www-authenticate").starts_with("Bearer"));
    }
}

#[tokio::test]
async fn bodies_and_keys_that_do_not_fit_are_refused_with_a_sentence() {
    let world = World::new();
    for (path, body) in [
        ("/repos", json!({"name": "x", "colour": "red"})),
        ("/repos", json!({"name": "../x"})),
        ("/repos", json!({"name": "x.git"})),
        ("/repos", json!({"name": "x", "object_format": "md5"})),
        ("/repos", json!({})),
        ("/repos", json!([])),
        ("/repos", json!({"name": "x", "description": "a\nb"})),
        ("/tokens", json!({"user": "olga", "scopes": []})),
        ("/tokens", json!({"user": "olga", "scopes": ["all"]})),
        ("/tokens", json!({"user": "olga", "expires_in_s": 0})),
        ("/keys", json!({"key": "ssh-rsa AAAA"})),
        ("/users", json!({"name": "a b"})),
    ] {
        let reply = world.call("POST", path, &owner(), Some(body.clone())).await;
        assert_eq!(
            (reply.status.as_u16(), error_kind(&reply)),
            (400, "invalid".into()),
            "{path} {body}: {}",
            reply.text()
        );
        assert!(!reply.json()["error"]["cure"].as_str().unwrap_or_default().is_empty());
    }
    for path in ["/repos?limit=0", "/repos?limit=9999", "/repos?sort=up", "/repos/app/builds?before=x"] {
        assert_eq!(world.call("GET", path, &owner(), None).await.status, 400, "{path}");
    }
    let plain = http::Request::post("/-/api/v1/repos");
    let reply = world.send(plain, &owner(), axum::body::Body::from("{\"name\":\"x\"}")).await;
    assert_eq!(reply.status, 400, "a body without its type");
}

#[tokio::test]
async fn a_secret_in_the_wrong_place_is_not_echoed() {
    let world = World::new();
    let body = json!({"url": "x:5000", "insecure": "hunter2-secret"});
    let reply = world.call("PUT", "/registries/x", &owner(), Some(body)).await;
    assert_eq!(reply.status, 400);
    assert!(!reply.text().contains("hunter2"), "{}", reply.text());
    let body = json!({"url": "x:5000", "username": "u", "password": "hunter2-secret"});
    let reply = world.call("PUT", "/registries/x", &owner(), Some(body)).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let listed = world.call("GET", "/registries", &owner(), None).await.text();
    assert!(!reply.text().contains("hunter2") && !listed.contains("hunter2"));
}

#[tokio::test]
async fn a_body_beyond_the_bound_is_refused() {
    let world = World::new();
    let body = json!({"kubeconfig": "x".repeat(2 * 1024 * 1024)});
    let reply = world.call("PUT", "/clusters/x", &owner(), Some(body)).await;
    assert_eq!((reply.status.as_u16(), error_kind(&reply)), (413, "too_large".into()));
    let body = json!({"kubeconfig": "x".repeat(600 * 1024)});
    assert_eq!(world.call("PUT", "/clusters/x", &owner(), Some(body)).await.status, 400);
}

#[tokio::test]
async fn addresses_that_are_not_there_answer_in_json() {
    let world = World::new();
    for (method, path, status) in [
        ("GET", "/nothing", 404),
        ("GET", "/repos/app/builds/99", 404),
        ("DELETE", "/whoami", 405),
        ("GET", "/repos/app/builds/x", 404),
    ] {
        let reply = world.call(method, path, &owner(), None).await;
        assert_eq!(reply.status, status, "{method} {path}");
        assert!(reply.json()["error"]["what"].is_string(), "{method} {path}");
    }
}

#[tokio::test]
async fn pages_of_lists_follow_one_another() {
    let world = World::new();
    for n in 0..7 {
        world.repository(&format!("r{n}"), true);
    }
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let page = world.call("GET", &format!("/repos?limit=3{after}"), &owner(), None).await.json();
        seen.extend(
            page["repos"]
                .as_array()
                .expect("a list")
                .iter()
                .map(|r| r["name"].as_str().expect("text").to_owned()),
        );
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(seen, ["app", "empty", "open", "r0", "r1", "r2", "r3", "r4", "r5", "r6"]);
    let first = world.call("GET", "/repos/app/builds?limit=2", &owner(), None).await.json();
    assert_eq!((first["builds"][0]["number"].as_u64(), first["next"].as_u64()), (Some(3), Some(2)));
    assert_eq!(first["builds"][0]["repo_name"], "app");
    assert_eq!(first["builds"][0]["url"], "http://127.0.0.1:8080/app/builds/3");
    let second = world.call("GET", "/repos/app/builds?limit=2&before=2", &owner(), None).await.json();
    assert_eq!((second["builds"][0]["number"].as_u64(), second["next"].as_u64()), (Some(1), None));
}

#[tokio::test]
async fn users_come_with_their_keys_and_one_key_proves_one_user() {
    let world = World::new();
    let body = json!({"name": "ann", "owner": false, "keys": [key_line(3)]});
    let made = world.call("POST", "/users", &As::Actor(Actor::Server), Some(body)).await;
    assert_eq!(made.status, 201, "{}", made.text());
    assert!(made.json()["keys"][0]["fingerprint"].as_str().is_some_and(|f| f.starts_with("SHA256:")));
    let body = json!({"name": "bob", "keys": [key_line(3)]});
    let taken = world.call("POST", "/users", &As::Actor(Actor::Server), Some(body)).await;
    assert_eq!((taken.status.as_u16(), error_kind(&taken)), (409, "conflict".into()));
    assert_eq!(world.call("GET", "/users/bob", &owner(), None).await.status, 404, "nothing half-done");
    // Found out only when the first key is recorded already.
    let body = json!({"name": "bob", "keys": [key_line(4), key_line(4)]});
    let twice = world.call("POST", "/users", &As::Actor(Actor::Server), Some(body)).await;
    assert_eq!((twice.status.as_u16(), error_kind(&twice)), (409, "conflict".into()));
    assert_eq!(world.call("GET", "/users/bob", &owner(), None).await.status, 404, "nothing half-done");
    let body = json!({"name": "bob", "keys": [key_line(4)]});
    let made = world.call("POST", "/users", &As::Actor(Actor::Server), Some(body)).await;
    assert_eq!(made.status, 201, "and the key is free: {}", made.text());
}

#[tokio::test]
async fn bindings_are_read_with_their_defaults() {
    let world = World::new();
    let reply = world
        .call("PUT", "/repos/open/bindings/cluster", &owner(), Some(json!({"cluster": "lab"})))
        .await
        .json();
    assert_eq!(
        (&reply["branch"], &reply["path"], &reply["namespace"], &reply["prune"], &reply["dry_run"]),
        (&json!("refs/heads/main"), &json!("."), &json!("default"), &json!(true), &json!("warn"))
    );
    let reply = world
        .call("PUT", "/repos/open/bindings/registry", &owner(), Some(json!({"registry": "local"})))
        .await;
    assert_eq!(reply.json()["image"], "open");
    for (path, body) in [
        ("cluster", json!({"cluster": "gone"})),
        ("cluster", json!({"cluster": "lab", "path": "../x"})),
        ("cluster", json!({"cluster": "lab", "namespace": "Kube_System"})),
        ("registry", json!({"registry": "local", "image": "UPPER"})),
    ] {
        let reply =
            world.call("PUT", &format!("/repos/open/bindings/{path}"), &owner(), Some(body.clone())).await;
        assert!(reply.status.is_client_error(), "{path} {body}");
    }
}

#[tokio::test]
async fn a_log_is_sent_raw_from_any_offset() {
    let world = World::new();
    let whole = world.call("GET", "/repos/app/builds/1/log", &owner(), None).await;
    assert!(whole.text().starts_with("step 1\n"));
    assert!(whole.header("content-type").starts_with("text/plain"));
    let rest = world.call("GET", "/repos/app/builds/1/log?offset=7", &owner(), None).await;
    assert_eq!(whole.body[7..], rest.body);
    let followed = world.call("GET", "/repos/app/builds/1/log?follow=true", &owner(), None).await;
    assert_eq!(followed.body, whole.body);
}
