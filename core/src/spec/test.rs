//! `[test]` of slipway.toml.

use serde::{Deserialize, Serialize};

use super::values::{duration_ms, size_bytes};

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
            network: Network::None,
            memory_bytes: 1 << 30,
            cpus: 2.0,
            timeout_ms: 10 * 60_000,
        }
    }
}

impl TestSpec {
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
