//! `.gitlab-ci.yml`: jobs with what they extend, when they run, and what their scripts do.

mod job;
mod rules;

use slipway_core::Problem;

use super::commands;
use super::condition::Condition;
use super::found::{Found, Purpose, Service, quoted};
use super::limits::{EXTENDED_NODES_MAX, FOUND_MAX};
use super::manifests;
use super::scope::Scope;
use super::yaml::{self, Content, Node};

/// Keys of the file that are no jobs.
const GLOBAL: [&str; 15] = [
    "stages",
    "variables",
    "default",
    "include",
    "image",
    "services",
    "before_script",
    "after_script",
    "cache",
    "workflow",
    "spec",
    "types",
    "pages",
    "name",
    "create_merge_request_pipeline",
];

/// Finds what a file does.
///
/// # Errors
/// A sentence where it is no YAML.
pub(super) fn read(text: &str, file: &str) -> Result<Found, Problem> {
    let documents = yaml::read(text, file)?;
    // The first of two may be a header with inputs.
    let Some(root) = documents.iter().rev().find(|node| !node.entries().is_empty()) else {
        return Ok(Found::default());
    };
    let mut found = Found::of_every_branch();
    found.every_tag = text.contains("CI_COMMIT_TAG");
    let mut scope = Scope::default();
    globals(&mut found, root, &mut scope);
    let names = root.entries().iter().filter(|(name, node)| is_job(name, node)).map(|(name, _)| name);
    let mut left = EXTENDED_NODES_MAX;
    let mut jobs: Vec<(&String, Node)> =
        names.map(|name| (name, job::whole(root, name, &mut left))).collect();
    if left == 0 {
        found.note(0, "jobs that extend more than can be looked at", "Split the file, and import its parts.");
    }
    let stages = root.texts_of("stages");
    let stage = |job: &Node| {
        let stage = job.text_of("stage").unwrap_or("test");
        stages.iter().position(|known| *known == stage).unwrap_or(stages.len())
    };
    jobs.sort_by_cached_key(|(_, job)| stage(job));
    for (group, (name, job)) in jobs.into_iter().enumerate() {
        if !found.step() {
            break;
        }
        run(&mut found, root, &job, &mut scope.stage(name, group + 1));
    }
    Ok(found)
}

fn is_job(name: &str, node: &Node) -> bool {
    !GLOBAL.contains(&name) && !name.starts_with('.') && !node.entries().is_empty()
}

fn globals(found: &mut Found, root: &Node, scope: &mut Scope) {
    for (name, value, _) in root.get("variables").map(Node::pairs).unwrap_or_default() {
        scope.set(&name, &value);
    }
    if let Some(include) = root.get("include") {
        found.note(include.line, "other files are included", "Import those that build the image, too.");
    }
    if let Some(workflow) = root.get("workflow").and_then(|workflow| workflow.get("rules")) {
        let when = rules::of(found, workflow);
        if !when.refs.is_none() {
            scope.when = Condition { by_hand: false, ..when };
        }
    }
}

fn run(found: &mut Found, root: &Node, job: &Node, scope: &mut Scope) {
    if let Some(environment) = job.get("environment") {
        let name = environment.text().or_else(|| environment.text_of("name")).unwrap_or_default();
        scope.stage = format!("{name} {}", scope.stage);
    }
    for (name, value, _) in job.get("variables").map(Node::pairs).unwrap_or_default() {
        scope.set(&name, &value);
        scope.give(&name, &value);
    }
    let when = rules::of_job(found, job);
    scope.when = scope.when.and(&when);
    if scope.when.refs.is_none() {
        let what = format!("the job {} is for merge requests or schedules alone", quoted(&scope.stage));
        return found.note(job.line, what, "There are none here: branches are built when they are pushed.");
    }
    let of_file = |key: &str| {
        job.get(key).or_else(|| root.get("default").and_then(|d| d.get(key))).or_else(|| root.get(key))
    };
    let image = of_file("image").and_then(|image| image.text().or_else(|| image.text_of("name")));
    scope.inside = image.map(|image| scope.expand(image));
    if let Some(services) = of_file("services") {
        service(found, services, scope);
    }
    settings(found, job, scope);
    let over = |found: &mut Found| (found.builds.len(), found.loose.len());
    let before = over(found);
    for key in ["before_script", "script"] {
        let node = if key == "script" { job.get(key) } else { of_file(key) };
        script(found, root, node, scope, 0);
    }
    time(found, job, before);
    scope.after = Some("after".into());
    script(found, root, of_file("after_script"), scope, 0);
}

fn time(found: &mut Found, job: &Node, (builds, loose): (usize, usize)) {
    let Some((line, time)) = job.get("timeout").and_then(|node| Some((node.line, job::time(node.text()?)?)))
    else {
        return;
    };
    if found.builds.len() > builds {
        found.build_timeout.get_or_insert((line, time));
    } else if found.loose.len() > loose {
        found.test_timeout.get_or_insert((line, time));
    }
}

fn script(found: &mut Found, root: &Node, node: Option<&Node>, scope: &mut Scope, depth: usize) {
    let Some(node) = node.filter(|_| depth < 8 && found.step()) else { return };
    match &node.content {
        Content::Text(text) => commands::script(found, scope, text, node.line),
        Content::List(items) => {
            items.iter().for_each(|item| script(found, root, Some(item), scope, depth + 1))
        }
        Content::Reference(path) => {
            let mut at = Some(root);
            for key in path {
                at = at.and_then(|node| node.get(key));
            }
            script(found, root, at, scope, depth + 1);
        }
        Content::Map(_) => {}
    }
}

fn service(found: &mut Found, services: &Node, scope: &Scope) {
    for item in services.items().iter().take(FOUND_MAX) {
        let Some(image) = item.text().or_else(|| item.text_of("name")) else { continue };
        let image = scope.expand(image);
        if image.contains("docker") || image.contains("dind") {
            found.done(item.line, "the engine as a service");
            continue;
        }
        let path = super::reference::Reference::read(&image).path;
        let name =
            item.text_of("alias").unwrap_or_else(|| path.rsplit('/').next().unwrap_or("db")).to_owned();
        let env = item.get("variables").map(Node::pairs).unwrap_or_default();
        let of_job = ["POSTGRES_", "MYSQL_", "MARIADB_", "REDIS_", "MONGO_", "RABBITMQ_"];
        let of_job = scope.env.iter().filter(|(name, _)| of_job.iter().any(|start| name.starts_with(start)));
        let mut all: std::collections::BTreeMap<_, _> = of_job.map(|(n, v)| (n.clone(), v.clone())).collect();
        all.extend(env.into_iter().map(|(name, value, _)| (name, value)));
        found.service(Service { line: item.line, name, image, env: all });
    }
}

/// Keys of a job beside its script.
fn settings(found: &mut Found, job: &Node, scope: &Scope) {
    for (key, node) in job.entries() {
        let line = node.line;
        match key.as_str() {
            "artifacts" if node.get("reports").is_some() => {
                found.note(line, "artifacts: reports", super::jenkinsfile::REPORTS);
            }
            "coverage" => found.note(line, "coverage", super::jenkinsfile::REPORTS),
            "artifacts" | "dependencies" | "needs" => {
                found.done(line, format!("{key}: the image itself goes from build to test to push"));
            }
            "cache" => found.note(
                line,
                "cache",
                "The engine keeps layers; in the Dockerfile RUN --mount=type=cache,target=… keeps a folder.",
            ),
            "allow_failure" if node.text() == Some("true") => {
                found.note(
                    line,
                    "allow_failure",
                    "A test that fails pushes nothing; write `|| true` behind what may fail.",
                );
            }
            "parallel" => found.note(
                line,
                "parallel",
                "A test is one; run its parts in it, or in stages of the Dockerfile.",
            ),
            "trigger" => {
                manifests::wrote(found, scope, line, "trigger".into(), None);
                found.note(line, "trigger", "[deploy.NAME] takes its place where that pipeline writes manifests; else a webhook on `build`.");
            }
            "secrets" | "id_tokens" => {
                for (name, _) in node.entries().iter().take(FOUND_MAX) {
                    found.secret(line, name, key);
                    found.uses(&format!("${{{name}_}}"), Purpose::Build);
                }
            }
            "release" | "pages" | "dast_configuration" => {
                found.note(line, key.clone(), "Slipway has no releases and no pages of its own.");
            }
            "retry" | "interruptible" | "resource_group" | "tags" => {
                found.done(line, key.clone());
            }
            _ => {}
        }
    }
}
