//! A small client of the OCI distribution API: ping, manifest by tag, put manifest; Basic and Bearer logins.
//!
//! Plain HTTP is spoken only where it is allowed, and a password is sent only after the registry has asked for it.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest as _, Sha256};
use slipway_core::Digest;
use tokio::sync::OnceCell;

use super::Manifest;
use crate::engine::session::Login;
use crate::error::{HookError, one_line};
use crate::limits::{MANIFEST_BYTES_MAX, REGISTRY_BODY_BYTES_MAX, REGISTRY_CONNECT};

type Http = hyper_util::client::legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// What a manifest may be.
const MANIFEST_TYPES: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json";

/// The client. Its TLS roots are loaded when first needed.
#[derive(Debug)]
pub(crate) struct Client {
    http: OnceCell<Http>,
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
        Self { http: OnceCell::new(), timeout }
    }

    /// Whether the registry answers and takes the login; the scheme it speaks.
    pub(crate) async fn check(&self, repository: &Repository) -> Result<&'static str, HookError> {
        let scheme = self.scheme(repository).await?;
        let ask = Ask::new(Method::GET, "/v2/".into(), "the login".into());
        let answer = self.ask(repository, scheme, &ask).await?;
        match answer.status {
            StatusCode::OK => Ok(scheme),
            _ => Err(refusal(repository, &ask, &answer)),
        }
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

    /// `https`, or `http` where that is allowed and nothing else is answered.
    async fn scheme(&self, repository: &Repository) -> Result<&'static str, HookError> {
        let ask = Ask::new(Method::GET, "/v2/".into(), "the greeting".into());
        match self.send(repository, "https", &ask, None).await {
            Ok(_) => Ok("https"),
            Err(_) if repository.plain_allowed => {
                self.send(repository, "http", &ask, None).await.map(|_| "http")
            }
            Err(e) => Err(e),
        }
    }

    /// Asks, and asks again with a login if the registry wants one.
    async fn ask(&self, repository: &Repository, scheme: &str, ask: &Ask<'_>) -> Result<Answer, HookError> {
        let first = self.send(repository, scheme, ask, None).await?;
        if first.status != StatusCode::UNAUTHORIZED {
            return Ok(first);
        }
        let challenge = first.headers.get(WWW_AUTHENTICATE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let Some(authorization) = self.authorization(repository, challenge, ask).await? else {
            return Ok(first);
        };
        self.send(repository, scheme, ask, Some(authorization)).await
    }

    async fn authorization(
        &self,
        repository: &Repository,
        challenge: &str,
        ask: &Ask<'_>,
    ) -> Result<Option<HeaderValue>, HookError> {
        let (kind, parameters) = challenge.split_once(' ').unwrap_or((challenge, ""));
        if kind.eq_ignore_ascii_case("basic") {
            return Ok(repository.login.as_ref().and_then(basic));
        }
        if !kind.eq_ignore_ascii_case("bearer") {
            return Ok(None);
        }
        let broken = |message: String| HookError::RegistryBroken {
            host: repository.host.clone(),
            action: ask.action.clone(),
            message,
        };
        let realm = parameter(parameters, "realm").unwrap_or_default();
        let realm: http::Uri = realm.parse().map_err(|_| broken("a login address that is none".into()))?;
        let plain = realm.scheme_str() == Some("http");
        if realm.scheme_str() != Some("https") && !(plain && repository.plain_allowed) {
            return Err(broken(format!("the login address {realm}, which is not https")));
        }
        let token = self.token(repository, &realm, parameters, ask).await?;
        let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
            .map_err(|_| broken("a token that is none".into()))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    /// The token protocol of the distribution project: `GET realm?service=…&scope=…` with Basic.
    async fn token(
        &self,
        repository: &Repository,
        realm: &http::Uri,
        parameters: &str,
        ask: &Ask<'_>,
    ) -> Result<String, HookError> {
        #[derive(serde::Deserialize)]
        struct Token {
            token: Option<String>,
            access_token: Option<String>,
        }
        let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let scope = match parameter(parameters, "scope") {
            Some(scope) => scope,
            None if repository.path.is_empty() => String::new(),
            None => format!("repository:{}:pull,push", repository.path),
        };
        let mut path = realm.path().to_owned();
        path.push_str(&format!("?{}", realm.query().map(|q| format!("{q}&")).unwrap_or_default()));
        path.push_str(&format!("service={}", encoded(&parameter(parameters, "service").unwrap_or_default())));
        if !scope.is_empty() {
            path.push_str(&format!("&scope={}", encoded(&scope)));
        }
        let issuer = Repository {
            host: realm.authority().map(|a| a.as_str().to_owned()).unwrap_or_default(),
            ..repository.clone()
        };
        let token_ask = Ask::new(Method::GET, path, format!("a token for {}", ask.action));
        let scheme = realm.scheme_str().unwrap_or("https");
        let answer =
            self.send(&issuer, scheme, &token_ask, repository.login.as_ref().and_then(basic)).await?;
        if !answer.status.is_success() {
            return Err(refusal(&issuer, &token_ask, &answer));
        }
        let token: Option<Token> = serde_json::from_slice(&answer.body).ok();
        token.and_then(|t| t.token.or(t.access_token)).ok_or_else(|| HookError::RegistryBroken {
            host: issuer.host,
            action: token_ask.action,
            message: "an answer without a token".into(),
        })
    }

    async fn send(
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
            let response = self.http().await.request(request).await.map_err(|e| down(deepest(&e)))?;
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

    async fn http(&self) -> &Http {
        self.http
            .get_or_init(|| async {
                // Reads the system's certificates.
                let connector = tokio::task::spawn_blocking(connector).await.unwrap_or_else(|_| connector());
                hyper_util::client::legacy::Client::builder(TokioExecutor::new())
                    .pool_idle_timeout(self.timeout)
                    .pool_max_idle_per_host(4)
                    .build(connector)
            })
            .await
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

fn connector() -> HttpsConnector<HttpConnector> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_connect_timeout(Some(REGISTRY_CONNECT));
    tcp.set_nodelay(true);
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let with_roots = HttpsConnectorBuilder::new().with_provider_and_native_roots(provider);
    let builder = match with_roots {
        Ok(builder) => builder,
        Err(e) => {
            tracing::warn!(error = %e, "no system certificates; only plain-HTTP registries can be spoken to");
            let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let config = rustls::ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .expect("the provider has the default protocol versions")
                .with_root_certificates(rustls::RootCertStore::empty())
                .with_no_client_auth();
            HttpsConnectorBuilder::new().with_tls_config(config)
        }
    };
    builder.https_or_http().enable_http1().wrap_connector(tcp)
}

fn basic(login: &Login) -> Option<HeaderValue> {
    let text = STANDARD.encode(format!("{}:{}", login.username, login.password.expose()));
    let mut value = HeaderValue::from_str(&format!("Basic {text}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// One `name="value"` of a challenge.
fn parameter(parameters: &str, name: &str) -> Option<String> {
    let mut rest = parameters;
    while let Some((key, after)) = rest.split_once('=') {
        let (value, next) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => after.split_once(',').unwrap_or((after, "")),
        };
        if key.trim_matches([' ', ',']).eq_ignore_ascii_case(name) {
            return Some(value.to_owned());
        }
        rest = next;
    }
    None
}

pub(super) fn digest_of(bytes: &[u8]) -> Digest {
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
    fn a_challenge_is_read() {
        let text = r#"realm="https://auth.example/token",service="registry.example",scope="repository:a/b:pull,push""#;
        assert_eq!(parameter(text, "realm").as_deref(), Some("https://auth.example/token"));
        assert_eq!(parameter(text, "service").as_deref(), Some("registry.example"));
        assert_eq!(parameter(text, "scope").as_deref(), Some("repository:a/b:pull,push"));
        assert_eq!(parameter(text, "nothing"), None);
        assert_eq!(parameter("realm=x, service=y", "service").as_deref(), Some("y"));
    }

    #[test]
    fn a_digest_is_sha256_of_the_bytes() {
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(digest_of(b"").as_str(), empty);
    }
}
