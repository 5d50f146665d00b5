//! Looks without writing: what a deploy would do, what the cluster would refuse, and whether the cluster can be used.

use std::collections::HashSet;
use std::fmt;

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};
use slipway_core::deploy::{Change, InventoryEntry};
use slipway_core::target::ClusterBinding;
use slipway_core::{Problem, RepoName};
use tokio_util::sync::CancellationToken;

use crate::apply::{Live, may_recreate, to_send};
use crate::blame::Doubt;
use crate::cluster::Connection;
use crate::error::{DeployError, Trouble};
use crate::journal::{Board, Silence};
use crate::limits::{DIFF_PATHS_MAX, MESSAGE_BYTES_MAX, cut};
use crate::manifest::Manifest;
use crate::owner::{APPLIED, Owner};
use crate::place::place;
use crate::prune::{Fate, PruneConfirmation, within_budget};
use crate::reconcile::{Reconcile, emptied, key_of};
use crate::run::{Known, Run, Terms};
use crate::wire::{Call, JSON};
use crate::words;

/// What a deploy would do with one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectDiff {
    /// API group; empty for the core group.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Namespace; `None` for objects of no namespace.
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
    /// `file:line`; empty for objects that left the repository.
    pub source: String,
    /// `Created`, `Configured`, `Unchanged`, `Pruned`, `Kept` or `Refused`.
    pub change: Change,
    /// Paths of fields that would change, like `spec.template.spec.containers[0].image`, at most [`DIFF_PATHS_MAX`].
    /// Paths alone: values may be secret.
    pub fields: Vec<String>,
    /// Why, where that is not plain.
    pub message: String,
}

impl Connection {
    /// What the cluster would refuse of these manifests, a sentence each with `file:line`; empty if nothing. Writes
    /// nothing. Objects whose kind or namespace comes with the same push are not shown to it. `inventory` is what was
    /// applied before, `prune` what was said about deletes; the
    /// repository's name is part of what is compared. `Err` only where the cluster does not answer.
    pub async fn dry_run(
        &self,
        repo_name: &RepoName,
        binding: &ClusterBinding,
        manifests: Vec<Manifest>,
        inventory: &[InventoryEntry],
        prune: PruneConfirmation,
    ) -> Result<Vec<String>, DeployError> {
        if let Some(empty) = emptied(&manifests, inventory, prune) {
            return Ok(vec![Problem::from(empty).to_string()]);
        }
        let owner = Owner::new(&self.server, binding.repo, repo_name.as_str(), &binding.cluster);
        match self.look(owner, binding, &manifests, inventory).await {
            Ok(()) => Ok(Vec::new()),
            Err(
                DeployError::Placement(told)
                | DeployError::NotAllowed(told)
                | DeployError::Foreign(told)
                | DeployError::Refused(told),
            ) => Ok(told),
            Err(error) => Err(error),
        }
    }

    /// The first half of a deploy, that writes nothing.
    async fn look(
        &self,
        owner: Owner,
        binding: &ClusterBinding,
        manifests: &[Manifest],
        inventory: &[InventoryEntry],
    ) -> Result<(), DeployError> {
        let stop = CancellationToken::new();
        let run = self.run(owner, binding, manifests, inventory, &stop).await?;
        let live = run.read_all().await?;
        run.check_claims(&live)?;
        run.dry_run_all(&live).await
    }

    /// Objects of the manifests that others apply, or that are there by nobody's known doing: what an owner may take over.
    pub async fn adoptable(&self, r: Reconcile<'_>) -> Result<Vec<String>, DeployError> {
        let owner = Owner::new(&self.server, r.repo, r.repo_name.as_str(), &r.binding.cluster);
        let stop = CancellationToken::new();
        let run = self.run(owner, r.binding, &r.manifests, &r.inventory, &stop).await?;
        let live = run.read_all().await?;
        Ok(run.foreigners(&live))
    }

    /// A run that only looks.
    async fn run<'a>(
        &'a self,
        owner: Owner,
        binding: &'a ClusterBinding,
        manifests: &[Manifest],
        inventory: &[InventoryEntry],
        stop: &'a CancellationToken,
    ) -> Result<Run<'a>, DeployError> {
        let wanted = place(self, binding, &owner, manifests).await?;
        let (shared, _) = self.shared(binding, &wanted).await?;
        let board = Board::new(&Silence, &wanted);
        let (known, timing, terms) = (Known::of(inventory), self.timing, Terms { owner, shared });
        Ok(Run { connection: self, terms, takes_all: false, binding, wanted, known, board, stop, timing })
    }

    /// What a deploy would do to each object, deletes included. Writes nothing.
    pub async fn diff(&self, r: Reconcile<'_>) -> Result<Vec<ObjectDiff>, DeployError> {
        let owner = Owner::new(&self.server, r.repo, r.repo_name.as_str(), &r.binding.cluster);
        let stop = CancellationToken::new();
        let run = self.run(owner, r.binding, &r.manifests, &r.inventory, &stop).await?;
        let (seen, refused) =
            run.each((0..run.wanted.len()).collect(), async |i| run.diff_one(i).await).await?;
        let refused = refused.into_iter().map(|(i, why)| (i, run.line(i, Change::Refused, Vec::new(), why)));
        let mut diffs: Vec<(usize, ObjectDiff)> = seen.into_iter().chain(refused).collect();
        diffs.sort_by_key(|(i, _)| *i);
        let mut diffs: Vec<ObjectDiff> = diffs.into_iter().map(|(_, d)| d).collect();
        diffs.extend(run.diff_left(&r.inventory, r.prune).await?);
        Ok(diffs)
    }

    /// Whether the cluster can be used, in one line: `Kubernetes v1.31.2 as system:serviceaccount:x:y, may apply`.
    pub async fn test(&self) -> Result<String, DeployError> {
        let infra = |e| self.infra(&e);
        let version = self.call(&Call::get("/version")).await.map_err(infra)?.object().map_err(infra)?;
        let version = cut(version["gitVersion"].as_str().unwrap_or("of an unknown version"), 100);
        let may = self.may("patch", "apps", "deployments").await?;
        let who = self.who().await.map(|w| format!(" as {w}")).unwrap_or_default();
        let may = if may {
            "may apply to every namespace"
        } else {
            "may not apply to every namespace; bindings work where it may"
        };
        Ok(format!("Kubernetes {version}{who}, {may}"))
    }

    async fn may(&self, verb: &str, group: &str, resource: &str) -> Result<bool, DeployError> {
        let attributes = json!({"verb": verb, "group": group, "resource": resource});
        let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes}});
        let call = Call {
            method: Method::POST,
            path: "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews".into(),
            body: Bytes::from(review.to_string()),
            content_type: JSON,
            doubt: Doubt::None,
        };
        let answer =
            self.call(&call).await.map_err(|e| self.infra(&e))?.object().map_err(|e| self.infra(&e))?;
        Ok(answer["status"]["allowed"].as_bool() == Some(true))
    }

    /// Whom the cluster takes us for; servers before 1.27 cannot tell.
    async fn who(&self) -> Option<String> {
        let call = Call {
            method: Method::POST,
            path: "/apis/authentication.k8s.io/v1/selfsubjectreviews".into(),
            body: Bytes::from_static(
                br#"{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}"#,
            ),
            content_type: JSON,
            doubt: Doubt::None,
        };
        let answer = self.call(&call).await.ok()?.object().ok()?;
        answer["status"]["userInfo"]["username"].as_str().map(|u| cut(u, 200))
    }
}

impl Run<'_> {
    fn line(&self, i: usize, change: Change, fields: Vec<String>, message: String) -> ObjectDiff {
        let Some(w) = self.wanted.get(i) else { return ObjectDiff::empty(change) };
        ObjectDiff {
            group: w.key.group.clone(),
            kind: w.key.kind.clone(),
            namespace: w.key.namespace.clone(),
            name: w.key.name.clone(),
            source: w.source.clone(),
            change,
            fields,
            message: cut(&message, MESSAGE_BYTES_MAX),
        }
    }

    async fn diff_one(&self, i: usize) -> Result<ObjectDiff, Trouble> {
        let Some(wanted) = self.wanted.get(i) else { return Ok(ObjectDiff::empty(Change::Pending)) };
        let infra = |e| Trouble::Cluster(self.connection.infra(&e));
        let before = match self.connection.call(&Call::read(wanted.path())).await {
            Ok(answer) => Some(answer.object().map_err(infra)?),
            Err(e) if e.code() == 404 && wanted.brought => {
                let why = "its kind or namespace comes with the same push, so the cluster was not asked";
                return Ok(self.line(i, Change::Created, Vec::new(), why.to_owned()));
            }
            Err(e) if e.code() == 404 => None,
            Err(e) => return Err(self.connection.trouble(wanted, "read", &e)),
        };
        let live = before.as_ref().map(|object| Live::of(wanted, &self.terms, object));
        let mut remarks = Vec::new();
        if let Some(live) = &live {
            if let Some(why) = &live.left_alone {
                return Ok(self.line(i, Change::Unchanged, Vec::new(), why.clone()));
            }
            if let Some(why) = self.foreign(wanted, &live.claim, &live.uid) {
                return Err(Trouble::Refused(format!("it {why}")));
            }
            remarks.extend(live.adopted.iter().flat_map(|a| a.notes.clone()));
            if let Some(takeover) = &live.takeover {
                let from = takeover.from.iter().cloned().collect::<Vec<_>>().join(", ");
                remarks.push(format!(
                    "takes over from {from}, and what those wrote and the manifest does not say goes"
                ));
            }
        }
        let after = match self.connection.send(wanted, to_send(wanted, live.as_ref()), true, true).await {
            Ok(answer) => answer.object().map_err(infra)?,
            Err(e) if e.is_no_dry_run() => {
                let change = if before.is_some() { Change::Configured } else { Change::Created };
                return Ok(self.line(i, change, Vec::new(), "a webhook cannot be asked beforehand".into()));
            }
            Err(e) if words::is_fixed(&e) && may_recreate(wanted) => {
                return Ok(self.line(i, Change::Configured, Vec::new(), "is deleted and made anew".into()));
            }
            Err(e) => return Err(self.connection.trouble(wanted, "apply", &e)),
        };
        let remarks = remarks.join("; ");
        let Some(before) = before else {
            return Ok(self.line(i, Change::Created, Vec::new(), remarks));
        };
        let fields = changed_fields(&before, &after);
        let moves = live.is_some_and(|l| l.takeover.is_some());
        let change = if fields.is_empty() && !moves { Change::Unchanged } else { Change::Configured };
        Ok(self.line(i, change, fields, remarks))
    }

    async fn diff_left(
        &self,
        inventory: &[InventoryEntry],
        confirmed: PruneConfirmation,
    ) -> Result<Vec<ObjectDiff>, DeployError> {
        let left = self.left(inventory);
        let fates = self.fates(&left, &HashSet::new()).await?;
        let deletes = fates.iter().filter(|(_, f)| matches!(f, Fate::Delete { .. })).count();
        let many = !within_budget(deletes, inventory.len()) && !confirmed.covers(deletes);
        let line = |(entry, fate): (InventoryEntry, Fate)| {
            let (change, message) = match fate {
                Fate::Gone => return None,
                Fate::Released(why) | Fate::Kept(why) => (Change::Kept, why),
                Fate::Delete { .. } if many => {
                    (Change::Held, "too many objects would be deleted at once".into())
                }
                Fate::Held => (Change::Held, String::new()),
                Fate::Delete { .. } => (Change::Pruned, String::new()),
            };
            let key = key_of(&entry);
            let (group, kind, namespace, name) = (key.group, key.kind, key.namespace, key.name);
            Some(ObjectDiff {
                group,
                kind,
                namespace,
                name,
                source: String::new(),
                change,
                fields: Vec::new(),
                message,
            })
        };
        Ok(fates.into_iter().filter_map(line).collect())
    }
}

impl fmt::Display for ObjectDiff {
    /// `change   Deployment team/web (web.yaml:1): spec.replicas`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let change = match self.change {
            Change::Pending => "pending",
            Change::Created => "create",
            Change::Configured => "change",
            Change::Unchanged => "same",
            Change::Pruned => "delete",
            Change::Kept | Change::Held => "keep",
            Change::Refused => "refused",
        };
        write!(f, "{change:<8} {}", self.title())?;
        if !self.source.is_empty() {
            write!(f, " ({})", self.source)?;
        }
        if !self.fields.is_empty() {
            write!(f, ": {}", self.fields.join(", "))?;
        }
        if !self.message.is_empty() {
            write!(f, ": {}", self.message)?;
        }
        Ok(())
    }
}

impl ObjectDiff {
    fn title(&self) -> String {
        match &self.namespace {
            Some(ns) => format!("{} {ns}/{}", self.kind, self.name),
            None => format!("{} {}", self.kind, self.name),
        }
    }

    fn empty(change: Change) -> Self {
        let (group, kind, name, source, message) = Default::default();
        Self { group, kind, namespace: None, name, source, change, fields: Vec::new(), message }
    }
}

/// Paths at which two states of an object differ, what only the server writes aside.
fn changed_fields(before: &Value, after: &Value) -> Vec<String> {
    let mut paths = Vec::new();
    let strip = |object: &Value| {
        let mut object = object.clone();
        if let Some(all) = object.as_object_mut() {
            all.remove("status");
        }
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            for field in
                ["managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink"]
            {
                metadata.remove(field);
            }
            if let Some(Value::Object(annotations)) = metadata.get_mut("annotations") {
                // A hash of the rest: if it alone differs, nothing that anybody wrote does.
                annotations.remove(APPLIED);
            }
        }
        object
    };
    compare(&strip(before), &strip(after), "", &mut paths);
    paths
}

fn compare(before: &Value, after: &Value, at: &str, paths: &mut Vec<String>) {
    if paths.len() >= DIFF_PATHS_MAX || before == after {
        return;
    }
    match (before, after) {
        (Value::Object(b), Value::Object(a)) => {
            let keys: std::collections::BTreeSet<&String> = b.keys().chain(a.keys()).collect();
            for key in keys {
                let dot = if at.is_empty() { "" } else { "." };
                let shown =
                    if key.contains(['.', '/']) { format!("{at}[{key}]") } else { format!("{at}{dot}{key}") };
                compare(
                    b.get(key).unwrap_or(&Value::Null),
                    a.get(key).unwrap_or(&Value::Null),
                    &shown,
                    paths,
                );
            }
        }
        (Value::Array(b), Value::Array(a)) if b.len() == a.len() => {
            for (i, (b, a)) in b.iter().zip(a).enumerate() {
                compare(b, a, &format!("{at}[{i}]"), paths);
            }
        }
        _ => paths.push(cut(at, 300)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_told_by_path_and_never_by_value() {
        let before = json!({"metadata": {"resourceVersion": "1", "annotations": {"a/b": "1", APPLIED: "x"}}, "spec": {"list": [{"image": "a:1"}], "gone": 1}, "status": {"x": 1}});
        let after = json!({"metadata": {"resourceVersion": "2", "annotations": {"a/b": "2", APPLIED: "y"}}, "spec": {"list": [{"image": "a:2"}], "new": {"secret": "hunter2"}}, "status": {"x": 2}});
        let got = changed_fields(&before, &after);
        assert_eq!(got, ["metadata.annotations[a/b]", "spec.gone", "spec.list[0].image", "spec.new"]);
        assert!(changed_fields(&before, &before).is_empty());
    }
}
