//! What the pages show and what their forms do.

use http::Request;
use serde_json::json;
use slipway_core::build::BuildState;
use slipway_core::deploy::{DeployCause, DeployState};
use slipway_core::{BuildNumber, DeployNumber, ObjectFormat, Role, Scope};

use crate::world::{As, World, key_line, member, owner, user};

#[tokio::test]
async fn a_folder_shows_its_entries_their_last_change_and_its_readme() {
    let world = World::new();
    let page = world.get("/app", &member("rita")).await.text();
    assert!(page.contains("href=\"/app/files/src\"") && page.contains(">src/</a>"), "{page}");
    assert!(page.contains("href=\"/app/files/a%20b\""));
    assert!(page.contains("<h1>App</h1>") && page.contains("href=\"/app/files/src/main.rs\""));
    assert!(page.contains("src=\"/app/raw/logo.png\""));
    assert!(page.contains("Begin") && page.contains("ssh://git@127.0.0.1:2222/app"));
}

#[tokio::test]
async fn a_file_has_numbered_lines_and_the_revision_it_was_asked_at() {
    let world = World::new();
    let old = world.get("/app/files/src/main.rs?at=v1", &member("rita")).await.text();
    assert!(old.contains("id=\"L2\"") && old.contains("println!(&quot;&lt;b&gt;&amp;&quot;);"), "{old}");
    let new = world.get("/app/files/src/main.rs", &member("rita")).await.text();
    assert!(new.contains("fn main() {}") && !new.contains("println"));
    let odd = world.get("/app/files/a%20b/%C3%BC%23%3F%25.txt", &member("rita")).await;
    assert_eq!(odd.status, 200);
    assert!(odd.text().contains("odd name"));
    let branch = world.get("/app/files/src?at=feature%2Fx", &member("rita")).await.text();
    assert!(
        branch.contains("href=\"/app/files/src/main.rs?at=feature%2Fx\""),
        "the revision stays: {branch}"
    );
}

#[tokio::test]
async fn an_empty_repository_says_how_to_fill_it() {
    let world = World::new();
    let page = world.get("/empty", &As::Nobody).await.text();
    assert!(page.contains("git push -u origin main"), "{page}");
    for rest in ["/files/x", "/raw/x", "/archive/main.tar.gz", "/commit/main"] {
        assert_eq!(world.get(&format!("/empty{rest}"), &As::Nobody).await.status, 404, "{rest}");
    }
    assert_eq!(world.get("/empty/refs", &As::Nobody).await.status, 200);
}

#[tokio::test]
async fn a_commit_shows_its_diff_and_is_not_sent_twice() {
    let world = World::new();
    let path = format!("/app/commit/{}", world.tip("app"));
    let page = world.get(&path, &member("rita")).await;
    let text = page.text();
    assert!(text.contains("class=\"a\"") && text.contains("fn main() {}"), "{text}");
    assert!(text.contains("class=\"d\"") && text.contains("println!"));
    let tag = page.header("etag").to_owned();
    for (name, status) in [("rita", 304), ("will", 200), ("stan", 404)] {
        // Another person's page is another one, and the right to look is asked first.
        let request = Request::get(&path).header("if-none-match", &tag);
        let again = world.send(request, &member(name), axum::body::Body::empty()).await;
        assert_eq!(again.status, status, "{name}");
    }
    let named = world.get("/app/commit/main", &member("rita")).await;
    assert_eq!(named.header("location"), path);
}

#[tokio::test]
async fn comparing_shows_what_one_has_and_the_other_has_not() {
    let world = World::new();
    let page = world.get("/app/compare/v1...feature/x", &member("rita")).await.text();
    assert!(page.contains("class=\"a\""), "{page}");
    let none = world.get("/app/compare/main...v1", &member("rita")).await.text();
    assert!(none.contains("has no commit that"));
    let form = world.get("/app/compare?old=v1&new=feature%2Fx", &member("rita")).await;
    assert_eq!(form.header("location"), "/app/compare/v1...feature/x");
}

#[tokio::test]
async fn an_archive_is_a_whole_tar_gz() {
    use std::io::Read as _;
    let world = World::new();
    let reply = world.get("/app/archive/feature/x.tar.gz", &member("rita")).await;
    assert_eq!(reply.status, 200);
    assert!(reply.header("content-disposition").contains("app-feature-x.tar.gz"));
    let mut tar = Vec::new();
    flate2::read::GzDecoder::new(reply.body.as_slice()).read_to_end(&mut tar).expect("whole");
    assert!(String::from_utf8_lossy(&tar).contains("app-feature-x/src/main.rs"));
}

#[tokio::test]
async fn searching_finds_lines_and_needs_signing_in() {
    let world = World::new();
    let page = world.get("/app/search?q=fn+main", &member("rita")).await.text();
    assert!(page.contains("href=\"/app/files/src/main.rs#L1\""), "{page}");
    let visitor = world.get("/open/search?q=x", &As::Nobody).await;
    assert!(visitor.header("location").starts_with("/-/login"));
}

#[tokio::test]
async fn git_addresses_lead_to_the_page() {
    let world = World::new();
    assert_eq!(world.get("/open.git", &As::Nobody).await.header("location"), "/open");
    assert_eq!(world.get("/open/files/docs/", &As::Nobody).await.header("location"), "/open/files/docs");
}

#[tokio::test]
async fn forms_of_builds_and_deploys_reach_the_operations() {
    let world = World::new();
    let will = world.sign_in("will").await;
    for (path, verb, asked) in [
        ("/app/builds/2", "retry", "begin build 4 by will"),
        ("/app/builds/3", "cancel", "stop build 3"),
        ("/app/deploys", "sync", "begin deploy 3 by will"),
        ("/app/deploys/3", "cancel", "stop deploy 3"),
    ] {
        let reply = world.form(path, &will, &[("do", verb)]).await;
        assert_eq!(reply.status, 303, "{path} {verb}: {}", reply.text());
        let known = world.operations.asked.lock().expect("whole").clone();
        assert!(known.iter().any(|a| a == asked), "{asked}: {known:?}");
    }
    let (retried, stopped) = (BuildNumber(4), BuildNumber(3));
    let build = |n| world.store.build(world.app, n).expect("read").expect("there");
    assert_eq!((build(retried).run.state, build(retried).commit), (BuildState::Queued, world.tip("app")));
    assert_eq!(build(stopped).run.state, BuildState::Cancelled);
    let synced = world.store.deploy(world.app, DeployNumber(3)).expect("read").expect("there");
    assert_eq!((synced.cause, synced.run.state), (DeployCause::Sync, DeployState::Cancelled));
    assert_eq!(synced.commit, world.tip("app"));
    for (path, verb, said) in [
        ("/app/builds/4", "retry", "Build 4 is still under way."),
        ("/app/builds/2", "cancel", "Build 2 is over: failed."),
        ("/app/deploys/3", "cancel", "Deploy 3 is over."),
    ] {
        let reply = world.form(path, &will, &[("do", verb)]).await;
        assert!(reply.status == 409 && reply.text().contains(said), "{path} {verb}: {}", reply.text());
    }
    let none = world.form("/app/builds", &will, &[("ref", "v1")]).await;
    assert!(none.status == 400 && none.text().contains("has no Dockerfile."), "{}", none.text());
    let same = world.form("/app/deploys/1", &will, &[("do", "rollback")]).await;
    assert_eq!(same.status, 409, "{}", same.text());
    assert!(same.text().contains("app is already in the state of deploy 1."), "{}", same.text());
    assert_eq!(world.form("/app/builds/2", &will, &[("do", "explode")]).await.status, 400);
    let rita = world.sign_in("rita").await;
    assert_eq!(world.form("/app/builds/2", &rita, &[("do", "retry")]).await.status, 403);
}

#[tokio::test]
async fn settings_change_what_they_say() {
    let world = World::new();
    let adam = world.sign_in("adam").await;
    let page = "/app/settings";
    for (who, fields) in [
        (&adam, vec![("do", "grant"), ("user", "stan"), ("role", "read")]),
        (&adam, vec![("do", "describe"), ("description", "new words"), ("public", "on")]),
        (&adam, vec![("do", "default-branch"), ("branch", "feature/x")]),
        (&adam, vec![("do", "unbind-registry")]),
    ] {
        let reply = world.form(page, who, &fields).await;
        assert_eq!(reply.status, 303, "{fields:?}: {}", reply.text());
    }
    assert_eq!(world.store.role(&user("stan"), world.app).expect("read"), Some(Role::Read));
    let record = world.store.repo(world.app).expect("read").expect("there");
    assert!(record.public && record.description == "new words");
    let shown = world.get(page, &adam).await.text();
    assert!(shown.contains("value=\"feature/x\""), "{shown}");
    let gone = world.form(page, &adam, &[("do", "default-branch"), ("branch", "gone")]).await;
    assert!(gone.status == 404 && gone.text().contains("app has no branch gone."), "{}", gone.text());
    let bind = [("do", "bind-registry"), ("registry", "local"), ("image", "x")];
    assert_eq!(world.form(page, &adam, &bind).await.status, 403, "granting reach is an owner's act");
    let olga = world.sign_in("olga").await;
    assert_eq!(world.form(page, &olga, &bind).await.status, 303);
    assert_eq!(world.form(page, &olga, &[("do", "remove"), ("name", "wrong")]).await.status, 400);
    world.operations.stops.store(true, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(world.form(page, &olga, &[("do", "remove"), ("name", "app")]).await.header("location"), "/");
}

#[tokio::test]
async fn accounts_and_administration_work_by_forms() {
    let world = World::new();
    let olga = world.sign_in("olga").await;
    let made = world
        .form("/-/tokens", &olga, &[("do", "add"), ("name", "ci"), ("read", "on"), ("days", "30")])
        .await;
    assert_eq!(made.status, 201, "{}", made.text());
    assert!(made.text().contains("slp_") && made.header("cache-control") == "no-store");
    let key = key_line(4);
    for (path, fields) in [
        ("/-/keys", vec![("do", "add"), ("key", key.as_str())]),
        ("/-/new", vec![("name", "fresh")]),
        ("/-/admin", vec![("do", "add-user"), ("name", "ann")]),
        (
            "/-/admin",
            vec![("do", "add-registry"), ("name", "r2"), ("url", "r.example.com/x"), ("password", "hunter2")],
        ),
        ("/-/admin", vec![("do", "add-cluster"), ("name", "c2"), ("kubeconfig", "apiVersion: v1")]),
        ("/-/admin", vec![("do", "remove-user"), ("name", "ann")]),
    ] {
        let reply = world.form(path, &olga, &fields).await;
        assert_eq!(reply.status, 303, "{path} {fields:?}: {}", reply.text());
    }
    let page = world.get("/-/admin", &olga).await.text();
    assert!(page.contains("r.example.com/x") && page.contains(">c2<") && !page.contains("hunter2"));
    let tested = world.form("/-/admin", &olga, &[("do", "test-registry"), ("name", "local")]).await;
    assert!(tested.text().contains("local answers."));
}

#[tokio::test]
async fn the_page_of_registries_leaves_what_it_does_not_show() {
    let world = World::new();
    let olga = world.sign_in("olga").await;
    let ecr = json!({"assume_role": "arn:aws:iam::1:role/r", "repositories": {"immutable_tags": true}});
    let body = json!({"url": "a.example", "kind": "ecr", "region": "eu-west-1", "ecr": ecr});
    let made = world.call("PUT", "/registries/r", &owner(), Some(body)).await;
    assert_eq!(made.status, 200, "{}", made.text());
    let recorded = async || {
        let text = world.call("GET", "/registries/r", &owner(), None).await.text();
        serde_json::from_str::<serde_json::Value>(&text).expect("json")
    };
    let fields = [
        ("do", "add-registry"),
        ("name", "r"),
        ("url", "b.example"),
        ("kind", "ecr"),
        ("region", "eu-west-1"),
    ];
    assert_eq!(world.form("/-/admin", &olga, &fields).await.status, 303);
    let kept = recorded().await;
    assert_eq!((&kept["host"], &kept["ecr"]), (&json!("b.example"), &ecr));
    // The API records anew, and another kind has nothing of it.
    let body = json!({"url": "a.example", "kind": "ecr", "region": "eu-west-1"});
    assert_eq!(world.call("PUT", "/registries/r", &owner(), Some(body)).await.status, 200);
    assert_eq!(recorded().await.get("ecr"), None);
    let refused = json!({"url": "a.example", "ecr": {"scan_gate": "high"}});
    assert_eq!(world.call("PUT", "/registries/r", &owner(), Some(refused)).await.status, 400);
    // A trial answers 200 whatever came of it.
    let answer = world.call("POST", "/registries/r/test?image=a&write=true", &owner(), None).await;
    assert!(answer.status == 200 && answer.text().contains("\"ok\":false"), "{}", answer.text());
    assert_eq!(world.call("POST", "/registries/r/test?write=true", &owner(), None).await.status, 400);
}

#[tokio::test]
async fn assets_are_kept_for_good_and_named_by_their_content() {
    let world = World::new();
    let page = world.get("/", &As::Nobody).await.text();
    for (start, kind) in [("href=\"/-/assets/", "text/css"), ("src=\"/-/assets/", "text/javascript")] {
        let name = page.split(start).nth(1).and_then(|t| t.split('"').next()).expect("an asset");
        let reply = world.get(&format!("/-/assets/{name}"), &As::Nobody).await;
        assert!(reply.header("content-type").starts_with(kind));
        assert!(reply.header("cache-control").contains("immutable"));
    }
    assert_eq!(world.get("/-/assets/0000.css", &As::Nobody).await.status, 404);
}

#[tokio::test]
async fn a_token_reads_pages_too() {
    let world = World::new();
    let who = As::Bearer(world.token("rita", &[Scope::RepoRead]));
    assert_eq!(world.get("/app", &who).await.status, 200);
    assert_eq!(world.get("/gone", &who).await.status, 404);
    assert_eq!(world.get("/app/settings", &owner()).await.status, 200);
}

#[tokio::test]
async fn pages_show_a_repository_with_sha256_ids() {
    let world = World::new();
    world.repository_of(ObjectFormat::Sha256, "long", true);
    let empty = world.get("/long", &As::Nobody).await.text();
    assert!(empty.contains("git init --object-format=sha256"), "{empty}");
    world.history("long");
    let tip = world.tip("long").to_string();
    assert_eq!(tip.len(), 64);
    for (path, shows) in [
        ("/long".to_owned(), "href=\"/long/files/src\""),
        ("/long/files/src/main.rs?at=v1".into(), "println!"),
        (format!("/long/files/src/main.rs?at={tip}"), "fn main() {}"),
        ("/long/log/src/main.rs".into(), "Begin"),
        (format!("/long/commit/{tip}"), "println!"),
        ("/long/compare/v1...main".into(), "println!"),
        ("/long/refs".into(), "feature/x"),
    ] {
        let page = world.get(&path, &As::Nobody).await;
        assert_eq!(page.status, 200, "{path}");
        assert!(page.text().contains(shows), "{path}: {}", page.text());
    }
    // A short id leads to the whole one.
    let short = world.get(&format!("/long/commit/{}", &tip[..10]), &As::Nobody).await;
    assert_eq!(short.status, 303);
    assert!(short.header("location").to_owned().ends_with(&tip));
    assert_eq!(world.get("/long/archive/main.tar.gz", &As::Nobody).await.status, 200);
    let told = world.get("/-/api/v1/repos/long", &As::Nobody).await.text();
    assert!(told.contains("\"object_format\":\"sha256\""), "{told}");
}
