//! What is sent of an object that others have a say in.

use serde_json::json;
use slipway_core::deploy_rules::IgnoreRule;

use super::*;

fn key() -> Key {
    Key {
        group: "apps".into(),
        kind: "Deployment".into(),
        namespace: Some("team".into()),
        name: "web".into(),
    }
}

fn live(replicas: i64, manager: &str, operation: &str) -> Value {
    json!({"spec": {"replicas": replicas}, "metadata": {"managedFields": [
        {"manager": manager, "operation": operation, "fieldsV1": {"f:spec": {"f:replicas": {}}}}]}})
}

fn scaled() -> Shared {
    let (target, by) = scaled_by(
        &json!({"metadata": {"name": "auto"}, "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}}}),
        "team",
    )
    .expect("a target");
    Shared { scalers: [(target, by)].into(), ..Shared::default() }
}

fn ruled(rules: &[&str]) -> Shared {
    let rules = rules.iter().map(|r| IgnoreRule::try_from((*r).to_owned()).expect("a rule")).collect();
    Shared { rules, ..Shared::default() }
}

fn sent(shared: &Shared, wanted: &Value, live: &Value) -> Option<Value> {
    shared.adopt(&key(), &Wishes::default(), wanted, live).map(|a| a.payload)
}

#[test]
fn replicas_are_an_autoscalers_where_there_is_one() {
    let wanted = json!({"spec": {"replicas": 2}});
    let got = scaled().adopt(&key(), &Wishes::default(), &wanted, &live(3, "x", "Update")).expect("adopted");
    assert_eq!(got.payload, json!({"spec": {"replicas": 3}}));
    assert_eq!(
        got.notes,
        ["keeps its 3 replicas, which HorizontalPodAutoscaler auto sets; the manifest says 2"]
    );
    for (wanted, live, why) in [
        (json!({"spec": {"replicas": 2}}), live(2, "x", "Update"), "the same"),
        (json!({"spec": {"replicas": 0}}), live(3, "x", "Update"), "off, as the manifest says"),
        (json!({"spec": {"replicas": 2}}), live(0, "x", "Update"), "on again"),
    ] {
        assert_eq!(sent(&scaled(), &wanted, &live), None, "{why}");
    }
    assert_eq!(sent(&Shared::default(), &wanted, &live(3, "x", "Update")), None, "nobody scales it");
}

#[test]
fn replicas_that_left_the_manifest_stay_as_they_are() {
    let wanted = json!({"spec": {}});
    let got = Shared::default()
        .adopt(&key(), &Wishes::default(), &wanted, &live(4, MANAGER, "Apply"))
        .expect("kept");
    assert_eq!(got.payload, json!({"spec": {"replicas": 4}}));
    assert!(got.notes[0].contains("4 replicas"), "{:?}", got.notes);
    assert_eq!(sent(&Shared::default(), &wanted, &live(4, "kubectl-scale", "Update")), None, "never ours");
}

#[test]
fn a_field_that_is_left_alone_is_sent_as_it_is_or_not_at_all() {
    let wanted = json!({"spec": {"a": 1, "gone": 1, "list": [{"name": "x", "v": 1}, {"name": "y", "v": 1}], "plain": [{"v": 1}]}});
    let live = json!({"spec": {"a": 2, "b": 5, "list": [{"name": "y", "v": 9}, {"name": "x", "v": 8}], "plain": [{"v": 7}]}, "metadata": {"managedFields": [
        {"manager": "other", "operation": "Apply", "fieldsV1": {"f:spec": {"f:theirs": {}}}}]}});
    let spec = |rules: &[&str]| sent(&ruled(rules), &wanted, &live).map(|p| p["spec"].clone());
    assert_eq!(spec(&["* /spec/a"]).expect("adopted")["a"], 2);
    assert_eq!(spec(&["* /spec/gone"]).expect("adopted").get("gone"), None);
    assert_eq!(spec(&["* .spec.b"]), None, "what was never sent is not sent now");
    assert_eq!(
        spec(&["* .spec.list[] | select(.name == \"y\") | .v"]).expect("adopted")["list"],
        json!([{"name": "x", "v": 1}, {"name": "y", "v": 9}])
    );
    assert_eq!(
        spec(&["* .spec.list[].v"]).expect("adopted")["list"],
        json!([{"name": "x", "v": 8}, {"name": "y", "v": 9}])
    );
    assert_eq!(spec(&["* /spec/plain/0/v"]).expect("adopted")["plain"], json!([{"v": 7}]));
    assert_eq!(spec(&["StatefulSet /spec/a", "Deployment/other /spec/a"]), None, "other objects' rules");
    let theirs = json!({"spec": {"theirs": 1}});
    assert_eq!(
        sent(&ruled(&["* /spec/theirs"]), &theirs, &live),
        Some(json!({"spec": {}})),
        "another applier's"
    );
}

#[test]
fn what_a_manager_owns_is_left_to_it_but_no_mark() {
    let wanted = json!({"kind": "Deployment", "metadata": {"name": "web", "labels": {PART_OF: "p", "l": "1"}, "annotations": {OWNED_BY: "o"}},
        "spec": {"a": 1, "ports": [{"containerPort": 80, "protocol": "TCP", "name": "http"}, {"containerPort": 81, "name": "x"}], "set": ["p", "q"]}});
    let live = json!({"metadata": {"managedFields": [{"manager": "me", "operation": "Update", "fieldsV1": {
        "f:kind": {}, "f:metadata": {"f:name": {}, "f:labels": {}, "f:annotations": {".": {}, "f:slipway.dev/owned-by": {}}},
        "f:spec": {"f:a": {}, "f:ports": {".": {}, "k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}, "f:name": {}},
            "k:{\"containerPort\":81}": {".": {}, "f:containerPort": {}, "f:name": {}}}, "f:set": {"v:\"q\"": {}}}}}]}});
    let got = sent(&ruled(&["* manager:me"]), &wanted, &live).expect("stripped");
    let want = json!({"kind": "Deployment", "metadata": {"name": "web", "labels": {PART_OF: "p"}, "annotations": {OWNED_BY: "o"}},
        "spec": {"ports": [{"containerPort": 80, "protocol": "TCP"}], "set": ["p"]}});
    assert_eq!(got, want);
    assert_eq!(sent(&ruled(&["* manager:slipway"]), &wanted, &live), None);
}
