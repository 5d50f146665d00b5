//! The badge of a branch, and what is said of commits.

use axum::body::Body;
use http::Request;
use serde_json::json;
use slipway_core::build::BuildState;
use slipway_core::deploy::DeployState;
use slipway_core::{Actor, BuildNumber, DeployNumber, Scope};

use crate::world::{As, EVIL, World, member, owner, user};

#[tokio::test]
async fn a_badge_says_whether_a_branch_builds_to_those_who_may_read() {
    let world = World::new();
    let badge = world.get("/app/badge.svg", &member("rita")).await;
    assert_eq!((badge.status.as_u16(), badge.header("content-type")), (200, "image/svg+xml; charset=utf-8"));
    assert_eq!(badge.header("cache-control"), "private, no-cache");
    assert!(badge.text().contains(">running<"), "build 3 runs: {}", badge.text());
    let again = Request::get("/app/badge.svg").header("if-none-match", badge.header("etag"));
    assert_eq!(world.send(again, &member("rita"), Body::empty()).await.status, 304);
    let mut build = world.store.build(world.app, BuildNumber(3)).expect("read").expect("there");
    build.run.state = BuildState::Failed;
    world.store.put_build(&build).expect("written");
    let failed = world.get("/app/badge.svg?branch=main", &member("rita")).await;
    assert!(failed.text().contains(">failing<") && failed.header("etag") != badge.header("etag"));
    let other = world.get("/app/badge.svg?branch=nobody", &member("rita")).await.text();
    assert!(other.contains(">none<"), "{other}");
    let evil = world.get("/app/badge.svg?branch=%3Cscript%3E%22", &member("rita")).await.text();
    assert!(!evil.contains("script"), "{evil}");
    assert_eq!(world.get("/open/badge.svg", &As::Nobody).await.header("cache-control"), "no-cache");
    // Of a private repository others learn as much as of none.
    for who in [As::Nobody, member("stranger")] {
        let (hidden, none) =
            (world.get("/app/badge.svg", &who).await, world.get("/nope/badge.svg", &who).await);
        assert_eq!(hidden.status, none.status);
        assert_ne!(hidden.status, 200);
        assert_eq!(hidden.text().replace("app", "X"), none.text().replace("nope", "X"));
    }
    let page = world.get("/app/builds", &member("rita")).await.text();
    assert!(page.contains("/app/badge.svg)]("), "{page}");
}

#[tokio::test]
async fn other_systems_say_of_commits_what_pages_and_api_show() {
    let world = World::new();
    let tip = world.tip("app");
    let (status, set) =
        (format!("/repos/app/commits/{tip}/status"), format!("/repos/app/commits/{tip}/statuses"));
    let found = world.call("GET", &status, &owner(), None).await.json();
    assert_eq!(
        (&found["state"], &found["statuses"][1]["context"]),
        (&"failure".into(), &"slipway/deploy/lab".into())
    );
    let mut deploy = world.store.deploy(world.app, DeployNumber(2)).expect("read").expect("there");
    deploy.run.state = DeployState::Healthy;
    world.store.put_deploy(&deploy).expect("written");
    let found = world.call("GET", &status, &owner(), None).await.json();
    assert_eq!(found["statuses"][0]["context"], "slipway/build", "{found}");
    assert_eq!(found["state"], "pending", "{found}");
    let said =
        json!({"context": EVIL, "state": "failure", "url": "https://ci.example/1", "description": EVIL});
    let made = world.call("POST", &set, &member("will"), Some(said.clone())).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let found = world.call("GET", &status, &member("rita"), None).await.json();
    assert_eq!(found["state"], "failure", "{found}");
    let ours = found["statuses"].as_array().expect("a list").iter().find(|s| s["context"] == EVIL);
    assert_eq!(ours.expect("there")["url"], "https://ci.example/1");
    for path in [format!("/app/commit/{tip}"), "/app/log".into()] {
        let page = world.get(&path, &member("rita")).await.text();
        assert!(page.contains("href=\"https://ci.example/1\" rel=\"nofollow"), "{path}: {page}");
        assert!(!page.contains(EVIL), "{path}");
    }
    // The page by id is asked for anew once something else is said.
    let page = world.get(&format!("/app/commit/{tip}"), &member("rita")).await;
    let unchanged = Request::get(format!("/app/commit/{tip}")).header("if-none-match", page.header("etag"));
    assert_eq!(world.send(unchanged, &member("rita"), Body::empty()).await.status, 304);
    let well = json!({"context": EVIL, "state": "success"});
    assert_eq!(world.call("POST", &set, &member("will"), Some(well)).await.status, 201);
    let changed = Request::get(format!("/app/commit/{tip}")).header("if-none-match", page.header("etag"));
    assert_eq!(world.send(changed, &member("rita"), Body::empty()).await.status, 200);
    let none =
        world.call("GET", &format!("/repos/app/commits/{}/status", "1".repeat(40)), &owner(), None).await;
    assert_eq!(none.json()["state"], "none");
}

#[tokio::test]
async fn a_status_takes_the_right_to_push_and_makes_sense() {
    let world = World::new();
    let set = format!("/repos/app/commits/{}/statuses", world.tip("app"));
    let body = || Some(json!({"context": "ci", "state": "success"}));
    let token = |scope| {
        As::Actor(Actor::Token { name: user("will"), owner: false, scopes: [scope].into_iter().collect() })
    };
    for (who, wanted) in [
        (member("rita"), 403),
        (member("stranger"), 404),
        (As::Nobody, 401),
        (token(Scope::RepoRead), 403),
        (token(Scope::RepoWrite), 201),
    ] {
        assert_eq!(world.call("POST", &set, &who, body()).await.status, wanted);
    }
    for bad in [
        json!({"context": "slipway/build", "state": "success"}),
        json!({"context": "", "state": "success"}),
        json!({"context": "ci", "state": "wonderful"}),
        json!({"context": "ci", "state": "success", "url": "javascript:alert(1)"}),
        json!({"context": "ci", "state": "success", "more": 1}),
    ] {
        assert_eq!(world.call("POST", &set, &owner(), Some(bad.clone())).await.status, 400, "{bad}");
    }
    let nowhere = format!("/repos/app/commits/{}/statuses", "1".repeat(40));
    assert_eq!(world.call("POST", &nowhere, &owner(), body()).await.status, 404);
    assert_eq!(world.call("POST", "/repos/app/commits/main/statuses", &owner(), body()).await.status, 404);
}
