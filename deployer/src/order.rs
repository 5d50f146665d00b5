//! In which order objects are written: five barriers, everything inside one at once. Pure.
//!
//! Prunes go the other way round.

/// Number of barriers.
pub(crate) const BARRIERS: u8 = 5;

/// The barrier of a kind: what others need comes first; what can refuse others (webhooks, aggregated APIs) comes last,
/// so that one whose pods are not up cannot block its own rollout.
pub(crate) fn barrier(group: &str, kind: &str) -> u8 {
    match (group, kind) {
        ("", "Namespace") | ("apiextensions.k8s.io", "CustomResourceDefinition") => 0,
        (g, k) if k.ends_with("Class") && g.ends_with(".k8s.io") => 0,
        ("", "ResourceQuota" | "LimitRange" | "ServiceAccount" | "ConfigMap" | "Secret") => 1,
        ("", "PersistentVolume" | "PersistentVolumeClaim") => 1,
        ("rbac.authorization.k8s.io", "Role" | "ClusterRole") => 1,
        ("policy" | "extensions", "PodSecurityPolicy") => 1,
        // After roles: without the right to bind anything, the cluster wants to read the role first.
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => 2,
        ("", "Service" | "Endpoints") | ("discovery.k8s.io", "EndpointSlice") => 2,
        ("networking.k8s.io" | "extensions", "NetworkPolicy") | ("policy", "PodDisruptionBudget") => 2,
        ("admissionregistration.k8s.io", _) | ("apiregistration.k8s.io", "APIService") => 4,
        _ => 3,
    }
}

/// Kinds whose loss takes data or other people's objects along: never pruned, only told.
pub(crate) fn is_protected(group: &str, kind: &str) -> bool {
    matches!(
        (group, kind),
        ("", "Namespace" | "PersistentVolume" | "PersistentVolumeClaim")
            | ("apiextensions.k8s.io", "CustomResourceDefinition")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_need_comes_before_them() {
        let order = [
            [
                ("", "Namespace"),
                ("apiextensions.k8s.io", "CustomResourceDefinition"),
                ("storage.k8s.io", "StorageClass"),
            ],
            [("", "ConfigMap"), ("", "ServiceAccount"), ("rbac.authorization.k8s.io", "Role")],
            [
                ("", "Service"),
                ("policy", "PodDisruptionBudget"),
                ("rbac.authorization.k8s.io", "RoleBinding"),
            ],
            [("apps", "Deployment"), ("example.org", "Widget"), ("networking.k8s.io", "Ingress")],
            [
                ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"),
                ("admissionregistration.k8s.io", "MutatingWebhookConfiguration"),
                ("apiregistration.k8s.io", "APIService"),
            ],
        ];
        for (i, kinds) in order.iter().enumerate() {
            for (group, kind) in kinds {
                assert_eq!(usize::from(barrier(group, kind)), i, "{group} {kind}");
            }
        }
        assert_eq!(order.len(), usize::from(BARRIERS));
    }

    #[test]
    fn a_custom_kind_that_is_called_class_is_a_custom_kind() {
        assert_eq!(barrier("school.example.org", "TeachingClass"), 3);
    }
}
