//! Keys that slipway.toml does not have yet, written as comments: what is told here needs a line taken out once it has them.

use std::collections::BTreeMap;

use super::found::Service;
use super::sheet::{Sheet, key, list, string, table};

/// Arguments with placeholders.
pub(super) fn varying_args(sheet: &mut Sheet, args: &BTreeMap<String, String>) {
    for (name, value) in args {
        sheet.comment(&format!("{} = {}", key(name), string(value)), "placeholders in arguments: not yet");
    }
}

/// What a test has in its environment.
pub(super) fn test_env(sheet: &mut Sheet, env: &BTreeMap<String, String>) {
    if !env.is_empty() {
        sheet.comment(&format!("env = {}", table(env.iter())), "not yet; ENV in the Dockerfile does it now");
    }
}

/// Secrets of a test.
pub(super) fn test_secrets(sheet: &mut Sheet, names: &[String], repo: &str) {
    if let Some(first) = names.first() {
        let remark = format!("after: slipway secret set {repo} {first} --for test");
        sheet.comment(&format!("secrets = {}", list(names)), &remark);
    }
}

/// Containers beside a test.
pub(super) fn services(sheet: &mut Sheet, services: &[Service]) {
    for service in services {
        sheet.blank();
        sheet.comment(
            &format!("[test.services.{}]", key(&service.name)),
            &format!("line {}; not yet", service.line),
        );
        sheet.comment(&format!("image = {}", string(&service.image)), "");
        if !service.env.is_empty() {
            sheet.comment(&format!("env = {}", table(service.env.iter())), "");
        }
    }
}
