//! Where a pipeline runs, and what Jenkins is told about it: `agent`, `options`, `triggers`, `parameters`, `tools`.

use super::{Jenkinsfile, named, steps};
use crate::import::found::{Build, quoted};
use crate::import::groovy::{Block, Call, Step, Value};
use crate::import::scope::{self, Scope};

/// Carries out a call, if it is one of these.
pub(super) fn call(file: &mut Jenkinsfile, call: &Call, scope: &mut Scope) -> bool {
    match call.name.as_str() {
        "agent" => agent(file, call, scope),
        "options" | "triggers" => inside(call.block.as_ref(), &mut |inner| setting(file, inner)),
        "properties" | "pipelineTriggers" => {
            for (_, value) in &call.args {
                settings(file, value);
            }
        }
        "parameters" => inside(call.block.as_ref(), &mut |inner| parameter(file, inner)),
        "tools" => {
            file.found.done(call.line, "tools of the agent: what the build needs stands in the Dockerfile")
        }
        "libraries" | "library" | "@Library" => file.found.note(
            call.line,
            format!("the shared library {}", quoted(&call.text("identifier", 0).unwrap_or_default())),
            "Look up what is called from it; one slipway.toml a repository says the same in a few lines.",
        ),
        name if name.starts_with('@') => {}
        "load" => file.found.note(call.line, "another Groovy file", "Import that one, too."),
        _ => return false,
    }
    true
}

fn inside(block: Option<&Block>, take: &mut dyn FnMut(&Call)) {
    for step in block.map(|block| block.steps.as_slice()).unwrap_or_default() {
        if let Step::Call(call) = step {
            take(call);
        }
    }
}

fn settings(file: &mut Jenkinsfile, value: &Value) {
    match value {
        Value::List(values) => values.iter().for_each(|value| settings(file, value)),
        Value::Call(call) if call.name == "parameters" || call.name == "pipelineTriggers" => {
            let parameters = call.name == "parameters";
            for (_, value) in &call.args {
                match value {
                    Value::List(values) if parameters => {
                        let calls =
                            values.iter().filter_map(|v| if let Value::Call(c) = v { Some(c) } else { None });
                        calls.for_each(|call| parameter(file, call));
                    }
                    value => settings(file, value),
                }
            }
        }
        Value::Call(call) => setting(file, call),
        _ => {}
    }
}

fn agent(file: &mut Jenkinsfile, call: &Call, scope: &mut Scope) {
    let Some(block) = &call.block else { return file.found.done(call.line, "the agent") };
    if let Some(docker) = named(block, "docker") {
        let image = docker.text("image", 0).or_else(|| {
            docker
                .block
                .as_ref()
                .and_then(|block| named(block, "image"))
                .and_then(|image| image.text("image", 0))
        });
        scope.inside = image.map(|image| scope.expand(&image));
        return file.found.done(call.line, "the agent's container");
    }
    let Some(dockerfile) = named(block, "dockerfile") else {
        return file.found.done(call.line, "the agent");
    };
    let said = |name: &str| {
        let block = dockerfile.block.as_ref();
        block
            .and_then(|block| named(block, name))
            .and_then(|call| call.text(name, 0))
            .map(|text| scope.expand(&text))
    };
    let context = scope::inside(&scope.folder, &said("dir").unwrap_or_else(|| ".".into()))
        .unwrap_or_else(|| ".".into());
    let file_name = said("filename").and_then(|name| scope::inside(&context, &name));
    let name = format!("the agent of line {}", call.line);
    file.found.build(Build {
        line: call.line,
        by: "agent { dockerfile }",
        names: vec![name.clone()],
        dockerfile: file_name,
        context,
        when: scope.when.clone(),
        ..Build::default()
    });
    scope.inside = Some(name);
}

/// One of `options`, `triggers` and `properties`.
fn setting(file: &mut Jenkinsfile, call: &Call) {
    let (found, line) = (&mut file.found, call.line);
    match call.name.as_str() {
        "timeout" => {
            if let Some(time) = steps::time(call) {
                found.build_timeout.get_or_insert((line, time));
            }
        }
        "cron" | "parameterizedCron" => found.note(
            line,
            format!("builds at times: {}", quoted(&call.text("spec", 0).unwrap_or_default())),
            "Let a cron of yours call `slipway build start REPO`.",
        ),
        "upstream" => found.note(
            line,
            "builds after another job",
            "Let that one call `slipway build start REPO`; newer base images are fetched at every build.",
        ),
        "pollSCM" | "githubPush" | "gitlab" | "bitbucketPush" | "GenericTrigger" | "giteaPush" => {
            found.done(line, "the trigger: a push builds at once");
        }
        "disableConcurrentBuilds" => {
            found.done(line, "one build of a branch at a time; a newer commit takes its place")
        }
        "buildDiscarder" => found.done(line, "old builds go by themselves: builds_kept in docs/limits.md"),
        "retry" => {
            found.done(line, "retries: failures of engine and registry are retried, a build's own are not")
        }
        "timestamps"
        | "ansiColor"
        | "skipDefaultCheckout"
        | "skipStagesAfterUnstable"
        | "checkoutToSubdirectory"
        | "preserveStashes"
        | "quietPeriod"
        | "durabilityHint"
        | "disableResume"
        | "parallelsAlwaysFailFast"
        | "newContainerPerStage"
        | "overrideIndexTriggers"
        | "gitLabConnection"
        | "rateLimitBuilds" => {
            found.done(line, format!("the option {}", call.name));
        }
        name => found.note(
            line,
            format!("the option {}", quoted(name)),
            "There is no such option; most need nothing here.",
        ),
    }
}

fn parameter(file: &mut Jenkinsfile, call: &Call) {
    let name = call.text("name", usize::MAX).unwrap_or_default();
    file.found.note(
        call.line,
        format!("the parameter {}", quoted(&name)),
        "A build has none: what varies is the commit. A choice of environments is several [deploy.NAME] with `on`.",
    );
}
