//! Calls of ECR that an engine makes for us during a push, made here to learn whether they are allowed.

use aws_sdk_ecr::primitives::Blob;
use aws_sdk_ecr::types::ImageIdentifier;
use slipway_core::Digest;

use super::Ecr;
use crate::error::HookError;
use crate::limits::AWS_ATTEMPT;

impl Ecr {
    /// Who AWS says that we are: an ARN. Not waited for as long as for what matters.
    pub(crate) async fn caller(&self) -> Result<String, HookError> {
        const ACTION: &str = "sts:GetCallerIdentity";
        let asked = self.clients().await.sts.get_caller_identity().send();
        let answer = tokio::time::timeout(AWS_ATTEMPT, asked).await;
        let late = || self.broken(ACTION, &format!("no answer within {} s", AWS_ATTEMPT.as_secs()));
        let answer = answer.map_err(|_| late())?.map_err(|e| self.failure(ACTION, &e))?;
        Ok(answer.arn().unwrap_or("an identity without a name").to_owned())
    }

    /// Asks whether a layer is there.
    pub(crate) async fn check_layer(&self, repository: &str, digest: &Digest) -> Result<(), HookError> {
        let request = self.client().await.batch_check_layer_availability().repository_name(repository);
        let sent = request.layer_digests(digest.as_str()).send().await;
        sent.map(drop).map_err(|e| self.failure("ecr:BatchCheckLayerAvailability", &e))
    }

    /// Begins an upload: its id.
    pub(crate) async fn begin_upload(&self, repository: &str) -> Result<String, HookError> {
        const ACTION: &str = "ecr:InitiateLayerUpload";
        let sent = self.client().await.initiate_layer_upload().repository_name(repository).send().await;
        let answer = sent.map_err(|e| self.failure(ACTION, &e))?;
        let id = answer.upload_id().ok_or_else(|| self.broken(ACTION, "the answer has no upload id"))?;
        Ok(id.to_owned())
    }

    /// Sends all of a small layer.
    pub(crate) async fn upload(&self, repository: &str, id: &str, bytes: &[u8]) -> Result<(), HookError> {
        let last = i64::try_from(bytes.len()).unwrap_or(i64::MAX).saturating_sub(1).max(0);
        let request = self.client().await.upload_layer_part().repository_name(repository).upload_id(id);
        let sent =
            request.part_first_byte(0).part_last_byte(last).layer_part_blob(Blob::new(bytes)).send().await;
        sent.map(drop).map_err(|e| self.failure("ecr:UploadLayerPart", &e))
    }

    /// Ends an upload.
    pub(crate) async fn end_upload(
        &self,
        repository: &str,
        id: &str,
        digest: &Digest,
    ) -> Result<(), HookError> {
        let request = self.client().await.complete_layer_upload().repository_name(repository).upload_id(id);
        match request.layer_digests(digest.as_str()).send().await {
            Ok(_) => Ok(()),
            Err(e) if e.as_service_error().is_some_and(|s| s.is_layer_already_exists_exception()) => Ok(()),
            Err(e) => Err(self.failure("ecr:CompleteLayerUpload", &e)),
        }
    }

    /// Removes a tag, and its image if it has no other.
    pub(crate) async fn remove_tag(&self, repository: &str, tag: &str) -> Result<(), HookError> {
        let request = self.client().await.batch_delete_image().repository_name(repository);
        let sent = request.image_ids(ImageIdentifier::builder().image_tag(tag).build()).send().await;
        sent.map(drop).map_err(|e| self.failure("ecr:BatchDeleteImage", &e))
    }
}
