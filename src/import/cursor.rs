//! A place in a text that only moves forward, and knows its line.

/// Characters of a text, one after the other.
#[derive(Debug)]
pub(super) struct Cursor {
    chars: Vec<char>,
    at: usize,
    line: usize,
}

impl Cursor {
    /// At the beginning of `text`, which begins in that line of its file. Line ends become `\n`.
    pub(super) fn new(text: &str, line: usize) -> Self {
        let mut chars: Vec<char> = text.chars().collect();
        if text.contains('\r') {
            let next = chars.iter().skip(1).copied().chain(['\n']).collect::<Vec<_>>();
            let kept = chars.iter().zip(next).filter(|(c, next)| **c != '\r' || *next != '\n');
            chars = kept.map(|(c, _)| if *c == '\r' { '\n' } else { *c }).collect();
        }
        Self { chars, at: 0, line }
    }

    pub(super) fn line(&self) -> usize {
        self.line
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.peek_at(0)
    }

    pub(super) fn peek_at(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    /// True if that stands here.
    pub(super) fn is(&self, text: &str) -> bool {
        text.chars().enumerate().all(|(n, c)| self.peek_at(n) == Some(c))
    }

    /// Moves past that if it stands here.
    pub(super) fn eat(&mut self, text: &str) -> bool {
        let here = self.is(text);
        if here {
            self.skip(text.chars().count());
        }
        here
    }

    pub(super) fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += 1;
        self.line += usize::from(c == '\n');
        Some(c)
    }

    /// Moves past so many characters.
    pub(super) fn skip(&mut self, chars: usize) {
        for _ in 0..chars {
            self.next();
        }
    }

    /// Takes what fits, from here on.
    pub(super) fn take_while(&mut self, fits: impl Fn(char) -> bool) -> String {
        let mut taken = String::new();
        while let Some(c) = self.peek().filter(|c| fits(*c)) {
            taken.push(c);
            self.next();
        }
        taken
    }

    /// The text between two places.
    pub(super) fn between(&self, from: usize, to: usize) -> String {
        self.chars.get(from..to.min(self.chars.len())).unwrap_or_default().iter().collect()
    }

    /// Takes up to the closing character that belongs to an opening one already passed, which it passes too; all that is
    /// left where none does. Quoted ones do not count.
    pub(super) fn take_balanced(&mut self, open: char, close: char) -> String {
        let (mut depth, mut quote, mut taken) = (0_usize, None, String::new());
        while let Some(c) = self.next() {
            match quote {
                Some(q) if c == q => quote = None,
                Some(_) => {}
                None if c == '\'' || c == '"' => quote = Some(c),
                None if c == open => depth += 1,
                None if c == close && depth == 0 => return taken,
                None if c == close => depth -= 1,
                None => {}
            }
            taken.push(c);
            if c == '\\' {
                taken.extend(self.next());
            }
        }
        taken
    }
}

/// True for what names of variables are made of.
pub(super) fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}
