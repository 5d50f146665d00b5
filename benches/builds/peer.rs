//! Beside BuildKit's own client on the same engine.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::harness::{eventually, run, text};
use crate::world::{World, percentile, small_files, timed};

const DOCKERFILE: &str = "FROM alpine:3.20\nCOPY src /src\nRUN cat /src/0/0.txt > /made\n";
const SPEC: &str = "[build]\npull = \"missing\"\nreuse = false\n[test]\nshell = \"test -s /made\"\n";
const AT_ONCE: usize = 16;

/// One build, one test, two tags pushed: by push, and by hand.
pub(crate) fn whole_run() {
    let world = World::start("");
    let tree = world.repo("app", &[("Dockerfile", DOCKERFILE), ("slipway.toml", SPEC)]);
    small_files(&tree, 200);
    world.ann.commit(&tree, &[], "files");
    let image = world.by_hand("app");
    for (what, changes) in [("nothing changed", false), ("one file changed", true)] {
        let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..10 {
            let change = |who: &str| {
                let content = if changes { format!("{what} {who} {round}\n") } else { "the same\n".into() };
                world.ann.commit(&tree, &[("src/0/0.txt", &content)], who);
            };
            change("push");
            let a = timed(|| world.push_and_wait(&tree));
            change("hand");
            let b = timed(|| by_hand(&tree, &image, Some("test -s /made")));
            // The first pair makes what is cached.
            if round > 0 {
                ours.push(a);
                theirs.push(b);
                ratios.push(a / b);
            }
        }
        let (a, b) = (percentile(&ours, 0.5), percentile(&theirs, 0.5));
        let ratio = percentile(&ratios, 0.5);
        println!(
            "{what}: git push -o wait {a:.0} ms, by hand {b:.0} ms; ratio of pairs {ratio:.2}; bound 1.0 × + 50 ms = {:.0} ms",
            b + 50.0
        );
    }
}

/// Cached builds of sixteen repositories at once, and as many clients by hand.
pub(crate) fn sixteen_at_once() {
    let world = World::start(&format!("[limits]\nbuilds_max = {AT_ONCE}\n"));
    let trees: Vec<_> = (0..AT_ONCE)
        .map(|n| {
            let spec = SPEC.split("[test]").next().unwrap_or_default();
            let tree = world.repo(&format!("app{n}"), &[("Dockerfile", DOCKERFILE), ("slipway.toml", spec)]);
            small_files(&tree, 200);
            world.ann.commit(&tree, &[], "files");
            world.push_and_wait(&tree);
            tree
        })
        .collect();
    let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..6 {
        let a = timed(|| {
            at_once(&trees, |tree, _| {
                world.ann.commit(tree, &[], "again");
                world.push_and_wait(tree);
            })
        });
        let b = timed(|| {
            at_once(&trees, |tree, n| {
                world.ann.commit(tree, &[], "again");
                by_hand(tree, &world.by_hand(&format!("app{n}")), None);
            })
        });
        if round > 0 {
            ours.push(a);
            theirs.push(b);
            ratios.push(b / a);
        }
    }
    println!(
        "{AT_ONCE} cached builds at once: {:.0} ms by push, {:.0} ms by as many clients; {:.0} % of their throughput (pairs; bound 95 %)",
        percentile(&ours, 0.5),
        percentile(&theirs, 0.5),
        percentile(&ratios, 0.5) * 100.0
    );
    eventually("quiet", Duration::from_secs(10), || Some(()));
}

fn at_once(trees: &[std::path::PathBuf], work: impl Fn(&Path, usize) + Sync) {
    std::thread::scope(|scope| {
        for (n, tree) in trees.iter().enumerate() {
            let work = &work;
            scope.spawn(move || work(tree, n));
        }
    });
}

fn by_hand(tree: &Path, image: &str, test: Option<&str>) {
    let sha = text(&run(Command::new("git").arg("-C").arg(tree).args(["rev-parse", "HEAD"])).stdout);
    let (tag, latest) = (format!("{image}:{}", sha.trim()), format!("{image}:latest"));
    let words = std::env::var("SLIPWAY_BUILDX").unwrap_or_else(|_| "docker buildx".into());
    let mut words = words.split_whitespace();
    let mut buildx = Command::new(words.next().expect("a program"));
    buildx.args(words).args(["build", "--provenance=false", "-q", "-t", &tag, "-t", &latest]).arg(tree);
    check(&mut buildx);
    if let Some(test) = test {
        check(Command::new("docker").args([
            "run",
            "--rm",
            "--network=none",
            "--init",
            &tag,
            "/bin/sh",
            "-ec",
            test,
        ]));
    }
    for name in [&tag, &latest] {
        check(Command::new("docker").args(["push", "-q", name]));
    }
}

fn check(command: &mut Command) {
    let done = run(command);
    assert!(done.status.success(), "{command:?}: {}", text(&done.stderr));
}
