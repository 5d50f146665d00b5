//! Values: texts, names, lists, calls and what follows them.

use super::read::Reader;
use super::token::{Placed, Token, shortened};
use super::{Call, Value, plain};
use crate::import::limits::{CHAIN_MAX, GROOVY_DEPTH_MAX as DEPTH_MAX, TEXT_BYTES_MAX};
use crate::import::shell::substituted;

impl Reader {
    /// What stands behind `=`: a value, or a call without brackets.
    pub(super) fn assigned(&mut self) -> Value {
        self.skip_ends();
        let line = self.line();
        match self.value() {
            Value::Name(name) if matches!(self.peek(), Some(Token::Text(_) | Token::Name(_))) => {
                called(self.bare_call(line, name))
            }
            value => value,
        }
    }

    /// `name argument, argument { … }`.
    pub(super) fn bare_call(&mut self, line: usize, name: String) -> Call {
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
    pub(super) fn arguments(&mut self) -> Vec<(Option<String>, Value)> {
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
    pub(super) fn value(&mut self) -> Value {
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
                ("+", Some(left), Some(right)) if left.len() < TEXT_BYTES_MAX => {
                    Value::Text(left + &right, line)
                }
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
                let source =
                    (name == "expression").then(|| self.written(begin + 1, self.at.saturating_sub(1)));
                let args = source.map(|text| (Some("source".to_owned()), Value::Text(text, line)));
                Ok(Value::Call(Box::new(Call {
                    line,
                    name,
                    args: args.into_iter().collect(),
                    block,
                    of: None,
                })))
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
        if let (Value::List(values), "join") = (&of, name) {
            let sign = args.first().and_then(|(_, value)| value.text()).unwrap_or_default();
            let texts: Option<Vec<String>> = values.iter().map(Value::text).collect();
            return texts.map_or(Value::Other, |texts| Value::Text(texts.join(&sign), line));
        }
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
    pub(super) fn written(&self, from: usize, to: usize) -> String {
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
        None if call.name == "readFile" => {
            Some(format!("$(cat {})", call.text("file", 0).unwrap_or_default()))
        }
        None => None,
    };
    match text {
        Some(text) => Value::Text(text, call.line),
        None => Value::Call(Box::new(call)),
    }
}
