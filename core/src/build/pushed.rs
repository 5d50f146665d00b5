//! What builds leave in registries.

use serde::{Deserialize, Serialize};

use crate::id::Digest;

/// An image as pushed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushedImage {
    /// `HOST[:PORT]/PATH`, without tag.
    pub name: String,
    /// The tags, in the order pushed.
    pub tags: Vec<String>,
    /// The digest by which the registry knows it.
    pub digest: Digest,
}
