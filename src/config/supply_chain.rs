//! What is put beside pushed images: the word of whoever runs the server, which no slipway.toml takes back.

use serde::Deserialize;

/// `[supply_chain]`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct SupplyChain {
    /// Whether images are signed, with a statement on where they come from.
    pub(crate) sign: bool,
    /// Whether their contents are listed, too.
    pub(crate) sbom: bool,
}

impl Default for SupplyChain {
    fn default() -> Self {
        Self { sign: true, sbom: true }
    }
}
