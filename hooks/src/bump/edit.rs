//! Edits of a manifest's text that leave everything else in it as it is: comments, quotes, order, ends of lines.

use std::ops::Range;

use granit_parser::ScalarStyle;

use super::document::{Document, Node, NodeId, Scalar};

/// A stretch of a text and what comes in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TextEdit {
    pub(super) at: Range<usize>,
    pub(super) new: String,
}

/// The text with all of these edits; one that lies in another's place is left out.
pub(super) fn apply(text: &str, mut edits: Vec<TextEdit>) -> String {
    edits.sort_by_key(|edit| (edit.at.start, edit.at.end));
    let (mut out, mut at) = (String::with_capacity(text.len() + 256), 0);
    for edit in edits {
        let Some(kept) = text.get(at..edit.at.start) else { continue };
        out.push_str(kept);
        out.push_str(&edit.new);
        at = edit.at.end;
    }
    out.push_str(text.get(at..).unwrap_or_default());
    out
}

/// Writes values as the text around them is written.
pub(super) struct Writer<'d>(pub(super) &'d Document<'d>);

impl Writer<'_> {
    /// A value in another's place, in its quotes. `None` in a block of text.
    pub(super) fn value(&self, scalar: &Scalar, new: &str) -> Option<TextEdit> {
        let at = scalar.span.clone();
        match scalar.style {
            ScalarStyle::Plain => Some(TextEdit { at, new: plain(new, false) }),
            ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => {
                Some(TextEdit { at: at.start + 1..at.end.checked_sub(1)?, new: new.to_owned() })
            }
            ScalarStyle::Literal | ScalarStyle::Folded => None,
        }
    }

    /// A value below a key, whatever is there: a value, an alias, or nothing.
    pub(super) fn set(&self, key: NodeId, value: NodeId, new: &str) -> Option<TextEdit> {
        let quoted = self.is_quoted(key);
        match self.0.node(value) {
            Node::Alias { span, .. } => Some(TextEdit { at: span.clone(), new: plain(new, quoted) }),
            Node::Scalar(scalar) if scalar.span.is_empty() => {
                let end = self.0.end_of(key);
                let colon = end + self.0.text.get(end..)?.find(':')? + 1;
                Some(TextEdit { at: colon..colon, new: format!(" {}", plain(new, quoted)) })
            }
            Node::Scalar(scalar) if scalar.style == ScalarStyle::Plain => {
                Some(TextEdit { at: scalar.span.clone(), new: plain(new, quoted) })
            }
            Node::Scalar(scalar) => self.value(scalar, new),
            Node::Map { .. } | Node::List(_) => None,
        }
    }

    /// Further pairs in a mapping: after `after`, else at its end.
    pub(super) fn insert(
        &self,
        map: NodeId,
        after: Option<(NodeId, NodeId)>,
        new: &[(&str, &str)],
    ) -> Option<TextEdit> {
        let Node::Map { flow, pairs } = self.0.node(map) else { return None };
        let (&first, &last) = (pairs.first()?, pairs.last()?);
        if new.is_empty() {
            return None;
        }
        let (key, value) = after.unwrap_or(last);
        let end = self.0.end_of(key).max(self.0.end_of(value));
        let text = self.0.text;
        if *flow {
            let quoted = self.is_quoted(first.0);
            let quote = if quoted { "\"" } else { "" };
            let pair =
                |(key, value): &(&str, &str)| format!(", {quote}{key}{quote}: {}", plain(value, quoted));
            return Some(TextEdit { at: end..end, new: new.iter().map(pair).collect() });
        }
        let start = self.0.start_of(first.0)?;
        let begin = text[..start].rfind('\n').map_or(0, |i| i + 1);
        // A byte-order mark takes no column.
        let column = text[begin..start].trim_start_matches('\u{feff}').chars().count();
        let (at, open) = match text[end..].find('\n') {
            Some(i) => (end + i + 1, false),
            None => (text.len(), true),
        };
        let line_end =
            if text[..at].ends_with("\r\n") || (open && text.contains("\r\n")) { "\r\n" } else { "\n" };
        let lines: String = new
            .iter()
            .map(|(key, value)| format!("{}{key}: {}{line_end}", " ".repeat(column), plain(value, false)))
            .collect();
        Some(TextEdit { at: at..at, new: if open { format!("{line_end}{lines}") } else { lines } })
    }

    /// True where keys have double quotes, as in JSON: there every text has them.
    fn is_quoted(&self, key: NodeId) -> bool {
        self.0.start_of(key).and_then(|at| self.0.text.get(at..)).is_some_and(|text| text.starts_with('"'))
    }
}

/// A value without quotes, where YAML reads it as a text.
fn plain(new: &str, quoted: bool) -> String {
    if quoted || is_misread(new) { format!("\"{new}\"") } else { new.to_owned() }
}

/// True for a tag that YAML reads as a number or a word of its own. References and digests are texts.
fn is_misread(new: &str) -> bool {
    let words = ["true", "false", "yes", "no", "on", "off", "null", "y", "n"];
    let letter = new.starts_with(|c: char| c.is_ascii_alphabetic());
    !(new.contains('/') || (letter && !words.contains(&new.to_ascii_lowercase().as_str())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_that_yaml_would_misread_is_quoted() {
        assert!(is_misread("12e34") && is_misread("on") && is_misread("2026-11-30"));
        assert!(
            !is_misread("v1") && !is_misread("sha256:00") && !is_misread("127.0.0.1:5000/app:1@sha256:00")
        );
    }

    #[test]
    fn edits_are_made_in_their_places_and_none_twice() {
        let edit = |at: Range<usize>, new: &str| TextEdit { at, new: new.into() };
        assert_eq!(
            apply("abcdef", vec![edit(4..5, "X"), edit(1..3, ""), edit(1..3, "Y"), edit(6..6, "!")]),
            "adXf!"
        );
        assert_eq!(apply("é", vec![]), "é");
    }
}
