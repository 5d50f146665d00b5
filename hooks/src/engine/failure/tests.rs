//! What engines say, and what it is taken for.

use super::*;
use slipway_core::run::FailureClass;

fn read_at(message: &str, step: &'static str) -> HookError {
    read(
        message,
        Known { step: (!step.is_empty()).then_some(step), target: "test", dockerfile: "Dockerfile" },
    )
}

#[test]
fn a_syntax_error_has_its_line() {
    for message in [
        "failed to solve with frontend dockerfile.v0: failed to create LLB definition: dockerfile parse error line 2: unknown instruction: FRM",
        "dockerfile parse error on line 2: unknown instruction: FRM",
        "Dockerfile parse error line 2: unknown instruction: FRM",
    ] {
        match read_at(message, "") {
            HookError::Dockerfile { line: Some(2), message } => {
                assert_eq!(message, "unknown instruction: FRM")
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_run_step_has_its_command_and_code() {
    for (message, step) in [
        ("executor failed running [/bin/sh -c exit 3]: exit code: 3", "[2/2] RUN exit 3"),
        ("failed to solve: process \"/bin/sh -c exit 3\" did not complete successfully: exit code: 3", ""),
        ("The command '/bin/sh -c exit 3' returned a non-zero code: 3", ""),
        ("building at STEP \"RUN exit 3\": while running runtime: exit status 3", ""),
        (
            "executor failed running [x]: exit code: 3",
            "[2/2] RUN --mount=type=secret,id=tok  --network=none exit 3",
        ),
    ] {
        match read_at(message, step) {
            HookError::Step { command, code: 3 } => assert_eq!(command, "exit 3"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_missing_copy_source_is_named() {
    for (message, step) in [
        ("failed to compute cache key: \"/gone.txt\" not found: not found", "[2/2] COPY gone.txt /"),
        (
            "failed to solve: failed to compute cache key: failed to calculate checksum of ref a::b: \"/gone.txt\": not found",
            "[2/2] COPY gone.txt /",
        ),
        (
            "COPY failed: file not found in build context or excluded by .dockerignore: stat gone.txt: file does not exist",
            "",
        ),
        (
            "building at STEP \"COPY gone.txt /\": checking on sources under \"/var/tmp/x/build\": copier: stat: \"/gone.txt\": no such file or directory",
            "",
        ),
        (
            "failed to walk /var/lib/docker/tmp/x: lstat x: no such file or directory",
            "[2/2] COPY --chown=1 gone.txt /",
        ),
    ] {
        match read_at(message, step) {
            HookError::CopySource { path } => assert_eq!(path, "gone.txt", "{message}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn an_absent_base_is_the_users_and_an_unreachable_one_is_tried_again() {
    let metadata = "[internal] load metadata for 127.0.0.1:5000/nope:1";
    for (message, step, class) in [
        (
            "failed to solve with frontend dockerfile.v0: failed to create LLB definition: 127.0.0.1:5000/nope:1: not found",
            metadata,
            FailureClass::User,
        ),
        (
            "pull access denied for nope, repository does not exist or may require 'docker login'",
            "",
            FailureClass::User,
        ),
        (
            "manifest for 127.0.0.1:5000/nope:1 not found: manifest unknown: manifest unknown",
            "",
            FailureClass::User,
        ),
        (
            "failed to do request: Head \"https://registry-1.docker.io/v2/library/x/manifests/1\": dial tcp: lookup registry-1.docker.io: no such host",
            metadata,
            FailureClass::Infra,
        ),
        (
            "Get \"http://127.0.0.1:1/v2/\": dial tcp 127.0.0.1:1: connect: connection refused",
            "",
            FailureClass::Infra,
        ),
        (
            "creating build container: initializing source docker://127.0.0.1:1/nope:1: pinging container registry 127.0.0.1:1: Get \"https://127.0.0.1:1/v2/\": dial tcp 127.0.0.1:1: connect: connection refused",
            "",
            FailureClass::Infra,
        ),
        (
            "creating build container: initializing source docker://127.0.0.1:5000/nope:1: reading manifest 1 in 127.0.0.1:5000/nope: manifest unknown",
            "",
            FailureClass::User,
        ),
    ] {
        assert_eq!(read_at(message, step).class(), class, "{message}");
    }
    match read_at("x: not found", metadata) {
        HookError::BaseImage { image, .. } => assert_eq!(image, "127.0.0.1:5000/nope:1"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_frontend_is_no_base_image_and_final_where_it_is_unknown() {
    let step = "resolve image config for docker.io/docker/dockerfile:99";
    let no_way = "failed to do request: Head \"https://registry-1.docker.io/v2/docker/dockerfile/manifests/99\": dial tcp: lookup registry-1.docker.io: no such host";
    for (message, step, class) in [
        (no_way, step, FailureClass::Infra),
        ("docker.io/docker/dockerfile:99: not found", step, FailureClass::User),
        (
            "docker.io/docker/dockerfile:99: not found",
            "resolve image config for docker-image://docker.io/docker/dockerfile:99",
            FailureClass::User,
        ),
    ] {
        let e = read_at(message, step);
        assert_eq!(e.class(), class, "{e:?}");
        let told = slipway_core::Problem::from(e).what;
        assert!(
            told.starts_with("The frontend docker.io/docker/dockerfile:99 of `# syntax` cannot be pulled"),
            "{told}"
        );
    }
}

#[test]
fn a_base_image_that_is_not_named_is_one_of_the_dockerfile() {
    let e = read_at("Get \"http://127.0.0.1:1/v2/\": dial tcp 127.0.0.1:1: connect: connection refused", "");
    let told = slipway_core::Problem::from(e).what;
    assert!(told.starts_with("A base image of the Dockerfile cannot be pulled for now: "), "{told}");
}

#[test]
fn a_secret_that_is_wanted_is_named() {
    for (message, name) in [
        ("failed to solve: rpc error: code = Unknown desc = secret tok: not found", "tok"),
        ("secret npm_token: not found", "npm_token"),
        ("secret npm_token not found: not found", "npm_token"),
        ("resolving mountpoints: secret required but no secret with id \"tok\" found", "tok"),
        ("failed to solve: no SSH key \"default\" forwarded from the client", "default"),
    ] {
        match read_at(message, "[2/2] RUN --mount=type=secret,id=tok,required cat /run/secrets/tok") {
            HookError::NoSecret { name: told, .. } => assert_eq!(told, name),
            other => panic!("{message}: {other:?}"),
        }
    }
}

#[test]
fn what_the_builder_trips_over_is_not_the_repositorys_fault() {
    for message in [
        "checking if cached image exists from a previous build: getting top layer info: layer not known",
        "error from sender: the engine asks for entry 7, which is no file",
    ] {
        assert_eq!(read_at(message, "").class(), FailureClass::Infra, "{message}");
    }
}

#[test]
fn other_failures_keep_their_class() {
    assert!(matches!(read_at("target stage test could not be found", ""), HookError::NoStage { .. }));
    assert!(matches!(
        read_at("failed to reach build target test in Dockerfile", ""),
        HookError::NoStage { .. }
    ));
    let podmans = "The target \"prod\" was not found in the provided Dockerfile";
    assert!(matches!(read_at(podmans, ""), HookError::NoStage { .. }));
    let go = "building at STEP \"FRM \": Build error: Unknown instruction: \"FRM\" &imagebuilder.Step{Env:[]string{}}";
    for (message, told) in
        [(go, "unknown instruction: FRM"), ("no contents in \"/var/tmp/x/Dockerfile\"", "it is empty")]
    {
        assert!(matches!(read_at(message, ""), HookError::Dockerfile { message, .. } if message == told));
    }
    assert_eq!(read_at("write /x: no space left on device", "[2/2] RUN x").class(), FailureClass::Infra);
    assert_eq!(read_at("something new", "").class(), FailureClass::User);
    assert!(is_no_buildkit("BuildKit is not supported by daemon"));
}
