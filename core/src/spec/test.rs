//! `[test]` of slipway.toml.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::kept::{self, KeptPath};
use super::services::ServiceSpec;
use super::text::Text;
use super::values::{duration_ms, size_bytes, some_duration_ms};
use super::variables::{TestSecret, check_variable};
use crate::ceilings::Capabilities;
use crate::limits::{TEST_SECRETS_MAX, TEST_SERVICES_MAX, VARIABLES_MAX};
use crate::place::Wrong;

/// `[test]`: at most one of `target`, `run` and `shell`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TestSpec {
    /// A Dockerfile stage whose build is the test.
    pub target: Option<String>,
    /// A command in the built image.
    pub run: Option<Vec<String>>,
    /// A line for the built image's `/bin/sh`.
    pub shell: Option<String>,
    /// Variables of its environment.
    pub env: BTreeMap<String, Text>,
    /// Secrets of the repository that it is given.
    pub secrets: Vec<TestSecret>,
    /// What runs beside it, by name.
    pub services: BTreeMap<String, ServiceSpec>,
    /// Reports (JUnit's XML) that it leaves in its container: they are read, and kept.
    pub reports: Vec<KeptPath>,
    /// Other files that are kept of it.
    pub artifacts: Vec<KeptPath>,
    /// Capabilities beyond none.
    pub capabilities: Capabilities,
    /// `none`, `internal` or `bridge`.
    pub network: Network,
    /// Memory for the test, in bytes.
    #[serde(rename = "memory", deserialize_with = "size_bytes")]
    pub memory_bytes: u64,
    /// Processors for the test.
    pub cpus: f64,
    /// Time for the test.
    #[serde(rename = "timeout", deserialize_with = "duration_ms")]
    pub timeout_ms: u64,
    /// How long it may say nothing; absent is as the server has it.
    #[serde(rename = "silence", deserialize_with = "some_duration_ms")]
    pub silence_ms: Option<u64>,
}

/// What network a test container has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// Loopback only.
    #[default]
    None,
    /// One that leads nowhere: no other machine, and not this one.
    Internal,
    /// The engine's bridge.
    Bridge,
}

impl Network {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Internal => "internal",
            Self::Bridge => "bridge",
        }
    }
}

/// One test as it is carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Test {
    /// Nothing is declared.
    None,
    /// Build this stage.
    Target(String),
    /// Run this in the built image.
    Run(Vec<String>),
}

impl Default for TestSpec {
    fn default() -> Self {
        Self {
            target: None,
            run: None,
            shell: None,
            env: BTreeMap::new(),
            secrets: Vec::new(),
            services: BTreeMap::new(),
            reports: Vec::new(),
            artifacts: Vec::new(),
            capabilities: Capabilities::default(),
            network: Network::None,
            memory_bytes: 1 << 30,
            cpus: 2.0,
            timeout_ms: 10 * 60_000,
            silence_ms: None,
        }
    }
}

impl TestSpec {
    /// What serde cannot say, with the way to it from `[test]`.
    pub(super) fn check(&self) -> Result<(), Wrong> {
        let given =
            [("target", self.target.is_some()), ("run", self.run.is_some()), ("shell", self.shell.is_some())];
        if let Some((second, _)) = given.iter().filter(|(_, given)| *given).nth(1) {
            return Err(Wrong::at(second, "[test] has more than one of target, run and shell").itself());
        }
        if self.run.as_ref().is_some_and(Vec::is_empty) {
            return Err(Wrong::at("run", "test.run is empty; it wants a program and its arguments"));
        }
        if !(self.cpus > 0.0 && self.cpus <= 1024.0) {
            return Err(Wrong::at("cpus", "test.cpus must lie above 0 and up to 1024"));
        }
        if self.memory_bytes < 8 << 20 {
            return Err(Wrong::at("memory", "test.memory must be 8MiB or more"));
        }
        self.check_kinds()?;
        self.check_counts()?;
        self.check_environment()
    }

    /// What is for a command alone.
    fn check_kinds(&self) -> Result<(), Wrong> {
        let given = [
            ("env", !self.env.is_empty()),
            ("secrets", !self.secrets.is_empty()),
            ("services", !self.services.is_empty()),
            ("capabilities", !self.capabilities.is_empty()),
            ("reports", !self.reports.is_empty()),
            ("artifacts", !self.artifacts.is_empty()),
        ];
        if self.run.is_none()
            && self.shell.is_none()
            && let Some((key, _)) = given.into_iter().find(|(_, is)| *is)
        {
            let cure = "a stage of the Dockerfile has ARG and RUN --mount=type=secret";
            return Err(Wrong::at(key, format!("test.{key} is for run and shell; {cure}")).itself());
        }
        Ok(())
    }

    fn check_counts(&self) -> Result<(), Wrong> {
        for (key, count, most, what) in [
            ("services", self.services.len(), TEST_SERVICES_MAX, "services"),
            ("reports", self.reports.len(), kept::PATTERNS_MAX, "paths"),
            ("artifacts", self.artifacts.len(), kept::PATTERNS_MAX, "paths"),
            ("env", self.env.len(), VARIABLES_MAX, "variables"),
            ("secrets", self.secrets.len(), TEST_SECRETS_MAX, "secrets"),
        ] {
            if count > most {
                return Err(Wrong::at(key, format!("test.{key} has more than {most} {what}")));
            }
        }
        Ok(())
    }

    fn check_environment(&self) -> Result<(), Wrong> {
        for (name, service) in &self.services {
            service.check(name)?;
        }
        for name in self.env.keys() {
            check_variable(name).map_err(|why| Wrong::at("env", why).key(name).itself())?;
        }
        let mut places = BTreeSet::new();
        for (one, number) in self.secrets.iter().zip(0..) {
            let taken = one.place.variable().is_some_and(|variable| self.env.contains_key(variable));
            if taken || !places.insert(one.place.clone()) {
                let told = format!("{} of test.secrets is given twice", one.place);
                return Err(Wrong::at("secrets", told).item(number));
            }
        }
        Ok(())
    }

    /// The test to carry out.
    pub fn test(&self) -> Test {
        if let Some(target) = &self.target {
            return Test::Target(target.clone());
        }
        if let Some(argv) = &self.run {
            return Test::Run(argv.clone());
        }
        match &self.shell {
            Some(line) => Test::Run(vec!["/bin/sh".into(), "-ec".into(), line.clone()]),
            None => Test::None,
        }
    }
}
