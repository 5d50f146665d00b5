//! What those see who may not see everything: lists, what is hidden, what is one's own. Who may use which route at all is asked
//! of the real server, for all of them, in tests/roles.rs.

use serde_json::json;

use crate::world::{As, World, key_line, member, owner, repo_name, user};

#[tokio::test]
async fn hidden_and_missing_repositories_look_the_same() {
    let world = World::new();
    for who in [As::Nobody, member("stan")] {
        for rest in ["", "/files/src", "/builds", "/builds/1", "/settings", "/raw/README.md", "/commit/main"]
        {
            let hidden = world.get(&format!("/app{rest}"), &who).await;
            let missing = world.get(&format!("/gone{rest}"), &who).await;
            assert_eq!(hidden.status, missing.status, "{rest}");
            assert_eq!(hidden.text().replace("app", "gone"), missing.text(), "{rest}");
        }
        let hidden = world.call("GET", "/repos/app", &who, None).await;
        let missing = world.call("GET", "/repos/gone", &who, None).await;
        assert_eq!((hidden.status, hidden.text().replace("app", "gone")), (missing.status, missing.text()));
    }
}

#[tokio::test]
async fn lists_hold_only_what_may_be_seen() {
    let world = World::new();
    for (who, sees) in [(As::Nobody, false), (member("stan"), false), (member("rita"), true), (owner(), true)]
    {
        let listed = world.call("GET", "/repos", &who, None).await.text();
        assert_eq!(listed.contains("\"app\""), sees);
        assert!(listed.contains("\"open\""));
        assert_eq!(world.get("/", &who).await.text().contains("href=\"/app\""), sees);
    }
}

#[tokio::test]
async fn ones_own_keys_and_tokens_are_ones_own() {
    let world = World::new();
    let (will, rita) = (member("will"), member("rita"));
    let key = world.call("POST", "/keys", &will, Some(json!({"key": key_line(7), "title": "desk"}))).await;
    assert_eq!(key.status, 201, "{}", key.text());
    let fingerprint =
        key.json()["fingerprint"].as_str().expect("text").replace('/', "%2F").replace('+', "%2B");
    assert_eq!(world.call("GET", "/keys", &rita, None).await.json()["keys"], json!([]));
    assert_eq!(world.call("GET", "/keys?user=will", &rita, None).await.status, 403);
    assert_eq!(world.call("DELETE", &format!("/keys/{fingerprint}"), &rita, None).await.status, 404);
    assert_eq!(world.call("DELETE", &format!("/keys/{fingerprint}"), &will, None).await.status, 204);
    let token = world.call("POST", "/tokens", &will, Some(json!({}))).await.json();
    let id = token["token"]["id"].as_str().expect("text").to_owned();
    assert_eq!(world.call("DELETE", &format!("/tokens/{id}"), &rita, None).await.status, 404);
    assert_eq!(world.call("DELETE", &format!("/tokens/{id}"), &will, None).await.status, 204);
}

#[tokio::test]
async fn whoever_makes_a_repository_is_its_admin() {
    let world = World::new();
    let made = world.call("POST", "/repos", &member("stan"), Some(json!({"name": "new"}))).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let id = world.store.repo_by_name(&repo_name("new")).expect("read").expect("there").id;
    assert_eq!(world.store.role(&user("stan"), id).expect("read"), Some(slipway_core::Role::Admin));
    assert_eq!(world.call("GET", "/repos/new/grants", &member("stan"), None).await.status, 200);
}
