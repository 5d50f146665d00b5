//! The profile `baseline`: what is known to lead out of a container.

use serde_json::Value;

use super::{At, Pod, Told, short};

const CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];
const SYSCTLS: [&str; 12] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
];
const SELINUX_TYPES: [&str; 4] = ["container_t", "container_init_t", "container_kvm_t", "container_engine_t"];
const APPARMOR_ANNOTATION: &str = "container.apparmor.security.beta.kubernetes.io/";
const SECCOMP_ANNOTATIONS: [&str; 2] =
    ["seccomp.security.alpha.kubernetes.io/pod", "container.seccomp.security.alpha.kubernetes.io/"];

pub(super) fn check(pod: &Pod<'_>, told: &mut Told<'_>) {
    for key in ["hostNetwork", "hostPID", "hostIPC"] {
        told.false_or_absent(&pod.spec, key);
    }
    for volume in pod.spec.each("volumes") {
        if !volume.get("hostPath").is_null() {
            told.say(volume.path("hostPath"), "opens the node's files");
        }
    }
    for context in &pod.contexts {
        told.false_or_absent(&context.at("windowsOptions"), "hostProcess");
        told.one_of(&context.at("seccompProfile"), "type", &["RuntimeDefault", "Localhost"]);
        told.one_of(&context.at("appArmorProfile"), "type", &["RuntimeDefault", "Localhost"]);
        let selinux = context.at("seLinuxOptions");
        told.one_of(&selinux, "type", &SELINUX_TYPES);
        told.one_of(&selinux, "user", &[]);
        told.one_of(&selinux, "role", &[]);
    }
    for sysctl in pod.spec.at("securityContext").each("sysctls") {
        if !sysctl.get("name").as_str().is_some_and(|name| SYSCTLS.contains(&name.replace('/', ".").as_str()))
        {
            told.say(sysctl.path("name"), format!("is {}", short(sysctl.get("name"))));
        }
    }
    pod.containers.iter().for_each(|container| of_container(container, told));
    annotations(pod, told);
}

fn of_container(container: &At<'_>, told: &mut Told<'_>) {
    let context = container.at("securityContext");
    told.false_or_absent(&context, "privileged");
    told.one_of(&context, "procMount", &["Default"]);
    let added = context.at("capabilities");
    for (i, capability) in added.get("add").as_array().into_iter().flatten().enumerate() {
        if !capability.as_str().is_some_and(|c| CAPABILITIES.contains(&c)) {
            told.say(format!("{}[{i}]", added.path("add")), format!("is {}", short(capability)));
        }
    }
    for port in container.each("ports") {
        if !matches!(port.get("hostPort"), Value::Null) && port.get("hostPort").as_u64() != Some(0) {
            told.say(port.path("hostPort"), format!("is {}", short(port.get("hostPort"))));
        }
    }
    let lifecycle = container.at("lifecycle");
    let asked = ["livenessProbe", "readinessProbe", "startupProbe"].map(|key| container.at(key));
    for handler in asked.into_iter().chain(["postStart", "preStop"].map(|key| lifecycle.at(key))) {
        for way in ["httpGet", "tcpSocket"] {
            told.one_of(&handler.at(way), "host", &[]);
        }
    }
}

/// Where AppArmor and seccomp were written before they had fields; clusters may read them still.
fn annotations(pod: &Pod<'_>, told: &mut Told<'_>) {
    let annotations = pod.metadata.at("annotations");
    for (key, value) in annotations.value.as_object().into_iter().flatten() {
        let value = value.as_str().unwrap_or_default();
        let localhost = value.starts_with("localhost/");
        let fine = if key.starts_with(APPARMOR_ANNOTATION) {
            localhost || matches!(value, "" | "runtime/default")
        } else if SECCOMP_ANNOTATIONS.iter().any(|a| key.starts_with(a)) {
            localhost || matches!(value, "" | "runtime/default" | "docker/default")
        } else {
            true
        };
        if !fine {
            let value = short(&value.into());
            told.say(format!("{}[{key}]", annotations.path), format!("is {value}"));
        }
    }
}
