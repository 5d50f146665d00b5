//! What somebody said who started a build.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What was said beside the commit. Nothing, for a push's builds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Asked {
    /// Values of `[build.params.*]`, as they were asked for; those that nobody named have their defaults.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<String, String>,
}

impl Asked {
    /// True if nothing was said.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
