//! How soon: a push's reply, the request to the engine, the same content, a line of a log.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::harness::eventually;
use crate::tap::Tap;
use crate::world::{World, percentile, small_files, timed};

const DOCKERFILE: &str = "FROM alpine:3.20\nCOPY src /src\n";
const FILES: usize = 2_000;
/// Lines that the measured log has, and how many come at once, every 10 ms: 10,000 a second.
const LINES: usize = 100_000;
const BURST: usize = 100;

/// What a build that is owed adds to the time of `git push`: pairs of a repository that is bound and one that is not.
pub(crate) fn push_reply() {
    let world = World::start("");
    let bound = world.repo("bound", &[("Dockerfile", DOCKERFILE), ("src/a", "a")]);
    let free = world.repo("free", &[("Dockerfile", DOCKERFILE), ("src/a", "a")]);
    world.server.cli(&["unbind", "free", "--registry"]);
    let push = |tree: &Path, name: &str| {
        world.ann.commit(tree, &[("notes", name)], "more");
        timed(|| drop(world.ann.git(tree, &["push", "-q", "origin", "main"])))
    };
    let (mut with, mut without, mut differences) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..41 {
        let name = round.to_string();
        let b = push(&free, &name);
        // Its build has ended before the next is measured.
        let a = push(&bound, &name);
        eventually("the build's end", Duration::from_secs(60), || {
            world.builds("bound").first().filter(|b| b["ended"].is_number()).map(drop)
        });
        if round > 0 {
            with.push(a);
            without.push(b);
            differences.push(a - b);
        }
    }
    println!(
        "git push over SSH: {:.1} ms with a build owed, {:.1} ms with none (medians of 40); pairs differ by {:.1} ms (median)",
        percentile(&with, 0.5),
        percentile(&without, 0.5),
        percentile(&differences, 0.5)
    );
}

/// From the event's record to the request at the engine.
pub(crate) fn first_byte() {
    let folder = tempfile::tempdir().expect("a folder");
    let tap = Tap::open(folder.path());
    let world = World::start(&format!("docker_host = \"{}\"\n", tap.host));
    let tree = world.repo("app", &[("Dockerfile", DOCKERFILE)]);
    small_files(&tree, FILES);
    world.ann.commit(&tree, &[], "files");
    world.push_and_wait(&tree);
    let mut waits = Vec::new();
    for round in 0..60 {
        world.ann.commit(&tree, &[("src/0/0.txt", &format!("round {round}\n"))], "more");
        tap.first();
        world.push_and_wait(&tree);
        let created = world.builds("app")[0]["created"].as_f64().expect("a time");
        waits.push(tap.first().expect("a request") - created);
    }
    println!(
        "refs moved → first byte of the engine's build request, {FILES} files, 60 pushes: p50 {:.0} ms, p99 {:.0} ms",
        percentile(&waits, 0.5),
        percentile(&waits, 0.99)
    );
}

/// Pushes whose image is there already.
pub(crate) fn same_content() {
    let world = World::start("");
    let files = [("Dockerfile", DOCKERFILE), (".dockerignore", "notes\n")];
    let tree = world.repo("app", &files);
    small_files(&tree, FILES);
    world.ann.commit(&tree, &[], "files");
    world.push_and_wait(&tree);
    let mut took = Vec::new();
    for round in 0..30 {
        world.ann.commit(&tree, &[("notes", &round.to_string())], "notes");
        world.push_and_wait(&tree);
        let build = &world.builds("app")[0];
        assert!(build["reuses"].is_number() || build["reuses"].is_object(), "it was built: {build}");
        took.push(build["ended"].as_f64().expect("a time") - build["created"].as_f64().expect("a time"));
    }
    println!(
        "same content, push → tags in the registry, 30 pushes: p50 {:.0} ms, p99 {:.0} ms",
        percentile(&took, 0.5),
        percentile(&took, 0.99)
    );
}

/// A test that prints, each burst after the machine's uptime, and a reader of the live page.
pub(crate) fn log_lines() {
    let world = World::start("");
    let script = format!(
        "n=0; while [ $n -lt {} ]; do read -r up rest < /proc/uptime; i=0; while [ $i -lt {BURST} ]; do echo \"at $up line of a log\"; \
         i=$((i+1)); done; n=$((n+1)); usleep 9000; done",
        LINES / BURST
    );
    let spec = format!("[test]\nshell = '''{script}'''\n");
    let tree = world.repo("app", &[("Dockerfile", "FROM alpine:3.20\n"), ("slipway.toml", &spec)]);
    world.ann.git(&tree, &["push", "-q", "origin", "main"]);
    eventually("the test", Duration::from_secs(60), || {
        let stages = world.builds("app").first()?["stages"].as_array().cloned()?;
        stages.iter().any(|s| s["stage"] == "test").then_some(())
    });
    let mut reader = Command::new("curl")
        .args(["-sN", "-u", &format!("ann:{}", world.ann.token)])
        .args(["-H", "Accept: text/event-stream"])
        .arg(format!("http://{}/app/builds/1/live", world.server.http))
        .stdout(Stdio::piped())
        .spawn()
        .expect("curl");
    let (mut waits, mut lines) = (Vec::new(), 0);
    for line in BufReader::new(reader.stdout.take().expect("stdout")).lines().map_while(Result::ok) {
        for part in line.split("at ").skip(1).filter(|part| part.contains("line of a log")) {
            let at: f64 = part.split(' ').next().and_then(|at| at.parse().ok()).unwrap_or(f64::NAN);
            waits.push((uptime() - at) * 1e3);
            lines += 1;
        }
        if lines >= LINES {
            break;
        }
    }
    drop((reader.kill(), reader.wait()));
    println!(
        "a line of the test → the reader of its live page, {lines} lines seen, the clock in steps of 10 ms: p50 {:.0} ms, p99 {:.0} ms",
        percentile(&waits, 0.5),
        percentile(&waits, 0.99)
    );
}

fn uptime() -> f64 {
    let text = std::fs::read_to_string("/proc/uptime").expect("uptime");
    text.split(' ').next().and_then(|at| at.parse().ok()).expect("a number")
}
