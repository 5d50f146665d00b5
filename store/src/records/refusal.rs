//! The sentences with which the store refuses. Knows no records.

use std::fmt::Display;

use slipway_core::{Problem, ProblemKind};

use crate::error::StoreError;

/// There is no such thing.
pub(crate) fn missing(what: &str, name: impl Display) -> StoreError {
    refuse(ProblemKind::NotFound, format!("There is no {what} {name}."), "Check it against the list.")
}

/// The name is taken.
pub(crate) fn taken(what: &str, name: impl Display) -> StoreError {
    refuse(
        ProblemKind::Conflict,
        format!("There is already a {what} {name}."),
        "Use another one, or remove that one first.",
    )
}

/// The name is another's but for upper and lower case.
pub(crate) fn alike(what: &str, name: impl Display, other: &str) -> StoreError {
    refuse(
        ProblemKind::Conflict,
        format!(
            "There is already a {what} {other}, and {name} differs from it in upper and lower case alone."
        ),
        "Use another one, or remove that one first.",
    )
}

/// A limit on how many there may be.
pub(crate) fn full(what: &str, max: impl Display) -> StoreError {
    refuse(
        ProblemKind::TooLarge,
        format!("There are already {max} {what}, the most allowed."),
        "Remove some first.",
    )
}

/// A text is too long.
pub(crate) fn check_length(what: &str, text: &str, max: usize) -> Result<(), StoreError> {
    if text.len() <= max {
        return Ok(());
    }
    let told = format!("The {what} has {} bytes; {max} are allowed.", text.len());
    Err(refuse(ProblemKind::TooLarge, told, "Use a shorter one."))
}

/// Any other refusal.
pub(crate) fn refuse(kind: ProblemKind, what: impl Into<String>, cure: impl Into<String>) -> StoreError {
    StoreError::Refused(Problem::new(kind, what, cure))
}
