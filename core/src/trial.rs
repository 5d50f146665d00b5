//! A trial of a registry: every call that a push needs, in order, and what came of each.

use serde::{Deserialize, Serialize};

use crate::{Problem, ProblemKind};

/// How far a trial goes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Trial {
    /// An image path below the registry's prefix; without one, what is about a repository is left out.
    pub image: Option<String>,
    /// Whether something is written: a small image, which is removed again where that is allowed.
    pub write: bool,
}

/// What came of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It went through.
    Ok,
    /// It did not, and a push would not either.
    Failed,
    /// It was not tried, or does not matter.
    Skipped,
}

/// One call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Its name, such as `ecr:PutImage`.
    pub call: String,
    /// What came of it.
    pub outcome: Outcome,
    /// A sentence about it.
    pub what: String,
    /// What to do; empty for nothing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cure: String,
    /// The IAM statement that is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<serde_json::Value>,
}

/// All calls of a trial.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// In the order of a push.
    pub steps: Vec<Step>,
}

impl Report {
    /// True if nothing failed.
    pub fn ok(&self) -> bool {
        self.steps.iter().all(|step| step.outcome != Outcome::Failed)
    }

    /// The sentence that says most: of the first failure, else of the last call that went through.
    pub fn what(&self) -> String {
        let failed = self.steps.iter().find(|step| step.outcome == Outcome::Failed);
        let last = || self.steps.iter().rfind(|step| step.outcome == Outcome::Ok);
        match (failed, last()) {
            (Some(step), _) => format!("{}: {}", step.call, step.what),
            (None, Some(step)) => step.what.clone(),
            (None, None) => "Nothing was tried.".into(),
        }
    }

    /// The sentence about it, or of what failed first the problem.
    ///
    /// # Errors
    /// `Denied`, with the failing call.
    pub fn judged(&self) -> Result<String, Problem> {
        match self.steps.iter().find(|step| step.outcome == Outcome::Failed) {
            Some(step) => Err(Problem::new(ProblemKind::Denied, self.what(), step.cure.clone())),
            None => Ok(self.what()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(call: &str, outcome: Outcome) -> Step {
        Step {
            call: call.into(),
            outcome,
            what: format!("About {call}."),
            cure: "Mend it.".into(),
            policy: None,
        }
    }

    #[test]
    fn the_first_failure_speaks_for_all() {
        let mut report = Report {
            steps: vec![step("a", Outcome::Ok), step("b", Outcome::Ok), step("c", Outcome::Skipped)],
        };
        assert!(report.ok());
        assert_eq!(report.judged().expect("good"), "About b.");
        report.steps.extend([step("d", Outcome::Failed), step("e", Outcome::Failed)]);
        let problem = report.judged().expect_err("failed");
        assert_eq!(
            (report.ok(), problem.what.as_str(), problem.cure.as_str()),
            (false, "d: About d.", "Mend it.")
        );
        assert_eq!(Report::default().what(), "Nothing was tried.");
    }
}
