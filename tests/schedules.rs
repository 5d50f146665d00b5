//! Builds that nobody pushes: at times, after base images that moved, and by hand with parameters. Needs the parts of tests/lab.

#[path = "harness/mod.rs"]
mod harness;

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use harness::{Person, Slipway, eventually, lab, text};
use serde_json::Value;

const MINUTES: Duration = Duration::from_secs(180);

/// A server whose schedules come to the minute.
fn server() -> (tempfile::TempDir, Slipway) {
    let folder = tempfile::tempdir().expect("temp");
    let data = folder.path().join("data");
    std::fs::create_dir_all(&data).expect("made");
    let limits =
        "[limits]\nschedule_spread = \"0s\"\nschedule_interval_min = \"1s\"\nrebuild_delay = \"1s\"\n";
    std::fs::write(data.join("config.toml"), limits).expect("written");
    let server = Slipway::start_in(&data, &[]);
    server.cli(&["registry", "add", "local", "--url", &lab().registry, "--insecure"]);
    (folder, server)
}

fn image(name: &str) -> String {
    format!("slipway-test-{name}-{}", std::process::id())
}

/// A bound repository with these files pushed.
fn app(server: &Slipway, ann: &Person, name: &str, files: &[(&str, &str)]) -> PathBuf {
    server.cli(&["repo", "create", name]);
    server.cli(&["bind", name, "--registry", "local", "--image", &image(name)]);
    let tree = ann.work_tree(name, files);
    ann.git(&tree, &["remote", "add", "origin", &ann.ssh_url(name)]);
    ann.git(&tree, &["push", "-q", "-o", "wait", "origin", "main"]);
    tree
}

fn builds(server: &Slipway, repo: &str) -> Vec<Value> {
    server.json(&["build", "list", repo]).as_array().expect("a list").clone()
}

/// Waits until so many builds are over.
fn over(server: &Slipway, repo: &str, count: usize) -> Vec<Value> {
    eventually(&format!("{count} builds of {repo}"), MINUTES, || {
        let all = builds(server, repo);
        (all.len() >= count && all.iter().all(|b| !b["ended"].is_null())).then_some(all)
    })
}

fn second_of_minute() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs() % 60
}

#[test]
fn a_time_starts_one_build_whatever_happens_to_the_server() {
    let (_folder, mut server) = server();
    let ann = server.person("ann", true);
    let on = "[on]\ncron = { cron = \"* * * * *\", name = \"often\" }\n";
    let files = [("Dockerfile", "FROM alpine:3.20\nCOPY a /a\n"), ("a", "1\n"), ("slipway.toml", on)];
    let tree = app(&server, &ann, "app", &files);
    let first = over(&server, "app", 1)[0].clone();
    assert_eq!(first["state"], "succeeded", "{first}");
    let row = eventually("the schedule is known", MINUTES, || {
        server.json(&["build", "schedule", "list", "app"])[0].as_object().cloned()
    });
    assert_eq!(
        (&row["name"], &row["when"], &row["tz"]),
        (&"often".into(), &"* * * * *".into(), &"UTC".into())
    );
    assert!(row["next"].as_u64().expect("a time") % 60_000 == 0, "{row:?}");
    // The time comes: built anew although it is the same content, and the same image comes of it.
    let all =
        eventually("the time comes", MINUTES, || Some(builds(&server, "app")).filter(|all| all.len() > 1));
    assert_eq!(all[0]["cause"]["name"], "often", "{}", all[0]);
    assert!(all[0]["why"].as_str().expect("words").starts_with("schedule often, for ann"), "{}", all[0]);
    // A crash in the midst of it starts nothing twice.
    server.crash_and_restart();
    let known = over(&server, "app", 2);
    let second = known.iter().find(|b| b["number"] == 2).expect("the second");
    assert_eq!(second["state"], "succeeded", "{second}");
    assert!(
        second["reuses"].is_null() && second["pushed"]["digest"] == first["pushed"]["digest"],
        "{second}"
    );
    let minute = |b: &Value| b["created"].as_u64().expect("a time") / 60_000;
    let mut minutes: Vec<u64> = known.iter().filter(|b| b["number"] != 1).map(minute).collect();
    let count = minutes.len();
    minutes.dedup();
    assert_eq!(minutes.len(), count, "two in one minute: {known:?}");
    // What comes while it is down comes once.
    server.crash();
    let before = known.len();
    std::thread::sleep(Duration::from_secs(125 - second_of_minute()));
    server.restart();
    let late = eventually("what was missed", MINUTES, || {
        Some(builds(&server, "app")).filter(|all| all.len() > before)
    });
    assert_eq!(late.len(), before + 1, "{late:?}");
    // The default branch's file decides.
    ann.commit(&tree, &[("slipway.toml", "[test]\n")], "No more");
    ann.git(&tree, &["push", "-q", "-o", "ci.skip", "origin", "main"]);
    eventually("nothing starts by itself", MINUTES, || {
        server.json(&["build", "schedule", "list", "app"]).as_array()?.is_empty().then_some(())
    });
}

#[test]
fn what_is_built_on_an_image_of_here_is_built_anew_when_that_moves() {
    let (_folder, server) = server();
    let ann = server.person("ann", true);
    let base = app(&server, &ann, "base", &[("Dockerfile", "FROM alpine:3.20\nCOPY v /v\n"), ("v", "1\n")]);
    let from = format!("FROM {}/{}\nRUN cat /v > /seen\n", lab().registry, image("base"));
    server.cli(&["bind", "base", "--registry", "local", "--image", &image("base")]);
    server.cli(&["repo", "create", "user"]);
    server.cli(&["bind", "user", "--registry", "local", "--image", &image("user"), "--may-pull", "base"]);
    let toml = "[build]\nrebuild = [\"base\", \"nightly\"]\n[test]\nshell = \"cat /seen\"\n";
    let tree = ann.work_tree("user", &[("Dockerfile", &from), ("slipway.toml", toml)]);
    ann.git(&tree, &["push", "-q", "-o", "wait", &ann.ssh_url("user"), "main"]);
    let first = over(&server, "user", 1)[0].clone();
    assert_eq!(first["state"], "succeeded", "{first}");
    let rows = eventually("both are known", MINUTES, || {
        let rows = server.json(&["build", "schedule", "list", "user"]);
        rows[1]["when"].as_str().is_some_and(|when| when.contains(&image("base"))).then_some(rows)
    });
    assert_eq!((&rows[0]["name"], &rows[1]["name"]), (&"nightly".into(), &"base".into()), "{rows}");
    // The same base again moves nothing.
    ann.commit(&base, &[("README.md", "words\n")], "Words");
    ann.git(&base, &["push", "-q", "-o", "wait", "origin", "main"]);
    // Another base does.
    ann.commit(&base, &[("v", "2\n")], "Second");
    ann.git(&base, &["push", "-q", "-o", "wait", "origin", "main"]);
    let all = over(&server, "user", 2);
    let newest = &all[0];
    assert_eq!(
        (&newest["cause"]["kind"], &newest["state"]),
        (&"base".into(), &"succeeded".into()),
        "{newest}"
    );
    assert_eq!((&newest["cause"]["build"], &newest["cause"]["depth"]), (&3.into(), &1.into()), "{newest}");
    assert!(newest["pushed"]["digest"] != first["pushed"]["digest"] && newest["commit"] == first["commit"]);
    let log = server.cli(&["build", "log", "user", "2"]);
    assert!(log.lines().any(|line| line.trim() == "2"), "the test saw the new base: {log}");
    // Once, and no more.
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(builds(&server, "user").len(), 2);
    let row = server.json(&["build", "schedule", "list", "user"])[1].clone();
    assert_eq!((&row["builds"][0], &row["next"]), (&2.into(), &Value::Null), "{row}");
}

#[test]
fn a_build_is_started_with_what_its_file_declares_and_nothing_else() {
    let (_folder, server) = server();
    let ann = server.person("ann", true);
    let toml = "[build.params.LEVEL]\nchoices = [\"debug\", \"release\"]\ndescription = \"How\"\n[build.params.WHO]\ndefault = \"world\"\n\
                [test]\nshell = \"echo seen=$LEVEL,$WHO image=$(cat /level)\"\n";
    let files =
        [("Dockerfile", "FROM alpine:3.20\nARG LEVEL\nRUN echo $LEVEL > /level\n"), ("slipway.toml", toml)];
    app(&server, &ann, "app", &files);
    let log = |number: &str| server.cli(&["build", "log", "app", number]);
    assert!(log("1").contains("seen=debug,world image=debug"), "{}", log("1"));
    let start = |params: &[&str]| {
        let mut all = vec!["build", "start", "app"];
        params.iter().for_each(|param| all.extend(["--param", param]));
        server.try_cli(&all)
    };
    let said = start(&["LEVEL=release", "WHO=a b=c"]);
    assert!(said.status.success(), "{}", text(&said.stderr));
    let second = server.build_ended("app", 2, MINUTES);
    assert_eq!(
        (&second["state"], &second["asked"]["params"]["WHO"]),
        (&"succeeded".into(), &"a b=c".into()),
        "{second}"
    );
    assert!(
        second["reuses"].is_null() && log("2").contains("seen=release,a b=c image=release"),
        "{}",
        log("2")
    );
    // What the Dockerfile does not ask for is part of what a build is known by: the test may.
    assert!(start(&["WHO=you"]).status.success());
    let third = server.build_ended("app", 3, MINUTES);
    assert!(third["reuses"].is_null() && log("3").contains("seen=debug,you"), "{third} {}", log("3"));
    // The same again is the same.
    assert!(start(&["WHO=you", "LEVEL=debug"]).status.success());
    assert_eq!(server.build_ended("app", 4, MINUTES)["reuses"], 3);
    // And a retry is what it was.
    server.cli(&["build", "retry", "app", "2"]);
    assert_eq!(server.build_ended("app", 5, MINUTES)["reuses"], 2);
    for (param, want) in [
        ("LEVLE=debug", "Did you mean LEVEL?"),
        ("LEVEL=fast", "Choose one of debug, release."),
        ("LEVEL", "it wants KEY=VALUE"),
    ] {
        let told = start(&[param]);
        assert!(
            !told.status.success() && text(&told.stderr).contains(want),
            "{param}: {}",
            text(&told.stderr)
        );
    }
    assert_eq!(builds(&server, "app").len(), 5);
}

#[test]
fn a_process_that_ran_out_of_memory_is_told_of_although_the_test_passed() {
    let (_folder, server) = server();
    let ann = server.person("ann", true);
    let toml = "[test]\nshell = \"tail /dev/zero || true; echo alive\"\nmemory = \"32MiB\"\n";
    app(&server, &ann, "app", &[("Dockerfile", "FROM alpine:3.20\n"), ("slipway.toml", toml)]);
    let build = server.build_ended("app", 1, MINUTES);
    assert_eq!((&build["state"], &build["test"]), (&"succeeded".into(), &"passed".into()), "{build}");
    let log = server.cli(&["build", "log", "app", "1"]);
    assert!(log.contains("alive") && log.contains("wanted more than its 33554432 bytes of memory"), "{log}");
}

#[test]
fn silence_ends_a_build_and_a_test_as_their_file_says() {
    let (_folder, server) = server();
    let ann = server.person("ann", true);
    for (name, dockerfile, toml, want) in [
        (
            "quiet-build",
            "FROM alpine:3.20\nRUN echo a; sleep 170\n",
            "[build]\nsilence = \"2s\"\n",
            "The image build said nothing for 2 s",
        ),
        (
            "quiet-test",
            "FROM alpine:3.20\n",
            "[test]\nshell = \"for i in 1 2 3 4; do echo $i; sleep 1; done; sleep 170\"\nsilence = \"2s\"\n",
            "The test said nothing for 2 s",
        ),
    ] {
        app(&server, &ann, name, &[("Dockerfile", dockerfile), ("slipway.toml", toml)]);
        let build = server.build_ended(name, 1, MINUTES);
        let told = build["failure"]["problem"]["what"].as_str().unwrap_or_default().to_owned();
        assert!(told.starts_with(want), "{name}: {told} {build}");
        if name == "quiet-test" {
            let log = server.cli(&["build", "log", name, "1"]);
            assert!(log.lines().any(|line| line.trim() == "4"), "each word begins the wait anew: {log}");
        }
    }
}
