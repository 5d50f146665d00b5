//! Paths between git's bytes and our text. Knows nothing of trees.
//!
//! git's names are bytes without NUL and `/`; ours are `String`s. UTF-8 names stay as they are. Every byte that is not
//! UTF-8 becomes one character of the private range U+F780..=U+F7FF (byte 0x80 is U+F780), and so does every byte of a
//! character that really lies in that range. The mapping is one to one: what we hand out can be handed back in.
//! (The idea is Python's "surrogateescape", PEP 383, with characters that a Rust `str` may hold.)

use std::borrow::Cow;

const FIRST: u32 = 0xF700;

fn escaped(c: char) -> bool {
    ('\u{F780}'..='\u{F7FF}').contains(&c)
}

/// git's bytes as text, one to one.
pub(crate) fn to_text(raw: &[u8]) -> String {
    let mut text = String::with_capacity(raw.len());
    for chunk in raw.utf8_chunks() {
        for c in chunk.valid().chars() {
            if escaped(c) {
                let mut bytes = [0; 4];
                text.extend(c.encode_utf8(&mut bytes).bytes().map(escape));
            } else {
                text.push(c);
            }
        }
        text.extend(chunk.invalid().iter().copied().map(escape));
    }
    text
}

fn escape(byte: u8) -> char {
    char::from_u32(FIRST + u32::from(byte)).unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// The bytes that [`to_text`] made this of.
pub(crate) fn to_bytes(text: &str) -> Cow<'_, [u8]> {
    if !text.chars().any(escaped) {
        return Cow::Borrowed(text.as_bytes());
    }
    let mut raw = Vec::with_capacity(text.len());
    for c in text.chars() {
        match u8::try_from(u32::from(c).wrapping_sub(FIRST)) {
            Ok(byte) if byte >= 0x80 => raw.push(byte),
            _ => raw.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    Cow::Owned(raw)
}

/// A path for people: the characters that stand for bytes that are not UTF-8 become U+FFFD.
///
/// Only for showing; links and further calls need the path as it was handed out.
pub fn shown_path(path: &str) -> Cow<'_, str> {
    if !path.chars().any(escaped) {
        return Cow::Borrowed(path);
    }
    Cow::Owned(path.chars().map(|c| if escaped(c) { char::REPLACEMENT_CHARACTER } else { c }).collect())
}

/// The components of a path as git's bytes; empty ones and `.` are dropped, so that "" and "." are the root.
/// `None` if a component is `..` or holds NUL: nothing in a tree has such a path.
pub(crate) fn components(path: &str) -> Option<Vec<Vec<u8>>> {
    let raw = to_bytes(path);
    let parts = raw.split(|&b| b == b'/').filter(|part| !part.is_empty() && *part != b".");
    parts.map(|part| (part != b".." && !part.contains(&0)).then(|| part.to_vec())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_survive_as_text() {
        let mut all: Vec<u8> = (1..=255).collect();
        all.extend("é\u{F780}\u{F7FF}\u{F800}\u{F77F}𝄞".bytes());
        assert_eq!(to_bytes(&to_text(&all)).as_ref(), all.as_slice());
        assert_eq!(to_text("plain/é".as_bytes()), "plain/é");
        assert_ne!(to_text(b"a\xff"), to_text("a\u{F7FF}".as_bytes()), "no two names share a text");
        assert_eq!(shown_path(&to_text(b"a\xff")), "a\u{FFFD}");
    }

    #[test]
    fn paths_outside_a_tree_have_no_components() {
        assert_eq!(components("./a//b/"), Some(vec![b"a".to_vec(), b"b".to_vec()]));
        assert_eq!(components("."), Some(vec![]));
        for bad in ["..", "a/../b", "a\0b"] {
            assert_eq!(components(bad), None, "{bad:?}");
        }
    }
}
