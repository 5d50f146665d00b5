//! What the pods of a manifest ask of their node, judged by Kubernetes' published Pod Security Standards (the profiles of
//! 1.34, which are the widest list of what leads out of a container). Pure.
//!
//! Looked into is every built-in kind that holds a pod. What is not of the type that a field has is refused by the cluster
//! and counts here as the worst that it could mean. A custom resource's pods are made by its controller, out of sight.

use serde_json::{Map, Value};
use slipway_core::target::PodSecurity;

mod baseline;
mod restricted;

#[cfg(test)]
mod tests;

/// What a level does not allow: which field, and why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    /// `spec.template.spec.hostNetwork`.
    pub(crate) field: String,
    /// A clause that follows the field: `is true`.
    pub(crate) what: String,
    /// The narrowest level that allows it.
    pub(crate) needs: PodSecurity,
}

/// All that `level` does not allow in an object of that group and kind.
pub(crate) fn violations(
    level: PodSecurity,
    group: &str,
    kind: &str,
    object: &Map<String, Value>,
) -> Vec<Violation> {
    let Some(path) = path_of_pod(group, kind) else { return Vec::new() };
    let mut found = Vec::new();
    let pod = Pod::find(object, path);
    if level >= PodSecurity::Baseline {
        let mut told = Told { found: &mut found, needs: PodSecurity::Privileged };
        baseline::check(&pod, &mut told);
    }
    if level >= PodSecurity::Restricted {
        let mut told = Told { found: &mut found, needs: PodSecurity::Baseline };
        restricted::check(&pod, &mut told);
    }
    found
}

/// Where the pod (its `metadata` and `spec`) lies in a built-in kind.
fn path_of_pod(group: &str, kind: &str) -> Option<&'static [&'static str]> {
    match (group, kind) {
        ("", "Pod") => Some(&[]),
        ("", "PodTemplate") => Some(&["template"]),
        ("", "ReplicationController")
        | ("apps" | "extensions", "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet")
        | ("batch", "Job") => Some(&["spec", "template"]),
        ("batch", "CronJob" | "ScheduledJob") => Some(&["spec", "jobTemplate", "spec", "template"]),
        _ => None,
    }
}

/// Where findings are put down, with the level that allows them.
struct Told<'a> {
    found: &'a mut Vec<Violation>,
    needs: PodSecurity,
}

impl Told<'_> {
    fn say(&mut self, field: String, what: impl Into<String>) {
        self.found.push(Violation { field, what: what.into(), needs: self.needs });
    }

    /// A field that must not be true.
    fn false_or_absent(&mut self, at: &At<'_>, key: &str) {
        if !matches!(at.get(key), Value::Null | Value::Bool(false)) {
            self.say(at.path(key), "is true");
        }
    }

    /// A field that must have one of these values, or none.
    fn one_of(&mut self, at: &At<'_>, key: &str, allowed: &[&str]) {
        let value = at.get(key);
        if !value.is_null() && !value.as_str().is_some_and(|v| v.is_empty() || allowed.contains(&v)) {
            self.say(at.path(key), format!("is {}", short(value)));
        }
    }
}

/// A value in a sentence, cut.
fn short(value: &Value) -> String {
    crate::limits::cut(value.as_str().map_or_else(|| value.to_string(), str::to_owned).as_str(), 60)
}

const NULL: &Value = &Value::Null;

/// A place in the object, with its path for people.
struct At<'a> {
    value: &'a Value,
    path: String,
}

impl<'a> At<'a> {
    fn get(&self, key: &str) -> &'a Value {
        self.value.get(key).unwrap_or(NULL)
    }

    fn path(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn at(&self, key: &str) -> At<'a> {
        At { value: self.get(key), path: self.path(key) }
    }

    /// The entries of a list.
    fn each(&self, key: &str) -> Vec<At<'a>> {
        let path = self.path(key);
        let entries = self.get(key).as_array().into_iter().flatten().enumerate();
        entries.map(|(i, value)| At { value, path: format!("{path}[{i}]") }).collect()
    }
}

/// A pod, wherever it is written.
struct Pod<'a> {
    metadata: At<'a>,
    spec: At<'a>,
    /// Containers of all three kinds.
    containers: Vec<At<'a>>,
    /// Its own settings, and after them those of every container.
    contexts: Vec<At<'a>>,
    windows: bool,
}

impl<'a> Pod<'a> {
    fn find(object: &'a Map<String, Value>, path: &[&str]) -> Self {
        let (value, first) = match path.split_first() {
            Some((first, _)) => (object.get(*first).unwrap_or(NULL), (*first).to_owned()),
            None => (NULL, String::new()),
        };
        let mut at = At { value, path: first };
        for key in path.iter().skip(1) {
            at = at.at(key);
        }
        let part = |key: &'static str| match path {
            [] => At { value: object.get(key).unwrap_or(NULL), path: key.to_owned() },
            _ => at.at(key),
        };
        let (metadata, spec) = (part("metadata"), part("spec"));
        let containers: Vec<At<'a>> = ["initContainers", "containers", "ephemeralContainers"]
            .into_iter()
            .flat_map(|key| spec.each(key))
            .collect();
        let own = std::iter::once(spec.at("securityContext"));
        let contexts = own.chain(containers.iter().map(|c| c.at("securityContext"))).collect();
        let windows = spec.at("os").get("name").as_str() == Some("windows");
        Self { metadata, spec, containers, contexts, windows }
    }
}
