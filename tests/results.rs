//! What is known of a build beside its image, on a real engine: where its failure begins, and the steps of its log. Needs the
//! parts of tests/lab.

#[path = "harness/mod.rs"]
mod harness;

use std::path::PathBuf;

use harness::{Lab, Person, Slipway, lab};

struct World {
    server: Slipway,
    ann: Person,
    tree: PathBuf,
}

fn world(lab: &Lab, name: &str) -> World {
    let server = Slipway::start();
    let ann = server.person("ann", true);
    server.cli(&["repo", "create", "app"]);
    server.cli(&["registry", "add", "local", "--url", &lab.registry, "--insecure"]);
    let image = format!("slipway-test-{name}-{}", std::process::id());
    server.cli(&["bind", "app", "--registry", "local", "--image", &image]);
    let tree = ann.work_tree("app", &[("a", "1\n")]);
    ann.git(&tree, &["remote", "add", "origin", &ann.ssh_url("app")]);
    World { server, ann, tree }
}

impl World {
    fn push(&self, files: &[(&str, &str)]) -> String {
        self.ann.commit(&self.tree, files, "Next");
        self.ann.git(&self.tree, &["push", "-o", "wait", "origin", "HEAD:main"])
    }

    fn build(&self, number: &str) -> serde_json::Value {
        self.server.json(&["build", "show", "app", number])
    }
}

#[test]
fn where_a_failure_begins_is_recorded_told_and_shown() {
    let world = world(&lab(), "first");
    let dockerfile = "FROM alpine:3.20\nRUN echo one && echo 'a.c:3: error: two' && echo three && exit 4\n";
    let told = world.push(&[("Dockerfile", dockerfile)]);
    assert!(told.contains("failed.") && told.contains("It begins with: a.c:3: error: two"), "{told}");
    let build = world.build("1");
    let line = &build["results"]["first_line"];
    assert_eq!(
        (line["text"].as_str(), line["stage"].as_str()),
        (Some("a.c:3: error: two"), Some("build")),
        "{build}"
    );
    assert!(line["step"].as_str().is_some_and(|step| step.contains("RUN echo one")), "{build}");
    let log = world.server.cli(&["build", "log", "app", "1"]);
    let at = line["offset"].as_u64().expect("a place") as usize;
    assert!(log[at..].lines().next().is_some_and(|l| l.ends_with(" a.c:3: error: two")), "{at} in {log}");
    let steps = world.server.json(&["build", "steps", "app", "1"]);
    let stages: Vec<_> = steps["stages"].as_array().expect("stages").iter().map(|s| &s["state"]).collect();
    assert_eq!(stages, ["done", "failed"], "{steps}");
    let failed =
        steps["stages"][1]["steps"].as_array().expect("steps").iter().rfind(|s| s["state"] == "failed");
    assert!(
        failed.is_some_and(|s| s["name"].as_str().is_some_and(|n| n.contains("RUN echo one"))),
        "{steps}"
    );
    assert!(world.server.cli(&["build", "show", "app", "1"]).contains("a.c:3: error: two (byte "));
    let (status, page) = world.ann.get("/app/builds/1");
    assert_eq!(status, 200);
    assert!(
        page.contains("<mark id=\"first-line\">") && page.contains("<details class=\"part\" open>"),
        "{page}"
    );
    // What a test says.
    let toml = "[test]\nshell = \"echo fine; echo 'FAIL: four'; echo 'error: five'; exit 1\"\n";
    let told = world.push(&[("Dockerfile", "FROM alpine:3.20\n"), ("slipway.toml", toml)]);
    assert!(told.contains("It begins with: FAIL: four"), "{told}");
    let line = &world.build("2")["results"]["first_line"];
    assert_eq!((line["text"].as_str(), line["stage"].as_str()), (Some("FAIL: four"), Some("test")));
    // What passes has none.
    let told = world.push(&[("slipway.toml", "[test]\nshell = \"echo 'error: not really'\"\n")]);
    assert!(told.contains("verdict: all done"), "{told}");
    assert_eq!(world.build("3")["results"], serde_json::Value::Null);
}

#[test]
fn what_a_test_leaves_is_kept_shown_and_gone_with_its_repository() {
    let world = world(&lab(), "kept");
    let xml = "<testsuite><testcase classname='A' name='one'/><testcase name='two'><failure message='1 is not 2'/></testcase></testsuite>";
    let toml = "[test]\nshell = \"mkdir -p /out/deep && cp /report.xml /out/ && echo found > /out/deep/a.txt && \
                ln -s /etc/passwd /out/link && exit 1\"\nreports = [\"/out/*.xml\"]\nartifacts = [\"/out/**\", \"/none\"]\n";
    let dockerfile = "FROM alpine:3.20\nCOPY report.xml /report.xml\n";
    let told = world.push(&[("Dockerfile", dockerfile), ("report.xml", xml), ("slipway.toml", toml)]);
    assert!(told.contains("kept 2 files of the test"), "{told}");
    assert!(told.contains("the test has left nothing at /none"), "{told}");
    let tests = &world.build("1")["results"]["tests"];
    assert_eq!((tests["tests"].as_u64(), tests["failures"].as_u64()), (Some(2), Some(1)), "{tests}");
    assert_eq!(
        (&tests["failed"][0]["name"], &tests["failed"][0]["message"]),
        (&"two".into(), &"1 is not 2".into())
    );
    let list = world.server.cli(&["build", "artifacts", "app", "1"]);
    assert!(
        list.contains("out/report.xml") && list.contains("out/deep/a.txt") && !list.contains("link"),
        "{list}"
    );
    assert_eq!(world.server.cli(&["build", "artifacts", "app", "1", "out/deep/a.txt"]), "found\n");
    assert!(!world.server.try_cli(&["build", "artifacts", "app", "1", "etc/passwd"]).status.success());
    let (status, page) = world.ann.get("/app/builds/1");
    assert!(status == 200 && page.contains("out/deep/a.txt") && page.contains("1 is not 2"), "{page}");
    let folder = world.server.data.join("builds/1/1.files");
    assert!(folder.join("index.json").exists());
    world.server.cli(&["repo", "remove", "app", "--yes"]);
    assert!(!folder.exists());
}
