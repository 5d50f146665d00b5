//! Whose an object is: the marks that this server writes and what it reads from the marks of others. Pure.
//!
//! Three marks must agree before anything is deleted: the ApplySet member label (so that tools can select), an
//! annotation that names the object itself (labels get copied to children by operators, and a copy must not count),
//! and the inventory with the object's uid. The label's key is that of Kubernetes' ApplySets (KEP-3659).

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use slipway_core::{ClusterName, RepoId};

/// ApplySet member label.
pub(crate) const PART_OF: &str = "applyset.kubernetes.io/part-of";
/// `SERVER/REPO/CLUSTER:GROUP/KIND:NAMESPACE/NAME`.
pub(crate) const OWNED_BY: &str = "slipway.dev/owned-by";
/// The repository's name, for people.
pub(crate) const REPOSITORY: &str = "slipway.dev/repository";
/// Hash of what was applied: equal hash and no drift means that nothing needs to be sent.
pub(crate) const APPLIED: &str = "slipway.dev/applied";
/// `disabled` keeps an object that left the repository.
pub(crate) const PRUNE: &str = "slipway.dev/prune";

/// What identifies an object in a cluster, versions aside.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) group: String,
    pub(crate) kind: String,
    pub(crate) namespace: Option<String>,
    pub(crate) name: String,
}

impl Key {
    /// `Deployment team/web`, for sentences.
    pub(crate) fn title(&self) -> String {
        match &self.namespace {
            Some(ns) => format!("{} {ns}/{}", self.kind, self.name),
            None => format!("{} {}", self.kind, self.name),
        }
    }

    fn mark(&self) -> String {
        format!(":{}/{}:{}/{}", self.group, self.kind, self.namespace.as_deref().unwrap_or(""), self.name)
    }
}

/// One repository of one server, as the owner of objects in one cluster.
#[derive(Clone, Debug)]
pub(crate) struct Owner {
    id: String,
    repo_name: String,
    part_of: String,
}

/// Whose a live object is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// All marks are this owner's.
    Ours,
    /// Nobody's, as far as marks tell.
    Free,
    /// Another repository's, of this or another server; a name for sentences.
    Other(String),
}

impl Owner {
    /// `server` is the same for good on one installation and different on every other.
    pub(crate) fn new(server: &str, repo: RepoId, repo_name: &str, cluster: &ClusterName) -> Self {
        let id = format!("{server}/{repo}/{cluster}");
        let hash = Sha256::digest(format!("{id}.slipway.dev"));
        let hash = base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, hash);
        Self { id, repo_name: repo_name.to_owned(), part_of: format!("applyset-{hash}-v1") }
    }

    /// The value of [`PART_OF`] on all its objects.
    pub(crate) fn part_of(&self) -> &str {
        &self.part_of
    }

    /// Writes the marks into an object that is to be sent.
    pub(crate) fn mark(&self, key: &Key, object: &mut Map<String, Value>) {
        let Some(Value::Object(metadata)) = object.get_mut("metadata") else { return };
        put(metadata, "labels", PART_OF, &self.part_of);
        put(metadata, "annotations", OWNED_BY, &format!("{}{}", self.id, key.mark()));
        put(metadata, "annotations", REPOSITORY, &self.repo_name);
    }

    /// Reads the marks of a live object.
    pub(crate) fn claim(&self, key: &Key, live: &Value) -> Claim {
        let annotations = &live["metadata"]["annotations"];
        // A mark that names another object was copied with it, and says nothing about this one.
        let Some(owner) = annotations[OWNED_BY].as_str().and_then(|mark| mark.strip_suffix(&key.mark()))
        else {
            return Claim::Free;
        };
        if owner == self.id {
            let labelled = live["metadata"]["labels"][PART_OF].as_str() == Some(&self.part_of);
            return if labelled { Claim::Ours } else { Claim::Free };
        }
        let name = annotations[REPOSITORY].as_str().unwrap_or("unknown");
        Claim::Other(self.other(owner, name))
    }

    /// Who another owner is, as seen from this one.
    fn other(&self, owner: &str, name: &str) -> String {
        let part = |id: &str, n: usize| id.splitn(3, '/').nth(n).unwrap_or_default().to_owned();
        let same = |n: usize| part(owner, n) == part(&self.id, n);
        match (same(0), same(1)) {
            (false, _) => format!(
                "repository {name} of another Slipway server, or of this one before its data was lost"
            ),
            (true, true) => format!("this repository by way of cluster {}", part(owner, 2)),
            (true, false) if name == self.repo_name => format!("an earlier repository of the name {name}"),
            (true, false) => format!("repository {name}"),
        }
    }
}

/// Sets `metadata.{map}.{key}`; a `labels: null` becomes a mapping.
pub(crate) fn put(metadata: &mut Map<String, Value>, map: &str, key: &str, value: &str) {
    let entry = metadata.entry(map).or_insert(Value::Null);
    if !entry.is_object() {
        *entry = Value::Object(Map::new());
    }
    if let Value::Object(entries) = entry {
        entries.insert(key.to_owned(), value.into());
    }
}

/// Another tool that also keeps this object, by its own marks.
pub(crate) fn other_tool(live: &Value) -> Option<&'static str> {
    let metadata = &live["metadata"];
    if metadata["annotations"]["argocd.argoproj.io/tracking-id"].is_string() {
        return Some("Argo CD");
    }
    let label = |key: &str| metadata["labels"][key].as_str();
    if label("kustomize.toolkit.fluxcd.io/name").is_some() || label("helm.toolkit.fluxcd.io/name").is_some() {
        return Some("Flux");
    }
    (label("app.kubernetes.io/managed-by") == Some("Helm")
        && metadata["annotations"]["meta.helm.sh/release-name"].is_string())
    .then_some("Helm")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn owner(server: &str, repo: u64) -> Owner {
        Owner::new(server, RepoId(repo), "shop", &ClusterName::parse("prod").expect("name"))
    }

    fn key(name: &str) -> Key {
        Key {
            group: "apps".into(),
            kind: "Deployment".into(),
            namespace: Some("team".into()),
            name: name.into(),
        }
    }

    fn marked(owner: &Owner, key: &Key) -> Value {
        let mut object = json!({"metadata": {"name": key.name, "labels": null}});
        owner.mark(key, object.as_object_mut().expect("object"));
        object
    }

    #[test]
    fn only_an_object_with_all_marks_is_ours() {
        let us = owner("s1", 1);
        let ours = marked(&us, &key("web"));
        assert_eq!(us.claim(&key("web"), &ours), Claim::Ours);
        assert_eq!(us.claim(&key("web"), &json!({"metadata": {"name": "web"}})), Claim::Free);
        let mut unlabelled = ours.clone();
        unlabelled["metadata"]["labels"] = json!({});
        assert_eq!(us.claim(&key("web"), &unlabelled), Claim::Free);
        let mut unannotated = ours.clone();
        unannotated["metadata"]["annotations"] = json!({});
        assert_eq!(us.claim(&key("web"), &unannotated), Claim::Free);
    }

    #[test]
    fn marks_copied_to_another_object_do_not_count() {
        let us = owner("s1", 1);
        assert_eq!(us.claim(&key("web-child"), &marked(&us, &key("web"))), Claim::Free);
    }

    #[test]
    fn another_repository_and_another_server_are_told_apart() {
        let us = owner("s1", 1);
        let told = |other: Owner| us.claim(&key("web"), &marked(&other, &key("web")));
        let cluster = |name: &str| ClusterName::parse(name).expect("name");
        for (other, want) in [
            (Owner::new("s1", RepoId(2), "bank", &cluster("prod")), "repository bank"),
            (owner("s1", 2), "an earlier repository of the name shop"),
            (Owner::new("s1", RepoId(1), "shop", &cluster("old")), "this repository by way of cluster old"),
            (
                owner("s2", 1),
                "repository shop of another Slipway server, or of this one before its data was lost",
            ),
        ] {
            assert_eq!(told(other), Claim::Other(want.into()));
        }
    }

    #[test]
    fn the_label_is_a_valid_label_value() {
        let label = owner("s1", 1).part_of;
        assert!(label.len() <= 63 && label.starts_with("applyset-") && label.ends_with("-v1"), "{label}");
    }
}
