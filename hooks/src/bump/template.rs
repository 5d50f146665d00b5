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
        let mut found = Vec::new();
        let mut from = 0;
        while let Some(next) = first_after(text, from) {
            from = next.end;
            found.push(next);
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
        self.0.iter().any(|e| e.start <= range.end && range.start <= e.end)
    }
}

fn first_after(text: &str, from: usize) -> Option<Range<usize>> {
    let mut at = from;
    loop {
        let rest = text.get(at..)?;
        let opens = |(open, close): (&'static str, &'static str)| Some((rest.find(open)?, open, close));
        let (start, open, close) = MARKS.into_iter().filter_map(opens).min()?;
        let inside = &rest[start + open.len()..];
        match inside.find(close) {
            Some(end) if end <= EXPRESSION_BYTES_MAX && spans(open, &inside[..end]) => {
                let begin = at + start;
                return Some(begin..begin + open.len() + end + close.len());
            }
            _ => at += start + open.len(),
        }
    }
}

/// Only comments and Helm's own expressions go over the end of a line.
fn spans(open: &str, inside: &str) -> bool {
    open == "{{" || !inside.contains('\n')
}

/// The text with the expressions of `{{ }}` made words, and lines of nothing else made comments: of the same length, byte for
/// byte, with the same ends of lines.
pub(super) fn masked(text: &str, expressions: &Expressions) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for range in &expressions.0 {
        if text[range.clone()].starts_with("{{") {
            mask(text, range, &mut bytes);
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

fn mask(text: &str, range: &Range<usize>, bytes: &mut [u8]) {
    let begin = text[..range.start].rfind('\n').map_or(0, |i| i + 1);
    let end = text[range.end..].find('\n').map_or(text.len(), |i| range.end + i);
    // By what is left of the line when those before it are masked, so that a line of two of them is a comment too.
    let blank = |part: &[u8]| part.iter().all(|b| matches!(b, b' ' | b'\t' | b'\r' | b'#'));
    let alone = blank(&bytes[begin..range.start]) && blank_but_expressions(&text[range.end..end]);
    let mut first = true;
    for byte in &mut bytes[range.clone()] {
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

fn blank_but_expressions(rest: &str) -> bool {
    let mut rest = rest.trim();
    while let Some(inside) = rest.strip_prefix("{{") {
        let Some(end) = inside.find("}}") else { return false };
        rest = inside[end + 2..].trim();
    }
    rest.is_empty()
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
