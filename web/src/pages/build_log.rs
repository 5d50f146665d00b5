//! A build's log on its page: stages and the steps of its Dockerfile, each to be opened; the one that failed is open, and
//! the line where the failure begins is marked.

use slipway_core::Problem;
use slipway_core::outline::{PartState, StagePart, StepPart};
use slipway_forge::logs::Log;

use super::mark::Mark;
use crate::limits::LOG_PAGE_BYTES;
use crate::text::{duration, escape_into, without_ansi};

/// What a page shows of a log.
#[derive(Default)]
pub(super) struct Shown {
    /// Stages as HTML.
    pub(super) groups: String,
    /// What follows them and grows, or is in no stage.
    pub(super) rest: String,
    /// Bytes before that are left out.
    pub(super) left_out: u64,
    /// Where the page's part ends.
    pub(super) end: u64,
}

impl Shown {
    /// In place of a log that cannot be read.
    pub(super) fn words(problem: &Problem) -> Self {
        Self { rest: problem.to_string(), ..Self::default() }
    }
}

/// The last part of a log, in groups; the last stage of one that grows is not among them. `first` is where the line lies
/// that is marked. Blocking.
pub(super) fn read(log: &Log, first: Option<u64>, grows: bool) -> Result<Shown, Problem> {
    let window = Window::read(log)?;
    let mut stages = log.outline()?.stages;
    let open = match stages.last() {
        Some(last) if grows => {
            let start = last.start;
            stages.pop();
            start
        }
        Some(last) => last.end,
        None => 0,
    };
    let mut groups = String::new();
    if let Some(first_stage) = stages.first() {
        window.lines(&mut groups, &[(0, first_stage.start)], first);
    }
    for stage in &stages {
        window.stage(&mut groups, stage, first);
    }
    let rest = without_ansi(&window.text(open, window.end));
    Ok(Shown { groups, rest, left_out: window.start, end: window.end })
}

/// Places of a log: from where to where.
type Places = Vec<(u64, u64)>;

/// The part of a log that a page has: whole lines.
struct Window {
    bytes: Vec<u8>,
    start: u64,
    end: u64,
}

impl Window {
    fn read(log: &Log) -> Result<Self, Problem> {
        let from = log.size()?.saturating_sub(LOG_PAGE_BYTES);
        let (mut bytes, mut at) = (Vec::new(), from);
        // A log that grows while it is read must not keep this page waiting.
        while (bytes.len() as u64) < 2 * LOG_PAGE_BYTES {
            let chunk = log.read(at)?;
            if chunk.bytes.is_empty() {
                break;
            }
            at = chunk.end();
            bytes.extend_from_slice(&chunk.bytes);
        }
        let first = match from {
            0 => 0,
            _ => bytes.iter().position(|b| *b == b'\n').map_or(0, |n| n + 1),
        };
        let last = bytes.iter().rposition(|b| *b == b'\n').map_or(bytes.len(), |n| n + 1).max(first);
        bytes.truncate(last);
        bytes.drain(..first);
        let start = from.saturating_add(first as u64);
        Ok(Self { start, end: start.saturating_add(bytes.len() as u64), bytes })
    }

    /// What it has between two places of the log.
    fn text(&self, from: u64, to: u64) -> String {
        let within = |at: u64| usize::try_from(at.clamp(self.start, self.end) - self.start).unwrap_or(0);
        let bytes = self.bytes.get(within(from)..within(to)).unwrap_or_default();
        String::from_utf8_lossy(bytes).into_owned()
    }

    fn stage(&self, out: &mut String, stage: &StagePart, first: Option<u64>) {
        let (before, after) = own_lines(stage);
        let failed = stage.state == PartState::Failed || holds(&[(stage.start, stage.end)], first);
        open_group(out, stage.stage.title(), stage.state, None, failed);
        self.lines(out, &before, first);
        for step in &stage.steps {
            self.step(out, step, first);
        }
        self.lines(out, &after, first);
        out.push_str("</details>");
    }

    fn step(&self, out: &mut String, step: &StepPart, first: Option<u64>) {
        let failed = step.state == PartState::Failed || holds(&step.pieces, first);
        open_group(out, &step.name, step.state, step.took_ms, failed);
        self.lines(out, &step.pieces, first);
        out.push_str("</details>");
    }

    /// The lines of these pieces, with the one marked that begins at `first`.
    fn lines(&self, out: &mut String, pieces: &[(u64, u64)], first: Option<u64>) {
        let begin = out.len();
        out.push_str("<pre class=\"log\">");
        let opened = out.len();
        for &(from, to) in pieces {
            match first.filter(|at| (from.max(self.start)..to).contains(at)) {
                Some(at) => {
                    let text = self.text(at, to);
                    let (line, rest) = text.split_once('\n').unwrap_or((&text, ""));
                    escape_into(out, &without_ansi(&self.text(from, at)));
                    out.push_str("<mark id=\"first-line\">");
                    escape_into(out, &without_ansi(line));
                    out.push_str("</mark>\n");
                    escape_into(out, &without_ansi(rest));
                }
                None => escape_into(out, &without_ansi(&self.text(from, to))),
            }
        }
        match out.len() == opened {
            true => out.truncate(begin),
            false => out.push_str("</pre>"),
        }
    }
}

/// What of a stage's lines is no step's: from where to where, up to the end of its last step and behind it.
fn own_lines(stage: &StagePart) -> (Places, Places) {
    let mut pieces: Vec<(u64, u64)> =
        stage.steps.iter().flat_map(|step| step.pieces.iter().copied()).collect();
    pieces.sort_unstable();
    let (mut own, mut at) = (Vec::new(), stage.start);
    for (from, to) in pieces {
        if from > at {
            own.push((at, from));
        }
        at = at.max(to);
    }
    if stage.steps.is_empty() { (vec![(stage.start, stage.end)], own) } else { (own, vec![(at, stage.end)]) }
}

fn holds(pieces: &[(u64, u64)], first: Option<u64>) -> bool {
    first.is_some_and(|at| pieces.iter().any(|(from, to)| (*from..*to).contains(&at)))
}

fn open_group(out: &mut String, title: &str, state: PartState, took_ms: Option<u64>, open: bool) {
    out.push_str(if open {
        "<details class=\"part\" open><summary>"
    } else {
        "<details class=\"part\"><summary>"
    });
    escape_into(out, title);
    out.push(' ');
    out.push_str(&Mark::of_part(state).html());
    if let Some(ms) = took_ms {
        out.push_str(&format!(" <span class=\"small muted\">{}</span>", duration(ms)));
    }
    out.push_str("</summary>");
}
