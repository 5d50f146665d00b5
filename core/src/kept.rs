//! What is kept of a test beside its verdict: files, and what reports among them say.

use serde::{Deserialize, Serialize};

/// What reports (JUnit's XML) say, all of them together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestReport {
    /// Tests.
    pub tests: u64,
    /// Those that failed.
    pub failures: u64,
    /// Those that broke.
    pub errors: u64,
    /// Those that were left out.
    pub skipped: u64,
    /// The first that failed or broke.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<FailedTest>,
}

/// A test that failed or broke.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedTest {
    /// Its name, with its class where it has one.
    pub name: String,
    /// The first words on why.
    pub message: String,
}

/// Files that were kept of a test.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptFiles {
    /// The files, in the order in which they lie on disk.
    pub files: Vec<KeptFile>,
    /// What reports among them say.
    pub report: Option<TestReport>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptFile {
    /// Its path in the test's container, without the first slash.
    pub path: String,
    /// Its size.
    pub bytes: u64,
}

impl KeptFiles {
    /// How many bytes they have together.
    pub fn bytes(&self) -> u64 {
        self.files.iter().fold(0, |all, file| all.saturating_add(file.bytes))
    }
}
