//! Where something stands in a TOML text: lines and columns for what is wrong in a file that people wrote, and the words that a
//! reader of TOML says about it, with what was meant.

use std::fmt;

use toml::de::{DeTable, DeValue};

use crate::nearest::nearest;
use crate::spec::Step;

/// A place in a text, both counted from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Line.
    pub line: usize,
    /// Column.
    pub column: usize,
}

impl Place {
    /// That of a byte of the text.
    pub fn of(text: &str, offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        Self { line: before.matches('\n').count() + 1, column: before[start..].chars().count() + 1 }
    }

    /// That of the first byte which is not UTF-8; `None` where all are.
    pub fn of_no_text(bytes: &[u8]) -> Option<Self> {
        let upto = std::str::from_utf8(bytes).err()?.valid_up_to();
        Some(Self::of(&String::from_utf8_lossy(&bytes[..upto]), upto))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// What is wrong with a value, found by rules that look at what was read: the way to it, and a clause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// From the root of the file.
    pub way: Vec<Step>,
    /// The key itself is wrong, not what it says.
    pub at_key: bool,
    /// What is wrong, without a full stop.
    pub what: String,
}

impl Wrong {
    /// With the value at that way: keys with dots between them, `backup.keep`.
    pub fn at(way: &str, what: impl Into<String>) -> Self {
        let way = way.split('.').filter(|key| !key.is_empty()).map(|key| Step::Key(key.to_owned())).collect();
        Self { way, at_key: false, what: what.into() }
    }

    /// The same, seen from further up.
    #[must_use]
    pub fn under(mut self, keys: &[&str]) -> Self {
        self.way.splice(0..0, keys.iter().map(|key| Step::Key((*key).to_owned())));
        self
    }

    /// One key further: what is wrong is under it.
    #[must_use]
    pub fn key(mut self, key: &str) -> Self {
        self.way.push(Step::Key(key.to_owned()));
        self
    }

    /// One item further.
    #[must_use]
    pub fn item(mut self, number: usize) -> Self {
        self.way.push(Step::Item(number));
        self
    }

    /// The same, with the last key instead of what it says.
    #[must_use]
    pub fn itself(mut self) -> Self {
        self.at_key = true;
        self
    }

    /// The byte of the text where it stands, or the last of its way that is there.
    pub fn offset(&self, text: &str) -> usize {
        let Ok(root) = DeTable::parse(text) else { return 0 };
        let (mut found, mut table, mut list) = (0, Some(root.get_ref()), None);
        for (step, left) in self.way.iter().zip((0..self.way.len()).rev()) {
            let next = match step {
                Step::Key(name) => table
                    .and_then(|table: &DeTable<'_>| table.get_key_value(name.as_str()))
                    .map(|(key, value)| {
                        (if self.at_key && left == 0 { key.span().start } else { value.span().start }, value)
                    }),
                Step::Item(number) => list
                    .and_then(|list: &toml::de::DeArray<'_>| list.get(*number))
                    .map(|value| (value.span().start, value)),
            };
            let Some((at, value)) = next else { return found };
            found = at;
            (table, list) = match value.get_ref() {
                DeValue::Table(table) => (Some(table), None),
                DeValue::Array(list) => (None, Some(list)),
                _ => (None, None),
            };
        }
        found
    }
}

/// Adds the nearest known name to serde's "unknown field `x`, expected one of `a`, `b`", and the same of variants.
pub fn with_what_was_meant(message: &str) -> String {
    let message = message.lines().next().unwrap_or_default();
    let (said, told) = match message {
        _ if message.starts_with("unknown field") => ("unknown field", "unknown key"),
        _ if message.starts_with("unknown variant") => ("unknown variant", "unknown value"),
        _ => return message.to_owned(),
    };
    let mut quoted = message.split('`').skip(1).step_by(2);
    let Some(wrong) = quoted.next() else { return message.to_owned() };
    match nearest(wrong, quoted) {
        Some(known) => format!("{told} `{wrong}`; did you mean `{known}`?"),
        None => message.replacen(said, told, 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_a_key_and_an_item_are_found_however_they_are_written() {
        let text = "a = 1\n[b.c]\nd = [1,\n  \"é\", { x = 2 }]\n\"e.f\" = 3\n[[g]]\nh = 1\n[[g]]\nh = 2\n";
        let place = |wrong: Wrong| Place::of(text, wrong.offset(text)).to_string();
        for (wrong, at) in [
            (Wrong::at("a", ""), "1:5"),
            (Wrong::at("b.c.d", "").item(1), "4:3"),
            (Wrong::at("b.c.d", "").item(2).key("x"), "4:14"),
            (Wrong::at("b.c.d", "").itself(), "3:1"),
            (Wrong::at("b.c", "").key("e.f"), "5:9"),
            (Wrong::at("g", "").item(1).key("h"), "9:5"),
            (Wrong::at("g", "").item(7), "6:1"),
            (Wrong::at("nowhere", ""), "1:1"),
        ] {
            assert_eq!(place(wrong.clone()), at, "{wrong:?}");
        }
        assert_eq!(Place::of_no_text(b"a\nb\xff"), Some(Place { line: 2, column: 2 }));
        assert_eq!(Place::of_no_text(b"a"), None);
    }

    #[test]
    fn what_was_meant_is_said_of_keys_and_values() {
        for (said, told) in [
            (
                "unknown field `bulids`, expected one of `builds`, `http`",
                "unknown key `bulids`; did you mean `builds`?",
            ),
            (
                "unknown variant `brige`, expected one of `none`, `bridge`",
                "unknown value `brige`; did you mean `bridge`?",
            ),
            (
                "unknown variant `x`, expected `none` or `bridge`",
                "unknown value `x`, expected `none` or `bridge`",
            ),
            ("invalid type: a\nmore", "invalid type: a"),
        ] {
            assert_eq!(with_what_was_meant(said), told);
        }
    }
}
