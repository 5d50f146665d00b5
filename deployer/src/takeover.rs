//! Fields that other tools wrote, moved to this server's name. Pure.
//!
//! Whoever deployed an object before (`kubectl apply` of either kind, Argo CD, Flux, Helm, kapp) has left its fields under a
//! manager of its own. Left there, a field that a manifest drops would stay for ever, because another manager still claims
//! it, and a port could not be changed. So before an object is written their entries are united with ours, as client-go's
//! `csaupgrade` does it. `fieldsV1` is a trie of objects: union is a deep merge.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::payload::LAST_APPLIED;

/// The field manager of every write.
pub(crate) const MANAGER: &str = "slipway";

/// Managers of tools that keep whole objects, by what they call themselves; operators name further ones.
const TOOLS: [&str; 13] = [
    // kubectl without --server-side, and what was there before there were managers.
    "kubectl-client-side-apply",
    "before-first-apply",
    // Argo CD, and what it called itself before 2.5.
    "argocd-controller",
    "argocd-application-controller",
    // Flux.
    "kustomize-controller",
    "gotk-kustomize-controller",
    "helm-controller",
    "gotk-helm-controller",
    "flux-client-side-apply",
    // Helm from the command line.
    "helm",
    // kapp, and kubectl with ApplySets.
    "kapp",
    "kapp-server-side-apply",
    "kubectl-applyset",
];

/// Whose fields are taken over.
#[derive(Clone, Debug, Default)]
pub(crate) struct Managers(pub(crate) BTreeSet<String>);

/// Fields to be moved to us before an object is written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Takeover {
    /// A JSON patch, bound to the object's resourceVersion.
    pub(crate) patch: Value,
    /// Whose they were.
    pub(crate) from: BTreeSet<String>,
}

impl Managers {
    /// What is to be moved of a live object; `None` if there is nothing.
    pub(crate) fn takeover(&self, live: &Value, api_version: &str) -> Option<Takeover> {
        let metadata = &live["metadata"];
        let entries = metadata["managedFields"].as_array()?;
        let version = metadata["resourceVersion"].as_str()?;
        let (theirs, mut rest): (Vec<Value>, Vec<Value>) = entries
            .iter()
            .cloned()
            .partition(|e| self.takes(e) && e["apiVersion"].as_str() == Some(api_version));
        if theirs.is_empty() {
            return None;
        }
        let at = rest.iter().position(|e| {
            e["manager"] == MANAGER
                && e["operation"] == "Apply"
                && e["apiVersion"] == api_version
                && is_main(e)
        });
        let mut ours = match at {
            Some(at) => rest.remove(at),
            None => {
                json!({"manager": MANAGER, "operation": "Apply", "apiVersion": api_version, "fieldsType": "FieldsV1", "fieldsV1": {}})
            }
        };
        let mut from = BTreeSet::new();
        for entry in theirs {
            if ours["time"].is_null() {
                ours["time"] = entry["time"].clone();
            }
            from.extend(entry["manager"].as_str().map(str::to_owned));
            let mut fields = entry["fieldsV1"].clone();
            // A status is its controller's, also where an old server does not tell it apart.
            if let Some(fields) = fields.as_object_mut() {
                fields.remove("f:status");
            }
            unite(&mut ours["fieldsV1"], fields);
        }
        rest.push(ours);
        let patch = json!([
            {"op": "test", "path": "/metadata/resourceVersion", "value": version},
            {"op": "replace", "path": "/metadata/managedFields", "value": rest},
        ]);
        Some(Takeover { patch, from })
    }

    /// True for an entry of `managedFields` whose fields are taken over.
    pub(crate) fn takes(&self, entry: &Value) -> bool {
        let only_status =
            entry["fieldsV1"].as_object().is_some_and(|f| f.len() == 1 && f.contains_key("f:status"));
        if !is_main(entry) || only_status {
            return false;
        }
        match entry["manager"].as_str() {
            Some(MANAGER) | None => false,
            // Plain `kubectl` was the name of client-side apply before 1.18, but is also that of edits and scales: there
            // the annotation that only an apply writes tells.
            Some("kubectl") if entry["operation"] == "Update" => {
                self.0.contains("kubectl")
                    || !entry["fieldsV1"]["f:metadata"]["f:annotations"][format!("f:{LAST_APPLIED}").as_str()]
                        .is_null()
            }
            Some("kubectl") => true,
            Some(manager) => TOOLS.contains(&manager) || self.0.contains(manager),
        }
    }
}

fn is_main(entry: &Value) -> bool {
    entry["subresource"].as_str().unwrap_or_default().is_empty()
}

fn unite(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                match into.get_mut(&key) {
                    Some(there) => unite(there, value),
                    None => {
                        into.insert(key, value);
                    }
                }
            }
        }
        (into, from) if into.is_null() => *into = from,
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubectls_fields_become_ours_and_others_stay() {
        let live = json!({"metadata": {"resourceVersion": "7", "managedFields": [
            {"manager": "kubectl-client-side-apply", "operation": "Update", "apiVersion": "v1", "time": "t", "fieldsV1": {"f:data": {"f:a": {}}}},
            {"manager": "slipway", "operation": "Apply", "apiVersion": "v1", "time": "u", "fieldsV1": {"f:data": {"f:b": {}}}},
            {"manager": "kubectl", "operation": "Update", "apiVersion": "v1", "fieldsV1": {"f:data": {"f:edited": {}}}},
            {"manager": "controller", "operation": "Update", "apiVersion": "v1", "subresource": "status", "fieldsV1": {}},
        ]}});
        let none = Managers::default();
        let Takeover { patch, from } = none.takeover(&live, "v1").expect("there is something to take");
        assert_eq!(from, BTreeSet::from(["kubectl-client-side-apply".to_owned()]));
        assert_eq!(patch[0], json!({"op": "test", "path": "/metadata/resourceVersion", "value": "7"}));
        let entries = patch[1]["value"].as_array().expect("entries");
        let managers: Vec<_> = entries.iter().map(|e| e["manager"].as_str().expect("manager")).collect();
        assert_eq!(managers, ["kubectl", "controller", "slipway"]);
        assert_eq!(entries[2]["fieldsV1"], json!({"f:data": {"f:a": {}, "f:b": {}}}));
        assert_eq!(
            none.takeover(&json!({"metadata": {"resourceVersion": "7", "managedFields": []}}), "v1"),
            None
        );
        assert_eq!(none.takeover(&live, "v2"), None, "fields of another version are not ours to read");
    }

    #[test]
    fn tools_and_named_managers_are_taken_over_and_nobody_else() {
        let entry = |manager: &str, operation: &str| json!({"manager": manager, "operation": operation, "fieldsV1": {"f:spec": {}}});
        let named = Managers(["terraform".to_owned()].into());
        for (manager, operation) in [
            ("argocd-controller", "Apply"),
            ("argocd-controller", "Update"),
            ("kustomize-controller", "Apply"),
            ("helm", "Update"),
            ("kubectl", "Apply"),
            ("terraform", "Update"),
        ] {
            assert!(named.takes(&entry(manager, operation)), "{manager} {operation}");
        }
        for (manager, operation) in [
            ("kubectl", "Update"),
            ("kube-controller-manager", "Update"),
            ("slipway", "Apply"),
            ("kubectl-edit", "Update"),
        ] {
            assert!(!named.takes(&entry(manager, operation)), "{manager} {operation}");
        }
        assert!(!Managers::default().takes(&entry("terraform", "Apply")));
        let status =
            json!({"manager": "helm-controller", "operation": "Update", "fieldsV1": {"f:status": {}}});
        assert!(!named.takes(&status));
        let scale = json!({"manager": "helm", "operation": "Update", "subresource": "scale", "fieldsV1": {"f:spec": {}}});
        assert!(!named.takes(&scale));
    }
}
