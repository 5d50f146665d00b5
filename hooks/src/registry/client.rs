//! A small client of the OCI distribution API: ping, manifest by tag, put manifest; Basic and Bearer logins.
//!
//! Plain HTTP is spoken only where it is allowed, and a password is sent only after the registry has asked for it.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, LOCATION, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use sha2::{Digest as _, Sha256};
use slipway_core::Digest;
use tokio::sync::Mutex;

use super::Manifest;
use crate::engine::session::Login;
use crate::error::{HookError, one_line};
use crate::limits::{
    AUTHORITIES_MAX, MANIFEST_BYTES_MAX, REGISTRY_BODY_BYTES_MAX, REGISTRY_PAUSE_MAX, REGISTRY_PAUSES_MAX,
};

mod auth;
mod blob;
mod tls;

pub(crate) use self::auth::REFRESH_TOKEN;
pub use self::tls::check_ca;
use self::tls::connector;

type Http = hyper_util::client::legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// What a manifest may be.
const MANIFEST_TYPES: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json";

/// The client. Follows no redirect: a login would go with it.
#[derive(Debug)]
pub(crate) struct Client {
    /// One for each set of authorities that are believed besides the system's; made when first needed.
    http: Mutex<Vec<(Option<String>, Http)>>,
    /// How long one request may take.
    timeout: Duration,
}

/// One repository of one registry.
#[derive(Clone, Debug)]
pub(crate) struct Repository {
    /// `HOST[:PORT]`.
    pub(crate) host: String,
    /// Path, prefix included.
    pub(crate) path: String,
    pub(crate) login: Option<Login>,
    pub(crate) plain_allowed: bool,
    /// Authorities that are believed besides the system's, in PEM.
    pub(crate) ca: Option<String>,
    /// The scheme that it speaks, once it was found out: for as long as this way is open.
    pub(crate) spoken: Arc<OnceLock<&'static str>>,
}

/// An answer, read whole.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

/// What is asked; the address without its scheme and host.
struct Ask<'a> {
    method: Method,
    path: String,
    /// For people: "the manifest of …".
    action: String,
    headers: Vec<(http::HeaderName, &'a str)>,
    body: Bytes,
    body_max: usize,
}

impl Client {
    pub(crate) fn new(timeout: Duration) -> Self {
        Self { http: Mutex::default(), timeout }
    }

    /// Whether the registry answers and takes the login; the scheme it speaks.
    pub(crate) async fn check(&self, repository: &Repository) -> Result<&'static str, HookError> {
        let (scheme, greeting) = self.greet(repository).await?;
        let ask = Ask::new(Method::GET, "/v2/".into(), "the login".into());
        let answer = self.authorised(repository, scheme, &ask, greeting).await?;
        match answer.status {
            StatusCode::OK => Ok(scheme),
            _ => Err(refusal(repository, &ask, &answer)),
        }
    }

    /// Whether the registry answers at all; the scheme it speaks.
    pub(crate) async fn scheme(&self, repository: &Repository) -> Result<&'static str, HookError> {
        if let Some(scheme) = repository.spoken.get() {
            return Ok(scheme);
        }
        let (scheme, _) = self.greet(repository).await?;
        Ok(repository.spoken.get_or_init(|| scheme))
    }

    /// The manifest that `tag` names, verified against its digest; `None` if there is none.
    pub(crate) async fn manifest(
        &self,
        repository: &Repository,
        tag: &str,
    ) -> Result<Option<Manifest>, HookError> {
        let scheme = self.scheme(repository).await?;
        let path = format!("/v2/{}/manifests/{tag}", repository.path);
        let mut ask = Ask::new(Method::GET, path, format!("the manifest of {}:{tag}", repository.path));
        ask.headers.push((ACCEPT, MANIFEST_TYPES));
        ask.body_max = MANIFEST_BYTES_MAX;
        let answer = self.ask(repository, scheme, &ask).await?;
        match answer.status {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            _ => return Err(refusal(repository, &ask, &answer)),
        }
        let digest = digest_of(&answer.body);
        let told = answer.headers.get("docker-content-digest").and_then(|v| v.to_str().ok());
        if told.is_some_and(|told| told != digest.as_str()) {
            let message = format!(
                "a manifest whose digest is {digest} and not, as it says, {}",
                one_line(told.unwrap_or_default())
            );
            return Err(HookError::RegistryBroken {
                host: repository.host.clone(),
                action: ask.action,
                message,
            });
        }
        let media_type =
            answer.headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
        Ok(Some(Manifest { media_type, bytes: answer.body.to_vec(), digest }))
    }

    /// Makes `tag` name the manifest. Its layers must be there already.
    pub(crate) async fn put_manifest(
        &self,
        repository: &Repository,
        tag: &str,
        manifest: &Manifest,
    ) -> Result<(), HookError> {
        let scheme = self.scheme(repository).await?;
        let path = format!("/v2/{}/manifests/{tag}", repository.path);
        let mut ask = Ask::new(Method::PUT, path, format!("the tag {tag} for {}", repository.path));
        ask.headers.push((CONTENT_TYPE, &manifest.media_type));
        ask.body = manifest.bytes.clone().into();
        let answer = self.ask(repository, scheme, &ask).await?;
        if answer.status.is_success() { Ok(()) } else { Err(refusal(repository, &ask, &answer)) }
    }

    /// Begins an upload, and ends it at once.
    pub(crate) async fn try_upload(&self, repository: &Repository) -> Result<(), HookError> {
        let scheme = self.scheme(repository).await?;
        let place = self.begin_upload(repository, scheme).await?;
        let end = Ask::new(Method::DELETE, place, format!("the end of an upload to {}", repository.path));
        // Registries need not know how; they forget uploads that stand still.
        self.ask(repository, scheme, &end).await.map(drop)
    }

    /// Stores bytes under their digest.
    pub(crate) async fn put_blob(&self, repository: &Repository, bytes: Vec<u8>) -> Result<(), HookError> {
        let scheme = self.scheme(repository).await?;
        let place = self.begin_upload(repository, scheme).await?;
        let sign = if place.contains('?') { '&' } else { '?' };
        let path = format!("{place}{sign}digest={}", digest_of(&bytes));
        let mut ask = Ask::new(Method::PUT, path, format!("an upload to {}", repository.path));
        ask.headers.push((CONTENT_TYPE, "application/octet-stream"));
        ask.body = bytes.into();
        let answer = self.ask(repository, scheme, &ask).await?;
        if answer.status.is_success() { Ok(()) } else { Err(refusal(repository, &ask, &answer)) }
    }

    /// Removes the manifest of that digest.
    pub(crate) async fn remove_manifest(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<(), HookError> {
        let scheme = self.scheme(repository).await?;
        let path = format!("/v2/{}/manifests/{digest}", repository.path);
        let ask = Ask::new(Method::DELETE, path, format!("the removal of {}@{digest}", repository.path));
        let answer = self.ask(repository, scheme, &ask).await?;
        if answer.status.is_success() { Ok(()) } else { Err(refusal(repository, &ask, &answer)) }
    }

    /// Begins an upload; the path at which it goes on.
    async fn begin_upload(&self, repository: &Repository, scheme: &str) -> Result<String, HookError> {
        let path = format!("/v2/{}/blobs/uploads/", repository.path);
        let ask = Ask::new(Method::POST, path, format!("an upload to {}", repository.path));
        let answer = self.ask(repository, scheme, &ask).await?;
        if answer.status != StatusCode::ACCEPTED {
            return Err(refusal(repository, &ask, &answer));
        }
        let location = answer.headers.get(LOCATION).and_then(|v| v.to_str().ok()).unwrap_or_default();
        place(repository, scheme, location).ok_or_else(|| HookError::RegistryBroken {
            host: repository.host.clone(),
            action: ask.action.clone(),
            message: format!("the address {} to go on at, which is not its own", one_line(location)),
        })
    }

    /// `https`, or `http` where that is allowed and nothing else is answered; and what was answered.
    async fn greet(&self, repository: &Repository) -> Result<(&'static str, Answer), HookError> {
        let ask = Ask::new(Method::GET, "/v2/".into(), "the greeting".into());
        match self.send(repository, "https", &ask, None).await {
            Ok(answer) => Ok(("https", answer)),
            Err(_) if repository.plain_allowed => {
                self.send(repository, "http", &ask, None).await.map(|answer| ("http", answer))
            }
            Err(e) => Err(e),
        }
    }

    /// Asks, and asks again with a login if the registry wants one.
    async fn ask(&self, repository: &Repository, scheme: &str, ask: &Ask<'_>) -> Result<Answer, HookError> {
        let first = self.send(repository, scheme, ask, None).await?;
        self.authorised(repository, scheme, ask, first).await
    }

    /// Sends, and sends again where the registry asks for a little patience.
    async fn send(
        &self,
        repository: &Repository,
        scheme: &str,
        ask: &Ask<'_>,
        authorization: Option<HeaderValue>,
    ) -> Result<Answer, HookError> {
        for _ in 0..REGISTRY_PAUSES_MAX {
            let answer = self.send_once(repository, scheme, ask, authorization.clone()).await?;
            let Some(pause) = pause(answer.status, &answer.headers) else { return Ok(answer) };
            tokio::time::sleep(pause).await;
        }
        self.send_once(repository, scheme, ask, authorization).await
    }

    async fn send_once(
        &self,
        repository: &Repository,
        scheme: &str,
        ask: &Ask<'_>,
        authorization: Option<HeaderValue>,
    ) -> Result<Answer, HookError> {
        let down = |why: String| HookError::RegistryDown { host: repository.host.clone(), why };
        let mut request = Request::builder()
            .method(ask.method.clone())
            .uri(format!("{scheme}://{}{}", repository.host, ask.path));
        for (name, value) in &ask.headers {
            request = request.header(name, *value);
        }
        if let Some(value) = authorization {
            request = request.header(AUTHORIZATION, value);
        }
        let request = request.body(Full::new(ask.body.clone())).map_err(|e| down(e.to_string()))?;
        let sending = async {
            let response = self
                .http(repository.ca.as_deref())
                .await
                .request(request)
                .await
                .map_err(|e| down(deepest(&e)))?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, ask.body_max)
                .collect()
                .await
                .map_err(|e| down(one_line(&e.to_string())))?;
            Ok(Answer { status: head.status, headers: head.headers, body: body.to_bytes() })
        };
        tokio::time::timeout(self.timeout, sending)
            .await
            .unwrap_or_else(|_| Err(down(format!("no answer within {} s", self.timeout.as_secs()))))
    }

    async fn http(&self, ca: Option<&str>) -> Http {
        let mut known = self.http.lock().await;
        if let Some((_, http)) = known.iter().find(|(of, _)| of.as_deref() == ca) {
            return http.clone();
        }
        // Reads the system's certificates.
        let of = ca.map(str::to_owned);
        let made = tokio::task::spawn_blocking(move || connector(of.as_deref())).await;
        let http = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
            .pool_idle_timeout(self.timeout)
            .pool_max_idle_per_host(4)
            .build(made.unwrap_or_else(|_| connector(ca)));
        if known.len() >= AUTHORITIES_MAX {
            known.remove(0);
        }
        known.push((ca.map(str::to_owned), http.clone()));
        http
    }
}

impl Ask<'_> {
    fn new(method: Method, path: String, action: String) -> Self {
        Self {
            method,
            path,
            action,
            headers: Vec::new(),
            body: Bytes::new(),
            body_max: REGISTRY_BODY_BYTES_MAX,
        }
    }
}

/// How long the registry wants to be left alone, where that is short enough to wait for.
fn pause(status: StatusCode, headers: &HeaderMap) -> Option<Duration> {
    let told = headers.get(RETRY_AFTER).map(|v| v.to_str().ok().and_then(|t| t.trim().parse().ok()));
    let seconds = match (status, told) {
        (StatusCode::TOO_MANY_REQUESTS, None | Some(None)) => 2,
        (StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE, Some(Some(seconds))) => seconds,
        _ => return None,
    };
    Some(Duration::from_secs(seconds)).filter(|pause| *pause <= REGISTRY_PAUSE_MAX)
}

/// The path of an address that a registry names, if it is its own.
fn place(repository: &Repository, scheme: &str, location: &str) -> Option<String> {
    let path = match location.strip_prefix(&format!("{scheme}://{}", repository.host)) {
        Some(path) => path,
        None => location,
    };
    (path.starts_with('/') && !path.starts_with("//")).then(|| path.to_owned())
}

pub(crate) fn digest_of(bytes: &[u8]) -> Digest {
    let text =
        format!("sha256:{}", Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect::<String>());
    Digest::parse(&text).expect("64 digits were just written")
}

/// What an answer that is not a success means.
fn refusal(repository: &Repository, ask: &Ask<'_>, answer: &Answer) -> HookError {
    let (host, action) = (repository.host.clone(), ask.action.clone());
    let message = error_message(answer);
    let cure = match &repository.login {
        Some(_) => {
            "Check the name and password of the registry and what they may do: slipway registry add replaces them."
        }
        None => "The registry wants a login: record it with --username and --password-file.",
    };
    match answer.status.as_u16() {
        401 | 403 => HookError::RegistryDenied { host, action, message, cure: cure.into() },
        429 | 500..=599 => {
            HookError::RegistryDown { host, why: format!("{action} was answered with {message}") }
        }
        _ => HookError::RegistryBroken { host, action, message },
    }
}

/// The first error of the distribution specification's error body, or the status.
fn error_message(answer: &Answer) -> String {
    #[derive(serde::Deserialize)]
    struct One {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    #[derive(serde::Deserialize)]
    struct Errors {
        errors: Vec<One>,
    }
    let status = format!("status {}", answer.status.as_u16());
    match serde_json::from_slice::<Errors>(&answer.body).ok().and_then(|e| e.errors.into_iter().next()) {
        Some(e) => one_line(&format!("{status}, {} {}", e.code, e.message)),
        None => status,
    }
}

fn deepest(e: &dyn std::error::Error) -> String {
    let mut inner = e;
    while let Some(source) = inner.source() {
        inner = source;
    }
    one_line(&inner.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_sha256_of_the_bytes() {
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(digest_of(b"").as_str(), empty);
    }
    #[test]
    fn a_short_pause_is_waited_for() {
        let asked = |status: u16, after: Option<&str>| {
            let mut headers = HeaderMap::new();
            if let Some(after) = after {
                headers.insert(RETRY_AFTER, after.parse().expect("a value"));
            }
            pause(StatusCode::from_u16(status).expect("a status"), &headers).map(|p| p.as_secs())
        };
        assert_eq!(asked(429, Some("7")), Some(7));
        assert_eq!(asked(429, None), Some(2));
        assert_eq!(asked(429, Some("Wed, 21 Oct 2026 07:28:00 GMT")), Some(2));
        assert_eq!(asked(503, Some("1")), Some(1));
        assert_eq!(asked(503, None), None, "a registry that is down is left to the build's own retries");
        assert_eq!(asked(429, Some("3600")), None);
        assert_eq!(asked(200, Some("1")), None);
    }

    #[test]
    fn an_upload_goes_on_with_the_same_registry_alone() {
        let repository = Repository {
            host: "r.example:5000".into(),
            path: "a".into(),
            login: None,
            plain_allowed: false,
            ca: None,
            spoken: Arc::default(),
        };
        let at = |location: &str| place(&repository, "https", location);
        assert_eq!(at("/v2/a/blobs/uploads/1?state=x").as_deref(), Some("/v2/a/blobs/uploads/1?state=x"));
        assert_eq!(at("https://r.example:5000/v2/u").as_deref(), Some("/v2/u"));
        for other in ["https://evil.example/v2/u", "http://r.example:5000/v2/u", "//evil.example/u", "u", ""]
        {
            assert_eq!(at(other), None, "{other}");
        }
    }
}
