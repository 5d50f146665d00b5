//! What a build has written, for a terminal: colours stay, everything else that a program can tell a terminal goes. A log must
//! not clear the screen of who reads it, set its title, or answer in its place.

/// Longest sequence that is looked through for its end; what is longer is no colour.
const SEQUENCE_BYTES_MAX: usize = 64;

/// Takes bytes as they come, in pieces of any size.
#[derive(Debug, Default)]
pub(super) struct Escapes {
    state: State,
    /// The sequence that has begun, while it may still be a colour.
    held: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Text,
    /// After ESC.
    Begun,
    /// After `ESC [` (ECMA-48 5.4, a control sequence).
    Control,
    /// In a string (OSC, DCS, …), until BEL or ESC `\`.
    Words,
    /// After ESC within a string.
    WordsEnd,
    /// After the first byte of a control character of two bytes (C1 in UTF-8).
    Second,
}

impl Escapes {
    /// What is left of a piece.
    pub(super) fn clean(&mut self, piece: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(piece.len());
        for &byte in piece {
            self.take(byte, &mut out);
        }
        out
    }

    fn take(&mut self, byte: u8, out: &mut Vec<u8>) {
        self.state = match (self.state, byte) {
            // No sequence goes over the end of a line: an open one must not swallow the rest of a log.
            (State::Text | State::Begun | State::Control | State::Words | State::WordsEnd, b'\n') => {
                out.push(byte);
                State::Text
            }
            (State::Words, 0x07) | (State::WordsEnd, b'\\') => State::Text,
            (State::Words, 0x1b) => State::WordsEnd,
            (State::Words | State::WordsEnd, _) => State::Words,
            (_, 0x1b) => {
                self.held.clear();
                State::Begun
            }
            (State::Begun, b'[') => State::Control,
            (State::Begun, b']' | b'P' | b'X' | b'^' | b'_') => State::Words,
            // Bytes of a sequence of three, such as the choice of a character set.
            (State::Begun, 0x20..=0x2f) => State::Begun,
            (State::Begun, _) => State::Text,
            (State::Control, 0x20..=0x3f) => {
                if self.held.len() < SEQUENCE_BYTES_MAX {
                    self.held.push(byte);
                }
                State::Control
            }
            (State::Control, b'm') if self.is_colour() => {
                out.extend_from_slice(b"\x1b[");
                out.append(&mut self.held);
                out.push(b'm');
                State::Text
            }
            (State::Control, _) => State::Text,
            (State::Second, 0x80..=0x9f) => State::Text,
            (State::Second, _) => {
                out.extend_from_slice(&[0xc2, byte]);
                State::Text
            }
            (State::Text, 0xc2) => State::Second,
            (State::Text, b'\t' | b'\r') => {
                out.push(byte);
                State::Text
            }
            (State::Text, 0..=0x1f | 0x7f) => State::Text,
            (State::Text, _) => {
                out.push(byte);
                State::Text
            }
        };
    }

    fn is_colour(&self) -> bool {
        self.held.len() < SEQUENCE_BYTES_MAX
            && self.held.iter().all(|b| b.is_ascii_digit() || matches!(b, b';' | b':'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clean(text: &str, pieces: usize) -> String {
        let mut escapes = Escapes::default();
        let all: Vec<u8> = text.as_bytes().chunks(pieces).flat_map(|piece| escapes.clean(piece)).collect();
        String::from_utf8(all).expect("UTF-8")
    }

    #[test]
    fn colours_stay_and_orders_to_the_terminal_go() {
        for (text, wanted) in [
            ("plain é ü\t50%\r100%\n", "plain é ü\t50%\r100%\n"),
            ("\x1b[1;31mred\x1b[0m \x1b[38:5:9mx", "\x1b[1;31mred\x1b[0m \x1b[38:5:9mx"),
            ("a\x1b[2Jb\x1b[H\x1b[?25lc\x1b[>4;2mx", "abcx"),
            ("\x1b]0;title\x07x\x1b]52;c;AAAA\x1b\\y", "xy"),
            ("\x1bP+q544e\x1b\\z\x1b(0q\x1bcx", "zqx"),
            ("\u{9b}2Jx \u{9d}0;t\u{7}y\u{7f}\u{8}\u{0}", "2Jx 0;ty"),
            ("\x1b]never ends\nnext\n", "\nnext\n"),
            ("\x1b[31", ""),
            ("©\u{a0}", "©\u{a0}"),
        ] {
            for pieces in [1, 2, 3, 1000] {
                assert_eq!(clean(text, pieces), wanted, "{text:?}");
            }
        }
        assert_eq!(clean(&format!("\x1b[{}mx", "1;".repeat(1000)), 7), "x");
    }
}
