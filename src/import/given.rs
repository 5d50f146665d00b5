//! What slipway.toml gives to builds and tests: arguments with placeholders, variables, secrets, services.

use std::collections::BTreeMap;

use slipway_core::spec::OURS;

use super::found::Service;
use super::sheet::{Sheet, key, list, string, table};

/// What stands in the place of a value that looked like a secret.
const HIDDEN: &str = "***";

/// Arguments with placeholders.
pub(super) fn varying_args(sheet: &mut Sheet, args: &BTreeMap<String, String>) {
    for (name, value) in args {
        sheet.put(&format!("{} = {}", key(name), string(value)), "");
    }
}

/// What a test has in its environment, but for what the server says itself.
pub(super) fn test_env(sheet: &mut Sheet, env: &BTreeMap<String, String>) {
    let said: Vec<(&String, &String)> = plain(env).collect();
    if !said.is_empty() {
        sheet.put(&format!("env = {}", table(said.into_iter())), "");
    }
    hidden(sheet, env);
}

/// Secrets of a test.
pub(super) fn test_secrets(sheet: &mut Sheet, names: &[String], repo: &str) {
    if let Some(first) = names.first() {
        let remark = format!("slipway secret set {repo} {first} --for test");
        sheet.put(&format!("secrets = {}", list(names)), &remark);
    }
}

/// Containers beside a test.
pub(super) fn services(sheet: &mut Sheet, services: &[Service]) {
    for service in services {
        let env: Vec<(&String, &String)> = plain(&service.env).collect();
        let env = if env.is_empty() { String::new() } else { format!(", env = {}", table(env.into_iter())) };
        let text = format!("services.{} = {{ image = {}{env} }}", key(&service.name), string(&service.image));
        sheet.put(&text, &format!("line {}; ready = [\"a\", \"command\"] waits for it", service.line));
        hidden(sheet, &service.env);
    }
}

fn plain(env: &BTreeMap<String, String>) -> impl Iterator<Item = (&String, &String)> {
    let is_ours = |name: &str| name == "CI" || name.starts_with(OURS);
    env.iter().filter(move |(name, value)| !value.contains(HIDDEN) && !is_ours(name))
}

/// Values that are not repeated: they belong among the secrets.
fn hidden(sheet: &mut Sheet, env: &BTreeMap<String, String>) {
    for name in env.iter().filter(|(_, value)| value.contains(HIDDEN)).map(|(name, _)| name) {
        sheet.comment(
            &format!("secrets = [{}]", string(name)),
            "its value stands in the file: make it a secret",
        );
    }
}
