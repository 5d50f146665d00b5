//! Amazon ECR: logins that expire, repositories that must exist, tags by API. The only user of the AWS SDK.

use std::time::{Duration, SystemTime};

use aws_sdk_ecr::Client as EcrClient;
use aws_sdk_ecr::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ecr::types::{ImageFailureCode, ImageIdentifier};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use slipway_core::target::{Registry, RepositoryTemplate, Severity};
use slipway_core::{Digest, Secret};
use tokio::sync::{Mutex, OnceCell};
use tokio::time::Instant;

use super::Manifest;
use super::client::digest_of;
use crate::engine::session::Login;
use crate::error::{HookError, one_line};
use crate::limits::{CAUSES_MAX, ECR_LOGIN_KEPT_MAX, ECR_LOGIN_KEPT_MIN};

mod identity;
mod probe;
mod repository;
mod scan;

use self::identity::{Clients, Identity};
pub(crate) use self::repository::There;
pub(crate) use self::scan::Scan;

const MANIFEST_TYPES: [&str; 4] = [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];

/// One identity in one region.
#[derive(Debug)]
pub(crate) struct Ecr {
    identity: Identity,
    clients: OnceCell<Clients>,
    login: Mutex<Option<(Login, Instant)>>,
}

impl Ecr {
    /// Takes the registry's record; connects to nothing yet. `endpoint` is where ECR and STS are, for all registries.
    pub(crate) fn new(
        registry: &Registry,
        password: Option<Secret>,
        endpoint: Option<String>,
    ) -> Result<Self, HookError> {
        let settings =
            |why: &str| HookError::RegistrySettings { name: registry.name.to_string(), why: why.into() };
        let region =
            registry.region.clone().filter(|r| !r.is_empty()).ok_or_else(|| settings("has no region"))?;
        let keys = match (registry.username.clone(), password) {
            (Some(id), Some(secret)) => Some((id, secret)),
            (Some(_), None) => return Err(settings("has an access key id but no secret access key")),
            (None, _) => None,
        };
        let identity = Identity { region, keys, settings: registry.ecr.clone(), endpoint };
        Ok(Self { identity, clients: OnceCell::new(), login: Mutex::default() })
    }

    /// True if it is the same identity in the same place.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.identity == other.identity
    }

    pub(crate) fn region(&self) -> &str {
        &self.identity.region
    }

    pub(crate) fn template(&self) -> &RepositoryTemplate {
        &self.identity.settings.repositories
    }

    pub(crate) fn scan_gate(&self) -> Option<Severity> {
        self.identity.settings.scan_gate
    }

    /// The role that is assumed, if any.
    pub(crate) fn role(&self) -> Option<&str> {
        self.identity.settings.assume_role.as_deref()
    }

    async fn clients(&self) -> &Clients {
        // Boxed, as all that is large here: a chain of such futures outgrows a thread's stack.
        self.clients.get_or_init(|| Box::pin(self.identity.clients())).await
    }

    async fn client(&self) -> &EcrClient {
        &self.clients().await.ecr
    }

    /// Gets credentials anew; the access key id that they have.
    pub(crate) async fn credentials(&self) -> Result<String, HookError> {
        self.clients().await.credentials().await.map_err(|message| HookError::NoCredentials {
            role: self.role().map(str::to_owned),
            passing: !speaks_of_denial(&message),
            message,
        })
    }

    /// A login for the account's registry, from the cache while it is young enough. One fetch at a time.
    pub(crate) async fn login(&self) -> Result<Login, HookError> {
        let mut cached = self.login.lock().await;
        if let Some((login, until)) = &*cached
            && Instant::now() < *until
        {
            return Ok(login.clone());
        }
        const ACTION: &str = "ecr:GetAuthorizationToken";
        let answer = self
            .client()
            .await
            .get_authorization_token()
            .send()
            .await
            .map_err(|e| self.failure(ACTION, &e))?;
        let data = answer.authorization_data().first();
        let broken = |message: &str| HookError::Aws {
            action: ACTION,
            region: self.region().to_owned(),
            message: message.into(),
            passing: true,
        };
        let token =
            data.and_then(|d| d.authorization_token()).ok_or_else(|| broken("the answer has no token"))?;
        let text = STANDARD.decode(token).ok().and_then(|t| String::from_utf8(t).ok());
        let (username, password) = text
            .as_deref()
            .and_then(|t| t.split_once(':'))
            .ok_or_else(|| broken("the token is not base64 of a name and a password"))?;
        let login = Login { username: username.to_owned(), password: Secret::new(password) };
        let expires = data.and_then(|d| d.expires_at()).and_then(|at| SystemTime::try_from(*at).ok());
        *cached = Some((login.clone(), Instant::now() + kept_for(expires, SystemTime::now())));
        Ok(login)
    }

    /// The next [`Ecr::login`] fetches a new one, unless somebody has done so since this one was given out.
    pub(crate) async fn forget_login(&self, refused: &Login) {
        let mut cached = self.login.lock().await;
        if cached.as_ref().is_some_and(|(login, _)| login.password == refused.password) {
            *cached = None;
        }
    }

    /// A new login, whatever there is.
    pub(crate) async fn new_login(&self) -> Result<Login, HookError> {
        *self.login.lock().await = None;
        self.login().await
    }

    /// The manifest of that tag or digest, if there is one.
    pub(crate) async fn manifest(
        &self,
        repository: &str,
        named: &str,
    ) -> Result<Option<Manifest>, HookError> {
        const ACTION: &str = "ecr:BatchGetImage";
        let mut request = self.client().await.batch_get_image().repository_name(repository);
        let id = ImageIdentifier::builder();
        let id = if named.starts_with("sha256:") { id.image_digest(named) } else { id.image_tag(named) };
        request = request.image_ids(id.build());
        for media_type in MANIFEST_TYPES {
            request = request.accepted_media_types(media_type);
        }
        let answer = request.send().await.map_err(|e| self.failure(ACTION, &e))?;
        // Misses do not raise: they are listed.
        if let Some(failure) = answer.failures().first() {
            if failure.failure_code() == Some(&ImageFailureCode::ImageNotFound) {
                return Ok(None);
            }
            return Err(self.broken(ACTION, failure.failure_reason().unwrap_or("a failure without a reason")));
        }
        let Some(image) = answer.images().first() else { return Ok(None) };
        let bytes = image.image_manifest().unwrap_or_default().as_bytes().to_vec();
        let digest = digest_of(&bytes);
        let told = image.image_id().and_then(|i| i.image_digest()).unwrap_or_default();
        if Digest::parse(told).as_ref() != Ok(&digest) {
            return Err(self
                .broken(ACTION, &format!("the manifest's digest is {digest} and not, as it says, {told}")));
        }
        let media_type = image.image_manifest_media_type().unwrap_or(MANIFEST_TYPES[2]).to_owned();
        Ok(Some(Manifest { media_type, bytes, digest }))
    }

    /// Makes the tag name the manifest.
    pub(crate) async fn tag(
        &self,
        repository: &str,
        image: &str,
        tag: &str,
        manifest: &Manifest,
    ) -> Result<(), HookError> {
        let text = String::from_utf8_lossy(&manifest.bytes);
        let client = self.client().await;
        let sent = client
            .put_image()
            .repository_name(repository)
            .image_tag(tag)
            .image_manifest(text)
            .image_manifest_media_type(&manifest.media_type)
            .image_digest(manifest.digest.as_str())
            .send()
            .await;
        match sent {
            Ok(_) => Ok(()),
            Err(e) if e.as_service_error().is_some_and(|s| s.is_image_already_exists_exception()) => Ok(()),
            Err(e) if e.as_service_error().is_some_and(|s| s.is_image_tag_already_exists_exception()) => {
                Err(HookError::TagImmutable { image: image.to_owned(), tag: tag.to_owned() })
            }
            Err(e) => Err(self.failure("ecr:PutImage", &e)),
        }
    }

    fn broken(&self, action: &'static str, message: &str) -> HookError {
        HookError::Aws { action, region: self.region().to_owned(), message: one_line(message), passing: true }
    }

    fn failure<E, R>(&self, action: &'static str, e: &SdkError<E, R>) -> HookError
    where
        SdkError<E, R>: std::error::Error + ProvideErrorMetadata,
    {
        let (message, passing) = match (e.code(), e.message()) {
            (Some(code), words) => {
                (one_line(&format!("{code}, {}", words.unwrap_or("without more words"))), is_passing(code))
            }
            (None, _) => {
                let words = words_of(e);
                let passing = !matches!(e, SdkError::ConstructionFailure(_)) && !speaks_of_denial(&words);
                (words, passing)
            }
        };
        HookError::Aws { action, region: self.region().to_owned(), message, passing }
    }
}

/// The words of an error and of what is behind it. (The SDK's own form of that ends with all that it has, answers of
/// servers that give credentials among it.)
fn words_of(e: &dyn std::error::Error) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut next = Some(e);
    while let Some(e) = next.filter(|_| words.len() < CAUSES_MAX) {
        let said = e.to_string();
        if !words.iter().any(|before| before.contains(&said)) {
            words.push(said);
        }
        next = e.source();
    }
    one_line(&words.join(": "))
}

/// Whether AWS' code says that the identity may not.
fn is_denial(code: &str) -> bool {
    code.starts_with("AccessDenied") || code == "NotAuthorized"
}

/// Whether the words about credentials that could not be had say that somebody refused them for good.
fn speaks_of_denial(words: &str) -> bool {
    ["AccessDenied", "InvalidClientTokenId", "SignatureDoesNotMatch", "InvalidIdentityToken"]
        .iter()
        .any(|code| words.contains(code))
}

/// Whether the same call may go through later without anybody changing anything.
fn is_passing(code: &str) -> bool {
    ![
        "AccessDenied",
        "UnrecognizedClient",
        "InvalidSignature",
        "InvalidClientTokenId",
        "ExpiredToken",
        "IncompleteSignature",
        "MissingAuthenticationToken",
        "OptInRequired",
        "InvalidParameter",
        "RepositoryNotFound",
        "LimitExceeded",
        "NotAuthorized",
        "ValidationException",
    ]
    .iter()
    .any(|head| code.starts_with(head))
}

/// Half of a login's life, within sane bounds.
fn kept_for(expires: Option<SystemTime>, now: SystemTime) -> Duration {
    let left = expires.and_then(|at| at.duration_since(now).ok()).unwrap_or_default();
    (left / 2).clamp(ECR_LOGIN_KEPT_MIN, ECR_LOGIN_KEPT_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonsense_expiry_makes_no_refresh_loop() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        assert_eq!(kept_for(Some(SystemTime::UNIX_EPOCH), now), ECR_LOGIN_KEPT_MIN);
        assert_eq!(kept_for(None, now), ECR_LOGIN_KEPT_MIN);
        assert_eq!(kept_for(Some(now + Duration::from_secs(12 * 3600)), now), ECR_LOGIN_KEPT_MAX);
        assert_eq!(kept_for(Some(now + Duration::from_secs(7200)), now), Duration::from_secs(3600));
    }

    #[test]
    fn an_error_is_told_with_its_causes_and_with_nothing_that_it_holds() {
        #[derive(Debug, thiserror::Error)]
        #[error("no answer")]
        struct Inner {
            #[allow(dead_code)] // It is there to not be told.
            secret: &'static str,
        }
        #[derive(Debug, thiserror::Error)]
        #[error("dispatch failure")]
        struct Outer(#[source] Inner);
        assert_eq!(words_of(&Outer(Inner { secret: "hunter2" })), "dispatch failure: no answer");
    }

    #[test]
    fn denials_do_not_pass_by_themselves() {
        assert!(!is_passing("AccessDeniedException") && !is_passing("UnrecognizedClientException"));
        assert!(is_passing("ThrottlingException") && is_passing("ServerException"));
    }
}
