//! Names that others follow, on a real engine and registry: who moves `latest` and the manifests, who does not, and the way
//! back. Needs the parts of tests/lab.

#[path = "harness/mod.rs"]
mod harness;

use std::path::PathBuf;
use std::time::Duration;

use harness::{Lab, Person, Slipway, lab, run, text};

const MINUTES: Duration = Duration::from_secs(180);

/// An application that deploys into `manifests`, and everything builds.
struct World {
    server: Slipway,
    ann: Person,
    registry: String,
    image: String,
    tree: PathBuf,
}

const ALL: &str = "[build.on]\nbranches = [\"**\"]\ntags = [\"**\"]\n[deploy.prod]\nrepo = \"manifests\"\n";

fn world(lab: &Lab, name: &str) -> World {
    let server = Slipway::start();
    let ann = server.person("ann", true);
    let image = format!("slipway-test-{name}-{}", std::process::id());
    server.cli(&["repo", "create", "app"]);
    server.cli(&["repo", "create", "manifests"]);
    server.cli(&["registry", "add", "local", "--url", &lab.registry, "--insecure"]);
    server.cli(&["bind", "app", "--registry", "local", "--image", &image]);
    let manifest = format!("image: {}/{image}:old\n", lab.registry);
    let manifests = ann.work_tree("manifests", &[("d.yaml", &manifest)]);
    ann.git(&manifests, &["push", "-q", &ann.ssh_url("manifests"), "main"]);
    let tree = ann.work_tree("app", &[("a", "1\n"), ("Dockerfile", GOOD), ("slipway.toml", ALL)]);
    ann.git(&tree, &["remote", "add", "origin", &ann.ssh_url("app")]);
    World { server, ann, registry: lab.registry.clone(), image, tree }
}

const GOOD: &str = "FROM alpine:3.20\nCOPY a /a\n";

impl World {
    /// Commits those files and pushes; what the pusher was told, until the verdict.
    fn push(&self, files: &[(&str, &str)], message: &str, to: &str) -> (String, String) {
        let commit = match files {
            [] => self.ann.git(&self.tree, &["rev-parse", "HEAD"]).trim().to_owned(),
            files => self.ann.commit(&self.tree, files, message),
        };
        let told = self.ann.git(&self.tree, &["push", "-f", "-o", "wait", "origin", &format!("HEAD:{to}")]);
        (commit, told)
    }

    /// The digest that a tag has in the registry.
    fn digest(&self, tag: &str) -> String {
        let types = "Accept: application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json";
        let url = format!("http://{}/v2/{}/manifests/{tag}", self.registry, self.image);
        let out = run(std::process::Command::new("curl").args(["-sI", "-H", types, &url]));
        let head = text(&out.stdout).to_lowercase();
        let digest = head.lines().find_map(|l| l.strip_prefix("docker-content-digest: "));
        digest.unwrap_or_default().trim().to_owned()
    }

    /// Whose image `latest` and the manifests have: the digests.
    fn current(&self) -> (String, String) {
        let file = self.ann.git(&self.server.data.join("repos/manifests.git"), &["show", "main:d.yaml"]);
        let pinned = file.trim().rsplit_once('@').map(|(_, digest)| digest.to_owned());
        (self.digest("latest"), pinned.unwrap_or_default())
    }

    fn is_at(&self, commit: &str) -> bool {
        let digest = self.digest(commit);
        !digest.is_empty() && self.current() == (digest.clone(), digest)
    }

    fn again(&self, verb: &str, number: &str, more: &[&str]) -> serde_json::Value {
        let mut all = vec!["build", verb, "app", number];
        all.extend(more);
        let begun = self.server.json(&all);
        let number = begun["number"].as_u64().expect("a number");
        self.server.build_ended("app", number, MINUTES)
    }
}

fn left(build: &serde_json::Value) -> Vec<String> {
    let moves = build["moves"].as_array().cloned().unwrap_or_default();
    let left = moves.iter().filter_map(|m| Some(format!("{} {}", m["name"], m["left"].as_str()?)));
    left.collect()
}

#[test]
fn the_default_branch_alone_moves_latest_and_the_manifests() {
    let lab = lab();
    let world = world(&lab, "refs");
    let (first, told) = world.push(&[], "", "main");
    assert!(told.contains("verdict: all done") && world.is_at(&first), "{told}");
    let (second, told) = world.push(&[("a", "2\n")], "Two", "main");
    assert!(world.is_at(&second), "{told}");

    // A feature branch, that gives itself leave in its own file.
    let wide = format!(
        "{ALL}on = {{ branches = [\"**\"] }}\n[push]\ntags = [\"{{sha}}\", \"latest\", \"{{branch}}\", \"theirs\"]\non = {{ branches = [\"**\"] }}\n"
    );
    let (side, told) = world.push(&[("a", "3\n"), ("slipway.toml", &wide)], "Side", "feature/x");
    assert!(
        told.contains(
            "builds of main alone move it (`on` in slipway.toml names others), as slipway.toml of main has it"
        ),
        "{told}"
    );
    assert!(told.contains("left where they are: latest, theirs, [deploy.prod]"), "{told}");
    assert!(!world.digest(&side).is_empty() && world.is_at(&second));
    let build = world.server.json(&["build", "show", "app", "3"]);
    let tags: Vec<_> =
        build["pushed"]["tags"].as_array().expect("tags").iter().filter_map(|t| t.as_str()).collect();
    assert_eq!(tags, [side.as_str(), "feature-x-217d2bf5"]);
    assert_eq!(left(&build).len(), 3, "{build:#}");
    // Nor does a person give it a name that its own file alone has.
    let refused = world.server.try_cli(&["build", "promote", "app", "3", "--to", "theirs"]);
    let told = text(&refused.stderr);
    assert!(told.contains("called \"theirs\"") && !told.contains(", theirs"), "{told}");

    // A tag on an older commit, for which main's own file gives leave by now.
    let tagged = format!(
        "{ALL}on = {{ branches = [\"main\"], tags = [\"v*\"] }}\n[push]\non = {{ branches = [\"main\"], tags = [\"v*\"] }}\n"
    );
    world.ann.git(&world.tree, &["checkout", "-q", "-B", "main", &second]);
    let (third, _) = world.push(&[("a", "4\n"), ("slipway.toml", &tagged)], "Three", "main");
    let (fourth, told) = world.push(&[("a", "5\n")], "Four", "main");
    assert!(world.is_at(&fourth), "{told}");
    world.ann.git(&world.tree, &["tag", "v1", &third]);
    let told = world.ann.git(&world.tree, &["push", "-o", "wait", "origin", "v1"]);
    assert!(told.contains("latest is left where it is: build 5 of a newer commit has it"), "{told}");
    assert!(world.is_at(&fourth));
}

#[test]
fn what_is_newer_stays_until_somebody_promotes_by_name() {
    let lab = lab();
    let world = world(&lab, "back");
    let (first, _) = world.push(&[], "", "main");
    let (second, _) = world.push(&[("a", "2\n")], "Two", "main");
    let (_, told) = world.push(&[("Dockerfile", "FROM alpine:3.20\nRUN exit 3\n")], "Three breaks", "main");
    assert!(told.contains("verdict: not done") && world.is_at(&second), "{told}");
    let again = world.again("retry", "1", &[]);
    assert_eq!((again["state"].as_str(), left(&again).len()), (Some("succeeded"), 2), "{again:#}");
    assert!(left(&again)[0].contains("build 2 of a newer commit has it"), "{:?}", left(&again));
    assert!(world.is_at(&second), "what failed in between gives no leave");
    world.push(&[("README", "words\n"), ("Dockerfile", GOOD)], "Words [skip ci]", "main");
    world.again("retry", "1", &[]);
    assert!(world.is_at(&second), "nor does what was skipped");

    // The way back, by name: the tag alone, then all.
    let refused = world.server.try_cli(&["build", "promote", "app", "3"]);
    assert!(text(&refused.stderr).contains("Build 3 has pushed no image."), "{}", text(&refused.stderr));
    let refused = world.server.try_cli(&["build", "promote", "app", "1", "--to", "porduction"]);
    assert!(text(&refused.stderr).contains("Name one of latest, prod."), "{}", text(&refused.stderr));
    let promoted = world.again("promote", "1", &["--to", "latest"]);
    assert_eq!(promoted["state"], "succeeded", "{promoted:#}");
    assert_eq!((&promoted["cause"]["kind"], &promoted["cause"]["of"]), (&"promote".into(), &1.into()));
    assert_eq!(world.current(), (world.digest(&first), world.digest(&second)));
    let over_ssh = world.ann.over_ssh("build promote app 1", "");
    assert_eq!(over_ssh.status.code(), Some(0), "{}", text(&over_ssh.stderr));
    let done = world.server.build_ended("app", 7, MINUTES);
    assert_eq!((&done["state"], &done["cause"]["by"]), (&"succeeded".into(), &"ann".into()), "{done:#}");
    assert!(world.is_at(&first));
    let message =
        world.ann.git(&world.server.data.join("repos/manifests.git"), &["log", "-1", "--format=%B", "main"]);
    assert!(
        message.starts_with(&format!("Promote app@{} to prod (build 1, by ann)", &first[..10])),
        "{message}"
    );
    assert!(message.contains("Slipway-Build: app#1\nSlipway-Promotion: app#7\n"), "{message}");

    // What was returned from stays away; what is newer moves on.
    let again = world.again("retry", "2", &[]);
    assert!(left(&again)[0].contains("ann promoted build 1 in place of build 2"), "{:?}", left(&again));
    assert!(world.is_at(&first));
    let (next, told) = world.push(&[("a", "6\n")], "Six", "main");
    assert!(world.is_at(&next), "{told}");
    // A branch that is put back is a push like any other.
    world.ann.git(&world.tree, &["reset", "-q", "--hard", &second]);
    let (back, told) = world.push(&[], "", "main");
    assert!(back == second && world.is_at(&second), "{told}");
}

#[test]
fn a_deploy_that_wants_approval_waits_for_it_and_goes_forward_alone() {
    let world = world(&lab(), "approve");
    let toml = ALL.replace("repo = \"manifests\"", "repo = \"manifests\"\napprove = true");
    let (first, told) = world.push(&[("slipway.toml", &toml)], "One", "main");
    assert!(
        told.contains("[deploy.prod] stays")
            || told.contains("it waits for approval: slipway build approve app 1"),
        "{told}"
    );
    assert!(world.digest("latest") == world.digest(&first) && world.current().1.is_empty(), "{told}");
    let (second, _) = world.push(&[("a", "2\n")], "Two", "main");
    let approved = world.again("approve", "2", &[]);
    assert_eq!(approved["state"], "succeeded", "{approved}");
    assert_eq!(world.current().1, world.digest(&second));
    let log =
        world.ann.git(&world.server.data.join("repos/manifests.git"), &["log", "-1", "--format=%B", "main"]);
    assert!(log.contains("Slipway-Promotion"), "{log}");
    let refused = world.server.try_cli(&["build", "approve", "app", "1"]);
    let words = text(&refused.stderr);
    assert!(
        words.contains("is not approved for [deploy.prod]")
            && words.contains("slipway build promote app 1 --to prod"),
        "{words}"
    );
    // Whoever takes the word out on a branch of their own is asked by the default branch's.
    let (_, told) = world.push(&[("slipway.toml", ALL)], "Three", "side");
    assert!(!told.contains("pins the digest"), "{told}");
    let none = text(&world.server.try_cli(&["build", "approve", "app", "2", "--to", "prd"]).stderr);
    assert!(none.contains("No deploy called \"prd\" waits for approval."), "{none}");
}
