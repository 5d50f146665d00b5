//! What a binding does not let manifests be.

use slipway_core::target::PodSecurity;
use slipway_deployer::DeployError;
use slipway_deployer::PruneConfirmation;

use super::Fake;
use crate::harness::{config_map, manifests};

#[tokio::test]
async fn what_the_binding_does_not_let_manifests_be_is_told_before_the_cluster_is_asked_anything() {
    let fake = Fake::start(|_, _, _, _| None).await;
    let mut repo = fake.repo().await;
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {hostPID: true, containers: [{name: c, image: i, securityContext: {privileged: true}}], volumes: [{name: v, hostPath: {path: /}}]}\n";
    let role = "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {name: r}\n";
    let fine = config_map("fine", "1");
    let files = [("fine.yaml", fine.as_str()), ("pod.yaml", pod), ("role.yaml", role)];
    let calls = fake.log().len();
    let refused = repo.deploy(&files).await.expect_err("not allowed");
    let told = refused.to_string();
    assert!(matches!(refused, DeployError::NotAllowed(_)), "{told}");
    for part in [
        "pod.yaml:1: Pod p",
        "spec.hostPID is true",
        "spec.volumes[0].hostPath",
        "spec.containers[0].securityContext.privileged",
        "--pod-security privileged",
        "role.yaml:1: RoleBinding r",
        "--allow-kind RoleBinding.rbac.authorization.k8s.io",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let gate = repo
        .connection
        .dry_run(&repo.name(), &repo.binding, manifests(&files), &[], PruneConfirmation::None)
        .await
        .expect("told");
    assert!(gate.iter().all(|one| told.contains(one)) && gate.len() == 2, "the gate says the same: {gate:?}");
    assert_eq!(fake.log().len(), calls, "no call is made for it");
    repo.binding.pod_security = PodSecurity::Privileged;
    let told = repo.deploy(&files).await.expect_err("the role still").to_string();
    assert!(!told.contains("pod.yaml") && told.contains("role.yaml"), "{told}");
}
