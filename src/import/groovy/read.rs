//! Tokens to steps. Goes forward with every turn, and no deeper than allowed: what lies deeper is passed over.

use super::token::{Placed, Token, tokens};
use super::{Block, Call, Step, Value};
use crate::import::limits::GROOVY_DEPTH_MAX as DEPTH_MAX;

/// Reads a Jenkinsfile.
pub(crate) fn read(text: &str) -> Block {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = Reader { tokens: tokens(text), at: 0, depth: 0 };
    let mut block = Block::default();
    while reader.peek().is_some() {
        block.steps.extend(reader.block().steps);
        // A brace that closes nothing.
        reader.at += 1;
    }
    block
}

/// Names before which a word is no type.
const WORDS: [&str; 8] = ["return", "throw", "new", "assert", "else", "case", "in", "agent"];

pub(super) struct Reader {
    pub(super) tokens: Vec<Placed>,
    pub(super) at: usize,
    pub(super) depth: usize,
}

impl Reader {
    pub(super) fn peek(&self) -> Option<&Token> {
        self.peek_at(0)
    }

    pub(super) fn peek_at(&self, ahead: usize) -> Option<&Token> {
        self.tokens.get(self.at + ahead).map(|placed| &placed.token)
    }

    pub(super) fn line(&self) -> usize {
        self.tokens.get(self.at).or(self.tokens.last()).map_or(0, |placed| placed.line)
    }

    pub(super) fn is(&self, sign: char) -> bool {
        self.peek() == Some(&Token::Sign(sign))
    }

    pub(super) fn eat(&mut self, sign: char) -> bool {
        let here = self.is(sign);
        self.at += usize::from(here);
        here
    }

    fn is_operator(&self, operator: &str) -> bool {
        matches!(self.peek(), Some(Token::Operator(o)) if o == operator)
    }

    pub(super) fn word(&self, ahead: usize) -> Option<&str> {
        match self.peek_at(ahead) {
            Some(Token::Name(name)) => Some(name),
            _ => None,
        }
    }

    pub(super) fn skip_ends(&mut self) {
        while self.peek() == Some(&Token::End) {
            self.at += 1;
        }
    }

    pub(super) fn skip_line(&mut self) {
        while self.peek().is_some_and(|token| *token != Token::End) && !self.is('}') {
            if self.is('{') || self.is('(') || self.is('[') {
                self.skip_balanced();
            } else {
                self.at += 1;
            }
        }
    }

    /// From an opening bracket past the one that closes it.
    pub(super) fn skip_balanced(&mut self) {
        let mut depth = 0_usize;
        while let Some(token) = self.peek() {
            match token {
                Token::Sign('(' | '[' | '{') => depth += 1,
                Token::Sign(')' | ']' | '}') => depth = depth.saturating_sub(1),
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return;
            }
        }
    }

    /// Steps up to a closing brace, which stays.
    fn block(&mut self) -> Block {
        let mut block = Block { names: self.names_before_arrow(), steps: Vec::new() };
        loop {
            self.skip_ends();
            if self.peek().is_none() || self.is('}') {
                return block;
            }
            let before = self.at;
            block.steps.extend(self.step());
            // Whatever it was: forward.
            self.at += usize::from(self.at == before);
        }
    }

    /// `{ … }`, this brace being next.
    pub(super) fn braces(&mut self) -> Block {
        if self.depth >= DEPTH_MAX {
            self.skip_balanced();
            return Block::default();
        }
        self.depth += 1;
        self.at += 1;
        let block = self.block();
        self.eat('}');
        self.depth -= 1;
        block
    }

    /// The names of a closure: `a, b ->`.
    fn names_before_arrow(&mut self) -> Vec<String> {
        let (mut names, mut ahead) = (Vec::new(), 0);
        while let Some(token) = self.peek_at(ahead) {
            match token {
                Token::Name(name) => names.push(name.clone()),
                Token::Sign(',') => {}
                Token::Operator(arrow) if arrow == "->" => {
                    self.at += ahead + 1;
                    return names;
                }
                _ => break,
            }
            ahead += 1;
        }
        Vec::new()
    }

    fn step(&mut self) -> Option<Step> {
        let line = self.line();
        match self.word(0) {
            Some("if") => Some(self.branch()),
            Some("for") if self.peek_at(1) == Some(&Token::Sign('(')) => Some(self.looped()),
            Some("while" | "switch" | "catch") if self.peek_at(1) == Some(&Token::Sign('(')) => {
                let name = self.word(0).unwrap_or_default().to_owned();
                self.at += 1;
                self.skip_balanced();
                self.skip_ends();
                self.block_call(line, &name)
            }
            Some("try" | "finally" | "do" | "else") => {
                let name = self.word(0).unwrap_or_default().to_owned();
                self.at += 1;
                self.skip_ends();
                self.block_call(line, &name)
            }
            Some("import" | "package" | "break" | "continue") => {
                self.skip_line();
                None
            }
            Some("case" | "default") if !matches!(self.peek_at(1), Some(Token::Sign('(' | '{'))) => {
                while !self.is(':') && self.peek().is_some_and(|token| *token != Token::End) {
                    self.at += 1;
                }
                self.eat(':');
                None
            }
            Some("return" | "throw" | "assert") => {
                self.at += 1;
                self.expression_step(line)
            }
            Some(_) => self.declaration(line).unwrap_or_else(|| self.expression_step(line)),
            None if self.is('@') => {
                self.at += 1;
                self.annotation(line)
            }
            None if self.is('{') => {
                let block = Some(self.braces());
                Some(Step::Call(Call { line, block, ..Call::default() }))
            }
            None => self.expression_step(line),
        }
    }

    fn block_call(&mut self, line: usize, name: &str) -> Option<Step> {
        let block = self.is('{').then(|| self.braces())?;
        Some(Step::Call(Call { line, name: name.into(), block: Some(block), ..Call::default() }))
    }

    fn annotation(&mut self, line: usize) -> Option<Step> {
        let name = self.word(0).map(|name| format!("@{name}"))?;
        self.at += 1;
        let args = if self.is('(') { self.arguments() } else { Vec::new() };
        self.at += usize::from(self.word(0) == Some("_"));
        Some(Step::Call(Call { line, name, args, ..Call::default() }))
    }

    /// `def name = value`, `String name(…) { … }`; `None` where it is none of these.
    fn declaration(&mut self, line: usize) -> Option<Option<Step>> {
        let kind = self.word(0)?;
        let mut ahead = 1;
        // `final String name`.
        while self.word(ahead + 1).is_some() && self.word(ahead).is_some() && kind == "final" {
            ahead += 1;
        }
        let name = self.word(ahead)?.to_owned();
        if WORDS.contains(&kind) {
            return None;
        }
        match self.peek_at(ahead + 1) {
            Some(Token::Operator(o)) if o == "=" => {
                self.at += ahead + 2;
                let value = self.assigned();
                Some(Some(Step::Set { line, name, value }))
            }
            Some(Token::Sign('(')) if kind == "def" || kind == "void" || self.is_function(ahead + 1) => {
                self.at += ahead + 1;
                self.skip_balanced();
                self.skip_ends();
                let block = if self.is('{') { self.braces() } else { Block::default() };
                Some(Some(Step::Function { name, block }))
            }
            _ if kind == "def" => {
                self.skip_line();
                Some(None)
            }
            _ => None,
        }
    }

    /// True if a brace follows the bracket that closes the one ahead.
    fn is_function(&self, ahead: usize) -> bool {
        let rest = self.tokens.get(self.at + ahead..).unwrap_or_default().iter().take(64);
        let after = rest.skip_while(|placed| placed.token != Token::Sign(')')).nth(1);
        after.is_some_and(|placed| placed.token == Token::Sign('{'))
    }

    fn branch(&mut self) -> Step {
        let line = self.line();
        self.at += 1;
        let begin = self.at;
        if self.is('(') {
            self.skip_balanced();
        }
        let condition = self.written(begin + 1, self.at.saturating_sub(1));
        let then = self.body();
        let mut after = 0;
        while self.peek_at(after) == Some(&Token::End) {
            after += 1;
        }
        let otherwise = (self.word(after) == Some("else")).then(|| {
            self.at += after + 1;
            self.body()
        });
        Step::If { line, condition, then, otherwise }
    }

    /// A block, or the one step without braces.
    fn body(&mut self) -> Block {
        self.skip_ends();
        if self.is('{') {
            return self.braces();
        }
        if self.depth >= DEPTH_MAX {
            self.skip_line();
            return Block::default();
        }
        self.depth += 1;
        let steps = self.step().into_iter().collect();
        self.depth -= 1;
        Block { names: Vec::new(), steps }
    }

    /// `for (x in [a, b]) { … }` as `[a, b].each { x -> … }`.
    fn looped(&mut self) -> Step {
        let line = self.line();
        self.at += 2;
        self.at += usize::from(self.word(1).is_some_and(|word| word != "in"));
        let name = self.word(0).map(str::to_owned);
        let in_list = self.word(1) == Some("in") || self.peek_at(1) == Some(&Token::Sign(':'));
        let list = if in_list {
            self.at += 2;
            self.value()
        } else {
            Value::Other
        };
        while self.peek().is_some() && !self.is(')') && !self.is('{') {
            self.at += 1;
        }
        self.eat(')');
        let mut block = self.body();
        block.names = name.into_iter().collect();
        let (block, of) = (Some(block), Some(Box::new(list)));
        Step::Call(Call { line, name: "each".into(), block, of, ..Call::default() })
    }

    fn expression_step(&mut self, line: usize) -> Option<Step> {
        let value = self.value();
        if self.is_operator("=") {
            self.at += 1;
            let assigned = self.assigned();
            let Value::Name(name) = value else { return None };
            return Some(Step::Set { line, name, value: assigned });
        }
        let step = match value {
            Value::Call(call) => Some(Step::Call(*call)),
            Value::Name(name) => {
                let call = self.bare_call(line, name);
                (!call.args.is_empty() || call.block.is_some()).then_some(Step::Call(call))
            }
            _ => None,
        };
        if step.is_none() {
            self.skip_line();
        }
        step
    }
}
