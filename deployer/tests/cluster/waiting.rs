//! What is waited for, for how long, and what it keeps from being deleted, on a real cluster.

use std::time::{Duration, Instant};

use slipway_core::deploy::Phase;
use slipway_core::run::FailureClass;
use slipway_deployer::DeployError;

use crate::harness::{Lab, config_map, deployment};

fn balancer(annotation: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: lb, annotations: {{{annotation}}}}}\nspec: {{type: LoadBalancer, selector: {{app: x}}, ports: [{{port: 80}}]}}\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_without_a_controller_neither_holds_others_nor_waits_longer_than_it_says() {
    let lab = Lab::new();
    let mut repo = lab.repo(1).await;
    let (lb, old) = (balancer("slipway.dev/timeout: 2s"), config_map("old", "1"));
    let started = Instant::now();
    let late = repo.deploy(&[("lb.yaml", &lb), ("old.yaml", &old)]).await.expect_err("no balancer");
    assert!(
        matches!(late, DeployError::RolloutTimeout { after_s: 2, .. })
            && late.class() == FailureClass::Timeout,
        "{late}"
    );
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    // What left goes although the balancer is not there.
    let late = repo.deploy(&[("lb.yaml", &lb)]).await.expect_err("still none");
    assert!(matches!(late, DeployError::RolloutTimeout { .. }) && !lab.has("cm/old"), "{late}");
    assert!(repo.notebook.phases().contains(&Phase::Prune));
    // By the binding's time.
    repo.binding.rules.timeout_s = Some(1);
    let plain = balancer("a: b");
    let late = repo.deploy(&[("lb.yaml", &plain)]).await.expect_err("no balancer");
    assert!(matches!(late, DeployError::RolloutTimeout { after_s: 1, .. }), "{late}");
    let unwaited = balancer("kapp.k14s.io/disable-wait: ''");
    assert_eq!(repo.deployed(&[("lb.yaml", &unwaited)]).await, ["Service/lb Configured Progressing"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_pods_may_still_need_stays_until_they_are_healthy() {
    let lab = Lab::new();
    let repo = lab.repo(1).await;
    let old = config_map("old", "1");
    let bad = deployment("web", "alpine:3.20", "command: ['/bin/false']");
    repo.deployed(&[("old.yaml", &old)]).await;
    let failed = repo.deploy(&[("web.yaml", &bad)]).await.expect_err("crashes");
    assert!(matches!(failed, DeployError::Rollout(_)) && lab.has("cm/old"), "{failed}");
    // Also the second time, when nothing of it is new.
    let failed = repo.deploy(&[("web.yaml", &bad)]).await.expect_err("crashes");
    assert!(matches!(failed, DeployError::Rollout(_)) && lab.has("cm/old"), "{failed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_changed_is_made_anew_only_where_it_says_so_and_no_value_is_told() {
    let lab = Lab::new();
    let repo = lab.repo(1).await;
    let job = |value: &str, annotation: &str| {
        format!(
            "apiVersion: batch/v1\nkind: Job\nmetadata: {{name: once, annotations: {{{annotation}}}}}\nspec: {{template: {{spec: {{restartPolicy: Never, automountServiceAccountToken: false, containers: [{{name: main, image: 'alpine:3.20', imagePullPolicy: IfNotPresent, command: ['/bin/true'], env: [{{name: PW, value: {value}}}]}}]}}}}}}\n"
        )
    };
    repo.deployed(&[("j.yaml", &job("hunter2", "a: b"))]).await;
    let uid = || lab.here(&["get", "job", "once", "-o", "jsonpath={.metadata.uid}"]);
    let first = uid();
    let changed = job("hunter3", "a: b");
    let refused = repo.deploy(&[("j.yaml", &changed)]).await.expect_err("immutable");
    let told = slipway_core::Problem::from(refused).to_string();
    assert!(
        told.contains("cannot be changed any more") && told.contains("slipway.dev/recreate: enabled"),
        "{told}"
    );
    assert!(!told.contains("hunter"), "{told}");
    let diff = repo.connection.diff(repo.work(&[("j.yaml", &changed)])).await.expect("asked");
    assert!(!format!("{diff:?}").contains("hunter"), "{diff:?}");
    assert_eq!(uid(), first);
    let anew = job("hunter3", "kustomize.toolkit.fluxcd.io/force: enabled");
    repo.deployed(&[("j.yaml", &anew)]).await;
    assert_ne!(uid(), first);
    assert!(
        repo.notebook.notes().contains("is deleted and made anew")
            && !repo.notebook.notes().contains("hunter"),
        "{}",
        repo.notebook.notes()
    );
}
