//! Checksums of packs and of the files beside them: plain hashes, without the look-out for made collisions that object
//! ids need.

use sha1::{Digest as _, Sha1};
use sha2::Sha256;
use slipway_core::{ObjectFormat, Oid};

/// A checksum in the making, of the repository's hash.
pub(crate) enum Digest {
    Sha1(Sha1),
    Sha256(Sha256),
}

impl Digest {
    /// Over no bytes yet.
    pub(crate) fn new(format: ObjectFormat) -> Self {
        match format {
            ObjectFormat::Sha1 => Self::Sha1(Sha1::new()),
            ObjectFormat::Sha256 => Self::Sha256(Sha256::new()),
        }
    }

    /// Takes further bytes.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha1(hash) => hash.update(bytes),
            Self::Sha256(hash) => hash.update(bytes),
        }
    }

    /// The checksum, in the form of an id: it is as long as one.
    pub(crate) fn finish(self) -> Oid {
        match self {
            Self::Sha1(hash) => Oid::Sha1(hash.finalize().into()),
            Self::Sha256(hash) => Oid::Sha256(hash.finalize().into()),
        }
    }
}
