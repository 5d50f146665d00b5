//! Which kinds a cluster serves, asked per group and version and only for those that are needed.
//!
//! So an aggregated API that is down disturbs nobody else, it works alike on every server version, and a cluster of
//! thousands of kinds costs one call per group and version in use.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::join_all;
use serde::Deserialize;
use serde_json::Value;

use crate::cluster::Connection;
use crate::limits::GROUP_VERSIONS_MAX;
use crate::wire::{Call, CallError};

/// A kind as a cluster serves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    /// API group; empty for the core group.
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) kind: String,
    /// Its name in paths.
    pub(crate) plural: String,
    pub(crate) namespaced: bool,
}

impl Kind {
    /// Path of the collection.
    pub(crate) fn collection(&self, namespace: Option<&str>) -> String {
        let root = group_version_path(&self.group, &self.version);
        match namespace {
            Some(ns) => format!("{root}/namespaces/{}/{}", segment(ns), segment(&self.plural)),
            None => format!("{root}/{}", segment(&self.plural)),
        }
    }

    /// Path of one object.
    pub(crate) fn object(&self, namespace: Option<&str>, name: &str) -> String {
        format!("{}/{}", self.collection(namespace), segment(name))
    }
}

/// One path segment, so that no name can reach another path.
pub(crate) fn segment(text: &str) -> String {
    use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
    const KEPT: &AsciiSet =
        &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b':');
    utf8_percent_encode(text, KEPT).to_string()
}

fn group_version_path(group: &str, version: &str) -> String {
    if group.is_empty() {
        format!("/api/{}", segment(version))
    } else {
        format!("/apis/{}/{}", segment(group), segment(version))
    }
}

/// What is known of one group and version: its kinds, or that it is not served.
type Served = Option<Arc<Vec<Kind>>>;
/// Kinds by group and version.
type Known = HashMap<(String, String), Arc<Vec<Kind>>>;

/// The kinds of one cluster, as far as they were asked for.
#[derive(Default)]
pub(crate) struct Kinds {
    known: Mutex<Known>,
}

#[derive(Deserialize)]
struct ResourceList {
    #[serde(default)]
    resources: Vec<Resource>,
}

#[derive(Deserialize)]
struct Resource {
    name: String,
    kind: String,
    namespaced: bool,
}

impl Kinds {
    fn get(&self, group: &str, version: &str) -> Served {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&(group.to_owned(), version.to_owned())).cloned()
    }

    fn set(&self, group: &str, version: &str, kinds: Arc<Vec<Kind>>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= GROUP_VERSIONS_MAX {
            known.clear();
        }
        known.insert((group.to_owned(), version.to_owned()), kinds);
    }

    /// Forgets a group: a definition of its kinds was applied, or it answered that a kind is unknown.
    pub(crate) fn forget(&self, group: &str) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|(g, _), _| g != group);
    }
}

impl Connection {
    /// The kind, or `None` where the cluster does not serve it. What is remembered is asked again before a no.
    pub(crate) async fn kind(
        &self,
        group: &str,
        version: &str,
        kind: &str,
    ) -> Result<Option<Kind>, CallError> {
        let find = |kinds: &[Kind]| kinds.iter().find(|k| k.kind == kind).cloned();
        if let Some(found) = self.kinds.get(group, version).and_then(|known| find(&known)) {
            return Ok(Some(found));
        }
        Ok(self.ask_kinds(group, version).await?.and_then(|kinds| find(&kinds)))
    }

    /// Asks for several groups and versions at once, so that [`Connection::kind`] finds them at hand.
    pub(crate) async fn warm_kinds(&self, wanted: Vec<(String, String)>) -> Result<(), CallError> {
        let missing = wanted.iter().filter(|(g, v)| self.kinds.get(g, v).is_none());
        let asked = join_all(missing.map(|(g, v)| self.ask_kinds(g, v))).await;
        // A group that is away is told of its own objects.
        asked.into_iter().try_for_each(|a| match a {
            Err(CallError::Own(_)) => Ok(()),
            other => other.map(drop),
        })
    }

    /// The kind in whatever version the cluster serves, the given one first: for objects applied long ago.
    pub(crate) async fn kind_in_any_version(
        &self,
        group: &str,
        version: &str,
        kind: &str,
    ) -> Result<Option<Kind>, CallError> {
        if let Some(found) = self.kind(group, version, kind).await? {
            return Ok(Some(found));
        }
        for other in self.served_versions(group).await? {
            if let Some(found) = self.kind(group, &other, kind).await? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The versions of a group that the cluster serves, the preferred one first; empty for an unknown group.
    pub(crate) async fn served_versions(&self, group: &str) -> Result<Vec<String>, CallError> {
        if group.is_empty() {
            return Ok(vec!["v1".into()]);
        }
        let answer = match self.call(&Call::read(format!("/apis/{}", segment(group)))).await {
            Ok(answer) => answer.object()?,
            Err(e) if e.code() == 404 => return Ok(Vec::new()),
            Err(e) => return Err(e),
        };
        let all = answer["versions"].as_array().cloned().unwrap_or_default();
        Ok(all.iter().filter_map(|v| v["version"].as_str().map(str::to_owned)).take(20).collect())
    }

    async fn ask_kinds(&self, group: &str, version: &str) -> Result<Served, CallError> {
        let answer = match self.call(&Call::read(group_version_path(group, version))).await {
            Ok(answer) => answer,
            Err(e) if e.code() == 404 => return Ok(None),
            Err(e) => return Err(e),
        };
        let list: ResourceList = serde_json::from_value(answer.object()?).map_err(|_| {
            CallError::Nonsense { why: format!("the kinds of {group}/{version} cannot be read") }
        })?;
        let kinds = list.resources.into_iter().filter(|r| !r.name.contains('/')).map(|r| Kind {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: r.kind,
            plural: r.name,
            namespaced: r.namespaced,
        });
        let kinds: Arc<Vec<Kind>> = Arc::new(kinds.collect());
        self.kinds.set(group, version, kinds.clone());
        Ok(Some(kinds))
    }
}

/// The kinds that a CustomResourceDefinition of the same push will bring, known before the cluster knows them.
pub(crate) fn kinds_of_definition(definition: &Value) -> Vec<Kind> {
    let spec = &definition["spec"];
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let (group, kind, plural) =
        (text(&spec["group"]), text(&spec["names"]["kind"]), text(&spec["names"]["plural"]));
    let namespaced = spec["scope"].as_str() != Some("Cluster");
    if group.is_empty() || kind.is_empty() || plural.is_empty() {
        return Vec::new();
    }
    let versions = spec["versions"].as_array().cloned().unwrap_or_default();
    let served = versions.iter().filter(|v| v["served"].as_bool().unwrap_or(true));
    served
        .map(|v| Kind {
            group: group.clone(),
            version: text(&v["name"]),
            kind: kind.clone(),
            plural: plural.clone(),
            namespaced,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leaves_its_path() {
        let kind = Kind {
            group: "a.b".into(),
            version: "v1".into(),
            kind: "X".into(),
            plural: "xs".into(),
            namespaced: true,
        };
        assert_eq!(kind.object(Some("n"), "system:x"), "/apis/a.b/v1/namespaces/n/xs/system:x");
        assert_eq!(kind.object(Some("n"), "a/../b?c#d"), "/apis/a.b/v1/namespaces/n/xs/a%2F..%2Fb%3Fc%23d");
        let core = Kind { group: String::new(), namespaced: false, ..kind };
        assert_eq!(core.object(None, "y"), "/api/v1/xs/y");
    }
}
