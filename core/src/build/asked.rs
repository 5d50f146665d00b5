//! What somebody said who started a build.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::git::{Oid, RefName};

/// What was said beside the commit. Nothing, for a push's builds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Asked {
    /// Values of `[build.params.*]`, as they were asked for; those that nobody named have their defaults.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<String, String>,
    /// Where the commit is the merge of two, made for this build alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub merge: Option<Merged>,
}

/// A merge that no branch has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Merged {
    /// What is merged, as it was named.
    pub head: String,
    /// Its commit.
    pub head_commit: Oid,
    /// The branch that it is merged into.
    pub base: RefName,
    /// That branch's commit.
    pub base_commit: Oid,
}

impl Asked {
    /// True if nothing was said.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
