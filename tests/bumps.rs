//! What a build writes into manifests, on a real engine and registry: all that uses the image, or nothing and why. Needs the
//! parts of tests/lab.

#[path = "harness/mod.rs"]
mod harness;

use std::path::PathBuf;
use std::time::Duration;

use harness::{Lab, Person, Slipway, lab};

const MINUTES: Duration = Duration::from_secs(180);
const GOOD: &str = "FROM alpine:3.20\nCOPY a /a\n";

/// An application and two manifest repositories, `one` and `two`.
struct World {
    server: Slipway,
    ann: Person,
    name: String,
    tree: PathBuf,
}

fn world(lab: &Lab, name: &str, spec: &str) -> World {
    let server = Slipway::start();
    let ann = server.person("ann", true);
    let image = format!("slipway-test-{name}-{}", std::process::id());
    for repo in ["app", "one", "two"] {
        server.cli(&["repo", "create", repo]);
    }
    server.cli(&["registry", "add", "local", "--url", &lab.registry, "--insecure"]);
    server.cli(&["bind", "app", "--registry", "local", "--image", &image]);
    let tree = ann.work_tree("app", &[("a", "1\n"), ("Dockerfile", GOOD), ("slipway.toml", spec)]);
    ann.git(&tree, &["remote", "add", "origin", &ann.ssh_url("app")]);
    World { server, ann, name: format!("{}/{image}", lab.registry), tree }
}

impl World {
    fn manifests(&self, repo: &str, files: &[(&str, &str)]) {
        let filled: Vec<(&str, String)> =
            files.iter().map(|(path, text)| (*path, text.replace("IMG", &self.name))).collect();
        let files: Vec<(&str, &str)> = filled.iter().map(|(path, text)| (*path, text.as_str())).collect();
        let tree = self.ann.work_tree(repo, &files);
        self.ann.git(&tree, &["push", "-q", &self.ann.ssh_url(repo), "main"]);
    }

    fn push(&self) -> String {
        self.ann.git(&self.tree, &["push", "-f", "-o", "wait", "origin", "HEAD:main"])
    }

    fn file(&self, repo: &str, path: &str) -> String {
        let bare = self.server.data.join(format!("repos/{repo}.git"));
        self.ann.git(&bare, &["show", &format!("main:{path}")])
    }

    fn commits(&self, repo: &str) -> String {
        let bare = self.server.data.join(format!("repos/{repo}.git"));
        self.ann.git(&bare, &["rev-list", "--count", "main"]).trim().to_owned()
    }
}

const ONE: &str = "[deploy.one]\nrepo = \"one\"\n";

#[test]
fn every_use_is_written_and_the_same_image_writes_nothing() {
    let lab = lab();
    let world = world(&lab, "uses", ONE);
    let values = "# ours\r\nimage: {registry: HOST, repository: REST, tag: v1, digest: ''} # tag\r\n";
    let (host, rest) = world.name.split_once('/').expect("a host");
    let values = values.replace("HOST", host).replace("REST", rest);
    world.manifests(
        "one",
        &[
            (
                "d.yaml",
                "x: &img IMG:v1 # pinned\nspec: {containers: [{image: *img, args: [--worker=IMG:v0]}]}\n",
            ),
            ("values.yaml", &values),
            ("kustomization.yaml", "images: [{name: IMG, newTag: v1}]\n"),
            ("templates/d.yaml", "{{- if .on }}\nimage: \"IMG:{{ .Values.image.tag }}\"\n{{- end }}\n"),
        ],
    );
    let told = world.push();
    assert!(told.contains("verdict: all done"), "{told}");
    let build = world.server.build_ended("app", 1, MINUTES);
    let digest = build["pushed"]["digest"].as_str().expect("a digest").to_owned();
    let tag = build["commit"].as_str().expect("a commit").to_owned();
    let pinned = format!("{}:{tag}@{digest}", world.name);
    let got = world.file("one", "d.yaml");
    assert_eq!(
        got,
        format!(
            "x: &img {pinned} # pinned\nspec: {{containers: [{{image: *img, args: [--worker={pinned}]}}]}}\n"
        )
    );
    let got = world.file("one", "values.yaml");
    assert!(got.contains(&digest) && got.starts_with("# ours\r\n") && got.ends_with("} # tag\r\n"), "{got}");
    assert!(world.file("one", "kustomization.yaml").contains(&format!("digest: {digest}}}]")));
    assert!(world.file("one", "templates/d.yaml").contains(":{{ .Values.image.tag }}"));
    let log = world.server.cli(&["build", "log", "app", "1"]);
    assert!(
        log.contains("note: one/templates/d.yaml:2 image, a template fills it in: left as it is"),
        "{log}"
    );
    // Another commit of the same image: no new rollout.
    let before = world.commits("one");
    world.ann.commit(&world.tree, &[("README", "x\n")], "Docs");
    let told = world.push();
    assert!(told.contains("verdict: all done"), "{told}");
    assert_eq!(world.server.build_ended("app", 2, MINUTES)["pushed"]["digest"], digest.as_str());
    assert_eq!(world.commits("one"), before);
}

#[test]
fn what_cannot_be_written_is_told_before_anything_is_built() {
    let lab = lab();
    let world = world(&lab, "blocked", ONE);
    world.manifests(
        "one",
        &[("d.yaml", "image: IMG:v1\n"), ("job.yaml", "data:\n  run.sh: |\n    docker run IMG:v1\n")],
    );
    let told = world.push();
    let build = world.server.build_ended("app", 1, MINUTES);
    assert_eq!(
        (build["state"].as_str(), build["image"].is_null()),
        (Some("failed"), true),
        "{told}\n{build:#}"
    );
    let why = "job.yaml:3 data.\"run.sh\", it stands in a block of text";
    assert!(told.contains(why) && told.contains("`leave`"), "{told}");
    assert!(world.file("one", "d.yaml").ends_with(":v1\n"), "all or nothing");
    // The way out that it names.
    let spec = format!("{ONE}fields = [\"data.\\\"run.sh\\\"\"]\n");
    world.ann.commit(&world.tree, &[("slipway.toml", &spec)], "Name the field");
    let told = world.push();
    assert!(told.contains("verdict: all done"), "{told}");
    assert!(
        world.file("one", "job.yaml").contains("@sha256:")
            && world.file("one", "d.yaml").contains("@sha256:")
    );
}

#[test]
fn one_target_that_fails_does_not_stop_the_others() {
    let lab = lab();
    let spec = format!("[deploy.a]\nrepo = \"two\"\npath = \"gone.yaml\"\n{ONE}");
    let world = world(&lab, "apart", &spec);
    world.manifests("one", &[("d.yaml", "image: IMG:v1\n")]);
    world.manifests("two", &[("d.yaml", "image: IMG:v1\n")]);
    let told = world.push();
    let build = world.server.build_ended("app", 1, MINUTES);
    assert_eq!(build["state"], "failed", "{told}");
    assert!(told.contains("two has no file or folder \"gone.yaml\""), "{told}");
    assert!(world.file("one", "d.yaml").contains("@sha256:"), "{told}");
    assert!(
        build["bumps"][0]["failed"]["problem"].is_object() && build["bumps"][1]["done"] == true,
        "{build:#}"
    );
}
