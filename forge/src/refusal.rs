//! The sentences with which use cases refuse.

use slipway_core::{BuildNumber, ClusterName, DeployNumber, Problem, ProblemKind, RegistryName, UserName};

/// The input is wrong.
pub(crate) fn invalid(what: impl Into<String>, cure: impl Into<String>) -> Problem {
    Problem::new(ProblemKind::Invalid, what, cure)
}

/// There is no such thing.
pub(crate) fn missing(what: impl Into<String>) -> Problem {
    Problem::new(ProblemKind::NotFound, what, "Check the address, or look at the list it belongs to.")
}

pub(crate) fn no_user(name: &UserName) -> Problem {
    Problem::new(
        ProblemKind::NotFound,
        format!("There is no user {:?}.", name.as_str()),
        "Check the name, or add the user with: slipway user add NAME",
    )
}

pub(crate) fn key_taken(fingerprint: &str) -> Problem {
    Problem::new(
        ProblemKind::Conflict,
        format!("The key {fingerprint} is already known here."),
        "A key proves one user: remove it there first, or use another.",
    )
}

pub(crate) fn no_registry(name: &RegistryName) -> Problem {
    Problem::new(
        ProblemKind::NotFound,
        format!("There is no registry {:?}.", name.as_str()),
        "Check the name with: slipway registry list",
    )
}

pub(crate) fn no_cluster(name: &ClusterName) -> Problem {
    Problem::new(
        ProblemKind::NotFound,
        format!("There is no cluster {:?}.", name.as_str()),
        "Check the name with: slipway cluster list",
    )
}

/// The first characters of what somebody typed, for a sentence.
pub(crate) fn cut(raw: &str) -> String {
    raw.chars().take(80).collect()
}

/// A name or title that people give things: one plain line.
pub(crate) fn plain_line(raw: &str, what: &str, bytes_max: usize) -> Result<String, Problem> {
    let text = raw.trim();
    if text.len() > bytes_max || text.chars().any(char::is_control) {
        return Err(invalid(
            format!("The {what} is longer than {bytes_max} bytes or has control characters."),
            "Give a shorter, plain line.",
        ));
    }
    Ok(text.to_owned())
}

pub(crate) fn no_build(number: BuildNumber) -> Problem {
    Problem::new(ProblemKind::NotFound, format!("There is no build {number}."), "See slipway build list.")
}

pub(crate) fn no_deploy(number: DeployNumber) -> Problem {
    Problem::new(ProblemKind::NotFound, format!("There is no deploy {number}."), "See slipway deploy list.")
}
