//! Registries of any kind: authorities of their own, tokens, pauses, redirects, and what a trial tells.

use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::BodyExt;
use hyper::Request;
use hyper::body::Incoming;
use slipway_core::trial::{Outcome, Report, Trial};
use slipway_hooks::{Engine, Hooks, Marks, RegistryTarget};

use crate::fake_ecr::{Reply, reply, serve};
use crate::lab::{self, LockedRegistry, PASSWORD};
use crate::world::target;

fn alone() -> Hooks {
    let marks = Marks::new("alone", &slipway_core::Secret::new("the secret"));
    Hooks::new(Engine::connect(Some("unix:///nowhere")).expect("an address"), marks)
}

async fn tried(target: &RegistryTarget, write: bool) -> Report {
    let trial = Trial { image: Some(target.image.clone()), write };
    let asked = alone().test_registry(&target.registry, target.password.as_ref(), &trial).await;
    asked.expect("a report")
}

fn of(report: &Report, outcome: Outcome) -> Vec<&str> {
    report.steps.iter().filter(|s| s.outcome == outcome).map(|s| s.call.as_str()).collect()
}

#[tokio::test]
async fn a_trial_goes_through_all_that_a_push_needs() {
    let open = target(&lab::registry(), &format!("hkt/trial-{}", std::process::id()), None);
    let report = tried(&open, true).await;
    assert!(report.ok(), "{report:#?}");
    assert_eq!(of(&report, Outcome::Ok)[..5], ["greeting", "login", "manifest", "upload", "image"]);

    let registry = LockedRegistry::start();
    let mut locked = target(&registry.host, "team/app", Some(("dev", PASSWORD)));
    locked.registry.prefix = "a/prefix".into();
    let report = tried(&locked, true).await;
    assert!(
        report.ok() && report.steps.iter().any(|s| s.what.contains("a/prefix/team/app:slipway-test-")),
        "{report:#?}"
    );
    assert_eq!(of(&tried(&locked, false).await, Outcome::Skipped), ["image"]);
    let report = tried(&target(&registry.host, "team/app", Some(("dev", "wrong"))), true).await;
    assert_eq!(of(&report, Outcome::Failed), ["login", "manifest", "upload", "image"], "{report:#?}");
    let report = tried(&target("127.0.0.1:1", "team/app", None), true).await;
    assert_eq!(of(&report, Outcome::Failed), ["greeting"], "{report:#?}");
}

#[tokio::test]
async fn an_authority_of_its_own_is_believed_where_it_is_recorded() {
    let (registry, authority) = LockedRegistry::start_with_tls();
    slipway_hooks::check_ca(&authority).expect("a certificate");
    let mut target = target(&registry.host, "team/app", Some(("dev", PASSWORD)));
    let report = tried(&target, false).await;
    assert!(!report.ok(), "nobody vouches for it: {report:#?}");
    target.registry.ca = Some(authority);
    let report = tried(&target, true).await;
    assert!(report.ok() && report.steps[0].what.contains("over https"), "{report:#?}");
    // Another registry's authority is none of this one's.
    let (other, _) = LockedRegistry::start_with_tls();
    target.registry.host = other.host.clone();
    assert!(!tried(&target, false).await.ok());
}

/// A registry that gives tokens, and what it was asked: method, path, login, body.
#[derive(Clone, Default)]
struct Tokens {
    asked: Arc<Mutex<Vec<[String; 4]>>>,
    /// Another host, to which it sends whoever asks for a manifest.
    elsewhere: Option<String>,
    /// Requests that are answered with "later" first.
    later: Arc<Mutex<usize>>,
}

impl Tokens {
    fn asked(&self) -> Vec<[String; 4]> {
        self.asked.lock().expect("lock").clone()
    }
}

async fn answer(tokens: Tokens, request: Request<Incoming>) -> Reply {
    let header =
        |name: &str| request.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    let (method, path, login) =
        (request.method().to_string(), request.uri().to_string(), header("authorization"));
    let host = header("host");
    let body = request.into_body().collect().await.map(|b| b.to_bytes()).unwrap_or_default();
    let body = String::from_utf8_lossy(&body).into_owned();
    tokens.asked.lock().expect("lock").push([method.clone(), path.clone(), login.clone(), body.clone()]);
    {
        let mut later = tokens.later.lock().expect("lock");
        if *later > 0 {
            *later -= 1;
            let mut answer = reply(429, "text/plain", "later".into());
            answer.headers_mut().insert("retry-after", "1".parse().expect("a value"));
            return answer;
        }
    }
    if path.starts_with("/token") {
        let basic = format!("Basic {}", STANDARD.encode("dev:word"));
        let good = login == basic
            || body.contains("grant_type=refresh_token") && body.contains("refresh_token=word");
        let answer = if good { (200, r#"{"token":"abc"}"#) } else { (401, "{}") };
        return reply(answer.0, "application/json", answer.1.into());
    }
    if login != "Bearer abc" {
        let mut answer = reply(401, "application/json", "{}".into());
        let challenge = format!("Bearer realm=\"http://{host}/token\",service=\"r\"");
        answer.headers_mut().insert("www-authenticate", challenge.parse().expect("a value"));
        return answer;
    }
    let mut answer = match (method.as_str(), path.contains("/manifests/")) {
        ("GET", true) if tokens.elsewhere.is_some() => reply(307, "text/plain", String::new()),
        ("GET", true) => reply(404, "text/plain", String::new()),
        ("POST", _) => reply(202, "text/plain", String::new()),
        _ => reply(200, "text/plain", String::new()),
    };
    let place =
        tokens.elsewhere.clone().map_or("/v2/up/1".to_owned(), |other| format!("http://{other}/v2/up/1"));
    answer.headers_mut().insert("location", place.parse().expect("a value"));
    answer
}

#[tokio::test]
async fn tokens_are_got_by_password_or_by_refresh_token_and_pauses_are_kept() {
    let tokens = Tokens::default();
    let state = tokens.clone();
    let host = serve(move |request| answer(state.clone(), request)).await;
    let report = tried(&target(&host, "team/app", Some(("dev", "word"))), false).await;
    assert!(report.ok(), "{report:#?}");
    let asked = tokens.asked();
    let scoped = "/token?service=r&scope=repository%3Ateam%2Fapp%3Apull%2Cpush";
    assert!(asked.iter().any(|[m, path, ..]| m == "GET" && path == scoped), "{asked:#?}");
    assert!(
        asked.iter().all(|[_, path, login, _]| !login.starts_with("Basic") || path.starts_with("/token"))
    );
    assert!(asked.iter().any(|[m, path, ..]| m == "DELETE" && path == "/v2/up/1"), "the upload is given up");

    let report = tried(&target(&host, "team/app", Some(("<token>", "word"))), false).await;
    assert!(report.ok(), "{report:#?}");
    let last = tokens.asked();
    let form = last.iter().rfind(|[m, path, ..]| m == "POST" && path == "/token").expect("a form");
    assert!(
        form[2].is_empty() && form[3].contains("scope=repository%3Ateam%2Fapp%3Apull%2Cpush"),
        "{form:?}"
    );

    *tokens.later.lock().expect("lock") = 2;
    let begun = std::time::Instant::now();
    let report = tried(&target(&host, "team/app", Some(("dev", "word"))), false).await;
    assert!(report.ok() && begun.elapsed().as_millis() >= 2000, "{:?} {report:#?}", begun.elapsed());
}

#[tokio::test]
async fn no_login_follows_a_redirect() {
    let other = Tokens::default();
    let state = other.clone();
    let elsewhere = serve(move |request| answer(state.clone(), request)).await;
    let tokens = Tokens { elsewhere: Some(elsewhere), ..Tokens::default() };
    let host = serve(move |request| answer(tokens.clone(), request)).await;
    let report = tried(&target(&host, "team/app", Some(("dev", "word"))), false).await;
    assert_eq!(of(&report, Outcome::Failed), ["manifest"], "{report:#?}");
    assert!(other.asked().is_empty(), "{:?}", other.asked());
    // An upload that is to go on elsewhere does not.
    let tokens = Tokens { elsewhere: Some("127.0.0.1:1".into()), ..Tokens::default() };
    let host = serve(move |request| answer(tokens.clone(), request)).await;
    let mut shut = target(&host, "team/app", Some(("dev", "word")));
    shut.registry.insecure = true;
    assert!(!tried(&shut, true).await.ok());
}
