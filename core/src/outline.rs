//! What a build's log is made of, read from its text: stages, the steps of the Dockerfile within them, and the line where
//! a failure begins. Pure: bytes in, places out; made again from the log wherever it is lost.
//!
//! A stage begins with `== TITLE`; a line of BuildKit's begins with `#N`, first with the step's name, last with how it
//! ended. A test can print the same words: what comes of that is a group too many on the page of its own build.

use serde::{Deserialize, Serialize};

use crate::build::Stage;

mod first_line;
mod words;
pub use self::first_line::Search;
use self::words::{Said, Words, said};

/// Stages that are told apart in one log: what is tried again begins anew.
const STAGES_MAX: usize = 64;
/// Steps that are told apart in one log.
const STEPS_MAX: usize = 2_000;
/// Pieces of the log that one step may have: steps run beside each other.
const PIECES_MAX: usize = 64;
/// Characters of a step's name.
const NAME_CHARS_MAX: usize = 300;

/// The stages of a log, as far as it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outline {
    /// How far, in bytes: the end of the last whole line.
    pub read: u64,
    /// The stages, in order; one that was tried again is there again.
    pub stages: Vec<StagePart>,
    /// Steps of all stages so far.
    steps: usize,
}

/// One stage's part of a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StagePart {
    /// Which.
    pub stage: Stage,
    /// Where it begins.
    pub start: u64,
    /// Where it ends, or has come.
    pub end: u64,
    /// How it ended.
    pub state: PartState,
    /// The steps of the Dockerfile within it.
    pub steps: Vec<StepPart>,
}

/// One step's part of a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepPart {
    /// The number that its lines begin with.
    pub number: u64,
    /// Such as `[2/3] RUN make`.
    pub name: String,
    /// How it ended.
    pub state: PartState,
    /// How long it took, where that is said.
    pub took_ms: Option<u64>,
    /// Its lines: from where to where, in order.
    pub pieces: Vec<(u64, u64)>,
}

/// How a part of a log ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PartState {
    /// It has not.
    Running,
    /// Well.
    Done,
    /// From the engine's cache.
    Cached,
    /// Not well.
    Failed,
    /// Somebody stopped it, or a newer commit took its place.
    Stopped,
}

impl Outline {
    /// Reads on. `bytes` are those of the log from [`Outline::read`] on; what follows the last line's end is left for the
    /// next time.
    pub fn take(&mut self, bytes: &[u8]) {
        for line in bytes.split_inclusive(|b| *b == b'\n') {
            if line.ends_with(b"\n") {
                let (from, to) = (self.read, self.read.saturating_add(line.len() as u64));
                self.line(&String::from_utf8_lossy(line), from, to);
                self.read = to;
            }
        }
    }

    fn line(&mut self, line: &str, from: u64, to: u64) {
        let said = said(line.trim_end());
        if let Said::Stage(stage) = said {
            self.begin(stage, from);
        }
        let Some(current) = self.stages.last_mut() else { return };
        current.end = to;
        match said {
            Said::Over(state) => current.state = state,
            Said::Step { number, words } => current.step(&mut self.steps, number, &words, (from, to)),
            Said::Stage(_) | Said::Other => {}
        }
    }

    fn begin(&mut self, stage: Stage, at: u64) {
        if let Some(before) = self.stages.last_mut()
            && before.state == PartState::Running
        {
            before.state = PartState::Done;
        }
        if self.stages.len() < STAGES_MAX {
            self.stages.push(StagePart {
                stage,
                start: at,
                end: at,
                state: PartState::Running,
                steps: Vec::new(),
            });
        }
    }
}

impl StagePart {
    fn step(&mut self, steps: &mut usize, number: u64, words: &Words<'_>, piece: (u64, u64)) {
        // A step that is over has no further lines: what is called so now is of another try of the same stage.
        let again = |step: &StepPart| matches!(words, Words::Name(_)) && step.state != PartState::Running;
        let known = self.steps.iter().rposition(|step| step.number == number);
        let known = known.filter(|at| self.steps.get(*at).is_some_and(|step| !again(step)));
        let at = match (known, words) {
            (Some(at), _) => at,
            // Nothing begins in the middle: a line that only looks like one is part of what is around it.
            (None, Words::Name(name)) if *steps < STEPS_MAX => {
                *steps += 1;
                let name = name.chars().take(NAME_CHARS_MAX).collect();
                let pieces = Vec::new();
                self.steps.push(StepPart { number, name, state: PartState::Running, took_ms: None, pieces });
                self.steps.len() - 1
            }
            (None, _) => return,
        };
        if let Some(step) = self.steps.get_mut(at) {
            step.take(words, piece);
        }
    }
}

impl StepPart {
    fn take(&mut self, words: &Words<'_>, (from, to): (u64, u64)) {
        if let Words::End { state, took_ms } = words
            && self.state == PartState::Running
        {
            (self.state, self.took_ms) = (*state, *took_ms);
        }
        let full = self.pieces.len() >= PIECES_MAX;
        match self.pieces.last_mut() {
            Some(last) if last.1 == from || full => last.1 = to,
            _ => self.pieces.push((from, to)),
        }
    }
}

#[cfg(test)]
mod tests;
