//! Checksums of packs and indexes: plain hashes, without the look-out for made collisions that object ids need.

use gix::hash::{Hasher, Kind as HashKind, hasher};
use sha1::{Digest as _, Sha1};
use slipway_core::Oid;

use crate::error::{RepoError, Result};
use crate::packs::our_id;

/// A checksum in the making, of the repository's hash.
pub(crate) enum Digest {
    Sha1(Box<Sha1>),
    Other(Box<Hasher>),
}

impl Digest {
    pub(crate) fn new(hash: HashKind) -> Self {
        match hash {
            HashKind::Sha1 => Self::Sha1(Box::default()),
            other => Self::Other(Box::new(hasher(other))),
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha1(hash) => hash.update(bytes),
            Self::Other(hash) => hash.update(bytes),
        }
    }

    /// The checksum, in the form of an id: it is as long as one.
    pub(crate) fn finish(self) -> Result<Oid> {
        match self {
            Self::Sha1(hash) => Ok(Oid::Sha1((*hash).finalize().into())),
            Self::Other(hash) => {
                let sum = hash.try_finalize().map_err(|e| RepoError::bad_pack(e.to_string()))?;
                Ok(our_id(&sum))
            }
        }
    }
}

/// The repository's hash by the name that git's configuration has for it.
pub(crate) fn hash_named(name: &str) -> HashKind {
    match name {
        "sha256" => HashKind::Sha256,
        _ => HashKind::Sha1,
    }
}
