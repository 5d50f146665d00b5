//! Text of slipway.toml as it is written line by line: what the program's own reader would refuse becomes a comment.

use slipway_core::spec::Spec;

/// Where remarks begin.
const REMARK_COLUMN: usize = 40;

/// Lines of slipway.toml.
#[derive(Debug, Default)]
pub(super) struct Sheet {
    lines: Vec<Line>,
}

/// A key with its value, a table's head, a comment or an empty line; the value may be of several lines.
#[derive(Debug)]
struct Line {
    text: String,
    remark: String,
    is_comment: bool,
}

/// A text that is slipway.toml, and the lines that stand in it as comments, each with why.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) text: String,
    pub(super) refused: Vec<(String, String)>,
}

impl Sheet {
    /// Writes that, and a remark behind it.
    pub(super) fn put(&mut self, text: &str, remark: &str) {
        self.lines.push(Line { text: text.to_owned(), remark: remark.to_owned(), is_comment: false });
    }

    /// Writes that as a comment.
    pub(super) fn comment(&mut self, text: &str, remark: &str) {
        self.lines.push(Line { text: text.to_owned(), remark: remark.to_owned(), is_comment: true });
    }

    pub(super) fn blank(&mut self) {
        if !self.lines.is_empty() {
            self.put("", "");
        }
    }

    /// All of it, if the program reads it; else line by line, without those that it does not.
    pub(super) fn written(self) -> Written {
        let text: String = self.lines.iter().map(Line::written).collect();
        if Spec::parse(text.as_bytes()).is_ok() {
            return Written { text, refused: Vec::new() };
        }
        let mut written = Written::default();
        for mut line in self.lines {
            let candidate = written.text.clone() + &line.written();
            match Spec::parse(candidate.as_bytes()) {
                Ok(_) => written.text = candidate,
                Err(why) => {
                    // Without the place: it is one in a text that nobody has.
                    let why = why.to_string();
                    let why = why.splitn(4, ':').nth(3).map_or(why.as_str(), str::trim).to_owned();
                    written.refused.push((line.text.clone(), why));
                    line.is_comment = true;
                    written.text.push_str(&line.written());
                }
            }
        }
        written
    }
}

impl Line {
    fn written(&self) -> String {
        let mut out = String::new();
        let mut remark = Some(self.remark.replace(char::is_control, " ")).filter(|remark| !remark.is_empty());
        for line in self.text.split('\n') {
            let begin = out.len();
            if self.is_comment {
                let clean: String = line.chars().filter(|c| !c.is_control() || *c == '\t').collect();
                out.push_str(&format!("# {clean}"));
            } else {
                out.push_str(line);
            }
            // Within a text of several lines a remark would be part of it.
            if let Some(remark) = remark.take().filter(|_| !line.ends_with("'''")) {
                let width = REMARK_COLUMN.saturating_sub(out[begin..].chars().count()).max(1);
                out.push_str(&format!("{}# {remark}", " ".repeat(width)));
            }
            out.push('\n');
        }
        out
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
        let Written { text, refused } = sheet.written();
        assert_eq!(refused.len(), 1);
        assert!(refused[0].1.contains("must be a path inside"), "{refused:?}");
        assert!(text.contains("\n# context = \"../x\"\ntarget = \"t\""), "{text}");
    }
}
