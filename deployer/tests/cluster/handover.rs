//! Objects and fields that go from one keeper to another, on a real cluster.

use slipway_core::{RepoName, Secret};
use slipway_deployer::PruneConfirmation;
use slipway_deployer::{Clusters, DeployError};

use crate::harness::{Lab, cluster, config_map, short_timing};

fn service(port: u16, label: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: svc{label}}}\nspec: {{selector: {{app: x}}, ports: [{{name: http, port: {port}, protocol: TCP}}]}}\n"
    )
}

const WITH: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\ndata: {keep: '1', gone: '1'}\n";
const WITHOUT: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\ndata: {keep: '1'}\n";

#[tokio::test(flavor = "multi_thread")]
async fn fields_of_other_tools_become_ours_at_first_contact() {
    for (tool, flags) in [
        ("argocd-controller", vec!["--server-side", "--field-manager=argocd-controller"]),
        ("kustomize-controller", vec!["--server-side", "--field-manager=kustomize-controller"]),
        ("helm", vec!["--field-manager=helm"]),
        ("kubectl", vec!["--server-side"]),
        ("terraform", vec!["--server-side", "--field-manager=terraform"]),
    ] {
        let lab = Lab::new();
        let mut repo = lab.repo(1).await;
        repo.binding.adopt = true;
        repo.binding.rules.take_over_from = ["terraform".to_owned()].into();
        let apply = |text: &str| {
            let mut args = vec!["apply"];
            args.extend(&flags);
            args.extend(["-f", "-"]);
            lab.feed(&args, text);
        };
        let (old, new) = (service(80, ", labels: {old: '1'}"), service(81, ""));
        apply(WITH);
        apply(&old);
        // As it is first, then changed.
        repo.deployed(&[("m.yaml", WITH), ("s.yaml", &old)]).await;
        assert!(
            repo.notebook.notes().contains(&format!("takes fields over from {tool}")),
            "{tool}: {}",
            repo.notebook.notes()
        );
        repo.deployed(&[("m.yaml", WITHOUT), ("s.yaml", &new)]).await;
        let state = || {
            let data = lab.here(&["get", "cm", "m", "-o", "jsonpath={.data}"]);
            (
                data,
                lab.here(&[
                    "get",
                    "svc",
                    "svc",
                    "-o",
                    "jsonpath={.spec.ports[*].port} {.metadata.labels.old}",
                ]),
            )
        };
        assert_eq!(state(), (r#"{"keep":"1"}"#.to_owned(), "81".to_owned()), "{tool}");
        // Changed at once: the dry-run already sees whose the fields are, and the push does not refuse it.
        lab.here(&["delete", "cm/m", "svc/svc"]);
        apply(WITH);
        apply(&old);
        *repo.notebook.inventory.lock().expect("lock") = Vec::new();
        let files = [("m.yaml", WITHOUT), ("s.yaml", new.as_str())];
        let gate = repo
            .connection
            .dry_run(
                &repo.name(),
                &repo.binding,
                crate::harness::manifests(&files),
                &[],
                PruneConfirmation::None,
            )
            .await;
        assert!(gate.expect("asked").is_empty(), "{tool}");
        repo.deployed(&files).await;
        assert_eq!(state(), (r#"{"keep":"1"}"#.to_owned(), "81".to_owned()), "{tool}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_that_nobody_named_keeps_what_it_wrote() {
    let lab = Lab::new();
    let mut repo = lab.repo(1).await;
    repo.binding.adopt = true;
    lab.feed(&["apply", "--server-side", "--field-manager=terraform", "-f", "-"], WITH);
    repo.deployed(&[("m.yaml", WITH)]).await;
    repo.deployed(&[("m.yaml", WITHOUT)]).await;
    assert_eq!(lab.here(&["get", "cm", "m", "-o", "jsonpath={.data}"]), r#"{"gone":"1","keep":"1"}"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_of_a_lost_server_and_of_another_repository_are_taken_by_word_and_not_deleted_by_the_other() {
    let lab = Lab::new();
    let (a, b, own) = (config_map("a", "1"), config_map("b", "1"), config_map("own", "1"));
    let lost = Clusters::new("lost-server", short_timing());
    let lost = lost.connect(&cluster("lab"), &Secret::new(lab.kubeconfig.clone())).await.expect("connects");
    let mut before = lab.repo(7).await;
    before.connection = lost;
    before.deployed(&[("a.yaml", &a)]).await;
    let other = lab.repo(2).await;
    other.deployed(&[("b.yaml", &b)]).await;
    let repo = lab.repo(1).await;
    let files = [("a.yaml", a.as_str()), ("b.yaml", b.as_str()), ("own.yaml", own.as_str())];
    let refused = repo.deploy(&files).await.expect_err("others'");
    assert!(matches!(refused, DeployError::Foreign(_)) && !lab.has("cm/own"), "{refused}");
    let uid = |name: &str| lab.here(&["get", "cm", name, "-o", "jsonpath={.metadata.uid}"]);
    let uids = (uid("a"), uid("b"));
    let told = repo.connection.adoptable(repo.work(&files)).await.expect("asked");
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told[0].contains("a.yaml:1: ConfigMap") && told[0].contains("another Slipway server"),
        "{told:?}"
    );
    assert!(told[1].contains("repository repo2"), "{told:?}");
    let mut work = repo.work(&files);
    work.takes_all = true;
    work.repo_name = RepoName::parse("repo1").expect("name");
    repo.connection.reconcile(work, &repo.notebook, &repo.stop).await.expect("taken");
    assert!(
        repo.notebook.notes().contains("is taken over from repository repo2"),
        "{}",
        repo.notebook.notes()
    );
    // From now on they are this repository's, and the other lets go of them without deleting.
    repo.deployed(&files).await;
    let keep = config_map("keep", "1");
    assert_eq!(
        other.deployed(&[("k.yaml", &keep)]).await,
        ["ConfigMap/keep Created Healthy", "ConfigMap/b Kept Unknown"]
    );
    assert_eq!((uid("a"), uid("b")), uids, "nothing was made anew");
    repo.deployed(&files[2..]).await;
    assert!(!lab.has("cm/a") && !lab.has("cm/b"));
}
