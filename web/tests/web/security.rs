//! Attacks: forged forms, foreign origins, markup in every name and message, paths that climb, guessed tokens.

use axum::body::Body;
use http::Request;
use slipway_core::Scope;

use crate::world::{As, World, key_line, member, owner};

#[tokio::test]
async fn a_form_without_its_token_changes_nothing() {
    let world = World::new();
    let will = world.sign_in("will").await;
    let fields = [("do", "add"), ("key", &key_line(9)), ("title", "x")];
    for csrf in [None, Some(""), Some("wrong")] {
        let mut fields = fields.to_vec();
        if let Some(csrf) = csrf {
            fields.push(("csrf", csrf));
        }
        let reply = world.form_as_given("/-/keys", &will, &fields).await;
        assert_eq!(reply.status, 403, "{csrf:?}");
    }
    assert!(world.store.keys(None).expect("read").is_empty());
    assert_eq!(world.form("/-/keys", &will, &fields).await.status, 303);
    assert_eq!(world.store.keys(None).expect("read").len(), 1);
}

#[tokio::test]
async fn another_sites_form_changes_nothing_even_with_the_token() {
    let world = World::new();
    let As::Session { cookie, csrf } = world.sign_in("will").await else { panic!("a session") };
    let body = format!("do=sync&csrf={csrf}");
    for (name, value, passes) in [
        ("sec-fetch-site", "cross-site", false),
        ("sec-fetch-site", "same-site", false),
        ("origin", "https://evil.example", false),
        ("origin", "null", false),
        ("origin", "http://127.0.0.1:8080.evil.example", false),
        ("sec-fetch-site", "same-origin", true),
        ("origin", "http://127.0.0.1:8080", true),
    ] {
        let request = Request::post("/app/deploys")
            .header("cookie", &cookie)
            .header("content-type", "application/x-www-form-urlencoded")
            .header(name, value);
        let reply = world.send(request, &As::Nobody, Body::from(body.clone())).await;
        assert_eq!(reply.status == 303, passes, "{name}: {value} gave {}", reply.status);
    }
}

#[tokio::test]
async fn a_session_alone_does_not_drive_the_api() {
    let world = World::new();
    let As::Session { cookie, csrf } = world.sign_in("will").await else { panic!("a session") };
    let without = As::Session { cookie: cookie.clone(), csrf: String::new() };
    assert_eq!(world.call("POST", "/repos/app/deploys", &without, None).await.status, 403);
    let with = As::Session { cookie, csrf };
    assert_eq!(world.call("POST", "/repos/app/deploys", &with, None).await.status, 201);
}

#[tokio::test]
async fn signing_in_sets_a_guarded_cookie_and_leads_nowhere_else() {
    for (address, name, secure) in
        [("http://127.0.0.1:8080", "slipway=", false), ("https://git.example.com", "__Host-slipway=", true)]
    {
        let world = World::at(address);
        let token = world.token("rita", &[Scope::Api]);
        for (next, leads) in
            [("/app?x=1", "/app?x=1"), ("//evil.example", "/"), ("https://evil.example", "/")]
        {
            let reply = world.form("/-/login", &As::Nobody, &[("token", &token), ("next", next)]).await;
            assert_eq!((reply.status.as_u16(), reply.header("location")), (303, leads));
            let cookie = reply.header("set-cookie");
            assert!(
                cookie.starts_with(name) && cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"),
                "{cookie}"
            );
            assert_eq!(cookie.contains("Secure"), secure, "{cookie}");
        }
    }
}

#[tokio::test]
async fn signing_out_ends_the_session_for_good() {
    let world = World::new();
    let rita = world.sign_in("rita").await;
    assert_eq!(world.get("/-/keys", &rita).await.status, 200);
    assert_eq!(world.form("/-/logout", &rita, &[]).await.status, 303);
    assert_eq!(world.get("/-/keys", &rita).await.header("location"), "/-/login?next=%2F-%2Fkeys");
}

#[tokio::test]
async fn a_token_for_pushing_signs_nobody_in() {
    let world = World::new();
    let token = world.token("olga", &[Scope::RepoWrite]);
    let reply = world.form("/-/login", &As::Nobody, &[("token", &token)]).await;
    assert_eq!(reply.status, 403);
    assert!(reply.header("set-cookie").is_empty());
    assert!(reply.text().contains("needs the scope api"), "{}", reply.text());
}

#[tokio::test]
async fn guessing_tokens_is_slowed_down() {
    let world = World::new();
    let mut statuses = Vec::new();
    for _ in 0..12 {
        statuses.push(world.form("/-/login", &As::Nobody, &[("token", "guess")]).await.status.as_u16());
    }
    assert_eq!(statuses[..10], [401; 10]);
    assert_eq!(statuses[10..], [503; 2]);
}

#[tokio::test]
async fn every_answer_carries_its_guards() {
    let world = World::new();
    for path in
        ["/", "/app", "/nothing/here", "/-/login", "/-/api/v1/repos", "/-/healthz", "/app/builds/2/log"]
    {
        let reply = world.get(path, &owner()).await;
        let policy = reply.header("content-security-policy");
        assert!(
            policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
            "{path}: {policy}"
        );
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        assert_eq!(reply.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(reply.header("referrer-policy"), "same-origin", "{path}");
    }
    let raw = world.get("/app/raw/README.md", &owner()).await;
    assert!(raw.header("content-security-policy").contains("sandbox"));
    assert_eq!(raw.header("content-type"), "text/plain; charset=utf-8");
}

#[tokio::test]
async fn markup_in_names_and_messages_stays_text() {
    let world = World::new();
    let tip = world.tip("app");
    for path in [
        "/",
        "/app",
        "/app/files",
        "/app/log",
        "/app/refs",
        "/app/builds",
        "/app/builds/2",
        "/app/deploys",
        "/app/deploys/2",
        "/app/deploys/diff",
        "/app/settings",
        "/-/admin/doctor",
        "/app/files/%3Cscript%3Ealert%281%29%3Cscript%3E.txt",
        "/app/search?q=%3Cscript%3E",
        "/app/files/%3Cscript%3E",
        "/app/files?at=%3Cscript%3E",
        "/%3Cscript%3E",
        "/app/compare/v1...main",
        "/app/files/src/main.rs?at=v1",
        &format!("/app/commit/{tip}"),
    ] {
        let reply = world.get(path, &owner()).await;
        let text = reply.text();
        let own = text.matches("<script src=\"/-/assets/").count();
        assert_eq!(text.matches("<script").count(), own, "{path}");
        assert!(own <= 1 && !text.contains("onerror=") && !text.contains("<b>now</b>"), "{path}");
        assert!(!text.contains(" style=\""), "{path}: inline style would be refused by the policy");
    }
}

#[tokio::test]
async fn paths_that_climb_find_nothing() {
    let world = World::new();
    for path in [
        "/app/files/../../etc/passwd",
        "/app/files/%2e%2e/%2e%2e/etc/passwd",
        "/app/raw/..%2f..%2fconfig",
        "/app/raw/src/../README.md",
        "/app/raw/%00",
        "/app/raw/src%2f..%2fREADME.md",
        "/app/files//src",
        "/app/archive/..%2f..%2fx.tar.gz",
        "/app/files?at=../../x",
        "/app/files?at=-x",
        "/..",
        "/%2e%2e/x",
        "/-/assets/..%2fstyle.css",
        "/app/builds/-1",
        "/app/builds/18446744073709551616",
        "/app/raw/%ff",
        "/app/commit/..%2f..",
        "/app/compare/a...b...c",
        "/-/refs",
        "/v1",
        "/app/log?skip=99999999999999999999",
    ] {
        let reply = world.get(path, &owner()).await;
        assert!(reply.status.is_client_error(), "{path}: {}", reply.status);
    }
}

#[tokio::test]
async fn an_id_that_no_ref_reaches_is_not_shown() {
    let world = World::new();
    let tip = world.tip("open");
    let lost = world.commit("open", Some(tip), &[("secret.txt", "lost\n")], "Lost");
    let repository = world.opened("open");
    let back = slipway_core::RefUpdate {
        name: slipway_core::RefName::branch("main").expect("a branch"),
        old: lost,
        new: tip,
    };
    let moved = slipway_core::accept::RefStore::update(&*repository, &[back], true).expect("written");
    moved.into_iter().for_each(|m| m.expect("moved"));
    for path in [
        format!("/open/commit/{lost}"),
        format!("/open/files?at={lost}"),
        format!("/open/raw/secret.txt?at={lost}"),
        format!("/open/archive/{lost}.tar.gz"),
        format!("/open/compare/main...{lost}"),
        format!("/open/log?at={lost}"),
    ] {
        assert_eq!(world.get(&path, &As::Nobody).await.status, 404, "{path}");
        assert_eq!(world.get(&path, &member("rita")).await.status, 404, "{path}");
    }
    assert_eq!(world.get(&format!("/open/commit/{tip}"), &As::Nobody).await.status, 200);
}

#[tokio::test]
async fn figures_are_for_people_and_scrapers_with_a_token() {
    let world = World::new();
    assert_eq!(world.get("/-/metrics", &As::Nobody).await.status, 401);
    let token = As::Bearer(world.token("rita", &[Scope::RepoRead]));
    assert_eq!(world.get("/-/metrics", &token).await.status, 200);
}
