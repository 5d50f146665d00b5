//! Repositories of ECR: whether one is there, and making it from the registry's template.

use aws_sdk_ecr::error::ProvideErrorMetadata as _;
use aws_sdk_ecr::types::{
    EncryptionConfiguration, EncryptionType, ImageScanningConfiguration, ImageTagMutability,
    ImageTagMutabilityExclusionFilter, ImageTagMutabilityExclusionFilterType, Tag,
};
use slipway_core::target::{Encryption, RepositoryTemplate};

use super::{Ecr, is_denial};
use crate::error::HookError;

/// Whether a repository is there.
#[derive(Debug)]
pub(crate) enum There {
    Yes,
    No,
    /// The identity may not look: AWS' words.
    Hidden(HookError),
}

impl Ecr {
    /// Makes the repository if it is missing, and by its template is to be made.
    pub(crate) async fn ensure_repository(&self, name: &str) -> Result<(), HookError> {
        match self.has_repository(name).await? {
            // Whoever may push need not be allowed to look; if the repository is missing, the push says so.
            There::Yes | There::Hidden(_) => Ok(()),
            There::No if self.template().no_create => {
                Err(HookError::NoRepository { name: name.to_owned(), region: self.region().to_owned() })
            }
            There::No => self.create_repository(name).await,
        }
    }

    /// Looks.
    pub(crate) async fn has_repository(&self, name: &str) -> Result<There, HookError> {
        match self.client().await.describe_repositories().repository_names(name).send().await {
            Ok(_) => Ok(There::Yes),
            Err(e) if e.as_service_error().is_some_and(|s| s.is_repository_not_found_exception()) => {
                Ok(There::No)
            }
            Err(e) => {
                let denied = e.code().is_some_and(is_denial);
                let failure = self.failure("ecr:DescribeRepositories", &e);
                if denied { Ok(There::Hidden(failure)) } else { Err(failure) }
            }
        }
    }

    /// Makes the repository from the template. One that somebody else made at the same time stays as they made it.
    pub(crate) async fn create_repository(&self, name: &str) -> Result<(), HookError> {
        let template = self.template();
        let (mutability, filters) = mutability(template);
        let sent = self
            .client()
            .await
            .create_repository()
            .repository_name(name)
            .set_image_tag_mutability(mutability)
            .set_image_tag_mutability_exclusion_filters(filters)
            .set_image_scanning_configuration(
                template
                    .scan_on_push
                    .then(|| ImageScanningConfiguration::builder().scan_on_push(true).build()),
            )
            .set_encryption_configuration(encryption(template))
            .set_tags(tags(template))
            .send()
            .await;
        match sent {
            Ok(_) => {}
            Err(e) if e.as_service_error().is_some_and(|s| s.is_repository_already_exists_exception()) => {
                return Ok(());
            }
            Err(e) => return Err(self.failure("ecr:CreateRepository", &e)),
        }
        let Some(policy) = &template.lifecycle else { return Ok(()) };
        let sent =
            self.client().await.put_lifecycle_policy().repository_name(name).lifecycle_policy_text(policy);
        sent.send().await.map(drop).map_err(|e| self.failure("ecr:PutLifecyclePolicy", &e))
    }
}

fn mutability(
    template: &RepositoryTemplate,
) -> (Option<ImageTagMutability>, Option<Vec<ImageTagMutabilityExclusionFilter>>) {
    if !template.immutable_tags {
        return (None, None);
    }
    if template.except.is_empty() {
        return (Some(ImageTagMutability::Immutable), None);
    }
    let filter = |pattern: &String| {
        ImageTagMutabilityExclusionFilter::builder()
            .filter_type(ImageTagMutabilityExclusionFilterType::Wildcard)
            .filter(pattern)
            .build()
            .ok()
    };
    (
        Some(ImageTagMutability::ImmutableWithExclusion),
        Some(template.except.iter().filter_map(filter).collect()),
    )
}

fn encryption(template: &RepositoryTemplate) -> Option<EncryptionConfiguration> {
    let builder = EncryptionConfiguration::builder();
    let builder = match template.encryption.as_ref()? {
        Encryption::Aes256 => builder.encryption_type(EncryptionType::Aes256),
        Encryption::Kms(key) => builder.encryption_type(EncryptionType::Kms).set_kms_key(key.clone()),
    };
    builder.build().ok()
}

fn tags(template: &RepositoryTemplate) -> Option<Vec<Tag>> {
    let tag = |(key, value): (&String, &String)| Tag::builder().key(key).value(value).build().ok();
    let tags: Vec<Tag> = template.tags.iter().filter_map(tag).collect();
    (!tags.is_empty()).then_some(tags)
}
