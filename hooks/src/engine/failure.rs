//! What an engine's words about a failed build mean. Pure: a text in, a [`HookError`] out.
//!
//! The engine tells build failures as prose. The phrases below are those of BuildKit (engine 20.10 to 28), of the
//! classic builder and of Buildah, with which Podman builds; what none of them fits is a [`HookError::Build`] with the words
//! as they are.

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
        .or_else(|| frontend(&text, known))
        .or_else(|| secret(&text))
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
        || lower.starts_with("the target ") && lower.contains("was not found in the provided dockerfile")
    {
        return Some(HookError::NoStage { stage: known.target.to_owned() });
    }
    if lower.contains("cannot locate specified dockerfile") || lower.contains("failed to read dockerfile") {
        return Some(HookError::NoDockerfile { path: known.dockerfile.to_owned() });
    }
    if lower.starts_with("no contents in ") {
        return Some(HookError::Dockerfile { line: None, message: "it is empty".to_owned() });
    }
    if let Some(name) = between(text, "Build error: Unknown instruction: \"", "\"") {
        return Some(HookError::Dockerfile { line: None, message: format!("unknown instruction: {name}") });
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

/// What `# syntax=` names is pulled like an image, and is none of the Dockerfile's bases.
fn frontend(text: &str, known: Known<'_>) -> Option<HookError> {
    let step = known.step.and_then(|step| step.strip_prefix("resolve image config for "));
    let image = step.or_else(|| {
        between(text, "failed to resolve source metadata for ", ": ").filter(|i| is_frontend(i))
    })?;
    let image = image.trim_start_matches("docker-image://").to_owned();
    let passes = is_unreachable(&text.to_ascii_lowercase());
    Some(HookError::Frontend { image, message: text.to_owned(), passes })
}

fn is_frontend(image: &str) -> bool {
    image.trim_start_matches("docker.io/").starts_with("docker/dockerfile")
}

/// A step that cannot do without a secret or an SSH agent.
fn secret(text: &str) -> Option<HookError> {
    let ssh = between(text, "no SSH key \"", "\" forwarded from the client");
    let unset = || text.split_once("unset ssh forward key ").map(|(_, rest)| rest);
    let unset = || unset().and_then(|rest| rest.split(|c: char| !is_word(&c.to_string())).next());
    if let Some(name) = ssh.or_else(unset) {
        return Some(no_secret("SSH key", name));
    }
    if let Some(name) = between(text, "secret required but no secret with id \"", "\" found") {
        return Some(no_secret("secret", name));
    }
    let (_, rest) = text.split_once("secret ")?;
    let (name, after) = rest.split_at(rest.find([':', ' '])?);
    let is_missing = after.trim_start_matches(':').starts_with(" not found") && is_word(name);
    is_missing.then(|| no_secret("secret", name))
}

fn no_secret(what: &'static str, name: &str) -> HookError {
    HookError::NoSecret { what, name: name.to_owned(), asked: "a step of the Dockerfile", why: None }
}

fn is_word(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/'))
}

fn step(text: &str, known: Known<'_>) -> Option<HookError> {
    let code = [
        "did not complete successfully: exit code: ",
        "returned a non-zero code: ",
        "exit code: ",
        "while running runtime: exit status ",
    ]
    .iter()
    .find_map(|words| number_after(text, words))?;
    let quoted = between(text, "process \"", "\" did not")
        .or_else(|| between(text, "executor failed running [", "]: exit code"))
        .or_else(|| between(text, "The command '", "' returned"))
        .or_else(|| between(text, "building at STEP \"RUN ", "\": while running"));
    let command = known.step.and_then(|s| s.split_once("RUN ")).map(|(_, c)| c).or(quoted).unwrap_or("RUN");
    let command = without_flags(command).trim_start_matches("/bin/sh -c ");
    Some(HookError::Step { command: command.to_owned(), code })
}

/// `--mount=… make` is `make` to people.
fn without_flags(command: &str) -> &str {
    let mut rest = command.trim_start();
    while let Some((_, after)) = rest.split_once(char::is_whitespace).filter(|_| rest.starts_with("--")) {
        rest = after.trim_start();
    }
    rest
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
        .or_else(|| between(text, "copier: stat: \"", "\": no such file"))
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

/// True for words that tell of a registry which does not answer now, and may later.
pub(crate) fn is_unreachable(lower: &str) -> bool {
    [
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
    ]
    .iter()
    .any(|words| lower.contains(words))
}

fn base_image(text: &str, known: Known<'_>) -> Option<HookError> {
    let lower = text.to_ascii_lowercase();
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
        || lower.contains("initializing source docker://")
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
            .or_else(|| between(text, "initializing source docker://", ": "))
            .unwrap_or_default()
            .split_whitespace()
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    if is_unreachable(&lower) {
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
        // Two builds of Buildah and a clean-up.
        "layer not known",
        "image not known",
        "error from sender",
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
mod tests;
