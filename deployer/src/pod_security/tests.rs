//! The published cases, level by level.

use serde_json::{Value, json};

use super::*;

const GOOD_CONTAINER: &str = r#"{"name": "c", "image": "i", "securityContext": {"allowPrivilegeEscalation": false,
    "runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}, "capabilities": {"drop": ["ALL"]}}}"#;

/// A restricted pod with these fields set: path, value.
fn pod(sets: &[(&str, Value)]) -> Value {
    let container: Value = serde_json::from_str(GOOD_CONTAINER).expect("json");
    let mut pod = json!({"metadata": {"name": "p", "annotations": {}}, "spec": {"containers": [container],
        "initContainers": [], "ephemeralContainers": [], "volumes": [{"name": "v", "emptyDir": {}}], "securityContext": {}}});
    for (path, value) in sets {
        let mut at = &mut pod;
        for key in path.split('>') {
            at = match key.parse::<usize>() {
                Ok(i) => &mut at.as_array_mut().expect("array")[i],
                Err(_) => &mut at[key],
            };
        }
        *at = value.clone();
    }
    pod
}

fn fields(level: PodSecurity, pod: &Value) -> Vec<String> {
    let found = violations(level, "", "Pod", pod.as_object().expect("object"));
    found.into_iter().map(|v| v.field).collect()
}

const CONTEXT: &str = "spec>containers>0>securityContext";

#[test]
fn what_baseline_forbids_is_found_by_its_field() {
    let context = |key: &str| format!("{CONTEXT}>{key}");
    let cases: Vec<(String, Value)> = vec![
        ("spec>hostNetwork".into(), json!(true)),
        ("spec>hostPID".into(), json!(true)),
        ("spec>hostIPC".into(), json!("true")),
        ("spec>volumes>0>hostPath".into(), json!({"path": "/"})),
        ("spec>securityContext>windowsOptions".into(), json!({"hostProcess": true})),
        ("spec>securityContext>seccompProfile".into(), json!({"type": "Unconfined"})),
        ("spec>securityContext>appArmorProfile".into(), json!({"type": "Unconfined"})),
        ("spec>securityContext>seLinuxOptions".into(), json!({"type": "spc_t"})),
        ("spec>securityContext>seLinuxOptions".into(), json!({"user": "system_u"})),
        ("spec>securityContext>seLinuxOptions".into(), json!({"role": "sysadm_r"})),
        ("spec>securityContext>sysctls".into(), json!([{"name": "kernel.msgmax", "value": "1"}])),
        (
            "metadata>annotations".into(),
            json!({"container.apparmor.security.beta.kubernetes.io/c": "unconfined"}),
        ),
        ("metadata>annotations".into(), json!({"seccomp.security.alpha.kubernetes.io/pod": "unconfined"})),
        (context("privileged"), json!(true)),
        (context("procMount"), json!("Unmasked")),
        (context("capabilities>add"), json!(["SYS_ADMIN"])),
        (context("capabilities>add"), json!(["NET_RAW"])),
        (context("capabilities>add"), json!(["ALL"])),
        (context("seccompProfile"), json!({"type": "Unconfined"})),
        (context("appArmorProfile"), json!({"type": "Unconfined"})),
        (context("seLinuxOptions"), json!({"type": "spc_t"})),
        (context("windowsOptions"), json!({"hostProcess": true})),
        ("spec>containers>0>ports".into(), json!([{"containerPort": 80, "hostPort": 80}])),
        (
            "spec>containers>0>livenessProbe".into(),
            json!({"httpGet": {"host": "169.254.169.254", "port": 80}}),
        ),
        ("spec>containers>0>readinessProbe".into(), json!({"tcpSocket": {"host": "10.0.0.1", "port": 80}})),
        ("spec>containers>0>lifecycle".into(), json!({"preStop": {"httpGet": {"host": "h", "port": 1}}})),
    ];
    for (path, value) in cases {
        let pod = pod(&[(&path, value)]);
        let found = fields(PodSecurity::Baseline, &pod);
        assert_eq!(found.len(), 1, "{path}: {found:?}");
        assert!(found[0].starts_with(&path.split('>').next().expect("first").to_owned()), "{found:?}");
        assert!(fields(PodSecurity::Privileged, &pod).is_empty(), "{path}");
        assert!(!fields(PodSecurity::Restricted, &pod).is_empty(), "{path}");
    }
}

#[test]
fn containers_of_all_three_kinds_are_looked_at() {
    for kind in ["containers", "initContainers", "ephemeralContainers"] {
        let bad = json!([{"name": "x", "securityContext": {"privileged": true}}]);
        let found = fields(PodSecurity::Baseline, &pod(&[(&format!("spec>{kind}"), bad)]));
        assert_eq!(found, [format!("spec.{kind}[0].securityContext.privileged")]);
    }
}

#[test]
fn what_baseline_allows_passes() {
    for (path, value) in [
        ("spec>hostNetwork", json!(false)),
        ("spec>hostPID", json!(null)),
        ("spec>volumes>0>hostPath", json!(null)),
        ("spec>volumes", json!([{"name": "n", "nfs": {"server": "s", "path": "/"}}])),
        (
            "spec>securityContext>sysctls",
            json!([{"name": "net.ipv4.tcp_rmem", "value": "1"}, {"name": "kernel.shm_rmid_forced", "value": "1"}]),
        ),
        (
            "spec>securityContext>seLinuxOptions",
            json!({"type": "container_t", "level": "s0:c1", "user": "", "role": ""}),
        ),
        (
            "metadata>annotations",
            json!({"container.apparmor.security.beta.kubernetes.io/c": "localhost/x", "a": "unconfined"}),
        ),
        ("spec>containers>0>ports", json!([{"containerPort": 80, "hostPort": 0}])),
        ("spec>containers>0>livenessProbe", json!({"httpGet": {"host": "", "port": 80}})),
        (
            "spec>containers>0>securityContext",
            json!({"capabilities": {"add": ["CHOWN", "MKNOD", "NET_BIND_SERVICE"]}, "procMount": "Default"}),
        ),
        (
            "spec>containers>0>securityContext",
            json!({"seccompProfile": {"type": "Localhost", "localhostProfile": "x"}, "runAsUser": 0}),
        ),
        ("spec>containers>0>securityContext", json!(null)),
    ] {
        assert_eq!(fields(PodSecurity::Baseline, &pod(&[(path, value.clone())])), [""; 0], "{path} {value}");
    }
}

#[test]
fn what_restricted_forbids_besides_is_found() {
    for (path, value, want) in [
        ("spec>volumes", json!([{"name": "n", "nfs": {"server": "s", "path": "/"}}]), "spec.volumes[0]"),
        ("spec>volumes", json!([{"name": "n", "image": {"reference": "i"}}]), "spec.volumes[0]"),
        ("spec>volumes", json!([{"name": "n"}]), "spec.volumes[0]"),
        ("spec>securityContext>runAsNonRoot", json!(false), "spec.securityContext.runAsNonRoot"),
        ("spec>securityContext>runAsUser", json!(0), "spec.securityContext.runAsUser"),
        (
            "spec>containers>0>securityContext>runAsUser",
            json!(0),
            "spec.containers[0].securityContext.runAsUser",
        ),
        (
            "spec>containers>0>securityContext>runAsNonRoot",
            json!(null),
            "spec.containers[0].securityContext.runAsNonRoot",
        ),
        (
            "spec>containers>0>securityContext>runAsNonRoot",
            json!(false),
            "spec.containers[0].securityContext.runAsNonRoot",
        ),
        (
            "spec>containers>0>securityContext>allowPrivilegeEscalation",
            json!(null),
            "spec.containers[0].securityContext.allowPrivilegeEscalation",
        ),
        (
            "spec>containers>0>securityContext>seccompProfile",
            json!(null),
            "spec.containers[0].securityContext.seccompProfile.type",
        ),
        (
            "spec>containers>0>securityContext>capabilities>drop",
            json!(["NET_RAW"]),
            "spec.containers[0].securityContext.capabilities.drop",
        ),
        (
            "spec>containers>0>securityContext>capabilities>add",
            json!(["CHOWN"]),
            "spec.containers[0].securityContext.capabilities.add[0]",
        ),
    ] {
        let pod = pod(&[(path, value)]);
        assert_eq!(fields(PodSecurity::Restricted, &pod), [want], "{path}");
        assert!(fields(PodSecurity::Baseline, &pod).is_empty(), "{path}");
    }
}

#[test]
fn what_restricted_allows_passes() {
    assert_eq!(fields(PodSecurity::Restricted, &pod(&[])), [""; 0]);
    let by_pod = pod(&[
        ("spec>securityContext", json!({"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}})),
        (
            CONTEXT,
            json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}}),
        ),
    ]);
    assert_eq!(fields(PodSecurity::Restricted, &by_pod), [""; 0]);
    let windows = pod(&[("spec>os", json!({"name": "windows"})), (CONTEXT, json!({"runAsNonRoot": true}))]);
    assert_eq!(fields(PodSecurity::Restricted, &windows), [""; 0]);
}

#[test]
fn every_kind_that_holds_a_pod_is_looked_into() {
    let pod = json!({"metadata": {}, "spec": {"hostPID": true, "containers": []}});
    let template = json!({"spec": {"template": pod}});
    let cron = json!({"spec": {"jobTemplate": {"spec": {"template": pod}}}});
    let named = json!({"template": pod});
    for (group, kind, object, at) in [
        ("", "Pod", &pod, "spec.hostPID"),
        ("", "PodTemplate", &named, "template.spec.hostPID"),
        ("", "ReplicationController", &template, "spec.template.spec.hostPID"),
        ("apps", "Deployment", &template, "spec.template.spec.hostPID"),
        ("apps", "ReplicaSet", &template, "spec.template.spec.hostPID"),
        ("apps", "StatefulSet", &template, "spec.template.spec.hostPID"),
        ("apps", "DaemonSet", &template, "spec.template.spec.hostPID"),
        ("extensions", "Deployment", &template, "spec.template.spec.hostPID"),
        ("batch", "Job", &template, "spec.template.spec.hostPID"),
        ("batch", "CronJob", &cron, "spec.jobTemplate.spec.template.spec.hostPID"),
    ] {
        let found = violations(PodSecurity::Baseline, group, kind, object.as_object().expect("object"));
        assert_eq!(found.first().map(|v| v.field.as_str()), Some(at), "{group} {kind}");
    }
    assert!(
        violations(PodSecurity::Restricted, "example.org", "Deployment", template.as_object().expect("o"))
            .is_empty()
    );
}
