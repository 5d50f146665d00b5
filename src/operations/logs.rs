//! What is said of build logs that the disk does not give.

use slipway_core::{BuildNumber, Problem, ProblemKind};

pub(super) fn unreadable(number: BuildNumber, error: &std::io::Error) -> Problem {
    Problem::new(
        ProblemKind::Broken,
        format!("The log of build {number} cannot be read: {error}."),
        "Check the server's disk.",
    )
}

pub(super) fn not_removed(error: &std::io::Error) -> Problem {
    Problem::new(ProblemKind::Broken, format!("They cannot be deleted: {error}."), "Check the server's disk.")
}
