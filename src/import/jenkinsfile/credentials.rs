//! What Jenkins gives to steps for a while: credentials, logins at AWS and at registries.

use super::Jenkinsfile;
use crate::import::found::quoted;
use crate::import::groovy::{Call, Value};
use crate::import::reference::Reference;
use crate::import::scope::Scope;

/// Carries out a call, if it is one of these.
pub(super) fn call(file: &mut Jenkinsfile, call: &Call, scope: &mut Scope) -> bool {
    let block = call.block.as_ref();
    match call.name.as_str() {
        "withCredentials" => {
            for (_, value) in &call.args {
                bindings(file, call.line, value);
            }
            file.inner(block, scope);
        }
        "withAWS" => {
            let region = call.text("region", usize::MAX).map(|region| scope.expand(&region));
            if let Some(region) = region.filter(|region| !region.contains('$')) {
                file.found.region.get_or_insert(region);
            }
            file.found
                .done(call.line, "the login at AWS: the server's own, or `slipway registry add --username`");
            file.inner(block, scope);
        }
        "docker.withRegistry" | "withDockerRegistry" => registry(file, call, scope),
        "sshagent" => {
            file.found.done(call.line, "the SSH key: manifests are written without one");
            file.inner(block, scope);
        }
        "withKubeConfig" | "withKubeCredentials" | "kubeconfig" => {
            file.found.cluster.get_or_insert(call.line);
            file.found.done(call.line, "the kubeconfig: given once to `slipway cluster add`");
            file.inner(block, scope);
        }
        "withVault" | "configFileProvider" | "withSonarQubeEnv" | "withGroovy" | "withChecks" => {
            let what = format!("`{}`", call.name);
            file.found.note(call.line, what, "Give what the build needs of it with `slipway secret set`.");
            file.inner(block, scope);
        }
        _ => return false,
    }
    true
}

fn bindings(file: &mut Jenkinsfile, line: usize, value: &Value) {
    match value {
        Value::List(values) => values.iter().for_each(|value| bindings(file, line, value)),
        Value::Call(call) => {
            let named: Vec<(String, String)> =
                call.args.iter().filter_map(|(name, value)| Some((name.clone()?, value.text()?))).collect();
            binding(file, call.line, &named, &call.name);
        }
        Value::Map(entries) => {
            let named: Vec<(String, String)> =
                entries.iter().filter_map(|(name, value)| Some((name.clone(), value.text()?))).collect();
            let class = named.iter().find(|(name, _)| name == "$class").map(|(_, class)| class.clone());
            binding(file, line, &named, &class.unwrap_or_default());
        }
        _ => {}
    }
}

fn binding(file: &mut Jenkinsfile, line: usize, named: &[(String, String)], class: &str) {
    let get = |wanted: &str| named.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
    let id = get("credentialsId").unwrap_or_default();
    if class.contains("AmazonWebServices") || class == "aws" {
        let variables = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
        for (key, usual) in ["accessKeyVariable", "secretKeyVariable"].iter().zip(variables) {
            file.found.secret(line, get(key).unwrap_or(usual), id);
            file.found.uses(
                &format!("${{{}}}", get(key).unwrap_or(usual)),
                crate::import::found::Purpose::Registry,
            );
        }
        return;
    }
    const VARIABLES: [&str; 7] = [
        "variable",
        "usernameVariable",
        "passwordVariable",
        "keyFileVariable",
        "fileVariable",
        "keystoreVariable",
        "tokenVariable",
    ];
    for name in VARIABLES.iter().filter_map(|key| get(key)) {
        file.found.secret(line, name, id);
    }
    if class.starts_with("kubeconfig") {
        file.found.cluster.get_or_insert(line);
    }
}

/// `docker.withRegistry(url, credentials) { … }`: names without a host are that host's.
fn registry(file: &mut Jenkinsfile, call: &Call, scope: &Scope) {
    let map = call
        .args
        .first()
        .and_then(|(_, value)| if let Value::Map(entries) = value { Some(entries) } else { None });
    let of_map =
        |name: &str| map.and_then(|m| m.iter().find(|(n, _)| n == name)).and_then(|(_, value)| value.text());
    let url = of_map("url").or_else(|| call.text("url", 0)).map(|url| scope.expand(&url)).unwrap_or_default();
    let id = of_map("credentialsId").or_else(|| call.text("credentialsId", 1)).unwrap_or_default();
    let id = scope.expand(&id);
    let mut inner = scope.clone();
    let host = Reference::read(&format!("{}/x", url.trim_end_matches('/')));
    inner.registry = host.host.or(Some(url.trim_start_matches("https://").trim_end_matches('/').to_owned()));
    inner.registry = inner.registry.filter(|host| !host.is_empty());
    if let Some(region) = id.strip_prefix("ecr:").and_then(|rest| rest.split(':').next()) {
        file.found.region.get_or_insert(region.to_owned());
        file.found.done(call.line, "the login at ECR: fetched and refreshed by the server");
    } else if !id.is_empty() {
        file.found.password = true;
        file.found
            .done(call.line, format!("the login {}: given once to `slipway registry add`", quoted(&id)));
    }
    if inner
        .registry
        .as_deref()
        .is_some_and(|host| host.contains("index.docker.io") || host.contains("hub.docker"))
    {
        inner.registry = Some("docker.io".into());
    }
    file.inner(call.block.as_ref(), &mut inner);
}
