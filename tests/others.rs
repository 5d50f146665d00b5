//! What others run from an image that this server built outlives every start of the server, with its data: containers,
//! volumes and the pods of a cluster. What a killed server left of its own does not. Needs the parts of tests/lab.

#[path = "harness/mod.rs"]
mod harness;

use std::process::Command;
use std::time::Duration;

use harness::{Lab, Namespace, Person, Slipway, eventually, lab, run, text};

const MINUTES: Duration = Duration::from_secs(180);
const DOCKERFILE: (&str, &str) =
    ("Dockerfile", "FROM alpine:3.20\nVOLUME /data\nCMD [\"sleep\", \"31536008\"]\n");
/// Writes what must not be lost.
const WRITE: &str = "echo customers > /data/db";

fn docker(args: &[&str]) -> String {
    let out = run(Command::new("docker").args(args));
    assert!(out.status.success(), "docker {args:?}: {}", text(&out.stderr));
    text(&out.stdout).trim().to_owned()
}

/// What somebody runs on the server's engine and cluster, all from one image of the server's.
struct Production<'a> {
    lab: &'a Lab,
    namespace: Namespace<'a>,
    image: String,
    volume: String,
    /// What it is, its id, and whether it has the data in its volume.
    containers: Vec<(&'static str, String, bool)>,
}

impl<'a> Production<'a> {
    fn start(lab: &'a Lab, image: &str) -> Self {
        let namespace = lab.namespace("others");
        let volume = format!("slipway-others-{}", std::process::id());
        docker(&["volume", "create", &volume]);
        let mut all = Self { lab, namespace, image: image.to_owned(), volume, containers: Vec::new() };
        let volume = format!("{}:/data", all.volume);
        all.run("running", &[image], false);
        all.run("stopped, with an anonymous volume", &[image, "sh", "-c", WRITE], true);
        all.run("with a named volume", &["-v", &volume, image, "sh", "-c", WRITE], true);
        all.copy("with the labels that the image shows", image, image);
        for (_, id, _) in all.containers.iter().filter(|(_, _, data)| *data) {
            docker(&["wait", id]);
        }
        all.deploy(image);
        all
    }

    fn run(&mut self, what: &'static str, args: &[&str], data: bool) {
        let id = docker(&[&["run", "-d", "--network=none"], args].concat());
        self.containers.push((what, id, data));
    }

    /// Runs the image with all labels that the image or container `of` shows.
    fn copy(&mut self, what: &'static str, of: &str, image: &str) {
        let format = "{{range $k, $v := .Config.Labels}}--label={{$k}}={{$v}}\n{{end}}";
        let labels = docker(&["inspect", "-f", format, of]);
        let args: Vec<&str> = labels.lines().chain([image]).collect();
        self.run(what, &args, false);
    }

    /// A Deployment of one pod; waits until the pod runs.
    fn deploy(&self, image: &str) {
        let ns = self.namespace.name.as_str();
        self.lab.kubectl(&["-n", ns, "create", "deployment", "web", &format!("--image={image}")]);
        self.lab.kubectl(&["-n", ns, "rollout", "status", "deployment/web", "--timeout=120s"]);
    }

    /// The ids of the pods' containers, as the cluster tells them.
    fn pods(&self) -> String {
        let path = "jsonpath={range .items[*]}{.metadata.name} {.status.containerStatuses[*].containerID} \
                    {.status.containerStatuses[*].restartCount}{\"\\n\"}{end}";
        self.lab.kubectl(&["-n", &self.namespace.name, "get", "pods", "-o", path])
    }

    /// All of it: whose container still is the one that it was, since when, and its data.
    fn state(&self) -> Vec<String> {
        let mut all = Vec::new();
        for (what, id, data) in &self.containers {
            let format = "{{.Id}} {{.State.Status}} {{.State.StartedAt}} {{range .Mounts}}{{.Name}}{{end}}";
            let out = run(Command::new("docker").args(["inspect", "-f", format, id]));
            all.push(format!("{what}: {}", text(&out.stdout).trim()));
            if *data {
                let cat =
                    ["run", "--rm", "--network=none", "--volumes-from", id, "alpine:3.20", "cat", "/data/db"];
                all.push(format!("{what}: {}", text(&run(Command::new("docker").args(cat)).stdout).trim()));
            }
        }
        let pods = self.pods();
        let id = pods.split(['/', ' ']).find(|word| word.len() == 64).unwrap_or("no id").to_owned();
        // The cluster replaces what is gone, and says so only later: the engine knows at once.
        let format = ["inspect", "-f", "{{.State.Status}} {{.State.StartedAt}}", &id];
        all.push(format!("pod: {pods} {}", text(&run(Command::new("docker").args(format)).stdout).trim()));
        all
    }
}

impl Drop for Production<'_> {
    fn drop(&mut self) {
        for (_, id, _) in &self.containers {
            run(Command::new("docker").args(["rm", "-fv", id]));
        }
        run(Command::new("docker").args(["volume", "rm", &self.volume]));
        // By its id, which takes every name of it away.
        let id = run(Command::new("docker").args(["image", "inspect", "-f", "{{.Id}}", &self.image]));
        run(Command::new("docker").args(["rmi", "-f", text(&id.stdout).trim()]));
    }
}

/// A server whose repository `app` is bound to the lab's registry, its work tree, and the image's name.
fn bound_app(lab: &Lab) -> (Slipway, Person, std::path::PathBuf, String) {
    let server = Slipway::start();
    let ann = server.person("ann", true);
    let path = format!("slipway-test-others-{}", std::process::id());
    server.cli(&["repo", "create", "app"]);
    server.cli(&["registry", "add", "local", "--url", &lab.registry, "--insecure"]);
    server.cli(&["bind", "app", "--registry", "local", "--image", &path]);
    let tree = ann.work_tree("app", &[DOCKERFILE]);
    ann.git(&tree, &["remote", "add", "origin", &ann.ssh_url("app")]);
    (server, ann, tree, format!("{}/{path}", lab.registry))
}

/// Pushes a commit and follows its build, which begins only once the engine is swept.
fn build_another(server: &Slipway, ann: &Person, tree: &std::path::Path, number: u64) {
    ann.commit(tree, &[("number", &number.to_string())], "Another");
    ann.git(tree, &["push", "-q", "origin", "main"]);
    assert_eq!(server.build_ended("app", number, MINUTES)["state"], "succeeded");
}

/// The test containers of the repository's build.
fn test_containers(number: u64) -> Vec<String> {
    let label = format!("label=slipway.build=app#{number}");
    let ids = docker(&["ps", "-aq", "--no-trunc", "--filter", &label]);
    ids.lines().map(str::to_owned).collect()
}

#[test]
fn what_others_run_from_our_images_outlives_every_start() {
    let lab = lab();
    let (mut server, ann, tree, name) = bound_app(&lab);
    ann.git(&tree, &["push", "-q", "origin", "main"]);
    let build = server.build_ended("app", 1, MINUTES);
    let digest = build["pushed"]["digest"].as_str().expect("a digest");
    let mut production = Production::start(&lab, &format!("{name}@{digest}"));
    let before = production.state();

    run(Command::new("kill").args(["-TERM", &server.child.id().to_string()]));
    server.child.wait().expect("it ends");
    assert_eq!(production.state(), before, "after the stop");
    server.restart();
    build_another(&server, &ann, &tree, 2);
    assert_eq!(production.state(), before, "after SIGTERM and a start");
    server.crash_and_restart();
    build_another(&server, &ann, &tree, 3);
    assert_eq!(production.state(), before, "after kill -9 and a start");

    // A test that a killed server leaves behind is its own; a copy of all that it shows is not.
    ann.commit(&tree, &[("slipway.toml", "[test]\nshell = \"sleep 31536009\"\n")], "Test for ever");
    ann.git(&tree, &["push", "-q", "origin", "main"]);
    let left = eventually("the test runs", MINUTES, || test_containers(4).pop());
    server.crash();
    production.copy("with the labels of a test's container", &left, &format!("{name}@{digest}"));
    let before = production.state();
    assert!(test_containers(4).contains(&left), "nobody has removed it yet");
    server.restart();
    eventually("the dead server's test is gone", MINUTES, || {
        (!test_containers(4).contains(&left)).then_some(())
    });
    let own = eventually("the test runs anew", MINUTES, || {
        test_containers(4)
            .into_iter()
            .find(|id| production.containers.iter().all(|(_, theirs, _)| theirs != id))
    });
    server.cli(&["build", "cancel", "app", "4"]);
    assert_eq!(server.build_ended("app", 4, MINUTES)["state"], "cancelled");
    eventually("its container is gone", MINUTES, || (!test_containers(4).contains(&own)).then_some(()));
    assert_eq!(production.state(), before, "after the sweep of what was ours");
}
