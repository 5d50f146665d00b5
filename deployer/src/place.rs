//! Where each manifest goes: its kind as the cluster serves it, its namespace, and whether the binding allows that.
//!
//! All or nothing: one object that may not go where it wants stops the deploy before anything is written.

use std::collections::{BTreeSet, HashMap};

use serde_json::Value;
use slipway_core::deploy::InventoryEntry;
use slipway_core::target::ClusterBinding;

use crate::cluster::Connection;
use crate::error::DeployError;
use crate::kinds::{Kind, kinds_of_definition};
use crate::limits::OBJECT_BYTES_MAX;
use crate::manifest::Manifest;
use crate::order::barrier;
use crate::owner::{Key, Owner};
use crate::payload::payload;
use crate::policy;
use crate::texts;
use crate::wire::CallError;
use crate::wishes::Wishes;

/// An object on its way to the cluster.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) key: Key,
    pub(crate) kind: Kind,
    /// `file:line`.
    pub(crate) source: String,
    /// What is sent.
    pub(crate) payload: Value,
    pub(crate) barrier: u8,
    /// The cluster does not know its kind yet: this very push defines it.
    pub(crate) new_kind: bool,
    /// Its kind is defined, or its namespace described, by this very push: either may come a moment late.
    pub(crate) brought: bool,
    /// What its annotations ask.
    pub(crate) wishes: Wishes,
}

impl Wanted {
    pub(crate) fn path(&self) -> String {
        self.kind.object(self.key.namespace.as_deref(), &self.key.name)
    }

    /// `deployment.yaml:3: Deployment team/web`.
    pub(crate) fn title(&self) -> String {
        format!("{}: {}", self.source, self.key.title())
    }

    pub(crate) fn entry(&self, uid: Option<String>) -> InventoryEntry {
        InventoryEntry {
            group: self.key.group.clone(),
            version: self.kind.version.clone(),
            kind: self.key.kind.clone(),
            namespace: self.key.namespace.clone(),
            name: self.key.name.clone(),
            uid,
        }
    }
}

/// Finds every manifest's place, or all that stands against it. What the binding does not let manifests be is told before
/// the cluster is asked anything.
pub(crate) async fn place(
    connection: &Connection,
    binding: &ClusterBinding,
    owner: &Owner,
    manifests: &[Manifest],
) -> Result<Vec<Wanted>, DeployError> {
    let refusals = policy::refusals(binding, manifests);
    if !refusals.is_empty() {
        return Err(DeployError::NotAllowed(refusals));
    }
    let brought = brought_kinds(manifests);
    let (served, down) = serve(connection, manifests, &brought).await?;
    let namespaces: BTreeSet<&str> = manifests
        .iter()
        .filter(|m| m.group().is_empty() && m.kind() == "Namespace")
        .map(Manifest::name)
        .collect();
    let mut wanted = Vec::with_capacity(manifests.len());
    let (mut wrong, mut denied) = (Vec::new(), Vec::new());
    for manifest in manifests {
        let at = manifest.source();
        if let Some(why) = down.get(&gvk(manifest)) {
            wrong.push(format!("{at}: {}", of_group_down(manifest, why)));
            continue;
        }
        let Some((kind, is_new)) = served.get(&gvk(manifest)) else {
            wrong.push(format!("{at}: {}", unknown_kind(connection, manifest).await?));
            continue;
        };
        let (kind, is_new) = (kind.clone(), *is_new);
        let namespace = match namespace(manifest, &kind, binding) {
            Ok(namespace) => namespace,
            Err(sentence) => {
                wrong.push(format!("{at}: {sentence}"));
                continue;
            }
        };
        if !binding.allows(namespace.as_deref()) {
            denied.push(format!("{at}: {}", not_allowed(manifest, namespace.as_deref(), binding)));
            continue;
        }
        if let Some(why) = texts::fault(manifest.group(), manifest.kind(), &manifest.object) {
            wrong.push(format!("{at}: {} {}: {why}", manifest.kind(), manifest.name()));
            continue;
        }
        let brought = is_new || namespace.as_deref().is_some_and(|ns| namespaces.contains(ns));
        match Wishes::read(&manifest.object) {
            Ok(wishes) => {
                wanted.push(Wanted {
                    new_kind: is_new,
                    brought,
                    wishes,
                    ..one(manifest, kind, namespace, owner)
                });
            }
            Err(why) => wrong.push(format!("{at}: {} {}: {why}", manifest.kind(), manifest.name())),
        }
    }
    wrong.extend(check(&wanted));
    match (wrong.is_empty(), denied.is_empty()) {
        (true, true) => Ok(wanted),
        (true, false) => Err(DeployError::NotAllowed(denied)),
        (false, _) => {
            wrong.extend(denied);
            Err(DeployError::Placement(wrong))
        }
    }
}

type Gvk = (String, String, String);

fn gvk(manifest: &Manifest) -> Gvk {
    (manifest.group().to_owned(), manifest.version().to_owned(), manifest.kind().to_owned())
}

fn one(manifest: &Manifest, kind: Kind, namespace: Option<String>, owner: &Owner) -> Wanted {
    let key = Key {
        group: kind.group.clone(),
        kind: kind.kind.clone(),
        namespace,
        name: manifest.name().to_owned(),
    };
    let payload = payload(&manifest.object, &key, owner);
    let barrier = barrier(&key.group, &key.kind);
    let (source, wishes) = (manifest.source(), Wishes::default());
    Wanted { key, kind, source, payload, barrier, new_kind: false, brought: false, wishes }
}

/// Kinds that definitions in the same push bring.
fn brought_kinds(manifests: &[Manifest]) -> HashMap<Gvk, Kind> {
    let definitions = manifests
        .iter()
        .filter(|m| m.group() == "apiextensions.k8s.io" && m.kind() == "CustomResourceDefinition");
    definitions
        .flat_map(|m| kinds_of_definition(&Value::Object(m.object.clone())))
        .map(|k| ((k.group.clone(), k.version.clone(), k.kind.clone()), k))
        .collect()
}

fn of_group_down(manifest: &Manifest, why: &str) -> String {
    format!(
        "{} {} cannot be applied: what serves {} in the cluster does not answer, though the cluster does ({why}); look at its \
         APIService",
        manifest.kind(),
        manifest.name(),
        manifest.api_version()
    )
}

/// Kinds that are served, with whether they are new to the cluster.
type ServedKinds = HashMap<Gvk, (Kind, bool)>;
/// Kinds that cannot be asked for, because what serves their group is away, and why.
type KindsDown = HashMap<Gvk, String>;

/// The kinds of all manifests; kinds that nobody knows are left out.
async fn serve(
    connection: &Connection,
    manifests: &[Manifest],
    brought: &HashMap<Gvk, Kind>,
) -> Result<(ServedKinds, KindsDown), DeployError> {
    let wanted: BTreeSet<Gvk> = manifests.iter().map(gvk).collect();
    let versions: BTreeSet<(String, String)> =
        wanted.iter().map(|(g, v, _)| (g.clone(), v.clone())).collect();
    let infra = |e| connection.infra(&e);
    connection.warm_kinds(versions.into_iter().collect()).await.map_err(infra)?;
    let (mut served, mut down) = (HashMap::new(), HashMap::new());
    for gvk in wanted {
        let there = match connection.kind(&gvk.0, &gvk.1, &gvk.2).await {
            Err(CallError::Own(why)) => {
                down.insert(gvk, why.to_string());
                continue;
            }
            there => there.map_err(infra)?,
        };
        if let Some(kind) = there {
            served.insert(gvk, (kind, false));
        } else if let Some(kind) = brought.get(&gvk) {
            served.insert(gvk, (kind.clone(), true));
        }
    }
    Ok((served, down))
}

/// The namespace by the kind's scope, the manifest and the binding, in this order.
fn namespace(manifest: &Manifest, kind: &Kind, binding: &ClusterBinding) -> Result<Option<String>, String> {
    match (kind.namespaced, manifest.namespace()) {
        (true, Some(ns)) => Ok(Some(ns.to_owned())),
        (true, None) => Ok(Some(binding.namespace.clone())),
        (false, None) => Ok(None),
        (false, Some(ns)) => Err(format!(
            "{} {} names namespace {ns}, but a {} belongs to no namespace; take metadata.namespace out",
            manifest.kind(),
            manifest.name(),
            manifest.kind()
        )),
    }
}

fn not_allowed(manifest: &Manifest, namespace: Option<&str>, binding: &ClusterBinding) -> String {
    let (kind, name, cluster) = (manifest.kind(), manifest.name(), &binding.cluster);
    match namespace {
        Some(ns) => {
            let mut may: Vec<&str> = vec![&binding.namespace];
            may.extend(binding.allow_namespaces.iter().map(String::as_str));
            format!(
                "{kind} {name} wants namespace {ns}, the binding allows {}; `slipway bind REPO --cluster {cluster} \
                 --allow-namespace {ns}` would allow it",
                may.join(", ")
            )
        }
        None => format!(
            "{kind} {name} belongs to no namespace, which the binding does not allow; `slipway bind REPO --cluster \
             {cluster} --cluster-scoped` would allow it"
        ),
    }
}

/// Why a kind is unknown, with what the cluster does serve.
async fn unknown_kind(connection: &Connection, manifest: &Manifest) -> Result<String, DeployError> {
    let (group, version, kind) = (manifest.group(), manifest.version(), manifest.kind());
    let api_version = manifest.api_version();
    let versions = connection.served_versions(group).await.map_err(|e| connection.infra(&e))?;
    if versions.is_empty() {
        return Ok(format!(
            "the cluster does not know {kind} of {api_version}: it has no API group {group}; if that is a custom \
             resource, apply its CustomResourceDefinition first or in the same push"
        ));
    }
    for other in versions.iter().filter(|v| *v != version) {
        let there = connection.kind(group, other, kind).await.map_err(|e| connection.infra(&e))?;
        if there.is_some() {
            let slash = if group.is_empty() { "" } else { "/" };
            return Ok(format!("the cluster serves {kind} as {group}{slash}{other}, not as {api_version}"));
        }
    }
    Ok(format!("the cluster does not know the kind {kind} of {api_version}; check its spelling"))
}

/// What can only be told now that namespaces are known: objects that come twice, and such as etcd would not take.
fn check(wanted: &[Wanted]) -> Vec<String> {
    let mut seen: HashMap<&Key, &str> = HashMap::new();
    let mut wrong = Vec::new();
    for one in wanted {
        if let Some(first) = seen.insert(&one.key, &one.source) {
            wrong.push(format!("{} is already described at {first}", one.title()));
        }
        let bytes = serde_json::to_vec(&one.payload).map_or(0, |v| v.len());
        if bytes > OBJECT_BYTES_MAX {
            wrong.push(format!("{} has {bytes} bytes, {OBJECT_BYTES_MAX} are allowed", one.title()));
        }
    }
    wrong
}
