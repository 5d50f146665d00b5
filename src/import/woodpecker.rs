//! Woodpecker's workflows, and Drone's pipelines, from which they come: steps in containers, and plugins that build images.

mod plugin;
mod when;

use std::collections::BTreeMap;

use slipway_core::Problem;

use super::commands;
use super::found::{Found, Service, quoted};
use super::limits::FOUND_MAX;
use super::scope::Scope;
use super::yaml::{self, Node};

/// Finds what a file does.
///
/// # Errors
/// A sentence where it is no YAML.
pub(super) fn read(text: &str, file: &str) -> Result<Found, Problem> {
    let mut found = Found::of_every_branch();
    for document in yaml::read(text, file)? {
        if document.text_of("kind").is_none_or(|kind| kind == "pipeline") {
            workflow(&mut found, &document);
        }
    }
    Ok(found)
}

fn workflow(found: &mut Found, root: &Node) {
    let mut scope = Scope::default();
    for node in ["when", "trigger"].iter().filter_map(|key| root.get(key)) {
        scope.when = when::of(found, node);
    }
    if let Some(branches) = root.get("branches") {
        scope.when = when::branches(branches);
    }
    for (key, node) in root.entries() {
        match key.as_str() {
            "clone" | "workspace" | "skip_clone" | "labels" | "platform" | "depends_on" | "runs_on" | "volumes" | "concurrency" => {
                found.done(node.line, key.clone());
            }
            "matrix" => found.note(
                node.line,
                "a matrix",
                "A repository builds one image, once: what varies are stages of its Dockerfile, or repositories.",
            ),
            _ => {}
        }
    }
    for (name, node) in named(root.get("services")) {
        service(found, &name, node);
    }
    for inner in variants(root, &scope) {
        let steps = named(root.get("steps").or_else(|| root.get("pipeline")));
        for (group, (name, node)) in steps.into_iter().enumerate() {
            if !found.step() {
                return;
            }
            step(found, node, inner.stage(&name, group + 1));
        }
    }
}

/// The scope once for each value of a matrix' first axis.
fn variants(root: &Node, scope: &Scope) -> Vec<Scope> {
    let axis = root.get("matrix").and_then(|matrix| matrix.entries().first());
    let Some((name, values)) = axis.filter(|(name, _)| name != "include") else { return vec![scope.clone()] };
    let of = |value: &str| {
        let mut inner = scope.clone();
        inner.set(name, value);
        inner
    };
    values.texts().iter().take(FOUND_MAX).map(|(value, _)| of(value)).collect()
}

/// Steps or services by name, from a mapping or from a list.
fn named(node: Option<&Node>) -> Vec<(String, &Node)> {
    let Some(node) = node else { return Vec::new() };
    let of_map = node.entries().iter().map(|(name, node)| (name.clone(), node));
    let of_list = node.items().iter().map(|node| (node.text_of("name").unwrap_or_default().to_owned(), node));
    of_map.chain(of_list).collect()
}

fn service(found: &mut Found, name: &str, node: &Node) {
    let image = node.text_of("image").unwrap_or_default().to_owned();
    if image.contains("dind") || image.starts_with("docker:") {
        return found.done(node.line, "the engine as a service");
    }
    let pairs = node.get("environment").map(Node::pairs).unwrap_or_default();
    let env: BTreeMap<String, String> = pairs.into_iter().map(|(name, value, _)| (name, value)).collect();
    found.service(Service { line: node.line, name: name.to_owned(), image, env });
}

fn step(found: &mut Found, node: &Node, mut scope: Scope) {
    if let Some(condition) = node.get("when") {
        let condition_of_step = when::of(found, condition);
        scope.when = scope.when.and(&condition_of_step);
        if condition.texts_of("status").contains(&"failure") {
            scope.after = Some("failure".into());
        }
    }
    if scope.when.refs.is_none() {
        let what = format!("the step {} is for pull requests or times alone", quoted(&scope.stage));
        return found.note(node.line, what, "There are none here: branches are built when they are pushed.");
    }
    let image = scope.expand(node.text_of("image").unwrap_or_default());
    environment(found, node, &mut scope);
    if node.text_of("detach") == Some("true") {
        return service(found, &scope.stage.clone(), node);
    }
    if plugin::step(found, node, &image, &scope) {
        return;
    }
    scope.inside = (!image.is_empty()).then_some(image);
    for (command, line) in node.get("commands").map(Node::texts).unwrap_or_default() {
        // `$$` is Woodpecker's `$` for the shell.
        commands::script(found, &mut scope, &command.replace("$$", "$"), line);
    }
    if node.text_of("failure") == Some("ignore") {
        found.note(
            node.line,
            "failure: ignore",
            "A test that fails pushes nothing; write `|| true` behind what may fail.",
        );
    }
}

fn environment(found: &mut Found, node: &Node, scope: &mut Scope) {
    for (name, value, _) in node.get("environment").map(Node::pairs).unwrap_or_default() {
        scope.set(&name, &value);
        scope.give(&name, &value);
    }
    for (name, value) in node.get("environment").map(Node::entries).unwrap_or_default() {
        if let Some(secret) = value.text_of("from_secret") {
            found.secret(value.line, name, secret);
        }
    }
    for item in node.get("secrets").map(Node::items).unwrap_or_default() {
        let source = item.text().or_else(|| item.text_of("source")).unwrap_or_default();
        let target = item.text_of("target").unwrap_or(source);
        found.secret(item.line, &target.to_ascii_uppercase(), source);
    }
}
