//! The same content is the same image: a push of what was built before builds nothing. Needs the parts of tests/lab.

#[path = "harness/mod.rs"]
mod harness;

use std::path::PathBuf;

use harness::{Person, Slipway, lab};
use serde_json::Value;

struct World {
    server: Slipway,
    ann: Person,
    tree: PathBuf,
    registry: String,
    image: String,
}

const ALL: &str = "[build.on]\nbranches = [\"**\"]\n[test]\nshell = \"cat /a\"\n";

fn world(name: &str) -> World {
    let lab = lab();
    let server = Slipway::start();
    let ann = server.person("ann", true);
    let image = format!("slipway-test-{name}-{}", std::process::id());
    server.cli(&["repo", "create", "app"]);
    server.cli(&["registry", "add", "local", "--url", &lab.registry, "--insecure"]);
    server.cli(&["bind", "app", "--registry", "local", "--image", &image]);
    let dockerfile = "FROM alpine:3.20\nCOPY a /a\nRUN date +%N > /made\n";
    let files =
        [("a", "1\n"), ("Dockerfile", dockerfile), (".dockerignore", "*.md\n"), ("slipway.toml", ALL)];
    let tree = ann.work_tree("app", &files);
    ann.git(&tree, &["remote", "add", "origin", &ann.ssh_url("app")]);
    World { server, ann, tree, registry: lab.registry, image }
}

impl World {
    /// Pushes the tip with these options, and gives the build that came of it.
    fn push(&self, to: &str, options: &[&str]) -> Value {
        let mut all = vec!["push", "-f", "-o", "wait"];
        options.iter().for_each(|option| all.extend(["-o", option]));
        let to = format!("HEAD:{to}");
        all.extend(["origin", &to]);
        self.ann.git(&self.tree, &all);
        let build = self.server.json(&["build", "list", "app"])[0].clone();
        assert_eq!(build["state"], "succeeded", "{build}");
        build
    }

    fn commit(&self, files: &[(&str, &str)]) -> String {
        self.ann.commit(&self.tree, files, "Next")
    }

    fn has_tag(&self, tag: &str) -> bool {
        let url = format!("http://{}/v2/{}/manifests/{tag}", self.registry, self.image);
        harness::curl(&["-H", "Accept: application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json", &url]).0 == 200
    }
}

fn digest(build: &Value) -> &str {
    build["pushed"]["digest"].as_str().expect("a digest")
}

#[test]
fn what_was_built_before_is_not_built_again() {
    let world = world("reuse");
    let first = world.push("main", &[]);
    assert!(first["reuses"].is_null() && first["content"]["bases"].is_object(), "{first}");
    // What the image does not get changes nothing.
    let commit = world.commit(&[("README.md", "words\n")]);
    let same = world.push("main", &[]);
    assert_eq!((&same["reuses"], digest(&same)), (&1.into(), digest(&first)), "{same}");
    assert!(world.has_tag(&commit), "the commit's own tag is there");
    let skipped = |build: &Value, stage: &str| {
        let stages = build["stages"].as_array().expect("stages").clone();
        stages.iter().any(|one| one["stage"] == stage && one["skipped"] == true)
    };
    assert!(skipped(&same, "build") && skipped(&same, "test"), "{same}");
    // A change, and its revert.
    world.commit(&[("a", "2\n")]);
    let other = world.push("main", &[]);
    assert!(other["reuses"].is_null() && digest(&other) != digest(&first), "{other}");
    world.commit(&[("a", "1\n")]);
    let back = world.push("main", &[]);
    assert_eq!((&back["reuses"], digest(&back)), (&2.into(), digest(&first)), "{back}");
    assert!(back["moves"].as_array().expect("moves").iter().any(|m| m["name"]["tag"] == "latest"), "{back}");
    // Another branch, too; but not who says otherwise.
    assert_eq!(world.push("feature", &[])["reuses"], 4);
    world.commit(&[("README.md", "more\n")]);
    assert!(world.push("main", &["build.no-cache"])["reuses"].is_null());
    world.commit(&[("slipway.toml", &format!("[build]\nreuse = false\n{}", ALL))]);
    let off = world.push("main", &[]);
    assert!(off["reuses"].is_null() && off["content"].is_null(), "{off}");
}

#[test]
fn a_base_that_moved_an_argument_and_a_secret_are_another_image() {
    let world = world("moved");
    let base = format!("{}/slipway-test-base-{}", world.registry, std::process::id());
    let docker = |args: &[&str]| {
        let out = std::process::Command::new("docker").args(args).output().expect("docker");
        assert!(out.status.success(), "{args:?}: {}", harness::text(&out.stderr));
    };
    docker(&["tag", "alpine:3.20", &base]);
    docker(&["push", "-q", &base]);
    let dockerfile = format!("FROM {base}\nARG SLIPWAY_BRANCH\nCOPY a /a\nRUN date +%N > /made\n");
    world.commit(&[("Dockerfile", &dockerfile)]);
    let first = world.push("main", &[]);
    world.commit(&[("README.md", "1\n")]);
    let same = world.push("main", &[]);
    assert_eq!(same["reuses"], 1, "{first}\n{same}");
    // Its name is asked for, so another branch is another image.
    assert!(world.push("feature", &[])["reuses"].is_null());
    let id = std::process::Command::new("docker")
        .args(["create", "alpine:3.20", "true"])
        .output()
        .expect("docker");
    let id = harness::text(&id.stdout).trim().to_owned();
    docker(&["commit", "-m", "newer", &id, &base]);
    docker(&["rm", &id]);
    docker(&["push", "-q", &base]);
    world.commit(&[("README.md", "2\n")]);
    let newer = world.push("main", &[]);
    assert!(newer["reuses"].is_null() && digest(&newer) != digest(&first), "{newer}");
    let file = world.server.data.join("value");
    std::fs::write(&file, "a value of some length\n").expect("written");
    let file = file.display().to_string();
    world.commit(&[("README.md", "3\n")]);
    assert_eq!(world.push("main", &[])["reuses"], 4);
    world.server.cli(&["secret", "set", "app", "token", "--file", &file]);
    world.commit(&[("README.md", "4\n")]);
    assert!(world.push("main", &[])["reuses"].is_null(), "it is given a secret now");
    world.server.cli(&["secret", "set", "app", "token", "--file", &file]);
    world.commit(&[("README.md", "5\n")]);
    assert!(world.push("main", &[])["reuses"].is_null(), "the secret has another version");
    docker(&["rmi", &base]);
}

#[test]
fn an_image_that_the_registry_lost_is_built_after_all() {
    let world = world("lost");
    let first = world.push("main", &[]);
    // The registry of the lab deletes nothing; another image path has nothing, either.
    world.server.cli(&["bind", "app", "--registry", "local", "--image", &format!("{}-b", world.image)]);
    world.commit(&[("README.md", "1\n")]);
    let elsewhere = world.push("main", &[]);
    assert!(elsewhere["reuses"].is_null() && digest(&elsewhere) == digest(&first), "{elsewhere}");
}
