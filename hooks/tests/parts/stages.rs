//! Build and test on the real engine.

use std::time::{Duration, Instant};

use slipway_core::build::TestVerdict;
use slipway_core::run::{Failure, FailureClass};
use slipway_hooks::HookError;
use tokio_util::sync::CancellationToken;

use crate::lab;
use crate::world::World;

fn never() -> CancellationToken {
    CancellationToken::new()
}

async fn build_failure(files: &[(&str, &str)]) -> (HookError, String) {
    let world = World::new(files).await;
    let done = world.hooks.build_image(&world.job, &never()).await.map(|built| built.id);
    let log = world.log().await;
    world.hooks.finish(&world.job).await.expect("cleaned");
    (done.expect_err("the build fails"), log)
}

/// Builds with that slipway.toml and tests; what came of the test, the log, and how long the test took.
async fn test(toml: &str, more: &[(&str, &str)]) -> (Result<TestVerdict, HookError>, String, Duration) {
    let mut files = vec![("slipway.toml", toml)];
    if !more.iter().any(|(path, _)| *path == "Dockerfile") {
        files.push(("Dockerfile", "FROM alpine:3.20\nENTRYPOINT [\"/bin/false\"]\n"));
    }
    files.extend(more);
    let world = World::new(&files).await;
    let image = world.hooks.build_image(&world.job, &never()).await.map(|built| built.id).expect("built");
    let begun = Instant::now();
    let done = world.hooks.test_image(&world.job, &image, &never()).await;
    let took = begun.elapsed();
    let log = world.log().await;
    assert_eq!(world.containers(), "", "no container is left");
    world.hooks.finish(&world.job).await.expect("cleaned");
    assert_eq!(world.images(), "", "no image is left");
    (done, log, took)
}

#[tokio::test]
async fn the_engine_says_who_it_is() {
    let world = World::new(&[("a", "a")]).await;
    let version = world.hooks.check_engine().await.expect("an engine");
    assert!(version.api.starts_with("1.") && version.buildkit, "{version}");
}

#[tokio::test]
async fn a_commit_is_built_as_it_is() {
    let test = "set -e\ntest ! -e /app/secret.txt\ntest ! -e /app/.dockerignore\ntest -x /app/run.sh\ntest ! -x /app/data\n\
                test \"$(readlink /app/link)\" = ../up\ntest \"$(cat /built)\" = given\necho all is well\n";
    let world = World::new(&[
        ("Dockerfile", "FROM alpine:3.20\nARG WORD\nCOPY . /app\nRUN echo $WORD > /built && echo saying top-secret-word\n"),
        (".dockerignore", "secret.txt\n.dockerignore\n"),
        ("slipway.toml", "[build]\nargs = { WORD = \"given\" }\n[test]\nrun = [\"/bin/sh\", \"/app/test.sh\"]\n"),
        ("secret.txt", "no"),
        ("data", "data"),
        ("+run.sh", "#!/bin/sh\n"),
        ("link -> ../up", ""),
        ("test.sh", test),
    ])
    .await;
    let prepared = world.hooks.prepare(&world.job).await.expect("prepared");
    assert!(prepared.targets.is_empty());
    let image = world.hooks.build_image(&world.job, &never()).await.map(|built| built.id).expect("built");
    assert!(image.starts_with("sha256:"), "{image}");
    let labels = lab::docker(&["inspect", "-f", "{{json .Config.Labels}} {{.RepoTags}}", &image]);
    assert!(
        labels.contains("slipway.origin") && labels.contains("[slipway/hkt") && labels.contains(":b1.1-"),
        "{labels}"
    );
    let verdict = world.hooks.test_image(&world.job, &image, &never()).await.expect("passes");
    assert_eq!(verdict, TestVerdict::Passed);
    let log = world.log().await;
    for words in [
        "== clone repository",
        "== build image",
        "RUN echo",
        "saying ***",
        "context: ",
        "2 files ignored; sent ",
        "== test image",
        "all is well",
        "test passed",
    ] {
        assert!(log.contains(words), "{words:?} is missing in:\n{log}");
    }
    assert!(!log.contains("top-secret-word"), "{log}");
    world.hooks.finish(&world.job).await.expect("cleaned");
    assert_eq!(world.images(), "");
}

#[tokio::test]
async fn a_second_build_of_the_same_commit_comes_from_the_cache() {
    let world = World::new(&[("Dockerfile", "FROM alpine:3.20\nRUN date > /at\n")]).await;
    let first = world.hooks.build_image(&world.job, &never()).await.map(|built| built.id).expect("built");
    let again =
        world.hooks.build_image(&world.job, &never()).await.map(|built| built.id).expect("built again");
    assert_eq!(first, again);
    assert!(world.log().await.contains("CACHED"));
    world.hooks.finish(&world.job).await.expect("cleaned");
}

#[tokio::test]
async fn a_context_folder_and_a_dockerfile_elsewhere_work() {
    let world = World::new(&[
        (
            "slipway.toml",
            "[build]\ncontext = \"app\"\ndockerfile = \"docker/Dockerfile\"\ntarget = \"one\"\n",
        ),
        ("docker/Dockerfile", "FROM alpine:3.20 AS one\nCOPY a /\nFROM one\nRUN false\n"),
        ("app/a", "a"),
    ])
    .await;
    world.hooks.prepare(&world.job).await.expect("prepared");
    world.hooks.build_image(&world.job, &never()).await.map(|built| built.id).expect("built");
    world.hooks.finish(&world.job).await.expect("cleaned");
}

#[tokio::test]
async fn what_a_dockerfile_gets_wrong_is_said_clearly() {
    let (e, _) = build_failure(&[("Dockerfile", "FROM alpine:3.20\nFRM x\n")]).await;
    assert!(matches!(&e, HookError::Dockerfile { line: Some(2), .. }), "{e:?}");
    let (e, _) = build_failure(&[("Dockerfile", "FROM alpine:3.20\nCOPY gone.txt /\n")]).await;
    assert!(matches!(&e, HookError::CopySource { path } if path == "gone.txt"), "{e:?}");
    let (e, log) =
        build_failure(&[("Dockerfile", "FROM alpine:3.20\nRUN echo last words && exit 7\n")]).await;
    assert!(
        matches!(&e, HookError::Step { code: 7, command } if command == "echo last words && exit 7"),
        "{e:?}"
    );
    assert!(log.contains("last words"), "{log}");
    let nope = format!("{}/hkt/nope:1", lab::registry());
    let (e, _) = build_failure(&[("Dockerfile", &format!("FROM {nope}\n"))]).await;
    assert!(matches!(&e, HookError::BaseImage { image, .. } if *image == nope), "{e:?}");
    let (e, _) = build_failure(&[("Dockerfile", "FROM 127.0.0.1:1/x:1\n")]).await;
    assert_eq!(e.class(), FailureClass::Infra, "{e:?}");
    let toml = "[build]\ntarget = \"prod\"\n";
    let (e, _) = build_failure(&[("Dockerfile", "FROM alpine:3.20\n"), ("slipway.toml", toml)]).await;
    assert!(matches!(&e, HookError::NoStage { stage } if stage == "prod"), "{e:?}");
}

#[tokio::test]
async fn what_is_missing_is_said_before_the_engine_is_asked() {
    let world = World::new(&[("a", "a")]).await;
    let e = world.hooks.prepare(&world.job).await.expect_err("no Dockerfile");
    assert!(matches!(e, HookError::NoDockerfile { .. }), "{e:?}");
    let world =
        World::new(&[("Dockerfile", "FROM x"), ("slipway.toml", "[build]\ncontext = \"gone\"\n")]).await;
    let e = world.hooks.prepare(&world.job).await.expect_err("no context");
    assert!(matches!(e, HookError::NoContext { .. }), "{e:?}");
    let world = World::new(&[("Dockerfile", "FROM x"), ("slipway.toml", "[biuld]\n")]).await;
    let e = world.hooks.prepare(&world.job).await.expect_err("a typo");
    assert!(matches!(e, HookError::Spec(_)), "{e:?}");
}

#[tokio::test]
async fn a_hanging_build_ends_at_its_time_limit() {
    let (e, _) = build_failure(&[
        ("Dockerfile", "FROM alpine:3.20\nRUN sleep 31536001\n"),
        ("slipway.toml", "[build]\ntimeout = \"3s\"\n"),
    ])
    .await;
    assert!(matches!(&e, HookError::TimedOut { setting: Some("build.timeout"), .. }), "{e:?}");
    assert_gone("31536001").await;
}

#[tokio::test]
async fn a_cancelled_build_stops_in_the_engine_too() {
    let world = World::new(&[("Dockerfile", "FROM alpine:3.20\nRUN echo begun && sleep 31536002\n")]).await;
    let stop = never();
    let canceller = async {
        while !world.log().await.contains("begun\n") {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        stop.cancel();
        Instant::now()
    };
    let (done, cancelled) = tokio::join!(world.hooks.build_image(&world.job, &stop), canceller);
    assert!(done.expect_err("stopped").is_stopped());
    assert!(cancelled.elapsed() < Duration::from_secs(2), "{:?}", cancelled.elapsed());
    assert_gone("31536002").await;
}

/// No process with that word in its arguments is left on this machine.
async fn assert_gone(word: &str) {
    let begun = Instant::now();
    loop {
        let left = std::fs::read_dir("/proc").expect("proc").flatten().any(|entry| {
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).replace('\0', " ").contains(&format!("sleep {word}"))
        });
        if !left {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(5), "sleep {word} still runs");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn no_session_stays_open_after_a_build() {
    let world = World::new(&[("Dockerfile", "FROM alpine:3.20\n")]).await;
    let sockets = || {
        let fds = std::fs::read_dir("/proc/self/fd").expect("fds").flatten();
        fds.filter(|fd| {
            std::fs::read_link(fd.path()).is_ok_and(|to| to.display().to_string().starts_with("socket:"))
        })
        .count()
    };
    world.hooks.build_image(&world.job, &never()).await.map(|built| built.id).expect("built");
    tokio::time::sleep(Duration::from_millis(300)).await;
    let before = sockets();
    for _ in 0..5 {
        world.hooks.build_image(&world.job, &never()).await.map(|built| built.id).expect("built");
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    // Other tests run beside this one where they share the process; each build would leave one.
    assert!(sockets() < before + 5, "{} sockets, {before} before", sockets());
    world.hooks.finish(&world.job).await.expect("cleaned");
}

#[tokio::test]
async fn a_test_that_fails_is_told_with_its_code() {
    let (done, log, _) = test("[test]\nshell = \"echo out; echo err >&2; exit 3\"\n", &[]).await;
    let e = done.expect_err("fails");
    assert!(matches!(&e, HookError::TestFailed { code: 3, .. }), "{e:?}");
    assert_eq!(e.class(), FailureClass::User);
    assert!(log.contains("out\n") && log.contains("err\n"), "{log}");
}

#[tokio::test]
async fn no_test_is_no_failure() {
    let (done, log, _) = test("", &[]).await;
    assert_eq!(done.expect("none"), TestVerdict::None);
    assert!(log.contains("no test is declared"), "{log}");
}

#[tokio::test]
async fn a_hanging_test_is_killed() {
    let (done, log, took) = test("[test]\nrun = [\"/bin/sh\", \"-c\", \"echo waiting; trap '' TERM; while :; do sleep 1; done\"]\ntimeout = \"2s\"\n", &[]).await;
    let e = done.expect_err("killed");
    assert!(matches!(&e, HookError::TimedOut { setting: Some("test.timeout"), .. }), "{e:?}");
    assert!(took < Duration::from_secs(12), "{took:?}");
    assert!(log.contains("waiting"), "{log}");
}

#[tokio::test]
async fn a_cancelled_test_leaves_no_container() {
    let world = World::new(&[
        ("Dockerfile", "FROM alpine:3.20\n"),
        ("slipway.toml", "[test]\nshell = \"echo begun; sleep 31536003\"\n"),
    ])
    .await;
    let image = world.hooks.build_image(&world.job, &never()).await.map(|built| built.id).expect("built");
    let stop = never();
    let canceller = async {
        while !world.log().await.contains("\nbegun\n") {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        stop.cancel();
    };
    let (done, ()) = tokio::join!(world.hooks.test_image(&world.job, &image, &stop), canceller);
    assert!(done.expect_err("stopped").is_stopped());
    assert_eq!(world.containers(), "");
    world.hooks.finish(&world.job).await.expect("cleaned");
}

#[tokio::test]
async fn a_dropped_test_leaves_no_container() {
    let world = World::new(&[
        ("Dockerfile", "FROM alpine:3.20\n"),
        ("slipway.toml", "[test]\nshell = \"sleep 31536004\"\n"),
    ])
    .await;
    let image = world.hooks.build_image(&world.job, &never()).await.map(|built| built.id).expect("built");
    let stop = never();
    let test = world.hooks.test_image(&world.job, &image, &stop);
    assert!(tokio::time::timeout(Duration::from_secs(3), test).await.is_err(), "still running");
    let begun = Instant::now();
    while !world.containers().is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(10), "the container is left");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    world.hooks.finish(&world.job).await.expect("cleaned");
}

#[tokio::test]
async fn a_test_that_needs_too_much_memory_is_told_so() {
    let (done, _, _) = test("[test]\nrun = [\"tail\", \"/dev/zero\"]\nmemory = \"16MiB\"\n", &[]).await;
    let e = done.expect_err("killed");
    // Where the machine is busy the engine sometimes hears of the exit first, and not of its reason.
    assert!(
        matches!(
            &e,
            HookError::TestOutOfMemory { memory_bytes, .. } | HookError::TestKilled { memory_bytes, .. }
                if *memory_bytes == 16 << 20
        ),
        "{e:?}"
    );
}

#[tokio::test]
async fn a_test_that_something_killed_is_told_of_its_memory_too() {
    let (done, _, _) = test("[test]\nshell = \"kill -9 $$\"\nmemory = \"16MiB\"\n", &[]).await;
    let problem = Failure::from(done.expect_err("killed")).problem;
    assert_eq!(problem.what, "The test `kill -9 $$` was killed (exit code 137).");
    assert!(problem.cure.contains("here 16 MiB: raise test.memory"), "{problem:?}");
}

#[tokio::test]
async fn a_program_that_is_not_in_the_image_is_the_users_mistake() {
    let (done, _, _) = test("[test]\nrun = [\"/no/such/program\", \"x\"]\n", &[]).await;
    let e = done.expect_err("cannot start");
    assert!(matches!(&e, HookError::TestNotStarted { .. }), "{e:?}");
    assert_eq!(e.class(), FailureClass::User);
}

#[tokio::test]
async fn a_test_is_alone_and_without_rights() {
    let shell = "test $(ls /sys/class/net | wc -l) = 1 && ! chown nobody /bin && grep -q 'NoNewPrivs:.1' /proc/self/status && grep -q 'CapEff:.0000000000000000' /proc/self/status";
    let (done, log, _) = test(&format!("[test]\nshell = \"{shell}\"\n"), &[]).await;
    assert_eq!(done.unwrap_or_else(|e| panic!("{e}: {log}")), TestVerdict::Passed);
}

#[tokio::test]
async fn a_stage_can_be_the_test() {
    let dockerfile = "FROM alpine:3.20 AS test\nARG CODE\nRUN exit $CODE\nFROM alpine:3.20\n";
    let toml = |code: u8| format!("[build]\nargs = {{ CODE = \"{code}\" }}\n[test]\ntarget = \"test\"\n");
    let (done, _, _) = test(&toml(0), &[("Dockerfile", dockerfile)]).await;
    assert_eq!(done.expect("passes"), TestVerdict::Passed);
    let (done, _, _) = test(&toml(4), &[("Dockerfile", dockerfile)]).await;
    let e = done.expect_err("fails");
    assert!(matches!(&e, HookError::Step { code: 4, .. }), "{e:?}");
}
