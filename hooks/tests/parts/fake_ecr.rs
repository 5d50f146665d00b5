//! ECR's API and STS, played by a small server, and the door of its registry, where logins end when a test says so.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Either, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::lab::PASSWORD;

/// The API's state.
#[derive(Default)]
pub(crate) struct Ecr {
    /// Where the layers lie.
    host: String,
    pub(crate) repositories: Vec<String>,
    /// Actions asked, in order, with what was sent and by which access key.
    pub(crate) calls: Vec<(String, Value, String)>,
    /// Actions that are denied.
    pub(crate) denied: Vec<&'static str>,
    /// How often each login is taken, the first first; those that are not listed always.
    pub(crate) lives: Vec<usize>,
    /// What the registry says to a login that is not taken (any more).
    pub(crate) refusal: u16,
    /// It says so at its root alone, and elsewhere something that engines take for a mishap that may pass.
    pub(crate) hides: bool,
    /// STS takes requests and answers none.
    pub(crate) silent: bool,
    /// No tag may change.
    pub(crate) immutable: bool,
    /// What the scan says, one answer a call; the last stays.
    pub(crate) scans: Vec<Value>,
    logins: usize,
    layers: BTreeMap<String, Vec<u8>>,
}

impl Ecr {
    /// How often an action was asked.
    pub(crate) fn count(&self, action: &str) -> usize {
        self.calls.iter().filter(|(a, _, _)| a == action).count()
    }

    /// What was last sent with an action.
    pub(crate) fn sent(&self, action: &str) -> Value {
        let last = self.calls.iter().rfind(|(a, _, _)| a == action);
        last.map(|(_, input, _)| input.clone()).unwrap_or_default()
    }
}

pub(crate) type Shared = Arc<Mutex<Ecr>>;

/// A fake ECR.
pub(crate) struct Fake {
    /// Where the API is.
    pub(crate) url: String,
    /// `HOST:PORT` of the registry.
    pub(crate) host: String,
    pub(crate) state: Shared,
}

impl Fake {
    /// In front of a registry with logins.
    pub(crate) async fn start(registry: &str) -> Self {
        let state: Shared =
            Arc::new(Mutex::new(Ecr { host: registry.into(), refusal: 401, ..Ecr::default() }));
        let (shared, door) = (state.clone(), state.clone());
        let url = serve(move |request| answer(shared.clone(), request)).await;
        let host = serve(move |request| pass(door.clone(), request)).await;
        Self { url: format!("http://{url}"), host, state }
    }

    pub(crate) fn state(&self) -> std::sync::MutexGuard<'_, Ecr> {
        self.state.lock().expect("lock")
    }
}

pub(crate) type Reply = Response<Either<Incoming, Full<Bytes>>>;

pub(crate) async fn serve<F>(answer: impl Fn(Request<Incoming>) -> F + Clone + Send + 'static) -> String
where
    F: Future<Output = Reply> + Send + 'static,
{
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("port");
    let address = listener.local_addr().expect("address").to_string();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = answer.clone();
            let service = service_fn(move |request| {
                let answered = answer(request);
                async move { Ok::<_, Infallible>(answered.await) }
            });
            tokio::spawn(
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    address
}

pub(crate) fn reply(status: u16, kind: &str, text: String) -> Reply {
    let response = Response::builder().status(status).header("Content-Type", kind);
    response.body(Either::Right(Full::new(Bytes::from(text)))).expect("response")
}

/// The registry's door: takes the logins that are still good, and hands on.
async fn pass(state: Shared, mut request: Request<Incoming>) -> Reply {
    let given = request.headers().get("authorization").and_then(|v| v.to_str().ok()).map(str::to_owned);
    let (host, refusal, hides) = {
        let mut state = state.lock().expect("lock");
        let number = given.as_deref().map(|given| {
            let text = STANDARD.decode(given.trim_start_matches("Basic ")).unwrap_or_default();
            let text = String::from_utf8_lossy(&text).into_owned();
            text.strip_prefix("AWS:login-").and_then(|n| n.parse().ok()).unwrap_or(usize::MAX)
        });
        let good = match number {
            None => true,
            Some(usize::MAX) => false,
            Some(number) => match state.lives.get_mut(number) {
                None => true,
                Some(0) => false,
                Some(left) => {
                    *left -= 1;
                    true
                }
            },
        };
        (state.host.clone(), (!good).then_some(state.refusal), state.hides)
    };
    if let Some(status) = refusal {
        let words = r#"{"errors":[{"code":"DENIED","message":"Your authorization token has expired. Reauthenticate and try again."}]}"#;
        if hides && request.uri().path() != "/v2/" {
            return reply(500, "text/plain", "a mishap".into());
        }
        let mut refused = reply(status, "application/json", words.into());
        let challenge = "Basic realm=\"https://ecr/\",service=\"ecr.amazonaws.com\"";
        refused.headers_mut().insert("www-authenticate", challenge.parse().expect("a value"));
        return refused;
    }
    if given.is_some() {
        let login = format!("Basic {}", STANDARD.encode(format!("AWS:{PASSWORD}")));
        request.headers_mut().insert("authorization", login.parse().expect("a value"));
    }
    let path = request.uri().path_and_query().map(|p| p.as_str().to_owned()).unwrap_or_default();
    *request.uri_mut() = format!("http://{host}{path}").parse().expect("an address");
    match Client::builder(TokioExecutor::new()).build_http().request(request).await {
        Ok(answer) => answer.map(Either::Left),
        Err(e) => reply(502, "text/plain", e.to_string()),
    }
}

async fn answer(state: Shared, request: Request<Incoming>) -> Reply {
    let header = |name: &str| request.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let action = header("x-amz-target").rsplit('.').next().unwrap_or_default().to_owned();
    let key = header("authorization").split_once("Credential=").map_or("", |(_, rest)| rest);
    let key = key.split('/').next().unwrap_or_default().to_owned();
    let body = request.into_body().collect().await.map(|b| b.to_bytes()).unwrap_or_default();
    let silent = state.lock().expect("lock").silent;
    if action.is_empty() && silent {
        std::future::pending::<()>().await;
    }
    if action.is_empty() {
        let text = String::from_utf8_lossy(&body).into_owned();
        return sts(&mut state.lock().expect("lock"), &text, key);
    }
    let input: Value = serde_json::from_slice(&body).unwrap_or_default();
    let done =
        tokio::task::spawn_blocking(move || act(&state, &action, &input, key)).await.expect("no panic");
    let (status, body) = match done {
        Ok(body) => (200, body),
        Err((code, message)) => (400, json!({ "__type": code, "message": message })),
    };
    reply(status, "application/x-amz-json-1.1", body.to_string())
}

/// STS speaks forms and XML.
fn sts(state: &mut Ecr, form: &str, key: String) -> Reply {
    let field = |name: &str| {
        let pair = form.split('&').find_map(|pair| pair.strip_prefix(&format!("{name}=")));
        pair.unwrap_or_default().replace("%3A", ":").replace("%2F", "/")
    };
    let action = field("Action");
    state.calls.push((action.clone(), json!({"role": field("RoleArn"), "id": field("ExternalId")}), key));
    if state.denied.iter().any(|denied| *denied == action) {
        let words =
            "<Type>Sender</Type><Code>AccessDenied</Code><Message>not authorized to perform: sts</Message>";
        return reply(403, "text/xml", format!("<ErrorResponse><Error>{words}</Error></ErrorResponse>"));
    }
    let result = match action.as_str() {
        "AssumeRole" => {
            "<Credentials><AccessKeyId>AKIAROLE</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>\
             <Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>"
        }
        _ => {
            "<Arn>arn:aws:sts::123456789012:assumed-role/slipway/x</Arn><UserId>u</UserId><Account>123456789012</Account>"
        }
    };
    let text = format!(
        "<{action}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{action}Result>{result}</{action}Result></{action}Response>"
    );
    reply(200, "text/xml", text)
}

type Answer = Result<Value, (&'static str, String)>;

fn act(state: &Shared, action: &str, input: &Value, key: String) -> Answer {
    let mut state = state.lock().expect("lock");
    state.calls.push((action.to_owned(), input.clone(), key));
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
            let token = STANDARD.encode(format!("AWS:login-{}", state.logins));
            state.logins += 1;
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
        "DescribeImageScanFindings" => match state.scans.len() {
            0 => Err(("ScanNotFoundException", "no scan".into())),
            1 => Ok(state.scans[0].clone()),
            _ => Ok(state.scans.remove(0)),
        },
        "PutLifecyclePolicy" | "BatchCheckLayerAvailability" | "BatchDeleteImage" | "StartImageScan" => {
            Ok(json!({}))
        }
        "InitiateLayerUpload" => Ok(json!({ "uploadId": "up-1", "partSize": 10_485_760 })),
        "UploadLayerPart" | "CompleteLayerUpload" => upload(&mut state, &name, action, input),
        other => Err(("InvalidParameterException", format!("{other} is not played here"))),
    }
}

fn upload(state: &mut Ecr, name: &str, action: &str, input: &Value) -> Answer {
    let id = input["uploadId"].as_str().unwrap_or_default().to_owned();
    if action == "UploadLayerPart" {
        let part = STANDARD.decode(input["layerPartBlob"].as_str().unwrap_or_default()).expect("base64");
        let told = (input["partFirstByte"].as_u64(), input["partLastByte"].as_u64());
        assert_eq!(told, (Some(0), Some(part.len() as u64 - 1)));
        state.layers.insert(id, part);
        return Ok(json!({}));
    }
    let layer = state.layers.remove(&id).expect("something was sent");
    let text = String::from_utf8(layer).expect("text");
    let head = curl(&["-si", "-X", "POST", &format!("http://{}/v2/{name}/blobs/uploads/", state.host)]);
    let place = head.lines().find_map(|l| l.strip_prefix("Location: ")).expect("a place").trim();
    let digest = input["layerDigests"][0].as_str().unwrap_or_default();
    curl(&[
        "-sf",
        "-X",
        "PUT",
        "-H",
        "Content-Type: application/octet-stream",
        "--data-binary",
        &text,
        &format!("{place}&digest={digest}"),
    ]);
    Ok(json!({ "layerDigest": digest }))
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
    assert!(manifest(&state.host, name, tag).is_some(), "the registry took the manifest");
    Ok(json!({ "image": { "repositoryName": name, "imageId": { "imageTag": tag } } }))
}

/// The manifest that the registry has, and its digest.
pub(crate) fn manifest(host: &str, name: &str, tag: &str) -> Option<(String, String)> {
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
