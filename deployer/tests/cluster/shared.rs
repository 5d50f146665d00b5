//! Fields that others have a say in, on a real cluster.

use slipway_core::deploy::Change;
use slipway_core::deploy_rules::IgnoreRule;

use slipway_deployer::PruneConfirmation;

use crate::harness::{Lab, config_map, manifests};

/// A Deployment that makes no pods: paused before its first one.
fn paused(replicas: &str, comment: &str) -> String {
    format!(
        "# {comment}\napiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web}}\nspec:\n  paused: true\n{replicas}  selector: {{matchLabels: {{app: web}}}}\n  template:\n    metadata: {{labels: {{app: web}}}}\n    spec: {{containers: [{{name: main, image: 'alpine:3.20'}}]}}\n"
    )
}

const AUTOSCALER: &str = "apiVersion: autoscaling/v1\nkind: HorizontalPodAutoscaler\nmetadata: {name: auto}\nspec: {minReplicas: 1, maxReplicas: 9, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}}\n";

#[tokio::test(flavor = "multi_thread")]
async fn replicas_belong_to_an_autoscaler_and_are_never_reset_in_silence() {
    let lab = Lab::new();
    let repo = lab.repo(1).await;
    let replicas = || lab.here(&["get", "deploy", "web", "-o", "jsonpath={.spec.replicas}"]);
    let two = paused("  replicas: 2\n", "first");
    repo.deployed(&[("web.yaml", &two)]).await;
    assert_eq!(replicas(), "2");
    // Without an autoscaler the manifest is right.
    lab.here(&["scale", "deploy", "web", "--replicas=5"]);
    repo.deployed(&[("web.yaml", &two)]).await;
    assert_eq!(replicas(), "2");
    lab.feed(&["apply", "-f", "-"], AUTOSCALER);
    lab.here(&["scale", "deploy", "web", "--replicas=3"]);
    let known = repo.notebook.inventory();
    let gate = repo
        .connection
        .dry_run(
            &repo.name(),
            &repo.binding,
            manifests(&[("web.yaml", &two)]),
            &known,
            PruneConfirmation::None,
        )
        .await;
    assert!(gate.expect("asked").is_empty());
    assert_eq!(repo.deployed(&[("web.yaml", &two)]).await, ["Deployment/web Unchanged Suspended"]);
    assert_eq!(replicas(), "3");
    assert!(
        repo.notebook
            .notes()
            .contains("keeps its 3 replicas, which HorizontalPodAutoscaler auto sets; the manifest says 2"),
        "{}",
        repo.notebook.notes()
    );
    // Also where the object is written for another reason.
    let other = paused("  replicas: 2\n  revisionHistoryLimit: 4\n", "second");
    assert_eq!(repo.deployed(&[("web.yaml", &other)]).await, ["Deployment/web Configured Suspended"]);
    assert_eq!(replicas(), "3");
    // Out of the manifest it stays, with the autoscaler and without.
    let none = paused("  revisionHistoryLimit: 4\n", "third");
    repo.deployed(&[("web.yaml", &none)]).await;
    assert_eq!(replicas(), "3");
    lab.here(&["delete", "hpa", "auto"]);
    let none = paused("  revisionHistoryLimit: 5\n", "fourth");
    repo.deployed(&[("web.yaml", &none)]).await;
    assert_eq!(replicas(), "3");
    assert!(
        repo.notebook.notes().contains("of which the manifest says nothing"),
        "{}",
        repo.notebook.notes()
    );
    // Nought is somebody's word.
    lab.feed(&["apply", "-f", "-"], AUTOSCALER);
    let off = paused("  replicas: 0\n", "off");
    repo.deployed(&[("web.yaml", &off)]).await;
    assert_eq!(replicas(), "0");
    let on = paused("  replicas: 2\n", "on");
    repo.deployed(&[("web.yaml", &on)]).await;
    assert_eq!(replicas(), "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_that_are_left_alone_stay_as_others_set_them() {
    let lab = Lab::new();
    let mut repo = lab.repo(1).await;
    let map = |data: &str, annotation: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: m, annotations: {{{annotation}}}}}\ndata: {{{data}}}\n"
        )
    };
    let data = || lab.here(&["get", "cm", "m", "-o", "jsonpath={.data}"]);
    let first = map("a: '1', b: '1'", "slipway.dev/ignore: /data/a");
    repo.deployed(&[("m.yaml", &first)]).await;
    lab.here(&["patch", "cm", "m", "-p", r#"{"data":{"a":"theirs","b":"theirs"}}"#]);
    repo.deployed(&[("m.yaml", &first)]).await;
    assert_eq!(data(), r#"{"a":"theirs","b":"1"}"#);
    // By the binding's rule, in jq's spelling, also for what somebody took out.
    repo.binding.rules.ignore =
        vec![IgnoreRule::try_from("ConfigMap/m .data[\"b\"]".to_owned()).expect("a rule")];
    lab.here(&["patch", "cm", "m", "--type=json", "-p", r#"[{"op":"remove","path":"/data/b"}]"#]);
    let second = map("a: '2', b: '2', c: '2'", "slipway.dev/ignore: /data/a");
    repo.deployed(&[("m.yaml", &second)]).await;
    assert_eq!(data(), r#"{"a":"theirs","c":"2"}"#);
    // By whose they are.
    lab.feed(
        &["apply", "--server-side", "--force-conflicts", "--field-manager=tuner", "-f", "-"],
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\ndata: {c: tuned}\n",
    );
    let third = map("a: '3', b: '3', c: '3'", "slipway.dev/ignore: '/data/a; manager:tuner'");
    repo.deployed(&[("m.yaml", &third)]).await;
    assert_eq!(data(), r#"{"a":"theirs","c":"tuned"}"#);
    let wrong = map("a: '3'", "slipway.dev/ignore: '.data | keys'");
    let told = repo.deploy(&[("m.yaml", &wrong)]).await.expect_err("no path").to_string();
    assert!(told.contains("m.yaml:1: ConfigMap m: slipway.dev/ignore: "), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_may_be_written_once_or_never_and_paused_in_the_cluster() {
    let lab = Lab::new();
    let repo = lab.repo(1).await;
    let map = |name: &str, value: &str, annotation: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, annotations: {{{annotation}}}}}\ndata: {{a: '{value}'}}\n"
        )
    };
    let value = |name: &str| lab.here(&["get", "cm", name, "-o", "jsonpath={.data.a}"]);
    lab.here(&["create", "configmap", "never", "--from-literal=a=theirs"]);
    let set = |v: &str| {
        [
            map("once", v, "kustomize.toolkit.fluxcd.io/ssa: IfNotPresent"),
            map("never", v, "slipway.dev/apply: never"),
            config_map("p", v),
        ]
    };
    for v in ["1", "2"] {
        let [once, never, p] = set(v);
        repo.deployed(&[("1.yaml", &once), ("2.yaml", &never), ("3.yaml", &p)]).await;
        if v == "1" {
            lab.here(&["annotate", "cm", "p", "slipway.dev/apply=never"]);
        }
    }
    assert_eq!((value("once"), value("never"), value("p")), ("1".into(), "theirs".into(), "1".into()));
    assert_eq!(repo.change_of("p").0, Change::Unchanged);
    assert!(
        repo.notebook.notes().contains("annotation slipway.dev/apply: never in the cluster"),
        "{}",
        repo.notebook.notes()
    );
    // What was never ours does not become so by being named; and it is not deleted.
    let keep = config_map("keep", "1");
    repo.deployed(&[("k.yaml", &keep)]).await;
    assert!(lab.has("cm/never") && !lab.has("cm/once"));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_known_objects_are_read_by_one_list_and_values_written_otherwise_are_no_change() {
    let lab = Lab::new();
    let repo = lab.repo(1).await;
    let texts: Vec<String> = (0..12).map(|i| config_map(&format!("c{i}"), "1")).collect();
    let names: Vec<String> = (0..12).map(|i| format!("{i}.yaml")).collect();
    let mut files: Vec<(&str, &str)> =
        names.iter().map(String::as_str).zip(texts.iter().map(String::as_str)).collect();
    let odd = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: odd}\nspec:\n  paused: true\n  replicas: 0\n  selector: {matchLabels: {app: odd}}\n  template:\n    metadata: {labels: {app: odd}, creationTimestamp: null}\n    spec:\n      tolerations: []\n      affinity: {}\n      containers: [{name: c, image: 'alpine:3.20', args: [], resources: {limits: {cpu: 1000m, memory: 1024Mi}, requests: {cpu: 0.5}}}]\n";
    files.push(("odd.yaml", odd));
    repo.deployed(&files).await;
    let again = repo.deployed(&files).await;
    assert!(again.iter().all(|l| l.contains("Unchanged")), "{again:?}");
    // Drift, a lost mark and a lost object are seen all the same.
    lab.here(&["patch", "cm", "c3", "-p", r#"{"data":{"a":"drift"}}"#]);
    lab.here(&["label", "cm", "c4", "applyset.kubernetes.io/part-of-"]);
    lab.here(&["delete", "cm", "c5"]);
    let healed = repo.deployed(&files).await;
    for (name, change) in [("c3", "Configured"), ("c4", "Configured"), ("c5", "Created"), ("c6", "Unchanged")]
    {
        assert!(healed.contains(&format!("ConfigMap/{name} {change} Healthy")), "{healed:?}");
    }
    assert_eq!(lab.here(&["get", "cm", "c3", "-o", "jsonpath={.data.a}"]), "1");
}
