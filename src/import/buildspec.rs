//! AWS CodeBuild's `buildspec.yml`: phases of commands, one after the other.

use slipway_core::Problem;

use super::agent;
use super::commands;
use super::found::{Found, quoted};
use super::jenkinsfile::REPORTS;
use super::scope::Scope;
use super::yaml::{self, Node};

/// Finds what a file does.
///
/// # Errors
/// A sentence where it is no YAML.
pub(super) fn read(text: &str, file: &str) -> Result<Found, Problem> {
    let documents = yaml::read(text, file)?;
    let (mut found, mut scope) = (Found::default(), Scope::default());
    let Some(root) = documents.first() else { return Ok(found) };
    if let Some(env) = root.get("env") {
        environment(&mut found, env, &mut scope);
    }
    let phases = root.get("phases").map(Node::entries).unwrap_or_default();
    for wanted in ["install", "pre_build", "build", "post_build"] {
        let Some((_, phase)) = phases.iter().find(|(name, _)| name == wanted) else { continue };
        scope.stage = wanted.to_owned();
        if let Some(versions) = phase.get("runtime-versions") {
            found.done(versions.line, "runtime-versions: what the build needs stands in the Dockerfile");
        }
        for key in ["commands", "finally"] {
            for (command, line) in phase.get(key).map(Node::texts).unwrap_or_default() {
                commands::script(&mut found, &mut scope, command, line);
            }
        }
    }
    settings(&mut found, root);
    Ok(found)
}

fn environment(found: &mut Found, env: &Node, scope: &mut Scope) {
    for (name, value, _) in env.get("variables").map(Node::pairs).unwrap_or_default() {
        scope.set(&name, &value);
    }
    for key in ["secrets-manager", "parameter-store"] {
        for (name, value, line) in env.get(key).map(Node::pairs).unwrap_or_default() {
            found.secret(line, &name, &format!("{key} {value}"));
        }
    }
    if let Some(exported) = env.get("exported-variables") {
        found.note(
            exported.line,
            "exported-variables",
            "Nothing follows a build but its [deploy.NAME]: they have the digest.",
        );
    }
}

fn settings(found: &mut Found, root: &Node) {
    for (key, node) in root.entries() {
        let line = node.line;
        match key.as_str() {
            "artifacts" => {
                let files = node.texts_of("files").join(" ");
                let ecs = files.contains("imagedefinitions.json") || files.contains("imageDetail.json");
                let cure = if ecs { agent::ECS } else { REPORTS };
                found.note(line, format!("artifacts: {}", quoted(&files)), cure);
            }
            "reports" => found.note(line, "reports", REPORTS),
            "cache" => {
                found.done(line, "cache: the engine keeps its layers; RUN --mount=type=cache keeps a folder")
            }
            "batch" => {
                found.note(line, "batch", "A repository builds one image, for the platform of the engine.")
            }
            "version" | "env" | "phases" | "run-as" | "proxy" => {}
            other => found.note(line, format!("`{}`", quoted(other)), agent::UNKNOWN),
        }
    }
}
