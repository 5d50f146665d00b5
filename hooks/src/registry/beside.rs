//! What is beside images in a registry, and the layers in them: read and written by the distribution API, with the login that
//! the engine pushes with. Amazon's own API has no calls for it, and its registries speak this one.

use hyper::body::Incoming;
use slipway_core::Digest;

use super::{Door, Manifest, Registries};
use crate::error::HookError;

impl Registries {
    /// A blob whole, proven by its digest; `None` where there is none, or more than `most` bytes.
    pub(crate) async fn blob(
        &self,
        door: &Door,
        digest: &Digest,
        most: usize,
    ) -> Result<Option<Vec<u8>>, HookError> {
        self.client.blob(&door.repository, digest, most).await
    }

    /// A blob as it comes, proven by nobody yet.
    pub(crate) async fn stream(&self, door: &Door, digest: &Digest) -> Result<Option<Incoming>, HookError> {
        self.client.stream(&door.repository, digest).await
    }

    /// Stores bytes under their digest.
    pub(crate) async fn put_blob(&self, door: &Door, bytes: Vec<u8>) -> Result<(), HookError> {
        self.client.put_blob(&door.repository, bytes).await
    }

    /// Stores a manifest under a tag or its digest. True if the registry has put it on its own list of what refers to the
    /// image.
    pub(crate) async fn put(&self, door: &Door, named: &str, manifest: &Manifest) -> Result<bool, HookError> {
        self.client.put_referrer(&door.repository, named, manifest).await
    }

    /// The registry's own list of what refers to the image; `None` where it keeps none.
    pub(crate) async fn referrers(&self, door: &Door, digest: &Digest) -> Result<Option<Vec<u8>>, HookError> {
        self.client.referrers(&door.repository, digest).await
    }
}
