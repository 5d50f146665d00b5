//! Why a workload is not healthy: its pods, their containers, their last words.
//!
//! Only pods of the newest version count; what ails the old ones is yesterday's news. Nothing here fails a deploy by
//! failing itself: no answer means no reason.

use serde_json::Value;

use crate::apply::text;
use crate::cluster::Connection;
use crate::kinds::segment;
use crate::limits::{LOG_BYTES_MAX, LOG_LINES_MAX, MESSAGE_BYTES_MAX, PODS_MAX, cut};
use crate::place::Wanted;
use crate::wire::Call;

/// The kinds of trouble, by how long one waits for it to pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ail {
    /// It may pass when the world changes: no room, a probe that fails.
    Waits,
    /// Pods cannot be made: quota, admission.
    Refused,
    /// A container ends again and again, or cannot be started.
    Crash,
    /// An image cannot be pulled.
    Image,
    /// It cannot pass.
    Never,
}

/// What ails an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ailment {
    pub(crate) ail: Ail,
    pub(crate) words: String,
}

/// What one container of a pod says; the log is fetched only where it helps.
#[derive(Debug)]
struct Sick {
    ail: Ail,
    words: String,
    /// Container whose last log lines tell more.
    log_of: Option<String>,
    /// The pod's events tell more.
    events: Option<&'static str>,
}

impl Connection {
    /// The worst that ails a workload or pod; `None` where nothing does, or nothing could be found out.
    pub(crate) async fn ailment(&self, wanted: &Wanted, object: &Value) -> Option<Ailment> {
        let namespace = wanted.key.namespace.as_deref()?;
        let (group, kind) = (wanted.key.group.as_str(), wanted.key.kind.as_str());
        if !matches!(
            (group, kind),
            ("", "Pod")
                | ("apps", "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet")
                | ("batch", "Job")
        ) {
            return None;
        }
        let pods =
            if kind == "Pod" { vec![object.clone()] } else { self.pods(namespace, kind, object).await };
        let worst = pods.iter().filter_map(|p| Some((p, sick(p)?))).max_by_key(|(_, s)| s.ail);
        if let Some((pod, sick)) = worst {
            return Some(self.in_full(namespace, pod, sick).await);
        }
        self.refused(namespace, kind, object, &pods).await
    }

    async fn in_full(&self, namespace: &str, pod: &Value, sick: Sick) -> Ailment {
        let name = text(&pod["metadata"]["name"]);
        let mut words = format!("pod {name}: {}", sick.words);
        if let Some(reason) = sick.events
            && let Some(event) = self.last_event(namespace, &pod["metadata"]["uid"], reason).await
        {
            words = format!("{words}: {event}");
        }
        if let Some(container) = &sick.log_of
            && let Some(log) = self.last_words(namespace, &name, container, &pod["status"]).await
        {
            words = format!("{words}; its last words: {log}");
        }
        Ailment { ail: sick.ail, words: cut(&words, MESSAGE_BYTES_MAX) }
    }

    /// No pod is sick, but too few are there: what keeps the controller from making them.
    async fn refused(&self, namespace: &str, kind: &str, object: &Value, pods: &[Value]) -> Option<Ailment> {
        if let Some(("True", _, message)) = crate::health::condition(object, "ReplicaFailure") {
            return Some(Ailment { ail: Ail::Refused, words: format!("pods cannot be made: {message}") });
        }
        if !pods.is_empty() || !matches!(kind, "StatefulSet" | "DaemonSet" | "Job" | "ReplicaSet") {
            return None;
        }
        let event = self.last_event(namespace, &object["metadata"]["uid"], "FailedCreate").await?;
        Some(Ailment { ail: Ail::Refused, words: format!("pods cannot be made: {event}") })
    }

    /// Pods of the newest version of a workload.
    async fn pods(&self, namespace: &str, kind: &str, object: &Value) -> Vec<Value> {
        let Some(selector) = selector(&object["spec"]["selector"]) else { return Vec::new() };
        let mut pods = self.list(&format!("/api/v1/namespaces/{}/pods", segment(namespace)), &selector).await;
        let uid = &object["metadata"]["uid"];
        let label = |pod: &Value, key: &str| text(&pod["metadata"]["labels"][key]);
        match kind {
            "Deployment" => {
                let sets = format!("/apis/apps/v1/namespaces/{}/replicasets", segment(namespace));
                let sets = self.list(&sets, &selector).await;
                let newest = newest_set(object, &sets);
                pods.retain(|p| newest.as_ref().is_some_and(|set| owned_by(p, set)));
            }
            "StatefulSet" => {
                let newest = text(&object["status"]["updateRevision"]);
                pods.retain(|p| owned_by(p, uid) && label(p, "controller-revision-hash") == newest);
            }
            "DaemonSet" => {
                let newest =
                    text(&object["metadata"]["annotations"]["deprecated.daemonset.template.generation"]);
                pods.retain(|p| {
                    let of = label(p, "pod-template-generation");
                    owned_by(p, uid) && (of.is_empty() || newest.is_empty() || of == newest)
                });
            }
            _ => pods.retain(|p| owned_by(p, uid)),
        }
        pods
    }

    async fn list(&self, collection: &str, selector: &str) -> Vec<Value> {
        let path = format!("{collection}?limit={PODS_MAX}&labelSelector={}", segment(selector));
        let Ok(answer) = self.call(&Call::get(path)).await else { return Vec::new() };
        let Ok(Value::Object(mut list)) = answer.object() else { return Vec::new() };
        match list.remove("items") {
            Some(Value::Array(items)) => items,
            _ => Vec::new(),
        }
    }

    /// The newest warning about an object for a reason.
    async fn last_event(&self, namespace: &str, uid: &Value, reason: &str) -> Option<String> {
        let fields = format!("involvedObject.uid={},reason={reason}", uid.as_str()?);
        let path = format!(
            "/api/v1/namespaces/{}/events?limit=50&fieldSelector={}",
            segment(namespace),
            segment(&fields)
        );
        let list = self.call(&Call::get(path)).await.ok()?.object().ok()?;
        let events = list["items"].as_array()?;
        // RFC 3339 in UTC sorts as text.
        let at = |e: &Value| text(&e["lastTimestamp"]).max(text(&e["eventTime"]));
        // Reason `Failed` is a pull's cause and also its echo, `Error: ImagePullBackOff`.
        let telling = events.iter().filter(|e| !text(&e["message"]).starts_with("Error: "));
        telling.max_by_key(|e| at(e)).map(|e| one_line(&text(&e["message"])))
    }

    /// The last log lines of a container that ended; of its previous run where it runs again.
    async fn last_words(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
        status: &Value,
    ) -> Option<String> {
        let statuses = ["containerStatuses", "initContainerStatuses"];
        let mut all = statuses.iter().flat_map(|s| status[*s].as_array().into_iter().flatten());
        let of = all.find(|c| c["name"].as_str() == Some(container))?;
        let previous = of["state"]["terminated"].is_null();
        let path = format!(
            "/api/v1/namespaces/{}/pods/{}/log?container={}&tailLines={LOG_LINES_MAX}&limitBytes={LOG_BYTES_MAX}&previous={previous}",
            segment(namespace),
            segment(pod),
            segment(container)
        );
        let answer = self.call(&Call::get(path)).await.ok()?;
        let log = String::from_utf8_lossy(&answer.body);
        let lines: Vec<&str> = log.lines().map(str::trim_end).filter(|l| !l.is_empty()).collect();
        let kept = lines.get(lines.len().saturating_sub(LOG_LINES_MAX)..).unwrap_or_default();
        (!kept.is_empty()).then(|| one_line(&kept.join(" | ")))
    }
}

/// Control characters of logs and registries do not belong on a terminal or a page.
fn one_line(text: &str) -> String {
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    cut(clean.trim(), MESSAGE_BYTES_MAX)
}

/// A label selector as query text; `None` for an empty one, which would select everything.
fn selector(of: &Value) -> Option<String> {
    let labels = of["matchLabels"].as_object().into_iter().flatten();
    let mut parts: Vec<String> = labels.map(|(k, v)| format!("{k}={}", text(v))).collect();
    for expression in of["matchExpressions"].as_array().into_iter().flatten() {
        let key = text(&expression["key"]);
        let values: Vec<String> = expression["values"].as_array().into_iter().flatten().map(text).collect();
        parts.push(match expression["operator"].as_str() {
            Some("In") => format!("{key} in ({})", values.join(",")),
            Some("NotIn") => format!("{key} notin ({})", values.join(",")),
            Some("Exists") => key,
            Some("DoesNotExist") => format!("!{key}"),
            _ => return None,
        });
    }
    (!parts.is_empty()).then(|| parts.join(","))
}

fn owned_by(object: &Value, uid: &Value) -> bool {
    let owners = object["metadata"]["ownerReferences"].as_array();
    uid.is_string() && owners.is_some_and(|all| all.iter().any(|o| &o["uid"] == uid))
}

/// uid of the ReplicaSet that carries the deployment's revision.
fn newest_set(deployment: &Value, sets: &[Value]) -> Option<Value> {
    const REVISION: &str = "deployment.kubernetes.io/revision";
    let revision =
        |o: &Value| o["metadata"]["annotations"][REVISION].as_str().and_then(|r| r.parse::<u64>().ok());
    let ours = sets.iter().filter(|s| owned_by(s, &deployment["metadata"]["uid"]));
    ours.max_by_key(|s| revision(s)).map(|s| s["metadata"]["uid"].clone())
}

/// What a pod says of itself, the worst container first.
fn sick(pod: &Value) -> Option<Sick> {
    if pod["metadata"]["deletionTimestamp"].is_string() {
        return None;
    }
    let status = &pod["status"];
    let containers = ["initContainerStatuses", "containerStatuses"]
        .iter()
        .flat_map(|s| status[*s].as_array().into_iter().flatten())
        .filter_map(sick_container)
        .max_by_key(|s| s.ail);
    if containers.is_some() {
        return containers;
    }
    if let Some(("False", reason, message)) = crate::health::condition(pod, "PodScheduled") {
        let words = format!("finds no node ({reason}): {message}");
        return Some(Sick { ail: Ail::Waits, words, log_of: None, events: None });
    }
    if status["phase"].as_str() == Some("Failed") {
        let words = format!("failed: {} {}", text(&status["reason"]), text(&status["message"]));
        return Some(Sick { ail: Ail::Crash, words, log_of: None, events: None });
    }
    None
}

fn sick_container(container: &Value) -> Option<Sick> {
    let (name, image) = (text(&container["name"]), text(&container["image"]));
    let waiting = &container["state"]["waiting"];
    let (reason, message) = (text(&waiting["reason"]), one_line(&text(&waiting["message"])));
    match reason.as_str() {
        "InvalidImageName" | "ErrImageNeverPull" => {
            let words = format!("image {image} of container {name} cannot be pulled ({reason}): {message}");
            return Some(Sick { ail: Ail::Never, words, log_of: None, events: None });
        }
        "ImagePullBackOff" | "ErrImagePull" | "RegistryUnavailable" | "ImageInspectError" => {
            // While it backs off, only the pod's events still know the cause.
            let events = (reason == "ImagePullBackOff").then_some("Failed");
            let words = format!("image {image} of container {name} cannot be pulled ({reason})");
            let words = if events.is_some() { words } else { format!("{words}: {message}") };
            return Some(Sick { ail: Ail::Image, words, log_of: None, events });
        }
        "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" | "StartError" => {
            let words = format!("container {name} cannot be started ({reason}): {message}");
            return Some(Sick { ail: Ail::Crash, words, log_of: None, events: None });
        }
        _ => {}
    }
    ended(container, &name).or_else(|| not_ready(container, &name))
}

/// A container that ended badly, now or the last time.
fn ended(container: &Value, name: &str) -> Option<Sick> {
    let now = &container["state"]["terminated"];
    let last = &container["lastState"]["terminated"];
    let ended = if now.is_null() { last } else { now };
    // A container that runs and is ready again is over it.
    if ended.is_null() || container["ready"].as_bool() == Some(true) {
        return None;
    }
    let (code, reason) = (ended["exitCode"].as_i64().unwrap_or(0), text(&ended["reason"]));
    let again = container["state"]["waiting"]["reason"].as_str() == Some("CrashLoopBackOff");
    if code == 0 && !again {
        return None;
    }
    let times = container["restartCount"].as_u64().unwrap_or(0).saturating_add(1);
    let times = if times == 1 { "once".to_owned() } else { format!("{times} times") };
    let why = match reason.as_str() {
        "OOMKilled" => "was killed for using more memory than its limit (OOMKilled)".to_owned(),
        _ => format!("ended with exit code {code} ({reason})"),
    };
    let message = one_line(&text(&ended["message"]));
    let message = if message.is_empty() { message } else { format!(": {message}") };
    let words = format!("container {name} {why}{message}, {times}");
    Some(Sick { ail: Ail::Crash, words, log_of: Some(name.to_owned()), events: None })
}

fn not_ready(container: &Value, name: &str) -> Option<Sick> {
    let runs = container["state"]["running"].is_object();
    if !runs || container["ready"].as_bool() != Some(false) {
        return None;
    }
    let words = format!("container {name} runs and is not ready");
    Some(Sick { ail: Ail::Waits, words, log_of: None, events: Some("Unhealthy") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(container: Value) -> Value {
        json!({"metadata": {"name": "p"}, "status": {"phase": "Pending", "containerStatuses": [container]}})
    }

    #[test]
    fn containers_tell_what_ails_them() {
        let terminated = json!({"exitCode": 7, "reason": "Error"});
        for (container, ail, words) in [
            (
                json!({"name": "c", "image": "i:1", "ready": false, "state": {"waiting": {"reason": "ErrImagePull", "message": "not found"}}}),
                Ail::Image,
                "image i:1 of container c cannot be pulled (ErrImagePull): not found",
            ),
            (
                json!({"name": "c", "image": "i::", "ready": false, "state": {"waiting": {"reason": "InvalidImageName", "message": "bad"}}}),
                Ail::Never,
                "(InvalidImageName): bad",
            ),
            (
                json!({"name": "c", "ready": false, "restartCount": 2, "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": terminated}}),
                Ail::Crash,
                "container c ended with exit code 7 (Error), 3 times",
            ),
            (
                json!({"name": "c", "ready": false, "restartCount": 0, "state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}),
                Ail::Crash,
                "more memory than its limit (OOMKilled), once",
            ),
            (
                json!({"name": "c", "ready": false, "state": {"waiting": {"reason": "CreateContainerConfigError", "message": "secret \"x\" not found"}}}),
                Ail::Crash,
                "secret \"x\" not found",
            ),
            (
                json!({"name": "c", "ready": false, "state": {"running": {}}}),
                Ail::Waits,
                "runs and is not ready",
            ),
        ] {
            let got = sick(&pod(container.clone())).expect("sick");
            assert_eq!(got.ail, ail, "{container}");
            assert!(got.words.contains(words), "{}", got.words);
        }
    }

    #[test]
    fn what_starts_or_recovered_is_not_sick() {
        for container in [
            json!({"name": "c", "ready": false, "state": {"waiting": {"reason": "ContainerCreating"}}}),
            json!({"name": "c", "ready": true, "state": {"running": {}}, "lastState": {"terminated": {"exitCode": 1}}}),
            json!({"name": "c", "ready": false, "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}),
        ] {
            assert!(sick(&pod(container.clone())).is_none(), "{container}");
        }
    }

    #[test]
    fn unschedulable_pods_say_so() {
        let pod = json!({"status": {"phase": "Pending", "conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes: Insufficient cpu"}]}});
        let got = sick(&pod).expect("sick");
        assert!(got.ail == Ail::Waits && got.words.contains("Insufficient cpu"), "{got:?}");
    }

    #[test]
    fn a_selector_that_selects_everything_is_not_used() {
        assert_eq!(selector(&json!({})), None);
        let got = selector(
            &json!({"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "c", "operator": "In", "values": ["d", "e"]}, {"key": "f", "operator": "DoesNotExist"}]}),
        );
        assert_eq!(got.as_deref(), Some("a=b,c in (d,e),!f"));
    }

    #[test]
    fn no_control_character_of_a_log_comes_through() {
        assert_eq!(one_line("a\x1b[31mb\nc"), "a [31mb c");
    }
}
