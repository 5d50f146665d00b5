//! What is told to people where a backup is not what it should be, or cannot be written.

use std::io;
use std::path::Path;

use slipway_core::{Problem, ProblemKind};

/// The backup is not whole.
pub(crate) fn damaged(what: impl std::fmt::Display) -> Problem {
    Problem::new(ProblemKind::Broken, format!("The backup is damaged: {what}."), "Use another backup.")
}

/// The backup ends too early.
pub(crate) fn cut_short() -> Problem {
    Problem::new(ProblemKind::Broken, "The backup ends before its end.", "Use another backup.")
}

/// It is none.
pub(crate) fn none(what: impl Into<String>) -> Problem {
    Problem::new(ProblemKind::Invalid, what, "Name what `slipway backup` has written.")
}

/// A file cannot be read.
pub(crate) fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> Problem {
    let path = path.display().to_string();
    move |e| {
        Problem::new(
            ProblemKind::Broken,
            format!("{path} cannot be read: {e}."),
            "Check the path, its permissions and its disk.",
        )
    }
}

/// A file cannot be written.
pub(crate) fn unwritable(path: &Path) -> impl FnOnce(io::Error) -> Problem {
    let path = path.display().to_string();
    move |e| {
        Problem::new(
            ProblemKind::Broken,
            format!("{path} cannot be written: {e}."),
            "Check its folder, the permissions and the free space.",
        )
    }
}
