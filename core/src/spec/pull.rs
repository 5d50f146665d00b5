//! `[build] pull`: where base images come from that the engine has already.

use serde::Deserialize;

/// Whether registries are asked for base images that the engine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pull {
    /// From their registry, or the build fails.
    Always,
    /// From the engine; only what is missing is pulled.
    Missing,
}
