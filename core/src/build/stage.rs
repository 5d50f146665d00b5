//! The stages of a build, and when they ran.

use serde::{Deserialize, Serialize};

use crate::id::UnixMillis;

/// The stages, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Read the commit's instructions.
    Clone,
    /// Build the image.
    Build,
    /// Test the image.
    Test,
    /// Push the image.
    Push,
    /// Write the digest into the manifest repositories.
    Bump,
    /// List what is in the image.
    Contents,
}

impl Stage {
    /// All stages, in order.
    pub const ALL: [Self; 6] = [Self::Clone, Self::Build, Self::Test, Self::Push, Self::Bump, Self::Contents];

    /// The stage as people know it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Clone => "clone repository",
            Self::Build => "build image",
            Self::Test => "test image",
            Self::Push => "push image",
            Self::Bump => "update manifest",
            Self::Contents => "list contents",
        }
    }
}

/// When a stage ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageTime {
    /// Which.
    pub stage: Stage,
    /// From when.
    pub started: UnixMillis,
    /// Until when.
    pub ended: Option<UnixMillis>,
    /// Whether it had nothing to do (no test declared).
    pub skipped: bool,
}
