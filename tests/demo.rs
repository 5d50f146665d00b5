//! `slipway demo`: the whole loop in one command. Needs the parts of tests/lab.

#[path = "harness/mod.rs"]
mod harness;

use std::process::Command;

use harness::{lab, run, text};

#[test]
fn the_demo_shows_the_whole_loop() {
    let lab = lab();
    let demo = run(Command::new(env!("CARGO_BIN_EXE_slipway"))
        .args(["demo", "--once", "--http", "127.0.0.1:0", "--ssh", "127.0.0.1:0"])
        .env("KUBECONFIG", &lab.kubeconfig)
        .env("SLIPWAY_TEST_REGISTRY", &lab.registry)
        .env_remove("SLIPWAY_DATA"));
    let said = text(&demo.stdout);
    let left = lab.kubectl(&["-n", "default", "get", "deployments,services", "-o", "name"]);
    assert!(demo.status.success(), "{said}\n{}", text(&demo.stderr));
    for part in [
        "build 1 → http",
        "the page says hello",
        "push image",
        "Deployment slipway-demo",
        "verdict: all done",
    ] {
        assert!(said.contains(part), "no {part:?} in\n{said}");
    }
    assert!(!left.contains("slipway-demo"), "the demo leaves nothing behind: {left}");
}

#[test]
fn without_parts_the_demo_says_what_is_missing_and_goes_on() {
    let demo = run(Command::new(env!("CARGO_BIN_EXE_slipway"))
        .args(["demo", "--once", "--http", "127.0.0.1:0", "--ssh", "127.0.0.1:0"])
        .env("DOCKER_HOST", "unix:///nonexistent/docker.sock")
        .env("SLIPWAY_TEST_REGISTRY", "127.0.0.1:9")
        .env("KUBECONFIG", "/nonexistent")
        .env_remove("SLIPWAY_DATA"));
    let said = text(&demo.stdout);
    for part in [
        "no Docker Engine answers",
        "no registry answers at 127.0.0.1:9",
        "no cluster is named",
        "git push ssh://dev@",
    ] {
        assert!(said.contains(part), "no {part:?} in\n{said}");
    }
    assert!(!said.contains("it stopped:"), "{said}");
}
