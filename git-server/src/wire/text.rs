//! Text for people on the wire: one line, no control characters, bounded.

use crate::limits::REMOTE_LINE_BYTES_MAX;

/// Makes one line of `text`: control characters (which could move a terminal's cursor) become spaces or `?`.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len().min(REMOTE_LINE_BYTES_MAX));
    for c in text.trim_end().chars() {
        if line.len() + 4 > REMOTE_LINE_BYTES_MAX {
            line.push('…');
            break;
        }
        line.push(match c {
            '\t' | '\n' | '\r' => ' ',
            c if c.is_control() || is_direction(c) => '?',
            c => c,
        });
    }
    line
}

/// Characters that reorder what is shown around them.
fn is_direction(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_cannot_move_the_cursor() {
        assert_eq!(one_line("a\x1b[2Jb\rc\u{9b}d\u{202e}e\n"), "a?[2Jb c?d?e");
        assert!(one_line(&"é".repeat(10_000)).len() <= REMOTE_LINE_BYTES_MAX + 3);
    }
}
