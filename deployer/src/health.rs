//! How an object is, from what the cluster says about it. Pure; by group and kind, never by version.
//!
//! The rules are the union of Argo CD's per-kind checks and kstatus' generic conditions, worst answer first. What is
//! behind it (pods, their logs) is `reason.rs`' business.

use serde_json::Value;
use slipway_core::deploy::Health;

/// How an object is and, where that is not plain, why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) health: Health,
    pub(crate) message: String,
}

impl Verdict {
    pub(crate) fn new(health: Health, message: impl Into<String>) -> Self {
        Self { health, message: message.into() }
    }

    fn healthy() -> Self {
        Self::new(Health::Healthy, "")
    }

    fn progressing(message: impl Into<String>) -> Self {
        Self::new(Health::Progressing, message)
    }

    fn degraded(message: impl Into<String>) -> Self {
        Self::new(Health::Degraded, message)
    }

    /// Nothing more to wait for.
    pub(crate) fn is_settled(&self) -> bool {
        matches!(self.health, Health::Healthy | Health::Suspended)
    }
}

/// The health of a live object.
pub(crate) fn health(group: &str, kind: &str, object: &Value) -> Verdict {
    if !object["metadata"]["deletionTimestamp"].is_null() {
        return Verdict::progressing("is being deleted");
    }
    if let Some(verdict) = generic(object) {
        return verdict;
    }
    match (group, kind) {
        ("apps" | "extensions", "Deployment") => deployment(object),
        ("apps", "StatefulSet") => stateful_set(object),
        ("apps" | "extensions", "DaemonSet") => daemon_set(object),
        ("apps" | "extensions", "ReplicaSet") | ("", "ReplicationController") => replica_set(object),
        ("", "Pod") => pod(object),
        ("batch", "Job") => job(object),
        ("", "PersistentVolumeClaim") => claim(object),
        ("", "Service") => service(object),
        ("", "Namespace") => namespace(object),
        ("autoscaling", "HorizontalPodAutoscaler") => autoscaler(object),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => definition(object),
        ("apiregistration.k8s.io", "APIService") => api_service(object),
        // `Ingress` is not waited for: many controllers never write its status.
        (g, _) if is_built_in(g) => Verdict::healthy(),
        _ => custom(object),
    }
}

/// Groups of Kubernetes itself: what has no rule above is healthy by being there.
pub(crate) fn is_built_in(group: &str) -> bool {
    !group.contains('.')
        || matches!(
            group,
            "admissionregistration.k8s.io"
                | "apiextensions.k8s.io"
                | "apiregistration.k8s.io"
                | "certificates.k8s.io"
                | "coordination.k8s.io"
                | "discovery.k8s.io"
                | "events.k8s.io"
                | "flowcontrol.apiserver.k8s.io"
                | "networking.k8s.io"
                | "node.k8s.io"
                | "rbac.authorization.k8s.io"
                | "scheduling.k8s.io"
                | "storage.k8s.io"
        )
}

/// A condition's status, reason and message, where the object has it.
pub(crate) fn condition<'a>(object: &'a Value, kind: &str) -> Option<(&'a str, &'a str, &'a str)> {
    let text = |v: &'a Value| v.as_str().unwrap_or_default();
    let found =
        object["status"]["conditions"].as_array()?.iter().find(|c| c["type"].as_str() == Some(kind))?;
    Some((text(&found["status"]), text(&found["reason"]), text(&found["message"])))
}

/// `reason: message`, whichever of them there is.
fn because(reason: &str, message: &str) -> String {
    match (reason.is_empty(), message.is_empty()) {
        (false, false) => format!("{reason}: {message}"),
        (false, true) => reason.to_owned(),
        _ => message.to_owned(),
    }
}

/// kstatus' generic part: a controller that has not seen the newest generation, that is at work, or that gave up.
fn generic(object: &Value) -> Option<Verdict> {
    if let Some(("True", reason, message)) = condition(object, "Stalled") {
        return Some(Verdict::degraded(because(reason, message)));
    }
    if let (Some(wanted), Some(seen)) =
        (object["metadata"]["generation"].as_i64(), object["status"]["observedGeneration"].as_i64())
        && seen < wanted
    {
        return Some(Verdict::progressing("waits for its controller"));
    }
    if let Some(("True", reason, message)) = condition(object, "Reconciling") {
        return Some(Verdict::progressing(because(reason, message)));
    }
    None
}

fn number(of: &Value) -> i64 {
    of.as_i64().unwrap_or(0)
}

fn unseen(object: &Value) -> bool {
    number(&object["status"]["observedGeneration"]) < number(&object["metadata"]["generation"])
}

fn deployment(object: &Value) -> Verdict {
    let (spec, status) = (&object["spec"], &object["status"]);
    if spec["paused"].as_bool() == Some(true) {
        return Verdict::new(Health::Suspended, "is paused");
    }
    if unseen(object) {
        return Verdict::progressing("waits for its controller");
    }
    if let Some((_, "ProgressDeadlineExceeded", message)) = condition(object, "Progressing") {
        return Verdict::degraded(because("ProgressDeadlineExceeded", message));
    }
    let wanted = spec["replicas"].as_i64().unwrap_or(1);
    let (replicas, updated, available) = (
        number(&status["replicas"]),
        number(&status["updatedReplicas"]),
        number(&status["availableReplicas"]),
    );
    let failure = match condition(object, "ReplicaFailure") {
        Some(("True", reason, message)) => format!(": {}", because(reason, message)),
        _ => String::new(),
    };
    if updated < wanted {
        return Verdict::progressing(format!("{updated} of {wanted} pods are of the new version{failure}"));
    }
    if replicas > updated {
        let old = replicas - updated;
        return Verdict::progressing(if old == 1 {
            "1 old pod is still there".to_owned()
        } else {
            format!("{old} old pods are still there")
        });
    }
    if available < updated {
        return Verdict::progressing(format!("{available} of {updated} pods are available{failure}"));
    }
    if wanted > 0
        && let Some(("False", reason, message)) = condition(object, "Available")
    {
        return Verdict::progressing(because(reason, message));
    }
    Verdict::new(Health::Healthy, if wanted == 1 { "1 pod".into() } else { format!("{wanted} pods") })
}

fn stateful_set(object: &Value) -> Verdict {
    let (spec, status) = (&object["spec"], &object["status"]);
    if number(&status["observedGeneration"]) == 0 || unseen(object) {
        return Verdict::progressing("waits for its controller");
    }
    let wanted = spec["replicas"].as_i64().unwrap_or(1);
    let (ready, updated) = (number(&status["readyReplicas"]), number(&status["updatedReplicas"]));
    if ready < wanted {
        return Verdict::progressing(format!("{ready} of {wanted} pods are ready"));
    }
    if spec["updateStrategy"]["type"].as_str() == Some("OnDelete") {
        return Verdict::healthy();
    }
    let partition = number(&spec["updateStrategy"]["rollingUpdate"]["partition"]);
    if partition > 0 {
        let due = (wanted - partition).max(0);
        if updated < due {
            return Verdict::progressing(format!("{updated} of {due} pods are of the new version"));
        }
        return Verdict::healthy();
    }
    if status["updateRevision"] != status["currentRevision"] {
        return Verdict::progressing(format!("{updated} of {wanted} pods are of the new version"));
    }
    Verdict::new(Health::Healthy, if wanted == 1 { "1 pod".into() } else { format!("{wanted} pods") })
}

fn daemon_set(object: &Value) -> Verdict {
    let (spec, status) = (&object["spec"], &object["status"]);
    if status["observedGeneration"].as_i64().is_none() || unseen(object) {
        return Verdict::progressing("waits for its controller");
    }
    let wanted = number(&status["desiredNumberScheduled"]);
    let on_delete = spec["updateStrategy"]["type"].as_str() == Some("OnDelete");
    let updated = number(&status["updatedNumberScheduled"]);
    if !on_delete && updated < wanted {
        return Verdict::progressing(format!("{updated} of {wanted} pods are of the new version"));
    }
    let available = number(&status["numberAvailable"]);
    if available < wanted {
        return Verdict::progressing(format!("{available} of {wanted} pods are available"));
    }
    Verdict::healthy()
}

fn replica_set(object: &Value) -> Verdict {
    if unseen(object) {
        return Verdict::progressing("waits for its controller");
    }
    if let Some(("True", reason, message)) = condition(object, "ReplicaFailure") {
        return Verdict::degraded(because(reason, message));
    }
    let wanted = object["spec"]["replicas"].as_i64().unwrap_or(1);
    let available = number(&object["status"]["availableReplicas"]);
    if available < wanted {
        return Verdict::progressing(format!("{available} of {wanted} pods are available"));
    }
    Verdict::healthy()
}

fn pod(object: &Value) -> Verdict {
    let status = &object["status"];
    let message = because(
        status["reason"].as_str().unwrap_or_default(),
        status["message"].as_str().unwrap_or_default(),
    );
    match status["phase"].as_str() {
        Some("Succeeded") => Verdict::new(Health::Healthy, "ran to its end"),
        Some("Failed") => Verdict::degraded(if message.is_empty() { "failed".into() } else { message }),
        Some("Running") if object["spec"]["restartPolicy"].as_str().unwrap_or("Always") == "Always" => {
            match condition(object, "Ready") {
                Some(("True", _, _)) => Verdict::healthy(),
                Some((_, reason, message)) => Verdict::progressing(because(reason, message)),
                None => Verdict::progressing("is not ready"),
            }
        }
        Some("Running") => Verdict::progressing("runs"),
        _ => match condition(object, "PodScheduled") {
            Some(("False", reason, message)) => Verdict::progressing(because(reason, message)),
            _ => Verdict::progressing("starts"),
        },
    }
}

fn job(object: &Value) -> Verdict {
    if let Some(("True", reason, message)) = condition(object, "Failed") {
        return Verdict::degraded(because(reason, message));
    }
    if let Some(("True", _, _)) = condition(object, "Complete") {
        return Verdict::new(Health::Healthy, "ran to its end");
    }
    if object["spec"]["suspend"].as_bool() == Some(true) {
        return Verdict::new(Health::Suspended, "is suspended");
    }
    Verdict::progressing(format!(
        "{} of {} runs done",
        number(&object["status"]["succeeded"]),
        object["spec"]["completions"].as_i64().unwrap_or(1)
    ))
}

fn claim(object: &Value) -> Verdict {
    match object["status"]["phase"].as_str() {
        Some("Lost") => Verdict::degraded("its volume is lost"),
        Some("Bound") => Verdict::healthy(),
        // With WaitForFirstConsumer it stays so until a pod wants it, and the pod is what tells then.
        _ => Verdict::new(Health::Healthy, "is not bound yet"),
    }
}

fn service(object: &Value) -> Verdict {
    let balanced = object["spec"]["type"].as_str() == Some("LoadBalancer");
    if balanced && object["status"]["loadBalancer"]["ingress"].as_array().is_none_or(Vec::is_empty) {
        return Verdict::progressing("waits for its load balancer");
    }
    Verdict::healthy()
}

fn namespace(object: &Value) -> Verdict {
    match object["status"]["phase"].as_str() {
        Some("Active") => Verdict::healthy(),
        Some(other) => Verdict::progressing(format!("is {other}")),
        None => Verdict::progressing("is not active yet"),
    }
}

fn autoscaler(object: &Value) -> Verdict {
    const BROKEN: [&str; 10] = [
        "FailedGetScale",
        "FailedUpdateScale",
        "InvalidSelector",
        "FailedGetObjectMetric",
        "FailedGetPodsMetric",
        "FailedGetResourceMetric",
        "FailedGetContainerResourceMetric",
        "FailedGetExternalMetric",
        "FailedComputeMetricsReplicas",
        "InvalidMetricSourceType",
    ];
    for kind in ["AbleToScale", "ScalingActive"] {
        // Metrics come a minute after the pods: told, but nothing to wait for.
        if let Some(("False", reason, message)) = condition(object, kind)
            && BROKEN.contains(&reason)
        {
            return Verdict::new(Health::Healthy, because(reason, message));
        }
    }
    Verdict::healthy()
}

fn definition(object: &Value) -> Verdict {
    if let Some(("False", reason, message)) = condition(object, "NamesAccepted") {
        return Verdict::degraded(because(reason, message));
    }
    match condition(object, "Established") {
        Some(("True", _, _)) => Verdict::healthy(),
        Some((_, reason, message)) if reason != "Installing" => {
            Verdict::progressing(because(reason, message))
        }
        _ => Verdict::progressing("is not served yet"),
    }
}

fn api_service(object: &Value) -> Verdict {
    match condition(object, "Available") {
        Some(("True", _, _)) => Verdict::healthy(),
        Some((_, reason, message)) => Verdict::progressing(because(reason, message)),
        None => Verdict::progressing("is not available yet"),
    }
}

/// Custom resources: their `Ready` condition if they have one; healthy by being there if not.
fn custom(object: &Value) -> Verdict {
    match condition(object, "Ready") {
        Some(("True", _, _)) | None => Verdict::healthy(),
        Some((_, reason, message)) => Verdict::progressing(because(reason, message)),
    }
}

#[cfg(test)]
mod tests;
