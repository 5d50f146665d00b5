//! What goes wrong on real parts: `kill -9` at any point, bad Dockerfiles and manifests, parts that are down. Each gets
//! its one clear sentence, nothing acknowledged is lost, each owed build and deploy happens exactly once.
//! Needs the parts of tests/lab.

#[path = "harness/mod.rs"]
mod harness;
#[path = "harness/samples.rs"]
mod samples;

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use harness::{Lab, Person, Slipway, eventually, lab, text};
use samples::borrowed;

const MINUTES: Duration = Duration::from_secs(180);

/// A server with an application bound to the lab's registry.
fn bound_app(lab: &Lab, name: &str, files: &[(&str, &str)]) -> (Slipway, Person, PathBuf) {
    let server = Slipway::start();
    let ann = server.person("ann", true);
    server.cli(&["repo", "create", "app"]);
    server.cli(&["registry", "add", "local", "--url", &lab.registry, "--insecure"]);
    let image = format!("slipway-test-{name}-{}", std::process::id());
    server.cli(&["bind", "app", "--registry", "local", "--image", &image]);
    let tree = ann.work_tree("app", files);
    ann.git(&tree, &["remote", "add", "origin", &ann.ssh_url("app")]);
    (server, ann, tree)
}

#[test]
fn mistakes_in_an_application_are_told_in_one_sentence() {
    let lab = lab();
    for (name, files, said) in [
        ("syntax", vec![("Dockerfile", "FROM alpine:3.20\nRUNN true\n")], "RUNN"),
        (
            "base",
            vec![("Dockerfile", "FROM 127.0.0.1:5000/slipway-no-such-base:1\n")],
            "slipway-no-such-base",
        ),
        ("copy", vec![("Dockerfile", "FROM alpine:3.20\nCOPY nix /nix\n")], "nix"),
        ("run", vec![("Dockerfile", "FROM alpine:3.20\nRUN echo before && exit 7\n")], "7"),
        (
            "typo",
            vec![("Dockerfile", "FROM alpine:3.20\n"), ("slipway.toml", "[biuld]\n")],
            "slipway.toml:1:2: unknown key `biuld`; did you mean `build`?",
        ),
        (
            "nofile",
            vec![("slipway.toml", "[build]\ndockerfile = \"docker/Dockerfile\"\n")],
            "docker/Dockerfile",
        ),
        (
            "hanging",
            vec![
                ("Dockerfile", "FROM alpine:3.20\n"),
                ("slipway.toml", "[test]\nshell = \"sleep 1000\"\ntimeout = \"2s\"\n"),
            ],
            "2",
        ),
        (
            "hungry",
            vec![
                ("Dockerfile", "FROM alpine:3.20\n"),
                (
                    "slipway.toml",
                    "[test]\nshell = \"tail /dev/zero\"\nmemory = \"16MiB\"\ntimeout = \"1m\"\n",
                ),
            ],
            "memory",
        ),
    ] {
        let (server, ann, tree) = bound_app(&lab, name, &files);
        let pushed = ann.git(&tree, &["push", "-o", "wait", "origin", "main"]);
        assert!(pushed.contains("verdict: not done"), "{name}: {pushed}");
        let build = server.build_ended("app", 1, MINUTES);
        assert_eq!(build["state"], "failed", "{name}: {build:#}");
        let problem = &build["failure"]["problem"];
        let sentence =
            format!("{} {}", problem["what"].as_str().unwrap_or(""), problem["cure"].as_str().unwrap_or(""));
        assert!(sentence.contains(said), "{name}: {sentence}");
        assert_ne!(build["failure"]["class"], "infra", "{name} is nobody else's fault: {build:#}");
        assert!(build["pushed"].is_null(), "{name}");
    }
}

#[test]
fn mistakes_in_manifests_apply_nothing_and_are_told_with_their_place() {
    let lab = lab();
    let ns = lab.namespace("mistakes");
    let server = Slipway::start();
    let ann = server.person("ann", true);
    server.cli(&["cluster", "add", "lab", "--kubeconfig", lab.kubeconfig.to_str().expect("utf-8")]);
    let good = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: good\n";
    for (name, file, said) in [
        ("yaml", "apiVersion: v1\nkind: [ConfigMap\n", "bad.yaml:"),
        ("kind", "apiVersion: nix.example.org/v1\nkind: Nix\nmetadata:\n  name: x\n", "Nix"),
        (
            "field",
            "apiVersion: v1\nkind: Service\nmetadata:\n  name: x\nspec:\n  ports:\n    - port: 99999999\n",
            "bad.yaml",
        ),
        (
            "namespace",
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: x\n  namespace: kube-system\n",
            "--allow-namespace",
        ),
        ("scope", "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: slipway-nix\n", "--cluster-scoped"),
    ] {
        let repo = format!("m-{name}");
        server.cli(&["repo", "create", &repo]);
        server.cli(&["bind", &repo, "--cluster", "lab", "--namespace", &ns.name]);
        let tree = ann.work_tree(&repo, &[("good.yaml", good), ("bad.yaml", file)]);
        ann.git(&tree, &["remote", "add", "origin", &ann.http_url(&repo)]);
        let pushed = ann.git(&tree, &["push", "-o", "wait", "origin", "main"]);
        assert!(pushed.contains(said) && pushed.contains("verdict: not done"), "{name}: {pushed}");
        let deploy = server.deploy_ended(&repo, 1, MINUTES);
        assert_eq!(deploy["state"], "failed", "{name}: {deploy:#}");
        if name != "field" {
            let there = lab.kubectl(&["-n", &ns.name, "get", "configmap", "-o", "name"]);
            assert!(!there.contains("configmap/good"), "{name}: nothing may be applied: {there}");
        }
        // Enforced, the push itself is refused.
        server.cli(&["bind", &repo, "--cluster", "lab", "--namespace", &ns.name, "--dry-run", "enforce"]);
        ann.commit(&tree, &[("again.txt", "x")], "again");
        let refused = ann.try_git(&tree, &["push", "origin", "main"]);
        assert!(
            !refused.status.success() && text(&refused.stderr).contains("refuses"),
            "{name}: {}",
            text(&refused.stderr)
        );
    }
}

/// What the gate shows the cluster is what the deploy reads, whatever else is in the push.
#[test]
fn a_bad_manifest_does_not_pass_the_gate_beside_many_files_nor_in_a_large_one() {
    let lab = lab();
    let ns = lab.namespace("gate");
    let server = Slipway::start();
    let ann = server.person("ann", true);
    server.cli(&["cluster", "add", "lab", "--kubeconfig", lab.kubeconfig.to_str().expect("utf-8")]);
    server.cli(&["repo", "create", "gate"]);
    let bind = ["bind", "gate", "--cluster", "lab", "--namespace", &ns.name, "--path", "k8s"];
    server.cli(&[&bind[..], &["--dry-run", "enforce"]].concat());
    let good = "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: good }\n";
    let bad = "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: bad }\ndata: [not, a, map]\n";
    let tree = ann.work_tree("gate", &[("k8s/good.yaml", good)]);
    let url = ann.http_url("gate");
    ann.git(&tree, &["push", "-q", &url, "main"]);

    for n in 0..100_001 {
        let folder = tree.join(format!("data/{}", n % 100));
        if n < 100 {
            std::fs::create_dir_all(&folder).expect("folder");
        }
        std::fs::write(folder.join(n.to_string()), n.to_string()).expect("write");
    }
    ann.commit(&tree, &[("k8s/bad.yaml", bad)], "a bad one beside many files");
    let out = ann.try_git(&tree, &["push", &url, "main"]);
    let said = text(&out.stderr);
    assert!(!out.status.success() && said.contains("k8s/bad.yaml"), "{said}");

    ann.git(&tree, &["reset", "-q", "--hard", "HEAD^"]);
    let large = format!("{bad}# {}\n", "x".repeat(5 << 20));
    ann.commit(&tree, &[("k8s/large.yaml", &large)], "a bad one that is large");
    let out = ann.try_git(&tree, &["push", &url, "main"]);
    let said = text(&out.stderr);
    assert!(!out.status.success() && said.contains("k8s/large.yaml"), "{said}");
    assert!(said.contains("4 MiB") || said.contains("4194304"), "the bound is named: {said}");
    assert!(!lab.try_kubectl(&["-n", &ns.name, "get", "configmap", "bad"]).status.success());
}

#[test]
fn parts_that_are_down_delay_their_own_work_and_say_so() {
    let lab = lab();
    let files = [
        ("Dockerfile", "FROM alpine:3.20\n"),
        ("a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n"),
    ];
    let server = Slipway::start();
    let ann = server.person("ann", true);
    let kubeconfig = ann.home.join("down");
    std::fs::write(
        &kubeconfig,
        "apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: 'http://127.0.0.1:9'}}]\nusers: [{name: u, user: {token: x}}]\ncontexts: [{name: c, context: {cluster: c, user: u}}]\ncurrent-context: c\n",
    )
    .expect("write");
    server.cli(&["repo", "create", "app"]);
    server.cli(&["registry", "add", "gone", "--url", "127.0.0.1:9", "--insecure"]);
    server.cli(&["cluster", "add", "gone", "--kubeconfig", kubeconfig.to_str().expect("utf-8")]);
    server.cli(&["bind", "app", "--registry", "gone", "--image", "x"]);
    server.cli(&["bind", "app", "--cluster", "gone"]);
    let tree = ann.work_tree("app", &files);
    let pushed = ann.git(&tree, &["push", &ann.ssh_url("app"), "main"]);
    assert!(pushed.contains("build 1 →") && pushed.contains("deploy 1 →"), "{pushed}");
    for (what, sentence) in [("build", "127.0.0.1:9"), ("deploy", "gone")] {
        let record = eventually(&format!("the {what} waits"), MINUTES, || {
            let record = server.json(&[what, "show", "app", "1"]);
            (record["state"] == "waiting").then_some(record)
        });
        assert!(record["failure"]["problem"]["what"].as_str().unwrap_or("").contains(sentence), "{record:#}");
        assert_eq!(record["failure"]["class"], "infra", "{record:#}");
    }
    let doctor = server.try_cli(&["doctor"]);
    assert_eq!(doctor.status.code(), Some(1));
    assert!(
        text(&doctor.stdout).contains("FAIL registry gone")
            && text(&doctor.stdout).contains("FAIL cluster gone"),
        "{}",
        text(&doctor.stdout)
    );
    // Bound to what is there, the same work goes through.
    server.cli(&["build", "cancel", "app", "1"]);
    server.cli(&["registry", "add", "gone", "--url", &lab.registry, "--insecure"]);
    server.cli(&["build", "retry", "app", "1"]);
    assert_eq!(server.build_ended("app", 2, MINUTES)["state"], "succeeded");
    drop(server);
    // No engine at all.
    let server = Slipway::start_with_env(&[("DOCKER_HOST", "unix:///nonexistent/docker.sock")]);
    let ann = server.person("ann", true);
    server.cli(&["repo", "create", "app"]);
    server.cli(&["registry", "add", "local", "--url", &lab.registry, "--insecure"]);
    server.cli(&["bind", "app", "--registry", "local"]);
    let tree = ann.work_tree("app", &files);
    ann.git(&tree, &["push", "-q", &ann.ssh_url("app"), "main"]);
    let record = eventually("the build waits for an engine", MINUTES, || {
        let record = server.json(&["build", "show", "app", "1"]);
        (record["state"] == "waiting").then_some(record)
    });
    assert!(
        record["failure"]["problem"]["what"].as_str().unwrap_or("").contains("docker.sock"),
        "{record:#}"
    );
}

/// Kills the server at many points of builds and deploys; every push ends in one finished build, one bump, one deploy.
#[test]
fn kill_9_during_builds_and_deploys_loses_nothing_and_repeats_nothing() {
    let lab = lab();
    let ns = lab.namespace("kill");
    let mut app = samples::app("page 0");
    app.push(("slipway.toml", samples::spec("ManifestRepo")));
    let (mut server, ann, tree) = bound_app(&lab, "kill", &borrowed(&app));
    let image = format!("{}/slipway-test-kill-{}", lab.registry, std::process::id());
    server.cli(&["repo", "create", "ManifestRepo"]);
    let manifests = ann.work_tree("manifests", &borrowed(&samples::manifests(&image)));
    ann.git(&manifests, &["push", "-q", &ann.http_url("ManifestRepo"), "main"]);
    server.cli(&["cluster", "add", "lab", "--kubeconfig", lab.kubeconfig.to_str().expect("utf-8")]);
    server.cli(&["bind", "ManifestRepo", "--cluster", "lab", "--namespace", &ns.name]);
    let rounds = 5u64;
    for round in 1..=rounds {
        ann.commit(&tree, &[("index.html", &format!("page {round}\n"))], &format!("Page {round}"));
        ann.git(&tree, &["push", "-q", "origin", "main"]);
        // Two crashes a round, at other points each time: clone, build, test, push, bump, apply, rollout.
        std::thread::sleep(Duration::from_millis(150 + 330 * round));
        server.crash_and_restart();
        std::thread::sleep(Duration::from_millis(900 + 250 * round));
        server.crash_and_restart();
        let build = server.build_ended("app", round, MINUTES);
        assert_eq!(build["state"], "succeeded", "{build:#}");
        assert!(build["bumps"][0]["done"].as_bool().unwrap_or(false), "{build:#}");
    }
    let builds = server.json(&["build", "list", "app"]);
    assert_eq!(builds.as_array().map(Vec::len), Some(rounds as usize), "one build a push: {builds:#}");
    // One bump a build, in order, each a commit of its own.
    ann.git(&manifests, &["pull", "-q", &ann.http_url("ManifestRepo"), "main"]);
    let log =
        ann.git(&manifests, &["log", "--format=%(trailers:key=Slipway-Build,valueonly,separator=%x2C)"]);
    let bumps: Vec<&str> = log.lines().filter(|l| !l.trim().is_empty()).collect();
    let want: Vec<String> = (1..=rounds).rev().map(|n| format!("app#{n}")).collect();
    assert_eq!(bumps, want);
    // One deploy a bump; the last one is what runs.
    let deploys = server.json(&["deploy", "list", "ManifestRepo"]);
    assert_eq!(deploys.as_array().map(Vec::len), Some(rounds as usize), "{deploys:#}");
    assert_eq!(server.deploy_ended("ManifestRepo", rounds, MINUTES)["state"], "healthy");
    let last = server.json(&["build", "show", "app", &rounds.to_string()]);
    let digest = last["pushed"]["digest"].as_str().expect("digest").to_owned();
    let running = lab.kubectl(&[
        "-n",
        &ns.name,
        "get",
        "deployment",
        "hello",
        "-o",
        "jsonpath={.spec.template.spec.containers[0].image}",
    ]);
    assert!(running.ends_with(&digest), "{running} {digest}");
    let left = harness::run(std::process::Command::new("docker").args([
        "ps",
        "-a",
        "--filter",
        "label=slipway.build",
        "--format",
        "{{.Label \"slipway.build\"}}",
    ]));
    // Other tests share the engine.
    assert!(!text(&left.stdout).contains("app#"), "test containers are left: {}", text(&left.stdout));
}

/// Kills the server while pushes run: what was acknowledged is there, what was not is whole or not there, and every
/// accepted push owes exactly one build.
#[test]
fn kill_9_during_pushes_keeps_every_acknowledged_one() {
    let lab = lab();
    let (mut server, ann, tree) = bound_app(&lab, "pushes", &[("Dockerfile", "FROM alpine:3.20\n")]);
    server.cli(&["repo", "create", "plain"]);
    let mut acknowledged = Vec::new();
    let blob = |n: usize| -> String {
        (0..60_000).map(|i| char::from(b'a' + ((i * 7 + n * 13) % 26) as u8)).collect()
    };
    for round in 0..12usize {
        let commit = ann.commit(&tree, &[("data.txt", &blob(round))], &format!("round {round}"));
        let target = if round % 2 == 0 { "app" } else { "plain" };
        let branch = format!("HEAD:refs/heads/r{round}");
        let mut push = ann.git_command(&tree, &["push", &ann.ssh_url(target), &branch]);
        let mut push =
            push.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("git");
        std::thread::sleep(Duration::from_millis(20 + 17 * round as u64));
        server.crash();
        if push.wait().expect("git ends").success() {
            acknowledged.push((target, round, commit));
        }
        server.restart();
    }
    for (target, round, commit) in &acknowledged {
        let listed = ann.git(&tree, &["ls-remote", &ann.ssh_url(target)]);
        assert!(
            listed.contains(&format!("{commit}\trefs/heads/r{round}")),
            "r{round} was acknowledged: {listed}"
        );
    }
    for repo in ["app", "plain"] {
        ann.git(&server.data.join(format!("repos/{repo}.git")), &["fsck", "--full", "--strict"]);
        let events: serde_json::Value =
            serde_json::from_str(&ann.get(&format!("/-/api/v1/repos/{repo}/events")).1).expect("events");
        let events = events["events"].as_array().expect("list").clone();
        assert!(events.iter().all(|e| e["state"] != "intended"), "all are settled: {events:#?}");
        let listed = ann.git(&tree, &["ls-remote", &ann.ssh_url(repo)]);
        let branches = listed.lines().filter(|l| l.contains("refs/heads/r")).count();
        let accepted = events.iter().filter(|e| e["state"] == "accepted").count();
        assert_eq!(branches, accepted, "one accepted event for each branch that is there");
    }
}

/// What a crash leaves between the store and the disk is put right at the next start; what it cannot know is left alone.
#[test]
fn folders_and_records_that_a_crash_parted_are_put_right_at_the_next_start() {
    let mut server = Slipway::start();
    let ann = server.person("ann", true);
    for name in ["renamed", "removed", "used", "fresh"] {
        server.cli(&["repo", "create", name]);
    }
    let tree = ann.work_tree("tree", &[("a", "b")]);
    for name in ["renamed", "used"] {
        ann.git(&tree, &["push", "-q", &ann.ssh_url(name), "main"]);
    }
    let id = |name: &str| server.json(&["repo", "show", name])["id"].to_string();
    let (renamed, used, fresh) = (id("renamed"), id("used"), id("fresh"));
    server.cli(&["repo", "rename", "renamed", "new-name"]);
    server.cli(&["repo", "remove", "removed", "--yes"]);
    server.crash();
    let repos = server.data.join("repos");
    let at = |name: &str| repos.join(format!("{name}.git"));
    // As if the crash had come before the link was moved, the folder removed, made; and a disk had lost one.
    std::fs::rename(at("new-name"), at("renamed")).expect("rename");
    std::fs::create_dir_all(at("removed").join("slipway")).expect("folder");
    std::fs::write(at("removed").join("slipway/removed"), "").expect("write");
    std::fs::create_dir_all(at("somebodys")).expect("folder");
    std::fs::remove_dir_all(at(&fresh)).expect("remove");
    std::fs::rename(at(&used), server.data.join("lost")).expect("rename");
    server.restart();
    assert!(ann.git(&tree, &["ls-remote", &ann.ssh_url("new-name")]).contains("refs/heads/main"));
    assert!(at(&renamed).is_dir() && at("new-name").join("HEAD").exists(), "the link follows the name");
    assert!(!at("removed").exists() && !at("renamed").exists());
    assert!(at("somebodys").exists(), "nobody marked it");
    ann.git(&tree, &["push", "-q", &ann.ssh_url("fresh"), "main"]);
    assert!(!at(&used).exists(), "an empty repository would hide the loss");
    assert!(server.log().contains("its folder is missing"), "{}", server.log());
    server.crash();
    std::fs::rename(server.data.join("lost"), at(&used)).expect("rename");
    server.restart();
    assert!(ann.git(&tree, &["ls-remote", &ann.ssh_url("used")]).contains("refs/heads/main"));
}
