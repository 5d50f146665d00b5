//! Every route, asked by everybody. What a route needs stands beside it; who has that is computed from their role.

use http::Method;
use serde_json::{Value, json};
use slipway_core::{Actor, Scope};

use crate::world::{As, Reply, World, key_line, member, owner, repo_name, user};

/// What a route asks of its visitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Needs {
    Nothing,
    Read,
    Operate,
    AdminRepo,
    Self_,
    Owner,
    /// An owner, who must also see the repository: bindings.
    OwnerOfRepo,
}
use Needs::{AdminRepo, Nothing, Operate, Owner, OwnerOfRepo, Read, Self_};

struct Persona {
    name: &'static str,
    who: As,
    /// 0 nobody, 1 stranger, 2 reader, 3 writer, 4 admin, 5 owner.
    rank: u8,
    /// May use what is beyond Git.
    api: bool,
}

fn personas(world: &World) -> Vec<Persona> {
    let token = |name: &str, scope| As::Bearer(world.token(name, &[scope]));
    let row = |name, who, rank, api| Persona { name, who, rank, api };
    vec![
        row("anonymous", As::Nobody, 0, false),
        row("stranger", member("stan"), 1, true),
        row("reader", member("rita"), 2, true),
        row("writer", member("will"), 3, true),
        row("admin", member("adam"), 4, true),
        row("owner", owner(), 5, true),
        row("the server", As::Actor(Actor::Server), 5, true),
        row("admin's token for reading", token("adam", Scope::RepoRead), 4, false),
        row("admin's token for pushing", token("adam", Scope::RepoWrite), 4, false),
        row("admin's token for all", token("adam", Scope::Api), 4, true),
        row("owner's token for pushing", token("olga", Scope::RepoWrite), 5, false),
        row("owner's token for all", token("olga", Scope::Api), 5, true),
    ]
}

fn may(needs: Needs, p: &Persona) -> bool {
    match needs {
        Nothing => true,
        Read => p.rank >= 2,
        Operate => p.rank >= 3 && p.api,
        AdminRepo => p.rank >= 4 && p.api,
        Self_ => p.rank >= 1 && p.api,
        Owner | OwnerOfRepo => p.rank >= 5 && p.api,
    }
}

/// Method, address as described, address that is asked, body, and what it needs.
type Route = (Method, &'static str, &'static str, Option<Value>, Needs);

/// The API's routes with bodies that fit. Names that do not exist make sure that nothing is really changed.
fn api_routes() -> Vec<Route> {
    let (get, post, put, patch, delete) =
        (Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE);
    let row = |m: &Method, template, path, body, needs| (m.clone(), template, path, body, needs);
    vec![
        row(&get, "/openapi.json", "/openapi.json", None, Nothing),
        row(&get, "/whoami", "/whoami", None, Nothing),
        row(&get, "/users", "/users", None, Owner),
        row(&post, "/users", "/users", Some(json!({"name": "rita"})), Owner),
        row(&get, "/users/{user}", "/users/olga", None, Owner),
        row(&patch, "/users/{user}", "/users/ghost", Some(json!({"owner": true})), Owner),
        row(&delete, "/users/{user}", "/users/ghost", None, Owner),
        row(&get, "/users/{user}/sessions", "/users/ghost/sessions", None, Owner),
        row(&delete, "/users/{user}/sessions", "/users/ghost/sessions", None, Owner),
        row(&get, "/keys", "/keys", None, Self_),
        row(&post, "/keys", "/keys", Some(json!({"key": key_line(1), "user": "olga"})), Owner),
        row(&delete, "/keys/{fingerprint}", "/keys/SHA256%3Aa%2Fb", None, Self_),
        row(&get, "/tokens", "/tokens?user=olga", None, Owner),
        row(&post, "/tokens", "/tokens", Some(json!({"user": "olga"})), Owner),
        row(&delete, "/tokens/{id}", "/tokens/000000000000", None, Self_),
        row(&get, "/repos", "/repos", None, Nothing),
        row(&post, "/repos", "/repos", Some(json!({"name": "app"})), Self_),
        row(&get, "/repos/{repo}", "/repos/app", None, Read),
        row(&patch, "/repos/{repo}", "/repos/app", Some(json!({})), AdminRepo),
        row(&delete, "/repos/{repo}", "/repos/app", None, AdminRepo),
        row(&get, "/repos/{repo}/grants", "/repos/app/grants", None, AdminRepo),
        row(
            &put,
            "/repos/{repo}/grants/{user}",
            "/repos/app/grants/adam",
            Some(json!({"role": "admin"})),
            AdminRepo,
        ),
        row(&delete, "/repos/{repo}/grants/{user}", "/repos/app/grants/ghost", None, AdminRepo),
        row(&post, "/repos/{repo}/maintenance", "/repos/app/maintenance", Some(json!({})), AdminRepo),
        row(&get, "/repos/{repo}/events", "/repos/app/events", None, Read),
        row(&get, "/registries", "/registries", None, Owner),
        row(&get, "/registries/{name}", "/registries/local", None, Owner),
        row(&put, "/registries/{name}", "/registries/x", Some(json!({"url": "x:5000"})), Owner),
        row(&post, "/registries/{name}/test", "/registries/local/test", None, Owner),
        row(&delete, "/registries/{name}", "/registries/ghost", None, Owner),
        row(&get, "/clusters", "/clusters", None, Owner),
        row(&get, "/clusters/{name}", "/clusters/lab", None, Owner),
        row(&put, "/clusters/{name}", "/clusters/x", Some(json!({"kubeconfig": "x"})), Owner),
        row(&post, "/clusters/{name}/test", "/clusters/lab/test", None, Owner),
        row(&delete, "/clusters/{name}", "/clusters/ghost", None, Owner),
        row(&get, "/repos/{repo}/bindings", "/repos/app/bindings", None, Read),
        row(
            &put,
            "/repos/{repo}/bindings/registry",
            "/repos/app/bindings/registry",
            Some(json!({"registry": "local"})),
            OwnerOfRepo,
        ),
        row(
            &put,
            "/repos/{repo}/bindings/cluster",
            "/repos/app/bindings/cluster",
            Some(json!({"cluster": "lab"})),
            OwnerOfRepo,
        ),
        row(&delete, "/repos/{repo}/bindings/registry", "/repos/app/bindings/registry", None, AdminRepo),
        row(&delete, "/repos/{repo}/bindings/cluster", "/repos/app/bindings/cluster", None, AdminRepo),
    ]
    .into_iter()
    .chain(work_routes())
    .chain(server_routes())
    .collect()
}

/// Those of the server itself.
fn server_routes() -> Vec<Route> {
    let (get, post) = (Method::GET, Method::POST);
    let row = |m: &Method, template, path, body, needs| (m.clone(), template, path, body, needs);
    vec![
        row(&get, "/doctor", "/doctor", None, Owner),
        row(&get, "/doctor/repositories", "/doctor/repositories", None, Owner),
        row(&post, "/doctor/repositories", "/doctor/repositories", Some(json!({})), Owner),
        row(&get, "/backup", "/backup", None, Owner),
        row(&post, "/backup", "/backup?keys=false", None, Owner),
        row(&get, "/export", "/export", None, Owner),
    ]
}

/// Those of builds, deploys and webhooks.
fn work_routes() -> Vec<Route> {
    let (get, post, delete) = (Method::GET, Method::POST, Method::DELETE);
    let row = |m: &Method, template, path, body, needs| (m.clone(), template, path, body, needs);
    let bad = || Some(json!({"url": "ftp://example.org/"}));
    vec![
        row(&get, "/repos/{repo}/builds", "/repos/app/builds", None, Read),
        row(&post, "/repos/{repo}/builds", "/repos/app/builds", Some(json!({})), Operate),
        row(&get, "/repos/{repo}/builds/{number}", "/repos/app/builds/1", None, Read),
        row(&get, "/repos/{repo}/builds/{number}/log", "/repos/app/builds/1/log", None, Read),
        row(&post, "/repos/{repo}/builds/{number}/retry", "/repos/app/builds/1/retry", None, Operate),
        row(
            &post,
            "/repos/{repo}/builds/{number}/promote",
            "/repos/app/builds/1/promote",
            Some(json!({})),
            Operate,
        ),
        row(&post, "/repos/{repo}/builds/{number}/cancel", "/repos/app/builds/1/cancel", None, Operate),
        row(&get, "/repos/{repo}/deploys", "/repos/app/deploys", None, Read),
        row(&post, "/repos/{repo}/deploys", "/repos/app/deploys", None, Operate),
        row(&get, "/repos/{repo}/deploys/{number}", "/repos/app/deploys/latest", None, Read),
        row(&post, "/repos/{repo}/deploys/{number}/rollback", "/repos/app/deploys/1/rollback", None, Operate),
        row(&post, "/repos/{repo}/deploys/{number}/cancel", "/repos/app/deploys/1/cancel", None, Operate),
        row(&get, "/repos/{repo}/diff", "/repos/app/diff", None, Operate),
        row(&get, "/repos/{repo}/webhooks", "/repos/app/webhooks", None, AdminRepo),
        row(&post, "/repos/{repo}/webhooks", "/repos/app/webhooks", bad(), AdminRepo),
        row(&delete, "/repos/{repo}/webhooks/{number}", "/repos/app/webhooks/99", None, AdminRepo),
        row(&get, "/repos/{repo}/deliveries", "/repos/app/deliveries", None, AdminRepo),
        row(&get, "/repos/{repo}/deliveries/{number}", "/repos/app/deliveries/99", None, AdminRepo),
        row(
            &post,
            "/repos/{repo}/deliveries/{number}/redeliver",
            "/repos/app/deliveries/99/redeliver",
            None,
            AdminRepo,
        ),
    ]
}

/// True if the visitor got past the authoriser. A thing that is not there (a ghost) is no refusal; the one answer for
/// hidden repositories is.
fn got_in(reply: &Reply) -> bool {
    let text = reply.text();
    // Who may ask for a deploy is told that there is no binding (an earlier row took it away).
    let unbound = text.contains("is not bound to a cluster.");
    (unbound || !matches!(reply.status.as_u16(), 401 | 403)) && !text.contains("There is no repository")
}

#[tokio::test]
async fn every_api_route_lets_in_whom_it_should_and_nobody_else() {
    let world = World::new();
    for persona in personas(&world) {
        for (method, _, path, body, needs) in api_routes() {
            let reply = world.call(method.as_str(), path, &persona.who, body).await;
            let said = format!("{} {method} {path}: {} {}", persona.name, reply.status, reply.text());
            // The server itself has no keys of its own to list and is told so; owners list all.
            assert_eq!(got_in(&reply), may(needs, &persona), "{said}");
            assert_ne!(reply.status, 500, "{said}");
            assert_ne!(reply.status, 405, "{said}");
        }
    }
}

#[tokio::test]
async fn the_table_above_has_every_route_that_the_description_has() {
    let world = World::new();
    let described = world.call("GET", "/openapi.json", &As::Nobody, None).await.json();
    let mut wanted = Vec::new();
    for (path, methods) in described["paths"].as_object().expect("an object") {
        for method in methods.as_object().expect("an object").keys() {
            wanted.push(format!("{} {}", method.to_uppercase(), path.trim_start_matches("/-/api/v1")));
        }
    }
    let mut tested: Vec<String> =
        api_routes().iter().map(|(m, template, ..)| format!("{m} {template}")).collect();
    wanted.sort();
    tested.sort();
    assert_eq!(tested, wanted);
}

/// The pages, each with what it needs.
fn pages() -> Vec<(&'static str, Needs)> {
    vec![
        ("/", Nothing),
        ("/robots.txt", Nothing),
        ("/-/login", Nothing),
        ("/-/healthz", Nothing),
        ("/-/readyz", Nothing),
        ("/-/schema/slipway.json", Nothing),
        ("/-/new", Self_),
        ("/-/admin", Owner),
        ("/-/admin/doctor", Owner),
        ("/app", Read),
        ("/app/files", Read),
        ("/app/files/src", Read),
        ("/app/files/src/main.rs?at=v1", Read),
        ("/app/raw/src/main.rs", Read),
        ("/app/blame/src/main.rs", Read),
        ("/app/log", Read),
        ("/app/log/src", Read),
        ("/app/compare/v1...main", Read),
        ("/app/refs", Read),
        ("/app/archive/main.tar.gz", Read),
        ("/app/builds", Read),
        ("/app/builds/2", Read),
        ("/app/builds/2/log", Read),
        ("/app/builds/2/live", Read),
        ("/app/deploys", Read),
        ("/app/deploys/1", Read),
        ("/app/deploys/1/live", Read),
        ("/app/deploys/diff", Operate),
        ("/app/settings", AdminRepo),
    ]
}

#[tokio::test]
async fn every_page_lets_in_whom_it_should_and_nobody_else() {
    let world = World::new();
    for persona in personas(&world) {
        for (path, needs) in pages() {
            let reply = world.get(path, &persona.who).await;
            let to_login = reply.header("location").starts_with("/-/login");
            let said = format!("{} {path}: {} {}", persona.name, reply.status, reply.text());
            assert_eq!(got_in(&reply) && !to_login, may(needs, &persona), "{said}");
            assert!(!(reply.status.is_server_error() && reply.status != 501), "{said}");
        }
    }
}

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
