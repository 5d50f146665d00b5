//! What is known of a build beside its image: the line of its log that tells why it failed.

use serde::{Deserialize, Serialize};

use super::{Build, Input, Stage};
use crate::id::UnixMillis;
use crate::kept::TestReport;
use crate::problem::{Problem, ProblemKind};
use crate::run::Next;

/// What was learned of a build while it ran, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Results {
    /// The first line of the log that tells the failure of the stages build and test.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_line: Option<FirstLine>,
    /// What reports of its test say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tests: Option<TestReport>,
    /// That its log is kept no longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_removed: Option<LogRemoved>,
}

/// That a log was removed, and by which rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRemoved {
    /// When.
    pub at: UnixMillis,
    /// Why: a clause that follows "was removed".
    pub because: String,
}

/// The line of a log where a failure begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirstLine {
    /// The stage that failed.
    pub stage: Stage,
    /// The step of the Dockerfile that failed, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// Where in the log the line begins, in bytes.
    pub offset: u64,
    /// Its text as the log has it, without colours, cut where it is long.
    pub text: String,
}

/// What was learned of a build by the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Learned {
    /// Where its failure begins.
    FirstLine(FirstLine),
    /// What reports of its test say.
    Tests(TestReport),
    /// Which engine has it from now on.
    Engine(String),
}

impl Results {
    /// True where nothing is known; said by saying nothing.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// A stage begins: what the last try has told is of the past.
    pub(super) fn begin(&mut self, stage: Stage) {
        self.first_line = None;
        if stage <= Stage::Test {
            self.tests = None;
        }
    }

    fn take(&mut self, learned: Learned) {
        match learned {
            Learned::FirstLine(line) => self.first_line = Some(line),
            Learned::Tests(report) => self.tests = Some(report),
            Learned::Engine(_) => {}
        }
    }
}

impl From<Learned> for Input {
    fn from(learned: Learned) -> Self {
        Self::Learned(learned)
    }
}

impl Build {
    /// `build 12`, or `build 12 (web)` where the commit has several images.
    pub fn label(&self) -> String {
        match &self.part {
            Some(part) => format!("build {} ({part})", self.number),
            None => format!("build {}", self.number),
        }
    }

    /// What is said in place of a log that was removed.
    pub fn removed_log(&self) -> Option<Problem> {
        let removed = self.results.log_removed.as_ref()?;
        let what = format!("The log of build {} was removed {}.", self.number, removed.because);
        Some(Problem::new(
            ProblemKind::NotFound,
            what,
            "What its record says is kept; a retry makes a new log.",
        ))
    }

    /// What is learned by the way moves nothing.
    pub(super) fn learn<E>(&mut self, learned: Learned) -> Next<E> {
        match learned {
            Learned::Engine(name) => self.engine = Some(name),
            learned => self.results.take(learned),
        }
        Next::Nothing
    }
}
