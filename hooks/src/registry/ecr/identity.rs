//! As whom AWS is asked: an access key, a profile, or what the server's process has by itself; and on top of it a role.

use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_ecr::config::retry::RetryConfig;
use aws_sdk_ecr::config::timeout::TimeoutConfig;
use aws_sdk_ecr::config::{Credentials, ProvideCredentials, Region, SharedCredentialsProvider};
use slipway_core::Secret;
use slipway_core::target::EcrSettings;

use super::words_of;
use crate::limits::{AWS_ATTEMPT, AWS_ATTEMPTS, AWS_CALL};

/// The name of our sessions of an assumed role, as CloudTrail shows it.
const SESSION: &str = "slipway";

/// Who asks, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(super) region: String,
    /// Access key id and secret key.
    pub(super) keys: Option<(String, Secret)>,
    pub(super) settings: EcrSettings,
    /// Where ECR and STS are, for all registries.
    pub(super) endpoint: Option<String>,
}

/// The clients of one identity.
#[derive(Debug)]
pub(super) struct Clients {
    pub(super) ecr: aws_sdk_ecr::Client,
    pub(super) sts: aws_sdk_sts::Client,
    credentials: Option<SharedCredentialsProvider>,
}

impl Identity {
    pub(super) async fn clients(&self) -> Clients {
        let shared = self.config().await;
        let ecr = aws_sdk_ecr::config::Builder::from(&shared);
        let ecr = match self.settings.endpoint.as_ref().or(self.endpoint.as_ref()) {
            Some(url) => ecr.endpoint_url(url),
            None => ecr,
        };
        let mut sts = aws_sdk_sts::config::Builder::from(&shared);
        if let Some(url) = &self.endpoint {
            sts = sts.endpoint_url(url);
        }
        Clients {
            ecr: aws_sdk_ecr::Client::from_conf(ecr.build()),
            sts: aws_sdk_sts::Client::from_conf(sts.build()),
            credentials: shared.credentials_provider(),
        }
    }

    async fn config(&self) -> SdkConfig {
        let timeouts = TimeoutConfig::builder()
            .operation_attempt_timeout(AWS_ATTEMPT)
            .operation_timeout(AWS_CALL)
            .connect_timeout(AWS_ATTEMPT)
            .build();
        let region = Region::new(self.region.clone());
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .region(region.clone())
            .retry_config(RetryConfig::standard().with_max_attempts(AWS_ATTEMPTS))
            .timeout_config(timeouts);
        if let Some((id, secret)) = &self.keys {
            loader = loader.credentials_provider(Credentials::new(id, secret.expose(), None, None, SESSION));
        } else if let Some(profile) = &self.settings.profile {
            // A profile that is named is meant: variables of the environment do not come before it.
            let place = ProviderConfig::without_region().with_region(Some(region.clone()));
            let builder = ProfileFileCredentialsProvider::builder().configure(&place).profile_name(profile);
            loader = loader.profile_name(profile).credentials_provider(builder.build());
        }
        let base = loader.load().await;
        let Some(role) = &self.settings.assume_role else { return base };
        let mut assume = AssumeRoleProvider::builder(role).session_name(SESSION).region(region);
        if let Some(id) = &self.settings.external_id {
            assume = assume.external_id(id);
        }
        let with = match &self.endpoint {
            Some(url) => base.clone().into_builder().endpoint_url(url).build(),
            None => base.clone(),
        };
        let role = assume.configure(&with).build().await;
        base.into_builder().credentials_provider(SharedCredentialsProvider::new(role)).build()
    }
}

impl Clients {
    /// Gets credentials, and says whose they are; else what stands in the way, in AWS' words.
    pub(super) async fn credentials(&self) -> Result<String, String> {
        let Some(provider) = &self.credentials else { return Err("there are none".into()) };
        let asked = tokio::time::timeout(AWS_CALL, provider.provide_credentials()).await;
        match asked {
            Ok(Ok(found)) => Ok(found.access_key_id().to_owned()),
            Ok(Err(e)) => Err(words_of(&e)),
            Err(_) => Err(format!("no answer within {} s", AWS_CALL.as_secs())),
        }
    }
}
