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
    /// What serde cannot say: the key that is wrong, and how.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        let given = [self.target.is_some(), self.run.is_some(), self.shell.is_some()];
        if given.iter().filter(|&&g| g).count() > 1 {
            return Err(("test", "[test] has more than one of target, run and shell".into()));
        }
        if self.run.as_ref().is_some_and(Vec::is_empty) {
            return Err(("run", "test.run is empty; it wants a program and its arguments".into()));
        }
        if !(self.cpus > 0.0 && self.cpus <= 1024.0) {
            return Err(("cpus", "test.cpus must lie above 0 and up to 1024".into()));
        }
        if self.memory_bytes < 8 << 20 {
            return Err(("memory", "test.memory must be 8MiB or more".into()));
        }
        self.check_environment()
    }

    fn check_environment(&self) -> Result<(), (&'static str, String)> {
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
            return Err((key, format!("test.{key} is for run and shell; {cure}")));
        }
        if self.services.len() > TEST_SERVICES_MAX {
            return Err(("services", format!("there are more than {TEST_SERVICES_MAX} services")));
        }
        self.services
            .iter()
            .try_for_each(|(name, service)| service.check(name).map_err(|why| ("services", why)))?;
        for (key, paths) in [("reports", &self.reports), ("artifacts", &self.artifacts)] {
            if paths.len() > kept::PATTERNS_MAX {
                return Err((key, format!("test.{key} has more than {} paths", kept::PATTERNS_MAX)));
            }
        }
        if self.env.len() > VARIABLES_MAX {
            return Err(("env", format!("test.env has more than {VARIABLES_MAX} variables")));
        }
        if self.secrets.len() > TEST_SECRETS_MAX {
            return Err(("secrets", format!("test.secrets has more than {TEST_SECRETS_MAX} secrets")));
        }
        for name in self.env.keys() {
            check_variable(name).map_err(|why| ("env", why))?;
        }
        let mut places = BTreeSet::new();
        let twice = self.secrets.iter().find(|one| !places.insert(one.place.clone()));
        let taken =
            self.secrets.iter().find(|one| one.place.variable().is_some_and(|v| self.env.contains_key(v)));
        match twice.or(taken) {
            Some(one) => Err(("secrets", format!("{} of test.secrets is given twice", one.place))),
            None => Ok(()),
        }
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
