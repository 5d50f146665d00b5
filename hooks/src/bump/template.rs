//! Expressions of templates in a manifest's text: what a program fills in before anybody reads it as YAML.

use std::ops::Range;

/// How far an expression may reach.
const EXPRESSION_BYTES_MAX: usize = 4096;

/// Opening and closing marks: Helm's and Jinja's, the shell's and Compose's, Kubernetes' own, ERB's.
const MARKS: [(&str, &str); 4] = [("{{", "}}"), ("${", "}"), ("$(", ")"), ("<%", "%>")];

/// Where the expressions of a text stand, in their order.
#[derive(Debug, Default)]
pub(super) struct Expressions(Vec<Range<usize>>);

impl Expressions {
    pub(super) fn of(text: &str) -> Self {
        let mut found: Vec<Range<usize>> = Vec::new();
        let mut at = 0;
        while let Some(next) = text.get(at..).and_then(|rest| rest.find(['{', '$', '<'])) {
            let start = at + next;
            match expression(&text[start..]) {
                Some(length) => {
                    found.push(start..start + length);
                    at = start + length;
                }
                None => at = start + 1,
            }
        }
        Self(found)
    }

    /// True if one of them has a part in the reference at that range: inside, beside, or as its tag.
    pub(super) fn fill(&self, text: &str, range: &Range<usize>) -> bool {
        let colon = text.get(range.end..).is_some_and(|after| after.starts_with(':'));
        self.touch(&(range.start..range.end + usize::from(colon)))
    }

    /// True if one of them lies in that range, or right beside it.
    pub(super) fn touch(&self, range: &Range<usize>) -> bool {
        let first = self.0.partition_point(|e| e.end < range.start);
        self.0.get(first).is_some_and(|e| e.start <= range.end)
    }

    /// Those that are read as words.
    pub(super) fn masked<'t>(&self, text: &'t str) -> impl Iterator<Item = Range<usize>> + use<'_, 't> {
        self.0.iter().filter(|e| text[(*e).clone()].starts_with("{{")).cloned()
    }
}

/// How long the expression is that begins a text, if one does. One in which another begins was left open, or is found when that
/// one has been; only Helm's go over the end of a line.
fn expression(text: &str) -> Option<usize> {
    let (open, close) = MARKS.into_iter().find(|(open, _)| text.starts_with(open))?;
    let bytes = &text.as_bytes()[..text.len().min(EXPRESSION_BYTES_MAX)];
    for at in open.len()..bytes.len() {
        let rest = &bytes[at..];
        if rest.starts_with(close.as_bytes()) {
            return Some(at + close.len());
        }
        if rest.starts_with(open.as_bytes()) || (open != "{{" && rest[0] == b'\n') {
            return None;
        }
    }
    None
}

/// The text with the expressions of `{{ }}` made words, and lines of nothing else made comments: of the same length, byte for
/// byte, with the same ends of lines.
pub(super) fn masked(text: &str, expressions: &Expressions) -> String {
    let mut bytes = text.as_bytes().to_vec();
    let all: Vec<Range<usize>> = expressions.masked(text).collect();
    for line in all.chunk_by(|one, next| !text[one.end..next.start].contains('\n')) {
        let alone = is_alone(text, line);
        line.iter().for_each(|range| mask(&mut bytes[range.clone()], alone));
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

/// True if nothing else stands on the lines of these expressions.
fn is_alone(text: &str, line: &[Range<usize>]) -> bool {
    let (Some(first), Some(last)) = (line.first(), line.last()) else { return false };
    let before = text[..first.start].rsplit('\n').next().unwrap_or_default();
    let after = text[last.end..].split('\n').next().unwrap_or_default();
    let between = line.windows(2).map(|two| &text[two[0].end..two[1].start]);
    between.chain([before, after]).all(|part| part.trim().is_empty())
}

fn mask(bytes: &mut [u8], alone: bool) {
    let mut first = true;
    for byte in bytes {
        match *byte {
            b'\n' => first = true,
            b'\r' => {}
            _ if alone => {
                *byte = if first { b'#' } else { b' ' };
                first = false;
            }
            _ => *byte = b'x',
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask_of(text: &str) -> String {
        masked(text, &Expressions::of(text))
    }

    #[test]
    fn expressions_become_words_and_lines_of_them_comments() {
        for (text, wanted) in [
            ("a: {{ .x }}\n", "a: xxxxxxxx\n"),
            ("  {{- if .y }}\r\nb: 1\n{{ end }}\n", "  #           \r\nb: 1\n#        \n"),
            ("{{/* a\nb */}}\nc: 2", "#     \n#     \nc: 2"),
            ("a: \"{{ é }}:{{ b }}\"", "a: \"xxxxxxxx:xxxxxxx\""),
            ("{{ a }} {{ b }}\n", "#       #      \n"),
            ("a: ${b}\nc: {{ open\n", "a: ${b}\nc: {{ open\n"),
            ("{\"a\":{\"b\":{}}}", "{\"a\":{\"b\":{}}}"),
        ] {
            assert_eq!(mask_of(text), wanted, "{text:?}");
        }
    }

    #[test]
    fn what_stands_beside_an_expression_is_known() {
        let text = "i: name:{{ t }} x";
        let expressions = Expressions::of(text);
        assert!(expressions.touch(&(3..8)));
        assert!(!expressions.touch(&(0..2)));
        assert!(!expressions.touch(&(16..17)));
        assert!(Expressions::of("a: ${X:-name:1}").touch(&(8..14)));
    }
}
