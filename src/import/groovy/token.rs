//! Characters to tokens with their lines. Comments are gone; what a text has of variables stays in it as `${NAME}`.

use super::plain;
use crate::import::cursor::{Cursor, is_name};
use crate::import::limits::{SUBSTITUTION_CHARS_MAX, TOKENS_MAX};
use crate::import::shell::substituted;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Name(String),
    Text(String),
    Regex(String),
    Number(String),
    /// A bracket, comma, dot, colon or the like.
    Sign(char),
    /// `==`, `&&`, `->` and the like.
    Operator(String),
    /// A line end or semicolon.
    End,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Placed {
    pub(super) token: Token,
    pub(super) line: usize,
}

/// Reads all tokens, or as many as are allowed.
pub(super) fn tokens(text: &str) -> Vec<Placed> {
    let mut reader = Tokens { text: Cursor::new(text, 1), done: Vec::new() };
    if reader.text.is("#!") {
        reader.text.take_while(|c| c != '\n');
    }
    while reader.done.len() < TOKENS_MAX && reader.next() {}
    reader.done
}

struct Tokens {
    text: Cursor,
    done: Vec<Placed>,
}

impl Tokens {
    fn next(&mut self) -> bool {
        let Some(c) = self.text.peek() else { return false };
        let line = self.text.line();
        let token = match c {
            '\n' | ';' => {
                self.text.next();
                Token::End
            }
            '\\' if self.text.is("\\\n") => {
                self.text.eat("\\\n");
                return true;
            }
            c if c.is_whitespace() => {
                self.text.next();
                return true;
            }
            '/' if self.text.is("//") => {
                self.text.take_while(|c| c != '\n');
                return true;
            }
            '/' if self.text.eat("/*") => {
                while self.text.peek().is_some() && !self.text.eat("*/") {
                    self.text.next();
                }
                return true;
            }
            '/' if self.may_begin_regex() => match self.regex() {
                Some(regex) => Token::Regex(regex),
                None => Token::Sign('/'),
            },
            '$' if self.text.is("$/") => Token::Text(self.dollar_text()),
            '\'' | '"' => Token::Text(self.string(c)),
            c if c.is_ascii_digit() => {
                Token::Number(self.text.take_while(|c| c.is_ascii_alphanumeric() || c == '_'))
            }
            c if c.is_alphabetic() || c == '_' || c == '$' => {
                Token::Name(self.text.take_while(|c| c.is_alphanumeric() || c == '_' || c == '$'))
            }
            c if "=!<>&|+-*%?~^".contains(c) => {
                Token::Operator(self.text.take_while(|c| "=!<>&|+-*%?~^:".contains(c)))
            }
            c => {
                self.text.next();
                Token::Sign(c)
            }
        };
        self.done.push(Placed { token, line });
        true
    }

    /// After a value a slash divides.
    fn may_begin_regex(&self) -> bool {
        match self.done.last().map(|placed| &placed.token) {
            Some(Token::Name(_) | Token::Text(_) | Token::Number(_) | Token::Regex(_)) => false,
            Some(Token::Sign(c)) => !")]}".contains(*c),
            _ => true,
        }
    }

    /// `/…/` on one line.
    fn regex(&mut self) -> Option<String> {
        self.text.next();
        let mut regex = String::new();
        while let Some(c) = self.text.peek().filter(|c| *c != '\n') {
            self.text.next();
            if c == '/' {
                return Some(regex);
            }
            regex.push(c);
            if c == '\\' && self.text.peek() != Some('\n') {
                regex.extend(self.text.next());
            }
        }
        None
    }

    fn dollar_text(&mut self) -> String {
        self.text.eat("$/");
        let mut text = String::new();
        while self.text.peek().is_some() && !self.text.eat("/$") {
            text.extend(self.text.next());
        }
        text
    }

    fn string(&mut self, quote: char) -> String {
        let triple = quote.to_string().repeat(3);
        let end = if self.text.eat(&triple) { triple } else { quote.to_string() };
        if end.len() == 1 {
            self.text.next();
        }
        let mut text = String::new();
        while let Some(c) = self.text.peek() {
            if self.text.eat(&end) {
                break;
            }
            match c {
                // A text on one line ends with the line, whatever it says.
                '\n' if end.len() == 1 => break,
                '\\' => self.escaped(&mut text),
                '$' if quote == '"' => self.interpolated(&mut text),
                _ => text.extend(self.text.next()),
            }
        }
        text
    }

    fn escaped(&mut self, text: &mut String) {
        self.text.next();
        match self.text.next() {
            Some('n') => text.push('\n'),
            Some('t') => text.push('\t'),
            Some('r') | None => {}
            Some(c) if "'\"\\$".contains(c) => text.push(c),
            Some(c) => text.extend(['\\', c]),
        }
    }

    fn interpolated(&mut self, text: &mut String) {
        self.text.next();
        if self.text.peek() == Some('{') {
            self.text.next();
            let inside = self.text.take_balanced('{', '}');
            return text.push_str(&expression(&inside));
        }
        let mut name = self.text.take_while(is_name);
        while !name.is_empty()
            && self.text.peek() == Some('.')
            && self.text.peek_at(1).is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        {
            self.text.next();
            name.push('.');
            name.push_str(&self.text.take_while(is_name));
        }
        text.push_str(&if name.is_empty() { "$".to_owned() } else { format!("${{{}}}", plain(&name)) });
    }
}

/// What stands in `${…}`, as a variable where it is one.
fn expression(inside: &str) -> String {
    let inside = inside.trim();
    let name_end = inside.find(|c| !is_name(c) && c != '.').unwrap_or(inside.len());
    let (path, rest) = inside.split_at(name_end);
    let (path, method) = match path.rsplit_once('.') {
        Some((before, last)) if rest.starts_with('(') => (before, last),
        _ => (path, ""),
    };
    let name = plain(path);
    let simple = !name.is_empty() && name.chars().all(|c| is_name(c) || c == '.');
    if simple {
        if let Some(variable) = shortened(name, method, rest) {
            return variable;
        }
        if let Some((_, default)) = rest.split_once("?:").filter(|_| method.is_empty()) {
            let default = default.trim().trim_matches(['\'', '"']);
            return format!("${{{name}:-{}}}", default.replace(['{', '}', '$'], ""));
        }
    }
    if inside.starts_with("sh(") || inside.starts_with("sh (") {
        let script = inside.split(['\'', '"']).find(|part| part.contains(' ') && !part.contains(':'));
        if let Some(script) = script {
            return substituted(script);
        }
    }
    let kept: String =
        inside.chars().filter(|c| !"(){}$".contains(*c)).take(SUBSTITUTION_CHARS_MAX).collect();
    format!("$({kept})")
}

/// `${name}` for what a method makes of a variable, where that is known: `take(7)`, `trim()`, `[0..6]`.
pub(super) fn shortened(name: &str, method: &str, rest: &str) -> Option<String> {
    let numbers: Vec<usize> =
        rest.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok()).collect();
    Some(match (method, numbers.as_slice()) {
        ("", []) if rest.is_empty() => format!("${{{name}}}"),
        ("", [0, last]) if rest.starts_with('[') => format!("${{{name}:0:{}}}", last.saturating_add(1)),
        ("take", [length]) | ("substring", [0, length]) => format!("${{{name}:0:{length}}}"),
        ("trim" | "toString" | "toLowerCase" | "toUpperCase" | "replace" | "replaceAll" | "minus", _) => {
            format!("${{{name}}}")
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(source: &str) -> Vec<String> {
        let text = |placed: Placed| match placed.token {
            Token::Text(text) => Some(text),
            _ => None,
        };
        tokens(source).into_iter().filter_map(text).collect()
    }

    #[test]
    fn texts_keep_their_variables() {
        for (source, want) in [
            ("'a $B \\'c\\''", "a $B 'c'"),
            ("\"a ${env.B} $C ${params.D}\"", "a ${B} ${C} ${D}"),
            ("\"${env.GIT_COMMIT.take(7)} ${env.GIT_COMMIT[0..6]}\"", "${GIT_COMMIT:0:7} ${GIT_COMMIT:0:7}"),
            ("\"${GIT_COMMIT.substring(0, 8)}-${v.trim()}\"", "${GIT_COMMIT:0:8}-${v}"),
            ("\"\\${SHELL} \\$X\"", "${SHELL} $X"),
            (
                "\"${sh(script: 'git rev-parse --short HEAD', returnStdout: true).trim()}\"",
                "${GIT_COMMIT:0:7}",
            ),
            ("\"${x ?: 'dev'}\"", "${x:-dev}"),
            ("\"${a ? 'b' : 'c'}\"", "$(a ? 'b' : 'c')"),
            ("'''a\n  'b' \\\n c'''", "a\n  'b' \\\n c"),
            ("\"\"\"a \"b\" ${c}\"\"\"", "a \"b\" ${c}"),
            ("$/a 'b'/$", "a 'b'"),
        ] {
            assert_eq!(texts(source), [want], "{source}");
        }
    }

    #[test]
    fn comments_are_passed_and_slashes_told_apart() {
        let found: Vec<Token> = tokens("#!groovy\na // b\n/* c\n d */ e = 4 / 2\nx ==~ /r\\/.*/")
            .into_iter()
            .map(|p| p.token)
            .collect();
        let name = |n: &str| Token::Name(n.into());
        assert_eq!(
            found,
            [
                Token::End,
                name("a"),
                Token::End,
                name("e"),
                Token::Operator("=".into()),
                Token::Number("4".into()),
                Token::Sign('/'),
                Token::Number("2".into()),
                Token::End,
                name("x"),
                Token::Operator("==~".into()),
                Token::Regex("r\\/.*".into()),
            ]
        );
        let lines: Vec<usize> = tokens("a\r\n'''x\r\ny'''\r\nb").iter().map(|p| p.line).collect();
        assert_eq!(lines, [1, 1, 2, 3, 4]);
    }

    #[test]
    fn what_has_no_end_ends_with_the_text() {
        for source in
            ["'", "\"${", "'''a", "/* a", "= /a", "$/a", "\"$", "'\\", "\"${\"${\"${", "\u{feff}\u{0}"]
        {
            tokens(source);
        }
        assert!(tokens(&"{".repeat(TOKENS_MAX + 10)).len() == TOKENS_MAX);
        tokens(&"\"${".repeat(200_000));
        tokens(&"/* ".repeat(200_000));
    }
}
