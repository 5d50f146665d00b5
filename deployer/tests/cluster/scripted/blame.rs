//! Whose fault a failure is: of one object, of one group, or of the cluster.

use http::Method;
use slipway_core::run::FailureClass;
use slipway_core::{Problem, ProblemKind};
use slipway_deployer::DeployError;
use slipway_deployer::PruneConfirmation;

use super::{Fake, Fault, borrow, maps, status};
use crate::harness::{config_map, manifests};

fn broken(message: &str) -> Option<Fault> {
    Some(Fault::Answer(500, status(500, "InternalError", message, ""), None))
}

#[tokio::test]
async fn what_one_object_alone_breaks_is_its_own_fault_and_named() {
    for (what, says) in [("500", "cannot convert"), ("cut", "connection")] {
        let fake = Fake::start(move |method, path, _, _| {
            let is_bad = method.as_str() == "DRYRUN" && path.ends_with("/bad");
            match what {
                _ if !is_bad => None,
                "500" => broken("cannot convert it"),
                _ => Some(Fault::Disconnect),
            }
        })
        .await;
        let repo = fake.repo().await;
        let files = maps(&["a", "bad", "c"]);
        let error = repo.deploy(&borrow(&files)).await.expect_err("refused");
        let told = error.to_string();
        assert!(matches!(error, DeployError::Refused(_)) && error.class() == FailureClass::User, "{told}");
        assert!(told.contains("bad.yaml:1: ConfigMap team/bad: the API server fails on it"), "{told}");
        assert!(told.contains(says) && !told.contains("a.yaml") && fake.names().is_empty(), "{told}");
        // The push is told the same.
        let gate = repo
            .connection
            .dry_run(&repo.name(), &repo.binding, manifests(&borrow(&files)), &[], PruneConfirmation::None)
            .await
            .expect("asked");
        assert!(gate.len() == 1 && told.contains(&gate[0]), "{gate:?}");
    }
}

#[tokio::test]
async fn an_object_that_cannot_be_read_is_named_and_a_server_that_is_not_ready_is_waited_for() {
    let fake = Fake::start(|method, path, _, _| {
        (*method == Method::GET && path.ends_with("/bad")).then(|| broken("it cannot be decrypted"))?
    })
    .await;
    let files = maps(&["a", "bad"]);
    let error = fake.repo().await.deploy(&borrow(&files)).await.expect_err("refused");
    assert!(
        error.class() == FailureClass::User && error.to_string().contains("cannot be decrypted"),
        "{error}"
    );
    let fake = Fake::start(|method, path, _, _| match path {
        "/readyz" => Some(Fault::Raw(500, "etcd failed")),
        p if *method == Method::GET && p.ends_with("/bad") => broken("it cannot be read"),
        _ => None,
    })
    .await;
    let error = fake.repo().await.deploy(&borrow(&files)).await.expect_err("down");
    assert!(error.class() == FailureClass::Infra && Problem::from(error).kind == ProblemKind::Unavailable);
}

#[tokio::test]
async fn a_write_that_fails_after_it_was_shown_is_the_clusters_unless_it_says_why() {
    for (message, class) in
        [("etcdserver: no space", FailureClass::Infra), ("conversion failed", FailureClass::User)]
    {
        let fake = Fake::start(move |method, path, _, _| {
            (*method == Method::PATCH && path.ends_with("/bad")).then(|| broken(message))?
        })
        .await;
        let files = maps(&["a", "bad"]);
        let error = fake.repo().await.deploy(&borrow(&files)).await.expect_err("fails");
        assert_eq!(error.class(), class, "{error}");
    }
}

#[tokio::test]
async fn a_group_whose_server_is_away_is_told_of_its_own_objects_and_keeps_what_left() {
    let fake = Fake::start(|_, path, _, _| {
        path.starts_with("/apis/away.example.org").then_some(Fault::Raw(503, "down"))
    })
    .await;
    let repo = fake.repo().await;
    let (map, thing) =
        (config_map("a", "1"), "apiVersion: away.example.org/v1\nkind: Thing\nmetadata: {name: t}\n");
    let error = repo.deploy(&[("a.yaml", &map), ("t.yaml", thing)]).await.expect_err("away");
    let told = error.to_string();
    assert!(error.class() == FailureClass::User, "{told}");
    assert!(
        told.contains("t.yaml:1: Thing t")
            && told.contains("away.example.org/v1")
            && told.contains("APIService"),
        "{told}"
    );
    // Of what was applied when it was there, nothing is forgotten.
    let entry = |name: &str, group: &str, kind: &str| slipway_core::deploy::InventoryEntry {
        group: group.into(),
        version: "v1".into(),
        kind: kind.into(),
        namespace: Some("team".into()),
        name: name.into(),
        uid: Some("u".into()),
    };
    *repo.notebook.inventory.lock().expect("lock") = vec![entry("t", "away.example.org", "Thing")];
    let got = repo.deployed(&[("a.yaml", &map)]).await;
    assert_eq!(got, ["ConfigMap/a Created Healthy", "Thing/t Kept Unknown"]);
    assert!(repo.notebook.inventory().iter().any(|e| e.name == "t"));
}

#[tokio::test]
async fn a_group_that_is_down_disturbs_nobody() {
    let fake = Fake::start(|_, path, _, _| {
        path.starts_with("/apis/metrics.k8s.io").then_some(Fault::Raw(503, "down"))
    })
    .await;
    let files = maps(&["a"]);
    fake.repo().await.deployed(&borrow(&files)).await;
    assert_eq!(fake.count("GET /apis"), 0, "nobody asks for what nobody needs: {:?}", fake.log());
}
