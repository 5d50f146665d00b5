//! Several images of one commit, on a real engine and registry: each built, tested and pushed by itself, in the order that they
//! need. Needs the parts of tests/lab.

#[path = "harness/mod.rs"]
mod harness;

use std::path::PathBuf;
use std::time::Duration;

use harness::{Lab, Person, Slipway, lab};

const MINUTES: Duration = Duration::from_secs(180);

struct World {
    server: Slipway,
    ann: Person,
    tree: PathBuf,
    /// `HOST:PORT/PATH` of the repository's images.
    image: String,
}

fn world(lab: &Lab, name: &str) -> World {
    let server = Slipway::start();
    let ann = server.person("ann", true);
    let path = format!("slipway-test-{name}-{}", std::process::id());
    server.cli(&["repo", "create", "app"]);
    server.cli(&["registry", "add", "local", "--url", &lab.registry, "--insecure"]);
    server.cli(&["bind", "app", "--registry", "local", "--image", &path]);
    let tree = ann.work_tree("app", &[("a", "1\n")]);
    ann.git(&tree, &["remote", "add", "origin", &ann.ssh_url("app")]);
    World { server, ann, tree, image: format!("{}/{path}", lab.registry) }
}

impl World {
    fn push(&self, files: &[(&str, &str)]) -> String {
        self.ann.commit(&self.tree, files, "Next");
        self.ann.git(&self.tree, &["push", "-f", "-o", "wait", "origin", "HEAD:main"])
    }

    fn builds(&self) -> Vec<serde_json::Value> {
        self.server.json(&["build", "list", "app"]).as_array().expect("a list").clone()
    }

    fn newest(&self, part: &str) -> serde_json::Value {
        self.builds().into_iter().find(|build| build["part"] == part).unwrap_or_default()
    }
}

const TWO: &str = r#"
[[image]]
name = "base"
context = "base"
on = { paths = ["base/**"] }
[[image]]
name = "web"
context = "web"
needs = ["base"]
[image.test]
shell = "cat /from-base /own && test \"$SLIPWAY_IMAGE\" = web"
"#;

const WEB: &str = "ARG SLIPWAY_IMAGE_BASE\nFROM ${SLIPWAY_IMAGE_BASE}\nCOPY own /own\n";

#[test]
fn an_image_is_built_on_the_one_that_it_needs() {
    let world = world(&lab(), "needs");
    let told = world.push(&[
        ("slipway.toml", TWO),
        ("base/Dockerfile", "FROM alpine:3.20\nRUN sleep 1\nCOPY base /from-base\n"),
        ("base/base", "from base\n"),
        ("web/Dockerfile", WEB),
        ("web/own", "own\n"),
    ]);
    assert!(told.contains("verdict: all done"), "{told}");
    assert!(told.contains("build 1 (base) → ") && told.contains("build 2 (web) → "), "{told}");
    let (base, web) = (world.newest("base"), world.newest("web"));
    assert_eq!(base["pushed"]["name"], format!("{}/base", world.image));
    assert_eq!(web["pushed"]["name"], format!("{}/web", world.image));
    assert!(base["ended"].as_u64() <= web["started"].as_u64(), "{base}\n{web}");
    assert_eq!(base["pushed"]["tags"].as_array().expect("tags").len(), 2);
    // What did not change is not built; what needs it has the one from before.
    let told = world.push(&[("web/own", "other\n")]);
    assert!(told.contains("verdict: all done") && told.contains("image base: no path"), "{told}");
    assert_eq!(world.builds().len(), 3);
    // A failed one fails what needs it, in words, and moves nothing.
    let told = world.push(&[("base/Dockerfile", "FROM alpine:3.20\nRUN exit 3\n")]);
    assert!(told.contains("It needs the image base, and build 4, which was to make it, has not."), "{told}");
    assert_eq!(world.newest("web")["state"], "failed");
    // Retried in its turn, once the other is mended.
    world.push(&[("base/Dockerfile", "FROM alpine:3.20\nCOPY base /from-base\n")]);
    assert_eq!(world.newest("web")["state"], "succeeded");
}

#[test]
fn a_matrix_builds_and_deploys_each_of_its_images() {
    let world = world(&lab(), "matrix");
    let manifests = format!("a: {0}/tool:old\nb: {0}/tool:old\n", world.image);
    world.server.cli(&["repo", "create", "manifests"]);
    let tree = world.ann.work_tree("manifests", &[("d.yaml", &manifests)]);
    world.ann.git(&tree, &["push", "-q", &world.ann.ssh_url("manifests"), "main"]);
    let toml = r#"
[[image]]
name = "tool"
args = { WORDS = "{V} of {number}" }
matrix = { V = ["one", "two"] }
[image.test]
shell = "test \"$(cat /said)\" = \"$V of $SLIPWAY_BUILD\""
[deploy.prod]
repo = "manifests"
of = "tool/two"
"#;
    let told = world.push(&[
        ("slipway.toml", toml),
        ("Dockerfile", "FROM alpine:3.20\nARG WORDS\nRUN echo \"$WORDS\" > /said\n"),
    ]);
    assert!(told.contains("verdict: all done"), "{told}");
    let (one, two) = (world.newest("tool/one"), world.newest("tool/two"));
    assert!(one["pushed"]["tags"].as_array().expect("tags").contains(&"latest-one".into()), "{one}");
    assert_ne!(one["pushed"]["digest"], two["pushed"]["digest"]);
    let file = world.ann.git(&world.server.data.join("repos/manifests.git"), &["show", "main:d.yaml"]);
    let digest = two["pushed"]["digest"].as_str().expect("digest");
    assert_eq!(file.matches(digest).count(), 2, "{file}");
    // By hand: one, or all.
    let started = world.server.json(&["build", "start", "app", "--image", "tool/one", "--no-cache"]);
    assert_eq!((&started["part"], &started["no_cache"]), (&"tool/one".into(), &true.into()));
    world.server.build_ended("app", 3, MINUTES);
    let started = world.server.json(&["build", "start", "app"]);
    assert_eq!((&started["number"], &started["also"][0]), (&4.into(), &5.into()), "{started}");
    world.server.build_ended("app", 5, MINUTES);
    let none = world.server.try_cli(&["build", "start", "app", "--image", "tol"]);
    assert!(harness::text(&none.stderr).contains("The commit has no image \"tol\"."));
    // Promoted by itself.
    world.server.cli(&["build", "promote", "app", "1", "--to", "latest-one"]);
    let promoted = world.server.build_ended("app", 6, MINUTES);
    assert_eq!((&promoted["state"], &promoted["part"]), (&"succeeded".into(), &"tool/one".into()));
}

#[test]
fn an_image_that_another_repository_is_bound_to_is_not_pushed() {
    let world = world(&lab(), "taken");
    world.server.cli(&["repo", "create", "other"]);
    let path = world.image.split_once('/').expect("a path").1.to_owned();
    world.server.cli(&["bind", "other", "--registry", "local", "--image", &format!("{path}/web")]);
    let told =
        world.push(&[("slipway.toml", "[[image]]\nname = \"web\"\n"), ("Dockerfile", "FROM alpine:3.20\n")]);
    assert!(told.contains(&format!("The image {path}/web is that of other.")), "{told}");
    // Nor may others build on one of its images.
    let third =
        world.ann.work_tree("third", &[("Dockerfile", &format!("FROM {}/api:latest\n", world.image))]);
    world.server.cli(&["repo", "create", "third"]);
    world.server.cli(&["bind", "third", "--registry", "local", "--image", "slipway-test-third"]);
    let told = world.ann.git(&third, &["push", "-o", "wait", &world.ann.ssh_url("third"), "main"]);
    assert!(told.contains("failed.") && told.contains("/api"), "{told}");
}
