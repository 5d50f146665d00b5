//! What a binding lets manifests be, told before the cluster is asked anything: kinds, and what pods ask of their node.
//! The gate before a push and the deploy after it both come here, by `place.rs`.

use slipway_core::kind_rules::KindRules;
use slipway_core::target::{ClusterBinding, PodSecurity};

use crate::limits::VIOLATIONS_TOLD_MAX;
use crate::manifest::Manifest;
use crate::pod_security::{Violation, violations};

/// What the binding does not allow, a sentence an object, with `file:line`.
pub(crate) fn refusals(binding: &ClusterBinding, manifests: &[Manifest]) -> Vec<String> {
    manifests.iter().filter_map(|m| refusal(binding, m)).collect()
}

fn refusal(binding: &ClusterBinding, manifest: &Manifest) -> Option<String> {
    let (group, kind, name) = (manifest.group(), manifest.kind(), manifest.name());
    let at = manifest.source();
    if !binding.kinds.allows(group, kind) {
        let flag = format!("--allow-kind {}", KindRules::rule_for(group, kind));
        return Some(format!(
            "{at}: {kind} {name} is of a kind that the binding does not allow; {}",
            by_flag(binding, &flag)
        ));
    }
    let found = violations(binding.pod_security, group, kind, &manifest.object);
    let needs = found.iter().map(|v| v.needs).min()?;
    Some(format!(
        "{at}: {kind} {name} is more than the Pod Security level {} allows: {}; {}",
        binding.pod_security.as_str(),
        told(&found),
        by_flag(binding, &format!("--pod-security {}", PodSecurity::as_str(needs)))
    ))
}

fn told(found: &[Violation]) -> String {
    let mut all: Vec<String> =
        found.iter().take(VIOLATIONS_TOLD_MAX).map(|v| format!("{} {}", v.field, v.what)).collect();
    if found.len() > all.len() {
        all.push(format!("and {} more", found.len() - all.len()));
    }
    all.join(", ")
}

/// How an owner would allow it.
pub(crate) fn by_flag(binding: &ClusterBinding, flag: &str) -> String {
    format!("`slipway bind REPO --cluster {} {flag}` would allow it", binding.cluster)
}
