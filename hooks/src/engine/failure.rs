//! What an engine's words about a failed build mean. Pure: a text in, a [`HookError`] out.
//!
//! The engine tells build failures as prose. The phrases below are those of BuildKit (engine 20.10 to 28) and of the
//! classic builder; what none of them fits is a [`HookError::Build`] with the words as they are.

use crate::error::{HookError, one_line};

/// What is known about the build beside the message.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Known<'a> {
    /// The step that BuildKit says failed.
    pub(crate) step: Option<&'a str>,
    /// The stage that was asked for.
    pub(crate) target: &'a str,
    /// The Dockerfile's path.
    pub(crate) dockerfile: &'a str,
}

/// Reads the message.
pub(crate) fn read(message: &str, known: Known<'_>) -> HookError {
    let text = one_line(message);
    if is_disk_full(message) {
        return HookError::DiskFull { message: text };
    }
    dockerfile(&text, known)
        .or_else(|| step(&text, known))
        .or_else(|| copy_source(&text, known))
        .or_else(|| base_image(&text, known))
        .unwrap_or_else(|| unknown(text))
}

/// True where the engine's disk is full.
pub(crate) fn is_disk_full(message: &str) -> bool {
    message.contains("no space left on device") || message.contains("disk quota exceeded")
}

/// True where the engine has no BuildKit, or will not use it for us.
pub(crate) fn is_no_buildkit(message: &str) -> bool {
    let text = message.to_ascii_lowercase();
    [
        "buildkit is not supported",
        "buildkit not supported",
        "buildkit not enabled",
        "no active session",
        "unsupported builder version",
        "invalid version",
    ]
    .iter()
    .any(|words| text.contains(words))
}

fn dockerfile(text: &str, known: Known<'_>) -> Option<HookError> {
    let lower = text.to_ascii_lowercase();
    if let Some(at) = lower.find("parse error") {
        let (line, rest) = line_number(text.get(at..)?);
        return Some(HookError::Dockerfile { line, message: rest });
    }
    if lower.contains("target stage") && lower.contains("could not be found")
        || lower.contains("failed to reach build target")
    {
        return Some(HookError::NoStage { stage: known.target.to_owned() });
    }
    if lower.contains("cannot locate specified dockerfile") || lower.contains("failed to read dockerfile") {
        return Some(HookError::NoDockerfile { path: known.dockerfile.to_owned() });
    }
    let syntax = [
        "unknown instruction",
        "no build stage in current context",
        "unknown flag",
        "invalid reference format",
        "circular dependency",
        "base name (",
        "file with no instructions",
        "cannot be empty",
        "dockerfile is empty",
        "requires exactly",
        "requires at least",
        "invalid from flag value",
    ];
    if syntax.iter().any(|words| lower.contains(words)) {
        let tail = last_clause(
            text,
            &["failed to create LLB definition: ", "failed to solve with frontend dockerfile.v0: "],
        );
        return Some(HookError::Dockerfile { line: None, message: tail });
    }
    None
}

/// `parse error line 2: unknown…` or `parse error on line 2: unknown…`: the number and the rest.
fn line_number(text: &str) -> (Option<u32>, String) {
    let after = text.split_once("line ").map(|(_, rest)| rest).unwrap_or_default();
    let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
    let rest = after.get(digits.len()..).unwrap_or_default().trim_start_matches([':', ' ']);
    let rest = if rest.is_empty() { text } else { rest };
    (digits.parse().ok(), rest.to_owned())
}

fn step(text: &str, known: Known<'_>) -> Option<HookError> {
    let code = ["did not complete successfully: exit code: ", "returned a non-zero code: ", "exit code: "]
        .iter()
        .find_map(|words| number_after(text, words))?;
    let quoted = between(text, "process \"", "\" did not")
        .or_else(|| between(text, "executor failed running [", "]: exit code"))
        .or_else(|| between(text, "The command '", "' returned"));
    let command = known.step.and_then(|s| s.split_once("RUN ")).map(|(_, c)| c).or(quoted).unwrap_or("RUN");
    Some(HookError::Step { command: command.trim_start_matches("/bin/sh -c ").to_owned(), code })
}

fn copy_source(text: &str, known: Known<'_>) -> Option<HookError> {
    let from_step = || {
        let words = known.step?.split_once("COPY ").or_else(|| known.step?.split_once("ADD "))?.1;
        words.split_whitespace().find(|w| !w.starts_with("--")).map(str::to_owned)
    };
    let found = between(text, "failed to calculate checksum of ref", "\": not found")
        .and_then(|t| t.rsplit('"').next())
        .or_else(|| between(text, "cache key: \"", "\"").filter(|_| text.contains("not found")))
        .or_else(|| between(text, "(COPY|ADD) failed: stat ", ":"))
        .or_else(|| between(text, "excluded by .dockerignore: stat ", ":"))
        .or_else(|| between(text, "COPY failed: stat ", ":"))
        .or_else(|| between(text, "ADD failed: stat ", ":"))
        .map(|p| p.trim_start_matches('/').to_owned());
    if let Some(path) = found {
        let path = path.rsplit_once("/tmp/docker-builder").map_or(path.clone(), |(_, p)| p.to_owned());
        return Some(HookError::CopySource { path });
    }
    let copies = known.step.is_some_and(|s| s.contains("COPY ") || s.contains("ADD "));
    let missing = text.contains("not found")
        || text.contains("no such file")
        || text.contains("no source files were specified");
    if copies && missing || text.contains("no source files were specified") {
        return Some(HookError::CopySource { path: from_step().unwrap_or_else(|| "a file".into()) });
    }
    None
}

fn base_image(text: &str, known: Known<'_>) -> Option<HookError> {
    let lower = text.to_ascii_lowercase();
    let unreachable = [
        "no such host",
        "connection refused",
        "i/o timeout",
        "tls handshake timeout",
        "network is unreachable",
        "deadline exceeded",
        "request canceled",
        "server misbehaving",
        "temporary failure in name resolution",
        "connection reset",
        "no route to host",
        "500 internal server error",
        "502 bad gateway",
        "503 service unavailable",
        "429 too many requests",
        "toomanyrequests",
        "unexpected eof",
    ];
    let absent = [
        "manifest unknown",
        "pull access denied",
        "repository does not exist",
        "authorization failed",
        "unauthorized",
        "insufficient_scope",
        "no matching manifest",
        "name unknown",
        "no basic auth credentials",
        "access forbidden",
        "403 forbidden",
    ];
    let pulls = known.step.is_some_and(|s| s.contains("load metadata for") || s.contains("FROM "))
        || lower.contains("failed to do request")
        || lower.contains("manifest for ")
        || lower.contains("pull access denied")
        || lower.contains("failed to resolve source metadata")
        || lower.contains("/v2/");
    if !pulls {
        return None;
    }
    let image = || {
        known
            .step
            .and_then(|s| s.split_once("load metadata for ").or_else(|| s.split_once("FROM ")))
            .map(|(_, image)| image)
            .or_else(|| between(text, "source metadata for ", ": "))
            .or_else(|| between(text, "manifest for ", " not found"))
            .or_else(|| between(text, "pull access denied for ", ","))
            .unwrap_or("of the Dockerfile")
            .split_whitespace()
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    if unreachable.iter().any(|words| lower.contains(words)) {
        return Some(HookError::BaseImageUnreachable { image: image(), message: text.to_owned() });
    }
    if absent.iter().any(|words| lower.contains(words)) || lower.contains("not found") {
        return Some(HookError::BaseImage { image: image(), message: text.to_owned() });
    }
    None
}

/// What the builder itself trips over is not the repository's fault.
fn unknown(text: String) -> HookError {
    let lower = text.to_ascii_lowercase();
    let infra = [
        "context canceled",
        "rpc error: code = unavailable",
        "transport is closing",
        "cannot allocate memory",
        "failed to mount",
        "oci runtime create failed",
        "oci runtime error",
        "failed to export image",
        "layer does not exist",
    ];
    if infra.iter().any(|words| lower.contains(words)) {
        return HookError::Internal { what: "building in the engine", why: text };
    }
    HookError::Build { message: text }
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let rest = text.split_once(before)?.1;
    Some(rest.split_once(after)?.0)
}

fn number_after(text: &str, words: &str) -> Option<i64> {
    let rest = text.split_once(words)?.1;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

fn last_clause(text: &str, heads: &[&str]) -> String {
    let mut rest = text;
    for head in heads {
        rest = rest.split_once(head).map_or(rest, |(_, tail)| tail);
    }
    rest.to_owned()
}

#[cfg(test)]
mod tests {
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
            (
                "failed to solve: process \"/bin/sh -c exit 3\" did not complete successfully: exit code: 3",
                "",
            ),
            ("The command '/bin/sh -c exit 3' returned a non-zero code: 3", ""),
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
        ] {
            assert_eq!(read_at(message, step).class(), class, "{message}");
        }
        match read_at("x: not found", metadata) {
            HookError::BaseImage { image, .. } => assert_eq!(image, "127.0.0.1:5000/nope:1"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn other_failures_keep_their_class() {
        assert!(matches!(read_at("target stage test could not be found", ""), HookError::NoStage { .. }));
        assert!(matches!(
            read_at("failed to reach build target test in Dockerfile", ""),
            HookError::NoStage { .. }
        ));
        assert_eq!(read_at("write /x: no space left on device", "[2/2] RUN x").class(), FailureClass::Infra);
        assert_eq!(read_at("something new", "").class(), FailureClass::User);
        assert!(is_no_buildkit("BuildKit is not supported by daemon"));
    }
}
