//! Amazon ECR: logins that expire, repositories that must exist, tags by API. The only user of the AWS SDK.

use std::time::{Duration, SystemTime};

use aws_sdk_ecr::Client as EcrClient;
use aws_sdk_ecr::config::retry::RetryConfig;
use aws_sdk_ecr::config::timeout::TimeoutConfig;
use aws_sdk_ecr::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_ecr::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_ecr::types::{ImageFailureCode, ImageIdentifier};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use slipway_core::target::Registry;
use slipway_core::{Digest, Secret};
use tokio::sync::{Mutex, OnceCell};
use tokio::time::Instant;

use super::Manifest;
use super::client::digest_of;
use crate::engine::session::Login;
use crate::error::{HookError, one_line};
use crate::limits::{AWS_ATTEMPT, AWS_CALL, ECR_LOGIN_KEPT_MAX, ECR_LOGIN_KEPT_MIN};

const MANIFEST_TYPES: [&str; 4] = [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];

/// One identity in one region.
#[derive(Debug)]
pub(crate) struct Ecr {
    region: String,
    /// Access key id and secret key; `None` is the AWS credential chain.
    keys: Option<(String, Secret)>,
    endpoint: Option<String>,
    client: OnceCell<EcrClient>,
    login: Mutex<Option<(Login, Instant)>>,
}

impl Ecr {
    /// Takes the registry's record; connects to nothing yet.
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
        Ok(Self { region, keys, endpoint, client: OnceCell::new(), login: Mutex::default() })
    }

    /// True if it is the same identity in the same place.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.region == other.region && self.keys == other.keys && self.endpoint == other.endpoint
    }

    pub(crate) fn region(&self) -> &str {
        &self.region
    }

    async fn client(&self) -> &EcrClient {
        self.client
            .get_or_init(|| async {
                let timeouts = TimeoutConfig::builder()
                    .operation_attempt_timeout(AWS_ATTEMPT)
                    .operation_timeout(AWS_CALL)
                    .connect_timeout(AWS_ATTEMPT)
                    .build();
                let mut loader = aws_config::defaults(BehaviorVersion::latest())
                    .region(Region::new(self.region.clone()))
                    .retry_config(RetryConfig::standard().with_max_attempts(3))
                    .timeout_config(timeouts);
                if let Some((id, secret)) = &self.keys {
                    loader = loader.credentials_provider(Credentials::new(
                        id,
                        secret.expose(),
                        None,
                        None,
                        "slipway",
                    ));
                }
                let shared = loader.load().await;
                let mut config = aws_sdk_ecr::config::Builder::from(&shared);
                if let Some(url) = &self.endpoint {
                    config = config.endpoint_url(url);
                }
                EcrClient::from_conf(config.build())
            })
            .await
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
            region: self.region.clone(),
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

    /// The next [`Ecr::login`] fetches a new one.
    pub(crate) async fn forget_login(&self) {
        *self.login.lock().await = None;
    }

    /// Makes the repository if it is missing.
    pub(crate) async fn ensure_repository(&self, name: &str) -> Result<(), HookError> {
        let client = self.client().await;
        match client.describe_repositories().repository_names(name).send().await {
            Ok(_) => return Ok(()),
            Err(e) if e.as_service_error().is_some_and(|s| s.is_repository_not_found_exception()) => {}
            // Whoever may push need not be allowed to look; if the repository is missing, the push says so.
            Err(e) if e.code() == Some("AccessDeniedException") => return Ok(()),
            Err(e) => return Err(self.failure("ecr:DescribeRepositories", &e)),
        }
        match client.create_repository().repository_name(name).send().await {
            Ok(_) => Ok(()),
            Err(e) if e.as_service_error().is_some_and(|s| s.is_repository_already_exists_exception()) => {
                Ok(())
            }
            Err(e) => Err(self.failure("ecr:CreateRepository", &e)),
        }
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
        HookError::Aws { action, region: self.region.clone(), message: one_line(message), passing: true }
    }

    fn failure<E, R>(&self, action: &'static str, e: &SdkError<E, R>) -> HookError
    where
        SdkError<E, R>: std::error::Error + ProvideErrorMetadata,
    {
        let (message, passing) = match (e.code(), e.message()) {
            (Some(code), words) => {
                (one_line(&format!("{code}, {}", words.unwrap_or("without more words"))), is_passing(code))
            }
            (None, _) => (
                one_line(&DisplayErrorContext(e).to_string()),
                !matches!(e, SdkError::ConstructionFailure(_)),
            ),
        };
        HookError::Aws { action, region: self.region.clone(), message, passing }
    }
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
    fn denials_do_not_pass_by_themselves() {
        assert!(!is_passing("AccessDeniedException") && !is_passing("UnrecognizedClientException"));
        assert!(is_passing("ThrottlingException") && is_passing("ServerException"));
    }
}
