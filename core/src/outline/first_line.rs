//! The line of a log where a failure begins: of the step that failed, or of the test, the first that looks like one;
//! where none does, the last that says anything.

use std::collections::HashMap;

use super::words::{Said, Words, said};
use super::{PartState, STEPS_MAX};
use crate::build::{FirstLine, Stage};

/// Characters of the line that are kept.
const TEXT_CHARS_MAX: usize = 300;
/// Bytes of a line that are looked at.
const LOOKED_BYTES_MAX: usize = 4 << 10;
/// What lines say that tell a failure, in small letters.
const TELLS: [&str; 22] = [
    "error:",
    "error[",
    "error!",
    "failed",
    "fail:",
    "--- fail",
    "panicked at",
    "panic:",
    "traceback (most recent call last)",
    "assertionerror",
    "assertion failed",
    "npm err!",
    "npm error",
    "fatal:",
    "exception in thread",
    "unhandled exception",
    "segmentation fault",
    "command not found",
    "no such file or directory",
    "permission denied",
    "undefined reference",
    "make: ***",
];
/// What takes it back: a count of none.
const DENIALS: [&str; 4] = ["0 failed", "failed: 0", "failed=0", "no error"];

/// Looks for that line, given the lines of one stage in order.
#[derive(Debug)]
pub struct Search {
    stage: Stage,
    /// What was found in each step; under `None` in lines of no step.
    steps: HashMap<Option<u64>, Candidate>,
    failed: Option<u64>,
    /// What follows is no output of the test any more.
    closed: bool,
}

#[derive(Debug, Default)]
struct Candidate {
    name: String,
    over: bool,
    telling: Option<(u64, String)>,
    last: Option<(u64, String)>,
}

impl Search {
    /// Has seen nothing yet.
    pub fn new(stage: Stage) -> Self {
        Self { stage, steps: HashMap::new(), failed: None, closed: false }
    }

    /// Takes the whole lines of `bytes`, which begin at `offset` of the log; the rest is left for the next time. Gives how
    /// many bytes that were.
    pub fn take(&mut self, bytes: &[u8], offset: u64) -> usize {
        let mut taken = 0;
        for line in bytes.split_inclusive(|b| *b == b'\n').filter(|line| line.ends_with(b"\n")) {
            let head = line.get(..LOOKED_BYTES_MAX).unwrap_or(line);
            self.line(String::from_utf8_lossy(head).trim_end(), offset.saturating_add(taken as u64));
            taken += line.len();
        }
        taken
    }

    fn line(&mut self, line: &str, at: u64) {
        match said(line) {
            Said::Step { number, words: Words::End { state, .. } } => {
                if let Some(step) = self.steps.get_mut(&Some(number)) {
                    step.over = true;
                }
                if state == PartState::Failed && self.failed.is_none() {
                    self.failed = Some(number);
                    self.keep(Some(number), at, line, true);
                }
            }
            Said::Step { number, words: Words::Name(name) } => {
                if self.steps.get(&Some(number)).is_some_and(|step| step.over) {
                    // Another try of the same stage.
                    (self.steps, self.failed) = (HashMap::new(), None);
                }
                if self.steps.len() < STEPS_MAX {
                    self.steps.entry(Some(number)).or_default().name =
                        name.chars().take(TEXT_CHARS_MAX).collect();
                }
            }
            Said::Step { number, words: Words::Output(text) } => self.keep(Some(number), at, text, false),
            Said::Stage(_) | Said::Over(_) => {}
            Said::Other => self.keep_other(at, line),
        }
    }

    /// Output of a test, or of a builder that numbers no steps; the command and what services said last are neither.
    fn keep_other(&mut self, at: u64, line: &str) {
        if line.starts_with("$ ") || line.starts_with("note: ") {
            return;
        }
        self.closed |= self.stage == Stage::Test && line.starts_with("the last lines of the service ");
        if !self.closed {
            self.keep(None, at, line, false);
        }
    }

    /// `only_if_none`: a step's own end is its line where it has said nothing.
    fn keep(&mut self, step: Option<u64>, at: u64, line: &str, only_if_none: bool) {
        let text = plain(line);
        if text.is_empty() || (self.steps.len() >= STEPS_MAX && !self.steps.contains_key(&step)) {
            return;
        }
        let found = self.steps.entry(step).or_default();
        if only_if_none && found.last.is_some() {
            return;
        }
        if found.telling.is_none() && tells(&text) {
            found.telling = Some((at, text.clone()));
        }
        found.last = Some((at, text));
    }

    /// What was found.
    pub fn found(mut self) -> Option<FirstLine> {
        let by_steps = self.failed.is_none() && self.steps.keys().any(Option::is_some);
        // No step failed: it is the Dockerfile or a base image, and the failure says what is with it.
        if by_steps && self.stage == Stage::Build {
            return None;
        }
        let Candidate { name, telling, last, .. } = self.steps.remove(&self.failed)?;
        let (offset, text) = telling.or(last)?;
        Some(FirstLine { stage: self.stage, step: Some(name).filter(|n| !n.is_empty()), offset, text })
    }
}

fn tells(text: &str) -> bool {
    let small = text.to_lowercase();
    TELLS.iter().any(|words| small.contains(words)) && !DENIALS.iter().any(|words| small.contains(words))
}

/// The text without terminals' orders and control characters, cut.
fn plain(line: &str) -> String {
    let mut out = String::new();
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' if chars.as_str().starts_with('[') => {
                chars.next();
                while chars.next().is_some_and(|c| !('\u{40}'..='\u{7e}').contains(&c)) {}
            }
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out.trim().chars().take(TEXT_CHARS_MAX).collect()
}
