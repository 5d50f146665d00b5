//! Who builds next, on a real engine: repositories take turns, and the newest commit of a branch takes the place of what runs.
//! Needs the parts of tests/lab.

#[path = "harness/mod.rs"]
mod harness;

use std::time::{Duration, Instant};

use harness::{Lab, Person, Slipway, eventually, lab};

const MINUTES: Duration = Duration::from_secs(180);

fn bound(lab: &Lab, server: &Slipway, name: &str) {
    if !server.cli(&["registry", "list"]).contains("local") {
        server.cli(&["registry", "add", "local", "--url", &lab.registry, "--insecure"]);
    }
    let image = format!("slipway-test-queue-{name}-{}", std::process::id());
    server.cli(&["repo", "create", name]);
    server.cli(&["bind", name, "--registry", "local", "--image", &image]);
}

/// When each build was queued and began, of those that have begun.
fn begun(server: &Slipway, repo: &str) -> Vec<(u64, u64)> {
    let builds = server.json(&["build", "list", repo]);
    let times = |build: &serde_json::Value| Some((build["created"].as_u64()?, build["started"].as_u64()?));
    builds.as_array().expect("a list").iter().filter_map(times).collect()
}

#[test]
fn fifty_builds_of_one_repository_keep_another_waiting_for_one_place_alone() {
    let lab = lab();
    let (server, dockerfile) = (Slipway::start(), "FROM alpine:3.20\nCOPY a /a\nRUN sleep 2\n");
    let ann: Person = server.person("ann", true);
    ["many", "one"].iter().for_each(|name| bound(&lab, &server, name));
    let all = "[build.on]\nbranches = [\"**\"]\n";
    let tree = ann.work_tree("tree", &[("a", "1\n"), ("Dockerfile", dockerfile), ("slipway.toml", all)]);
    let specs: Vec<String> = (0..50).map(|n| format!("HEAD:refs/heads/b{n}")).collect();
    let url = ann.ssh_url("many");
    let mut push = vec!["push", "-q", url.as_str()];
    push.extend(specs.iter().map(String::as_str));
    ann.git(&tree, &push);
    ann.git(&tree, &["push", "-q", &ann.ssh_url("one"), "HEAD:main"]);
    let find = || begun(&server, "one").first().copied();
    let (queued, at) = eventually("the other's build begins", MINUTES, find);
    let many = begun(&server, "many");
    let between = many.iter().filter(|(_, of_many)| (queued + 1..at).contains(of_many)).count();
    assert!(between <= 1, "{between} of the first had places that the other waited for: {many:?}");
}

#[test]
fn a_newer_commit_takes_the_place_of_a_build_that_runs() {
    let lab = lab();
    let server = Slipway::start();
    let ann = server.person("ann", true);
    bound(&lab, &server, "app");
    let tree = ann.work_tree("tree", &[("Dockerfile", "FROM alpine:3.20\nRUN sleep 170\n")]);
    ann.git(&tree, &["push", "-q", &ann.ssh_url("app"), "main"]);
    eventually("the engine is at it", MINUTES, || {
        let build = server.json(&["build", "show", "app", "1"]);
        (build["stage"] == "build" && build["state"] == "running").then_some(())
    });
    let begun = Instant::now();
    ann.commit(&tree, &[("Dockerfile", "FROM alpine:3.20\nRUN true\n")], "Faster");
    let told = ann.git(&tree, &["push", "-o", "wait", &ann.ssh_url("app"), "main"]);
    assert!(told.contains("verdict: all done"), "{told}");
    assert!(begun.elapsed() < Duration::from_secs(120), "it waited for the older one");
    assert_eq!(server.json(&["build", "show", "app", "1"])["state"], "superseded");
    assert!(server.cli(&["build", "wait", "app", "2"]).contains("succeeded"));
}

#[test]
fn images_of_one_commit_are_built_at_the_same_time_as_far_as_places_allow() {
    let lab = lab();
    for (limits, together) in [("builds_max = 4", true), ("builds_max = 4\nbuilds_per_repo_max = 1", false)] {
        let folder = tempfile::tempdir().expect("temp");
        let data = folder.path().join("data");
        std::fs::create_dir_all(&data).expect("made");
        std::fs::write(data.join("config.toml"), format!("[limits]\n{limits}\n")).expect("written");
        let server = Slipway::start_in(&data, &[]);
        let ann = server.person("ann", true);
        bound(&lab, &server, "parts");
        let dockerfile =
            "FROM alpine:3.20\nARG N\nARG SLIPWAY_BUILD_URL\nRUN echo $N $SLIPWAY_BUILD_URL; sleep 3\n";
        let toml = "[[image]]\nname = \"a\"\n[image.matrix]\nN = [\"1\", \"2\", \"3\"]\nexclude = [{ N = \"2\" }]\n\
                    [[image]]\nname = \"b\"\nargs = { N = \"4\" }\n";
        let tree = ann.work_tree("tree", &[("Dockerfile", dockerfile), ("slipway.toml", toml)]);
        let told = ann.git(&tree, &["push", "-o", "wait", &ann.ssh_url("parts"), "main"]);
        assert!(told.contains("verdict: all done"), "{told}");
        let builds = server.json(&["build", "list", "parts"]);
        let mut spans: Vec<(u64, u64, String)> = builds
            .as_array()
            .expect("a list")
            .iter()
            .map(|b| {
                let at = |key: &str| b[key].as_u64().expect("a time");
                (at("started"), at("ended"), b["part"].as_str().expect("a part").to_owned())
            })
            .collect();
        spans.sort();
        let mut parts: Vec<&str> = spans.iter().map(|(_, _, part)| part.as_str()).collect();
        parts.sort_unstable();
        assert_eq!(parts, ["a/1", "a/3", "b"], "{builds}");
        let all_at_once = spans[2].0 < spans[0].1;
        let one_by_one = spans.windows(2).all(|two| two[0].1 <= two[1].0);
        assert_eq!((all_at_once, one_by_one), (together, !together), "{limits}: {spans:?}");
    }
}
