//! Lines for a shell as commands and their words. Nothing is run: quotes and continuations are read, variables stay as
//! `${NAME}`.

use super::cursor::{Cursor, is_name};
use super::limits::{COMMANDS_MAX, SUBSTITUTION_CHARS_MAX};

/// One command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Command {
    /// Where it begins.
    pub(super) line: usize,
    /// Its words, without quotes; redirections aside.
    pub(super) words: Vec<String>,
    /// As it is written.
    pub(super) text: String,
    /// How it follows the one before.
    pub(super) joint: Joint,
    /// In how many brackets it stands.
    pub(super) nested: usize,
}

/// What stands between two commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Joint {
    /// A line end or a semicolon.
    Then,
    And,
    Or,
    Pipe,
}

/// Reads a script that begins in that line of its file.
pub(super) fn read(script: &str, line: usize) -> Vec<Command> {
    let mut reader = Reader {
        text: Cursor::new(script, line),
        done: Vec::new(),
        words: Vec::new(),
        began: None,
        joint: Joint::Then,
        nested: 0,
        heredocs: Vec::new(),
    };
    reader.read();
    reader.done
}

struct Reader {
    text: Cursor,
    done: Vec<Command>,
    words: Vec<String>,
    /// Where the command begins: place and line.
    began: Option<(usize, usize)>,
    joint: Joint,
    nested: usize,
    /// Words that end the texts which begin after this line.
    heredocs: Vec<String>,
}

impl Reader {
    fn read(&mut self) {
        while let Some(c) = self.text.peek() {
            if self.done.len() >= COMMANDS_MAX {
                return;
            }
            match c {
                '\n' => {
                    self.end(Joint::Then);
                    self.text.next();
                    self.skip_heredocs();
                }
                ';' => self.separator(1, Joint::Then),
                '&' if self.text.is("&&") => self.separator(2, Joint::And),
                '|' if self.text.is("||") => self.separator(2, Joint::Or),
                '|' => self.separator(1, Joint::Pipe),
                '&' if self.text.is("&>") => self.redirection(),
                '&' => self.separator(1, Joint::Then),
                '(' if self.words.is_empty() => {
                    self.separator(1, self.joint);
                    self.nested += 1;
                }
                ')' if self.nested > 0 => {
                    self.separator(1, Joint::Then);
                    self.nested -= 1;
                }
                '#' => drop(self.text.take_while(|c| c != '\n')),
                '\\' if self.text.is("\\\n") => drop(self.text.eat("\\\n")),
                c if c.is_whitespace() => drop(self.text.next()),
                '<' | '>' => self.redirection(),
                _ => self.word(),
            }
        }
        self.end(Joint::Then);
    }

    fn separator(&mut self, chars: usize, joint: Joint) {
        self.end(joint);
        self.text.skip(chars);
    }

    fn end(&mut self, next: Joint) {
        let words = std::mem::take(&mut self.words);
        if let Some((at, line)) = self.began.take().filter(|_| !words.is_empty()) {
            let text = self.text.between(at, self.text.at()).trim().to_owned();
            self.done.push(Command { line, words, text, joint: self.joint, nested: self.nested });
        }
        self.joint = next;
    }

    fn word(&mut self) {
        self.began.get_or_insert((self.text.at(), self.text.line()));
        let word = self.plain_word();
        let redirected = self.text.peek().is_some_and(|c| c == '>' || c == '<');
        if !(redirected && !word.is_empty() && word.chars().all(|c| c.is_ascii_digit())) {
            self.words.push(word);
        }
    }

    fn plain_word(&mut self) -> String {
        let mut word = String::new();
        while let Some(c) = self.text.peek() {
            match c {
                _ if c.is_whitespace() || ";&|<>".contains(c) => break,
                '(' | ')' => break,
                '\'' => {
                    self.text.next();
                    word.push_str(&self.text.take_while(|c| c != '\''));
                    self.text.next();
                }
                '"' => self.double_quoted(&mut word),
                '\\' if self.text.is("\\\n") => drop(self.text.eat("\\\n")),
                '\\' => {
                    self.text.next();
                    word.extend(self.text.next());
                }
                '$' => self.variable(&mut word),
                '`' => self.backticks(&mut word),
                _ => word.extend(self.text.next()),
            }
        }
        if word.is_empty() && self.text.peek().is_some_and(|c| "()".contains(c)) {
            word.extend(self.text.next());
        }
        word
    }

    fn double_quoted(&mut self, word: &mut String) {
        self.text.next();
        while let Some(c) = self.text.peek() {
            match c {
                '"' => return self.text.skip(1),
                '\\' => {
                    self.text.next();
                    let next = self.text.next();
                    if next.is_some_and(|c| !"\"\\$`\n".contains(c)) {
                        word.push('\\');
                    }
                    word.extend(next.filter(|c| *c != '\n'));
                }
                '$' => self.variable(word),
                '`' => self.backticks(word),
                _ => word.extend(self.text.next()),
            }
        }
    }

    fn variable(&mut self, word: &mut String) {
        self.text.next();
        match self.text.peek() {
            Some('{') => {
                self.text.next();
                let inside = self.text.take_balanced('{', '}');
                word.push_str(&format!("${{{inside}}}"));
            }
            Some('(') => {
                self.text.next();
                word.push_str(&substituted(&self.text.take_balanced('(', ')')));
            }
            Some(c) if c.is_ascii_alphabetic() || c == '_' => {
                let name = self.text.take_while(is_name);
                word.push_str(&format!("${{{name}}}"));
            }
            _ => word.push('$'),
        }
    }

    fn backticks(&mut self, word: &mut String) {
        self.text.next();
        let inside = self.text.take_while(|c| c != '`');
        self.text.next();
        word.push_str(&substituted(&inside));
    }

    /// Passes `> file`, `2>&1`, `<<EOF`; what a file is fed stays in the command's text.
    fn redirection(&mut self) {
        let heredoc = self.text.is("<<") && !self.text.is("<<<");
        self.text.take_while(|c| "<>&-".contains(c));
        self.text.take_while(|c| c == ' ' || c == '\t');
        let target = self.plain_word();
        if heredoc && !target.is_empty() {
            self.heredocs.push(target);
        }
    }

    fn skip_heredocs(&mut self) {
        for end in std::mem::take(&mut self.heredocs) {
            while self.text.peek().is_some() {
                let line = self.text.take_while(|c| c != '\n');
                self.text.next();
                if line.trim() == end {
                    break;
                }
            }
        }
    }
}

/// `$(command)` as the variable that it stands for, where that is known.
pub(super) fn substituted(command: &str) -> String {
    let command = command.split_whitespace().collect::<Vec<_>>().join(" ");
    let short = |n: &str| {
        let n = n.split_whitespace().next().and_then(|n| n.parse::<usize>().ok());
        format!("${{GIT_COMMIT:0:{}}}", n.unwrap_or(7))
    };
    match command.as_str() {
        c if c.starts_with("git rev-parse --short") => short(&c[21..].replace('=', " ")),
        c if c.starts_with("git rev-parse --verify --short") => short(""),
        c if c.starts_with("git rev-parse --abbrev-ref") || c.starts_with("git branch --show") => {
            "${GIT_BRANCH}".into()
        }
        c if c.starts_with("git rev-parse") => "${GIT_COMMIT}".into(),
        c if c.starts_with("git log") && c.contains("%h") => short(""),
        c if (c.starts_with("git log") || c.starts_with("git show")) && c.contains("%H") => {
            "${GIT_COMMIT}".into()
        }
        c if c.starts_with("git describe") => "${GIT_TAG}".into(),
        c if c.starts_with("date") => "${DATE}".into(),
        "pwd" => "${PWD}".into(),
        c if c.starts_with("aws sts get-caller-identity") => "${AWS_ACCOUNT_ID}".into(),
        c => echoed(c).unwrap_or_else(|| format!("$({})", cut(c))),
    }
}

/// `echo $NAME | cut -c 1-7` and its like: the variable, shortened.
fn echoed(command: &str) -> Option<String> {
    let (echo, filter) = command.split_once('|')?;
    let inside =
        echo.trim().strip_prefix("echo ")?.trim_start_matches("-n ").trim().trim_matches(['"', '\'']);
    let name = inside.strip_prefix('$')?.trim_start_matches('{').trim_end_matches('}');
    if name.is_empty() || !name.chars().all(is_name) {
        return None;
    }
    let filter = filter.trim();
    let digits = |text: &str| {
        let last = text.rsplit(|c: char| !c.is_ascii_digit()).find(|part| !part.is_empty())?;
        last.parse::<usize>().ok()
    };
    match filter {
        f if f.starts_with("cut -c") || f.starts_with("head -c") => {
            Some(format!("${{{name}:0:{}}}", digits(f)?))
        }
        f if f.starts_with("sed") || f.starts_with("tr ") => Some(format!("${{{name}}}")),
        _ => None,
    }
}

fn cut(text: &str) -> String {
    text.chars().take(SUBSTITUTION_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(script: &str) -> Vec<Vec<String>> {
        read(script, 1).into_iter().map(|c| c.words).collect()
    }

    #[test]
    fn commands_are_split_as_a_shell_splits_them() {
        assert_eq!(
            words("docker build -t 'a b' . && docker push \"x:$TAG\"; ls | wc -l"),
            [
                &["docker", "build", "-t", "a b", "."][..],
                &["docker", "push", "x:${TAG}"],
                &["ls"],
                &["wc", "-l"],
            ]
        );
        assert_eq!(
            words("a \\\n  --b=\"c d\"\\\n  e\n# a comment\nf#g # h"),
            [&["a", "--b=c d", "e"][..], &["f#g"]]
        );
        assert_eq!(words("(cd x && make) > out 2>&1 &"), [&["cd", "x"][..], &["make"]]);
        assert_eq!(words("cat <<EOF > f\ndocker push x\nEOF\nls"), [&["cat"][..], &["ls"]]);
        assert_eq!(words("a=\"${B:-c}\" d \"e\\\"f\\n\""), [&["a=${B:-c}", "d", "e\"f\\n"][..]]);
    }

    #[test]
    fn lines_are_those_of_the_file() {
        let lines: Vec<usize> =
            read("a\n\nb \\\n c && d\n'e\nf'\ng", 10).iter().map(|command| command.line).collect();
        assert_eq!(lines, [10, 12, 13, 14, 16]);
        assert_eq!(read("x\r\ny", 1).iter().map(|c| c.line).collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn what_a_command_would_print_is_known_for_what_ci_prints() {
        for (script, want) in [
            ("a $(git rev-parse --short HEAD)", "${GIT_COMMIT:0:7}"),
            ("a `git rev-parse --short=8 HEAD`", "${GIT_COMMIT:0:8}"),
            ("a $(git rev-parse HEAD)", "${GIT_COMMIT}"),
            (
                "a $(echo $CODEBUILD_RESOLVED_SOURCE_VERSION | cut -c 1-7)",
                "${CODEBUILD_RESOLVED_SOURCE_VERSION:0:7}",
            ),
            ("a \"$(echo \"${CI_COMMIT_SHA}\" | head -c 9)\"", "${CI_COMMIT_SHA:0:9}"),
            ("a $(date +%F)", "${DATE}"),
            ("a $(cat VERSION)", "$(cat VERSION)"),
        ] {
            assert_eq!(words(script)[0][1], want, "{script}");
        }
    }

    #[test]
    fn what_has_no_end_ends_with_the_text() {
        for script in ["a 'b", "a \"b $(c", "a `b", "a ${b", "a <<E\nb", "a \\", "\"", "$", "((((", ")))) x"]
        {
            assert!(read(script, 1).len() <= 2, "{script}");
        }
        assert!(read(&"a;".repeat(100_000), 1).len() <= COMMANDS_MAX);
        assert!(read(&"$(".repeat(200_000), 1).len() <= 1);
    }
}
