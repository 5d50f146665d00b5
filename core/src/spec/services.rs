//! `[test.services.NAME]`: what runs beside a test, such as a database.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::text::Text;
use super::values::{duration_ms, size_bytes};
use super::variables::{TestSecret, check_variable};
use crate::limits::{TEST_SECRETS_MAX, VARIABLES_MAX};
use crate::place::Wrong;

/// Longest name of a service: a label of a host's name (RFC 1123, 2.1).
const NAME_BYTES_MAX: usize = 63;
/// Longest name of an image, in bytes.
const IMAGE_BYTES_MAX: usize = 512;

/// A service: a container that the test reaches by its name.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceSpec {
    /// Its image.
    pub image: String,
    /// What is given to the image's entry point in place of the image's own command.
    #[serde(default)]
    pub command: Option<Vec<String>>,
    /// Variables of its environment.
    #[serde(default)]
    pub env: BTreeMap<String, Text>,
    /// Secrets of the repository that it is given.
    #[serde(default)]
    pub secrets: Vec<TestSecret>,
    /// A command in it that succeeds once it is ready; absent is the image's health check, and without one that it runs.
    #[serde(default)]
    pub ready: Option<Vec<String>>,
    /// How long it may take to be ready.
    #[serde(rename = "ready_timeout", default = "minute", deserialize_with = "duration_ms")]
    pub ready_timeout_ms: u64,
    /// Its memory, in bytes.
    #[serde(rename = "memory", default = "half_gib", deserialize_with = "size_bytes")]
    pub memory_bytes: u64,
}

fn minute() -> u64 {
    60_000
}

fn half_gib() -> u64 {
    512 << 20
}

impl ServiceSpec {
    /// What serde cannot say, with the way to it from `[test]`.
    pub(super) fn check(&self, name: &str) -> Result<(), Wrong> {
        let wrong = |key: &str, what: String| {
            let here = Wrong::at("services", what).key(name);
            if key.is_empty() { here.itself() } else { here.key(key) }
        };
        let inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        let ends = !name.starts_with('-') && !name.ends_with('-');
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !ends || !name.bytes().all(inner) {
            let shown: String = name.chars().take(40).collect();
            let told = format!("{shown:?} is no name of a service: it has small letters, digits and -");
            return Err(wrong("", told));
        }
        let odd = |c: char| c.is_whitespace() || c.is_control();
        if self.image.is_empty() || self.image.len() > IMAGE_BYTES_MAX || self.image.contains(odd) {
            let shown: String = self.image.chars().take(80).collect();
            let told = format!("{shown:?}, the image of the service {name}, is no name of an image");
            return Err(wrong("image", told));
        }
        if self.memory_bytes < 8 << 20 {
            return Err(wrong("memory", format!("the memory of the service {name} must be 8MiB or more")));
        }
        for (key, argv) in [("command", &self.command), ("ready", &self.ready)] {
            if argv.as_ref().is_some_and(Vec::is_empty) {
                let told =
                    format!("{key} of the service {name} is empty; it wants a program and its arguments");
                return Err(wrong(key, told));
            }
        }
        for (key, count, most) in
            [("env", self.env.len(), VARIABLES_MAX), ("secrets", self.secrets.len(), TEST_SECRETS_MAX)]
        {
            if count > most {
                return Err(wrong(key, format!("the service {name} has too many variables or secrets")));
            }
        }
        let check = |variable: &String| {
            check_variable(variable).map_err(|why| wrong("env", why).key(variable).itself())
        };
        self.env.keys().try_for_each(check)
    }
}
