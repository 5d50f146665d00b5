//! Steps of Jenkins and of its plugins that stand for themselves.

use super::Jenkinsfile;
use crate::import::found::quoted;
use crate::import::groovy::{Call, Value};
use crate::import::manifests;
use crate::import::scope::Scope;

pub(in crate::import) const REPORTS: &str =
    "A test leaves its log: print there what matters, or let the test itself send its reports.";
pub(in crate::import) const BY_HAND: &str = "What moves behind it has `on = {}`: nothing moves it until somebody says `slipway build promote REPO N --to NAME`.";
pub(in crate::import) const TELLS: &str = "A webhook on `build` tells an address of yours how builds end; what writes to people stands behind that.";

/// Steps that keep reports and files.
const KEEPING: [&str; 15] = [
    "junit",
    "publishHTML",
    "archiveArtifacts",
    "archive",
    "xunit",
    "jacoco",
    "cobertura",
    "recordIssues",
    "publishCoverage",
    "recordCoverage",
    "step",
    "allure",
    "publishTestResults",
    "nunit",
    "perfReport",
];
/// Steps that tell somebody.
const TELLING: [&str; 15] = [
    "slackSend",
    "mail",
    "emailext",
    "office365ConnectorSend",
    "hipchatSend",
    "discordSend",
    "telegramSend",
    "googlechatnotification",
    "mattermostSend",
    "rocketSend",
    "updateGitlabCommitStatus",
    "githubNotify",
    "bitbucketStatusNotify",
    "httpRequest",
    "snsPublish",
];
/// Steps of which nothing is left to do.
const DONE: [&str; 8] = [
    "stash",
    "unstash",
    "cleanWs",
    "deleteDir",
    "milestone",
    "ecrLogin",
    "writeFile",
    "dockerFingerprintFrom",
];
/// Steps that say or look at something.
const IDLE: [&str; 22] = [
    "echo",
    "println",
    "print",
    "error",
    "unstable",
    "sleep",
    "fileExists",
    "readJSON",
    "readYaml",
    "readProperties",
    "isUnix",
    "pwd",
    "writeJSON",
    "writeYaml",
    "tool",
    "string",
    "scm",
    "when",
    "findFiles",
    "addBadge",
    "label",
    "name",
];

/// Carries out a call, if it is one of these.
pub(super) fn call(file: &mut Jenkinsfile, call: &Call, scope: &mut Scope) -> bool {
    let line = call.line;
    match call.name.as_str() {
        "sh" | "bat" | "powershell" | "pwsh" => file.script(call, scope),
        "checkout" | "git" => checkout(file, call, scope),
        "build" => job(file, call, scope),
        "input" => {
            file.held = true;
            scope.when.by_hand = true;
            file.found.note(line, "waits for a person", BY_HAND);
        }
        "kubernetesDeploy" | "openshiftDeploy" => {
            file.found.cluster.get_or_insert(line);
            manifests::wrote(&mut file.found, scope, line, call.name.clone(), None);
        }
        "waitForQualityGate" => {
            file.found.note(line, "waits for SonarQube", "Let the test stage itself ask, and fail.");
        }
        name if KEEPING.contains(&name) => {
            file.found.note(line, format!("{name}: reports and files of a build"), REPORTS);
        }
        name if TELLING.contains(&name) => {
            file.found.notified.push(line);
            let when = scope.after.as_ref().map(|after| format!(" ({})", quoted(after))).unwrap_or_default();
            file.found.note(line, format!("{name}{when}"), TELLS);
        }
        name if DONE.contains(&name) => file.found.done(line, name),
        name if IDLE.contains(&name) || name.starts_with("currentBuild.") => {}
        _ => return false,
    }
    true
}

/// `checkout scm` is done already; another repository is where manifests may be.
fn checkout(file: &mut Jenkinsfile, call: &Call, scope: &mut Scope) {
    let url = call
        .text("url", 0)
        .filter(|url| url.contains('/'))
        .or_else(|| call.args.iter().find_map(|(_, v)| deep(v, "url")));
    let branch =
        call.text("branch", 1).or_else(|| call.args.iter().find_map(|(_, value)| deep(value, "name")));
    let branch = branch.map(|branch| scope.expand(&branch).trim_start_matches("*/").to_owned());
    let url = url.map(|url| scope.expand(&url));
    let about = format!("{} {}", url.as_deref().unwrap_or_default(), scope.stage).to_lowercase();
    let other = ["manifest", "gitops", "deploy", "k8s", "kube", "helm", "argo", "infra"]
        .iter()
        .any(|word| about.contains(word));
    match url {
        Some(url) if other || !file.found.builds.is_empty() => {
            manifests::cloned(scope, &url, branch, Some("."))
        }
        _ => file.found.done(call.line, "the checkout"),
    }
}

/// The text under that key, however deep in lists and maps.
fn deep(value: &Value, key: &str) -> Option<String> {
    match value {
        Value::List(values) => values.iter().find_map(|value| deep(value, key)),
        Value::Map(entries) => {
            let own = entries.iter().find(|(name, _)| name == key).and_then(|(_, value)| value.text());
            own.or_else(|| entries.iter().find_map(|(_, value)| deep(value, key)))
        }
        _ => None,
    }
}

/// `build job: 'ManifestUpdate'`: the job that writes manifests, or another one.
fn job(file: &mut Jenkinsfile, call: &Call, scope: &Scope) {
    let name = call.text("job", 0).map(|name| scope.expand(&name)).unwrap_or_default();
    let lower = format!("{name} {}", scope.stage).to_lowercase();
    let writes = ["manifest", "deploy", "gitops", "k8s", "argo", "helm", "release", "update"]
        .iter()
        .any(|word| lower.contains(word));
    let by = format!("build job: {}", quoted(&name));
    if !writes {
        let cure = "Let a webhook on `build` start what follows a build.";
        return file.found.note(call.line, by, cure);
    }
    manifests::wrote(&mut file.found, scope, call.line, by.clone(), None);
    file.found.note(
        call.line,
        by,
        "[deploy.NAME] takes its place: name the repository and the path that the job writes; `slipway import` reads its Jenkinsfile, too.",
    );
}

/// `time: 20, unit: 'MINUTES'` as slipway.toml has it.
pub(super) fn time(call: &Call) -> Option<String> {
    let number: u64 = call.text("time", 0)?.parse().ok()?;
    Some(match call.text("unit", usize::MAX).as_deref() {
        Some("SECONDS") => format!("{number}s"),
        Some("HOURS") => format!("{number}h"),
        Some("DAYS") => format!("{}h", number.checked_mul(24)?),
        _ => format!("{number}m"),
    })
}
