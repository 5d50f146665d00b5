//! Which kinds of objects a repository may apply to a cluster.
//!
//! A rule names `KIND.GROUP`, `KIND` (of any group), `*.GROUP` (all of a group) or `*`. Of the rules that match an object the most
//! exact one decides, and of two that are equally exact the one that denies. Where none matches, everything is allowed
//! except what gives rights: in the cluster, over what others may apply, or over nodes.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// API groups whose objects give rights or stand between the cluster and whoever calls it.
const GROUPS_DENIED: [&str; 6] = [
    "rbac.authorization.k8s.io",
    "admissionregistration.k8s.io",
    "apiregistration.k8s.io",
    "certificates.k8s.io",
    "authorization.openshift.io",
    "security.openshift.io",
];
/// Kinds of the core group that are nodes, or lead to a node's files.
const KINDS_DENIED: [&str; 2] = ["Node", "PersistentVolume"];

/// What is allowed and denied besides the default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KindRules {
    /// Rules that allow.
    #[serde(default, rename = "allow_kinds")]
    pub allow: BTreeSet<String>,
    /// Rules that deny.
    #[serde(default, rename = "deny_kinds")]
    pub deny: BTreeSet<String>,
}

impl KindRules {
    /// True if objects of that kind may be applied; the core group is the empty one.
    pub fn allows(&self, group: &str, kind: &str) -> bool {
        let exactness = |rules: &BTreeSet<String>| rules.iter().filter_map(|r| matches(r, group, kind)).max();
        match (exactness(&self.allow), exactness(&self.deny)) {
            (None, None) => !is_denied_by_default(group, kind),
            (allow, deny) => allow > deny,
        }
    }

    /// True if a rule is about objects of that kind.
    pub fn is_named_by(rule: &str, group: &str, kind: &str) -> bool {
        matches(rule, group, kind).is_some()
    }

    /// How a rule is written that allows exactly this kind.
    pub fn rule_for(group: &str, kind: &str) -> String {
        if group.is_empty() { kind.to_owned() } else { format!("{kind}.{group}") }
    }

    /// True for a text that can be a rule.
    pub fn is_rule(text: &str) -> bool {
        let (kind, group) = split(text);
        let is_name = |part: &str, dots: bool| {
            !part.is_empty()
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || (dots && b == b'.'))
        };
        text.len() <= 253 && (kind == "*" || is_name(kind, false)) && group.is_none_or(|g| is_name(g, true))
    }
}

fn is_denied_by_default(group: &str, kind: &str) -> bool {
    GROUPS_DENIED.contains(&group) || (group.is_empty() && KINDS_DENIED.contains(&kind))
}

fn split(rule: &str) -> (&str, Option<&str>) {
    rule.split_once('.').map_or((rule, None), |(kind, group)| (kind, Some(group)))
}

/// How exactly a rule names an object, if it does.
fn matches(rule: &str, group: &str, kind: &str) -> Option<u8> {
    let (wanted_kind, wanted_group) = split(rule);
    let kind_fits = wanted_kind == "*" || wanted_kind == kind;
    let group_fits = wanted_group.is_none_or(|g| g == group);
    let exactness = 2 * u8::from(wanted_kind != "*") + u8::from(wanted_group.is_some());
    (kind_fits && group_fits).then_some(exactness)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(allow: &[&str], deny: &[&str]) -> KindRules {
        let set = |all: &[&str]| all.iter().map(|r| (*r).to_owned()).collect();
        KindRules { allow: set(allow), deny: set(deny) }
    }

    const RBAC: &str = "rbac.authorization.k8s.io";

    #[test]
    fn what_gives_rights_is_denied_unless_it_is_allowed() {
        let default = KindRules::default();
        for (group, kind) in [
            (RBAC, "Role"),
            (RBAC, "RoleBinding"),
            (RBAC, "ClusterRole"),
            (RBAC, "ClusterRoleBinding"),
            ("admissionregistration.k8s.io", "MutatingWebhookConfiguration"),
            ("apiregistration.k8s.io", "APIService"),
            ("certificates.k8s.io", "CertificateSigningRequest"),
            ("authorization.openshift.io", "RoleBinding"),
            ("security.openshift.io", "SecurityContextConstraints"),
            ("", "PersistentVolume"),
            ("", "Node"),
        ] {
            assert!(!default.allows(group, kind), "{group} {kind}");
            let rule = KindRules::rule_for(group, kind);
            assert!(KindRules::is_rule(&rule) && rules(&[&rule], &[]).allows(group, kind), "{rule}");
        }
        for (group, kind) in [
            ("apps", "Deployment"),
            ("", "Secret"),
            ("", "Pod"),
            ("example.org", "RoleBinding"),
            ("x", "Node"),
        ] {
            assert!(default.allows(group, kind), "{group} {kind}");
        }
    }

    #[test]
    fn the_most_exact_rule_decides_and_of_equals_the_one_that_denies() {
        let only = rules(&["Deployment.apps", "Service"], &["*"]);
        assert!(only.allows("apps", "Deployment") && only.allows("", "Service"));
        assert!(!only.allows("", "Secret") && !only.allows("extensions", "Deployment"));
        let all_but = rules(&["*.apps"], &["DaemonSet.apps"]);
        assert!(all_but.allows("apps", "Deployment") && !all_but.allows("apps", "DaemonSet"));
        assert!(!rules(&["Secret"], &["Secret"]).allows("", "Secret"));
        assert!(rules(&[&format!("*.{RBAC}")], &[]).allows(RBAC, "Role"));
        assert!(!rules(&["Role"], &[&format!("Role.{RBAC}")]).allows(RBAC, "Role"));
    }

    #[test]
    fn a_text_that_names_nothing_is_no_rule() {
        for bad in ["", ".apps", "a b", "Deployment.", "a/b", "Pod*", "**", "Pod.a b", &"x".repeat(254)] {
            assert!(!KindRules::is_rule(bad), "{bad:?}");
        }
        for good in ["*", "*.apps", "Pod", "Ingress.networking.k8s.io"] {
            assert!(KindRules::is_rule(good), "{good:?}");
        }
    }
}
