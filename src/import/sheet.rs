//! Text of slipway.toml as it is written line by line: what the program's own reader would refuse becomes a comment.

use slipway_core::spec::Spec;

/// Where remarks begin.
const REMARK_COLUMN: usize = 40;

/// Lines of slipway.toml.
#[derive(Debug, Default)]
pub(super) struct Sheet {
    text: String,
    /// Lines that are refused, and why.
    pub(super) refused: Vec<(String, String)>,
}

impl Sheet {
    /// Writes that, and a remark behind it.
    pub(super) fn put(&mut self, line: &str, remark: &str) {
        let candidate = format!("{}{line}\n", self.text);
        if let Err(why) = Spec::parse(candidate.as_bytes()) {
            // Without the place: it is one in a text that nobody has.
            let why = why.to_string();
            let why = why.splitn(4, ':').nth(3).map_or(why.as_str(), str::trim).to_owned();
            self.refused.push((line.to_owned(), why));
            return self.comment(line, remark);
        }
        self.push(line, remark);
    }

    /// Writes that as a comment.
    pub(super) fn comment(&mut self, lines: &str, remark: &str) {
        for (at, line) in lines.lines().enumerate() {
            let line: String = line.chars().filter(|c| !c.is_control() || *c == '\t').collect();
            self.push(&format!("# {line}"), if at == 0 { remark } else { "" });
        }
    }

    pub(super) fn blank(&mut self) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
    }

    fn push(&mut self, lines: &str, remark: &str) {
        let (first, rest) = lines.split_once('\n').unwrap_or((lines, ""));
        self.text.push_str(first);
        // Within a text of several lines a remark would be part of it.
        if !remark.is_empty() && !first.ends_with("'''") && !first.ends_with("\"\"\"") {
            let width = REMARK_COLUMN.saturating_sub(first.chars().count()).max(1);
            self.text.push_str(&" ".repeat(width));
            self.text.push_str(&format!("# {}", remark.replace(char::is_control, " ")));
        }
        self.text.push('\n');
        if !rest.is_empty() {
            self.text.push_str(rest);
            self.text.push('\n');
        }
    }

    pub(super) fn into_text(self) -> String {
        self.text
    }
}

/// A TOML string.
pub(super) fn string(text: &str) -> String {
    let plain = |c: char| c == '\n' || c == '\t' || !c.is_control();
    if text.contains('\n') && !text.contains("'''") && !text.ends_with('\'') && text.chars().all(plain) {
        return format!("'''\n{text}'''");
    }
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A TOML list of strings.
pub(super) fn list<S: AsRef<str>>(all: &[S]) -> String {
    format!("[{}]", all.iter().map(|one| string(one.as_ref())).collect::<Vec<_>>().join(", "))
}

/// A TOML key, quoted where it has to be.
pub(super) fn key(name: &str) -> String {
    let bare = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if bare { name.to_owned() } else { string(&name.replace('\n', " ")) }
}

/// A TOML table on one line.
pub(super) fn table<'a>(entries: impl Iterator<Item = (&'a String, &'a String)>) -> String {
    let entries: Vec<String> = entries
        .map(|(name, value)| format!("{} = {}", key(name), string(&value.replace('\n', " "))))
        .collect();
    format!("{{ {} }}", entries.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_read_as_they_were_meant() {
        for text in ["a", "a\"b\\c", "a\nb 'c' \"d\"\n", "a'''\nb'", "\u{1}\u{7f}\t", "", "ä\n'", "\n", "'''"]
        {
            let read: toml::Table = toml::from_str(&format!("x = {}", string(text))).expect(text);
            assert_eq!(read["x"].as_str(), Some(text), "{text:?}");
        }
    }

    #[test]
    fn what_is_refused_becomes_a_comment() {
        let mut sheet = Sheet::default();
        sheet.put("[build]", "line 1");
        sheet.put("context = \"../x\"", "");
        sheet.put("target = \"t\"", "line 2");
        assert_eq!(sheet.refused.len(), 1);
        assert!(sheet.refused[0].1.contains("must be a path inside"), "{:?}", sheet.refused);
        assert!(sheet.into_text().contains("\n# context = \"../x\"\ntarget = \"t\""));
    }
}
