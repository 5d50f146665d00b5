//! The health table: what the cluster says, and what that means.

use super::*;
use serde_json::json;

fn check(group: &str, kind: &str, object: Value, want: Health, words: &str) {
    let got = health(group, kind, &object);
    assert_eq!(got.health, want, "{kind} {object}: {}", got.message);
    assert!(got.message.contains(words), "{kind}: {:?} lacks {words:?}", got.message);
}

#[test]
fn deployments() {
    use Health::*;
    let d =
        |spec: Value, status: Value| json!({"metadata": {"generation": 2}, "spec": spec, "status": status});
    let done = json!({"observedGeneration": 2, "replicas": 3, "updatedReplicas": 3, "availableReplicas": 3,
        "conditions": [{"type": "Available", "status": "True"}]});
    let mut cases = vec![
        (json!({"replicas": 3}), done.clone(), Healthy, "3 pods"),
        (json!({"replicas": 3}), json!({}), Progressing, "controller"),
        (json!({"replicas": 3, "paused": true}), done.clone(), Suspended, "paused"),
        (json!({"replicas": 0}), json!({"observedGeneration": 2}), Healthy, "0 pods"),
        (json!({}), json!({"observedGeneration": 2}), Progressing, "0 of 1"),
    ];
    for (field, value, words) in [
        ("observedGeneration", 1, "controller"),
        ("updatedReplicas", 2, "2 of 3 pods are of the new version"),
        ("replicas", 4, "1 old pod is"),
        ("availableReplicas", 1, "1 of 3 pods are available"),
    ] {
        let mut status = done.clone();
        status[field] = json!(value);
        cases.push((json!({"replicas": 3}), status, Progressing, words));
    }
    let mut stuck = done.clone();
    stuck["conditions"] = json!([{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "timed out"}]);
    cases.push((json!({"replicas": 3}), stuck, Degraded, "timed out"));
    let mut quota = done;
    quota["updatedReplicas"] = json!(0);
    quota["conditions"] = json!([{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "exceeded quota"}]);
    cases.push((json!({"replicas": 3}), quota, Progressing, "exceeded quota"));
    for (spec, status, want, words) in cases {
        check("apps", "Deployment", d(spec, status), want, words);
    }
}

#[test]
fn stateful_sets() {
    let s =
        |spec: Value, status: Value| json!({"metadata": {"generation": 1}, "spec": spec, "status": status});
    let done = json!({"observedGeneration": 1, "readyReplicas": 2, "updatedReplicas": 2, "updateRevision": "b", "currentRevision": "b"});
    let half = json!({"observedGeneration": 1, "readyReplicas": 2, "updatedReplicas": 1, "updateRevision": "b", "currentRevision": "a"});
    let part = json!({"replicas": 2, "updateStrategy": {"rollingUpdate": {"partition": 1}}});
    let manual = json!({"replicas": 2, "updateStrategy": {"type": "OnDelete"}});
    for (spec, status, want, words) in [
        (json!({"replicas": 2}), done, Health::Healthy, "2 pods"),
        (json!({"replicas": 2}), half.clone(), Health::Progressing, "1 of 2"),
        (json!({"replicas": 3}), half.clone(), Health::Progressing, "2 of 3 pods are ready"),
        (json!({"replicas": 2}), json!({}), Health::Progressing, "controller"),
        (part, half.clone(), Health::Healthy, ""),
        (manual, half, Health::Healthy, ""),
    ] {
        check("apps", "StatefulSet", s(spec, status), want, words);
    }
}

#[test]
fn daemon_sets_replica_sets_and_jobs() {
    let seen = |status: Value| json!({"metadata": {"generation": 1}, "spec": {}, "status": status});
    let d = json!({"observedGeneration": 1, "desiredNumberScheduled": 2, "updatedNumberScheduled": 2, "numberAvailable": 2});
    check("apps", "DaemonSet", seen(d.clone()), Health::Healthy, "");
    let mut behind = d.clone();
    behind["updatedNumberScheduled"] = json!(1);
    check("apps", "DaemonSet", seen(behind), Health::Progressing, "1 of 2");
    check("apps", "DaemonSet", seen(json!({})), Health::Progressing, "controller");
    let failing = json!({"observedGeneration": 1, "conditions": [{"type": "ReplicaFailure", "status": "True", "message": "no"}]});
    check("apps", "ReplicaSet", seen(failing), Health::Degraded, "no");
    let j = |spec: Value, conditions: Value| json!({"spec": spec, "status": {"conditions": conditions, "startTime": "x"}});
    check("batch", "Job", j(json!({}), json!([{"type": "Complete", "status": "True"}])), Health::Healthy, "");
    let failed = json!([{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "has reached it"}]);
    check("batch", "Job", j(json!({}), failed), Health::Degraded, "BackoffLimitExceeded");
    check("batch", "Job", j(json!({"suspend": true}), json!([])), Health::Suspended, "");
    // Resumed and running: a `Suspended` condition that is not true any more completes nothing.
    check(
        "batch",
        "Job",
        j(json!({}), json!([{"type": "Suspended", "status": "False"}])),
        Health::Progressing,
        "0 of 1",
    );
}

#[test]
fn pods() {
    let p = |phase: &str, policy: &str, conditions: Value| json!({"spec": {"restartPolicy": policy}, "status": {"phase": phase, "conditions": conditions}});
    check(
        "",
        "Pod",
        p("Running", "Always", json!([{"type": "Ready", "status": "True"}])),
        Health::Healthy,
        "",
    );
    check("", "Pod", p("Running", "Always", json!([])), Health::Progressing, "not ready");
    check(
        "",
        "Pod",
        p("Running", "Never", json!([{"type": "Ready", "status": "True"}])),
        Health::Progressing,
        "runs",
    );
    check("", "Pod", p("Succeeded", "Never", json!([])), Health::Healthy, "");
    check("", "Pod", p("Failed", "Never", json!([])), Health::Degraded, "failed");
    let unschedulable = json!([{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}]);
    check("", "Pod", p("Pending", "Always", unschedulable), Health::Progressing, "0/1 nodes");
}

#[test]
fn the_rest() {
    check("", "ConfigMap", json!({}), Health::Healthy, "");
    check("", "ConfigMap", json!({"metadata": {"deletionTimestamp": "x"}}), Health::Progressing, "deleted");
    check("", "Service", json!({"spec": {"type": "ClusterIP"}}), Health::Healthy, "");
    check("", "Service", json!({"spec": {"type": "LoadBalancer"}}), Health::Progressing, "load balancer");
    let balanced = json!({"spec": {"type": "LoadBalancer"}, "status": {"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}]}}});
    check("", "Service", balanced, Health::Healthy, "");
    check("", "Namespace", json!({"status": {"phase": "Active"}}), Health::Healthy, "");
    check("", "Namespace", json!({"status": {"phase": "Terminating"}}), Health::Progressing, "Terminating");
    check("", "PersistentVolumeClaim", json!({"status": {"phase": "Pending"}}), Health::Healthy, "not bound");
    check("", "PersistentVolumeClaim", json!({"status": {"phase": "Lost"}}), Health::Degraded, "lost");
    check("networking.k8s.io", "Ingress", json!({"status": {"loadBalancer": {}}}), Health::Healthy, "");
    let crd = |t: &str, s: &str| json!({"status": {"conditions": [{"type": t, "status": s, "reason": "R", "message": "m"}]}});
    check(
        "apiextensions.k8s.io",
        "CustomResourceDefinition",
        crd("Established", "True"),
        Health::Healthy,
        "",
    );
    check(
        "apiextensions.k8s.io",
        "CustomResourceDefinition",
        crd("NamesAccepted", "False"),
        Health::Degraded,
        "R: m",
    );
    check("apiextensions.k8s.io", "CustomResourceDefinition", json!({}), Health::Progressing, "");
    check("example.org", "Widget", json!({}), Health::Healthy, "");
    check("example.org", "Widget", crd("Ready", "False"), Health::Progressing, "R: m");
    check("example.org", "Widget", crd("Ready", "Unknown"), Health::Progressing, "R: m");
    check("example.org", "Widget", crd("Stalled", "True"), Health::Degraded, "R: m");
    check("example.org", "Widget", crd("Reconciling", "True"), Health::Progressing, "R: m");
    let behind = json!({"metadata": {"generation": 3}, "status": {"observedGeneration": 2}});
    check("example.org", "Widget", behind, Health::Progressing, "controller");
}
