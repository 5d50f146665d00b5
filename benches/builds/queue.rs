//! The queue: what waiting costs, whose turn it is, and what a crash leaves.

use std::time::{Duration, Instant};

use crate::harness::eventually;
use crate::world::{World, percentile};

const DOCKERFILE: &str = "FROM alpine:3.20\nARG AT\nRUN echo $AT; sleep 1\n";
const EVERY: &str =
    "[build]\nreuse = false\nargs = { AT = \"{branch} {sha}\" }\non = { branches = [\"**\"] }\n";

/// Memory with a hundred builds queued.
pub(crate) fn hundred_waiting() {
    let world = World::start("[limits]\nbuilds_max = 1\n");
    let tree = world.repo("app", &[("Dockerfile", DOCKERFILE), ("slipway.toml", EVERY)]);
    world.push_and_wait(&tree);
    let before = world.server.resident_mib(false);
    branches(&world, &tree, 100);
    eventually("the queue", Duration::from_secs(30), || (world.builds("app").len() >= 100).then_some(()));
    std::thread::sleep(Duration::from_secs(2));
    println!(
        "100 builds queued: {} MiB resident, {before} MiB before (bound 60 MB)",
        world.server.resident_mib(false)
    );
}

/// How long another repository waits behind fifty queued builds of one.
pub(crate) fn another_repository() {
    let world = World::start("[limits]\nbuilds_max = 2\n");
    let busy = world.repo("busy", &[("Dockerfile", DOCKERFILE), ("slipway.toml", EVERY)]);
    let other = world.repo("other", &[("Dockerfile", DOCKERFILE), ("slipway.toml", EVERY)]);
    world.push_and_wait(&busy);
    branches(&world, &busy, 50);
    let begun = Instant::now();
    world.ann.git(&other, &["push", "-q", "origin", "main"]);
    eventually("the other's turn", Duration::from_secs(120), || {
        world
            .builds("other")
            .first()
            .filter(|b| b["stages"].as_array().is_some_and(|s| !s.is_empty()))
            .map(drop)
    });
    let ended = world.builds("busy").iter().filter(|b| b["ended"].is_number()).count();
    println!(
        "another repository behind 50 queued builds (each above 1 s, two at once): begun {:.1} s after its push, with {ended} of the 51 over",
        begun.elapsed().as_secs_f64()
    );
}

/// `kill -9` while the image is built; from the restart's first answer to a build that is at work again, and its end.
pub(crate) fn killed() {
    let (mut again, mut over) = (Vec::new(), Vec::new());
    let mut world = World::start("");
    let tree = world.repo("app", &[("Dockerfile", DOCKERFILE), ("slipway.toml", EVERY)]);
    world.push_and_wait(&tree);
    for round in 0..10 {
        world.ann.commit(&tree, &[("round", &round.to_string())], "more");
        world.ann.git(&tree, &["push", "-q", "origin", "main"]);
        std::thread::sleep(Duration::from_millis(300 + 60 * round));
        world.server.crash();
        let begun = Instant::now();
        world.server.restart();
        eventually("work", Duration::from_secs(60), || {
            let build = world.builds("app").into_iter().next()?;
            (build["state"] != "waiting" && build["state"] != "queued").then_some(())
        });
        again.push(begun.elapsed().as_secs_f64() * 1e3);
        let build = world.server.build_ended("app", 2 + round, Duration::from_secs(60));
        over.push(begun.elapsed().as_secs_f64() * 1e3);
        assert_eq!(build["state"], "succeeded", "{build}");
    }
    println!(
        "kill -9 in a build whose step takes 1 s, 10 times: start → at work again {:.0} ms, over {:.0} ms (medians), {:.0} ms at most",
        percentile(&again, 0.5),
        percentile(&over, 0.5),
        percentile(&over, 1.0)
    );
}

fn branches(world: &World, tree: &std::path::Path, count: usize) {
    let mut specs = Vec::new();
    for n in 0..count {
        world.ann.git(tree, &["commit", "-q", "--allow-empty", "-m", &format!("branch {n}")]);
        let name = format!("refs/heads/b{n}");
        world.ann.git(tree, &["update-ref", &name, "HEAD"]);
        specs.push(format!("{name}:{name}"));
    }
    let mut args = vec!["push", "-q", "origin"];
    args.extend(specs.iter().map(String::as_str));
    world.ann.git(tree, &args);
}
