//! A real API server, controllers and a node.

use std::time::{Duration, Instant};

use slipway_core::deploy::{Change, Phase};
use slipway_core::run::FailureClass;
use slipway_deployer::{DeployError, PruneConfirmation};

use crate::harness::{Lab, Repo, config_map, deployment, manifests, short_timing};

const SLEEP: &str = "command: ['/bin/sh', '-c', 'while true; do sleep 1; done']";

#[tokio::test(flavor = "multi_thread")]
async fn a_first_deploy_creates_a_second_changes_nothing_a_third_changes_one() {
    let lab = Lab::new();
    let repo = lab.repo(1).await;
    let web = deployment("web", "alpine:3.20", SLEEP);
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {k: hunter2}\n";
    let service = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {selector: {app: web}, ports: [{port: 80}]}\n";
    let job = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: once}\nspec: {template: {spec: {restartPolicy: Never, automountServiceAccountToken: false, containers: [{name: main, image: 'alpine:3.20', imagePullPolicy: IfNotPresent, command: ['/bin/true']}]}}}\n";
    let (a, b) = (config_map("a", "1"), config_map("a", "2"));
    let files = |config: &str| -> Vec<(&'static str, String)> {
        vec![
            ("web.yaml", web.clone()),
            ("a.yaml", config.to_owned()),
            ("s.yaml", secret.into()),
            ("svc.yaml", service.into()),
            ("job.yaml", job.into()),
        ]
    };
    let borrow =
        |files: &[(&'static str, String)]| -> Vec<String> { files.iter().map(|f| f.1.clone()).collect() };
    let names = ["web.yaml", "a.yaml", "s.yaml", "svc.yaml", "job.yaml"];
    let set = |config: &str| -> Vec<String> { borrow(&files(config)) };
    let zip = |texts: &[String]| -> Vec<(&'static str, &'static str)> {
        names.iter().zip(texts).map(|(n, t)| (*n, &*Box::leak(t.clone().into_boxed_str()))).collect()
    };
    let first = repo.deployed(&zip(&set(&a))).await;
    let want = |config: &str, rest: &str| {
        vec![
            format!("ConfigMap/a {config} Healthy"),
            format!("Job/once {rest} Healthy"),
            format!("Secret/s {rest} Healthy"),
            format!("Service/web {rest} Healthy"),
            format!("Deployment/web {rest} Healthy"),
        ]
    };
    assert_eq!(first, want("Created", "Created"));
    assert_eq!(repo.notebook.phases(), [Phase::Apply, Phase::Rollout]);
    assert_eq!(lab.here(&["get", "secret", "s", "-o", "jsonpath={.data.k}"]), "aHVudGVyMg==");
    assert_eq!(lab.here(&["get", "deploy", "web", "-o", "jsonpath={.status.availableReplicas}"]), "1");
    // Ahead of the first write all objects were written down, and after it with their uids.
    let saves = repo.notebook.saves.lock().expect("lock").clone();
    assert!(saves[0].len() == 5 && saves[0].iter().all(|e| e.uid.is_none()));
    assert!(saves[1].len() == 5 && saves[1].iter().all(|e| e.uid.is_some()));
    let versions = |_: ()| {
        lab.here(&[
            "get",
            "deploy/web",
            "cm/a",
            "secret/s",
            "svc/web",
            "-o",
            "jsonpath={.items[*].metadata.resourceVersion}",
        ])
    };
    let before = versions(());
    assert_eq!(repo.deployed(&zip(&set(&a))).await, want("Unchanged", "Unchanged"));
    assert_eq!(versions(()), before, "an unchanged deploy must write nothing");
    assert_eq!(repo.deployed(&zip(&set(&b))).await, want("Configured", "Unchanged"));
    assert_eq!(lab.here(&["get", "cm", "a", "-o", "jsonpath={.data.a}"]), "2");
    // Drift of a field of ours is healed, what others added stays.
    lab.here(&["patch", "cm", "a", "-p", r#"{"data":{"a":"drift","theirs":"x"}}"#]);
    assert_eq!(repo.deployed(&zip(&set(&b))).await, want("Configured", "Unchanged"));
    assert_eq!(lab.here(&["get", "cm", "a", "-o", "jsonpath={.data.a}{.data.theirs}"]), "2x");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_leaves_the_repository_is_deleted_and_nothing_else() {
    let lab = Lab::new();
    let repo = lab.repo(1).await;
    lab.here(&["create", "configmap", "foreign", "--from-literal=a=b"]);
    let texts: Vec<String> =
        ["keep", "go", "handed-over", "held"].iter().map(|n| config_map(n, "1")).collect();
    let all =
        [("1.yaml", texts[0].as_str()), ("2.yaml", &texts[1]), ("3.yaml", &texts[2]), ("4.yaml", &texts[3])];
    repo.deployed(&all).await;
    lab.here(&["annotate", "cm", "handed-over", "slipway.dev/owned-by-"]);
    lab.here(&["annotate", "cm", "held", "slipway.dev/prune=disabled"]);
    // A child to which an operator copied all marks of its parent.
    let marks = lab.here(&[
        "get",
        "cm",
        "keep",
        "-o",
        "jsonpath={.metadata.labels.applyset\\.kubernetes\\.io/part-of}",
    ]);
    lab.here(&["label", "cm", "foreign", &format!("applyset.kubernetes.io/part-of={marks}")]);
    let got = repo.deployed(&all[..1]).await;
    let want = [
        "ConfigMap/keep Unchanged Healthy",
        "ConfigMap/go Pruned Unknown",
        "ConfigMap/handed-over Kept Unknown",
        "ConfigMap/held Kept Unknown",
    ];
    assert_eq!(got, want);
    assert!(!lab.has("cm/go"));
    assert!(lab.has("cm/keep") && lab.has("cm/handed-over") && lab.has("cm/held") && lab.has("cm/foreign"));
    let left: Vec<String> = repo.notebook.inventory().into_iter().map(|e| e.name).collect();
    assert_eq!(left, ["keep", "held"], "the handed over one is forgotten, the held one is not");
    // An object that was made anew under the same name by somebody else is not ours.
    lab.here(&["delete", "cm", "keep", "held"]);
    lab.here(&["create", "configmap", "keep", "--from-literal=theirs=1"]);
    let other = config_map("other", "1");
    repo.deployed(&[("o.yaml", &other)]).await;
    assert!(lab.has("cm/keep"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_or_large_prune_needs_a_word_and_prune_off_keeps() {
    let lab = Lab::new();
    let mut repo = lab.repo(1).await;
    let texts: Vec<String> = (0..8).map(|i| config_map(&format!("c{i}"), "1")).collect();
    let all: Vec<(String, &str)> =
        texts.iter().enumerate().map(|(i, t)| (format!("{i}.yaml"), t.as_str())).collect();
    let all: Vec<(&str, &str)> = all.iter().map(|(p, t)| (p.as_str(), *t)).collect();
    repo.deployed(&all).await;
    let error = repo.deploy(&[]).await.expect_err("must not delete all");
    assert!(
        matches!(error, DeployError::Empty { applied: 8 }) && error.class() == FailureClass::Policy,
        "{error}"
    );
    repo.deployed(&all[..1]).await;
    assert!(
        lab.has("cm/c7") && repo.notebook.notes().contains("Slipway-Prune: 7"),
        "{}",
        repo.notebook.notes()
    );
    repo.binding.prune = false;
    repo.prune = PruneConfirmation::UpTo(7);
    repo.deployed(&all[..1]).await;
    assert!(lab.has("cm/c7") && repo.change_of("c7").1.contains("prune is off"));
    repo.binding.prune = true;
    repo.deployed(&all[..1]).await;
    assert!(!lab.has("cm/c7") && lab.has("cm/c0"));
    repo.prune = PruneConfirmation::All;
    repo.deployed(&[]).await;
    assert!(!lab.has("cm/c0") && repo.notebook.inventory().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_its_resources_and_a_namespace_go_in_one_push() {
    let lab = Lab::new();
    let mut repo = lab.repo(1).await;
    let (ns, group) = (format!("{}-new", lab.namespace), format!("{}.example.org", lab.namespace));
    let crd = format!(
        "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {{name: widgets.{group}, creationTimestamp: null}}\nspec:\n  group: {group}\n  scope: Namespaced\n  names: {{kind: Widget, plural: widgets, singular: widget, listKind: WidgetList}}\n  versions: [{{name: v1, served: true, storage: true, schema: {{openAPIV3Schema: {{type: object, properties: {{spec: {{type: object, properties: {{size: {{type: integer}}}}}}}}}}}}}}]\nstatus: {{acceptedNames: {{kind: '', plural: ''}}, conditions: [], storedVersions: []}}\n"
    );
    let widget = |ns: &str| {
        format!(
            "apiVersion: {group}/v1\nkind: Widget\nmetadata: {{name: w, namespace: {ns}}}\nspec: {{size: 3}}\n"
        )
    };
    let space = format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {ns}}}\n");
    let files = [("a-widget.yaml", widget(&ns)), ("b-crd.yaml", crd.clone()), ("c-ns.yaml", space)];
    let files: Vec<(&str, &str)> = files.iter().map(|(p, t)| (*p, t.as_str())).collect();
    let denied = repo.deploy(&files).await.expect_err("not allowed yet");
    let told = denied.to_string();
    assert!(
        matches!(denied, DeployError::NotAllowed(_))
            && told.contains("--cluster-scoped")
            && told.contains(&format!("--allow-namespace {ns}")),
        "{told}"
    );
    repo.binding.cluster_scoped = true;
    repo.binding.allow_namespaces.insert(ns.clone());
    let got = repo.deployed(&files).await;
    let definition = format!("CustomResourceDefinition/widgets.{group} Created Healthy");
    assert_eq!(
        got,
        ["Widget/w Created Healthy".to_owned(), definition, format!("Namespace/{ns} Created Healthy")]
    );
    assert_eq!(
        lab.kubectl(&["-n", &ns, "get", &format!("widgets.{group}"), "w", "-o", "jsonpath={.spec.size}"]),
        "3"
    );
    let again = repo.deployed(&files).await;
    assert!(again.iter().all(|l| l.contains("Unchanged")), "{again:?}");
    // What holds others' objects is kept and said so; the widget goes.
    repo.deployed(&files[1..2]).await;
    assert_eq!(repo.change_of(&ns).0, Change::Kept);
    assert!(lab.kubectl(&["get", "ns", &ns, "-o", "name"]).contains(&ns));
    lab.kubectl(&["delete", "ns", &ns, "--wait=false"]);
    lab.kubectl(&["delete", "crd", &format!("widgets.{group}")]);
}

async fn failing(repo: &Repo, files: &[(&str, &str)], words: &[&str]) -> DeployError {
    let started = Instant::now();
    let error = repo.deploy(files).await.expect_err("cannot become healthy");
    for word in words {
        assert!(error.to_string().contains(word), "{word:?} is missing in: {error}");
    }
    assert!(started.elapsed() < Duration::from_secs(50), "took {:?}", started.elapsed());
    error
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_does_not_exist_is_named_with_the_registrys_words_and_nothing_is_pruned() {
    let lab = Lab::new();
    let repo = lab.repo(1).await;
    let (good, extra) = (deployment("web", "alpine:3.20", SLEEP), config_map("extra", "1"));
    repo.deployed(&[("web.yaml", &good), ("x.yaml", &extra)]).await;
    let bad = deployment("web", "127.0.0.1:5000/deployer-test/no-such:9", SLEEP);
    let error = failing(
        &repo,
        &[("web.yaml", &bad)],
        &[
            "web.yaml:1: Deployment",
            "127.0.0.1:5000/deployer-test/no-such:9",
            "cannot be pulled",
            "not found",
        ],
    )
    .await;
    assert!(matches!(error, DeployError::Rollout(_)) && error.class() == FailureClass::User, "{error:?}");
    assert!(lab.has("cm/extra"), "a rollout that fails prunes nothing");
    assert_eq!(
        repo.deployed(&[("web.yaml", &good)]).await,
        ["Deployment/web Configured Healthy", "ConfigMap/extra Pruned Unknown"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_crashes_is_told_with_its_exit_code_and_last_words() {
    let lab = Lab::new();
    let repo = lab.repo(1).await;
    let crash =
        deployment("crash", "alpine:3.20", "command: ['/bin/sh', '-c', 'echo no database today; exit 7']");
    failing(&repo, &[("c.yaml", &crash)], &["container main ended with exit code 7", "no database today"])
        .await;
    let missing = deployment("config", "alpine:3.20", "envFrom: [{configMapRef: {name: nowhere}}]");
    failing(&repo, &[("m.yaml", &missing)], &["nowhere", "not found"]).await;
    let job = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: j}\nspec: {backoffLimit: 0, template: {spec: {restartPolicy: Never, automountServiceAccountToken: false, containers: [{name: main, image: 'alpine:3.20', imagePullPolicy: IfNotPresent, command: ['/bin/sh', '-c', 'echo migration broke; exit 3']}]}}}\n";
    failing(&repo, &[("j.yaml", job)], &["Job", "exit code 3", "migration broke"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_that_is_spent_is_named() {
    let lab = Lab::new();
    let repo = lab.repo(1).await;
    lab.here(&["create", "quota", "none", "--hard=pods=0"]);
    let deadline = Instant::now() + Duration::from_secs(20);
    while lab.here(&["get", "quota", "none", "-o", "jsonpath={.status.hard.pods}"]) != "0"
        && Instant::now() < deadline
    {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let web = deployment("web", "alpine:3.20", SLEEP);
    failing(&repo, &[("w.yaml", &web)], &["exceeded quota: none"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_probe_and_a_pod_without_a_node_are_told_when_time_is_up() {
    let lab = Lab::new();
    let timing = slipway_deployer::Timing { rollout_ms: 8_000, ..short_timing() };
    let repo = Repo::connect(&lab.kubeconfig, 1, &lab.namespace, timing).await;
    let probe = deployment(
        "probe",
        "alpine:3.20",
        &format!("{SLEEP}, readinessProbe: {{exec: {{command: ['/bin/false']}}, periodSeconds: 1}}"),
    );
    let huge = deployment("huge", "alpine:3.20", "resources: {requests: {cpu: '900'}}");
    let error = failing(
        &repo,
        &[("p.yaml", &probe), ("h.yaml", &huge)],
        &["Readiness probe", "Insufficient cpu", "not healthy after 8 s"],
    )
    .await;
    assert_eq!(error.class(), FailureClass::Timeout);
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_of_another_repository_are_refused_before_anything_is_written() {
    let lab = Lab::new();
    let (one, two) = (lab.repo(1).await, lab.repo(2).await);
    let (shared, own) = (config_map("shared", "1"), config_map("own", "1"));
    one.deployed(&[("s.yaml", &shared)]).await;
    let error = two.deploy(&[("o.yaml", &own), ("s.yaml", &shared)]).await.expect_err("belongs to repo1");
    assert!(error.to_string().contains("is applied by repository repo1"), "{error}");
    assert!(!lab.has("cm/own") && two.notebook.inventory().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_cluster_refuses_is_refused_whole_with_its_place() {
    let lab = Lab::new();
    let repo = lab.repo(1).await;
    let good = config_map("good", "1");
    let bad = deployment("bad", "alpine:3.20", "ports: [{containerPort: 99999}]");
    let typo = deployment("typo", "alpine:3.20", "imagePullPolicyy: Always");
    let error = repo
        .deploy(&[("good.yaml", &good), ("bad.yaml", &bad), ("typo.yaml", &typo)])
        .await
        .expect_err("refused");
    let told = error.to_string();
    assert!(
        told.contains("bad.yaml:1: Deployment")
            && told.contains("containerPort")
            && told.contains("imagePullPolicyy"),
        "{told}"
    );
    assert!(!lab.has("cm/good") && error.class() == FailureClass::User);
    let kind = "apiVersion: example.org/v1\nkind: Gadget\nmetadata: {name: g}\n";
    let old = "apiVersion: apps/v1beta9\nkind: Deployment\nmetadata: {name: g}\n";
    let told = repo.deploy(&[("k.yaml", kind), ("o.yaml", old)]).await.expect_err("unknown").to_string();
    assert!(
        told.contains("k.yaml:1: the cluster does not know Gadget of example.org/v1")
            && told.contains("CustomResourceDefinition"),
        "{told}"
    );
    assert!(told.contains("serves Deployment as apps/v1, not as apps/v1beta9"), "{told}");
    let mut lost = lab.repo(3).await;
    lost.binding.namespace = "deployer-test-nowhere".into();
    let told = lost.deploy(&[("good.yaml", &good)]).await.expect_err("no namespace").to_string();
    assert!(told.contains("namespace deployer-test-nowhere does not exist"), "{told}");
    // The same words before a push.
    let refused = repo
        .connection
        .dry_run(
            &repo.name(),
            &repo.binding,
            manifests(&[("good.yaml", &good), ("bad.yaml", &bad)]),
            &[],
            PruneConfirmation::None,
        )
        .await
        .expect("answers");
    assert!(refused.len() == 1 && refused[0].starts_with("bad.yaml:1: Deployment"), "{refused:?}");
    let sealed = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: {k: 'hunter2 in the clear'}\n";
    let told = repo.deploy(&[("s.yaml", sealed)]).await.expect_err("not base64").to_string();
    assert!(told.contains("base64") && !told.contains("hunter2"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_kubectl_applied_is_taken_over_with_all_its_fields() {
    let lab = Lab::new();
    let mut repo = lab.repo(1).await;
    let theirs = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {a: '1', dropped: 'x'}\n";
    lab.feed(&["apply", "-f", "-"], theirs);
    let (ours, new) = (config_map("a", "1"), config_map("b", "1"));
    // Not before somebody says so, and then nothing else is written either; the gate says the same.
    let told = repo
        .connection
        .dry_run(&repo.name(), &repo.binding, manifests(&[("a.yaml", &ours)]), &[], PruneConfirmation::None)
        .await
        .expect("asked");
    assert!(told.len() == 1 && told[0].contains("a.yaml:1") && told[0].contains("--adopt"), "{told:?}");
    let refused = repo.deploy(&[("a.yaml", &ours), ("b.yaml", &new)]).await.expect_err("somebody else's");
    assert!(
        matches!(refused, DeployError::Foreign(_)) && refused.to_string().contains("--adopt"),
        "{refused}"
    );
    assert!(!lab.has("cm/b") && lab.here(&["get", "cm", "a", "-o", "jsonpath={.data.dropped}"]) == "x");
    assert!(repo.notebook.inventory().is_empty(), "what is not ours is not written down as ours");
    repo.binding.adopt = true;
    assert_eq!(repo.deployed(&[("a.yaml", &ours)]).await, ["ConfigMap/a Configured Healthy"]);
    assert_eq!(lab.here(&["get", "cm", "a", "-o", "jsonpath={.data}"]), r#"{"a":"1"}"#);
    let annotations = lab.here(&["get", "cm", "a", "-o", "jsonpath={.metadata.annotations}"]);
    assert!(!annotations.contains("last-applied"), "{annotations}");
}

/// Who takes the marks off does not take the object away from the repository that made it.
#[tokio::test(flavor = "multi_thread")]
async fn what_this_repository_made_stays_its_own_without_its_marks() {
    let lab = Lab::new();
    let repo = lab.repo(1).await;
    let ours = config_map("a", "1");
    repo.deployed(&[("a.yaml", &ours)]).await;
    lab.here(&["annotate", "cm", "a", "slipway.dev/owned-by-"]);
    let known = repo.notebook.inventory();
    let gate = repo
        .connection
        .dry_run(
            &repo.name(),
            &repo.binding,
            manifests(&[("a.yaml", &ours)]),
            &known,
            PruneConfirmation::None,
        )
        .await;
    assert!(gate.expect("asked").is_empty());
    assert_eq!(repo.deployed(&[("a.yaml", &ours)]).await, ["ConfigMap/a Configured Healthy"]);
    // Made anew by somebody else, it is theirs.
    lab.here(&["delete", "cm", "a"]);
    lab.here(&["create", "configmap", "a", "--from-literal=theirs=1"]);
    assert!(matches!(repo.deploy(&[("a.yaml", &ours)]).await, Err(DeployError::Foreign(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_diff_tells_what_a_deploy_would_do_and_writes_nothing() {
    let lab = Lab::new();
    let repo = lab.repo(1).await;
    let (a, b, gone) = (config_map("a", "1"), config_map("b", "1"), config_map("gone", "1"));
    repo.deployed(&[("a.yaml", &a), ("b.yaml", &b), ("gone.yaml", &gone)]).await;
    let (changed, new) = (config_map("a", "2"), config_map("new", "1"));
    let diff = repo
        .connection
        .diff(repo.work(&[("a.yaml", &changed), ("b.yaml", &b), ("n.yaml", &new)]))
        .await
        .expect("diff");
    let told: Vec<String> = diff.iter().map(ToString::to_string).collect();
    let ns = &lab.namespace;
    assert_eq!(
        told,
        [
            format!("change   ConfigMap {ns}/a (a.yaml:1): data.a"),
            format!("same     ConfigMap {ns}/b (b.yaml:1)"),
            format!("create   ConfigMap {ns}/new (n.yaml:1)"),
            format!("delete   ConfigMap {ns}/gone"),
        ]
    );
    assert!(lab.has("cm/gone") && !lab.has("cm/new"));
    let test = repo.connection.test().await.expect("test");
    assert!(test.starts_with("Kubernetes v1.") && test.contains("may apply to every namespace"), "{test}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_the_wait_for_a_rollout_at_once() {
    let lab = Lab::new();
    let repo = lab.repo(1).await;
    let huge = deployment("huge", "alpine:3.20", "resources: {requests: {cpu: '900'}}");
    let stop = repo.stop.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(3)).await;
        stop.cancel();
    });
    let started = Instant::now();
    let error = repo.deploy(&[("h.yaml", &huge)]).await.expect_err("stopped");
    assert!(
        matches!(error, DeployError::Stopped) && started.elapsed() < Duration::from_millis(3_500),
        "{error} {:?}",
        started.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quick_rollout_is_noticed_soon_after_it_is_done() {
    let lab = Lab::new();
    let repo = lab.repo(1).await;
    let web = deployment("web", "alpine:3.20", SLEEP);
    repo.deployed(&[("w.yaml", &web)]).await;
    let done = std::time::SystemTime::now();
    let condition = "jsonpath={.status.conditions[?(@.type==\"Available\")].lastTransitionTime}";
    let at = lab.here(&["get", "deploy", "web", "-o", condition]);
    let at = String::from_utf8(
        std::process::Command::new("date").args(["-d", &at, "+%s"]).output().expect("date").stdout,
    )
    .expect("text");
    let at: u64 = at.trim().parse().expect("seconds");
    let late = done.duration_since(std::time::UNIX_EPOCH).expect("now").as_millis() as u64 - at * 1000;
    // The cluster's own clock says whole seconds only.
    assert!(late < 2_300, "{late} ms after the cluster said so");
}
