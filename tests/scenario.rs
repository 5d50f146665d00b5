//! The main job, end to end, on real parts: a team pushes an application and its manifests, and the cluster runs it.
//! Needs the parts of tests/lab.

#[path = "harness/mod.rs"]
mod harness;
#[path = "harness/samples.rs"]
mod samples;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use harness::{Lab, Person, Slipway, eventually, lab, run, text};
use samples::borrowed;

const MINUTES: Duration = Duration::from_secs(180);

/// A server with both repositories bound.
struct Team<'a> {
    server: Slipway,
    ann: Person,
    image: String,
    namespace: harness::Namespace<'a>,
}

fn team<'a>(lab: &'a Lab, name: &str) -> Team<'a> {
    let namespace = lab.namespace(name);
    let server = Slipway::start();
    let ann = server.person("gituser", true);
    let path = format!("slipway-test-{name}-{}", std::process::id());
    server.cli(&["repo", "create", "AppCodeRepo"]);
    server.cli(&["repo", "create", "ManifestRepo"]);
    server.cli(&["registry", "add", "local", "--url", &lab.registry, "--insecure"]);
    server.cli(&["cluster", "add", "lab", "--kubeconfig", lab.kubeconfig.to_str().expect("utf-8")]);
    server.cli(&["bind", "AppCodeRepo", "--registry", "local", "--image", &path]);
    server.cli(&["bind", "ManifestRepo", "--cluster", "lab", "--namespace", &namespace.name, "--prune"]);
    let image = format!("{}/{path}", lab.registry);
    Team { server, ann, image, namespace }
}

impl Team<'_> {
    /// Work trees of both repositories with their first commits, remotes set, nothing pushed.
    fn work_trees(&self, page: &str) -> (PathBuf, PathBuf) {
        let mut app = samples::app(page);
        app.push(("slipway.toml", samples::spec("ManifestRepo")));
        let app = self.ann.work_tree("app", &borrowed(&app));
        let manifests = self.ann.work_tree("manifests", &borrowed(&samples::manifests(&self.image)));
        self.ann.git(&app, &["remote", "add", "origin", &self.ann.ssh_url("AppCodeRepo")]);
        self.ann.git(&manifests, &["remote", "add", "origin", &self.ann.http_url("ManifestRepo")]);
        (app, manifests)
    }

    /// What the pod answers.
    fn page(&self, lab: &Lab) -> Option<String> {
        let pods = lab.try_kubectl(&[
            "-n",
            &self.namespace.name,
            "get",
            "pods",
            "-l",
            "app=hello",
            "--field-selector=status.phase=Running",
            "-o",
            "jsonpath={range .items[*]}{.status.podIP} {.metadata.deletionTimestamp}{\"\\n\"}{end}",
        ]);
        let ip = text(&pods.stdout).lines().find_map(|l| {
            let (ip, deleted) = l.split_once(' ')?;
            (deleted.is_empty() && !ip.is_empty()).then(|| ip.to_owned())
        })?;
        let (status, body) = harness::curl(&["-m", "2", &format!("http://{ip}:8080/")]);
        (status == 200).then(|| body.trim().to_owned())
    }
}

#[test]
fn a_push_becomes_a_pod_that_answers_and_the_next_push_changes_the_answer() {
    let lab = lab();
    let team = team(&lab, "scenario");
    let (app, manifests) = team.work_trees("the first page");
    let (server, ann) = (&team.server, &team.ann);

    // The manifests first: their image does not exist yet, and that is said, not hidden.
    let pushed = ann.git(&manifests, &["push", "--set-upstream", "origin", "main"]);
    assert!(pushed.contains("deploy 1 → http"), "{pushed}");

    // The application, followed to the verdict.
    let pushed = ann.git(&app, &["push", "-o", "wait", "--set-upstream", "origin", "main"]);
    for part in [
        "build 1 → http",
        "clone repository",
        "build image",
        "test image",
        "the page is there",
        "push image",
        "Deployment hello",
        "verdict: all done",
    ] {
        assert!(pushed.contains(part), "no {part:?} in:\n{pushed}");
    }
    assert_eq!(eventually("the pod answers", MINUTES, || team.page(&lab)), "the first page");

    let sha = ann.git(&app, &["rev-parse", "HEAD"]).trim().to_owned();
    let build = server.json(&["build", "show", "AppCodeRepo", "1"]);
    assert_eq!(build["state"], "succeeded");
    assert_eq!(build["test"], "passed");
    let digest = build["pushed"]["digest"].as_str().expect("a digest");
    assert_registry_has(&team, &lab, &sha, digest);
    assert_registry_has(&team, &lab, "latest", digest);
    assert_bumped_minimally(&team, &manifests, &sha, digest);
    assert_ignored_file_is_not_in_the_image(&team, &sha);

    // Changing the page and pushing is all it takes.
    ann.commit(&app, &[("index.html", "the second page\n")], "Change the page");
    let begun = Instant::now();
    ann.git(&app, &["push", "origin", "main"]);
    assert!(begun.elapsed() < Duration::from_secs(10), "a push without -o wait must not wait for the build");
    eventually("the pod answers anew", MINUTES, || team.page(&lab).filter(|p| p == "the second page"));
}

fn assert_registry_has(team: &Team<'_>, lab: &Lab, tag: &str, digest: &str) {
    let path = team.image.strip_prefix(&format!("{}/", lab.registry)).expect("prefix");
    let out = run(std::process::Command::new("curl").args(["-sI", "-H"]).args([
        "Accept: application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json",
        &format!("http://{}/v2/{path}/manifests/{tag}", lab.registry),
    ]));
    let headers = text(&out.stdout);
    assert!(headers.contains(digest), "{tag}: {headers}");
}

fn assert_bumped_minimally(team: &Team<'_>, manifests: &std::path::Path, sha: &str, digest: &str) {
    team.ann.git(manifests, &["pull", "-q"]);
    let message = team.ann.git(manifests, &["log", "-1", "--format=%an%n%B"]);
    assert!(message.starts_with("Slipway\n"), "{message}");
    assert!(message.contains(&format!("Slipway-Source: AppCodeRepo@{sha}")), "{message}");
    assert!(message.contains("Slipway-Build: AppCodeRepo#1"), "{message}");
    let diff = team.ann.git(manifests, &["show", "--numstat", "--format="]);
    assert_eq!(diff.trim(), "1\t1\tdeployment.yaml");
    let file = std::fs::read_to_string(manifests.join("deployment.yaml")).expect("read");
    assert!(file.contains(&format!("image: {}:{sha}@{digest} # moved by builds", team.image)), "{file}");
}

fn assert_ignored_file_is_not_in_the_image(team: &Team<'_>, sha: &str) {
    let out = run(std::process::Command::new("docker").args([
        "run",
        "--rm",
        &format!("{}:{sha}", team.image),
        "/bin/busybox",
        "ls",
        "/",
    ]));
    assert!(!text(&out.stdout).contains("secret.txt"));
}

#[test]
fn a_failing_test_pushes_nothing_and_says_why() {
    let lab = lab();
    let team = team(&lab, "failing");
    let (app, _) = team.work_trees("the first page");
    team.ann.commit(&app, &[("test.sh", "#!/bin/sh\necho it is broken\nexit 3\n")], "Break the test");
    let pushed = team.ann.git(&app, &["push", "-o", "wait", "origin", "main"]);
    assert!(pushed.contains("it is broken") && pushed.contains("verdict: not done"), "{pushed}");
    let build = team.server.json(&["build", "show", "AppCodeRepo", "1"]);
    assert_eq!((build["state"].as_str(), build["test"].as_str()), (Some("failed"), Some("failed")));
    assert!(build["pushed"].is_null());
    let path = team.image.strip_prefix(&format!("{}/", lab.registry)).expect("prefix");
    let (status, _) = harness::curl(&[&format!("http://{}/v2/{path}/manifests/latest", lab.registry)]);
    assert_eq!(status, 404, "nothing may be in the registry");
}

#[test]
fn what_leaves_the_repository_leaves_the_cluster_and_nothing_else_does() {
    let lab = lab();
    let team = team(&lab, "prune");
    let ns = team.namespace.name.as_str();
    let config =
        |name: &str| format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\ndata:\n  a: b\n");
    lab.kubectl(&["-n", ns, "create", "configmap", "by-hand"]);
    let tree = team.ann.work_tree("m", &[("a.yaml", &config("one")), ("b.yaml", &config("two"))]);
    team.ann.git(&tree, &["remote", "add", "origin", &team.ann.http_url("ManifestRepo")]);
    team.ann.git(&tree, &["push", "-o", "wait", "origin", "main"]);
    std::fs::remove_file(tree.join("b.yaml")).expect("remove");
    team.ann.commit(&tree, &[], "Remove two");
    let pushed = team.ann.git(&tree, &["push", "-o", "wait", "origin", "main"]);
    assert!(pushed.contains("ConfigMap two deleted"), "{pushed}");
    let left = lab.kubectl(&["-n", ns, "get", "configmap", "-o", "name"]);
    assert!(
        left.contains("configmap/one")
            && left.contains("configmap/by-hand")
            && !left.contains("configmap/two"),
        "{left}"
    );
}

#[test]
fn a_rollout_that_cannot_work_fails_with_its_reason() {
    let lab = lab();
    let team = team(&lab, "reason");
    let mut files = samples::manifests("127.0.0.1:5000/slipway-no-such-image");
    files.truncate(1);
    let tree = team.ann.work_tree("m", &borrowed(&files));
    team.ann.git(&tree, &["remote", "add", "origin", &team.ann.http_url("ManifestRepo")]);
    let pushed = team.ann.git(&tree, &["push", "-o", "wait", "origin", "main"]);
    assert!(pushed.contains("slipway-no-such-image") && pushed.contains("verdict: not done"), "{pushed}");
    let deploy = team.server.json(&["deploy", "show", "ManifestRepo"]);
    assert_eq!(deploy["state"], "failed");
}
