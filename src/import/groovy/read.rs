//! Tokens to steps. Goes forward with every turn, and no deeper than allowed: what lies deeper is passed over.

use super::token::{Placed, Token, shortened, tokens};
use super::{Block, Call, Step, Value, plain};
use crate::import::limits::{CHAIN_MAX, GROOVY_DEPTH_MAX as DEPTH_MAX, TEXT_BYTES_MAX};
use crate::import::shell::substituted;

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

struct Reader {
    tokens: Vec<Placed>,
    at: usize,
    depth: usize,
}

impl Reader {
    fn peek(&self) -> Option<&Token> {
        self.peek_at(0)
    }

    fn peek_at(&self, ahead: usize) -> Option<&Token> {
        self.tokens.get(self.at + ahead).map(|placed| &placed.token)
    }

    fn line(&self) -> usize {
        self.tokens.get(self.at).or(self.tokens.last()).map_or(0, |placed| placed.line)
    }

    fn is(&self, sign: char) -> bool {
        self.peek() == Some(&Token::Sign(sign))
    }

    fn eat(&mut self, sign: char) -> bool {
        let here = self.is(sign);
        self.at += usize::from(here);
        here
    }

    fn is_operator(&self, operator: &str) -> bool {
        matches!(self.peek(), Some(Token::Operator(o)) if o == operator)
    }

    fn word(&self, ahead: usize) -> Option<&str> {
        match self.peek_at(ahead) {
            Some(Token::Name(name)) => Some(name),
            _ => None,
        }
    }

    fn skip_ends(&mut self) {
        while self.peek() == Some(&Token::End) {
            self.at += 1;
        }
    }

    fn skip_line(&mut self) {
        while self.peek().is_some_and(|token| *token != Token::End) && !self.is('}') {
            if self.is('{') || self.is('(') || self.is('[') {
                self.skip_balanced();
            } else {
                self.at += 1;
            }
        }
    }

    /// From an opening bracket past the one that closes it.
    fn skip_balanced(&mut self) {
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
    fn braces(&mut self) -> Block {
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
                self.skip_ends();
                let value = self.value();
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
            self.skip_ends();
            let assigned = self.value();
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

    /// `name argument, argument { … }`.
    fn bare_call(&mut self, line: usize, name: String) -> Call {
        let mut call = Call { line, name, ..Call::default() };
        let begins = match self.peek() {
            Some(Token::Text(_) | Token::Name(_) | Token::Number(_) | Token::Regex(_)) => true,
            Some(Token::Sign('[')) => true,
            Some(Token::Sign('{')) => {
                call.block = Some(self.braces());
                return call;
            }
            _ => false,
        };
        if begins {
            call.args = self.list_of_arguments(None);
        }
        if call.block.is_none() && self.is('{') {
            call.block = Some(self.braces());
        }
        call
    }

    /// `(…)`, this bracket being next.
    fn arguments(&mut self) -> Vec<(Option<String>, Value)> {
        if self.depth >= DEPTH_MAX {
            self.skip_balanced();
            return Vec::new();
        }
        self.depth += 1;
        self.at += 1;
        let args = self.list_of_arguments(Some(')'));
        self.depth -= 1;
        args
    }

    /// Arguments up to that sign, which is passed, or to the end of the line.
    fn list_of_arguments(&mut self, close: Option<char>) -> Vec<(Option<String>, Value)> {
        let mut args = Vec::new();
        loop {
            if close.is_some() {
                self.skip_ends();
            }
            match close {
                Some(sign) if self.peek().is_none() || self.eat(sign) => return args,
                _ if self.peek().is_none() || self.is('}') => return args,
                _ => {}
            }
            let before = self.at;
            let name = match (self.peek(), self.peek_at(1)) {
                (Some(Token::Name(name) | Token::Text(name)), Some(Token::Sign(':'))) => Some(name.clone()),
                _ => None,
            };
            if name.is_some() {
                self.at += 2;
                self.skip_ends();
            }
            let value = self.value();
            self.rest_of_value();
            args.push((name, value));
            if self.eat(',') {
                self.skip_ends();
            } else if close.is_none() {
                return args;
            }
            self.at += usize::from(self.at == before);
        }
    }

    /// Passes what stands behind a value and is none of its own.
    fn rest_of_value(&mut self) {
        while let Some(token) = self.peek() {
            match token {
                Token::Sign(',' | ')' | ']' | '}') | Token::End => return,
                Token::Sign('{' | '(' | '[') => return,
                _ => self.at += 1,
            }
        }
    }

    /// A value, as far as it is one.
    fn value(&mut self) -> Value {
        if self.depth >= DEPTH_MAX {
            self.skip_line();
            return Value::Other;
        }
        self.depth += 1;
        let mut value = self.operand();
        while let Some(Token::Operator(operator)) = self.peek() {
            let operator = operator.clone();
            if operator == "=" {
                break;
            }
            self.at += 1;
            self.skip_ends();
            let line = self.line();
            let right = self.operand();
            value = match (operator.as_str(), value.text(), right.text()) {
                ("+", Some(left), Some(right)) if left.len() < TEXT_BYTES_MAX => Value::Text(left + &right, line),
                ("?:", Some(left), Some(right)) if left.starts_with("${") => {
                    Value::Text(format!("{}:-{right}}}", left.trim_end_matches('}')), line)
                }
                _ => Value::Other,
            };
        }
        self.depth -= 1;
        value
    }

    fn operand(&mut self) -> Value {
        let line = self.line();
        let mut value = match self.peek().cloned() {
            Some(Token::Text(text)) => {
                self.at += 1;
                Value::Text(text, line)
            }
            Some(Token::Number(number)) => {
                self.at += 1;
                Value::Text(number, line)
            }
            Some(Token::Name(name)) => {
                self.at += 1;
                Value::Name(name)
            }
            Some(Token::Sign('[')) => self.list(),
            Some(Token::Sign('{')) => Value::Block(self.braces()),
            Some(Token::Sign('(')) => self.bracketed(),
            Some(Token::Operator(_) | Token::Regex(_)) => {
                self.at += 1;
                Value::Other
            }
            _ => return Value::Other,
        };
        for _ in 0..CHAIN_MAX {
            match self.postfix(value, line) {
                Ok(more) => value = more,
                Err(done) => return done,
            }
        }
        value
    }

    fn bracketed(&mut self) -> Value {
        let mut args = self.arguments();
        if args.len() == 1 { args.remove(0).1 } else { Value::Other }
    }

    /// What follows a value and belongs to it: `.name`, `(…)`, `[…]`, `{…}`. `Err` gives it back where nothing does.
    fn postfix(&mut self, value: Value, line: usize) -> Result<Value, Value> {
        // A chain may go on in the next line.
        let mut ahead = 0;
        while self.peek_at(ahead) == Some(&Token::End) {
            ahead += 1;
        }
        let dot = match self.peek_at(ahead) {
            Some(Token::Sign('.')) => true,
            Some(Token::Operator(o)) if ahead == 0 && (o == "?" || o == "*") => {
                ahead = 1;
                self.peek_at(1) == Some(&Token::Sign('.'))
            }
            _ => false,
        };
        if dot {
            let Some(name) = self.word(ahead + 1).map(str::to_owned) else { return Err(value) };
            self.at += ahead + 2;
            return Ok(match value {
                Value::Name(path) => Value::Name(format!("{path}.{name}")),
                other => self.method(other, &name, line),
            });
        }
        match (self.peek(), value) {
            (Some(Token::Sign('(')), Value::Name(name)) => {
                let args = self.arguments();
                let block = self.is('{').then(|| self.braces());
                Ok(called(Call { line, name, args, block, of: None }))
            }
            (Some(Token::Sign('{')), Value::Name(name)) => {
                let begin = self.at;
                let block = Some(self.braces());
                // What it says as it is written: conditions.
                let source = (name == "expression").then(|| self.written(begin + 1, self.at.saturating_sub(1)));
                let args = source.map(|text| (Some("source".to_owned()), Value::Text(text, line)));
                Ok(Value::Call(Box::new(Call { line, name, args: args.into_iter().collect(), block, of: None })))
            }
            (Some(Token::Sign('[')), Value::Name(name)) if !self.begins_list() => {
                let begin = self.at;
                self.skip_balanced();
                let index = self.written(begin, self.at).replace(' ', "");
                Ok(shortened(plain(&name), "", &index).map_or(Value::Other, |text| Value::Text(text, line)))
            }
            (_, value) => Err(value),
        }
    }

    /// True if the bracket ahead is an argument, and no index: `parameters [string(…)]`.
    fn begins_list(&self) -> bool {
        !matches!(self.peek_at(1), Some(Token::Number(_) | Token::Text(_) | Token::Operator(_)))
            || self.peek_at(2) == Some(&Token::Sign(':'))
    }

    fn method(&mut self, of: Value, name: &str, line: usize) -> Value {
        let args = if self.is('(') { self.arguments() } else { Vec::new() };
        let block = self.is('{').then(|| self.braces());
        if let Value::Text(text, _) = &of {
            let numbers: Vec<String> = args.iter().filter_map(|(_, value)| value.text()).collect();
            let variable = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
            let short = variable.and_then(|variable| shortened(variable, name, &numbers.join(",")));
            return Value::Text(short.unwrap_or_else(|| text.clone()), line);
        }
        Value::Call(Box::new(Call { line, name: name.to_owned(), args, block, of: Some(Box::new(of)) }))
    }

    fn list(&mut self) -> Value {
        if self.depth >= DEPTH_MAX {
            self.skip_balanced();
            return Value::Other;
        }
        self.depth += 1;
        self.at += 1;
        // `[:]`, the empty map.
        self.eat(':');
        let all = self.list_of_arguments(Some(']'));
        self.depth -= 1;
        if all.iter().any(|(name, _)| name.is_some()) {
            return Value::Map(all.into_iter().filter_map(|(name, value)| Some((name?, value))).collect());
        }
        Value::List(all.into_iter().map(|(_, value)| value).collect())
    }

    /// Tokens as they are written.
    fn written(&self, from: usize, to: usize) -> String {
        let one = |placed: &Placed| match &placed.token {
            Token::Name(text) | Token::Number(text) | Token::Operator(text) => text.clone(),
            Token::Text(text) => format!("\"{text}\""),
            Token::Regex(text) => format!("/{text}/"),
            Token::Sign(sign) => sign.to_string(),
            Token::End => " ".into(),
        };
        let tokens = self.tokens.get(from..to.max(from)).unwrap_or_default();
        tokens.iter().map(one).collect::<Vec<_>>().join(" ").replace(" . ", ".")
    }
}

/// A call, or the text that it stands for.
fn called(call: Call) -> Value {
    let text = match call.name.rsplit_once('.') {
        Some((of, method)) => {
            let numbers: Vec<String> = call.args.iter().filter_map(|(_, value)| value.text()).collect();
            let short = shortened(plain(of), method, &numbers.join(","));
            short.filter(|_| call.block.is_none())
        }
        None if call.name == "sh" && call.named("returnStdout").is_some() => {
            call.text("script", 0).map(|script| substituted(&script))
        }
        None if call.name == "readFile" => Some(format!("$(cat {})", call.text("file", 0).unwrap_or_default())),
        None => None,
    };
    match text {
        Some(text) => Value::Text(text, call.line),
        None => Value::Call(Box::new(call)),
    }
}
