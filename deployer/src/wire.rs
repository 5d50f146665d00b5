//! One call to the API server: bounded, timed, tried again while that can help, and never logged.
//!
//! kube's `Client` gives TLS, credentials and the pool; its own decoding is not used, because it writes bodies (and so
//! Secrets) into the log when they do not fit. Every call made here may be repeated: reads, server-side applies,
//! deletes bound to a uid, JSON patches bound to a resourceVersion.

use std::error::Error as StdError;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use kube::client::Body;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};

use crate::blame::Doubt;
use crate::kubeconfig::{Made, NoClient, Source};
use crate::limits::{
    ANSWER_BYTES_MAX, CALL_ATTEMPTS_MAX, CALL_PAUSE_MS_MAX, CALL_PAUSE_MS_MIN, CALL_RETRY_MS_MAX,
    CREDENTIAL_REST_S, MESSAGE_BYTES_MAX, cut,
};
use crate::redact::redact;
use crate::run::Timing;

/// The media type of a server-side apply. JSON is YAML.
pub(crate) const APPLY: &str = "application/apply-patch+yaml";
/// The media type of a JSON patch (RFC 6902).
pub(crate) const JSON_PATCH: &str = "application/json-patch+json";
/// The media type of a plain JSON body.
pub(crate) const JSON: &str = "application/json";

/// One request, without its place in the network.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) method: Method,
    /// Path and query, `/api/v1/…`.
    pub(crate) path: String,
    pub(crate) body: Bytes,
    pub(crate) content_type: &'static str,
    /// What a failure that looks like the cluster's may be the fault of.
    pub(crate) doubt: Doubt,
}

impl Call {
    pub(crate) fn get(path: impl Into<String>) -> Self {
        let (body, content_type, doubt) = (Bytes::new(), JSON, Doubt::None);
        Self { method: Method::GET, path: path.into(), body, content_type, doubt }
    }

    /// A read of one object, or of the kinds of one group.
    pub(crate) fn read(path: impl Into<String>) -> Self {
        Self { doubt: Doubt::Any, ..Self::get(path) }
    }
}

/// An answer of class 2xx.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
    /// Texts of `Warning` headers (RFC 7234 §5.5): deprecations and the like.
    pub(crate) warnings: Vec<String>,
}

impl Answer {
    pub(crate) fn object(&self) -> Result<Value, CallError> {
        serde_json::from_slice(&self.body).map_err(|e| CallError::Nonsense {
            // The error's text tells a place and a type, and no content.
            why: format!("an answer of {} bytes is not JSON ({:?} error)", self.body.len(), e.classify()),
        })
    }
}

/// What the API server says when it does not do what it is asked: `metav1.Status`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Refusal {
    pub(crate) code: u16,
    pub(crate) reason: String,
    pub(crate) message: String,
    pub(crate) details: Option<RefusalDetails>,
    #[serde(skip)]
    pub(crate) retry_after_ms: Option<u64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct RefusalDetails {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) causes: Vec<RefusalCause>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct RefusalCause {
    pub(crate) reason: String,
    pub(crate) message: String,
    pub(crate) field: String,
}

/// Why there is no answer to use.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// The cluster said no.
    #[error("{} {}", .0.code, .0.message)]
    Api(Box<Refusal>),
    /// No connection, no answer in time, or it broke off.
    #[error("{0}")]
    Down(String),
    /// An answer that is none.
    #[error("{why}")]
    Nonsense { why: String },
    /// It fails on this alone, and answers other calls.
    #[error("the API server fails on it and answers other calls: {0}")]
    Own(Box<CallError>),
}

impl CallError {
    /// True where the cluster's state is to blame, and not the request.
    pub(crate) fn is_infra(&self) -> bool {
        match self {
            Self::Api(r) => {
                r.code == 401 || r.code == 429 || (r.code >= 500 && !self.is_webhook() && !self.is_schema())
            }
            Self::Down(_) | Self::Nonsense { .. } => true,
            Self::Own(_) => false,
        }
    }

    pub(crate) fn code(&self) -> u16 {
        match self {
            Self::Api(r) => r.code,
            Self::Own(error) => error.code(),
            Self::Down(_) | Self::Nonsense { .. } => 0,
        }
    }

    /// 404 without an object's name: the API does not serve the kind (any more, or not yet).
    pub(crate) fn is_missing_kind(&self) -> bool {
        matches!(self, Self::Api(r) if r.code == 404 && r.details.as_ref().is_none_or(|d| d.name.is_empty()))
    }

    /// An admission webhook does not answer, often because the same push brings it.
    pub(crate) fn is_webhook(&self) -> bool {
        matches!(self, Self::Api(r) if r.code >= 500 && r.message.contains("calling webhook"))
    }

    /// The server's schema does not know a field or a type: a CRD that is not fully served yet, or a mistake.
    pub(crate) fn is_schema(&self) -> bool {
        matches!(self, Self::Api(r) if r.message.contains("not declared in schema")
            || r.message.contains("failed to create typed patch object")
            || r.message.contains("no corresponding type"))
    }

    /// A webhook that cannot be asked without consequence.
    pub(crate) fn is_no_dry_run(&self) -> bool {
        matches!(self, Self::Api(r) if r.code == 400 && r.message.contains("does not support dry run"))
    }
}

/// A cluster's API behind one pool and one limit of calls in flight.
pub(crate) struct Wire {
    source: Source,
    current: Mutex<Made>,
    /// Held by whoever fetches new credentials.
    renewing: tokio::sync::Mutex<()>,
    slots: Semaphore,
    /// How long one call may take.
    call: Duration,
}

impl Wire {
    /// Makes the client; its credentials may be fetched by an exec plugin.
    pub(crate) async fn open(source: Source, timing: &Timing) -> Result<Self, NoClient> {
        let current = Mutex::new(source.client().await?);
        Ok(Self {
            source,
            current,
            renewing: tokio::sync::Mutex::default(),
            slots: Semaphore::new(timing.calls_max),
            call: Duration::from_millis(timing.call_ms),
        })
    }

    /// The client, or a new one where its credentials are about to end: a deploy may take longer than they live.
    async fn client(&self) -> Result<kube::Client, CallError> {
        let current = || {
            let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
            is_fresh(current.until_s).then(|| current.client.clone())
        };
        if let Some(client) = current() {
            return Ok(client);
        }
        let _turn = self.renewing.lock().await;
        if let Some(client) = current() {
            return Ok(client);
        }
        let made = self.source.client().await.map_err(|e| match e {
            NoClient::Denied(why) | NoClient::Unusable(why) => {
                CallError::Down(format!("of the kubeconfig: {why}"))
            }
        })?;
        let client = made.client.clone();
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = made;
        Ok(client)
    }

    /// Calls, and tries again on silence, 429 and 5xx: at most [`CALL_ATTEMPTS_MAX`] times and for
    /// [`CALL_RETRY_MS_MAX`].
    pub(crate) async fn call(&self, call: &Call) -> Result<Answer, CallError> {
        let started = Instant::now();
        let mut pause_ms = CALL_PAUSE_MS_MIN;
        let mut attempt = 1;
        loop {
            let error = match self.once(call).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let wait_ms = match &error {
                CallError::Api(r) => r.retry_after_ms.unwrap_or(pause_ms).clamp(pause_ms, CALL_PAUSE_MS_MAX),
                _ => pause_ms,
            };
            let late =
                started.elapsed() + Duration::from_millis(wait_ms) > Duration::from_millis(CALL_RETRY_MS_MAX);
            if late || attempt >= CALL_ATTEMPTS_MAX || !worth_another(&error) {
                return Err(error);
            }
            attempt += 1;
            sleep(Duration::from_millis(wait_ms)).await;
            pause_ms = (pause_ms * 2).min(CALL_PAUSE_MS_MAX);
        }
    }

    /// Calls once, whatever comes of it.
    pub(crate) async fn once(&self, call: &Call) -> Result<Answer, CallError> {
        let closed = |_| CallError::Down("the connection is closing".into());
        let _slot = self.slots.acquire().await.map_err(closed)?;
        let request = Request::builder()
            .method(call.method.clone())
            .uri(&call.path)
            .header(header::ACCEPT, "application/json, */*")
            .header(header::CONTENT_TYPE, call.content_type)
            .body(Body::from(call.body.to_vec()))
            .map_err(|e| CallError::Nonsense { why: format!("the request cannot be made: {e}") })?;
        let exchange = async {
            let client = self.client().await?;
            let response = client.send(request).await.map_err(|e| CallError::Down(cause_of(&e)))?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX)
                .collect()
                .await
                .map_err(|e| CallError::Down(deepest(e.as_ref())))?
                .to_bytes();
            Ok((head, body))
        };
        let (head, body) = timeout(self.call, exchange)
            .await
            .map_err(|_| CallError::Down(format!("no answer within {} seconds", self.call.as_secs())))??;
        if head.status.is_success() {
            return Ok(Answer { status: head.status, body, warnings: warnings(&head.headers) });
        }
        Err(CallError::Api(Box::new(refusal(&head, &body))))
    }
}

/// False where credentials end within [`CREDENTIAL_REST_S`].
fn is_fresh(until_s: Option<i64>) -> bool {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    until_s.is_none_or(|until| until > now.saturating_add(CREDENTIAL_REST_S))
}

fn worth_another(error: &CallError) -> bool {
    match error {
        CallError::Api(r) => {
            (r.code == 429 || r.code >= 500) && !error.is_webhook() && !error.is_schema() && r.code != 501
        }
        CallError::Down(_) => true,
        CallError::Nonsense { .. } | CallError::Own(_) => false,
    }
}

fn refusal(head: &http::response::Parts, body: &[u8]) -> Refusal {
    let mut refusal: Refusal = serde_json::from_slice(body).unwrap_or_default();
    refusal.code = head.status.as_u16();
    if refusal.message.is_empty() {
        refusal.message = format!("HTTP {}", head.status);
    }
    redact(&mut refusal);
    refusal.message = cut(&refusal.message, MESSAGE_BYTES_MAX);
    let seconds = head.headers.get(header::RETRY_AFTER).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    refusal.retry_after_ms = seconds.map(|s| s.saturating_mul(1000));
    refusal
}

/// `299 - "text"` → `text`.
fn warnings(headers: &http::HeaderMap) -> Vec<String> {
    let texts = headers.get_all(header::WARNING).iter().filter_map(|v| v.to_str().ok());
    texts
        .filter_map(|w| Some(w.split_once('"')?.1.rsplit_once('"')?.0.replace("\\\"", "\"")))
        .take(10)
        .map(|w| cut(&w, MESSAGE_BYTES_MAX))
        .collect()
}

/// A client error in a few words. An exec plugin's output is never shown: credentials go there.
fn cause_of(error: &kube::Error) -> String {
    let mut at: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(e) = at {
        if let Some(auth) = e.downcast_ref::<kube::client::AuthError>() {
            return auth_words(auth);
        }
        at = e.source();
    }
    deepest(error)
}

/// An authentication error in words that hold no credentials.
pub(crate) fn auth_words(error: &kube::client::AuthError) -> String {
    use kube::client::AuthError as E;
    match error {
        E::ReadTokenFile(e, path) => format!("the token file {} cannot be read: {e}", path.display()),
        _ => "the kubeconfig's credentials cannot be used".to_owned(),
    }
}

/// The innermost cause: `connection refused` says more than `client error (Connect)`.
pub(crate) fn deepest(error: &(dyn StdError + 'static)) -> String {
    let mut at = error;
    while let Some(next) = at.source() {
        at = next;
    }
    cut(&at.to_string(), 300)
}
