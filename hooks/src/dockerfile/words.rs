//! The words of one instruction.

use super::is_blank;

/// An instruction's words: as blanks divide them, quotes and escapes taken off, and those of a JSON list if it is one.
#[derive(Clone, Debug, Default)]
pub(super) struct Words {
    pub(super) plain: Vec<String>,
    pub(super) list: Option<Vec<String>>,
}

/// Divides. Variables keep their `$`; one that is escaped loses it.
pub(super) fn words(text: &str, escape: char) -> Words {
    let list = text.find('[').and_then(|at| serde_json::from_str(text.get(at..)?.trim()).ok());
    let mut plain = Vec::new();
    let mut word = String::new();
    let (mut quote, mut braces, mut any) = (None, 0usize, false);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if (c == escape || c == '\\') && quote != Some('\'') {
            // An escaped `$` is no variable, in whatever way it is read; its name follows as plain text.
            word.extend(chars.next().filter(|n| *n != '$'));
            any = true;
        } else if quote == Some(c) {
            quote = None;
        } else if quote.is_none() && matches!(c, '"' | '\'') {
            (quote, any) = (Some(c), true);
        } else if quote.is_none() && braces == 0 && is_blank(c) {
            if any {
                plain.push(std::mem::take(&mut word));
            }
            any = false;
        } else {
            // What stands in `${…}` may have blanks.
            match c {
                '{' if word.ends_with('$') => braces += 1,
                '}' => braces = braces.saturating_sub(1),
                _ => {}
            }
            word.push(c);
            any = true;
        }
    }
    if any {
        plain.push(word);
    }
    Words { plain, list }
}

/// The value of `--NAME=VALUE`.
pub(super) fn flag<'a>(word: &'a str, name: &str) -> Option<&'a str> {
    let (key, value) = word.strip_prefix("--")?.split_once('=')?;
    key.eq_ignore_ascii_case(name).then_some(value)
}
