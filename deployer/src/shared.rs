//! Fields that an object shares with others: an autoscaler's replicas, and what rules and annotations leave alone. Pure.
//!
//! What is left alone is sent as it is in the cluster (so that whoever set it keeps it, and nothing is reset to a default),
//! or not sent at all where another applier owns it or it is gone. Only objects that are there share anything: one that is
//! made begins with what the repository says.

use std::collections::HashMap;

use serde_json::Value;
use slipway_core::deploy_rules::{IgnoreRule, Ignored};
use slipway_core::field_path::{FieldPath, Step};

use crate::owner::{APPLIED, Key, OWNED_BY, PART_OF, REPOSITORY};
use crate::takeover::{MANAGER, Managers};
use crate::wishes::Wishes;

/// Who scales what, by namespace, group, kind and name of what is scaled.
pub(crate) type Scalers = HashMap<Key, String>;

/// What is left alone in one binding's objects.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub(crate) scalers: Scalers,
    pub(crate) rules: Vec<IgnoreRule>,
    /// Whose fields are ours by the time that an object is written.
    pub(crate) managers: Managers,
}

/// What is to be sent in the place of what the manifest says.
#[derive(Debug)]
pub(crate) struct Adopted {
    pub(crate) payload: Value,
    /// Remarks on what is left to others, a clause each after the object's name.
    pub(crate) notes: Vec<String>,
}

impl Shared {
    /// What to send of `wanted` while the object is as `live`; `None` where it is just what the manifest says.
    pub(crate) fn adopt(&self, key: &Key, wishes: &Wishes, wanted: &Value, live: &Value) -> Option<Adopted> {
        let mut payload = wanted.clone();
        let mut notes = Vec::new();
        notes.extend(self.replicas(key, &mut payload, live));
        let rules = self.rules.iter().filter(|r| r.is_for(&key.group, &key.kind, &key.name)).map(|r| &r.what);
        for what in rules.chain(&wishes.ignore) {
            match what {
                Ignored::Field(path) => self.leave(path, &mut payload, live),
                Ignored::Manager(name) => leave_to(name, &mut payload, live),
            }
        }
        (payload != *wanted).then_some(Adopted { payload, notes })
    }

    /// The number of replicas is an autoscaler's where there is one. Where the manifest says none, it stays: left out, a
    /// field that nobody else owns would fall back to 1.
    fn replicas(&self, key: &Key, payload: &mut Value, live: &Value) -> Option<String> {
        let is = live["spec"]["replicas"].as_i64()?;
        let spec = payload.get_mut("spec")?.as_object_mut()?;
        let Some(said) = spec.get("replicas").cloned() else {
            if !owns(live, |e| self.is_ours(e), &["spec", "replicas"]) {
                return None;
            }
            spec.insert("replicas".into(), is.into());
            // One is what it would be anyhow.
            return (is != 1).then(|| format!("keeps its {is} replicas, of which the manifest says nothing"));
        };
        let scaler = self.scalers.get(key)?;
        // None at all turns an autoscaler off, and only whoever said so turns it on again.
        if is == 0 || said.as_i64() == Some(0) || said.as_i64() == Some(is) {
            return None;
        }
        spec.insert("replicas".into(), is.into());
        Some(format!("keeps its {is} replicas, which {scaler} sets; the manifest says {said}"))
    }

    /// Leaves a field as it is in the cluster.
    fn leave(&self, path: &FieldPath, payload: &mut Value, live: &Value) {
        if let Some(keys) = path.keys() {
            // Lists aside: there, who owns what is written by the items' own keys.
            if owns(live, |e| !self.is_ours(e) && e["operation"] == "Apply", &keys) {
                remove(&keys, payload);
                return;
            }
            let is_theirs = at(&keys, payload).is_none() && at(&keys, live).is_some();
            if is_theirs && !owns(live, |e| self.is_ours(e), &keys) {
                return;
            }
        }
        adopt(&path.steps, payload, Some(live));
    }

    fn is_ours(&self, entry: &Value) -> bool {
        entry["manager"] == MANAGER || self.managers.takes(entry)
    }
}

/// What an autoscaler scales, of its own kind's specification in any version.
pub(crate) fn scaled_by(autoscaler: &Value, namespace: &str) -> Option<(Key, String)> {
    let target = &autoscaler["spec"]["scaleTargetRef"];
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let (api_version, kind, name) =
        (text(&target["apiVersion"]), text(&target["kind"]), text(&target["name"]));
    if kind.is_empty() || name.is_empty() {
        return None;
    }
    let group = crate::manifest::split_api_version(&api_version).0.to_owned();
    let by = format!("HorizontalPodAutoscaler {}", text(&autoscaler["metadata"]["name"]));
    Some((Key { group, kind, namespace: Some(namespace.to_owned()), name }, by))
}

/// True if an object has a number of replicas that somebody may scale.
pub(crate) fn is_scalable(payload: &Value) -> bool {
    payload["spec"]["replicas"].is_number()
}

fn at<'a>(keys: &[&str], value: &'a Value) -> Option<&'a Value> {
    keys.iter().try_fold(value, |at, key| at.get(key))
}

fn remove(keys: &[&str], value: &mut Value) {
    let Some((last, parents)) = keys.split_last() else { return };
    let parent = parents.iter().try_fold(value, |at, key| at.get_mut(key));
    if let Some(Value::Object(parent)) = parent {
        parent.remove(*last);
    }
}

/// Puts what `live` has at the path into `wanted`; takes it out where `live` has nothing.
fn adopt(steps: &[Step], wanted: &mut Value, live: Option<&Value>) {
    let Some((first, rest)) = steps.split_first() else { return };
    if let Step::Where(keys, value) = first {
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        if at(&keys, wanted) == Some(value) {
            adopt(rest, wanted, live);
        }
        return;
    }
    match (wanted, first) {
        (Value::Object(fields), Step::Key(key)) => {
            let is = live.and_then(|l| l.get(key));
            match is {
                _ if !rest.is_empty() => {
                    if let Some(next) = fields.get_mut(key) {
                        adopt(rest, next, is);
                    }
                }
                Some(value) => {
                    fields.insert(key.clone(), value.clone());
                }
                None => {
                    fields.remove(key);
                }
            }
        }
        (Value::Array(items), step) => {
            for (n, item) in items.iter_mut().enumerate().filter(|(n, _)| is_item(step, *n)) {
                match counterpart(item, live, n) {
                    Some(there) if rest.is_empty() => *item = there.clone(),
                    there => adopt(rest, item, there),
                }
            }
        }
        _ => {}
    }
}

/// Whether a step names the item of that number. A pointer does not tell lists from mappings; the object does.
fn is_item(step: &Step, n: usize) -> bool {
    match step {
        Step::All => true,
        Step::Item(one) => *one == n,
        Step::Key(key) => key.parse() == Ok(n),
        Step::Where(..) => false,
    }
}

/// The same item in the cluster: of the same name, or at the same place where items have none.
fn counterpart<'a>(item: &Value, live: Option<&'a Value>, n: usize) -> Option<&'a Value> {
    let live = live?.as_array()?;
    match item.get("name") {
        Some(name) => live.iter().find(|l| l.get("name") == Some(name)),
        None => live.get(n),
    }
}

/// True if an entry of `managedFields` that `is` wanted owns the field at the keys.
fn owns(live: &Value, is: impl Fn(&Value) -> bool, keys: &[&str]) -> bool {
    let entries = live["metadata"]["managedFields"].as_array().into_iter().flatten();
    entries.filter(|e| is(e)).any(|e| {
        let mut at = &e["fieldsV1"];
        for (depth, key) in keys.iter().enumerate() {
            match at.get(format!("f:{key}")) {
                Some(next) => at = next,
                // An empty mapping is a field that is owned as a whole.
                None => return depth > 0 && at.as_object().is_some_and(serde_json::Map::is_empty),
            }
        }
        true
    })
}

/// Takes out of the payload what another field manager owns.
fn leave_to(manager: &str, payload: &mut Value, live: &Value) {
    if manager == MANAGER {
        return;
    }
    let marks = payload["metadata"].clone();
    for entry in live["metadata"]["managedFields"].as_array().into_iter().flatten() {
        if entry["manager"].as_str() == Some(manager) {
            strip(&entry["fieldsV1"], payload);
        }
    }
    // What makes it this object, and ours, is not to be had.
    for key in ["name", "namespace"] {
        put_back(&[key], &marks, &mut payload["metadata"]);
    }
    put_back(&["labels", PART_OF], &marks, &mut payload["metadata"]);
    for key in [OWNED_BY, REPOSITORY, APPLIED] {
        put_back(&["annotations", key], &marks, &mut payload["metadata"]);
    }
}

fn put_back(keys: &[&str], from: &Value, into: &mut Value) {
    if let Some(value) = at(keys, from)
        && at(keys, into) != Some(value)
    {
        let slot = keys.iter().fold(into, |at, key| &mut at[*key]);
        *slot = value.clone();
    }
}

/// Takes out of `value` what a `fieldsV1` names: `f:` fields, `k:` items by their keys, `v:` items by value.
fn strip(fields: &Value, value: &mut Value) {
    for (name, below) in fields.as_object().into_iter().flatten() {
        let is_leaf = below.as_object().is_some_and(serde_json::Map::is_empty);
        match (name.split_once(':'), &mut *value) {
            (Some(("f", "apiVersion" | "kind")), _) => {}
            (Some(("f", field)), Value::Object(there)) if is_leaf => {
                there.remove(field);
            }
            (Some(("f", field)), Value::Object(there)) => {
                if let Some(next) = there.get_mut(field) {
                    strip(below, next);
                }
            }
            (Some(("k", keys)), Value::Array(items)) => strip_item(keys, below, items),
            (Some(("v", one)), Value::Array(items)) => {
                let one: Value = serde_json::from_str(one).unwrap_or_default();
                items.retain(|item| *item != one);
            }
            _ => {}
        }
    }
}

/// An item keeps its keys while anything else of it is left, and goes with the last.
fn strip_item(keys: &str, below: &Value, items: &mut Vec<Value>) {
    let Ok(Value::Object(keys)) = serde_json::from_str(keys) else { return };
    let is = |item: &Value| keys.iter().all(|(k, v)| item.get(k) == Some(v));
    let Some(n) = items.iter().position(is) else { return };
    strip(below, &mut items[n]);
    if items[n].as_object().is_none_or(serde_json::Map::is_empty) {
        items.remove(n);
    } else {
        keys.iter().for_each(|(k, v)| items[n][k] = v.clone());
    }
}

#[cfg(test)]
mod tests;
