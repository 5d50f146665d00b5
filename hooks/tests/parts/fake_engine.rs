//! An engine made of recorded answers, for what a real one does not do on demand.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use slipway_core::Secret;
use slipway_core::run::FailureClass;
use slipway_hooks::{Engine, HookError, Hooks, Marks};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

use crate::world::World;

const VERSION: &str = r#"{"Version":"20.10.24","ApiVersion":"1.41","Os":"linux","Arch":"amd64"}"#;
const PODMAN: &str = r#"{"Version":"4.3.1","ApiVersion":"1.41","Os":"linux","Arch":"amd64","Components":[{"Name":"Podman Engine","Version":"4.3.1"}]}"#;
const DONE: &str = "{\"aux\":{\"ID\":\"sha256:abc\"}}\r\n{\"stream\":\"Successfully built abc\\n\"}\r\n";

/// How the answer to `POST /build` ends.
#[derive(Clone, Copy, PartialEq)]
enum Ending {
    /// As HTTP wants it.
    Whole,
    /// The connection breaks.
    Broken,
}

struct Script {
    version: &'static str,
    /// The answers to builds, in order: chunks and their end.
    builds: Mutex<Vec<(Vec<String>, Ending)>>,
    /// The request lines seen.
    asked: Mutex<Vec<String>>,
}

/// Serves until the test ends.
fn serve(folder: &Path, script: Arc<Script>) -> PathBuf {
    let socket = folder.join("engine.sock");
    let listener = UnixListener::bind(&socket).expect("socket");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, script.clone()));
        }
    });
    socket
}

async fn answer(mut stream: UnixStream, script: Arc<Script>) {
    let mut seen = Vec::new();
    let mut buffer = [0u8; 4096];
    while !seen.windows(4).any(|w| w == b"\r\n\r\n") {
        match stream.read(&mut buffer).await {
            Ok(n) if n > 0 => seen.extend_from_slice(&buffer[..n]),
            _ => return,
        }
    }
    let line = String::from_utf8_lossy(&seen).lines().next().unwrap_or_default().to_owned();
    script.asked.lock().expect("lock").push(line.clone());
    if line.contains("/version") {
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            script.version.len()
        );
        let _ = stream.write_all(format!("{head}{}", script.version).as_bytes()).await;
        return;
    }
    if !line.contains("/build") {
        let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").await;
        return;
    }
    let (chunks, ending) = script.builds.lock().expect("lock").remove(0);
    let _ = stream
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    for chunk in chunks {
        let _ = stream.write_all(format!("{:x}\r\n{chunk}\r\n", chunk.len()).as_bytes()).await;
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    if ending == Ending::Whole {
        let _ = stream.write_all(b"0\r\n\r\n").await;
        // The context is still coming: closing now would cut the answer off.
        while matches!(stream.read(&mut buffer).await, Ok(n) if n > 0) {}
    }
}

async fn build(
    version: &'static str,
    builds: Vec<(Vec<String>, Ending)>,
) -> (Result<String, HookError>, String, Vec<String>) {
    let folder = tempfile::tempdir().expect("folder");
    let script = Arc::new(Script { version, builds: Mutex::new(builds), asked: Mutex::default() });
    let socket = serve(folder.path(), script.clone());
    let world = World::with(&[("Dockerfile", "FROM x\n")], |marks| {
        let address = format!("unix://{}", socket.display());
        Hooks::new(Engine::connect(Some(&address)).expect("an address"), marks)
    })
    .await;
    let done = world.hooks.build_image(&world.job, &CancellationToken::new()).await.map(|built| built.id);
    let asked = script.asked.lock().expect("lock").clone();
    (done, world.log().await, asked)
}

fn whole(text: &str) -> Vec<(Vec<String>, Ending)> {
    vec![(vec![text.to_owned()], Ending::Whole)]
}

#[tokio::test]
async fn an_engine_that_refuses_sessions_is_asked_for_the_classic_builder() {
    let (done, log, asked) = build(VERSION, whole(DONE)).await;
    assert_eq!(done.expect("built"), "sha256:abc");
    assert!(log.contains("classic builder"), "{log}");
    assert!(asked.iter().any(|l| l.contains("/session")));
    let builds: Vec<_> = asked.iter().filter(|l| l.contains("/build")).collect();
    assert!(builds.len() == 1 && builds[0].contains("version=1"), "{builds:?}");
}

#[tokio::test]
async fn podman_is_not_asked_for_buildkit() {
    let (done, _, asked) = build(PODMAN, whole(DONE)).await;
    assert_eq!(done.expect("built"), "sha256:abc");
    assert!(!asked.iter().any(|l| l.contains("/session")), "{asked:?}");
}

#[tokio::test]
async fn an_error_inside_a_200_is_an_error() {
    let stream = "{\"stream\":\"Step 1/1 : FROM x\\n\"}\r\n{\"errorDetail\":{\"message\":\"The command '/bin/sh -c make' returned a non-zero code: 2\"},\"error\":\"…\"}\r\n";
    let (done, log, _) = build(PODMAN, whole(stream)).await;
    assert!(matches!(done, Err(HookError::Step { code: 2, .. })), "{done:?}");
    assert!(log.contains("Step 1/1"), "{log}");
}

#[tokio::test]
async fn an_answer_that_just_ends_is_no_image() {
    // The classic builder names an image after each stage: that is not the end either.
    for stream in ["{\"stream\":\"Step 1/2 : FROM x\\n\"}\r\n", "{\"aux\":{\"ID\":\"sha256:stage\"}}\r\n"] {
        let (done, _, _) = build(PODMAN, whole(stream)).await;
        let e = done.expect_err("no image");
        assert!(matches!(&e, HookError::EngineLost { .. }), "{e:?}");
        assert_eq!(e.class(), FailureClass::Infra);
    }
}

#[tokio::test]
async fn an_engine_that_dies_while_it_builds_is_tried_again_later() {
    let cut = vec![(vec!["{\"stream\":\"Step 1/2 : FROM x\\n\"}\r\n".to_owned()], Ending::Broken)];
    let (done, _, _) = build(PODMAN, cut).await;
    assert!(matches!(&done, Err(HookError::EngineLost { .. })), "{done:?}");
}

#[tokio::test]
async fn line_ends_that_come_late_do_not_hide_the_image() {
    let pieces =
        ["{\"aux\":{\"ID\":\"sha256:abc\"}}", "\r\n", "{\"stream\":\"Successfully built abc\\n\"}", "\r\n"];
    let (done, _, _) = build(PODMAN, vec![(pieces.map(str::to_owned).to_vec(), Ending::Whole)]).await;
    assert_eq!(done.expect("built"), "sha256:abc");
}

#[tokio::test]
async fn an_engine_that_is_not_there_says_how_to_cure_it() {
    let folder = tempfile::tempdir().expect("folder");
    let gone = folder.path().join("gone.sock");
    let refused = folder.path().join("refused.sock");
    drop(std::os::unix::net::UnixListener::bind(&refused).expect("socket"));
    for address in [
        format!("unix://{}", gone.display()),
        format!("unix://{}", refused.display()),
        "tcp://127.0.0.1:1".into(),
    ] {
        let hooks = Hooks::new(
            Engine::connect(Some(&address)).expect("an address"),
            Marks::new("", &Secret::new("")),
        );
        let e = hooks.check_engine().await.expect_err("nobody there");
        assert!(matches!(&e, HookError::EngineDown { .. }), "{address}: {e:?}");
        let problem = slipway_core::Problem::from(e);
        assert!(problem.what.contains(&address) && problem.cure.contains("DOCKER_HOST"), "{problem}");
    }
    assert!(matches!(Engine::connect(Some("ftp://x")), Err(HookError::EngineDown { .. })));
}
