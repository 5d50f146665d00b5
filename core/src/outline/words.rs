//! What one line of a log says of the log's parts.

use super::PartState;
use crate::build::Stage;

/// What a line says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said<'a> {
    /// A stage begins.
    Stage(Stage),
    /// The stage is over, and so.
    Over(PartState),
    /// It is a step's.
    Step {
        /// Which.
        number: u64,
        /// What it says of the step.
        words: Words<'a>,
    },
    /// Nothing of that.
    Other,
}

/// What a line of a step says of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Words<'a> {
    /// Its name: the first line of a step is that.
    Name(&'a str),
    /// Output, the text behind the seconds.
    Output(&'a str),
    /// Its end.
    End {
        /// How.
        state: PartState,
        /// How long it took.
        took_ms: Option<u64>,
    },
}

/// Reads one line.
pub(super) fn said(line: &str) -> Said<'_> {
    if let Some(rest) = line.strip_prefix("== ") {
        return own(rest);
    }
    let step = line.strip_prefix('#').and_then(|rest| rest.split_once(' '));
    match step.and_then(|(number, rest)| Some((number.parse().ok()?, rest))) {
        Some((number, rest)) => Said::Step { number, words: of_step(rest) },
        None => Said::Other,
    }
}

/// A line of the program's own, behind `== `.
fn own(rest: &str) -> Said<'_> {
    if let Some(stage) = Stage::ALL.into_iter().find(|stage| stage.title() == rest) {
        return Said::Stage(stage);
    }
    let first = rest.split([' ', ':']).next();
    match first {
        Some("succeeded") => Said::Over(PartState::Done),
        Some("failed" | "try") => Said::Over(PartState::Failed),
        Some("cancelled" | "superseded") => Said::Over(PartState::Stopped),
        _ => Said::Other,
    }
}

fn of_step(rest: &str) -> Words<'_> {
    let end = |state, took_ms| Words::End { state, took_ms };
    if rest == "CACHED" {
        return end(PartState::Cached, None);
    }
    // Another step failed, and this one was not let go on.
    if rest.starts_with("CANCELED") || rest == "ERROR: context canceled" {
        return end(PartState::Stopped, None);
    }
    if rest.starts_with("ERROR: ") {
        return end(PartState::Failed, None);
    }
    if let Some(ms) = rest.strip_prefix("DONE ").and_then(milliseconds) {
        return end(PartState::Done, Some(ms));
    }
    match rest.split_once(' ').unwrap_or((rest, "")) {
        (seconds, text) if is_seconds(seconds) => Words::Output(text),
        _ => Words::Name(rest),
    }
}

/// `12.3s`.
fn milliseconds(text: &str) -> Option<u64> {
    let seconds: f64 = text.strip_suffix('s')?.parse().ok()?;
    (seconds.is_finite() && seconds >= 0.0).then_some((seconds * 1000.0) as u64)
}

/// `12.345`.
fn is_seconds(text: &str) -> bool {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    text.split_once('.').is_some_and(|(whole, part)| digits(whole) && digits(part) && part.len() == 3)
}
