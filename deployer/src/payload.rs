//! What is sent of a manifest: cleaned of what only the cluster may say, and of what old servers stumble over. Pure.
//!
//! The rules are those that other appliers of server-side apply found the hard way: `status`, server-set metadata and
//! `creationTimestamp: null` out, `stringData` into `data`, the default `protocol` of ports written out (it is part of
//! the list's key, and servers before 1.20 merge wrongly without it).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::health::is_built_in;
use crate::owner::{APPLIED, Key, Owner, put};
use crate::same::covers;

/// kubectl's copy of the last manifest: never ours to write.
pub(crate) const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

const SERVER_SET: [&str; 8] = [
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generation",
    "managedFields",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// The object to send, marked as the owner's, with the hash of all that in [`APPLIED`].
pub(crate) fn payload(object: &Map<String, Value>, key: &Key, owner: &Owner) -> Value {
    let mut object = object.clone();
    object.remove("status");
    if let Some(Value::Object(metadata)) = object.get_mut("metadata") {
        clean_metadata(metadata, key);
    }
    match (key.group.as_str(), key.kind.as_str()) {
        ("", "Secret") => secret_data(&mut object),
        ("", "Service") => ports(object.get_mut("spec")),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => placeholder_bundle(&mut object),
        _ => {}
    }
    if let Some(spec) = pod_spec_mut(key, &mut object) {
        for list in ["containers", "initContainers"] {
            if let Some(Value::Array(containers)) = spec.get_mut(list) {
                containers.iter_mut().for_each(|c| ports(Some(c)));
            }
        }
    }
    drop_null_timestamps(&mut object);
    if is_built_in(&key.group) {
        object.values_mut().for_each(quantities_as_text);
    }
    owner.mark(key, &mut object);
    let hash = Sha256::digest(serde_json::to_vec(&object).unwrap_or_default());
    let hash = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(hash.get(..16).unwrap_or_default());
    if let Some(Value::Object(metadata)) = object.get_mut("metadata") {
        put(metadata, "annotations", APPLIED, &hash);
    }
    Value::Object(object)
}

fn clean_metadata(metadata: &mut Map<String, Value>, key: &Key) {
    for field in SERVER_SET {
        metadata.remove(field);
    }
    if let Some(Value::Object(annotations)) = metadata.get_mut("annotations") {
        annotations.remove(LAST_APPLIED);
    }
    match &key.namespace {
        Some(ns) => metadata.insert("namespace".into(), ns.as_str().into()),
        None => metadata.remove("namespace"),
    };
}

/// `stringData` is write-only and wins over `data`; as a field of its own it would never be removed again.
fn secret_data(object: &mut Map<String, Value>) {
    let Some(Value::Object(plain)) = object.remove("stringData") else { return };
    let data = object.entry("data").or_insert(Value::Null);
    if !data.is_object() {
        *data = Value::Object(Map::new());
    }
    let Value::Object(data) = data else { return };
    for (key, value) in plain {
        let encoded = match &value {
            Value::String(text) => Value::String(STANDARD.encode(text)),
            // Not a text: the cluster says so better.
            other => other.clone(),
        };
        data.insert(key, encoded);
    }
}

fn ports(of: Option<&mut Value>) {
    let Some(Value::Array(ports)) = of.and_then(|v| v.get_mut("ports")) else { return };
    for port in ports.iter_mut().filter_map(Value::as_object_mut) {
        port.entry("protocol").or_insert_with(|| "TCP".into());
    }
}

/// Generators put a bundle of one newline here for others to fill; sent, it would undo their work.
fn placeholder_bundle(object: &mut Map<String, Value>) {
    let config = object.get_mut("spec").and_then(|s| s.pointer_mut("/conversion/webhook/clientConfig"));
    if let Some(Value::Object(config)) = config
        && config.get("caBundle").and_then(Value::as_str) == Some("Cg==")
    {
        config.remove("caBundle");
    }
}

/// The pod's own specification inside a workload.
fn pod_spec_mut<'a>(key: &Key, object: &'a mut Map<String, Value>) -> Option<&'a mut Value> {
    let pointer = match (key.group.as_str(), key.kind.as_str()) {
        ("", "Pod") => "",
        ("apps" | "extensions", "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet")
        | ("batch", "Job")
        | ("", "ReplicationController") => "/template/spec",
        ("batch", "CronJob") => "/jobTemplate/spec/template/spec",
        _ => return None,
    };
    object.get_mut("spec")?.pointer_mut(pointer)
}

/// `creationTimestamp: null` of embedded metadata, which generators write.
fn drop_null_timestamps(object: &mut Map<String, Value>) {
    if object.get("creationTimestamp").is_some_and(Value::is_null) {
        object.remove("creationTimestamp");
    }
    for value in object.values_mut() {
        match value {
            Value::Object(inner) => drop_null_timestamps(inner),
            Value::Array(items) => {
                items.iter_mut().filter_map(Value::as_object_mut).for_each(drop_null_timestamps)
            }
            _ => {}
        }
    }
}

/// `cpu: 2` is a number in YAML and a text to servers before 1.21, which refuse it as a number.
fn quantities_as_text(of: &mut Value) {
    match of {
        Value::Object(fields) => {
            for (key, value) in fields {
                match value {
                    Value::Object(amounts) if matches!(key.as_str(), "limits" | "requests" | "hard") => {
                        let numbers = amounts.values_mut().filter(|v| v.is_number());
                        numbers.for_each(|v| *v = Value::String(v.to_string()));
                    }
                    other => quantities_as_text(other),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(quantities_as_text),
        _ => {}
    }
}

/// True if sending `wanted` would change nothing: the live object carries the hash of exactly this payload, and every
/// field of it still has its value. What others added is theirs.
pub(crate) fn is_unchanged(group: &str, wanted: &Value, live: &Value) -> bool {
    let hash = |o: &Value| o["metadata"]["annotations"][APPLIED].as_str().map(str::to_owned);
    live["metadata"]["deletionTimestamp"].is_null()
        && hash(wanted).is_some()
        && hash(wanted) == hash(live)
        && covers(live, wanted, is_built_in(group))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use slipway_core::{ClusterName, RepoId};

    fn cleaned(object: Value, group: &str) -> Value {
        let key = Key {
            group: group.into(),
            kind: object["kind"].as_str().expect("kind").into(),
            namespace: Some("ns".into()),
            name: "a".into(),
        };
        let owner = Owner::new("s", RepoId(1), "r", &ClusterName::parse("c").expect("name"));
        let mut got = payload(object.as_object().expect("object"), &key, &owner);
        let metadata = got["metadata"].as_object_mut().expect("metadata");
        metadata.remove("labels");
        metadata.remove("annotations");
        got
    }

    #[test]
    fn what_only_the_cluster_may_say_is_not_sent() {
        let got = cleaned(
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "status": {"x": 1},
                "metadata": {"name": "a", "uid": "u", "resourceVersion": "1", "generation": 2, "creationTimestamp": null, "managedFields": [], "selfLink": "/x"},
                "spec": {"template": {"metadata": {"creationTimestamp": null, "labels": {"a": "b"}},
                    "spec": {"containers": [{"name": "c", "ports": [{"containerPort": 80}, {"containerPort": 53, "protocol": "UDP"}]}]}}}}),
            "apps",
        );
        let want = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a", "namespace": "ns"},
            "spec": {"template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c",
                "ports": [{"containerPort": 80, "protocol": "TCP"}, {"containerPort": 53, "protocol": "UDP"}]}]}}}});
        assert_eq!(got, want);
    }

    #[test]
    fn quantities_are_sent_as_texts() {
        let spec = json!({"template": {"spec": {"containers": [{"resources": {"limits": {"cpu": 2, "memory": "1Gi"}, "requests": {"cpu": 0.5}}}]}}});
        let got = cleaned(
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"}, "spec": spec}),
            "apps",
        );
        let of = &got["spec"]["template"]["spec"]["containers"][0]["resources"];
        assert_eq!(*of, json!({"limits": {"cpu": "2", "memory": "1Gi"}, "requests": {"cpu": "0.5"}}));
    }

    #[test]
    fn plain_secret_texts_become_data_and_win() {
        let got = cleaned(
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}, "data": {"k": "b2xk", "l": "bA=="}, "stringData": {"k": "new"}}),
            "",
        );
        assert_eq!(got["data"], json!({"k": "bmV3", "l": "bA=="}));
        assert!(got.get("stringData").is_none());
    }

    #[test]
    fn the_marks_come_without_kubectls_copy() {
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "annotations": {LAST_APPLIED: "{}", "mine": "x"}}});
        let key = Key {
            group: String::new(),
            kind: "ConfigMap".into(),
            namespace: Some("ns".into()),
            name: "a".into(),
        };
        let owner = Owner::new("s", RepoId(1), "r", &ClusterName::parse("c").expect("name"));
        let got = payload(object.as_object().expect("object"), &key, &owner);
        let annotations = got["metadata"]["annotations"].as_object().expect("annotations");
        let keys: Vec<_> = annotations.keys().map(String::as_str).collect();
        assert_eq!(keys, ["mine", "slipway.dev/applied", "slipway.dev/owned-by", "slipway.dev/repository"]);
        assert_eq!(annotations["slipway.dev/owned-by"], "s/1/c:/ConfigMap:ns/a");
    }

    #[test]
    fn unchanged_means_same_hash_and_no_drift() {
        let wanted =
            json!({"metadata": {"annotations": {APPLIED: "h"}}, "data": {"a": "1"}, "list": [{"x": 1}]});
        let mut live = json!({"metadata": {"annotations": {APPLIED: "h", "other": "o"}, "uid": "u"}, "data": {"a": "1", "theirs": "2"}, "list": [{"x": 1, "defaulted": 2}]});
        assert!(is_unchanged("", &wanted, &live));
        live["data"]["a"] = json!("2");
        assert!(!is_unchanged("", &wanted, &live), "drift of a field of ours");
        live["data"]["a"] = json!("1");
        live["list"] = json!([{"x": 1}, {"x": 2}]);
        assert!(!is_unchanged("", &wanted, &live), "a longer list");
        live["list"] = json!([{"x": 1}]);
        live["metadata"]["annotations"][APPLIED] = json!("g");
        assert!(!is_unchanged("", &wanted, &live), "another payload was applied last");
        assert!(!is_unchanged("", &json!({}), &json!({})), "no hash proves nothing");
    }
}
