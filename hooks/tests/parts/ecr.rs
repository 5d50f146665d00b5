//! Amazon ECR: its API played by a small server in front of a real registry with logins.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use slipway_core::run::FailureClass;
use slipway_core::target::RegistryKind;
use slipway_hooks::{Engine, HookError, Hooks, Marks, RegistryTarget};
use tokio_util::sync::CancellationToken;

use crate::lab::{self, LockedRegistry, PASSWORD};
use crate::world::{World, target};

/// The API's state.
#[derive(Default)]
struct Ecr {
    /// Where the layers lie.
    host: String,
    repositories: Vec<String>,
    /// Actions asked, in order.
    asked: Vec<String>,
    /// Actions that are denied.
    denied: Vec<&'static str>,
    /// The next logins are worth nothing.
    bad_logins: usize,
    /// No tag may change.
    immutable: bool,
}

type Shared = Arc<Mutex<Ecr>>;

async fn start(host: &str) -> (String, Shared) {
    let state: Shared = Arc::new(Mutex::new(Ecr { host: host.into(), ..Ecr::default() }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("port");
    let url = format!("http://{}", listener.local_addr().expect("address"));
    let shared = state.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let state = shared.clone();
            let service = service_fn(move |request| answer(state.clone(), request));
            tokio::spawn(
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    (url, state)
}

async fn answer(state: Shared, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let action = request.headers().get("x-amz-target").and_then(|v| v.to_str().ok()).unwrap_or_default();
    let action = action.rsplit('.').next().unwrap_or_default().to_owned();
    let body = request.into_body().collect().await.map(|b| b.to_bytes()).unwrap_or_default();
    let input: Value = serde_json::from_slice(&body).unwrap_or_default();
    let done = tokio::task::spawn_blocking(move || act(&state, &action, &input)).await.expect("no panic");
    let (status, body) = match done {
        Ok(body) => (200, body),
        Err((code, message)) => (400, json!({ "__type": code, "message": message })),
    };
    let response = Response::builder().status(status).header("Content-Type", "application/x-amz-json-1.1");
    Ok(response.body(Full::new(Bytes::from(body.to_string()))).expect("response"))
}

type Answer = Result<Value, (&'static str, String)>;

fn act(state: &Shared, action: &str, input: &Value) -> Answer {
    let mut state = state.lock().expect("lock");
    state.asked.push(action.to_owned());
    if state.denied.contains(&action) {
        return Err(("AccessDeniedException", format!("User is not authorized to perform: ecr:{action}")));
    }
    let name = input["repositoryName"]
        .as_str()
        .or(input["repositoryNames"][0].as_str())
        .unwrap_or_default()
        .to_owned();
    let known = state.repositories.contains(&name);
    match action {
        "GetAuthorizationToken" => {
            let bad = state.bad_logins > 0;
            state.bad_logins = state.bad_logins.saturating_sub(1);
            let token = STANDARD.encode(format!("AWS:{}", if bad { "expired" } else { PASSWORD }));
            // The expiry of a well-known emulator.
            Ok(
                json!({ "authorizationData": [{ "authorizationToken": token, "expiresAt": 1_420_070_400.0, "proxyEndpoint": "https://x" }] }),
            )
        }
        "CreateRepository" => {
            state.repositories.push(name.clone());
            Ok(json!({ "repository": { "repositoryName": name } }))
        }
        _ if !known => {
            Err(("RepositoryNotFoundException", format!("The repository with name '{name}' does not exist")))
        }
        "DescribeRepositories" => Ok(json!({ "repositories": [{ "repositoryName": name }] })),
        "BatchGetImage" => {
            let tag = input["imageIds"][0]["imageTag"].as_str().unwrap_or_default();
            Ok(match manifest(&state.host, &name, tag) {
                Some((text, digest)) => {
                    json!({ "images": [{ "repositoryName": name, "imageId": { "imageTag": tag, "imageDigest": digest },
                    "imageManifest": text, "imageManifestMediaType": media_type(&text) }], "failures": [] })
                }
                None => {
                    json!({ "images": [], "failures": [{ "imageId": { "imageTag": tag }, "failureCode": "ImageNotFound", "failureReason": "Requested image not found" }] })
                }
            })
        }
        "PutImage" => put(&state, &name, input),
        other => Err(("InvalidParameterException", format!("{other} is not played here"))),
    }
}

fn put(state: &Ecr, name: &str, input: &Value) -> Answer {
    let tag = input["imageTag"].as_str().unwrap_or_default();
    let text = input["imageManifest"].as_str().unwrap_or_default();
    match manifest(&state.host, name, tag) {
        Some((there, _)) if there == text => {
            return Err(("ImageAlreadyExistsException", "Image with that digest and tag exists".into()));
        }
        Some(_) if state.immutable => {
            return Err((
                "ImageTagAlreadyExistsException",
                "The image tag already exists and is immutable".into(),
            ));
        }
        _ => {}
    }
    let url = format!("http://{}/v2/{name}/manifests/{tag}", state.host);
    let kind = format!("Content-Type: {}", media_type(text));
    curl(&["-sf", "-X", "PUT", "-H", &kind, "--data-binary", text, &url]);
    Ok(json!({ "image": { "repositoryName": name, "imageId": { "imageTag": tag } } }))
}

fn manifest(host: &str, name: &str, tag: &str) -> Option<(String, String)> {
    let accept = "Accept: application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json";
    let text = curl(&["-sf", "-H", accept, &format!("http://{host}/v2/{name}/manifests/{tag}")]);
    let digest: String = Sha256::digest(text.as_bytes()).iter().map(|b| format!("{b:02x}")).collect();
    (!text.is_empty()).then(|| (text, format!("sha256:{digest}")))
}

fn media_type(manifest: &str) -> String {
    let value: Value = serde_json::from_str(manifest).unwrap_or_default();
    value["mediaType"].as_str().unwrap_or("application/vnd.oci.image.manifest.v1+json").to_owned()
}

fn curl(arguments: &[&str]) -> String {
    let login = format!("AWS:{PASSWORD}");
    let done =
        std::process::Command::new("curl").args(["-u", &login]).args(arguments).output().expect("curl runs");
    String::from_utf8_lossy(&done.stdout).into_owned()
}

fn account(host: &str) -> RegistryTarget {
    let mut target = target(host, "team/app", Some(("AKIAEXAMPLE", "secret-access-key")));
    target.registry.kind = RegistryKind::Ecr;
    target.registry.region = Some("eu-central-1".into());
    target
}

async fn built(url: String, marker: &str) -> (World, String) {
    let dockerfile = format!("FROM alpine:3.20\nRUN echo {marker}\n");
    let hooks = |marks: Marks| {
        Hooks::with_ecr_endpoint(Engine::connect(Some(&lab::engine())).expect("an address"), marks, url)
    };
    let world = World::with(&[("Dockerfile", &dockerfile)], hooks).await;
    let image = world
        .hooks
        .build_image(&world.job, &CancellationToken::new())
        .await
        .map(|built| built.id)
        .expect("built");
    (world, image)
}

#[tokio::test]
async fn a_repository_is_made_the_image_pushed_and_its_tags_moved() {
    let registry = LockedRegistry::start();
    let (url, state) = start(&registry.host).await;
    let (world, image) = built(url, "ecr").await;
    let target = account(&registry.host);
    let said = world.hooks.test_registry(&target.registry, target.password.as_ref()).await.expect("a login");
    assert!(said.contains("eu-central-1"), "{said}");
    let pushed = world
        .hooks
        .push_image(&world.job, &image, &target, &world.tags(), &CancellationToken::new())
        .await
        .expect("pushed");
    for tag in &pushed.tags {
        assert_eq!(
            manifest(&registry.host, "team/app", tag).expect("there").1,
            pushed.digest.as_str(),
            "{tag}"
        );
    }
    let asked = state.lock().expect("lock").asked.clone();
    assert_eq!(
        asked.iter().filter(|a| *a == "GetAuthorizationToken").count(),
        1,
        "the login is kept: {asked:?}"
    );
    assert!(
        asked.contains(&"CreateRepository".to_owned()) && asked.contains(&"PutImage".to_owned()),
        "{asked:?}"
    );
    let again = world
        .hooks
        .push_image(&world.job, &image, &target, &world.tags(), &CancellationToken::new())
        .await
        .expect("again");
    assert_eq!(again, pushed);
    assert!(!world.log().await.contains("secret-access-key"));
    world.hooks.finish(&world.job).await.expect("cleaned");
}

#[tokio::test]
async fn a_login_that_is_not_taken_is_fetched_anew_once() {
    let registry = LockedRegistry::start();
    let (url, state) = start(&registry.host).await;
    let (world, image) = built(url, "ecr-expired").await;
    state.lock().expect("lock").bad_logins = 1;
    let target = account(&registry.host);
    world
        .hooks
        .push_image(&world.job, &image, &target, &world.tags(), &CancellationToken::new())
        .await
        .expect("pushed");
    let asked = state.lock().expect("lock").asked.clone();
    assert_eq!(asked.iter().filter(|a| *a == "GetAuthorizationToken").count(), 2, "{asked:?}");
    world.hooks.finish(&world.job).await.expect("cleaned");
}

#[tokio::test]
async fn what_aws_does_not_allow_is_named() {
    let registry = LockedRegistry::start();
    let (url, state) = start(&registry.host).await;
    let (world, image) = built(url, "ecr-denied").await;
    let target = account(&registry.host);
    let push = || async {
        world.hooks.push_image(&world.job, &image, &target, &world.tags(), &CancellationToken::new()).await
    };
    for (denied, action) in [
        ("GetAuthorizationToken", "ecr:GetAuthorizationToken"),
        ("CreateRepository", "ecr:CreateRepository"),
        ("PutImage", "ecr:PutImage"),
    ] {
        state.lock().expect("lock").denied = vec![denied];
        let e = push().await.expect_err("denied");
        assert_eq!(e.class(), FailureClass::Policy, "{e:?}");
        let problem = slipway_core::Problem::from(e);
        assert!(problem.cure.contains(action), "{problem}");
    }
    {
        let mut state = state.lock().expect("lock");
        state.denied.clear();
        state.immutable = true;
    }
    push().await.expect("latest is new");
    world.hooks.finish(&world.job).await.expect("cleaned");

    let mut keyless = account(&registry.host);
    keyless.password = None;
    assert!(matches!(
        world.hooks.test_registry(&keyless.registry, None).await,
        Err(HookError::RegistrySettings { .. })
    ));
}
