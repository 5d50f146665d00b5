//! The profile `restricted`: what hardened pods need. What it asks for besides `baseline`.

use serde_json::Value;

use super::{At, Pod, Told, short};

const VOLUMES: [&str; 8] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

pub(super) fn check(pod: &Pod<'_>, told: &mut Told<'_>) {
    for volume in pod.spec.each("volumes") {
        let mut kinds = volume.value.as_object().into_iter().flatten();
        let of = kinds.find(|(key, value)| *key != "name" && !value.is_null()).map(|(key, _)| key.as_str());
        if !of.is_some_and(|kind| VOLUMES.contains(&kind)) {
            told.say(volume.path.clone(), format!("is of the kind {}", of.unwrap_or("none")));
        }
    }
    for context in &pod.contexts {
        if context.get("runAsNonRoot").as_bool() == Some(false) {
            told.say(context.path("runAsNonRoot"), "is false");
        }
        if context.get("runAsUser").as_i64() == Some(0) {
            told.say(context.path("runAsUser"), "is 0");
        }
    }
    let own = pod.spec.at("securityContext");
    for container in &pod.containers {
        let context = container.at("securityContext");
        must_be_set(&own, &context, told);
        // What these bound is Linux alone.
        if !pod.windows {
            linux(&own, &context, told);
        }
    }
}

fn must_be_set(own: &At<'_>, context: &At<'_>, told: &mut Told<'_>) {
    let set = |at: &At<'_>| at.get("runAsNonRoot").as_bool();
    if set(context).or(set(own)).is_none() {
        told.say(context.path("runAsNonRoot"), "is not true");
    }
}

fn linux(own: &At<'_>, context: &At<'_>, told: &mut Told<'_>) {
    if context.get("allowPrivilegeEscalation") != &Value::Bool(false) {
        told.say(context.path("allowPrivilegeEscalation"), "is not false");
    }
    let profile = |at: &At<'_>| at.at("seccompProfile").get("type").as_str().is_some_and(|t| !t.is_empty());
    if !profile(context) && !profile(own) {
        told.say(context.path("seccompProfile.type"), "is not RuntimeDefault or Localhost");
    }
    let capabilities = context.at("capabilities");
    let named = |key: &str| capabilities.get(key).as_array().cloned().unwrap_or_default();
    if !named("drop").iter().any(|c| c.as_str() == Some("ALL")) {
        told.say(capabilities.path("drop"), "does not name ALL");
    }
    for (i, capability) in named("add").iter().enumerate() {
        if capability.as_str() != Some("NET_BIND_SERVICE") {
            told.say(format!("{}[{i}]", capabilities.path("add")), format!("is {}", short(capability)));
        }
    }
}
