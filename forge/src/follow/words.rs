//! The words of a followed push: what is said of an object, of a wait, and of what a build printed.

use slipway_core::UnixMillis;
use slipway_core::build::Build;
use slipway_core::deploy::{Change, Health, ObjectReport};
use slipway_core::moving::Move;

use crate::limits::FOLLOW_LINE_BYTES_MAX as LINE_BYTES_MAX;

/// Whether a line of a build's log tells how the build ended.
pub(super) fn is_ending(line: &str) -> bool {
    line == "== succeeded" || line.starts_with("== failed: ")
}

/// When a stage that failed for reasons outside the repository is tried again.
pub(super) fn next_try(retries: u32, at: Option<UnixMillis>, now: UnixMillis) -> String {
    let pause_s = at.unwrap_or_default().since(now).div_ceil(1000);
    format!("Try {} follows in {pause_s} s.", retries + 1)
}

/// Which names a build left where they are; the log says why.
pub(super) fn left(moves: &[Move]) -> String {
    let left: Vec<String> = moves.iter().filter(|m| m.left.is_some()).map(|m| m.name.to_string()).collect();
    if left.is_empty() { String::new() } else { format!("; left where they are: {}", left.join(", ")) }
}

/// The line of its log where a build's failure begins.
pub(super) fn first_line(build: &Build) -> String {
    match &build.results.first_line {
        Some(line) => format!(" It begins with: {}", line.text),
        None => String::new(),
    }
}

/// Cuts what has come into lines and keeps the last, unfinished one in `partial`. A line longer than
/// [`LINE_BYTES_MAX`] comes in pieces: what a build prints must not fill the server's memory.
pub(super) fn take_lines(partial: &mut Vec<u8>, bytes: &[u8]) -> Vec<String> {
    let mut lines = Vec::new();
    for piece in bytes.split_inclusive(|&b| b == b'\n') {
        for part in piece.chunks(LINE_BYTES_MAX) {
            partial.extend_from_slice(part);
            if part.ends_with(b"\n") || partial.len() >= LINE_BYTES_MAX {
                lines.push(String::from_utf8_lossy(partial).trim_end().to_owned());
                partial.clear();
            }
        }
    }
    lines
}

/// What tells an object from others.
pub(super) fn object_id(object: &ObjectReport) -> String {
    format!("{}/{}/{}/{}", object.group, object.kind, object.namespace.as_deref().unwrap_or(""), object.name)
}

/// What became of an object.
pub(super) fn object_line(object: &ObjectReport) -> String {
    let change = match object.change {
        Change::Pending => "waits",
        Change::Created => "created",
        Change::Configured => "configured",
        Change::Unchanged => "unchanged",
        Change::Pruned => "deleted",
        Change::Kept => "kept",
        Change::Held => "kept until confirmed",
        Change::Refused => "refused",
    };
    let health = match object.health {
        Health::Healthy => "healthy",
        Health::Suspended => "suspended",
        Health::Progressing => "on its way",
        Health::Missing => "missing",
        Health::Degraded => "degraded",
        Health::Unknown => "unknown",
    };
    let message = if object.message.is_empty() { String::new() } else { format!(": {}", object.message) };
    format!("{} {} {change}, {health}{message}", object.kind, object.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_whole_and_an_endless_one_in_bounded_pieces() {
        let mut partial = Vec::new();
        assert_eq!(take_lines(&mut partial, b"one\ntw"), ["one"]);
        assert_eq!(take_lines(&mut partial, b"o\n\nthree"), ["two", ""]);
        assert_eq!(partial, b"three");
        let pieces = take_lines(&mut partial, &vec![b'x'; 10 * LINE_BYTES_MAX]);
        assert!(pieces.iter().all(|p| p.len() < 2 * LINE_BYTES_MAX) && !pieces.is_empty());
        assert!(partial.len() < LINE_BYTES_MAX);
        let told: usize = pieces.iter().map(String::len).sum();
        assert_eq!(told + partial.len(), "three".len() + 10 * LINE_BYTES_MAX, "nothing is lost");
    }
}
