//! Several engines that share the builds, each a real one of the test's own; one of them dies. Needs the parts of tests/lab.

#[path = "harness/engines.rs"]
mod engines;
#[path = "harness/mod.rs"]
mod harness;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use engines::OwnEngine;
use harness::{Person, Slipway, eventually, lab, text};
use serde_json::Value;

const MINUTES: Duration = Duration::from_secs(180);

struct World {
    engines: Vec<OwnEngine>,
    server: Slipway,
    ann: Person,
    tree: PathBuf,
    _folder: tempfile::TempDir,
}

fn world() -> World {
    let engines = vec![OwnEngine::start("pool-a"), OwnEngine::start("pool-b")];
    let folder = tempfile::tempdir().expect("temp");
    let table = |name: &str, engine: &OwnEngine| {
        format!("[[engines]]\nname = \"{name}\"\nhost = \"{}\"\nslots = 1\n", engine.host)
    };
    let config = format!(
        "[limits]\nbuilds_max = 4\nbuilds_per_repo_max = 4\n{}{}",
        table("a", &engines[0]),
        table("b", &engines[1])
    );
    let file = folder.path().join("config.toml");
    fs::write(&file, config).expect("written");
    let server = Slipway::start_with(&["--config", file.to_str().expect("utf-8")]);
    let ann = server.person("ann", true);
    let path = format!("slipway-test-pool-{}", std::process::id());
    server.cli(&["repo", "create", "app"]);
    server.cli(&["registry", "add", "local", "--url", &lab().registry, "--insecure"]);
    server.cli(&["bind", "app", "--registry", "local", "--image", &path]);
    let tree = ann.work_tree("app", &[("a", "1\n")]);
    ann.git(&tree, &["remote", "add", "origin", &ann.ssh_url("app")]);
    World { engines, server, ann, tree, _folder: folder }
}

const TOML: &str =
    "[build]\npull = \"missing\"\n[build.on]\nbranches = [\"**\"]\n[test]\nshell = \"cat /a\"\n";

impl World {
    /// Pushes what takes so many seconds to build; the build's number.
    fn push(&self, branch: &str, seconds: u64, content: &str) -> u64 {
        let dockerfile = format!("FROM alpine:3.20\nCOPY a /a\nRUN sleep {seconds}\n");
        let files = [("Dockerfile", dockerfile.as_str()), ("slipway.toml", TOML), ("a", content)];
        self.ann.commit(&self.tree, &files, "Next");
        self.ann.git(&self.tree, &["push", "-f", "origin", &format!("HEAD:{branch}")]);
        self.server.json(&["build", "list", "app"])[0]["number"].as_u64().expect("a number")
    }

    fn show(&self, number: u64) -> Value {
        self.server.json(&["build", "show", "app", &number.to_string()])
    }

    /// The engine that the build has once its step runs.
    fn at_work(&self, number: u64) -> String {
        eventually("the build to be at its step", MINUTES, || {
            let log = text(&self.server.try_cli(&["build", "log", "app", &number.to_string()]).stdout);
            log.contains("RUN sleep")
                .then(|| self.show(number)["engine"].as_str().expect("an engine").to_owned())
        })
    }

    fn metrics(&self) -> String {
        self.ann.get("/-/metrics").1
    }
}

#[test]
fn builds_are_shared_out_and_those_of_a_dead_engine_go_to_the_others() {
    let mut world = world();
    let ended = |world: &World, number| world.server.build_ended("app", number, MINUTES);
    // A repository stays where its cache is.
    let first = world.push("main", 0, "1\n");
    let home = ended(&world, first)["engine"].as_str().expect("an engine").to_owned();
    let again = world.push("main", 0, "2\n");
    assert_eq!(ended(&world, again)["engine"], home.as_str());
    // While that is busy, the other one has what comes; a third one waits.
    let long = world.push("long", 6, "3\n");
    assert_eq!(world.at_work(long), home);
    let spilled = world.push("main", 7, "4\n");
    let other = world.at_work(spilled);
    assert_ne!(other, home);
    let third = world.push("third", 0, "5\n");
    let waited = ended(&world, third);
    assert_eq!(waited["state"], "succeeded", "{waited}");
    assert!(
        world
            .server
            .cli(&["build", "log", "app", &third.to_string()])
            .contains("waits for a place on an engine")
    );
    for number in [long, spilled] {
        assert_eq!(ended(&world, number)["state"], "succeeded");
    }
    // It dies in the midst of a build, which the other one makes then.
    let cut = world.push("main", 9, "6\n");
    assert_eq!(world.at_work(cut), home);
    let dead = usize::from(home == "b");
    world.engines[dead].kill();
    let done = ended(&world, cut);
    assert_eq!((&done["state"], &done["engine"]), (&"succeeded".into(), &other.as_str().into()), "{done}");
    assert!(world.metrics().contains(&format!("slipway_engine_up{{engine=\"{home}\"}} 0")));
    let doctor = text(&world.server.try_cli(&["doctor"]).stdout);
    assert!(
        doctor.contains(&format!("FAIL engine {home}: "))
            && doctor.contains(&format!("ok   engine {other}: ")),
        "{doctor}"
    );
    let page = world.server.try_cli(&["build", "log", "app", &cut.to_string()]);
    assert!(text(&page.stdout).contains(&format!("engine {other}")), "{}", text(&page.stdout));
    // Back again: what it had of that build goes, and it has builds again.
    world.engines[dead].restart();
    eventually("the engine to be found", MINUTES, || {
        world.metrics().contains(&format!("slipway_engine_up{{engine=\"{home}\"}} 1")).then_some(())
    });
    eventually("what was left to be swept", MINUTES, || {
        let engine = &world.engines[dead];
        let names = engine.docker(&["images", "--format", "{{.Repository}}"]);
        (!names.contains("slipway/") && engine.docker(&["ps", "-aq"]).is_empty()).then_some(())
    });
    let last = world.push("main", 0, "7\n");
    assert_eq!(ended(&world, last)["engine"], home.as_str());
}
