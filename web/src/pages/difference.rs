//! A diff as HTML: one box a file, one table row a line, nothing drawn beyond the bounds.

use std::fmt::Write as _;

use slipway_core::RepoName;
use slipway_core::limits::Limits;
use slipway_repository::{ChangeKind, Diff, DiffLimits, FileDiff, LineKind, Mode};

use super::files::{is_clean, shown_name};
use crate::limits::DIFF_BLOB_BYTES_MAX;
use crate::link::Link;
use crate::text::escape_into;

/// What a page shows of a diff.
pub(crate) fn bounds(limits: &Limits) -> DiffLimits {
    DiffLimits {
        files_max: limits.diff_files_max,
        lines_max: limits.diff_lines_max,
        blob_bytes_max: DIFF_BLOB_BYTES_MAX,
        context: 3,
    }
}

/// A diff, ready for its template.
pub(crate) struct Difference {
    pub(crate) files: Vec<ShownFile>,
    pub(crate) added: usize,
    pub(crate) removed: usize,
    pub(crate) cut: bool,
}

pub(crate) struct ShownFile {
    pub(crate) anchor: String,
    pub(crate) path: String,
    pub(crate) note: String,
    pub(crate) added: usize,
    pub(crate) removed: usize,
    pub(crate) link: Option<Link>,
    pub(crate) html: String,
    pub(crate) why_empty: &'static str,
    pub(crate) cut: bool,
}

/// Renders a diff; `at` is the newer side, to which file names link.
pub(crate) fn shown(repo: &RepoName, diff: &Diff, at: &str) -> Difference {
    let files = diff.files.iter().enumerate().map(|(n, file)| shown_file(repo, file, n, at)).collect();
    Difference { files, added: diff.added, removed: diff.removed, cut: diff.cut }
}

fn shown_file(repo: &RepoName, file: &FileDiff, index: usize, at: &str) -> ShownFile {
    let gone = file.kind == ChangeKind::Removed;
    let path = if gone { &file.old_path } else { &file.new_path };
    ShownFile {
        anchor: format!("f{index}"),
        path: shown_name(path),
        note: note(file),
        added: file.added,
        removed: file.removed,
        link: (!gone && is_clean(path)).then(|| Link::files(repo, path, Some(at))),
        html: hunks(file),
        why_empty: match (file.binary, file.cut, file.hunks.is_empty()) {
            (true, _, _) => "Not text: no lines to compare.",
            (_, true, true) => "Left out: the difference is too large to be shown here.",
            (_, _, true) => "No line differs.",
            _ => "",
        },
        cut: file.cut && !file.hunks.is_empty(),
    }
}

fn note(file: &FileDiff) -> String {
    let mut notes = Vec::new();
    match file.kind {
        ChangeKind::Added => notes.push("new".to_owned()),
        ChangeKind::Removed => notes.push("removed".to_owned()),
        ChangeKind::Renamed => notes.push(format!("was {}", shown_name(&file.old_path))),
        ChangeKind::TypeChanged => notes.push("another type".to_owned()),
        ChangeKind::Modified => {}
    }
    let executable = |mode: Option<Mode>| mode == Some(Mode::Executable);
    match (executable(file.old_mode), executable(file.new_mode)) {
        (false, true) => notes.push("executable".to_owned()),
        (true, false) if file.new_mode.is_some() => notes.push("no longer executable".to_owned()),
        _ => {}
    }
    notes.join(", ")
}

fn hunks(file: &FileDiff) -> String {
    let lines: usize = file.hunks.iter().map(|h| h.lines.len()).sum();
    let mut out = String::with_capacity(lines.saturating_mul(120));
    for hunk in &file.hunks {
        let _ = write!(
            out,
            "<tr class=\"h\"><td class=\"n\"></td><td class=\"n\"></td><td class=\"c\">@@ -{},{} +{},{} @@</td></tr>",
            hunk.old.start,
            hunk.old.len(),
            hunk.new.start,
            hunk.new.len()
        );
        for line in &hunk.lines {
            let (class, sign) = match line.kind {
                LineKind::Context => ("", ' '),
                LineKind::Added => (" class=\"a\"", '+'),
                LineKind::Removed => (" class=\"d\"", '-'),
            };
            let number = |n: Option<u32>| n.map(|n| n.to_string()).unwrap_or_default();
            let _ = write!(
                out,
                "<tr{class}><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"c\"><span class=\"s\">{sign}</span>",
                number(line.old),
                number(line.new)
            );
            escape_into(&mut out, line.text.trim_end_matches(['\n', '\r']));
            if line.no_newline {
                out.push_str("<span class=\"muted\"> (no newline at the end)</span>");
            }
            out.push_str("</td></tr>\n");
        }
    }
    out
}
