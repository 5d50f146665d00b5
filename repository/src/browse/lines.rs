//! Two texts, line by line: hunks with context and line numbers. Knows nothing of files and trees.
//!
//! The comparison is gix's imara-diff (histogram, git's indent heuristic). A line is what ends with a line feed; a
//! carriage return before it belongs to the line, so that a change of line ends is a change.

use std::ops::Range;

use gix::diff::blob::sources::byte_lines;
use gix::diff::blob::{Algorithm, Diff, InternedInput};

/// A run of changed lines with the lines around it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hunk {
    /// Lines of the old file, from 1, the end excluded.
    pub old: Range<u32>,
    /// Lines of the new file, from 1, the end excluded.
    pub new: Range<u32>,
    /// In order; of one change the removed lines come first.
    pub lines: Vec<DiffLine>,
}

impl Hunk {
    /// The line that opens it in a patch, `@@ -1,3 +1,4 @@`.
    pub fn header(&self) -> String {
        let side = |range: &Range<u32>| match range.end.saturating_sub(range.start) {
            0 => format!("{},0", range.start.saturating_sub(1)),
            1 => range.start.to_string(),
            n => format!("{},{n}", range.start),
        };
        format!("@@ -{} +{} @@", side(&self.old), side(&self.new))
    }
}

/// On which sides a line stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LineKind {
    /// Both.
    Context,
    /// The new one.
    Added,
    /// The old one.
    Removed,
}

/// One line of a hunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiffLine {
    /// On which sides it stands.
    pub kind: LineKind,
    /// Its number in the old file, from 1.
    pub old: Option<u32>,
    /// Its number in the new file, from 1.
    pub new: Option<u32>,
    /// Without its line feed (a carriage return stays); what is not UTF-8 is U+FFFD.
    pub text: String,
    /// It is the file's last line and has no line feed.
    pub no_newline: bool,
}

/// How many lines and bytes of text may still be handed out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    pub(crate) lines: usize,
    pub(crate) text_bytes: usize,
}

/// The difference of two texts.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    /// Lines that only the new text has.
    pub(crate) added: usize,
    /// Lines that only the old text has.
    pub(crate) removed: usize,
    pub(crate) hunks: Vec<Hunk>,
    /// There was no room for all hunks; the counts are right nevertheless.
    pub(crate) cut: bool,
}

/// Compares two texts; `context` lines are shown around each change.
pub(crate) fn compare(old: &[u8], new: &[u8], context: usize, room: &mut Room) -> Lines {
    let input = InternedInput::new(byte_lines(old), byte_lines(new));
    let mut diff = Diff::compute(Algorithm::Histogram, &input);
    diff.postprocess_lines(&input);
    let mut lines = Lines {
        added: diff.count_additions() as usize,
        removed: diff.count_removals() as usize,
        ..Lines::default()
    };
    let context = u32::try_from(context).unwrap_or(u32::MAX);
    let mut group: Vec<Span> = Vec::new();
    for hunk in diff.hunks() {
        let span = Span { old: hunk.before, new: hunk.after };
        let near = group.last().is_none_or(|last| span.old.start - last.old.end <= context.saturating_mul(2));
        if !near {
            lines.finish(&input, &group, context, room);
            group.clear();
        }
        group.push(span);
        if lines.cut {
            return lines;
        }
    }
    if !group.is_empty() {
        lines.finish(&input, &group, context, room);
    }
    lines
}

/// A change: lines counted from 0.
struct Span {
    old: Range<u32>,
    new: Range<u32>,
}

impl Lines {
    /// Makes a hunk of changes that lie close together.
    fn finish(&mut self, input: &InternedInput<&[u8]>, group: &[Span], context: u32, room: &mut Room) {
        let (Some(first), Some(last)) = (group.first(), group.last()) else { return };
        let before = context.min(first.old.start);
        let after = context.min((input.before.len() as u32).saturating_sub(last.old.end));
        let mut writer = Writer {
            input,
            old: first.old.start - before,
            new: first.new.start - before,
            lines: Vec::new(),
            room: *room,
        };
        let (old_start, new_start) = (writer.old + 1, writer.new + 1);
        let fits = group.iter().try_for_each(|span| {
            writer.context_to(span.old.start)?;
            writer.change(span)
        });
        let fits = fits.and_then(|()| writer.context_to(last.old.end + after));
        if fits.is_none() {
            self.cut = true;
            return;
        }
        *room = writer.room;
        let hunk =
            Hunk { old: old_start..writer.old + 1, new: new_start..writer.new + 1, lines: writer.lines };
        self.hunks.push(hunk);
    }
}

/// Writes a hunk's lines; `None` where there is no room for one more.
struct Writer<'a> {
    input: &'a InternedInput<&'a [u8]>,
    old: u32,
    new: u32,
    lines: Vec<DiffLine>,
    room: Room,
}

impl Writer<'_> {
    fn context_to(&mut self, end: u32) -> Option<()> {
        while self.old < end {
            self.line(LineKind::Context)?;
        }
        Some(())
    }

    fn change(&mut self, span: &Span) -> Option<()> {
        while self.old < span.old.end {
            self.line(LineKind::Removed)?;
        }
        while self.new < span.new.end {
            self.line(LineKind::Added)?;
        }
        Some(())
    }

    fn line(&mut self, kind: LineKind) -> Option<()> {
        let token = match kind {
            LineKind::Added => self.input.after.get(self.new as usize)?,
            LineKind::Context | LineKind::Removed => self.input.before.get(self.old as usize)?,
        };
        let raw: &[u8] = self.input.interner[*token];
        self.room.lines = self.room.lines.checked_sub(1)?;
        self.room.text_bytes = self.room.text_bytes.checked_sub(raw.len())?;
        let (text, no_newline) = raw.strip_suffix(b"\n").map_or((raw, true), |text| (text, false));
        let text = String::from_utf8_lossy(text).into_owned();
        let old = (kind != LineKind::Added).then_some(self.old + 1);
        let new = (kind != LineKind::Removed).then_some(self.new + 1);
        self.old += u32::from(old.is_some());
        self.new += u32::from(new.is_some());
        self.lines.push(DiffLine { kind, old, new, text, no_newline });
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(old: &[u8], new: &[u8], context: usize) -> Lines {
        compare(old, new, context, &mut Room { lines: usize::MAX, text_bytes: usize::MAX })
    }

    /// Carries the hunks out on the old text.
    fn apply(old: &str, lines: &Lines) -> String {
        let rows: Vec<&str> = old.split_inclusive('\n').collect();
        let mut out = String::new();
        let mut at = 0;
        for hunk in &lines.hunks {
            for row in &rows[at..hunk.old.start as usize - 1] {
                out.push_str(row);
            }
            at = hunk.old.start as usize - 1;
            for line in &hunk.lines {
                let text = format!("{}{}", line.text, if line.no_newline { "" } else { "\n" });
                if line.kind != LineKind::Added {
                    assert_eq!((rows[at], line.old), (text.as_str(), Some(at as u32 + 1)));
                    at += 1;
                }
                if line.kind != LineKind::Removed {
                    assert_eq!(line.new, Some(out.split_inclusive('\n').count() as u32 + 1));
                    out.push_str(&text);
                }
            }
            assert_eq!(at + 1, hunk.old.end as usize);
            assert_eq!(out.split_inclusive('\n').count() + 1, hunk.new.end as usize);
        }
        out.extend(rows[at..].iter().copied());
        out
    }

    proptest! {
        #[test]
        fn the_hunks_turn_the_old_text_into_the_new(
            old in "([a-d]{0,2}\r?\n){0,30}[a-d]{0,2}",
            new in "([a-d]{0,2}\r?\n){0,30}[a-d]{0,2}",
            context in 0usize..5,
        ) {
            let lines = all(old.as_bytes(), new.as_bytes(), context);
            prop_assert_eq!(apply(&old, &lines), new);
            let count = |kind| lines.hunks.iter().flat_map(|h| &h.lines).filter(|l| l.kind == kind).count();
            prop_assert_eq!((count(LineKind::Added), count(LineKind::Removed)), (lines.added, lines.removed));
        }
    }

    #[test]
    fn headers_are_gits() {
        let header =
            |old: &str, new: &str, context| all(old.as_bytes(), new.as_bytes(), context).hunks[0].header();
        assert_eq!(header("", "a\nb\n", 3), "@@ -0,0 +1,2 @@");
        assert_eq!(header("a\n", "", 3), "@@ -1 +0,0 @@");
        assert_eq!(header("a\nb\nc\n", "a\nb\nx\nc\n", 0), "@@ -2,0 +3 @@");
        assert_eq!(header("a\nb\nc\n", "a\nb\nx\nc\n", 1), "@@ -2,2 +2,3 @@");
    }

    #[test]
    fn what_does_not_fit_is_cut_whole_and_counted() {
        let new: String = (0..100).map(|n| format!("{n}\n")).collect();
        let mut room = Room { lines: 99, text_bytes: usize::MAX };
        let lines = compare(b"", new.as_bytes(), 3, &mut room);
        assert!(lines.cut && lines.hunks.is_empty() && lines.added == 100 && room.lines == 99);
        let mut room = Room { lines: usize::MAX, text_bytes: 100 };
        assert!(compare(b"", new.as_bytes(), 3, &mut room).cut);
    }
}
