//! Reads what is beside an image, and believes of it what this server's key has signed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use slipway_core::Digest;

use super::envelope::{self, DSSE, SIMPLE_SIGNING};
use super::manifest::{self, Piece};
use super::{Supply, statement};
use crate::error::HookError;
use crate::hooks::blocking;
use crate::limits::{ATTACHED_BLOB_BYTES_MAX, MANIFEST_BYTES_MAX};
use crate::registry::{Door, Manifest, Registries};

/// Most pieces of one manifest, and most referrers, that are looked at: others may put theirs there, too.
pub(super) const LAYERS_MAX: usize = 50;
/// What cosign says a piece's signature is.
pub(super) const SIGNATURE: &str = "dev.cosignproject.cosign/signature";

/// One image in one registry, and whose words count.
pub(super) struct Beside<'a> {
    pub(super) registries: &'a Registries,
    pub(super) door: &'a Door,
    pub(super) supply: &'a Supply,
    pub(super) digest: &'a Digest,
}

impl Beside<'_> {
    /// What cosign's tag with that ending leads to.
    pub(super) async fn tagged(&self, ending: &str) -> Result<Option<Manifest>, HookError> {
        self.registries.manifest(self.door, &manifest::tag(self.digest, ending)).await
    }

    /// What this server's own signature says of the image; `None` where there is none.
    pub(super) async fn signature(&self, found: Option<&Manifest>) -> Result<Option<Value>, HookError> {
        let Some(found) = found else { return Ok(None) };
        for piece in manifest::pieces(&found.bytes).into_iter().take(LAYERS_MAX) {
            let signature = piece.annotations.get(SIGNATURE).and_then(Value::as_str);
            let Some(signature) = signature.and_then(|text| STANDARD.decode(text).ok()) else { continue };
            if piece.media_type != SIMPLE_SIGNING {
                continue;
            }
            let Some(payload) = self.bytes(&piece).await? else { continue };
            if !envelope::is_of(&payload, self.digest) {
                continue;
            }
            let (key, signed) = (self.supply.key.clone(), payload.clone());
            let ours =
                blocking(move || key.has_signed(&signed, &signature).map_err(HookError::Repository)).await?;
            if ours {
                return Ok(serde_json::from_slice(&payload).ok());
            }
        }
        Ok(None)
    }

    /// The predicate of that type that this server has stated of the image, among the pieces of a manifest.
    pub(super) async fn predicate(
        &self,
        found: Option<&Manifest>,
        of: &str,
    ) -> Result<Option<Value>, HookError> {
        let Some(found) = found else { return Ok(None) };
        for piece in manifest::pieces(&found.bytes).into_iter().take(LAYERS_MAX) {
            let told = piece.annotations.get("predicateType").and_then(Value::as_str);
            if piece.media_type != DSSE || told.is_some_and(|told| told != of) {
                continue;
            }
            let Some(bytes) = self.bytes(&piece).await? else { continue };
            let key = self.supply.key.clone();
            let opened =
                blocking(move || envelope::open(&key, &bytes).map_err(HookError::Repository)).await?;
            let predicate = opened.as_ref().and_then(|opened| statement::predicate(opened, self.digest, of));
            if let Some(predicate) = predicate {
                return Ok(Some(predicate.clone()));
            }
        }
        Ok(None)
    }

    /// The same among all that refers to the image: where its tag may not change, only there.
    pub(super) async fn referred(&self, of: &str) -> Result<Option<Value>, HookError> {
        for digest in self.referrers(Some(of)).await?.into_iter().take(LAYERS_MAX) {
            let found = self.registries.manifest(self.door, digest.as_str()).await?;
            if let Some(predicate) = self.predicate(found.as_ref(), of).await? {
                return Ok(Some(predicate));
            }
        }
        Ok(None)
    }

    /// This server's signature among all that refers to the image.
    pub(super) async fn referred_signature(&self) -> Result<Option<Value>, HookError> {
        for digest in self.referrers(None).await?.into_iter().take(LAYERS_MAX) {
            let found = self.registries.manifest(self.door, digest.as_str()).await?;
            if let Some(said) = self.signature(found.as_ref()).await? {
                return Ok(Some(said));
            }
        }
        Ok(None)
    }

    async fn referrers(&self, of: Option<&str>) -> Result<Vec<Digest>, HookError> {
        if let Some(list) = self.registries.referrers(self.door, self.digest).await? {
            return Ok(manifest::referrers(&list, of));
        }
        let list = self.tagged("").await?;
        Ok(list.map(|list| manifest::referrers(&list.bytes, of)).unwrap_or_default())
    }

    /// A piece's bytes; `None` for one that is too large or not there.
    async fn bytes(&self, piece: &Piece) -> Result<Option<Vec<u8>>, HookError> {
        let most = if piece.media_type == DSSE { ATTACHED_BLOB_BYTES_MAX } else { MANIFEST_BYTES_MAX };
        if piece.size > most as u64 {
            return Ok(None);
        }
        self.registries.blob(self.door, &piece.digest, most).await
    }
}
