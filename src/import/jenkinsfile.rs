//! Jenkinsfiles, declarative and scripted: blocks are walked, what runs in them is found.

mod agent;
mod condition;
mod credentials;
mod docker;
mod steps;

use std::collections::BTreeMap;
use std::rc::Rc;

pub(super) use self::steps::{BY_HAND, REPORTS, TELLS};

use super::commands;
use super::condition::{self as conditions, Condition};
use super::found::{Found, quoted};
use super::groovy::{self, Block, Call, Step, Value};
use super::limits::{DEPTH_MAX, FOUND_MAX};
use super::scope::Scope;

/// What is known while a file is walked.
struct Jenkinsfile {
    found: Found,
    functions: BTreeMap<String, Rc<Block>>,
    /// Variables that hold an image, with its name.
    images: BTreeMap<String, String>,
    /// Variables that hold a list.
    lists: BTreeMap<String, Vec<String>>,
    groups: usize,
    depth: usize,
    /// True behind an `input`.
    held: bool,
    /// True in `environment`, where names hold for their stage alone.
    declares: bool,
}

/// Finds what a Jenkinsfile does.
pub(super) fn read(text: &str) -> Found {
    let block = groovy::read(text);
    let mut file = Jenkinsfile {
        found: Found::default(),
        functions: BTreeMap::new(),
        images: BTreeMap::new(),
        lists: BTreeMap::new(),
        groups: 0,
        depth: 0,
        held: false,
        declares: false,
    };
    // A job for one branch has no use for these.
    file.found.every_ref = ["BRANCH_NAME", "CHANGE_ID", "TAG_NAME"].iter().any(|name| text.contains(name));
    for step in &block.steps {
        if let Step::Function { name, block } = step {
            file.functions.insert(name.clone(), Rc::new(block.clone()));
        }
    }
    file.steps(&block, &mut Scope::default());
    file.found
}

impl Jenkinsfile {
    fn steps(&mut self, block: &Block, scope: &mut Scope) {
        for step in &block.steps {
            self.step(step, scope);
        }
    }

    fn step(&mut self, step: &Step, scope: &mut Scope) {
        if self.depth > DEPTH_MAX || !self.found.step() {
            return;
        }
        self.depth += 1;
        scope.when.by_hand |= self.held;
        match step {
            Step::Call(call) => self.call(call, scope),
            Step::Set { line, name, value } => self.set(*line, name, value, scope),
            Step::If { line, condition, then, otherwise } => {
                self.branch(*line, condition, then, otherwise.as_ref(), scope);
            }
            Step::Function { .. } => {}
        }
        self.depth -= 1;
    }

    fn set(&mut self, line: usize, name: &str, value: &Value, scope: &mut Scope) {
        let name = name.strip_prefix("env.").unwrap_or(name);
        if name.starts_with("currentBuild.") {
            return self.found.done(line, "the build's name and result");
        }
        match value {
            Value::Call(call) if call.name == "credentials" => {
                self.found.secret(line, name, &call.text("credentialsId", 0).unwrap_or_default());
            }
            Value::Call(call) => {
                if let Some(image) = self.image(call, scope) {
                    self.images.insert(name.to_owned(), image);
                } else {
                    scope.forget(name);
                    self.call(call, scope);
                }
            }
            Value::List(values) => {
                let texts = values.iter().filter_map(Value::text).take(FOUND_MAX).collect();
                self.lists.insert(name.to_owned(), texts);
            }
            value => match value.text() {
                Some(text) if self.declares => scope.set(name, &text),
                Some(text) => scope.assign(name, &text),
                None => scope.forget(name),
            },
        }
    }

    fn branch(
        &mut self,
        line: usize,
        text: &str,
        then: &Block,
        otherwise: Option<&Block>,
        scope: &mut Scope,
    ) {
        let refs = conditions::expression(text);
        if refs.is_none() && (self.matters(then) || otherwise.is_some_and(|block| self.matters(block))) {
            let what = format!("the condition `{}`", quoted(text));
            self.found.note(line, what, "What it holds is taken to run always.");
        }
        let outside = scope.when.clone();
        scope.when = outside.and(&Condition::of(refs.clone().unwrap_or_default()));
        self.steps(then, scope);
        if let Some(otherwise) = otherwise {
            let others = refs.and_then(conditions::Refs::not).unwrap_or_default();
            scope.when = outside.and(&Condition::of(others));
            self.steps(otherwise, scope);
        }
        scope.when = outside;
    }

    /// True for steps that do something of which it matters when.
    fn matters(&self, block: &Block) -> bool {
        block.steps.iter().any(|step| match step {
            Step::Call(call) => {
                !["echo", "error", "println", "slackSend", "mail"].contains(&call.name.as_str())
            }
            Step::If { .. } => true,
            _ => false,
        })
    }

    fn call(&mut self, call: &Call, scope: &mut Scope) {
        let block = call.block.as_ref();
        match call.name.as_str() {
            "stage" => self.stage(call, scope),
            "each" => self.each(call, scope),
            "parallel" => self.parallel(call, scope),
            "matrix" => self.matrix(call, scope),
            "post" => self.post(call, scope),
            "environment" => {
                self.declares = true;
                self.inner(block, scope);
                self.declares = false;
            }
            "dir" => {
                let mut inner = scope.clone();
                let folder = call.text("path", 0).map(|path| scope.expand(&path)).unwrap_or_default();
                if let Some(folder) = super::scope::inside(&scope.folder, &folder) {
                    inner.folder = if folder == "." { String::new() } else { folder };
                }
                self.inner(block, &mut inner);
            }
            "withEnv" => {
                let mut inner = scope.clone();
                for text in texts(call) {
                    if let Some((name, value)) = text.split_once('=') {
                        let value = scope.expand(value);
                        inner.set(name, &value);
                        inner.give(name, &value);
                    }
                }
                self.inner(block, &mut inner);
            }
            "timeout" => self.timeout(call, scope),
            "script" | "steps" | "pipeline" | "stages" | "node" | "" | "try" | "finally" | "ws" | "lock"
            | "retry" | "wrap" | "timestamps" | "ansiColor" | "catchError" | "warnError" | "container"
            | "podTemplate" | "nodejs" | "withMaven" | "do" | "else" | "while" | "switch" | "cache" => {
                self.inner(block, scope);
            }
            "catch" => {}
            _ if agent::call(self, call, scope) => {}
            _ if credentials::call(self, call, scope) => {}
            _ if docker::call(self, call, scope) => {}
            _ if steps::call(self, call, scope) => {}
            name if name.ends_with(".each") && block.is_some() => self.each(call, scope),
            name => match self.functions.get(name).cloned() {
                Some(function) => self.steps(&function, scope),
                None => {
                    let what = format!("`{}` is not in this file (a shared library?)", quoted(name));
                    self.found.note(call.line, what, "Look up what it does, and import that.");
                    self.inner(block, scope);
                }
            },
        }
    }

    fn inner(&mut self, block: Option<&Block>, scope: &mut Scope) {
        if let Some(block) = block {
            self.steps(block, scope);
        }
    }

    /// A stage: what says when and where it runs first, whatever its place.
    fn stage(&mut self, call: &Call, scope: &Scope) {
        let Some(block) = &call.block else { return };
        let mut inner = scope.clone();
        self.groups += 1;
        inner.group = self.groups;
        inner.stage = call.text("name", 0).map(|name| scope.expand(&name)).unwrap_or_default();
        inner.when.by_hand |= self.held;
        const FIRST: [&str; 6] = ["agent", "environment", "when", "options", "input", "tools"];
        let is_first = |step: &&Step| matches!(step, Step::Call(call) if FIRST.contains(&call.name.as_str()));
        for step in block.steps.iter().filter(is_first) {
            match step {
                Step::Call(call) if call.name == "when" => self.when(call, &mut inner),
                other => self.step(other, &mut inner),
            }
        }
        if inner.when.refs.is_none() {
            let what = format!("the stage {} is for pull requests alone", quoted(&inner.stage));
            return self.found.note(
                call.line,
                what,
                "There are none here: branches are built when they are pushed.",
            );
        }
        for step in block.steps.iter().filter(|step| !is_first(step)) {
            self.step(step, &mut inner);
        }
    }

    fn when(&mut self, call: &Call, scope: &mut Scope) {
        let Some(block) = &call.block else { return };
        let when = condition::of(&mut self.found, block);
        scope.when = scope.when.and(&when);
    }

    /// `list.each { name -> … }`: once for each, where the list is known.
    fn each(&mut self, call: &Call, scope: &mut Scope) {
        let Some(block) = &call.block else { return };
        let values = match call.of.as_deref() {
            Some(Value::List(values)) => values.iter().filter_map(Value::text).collect(),
            Some(Value::Name(name)) => self.lists.get(name).cloned().unwrap_or_default(),
            _ => self.lists.get(call.name.trim_end_matches(".each")).cloned().unwrap_or_default(),
        };
        if values.is_empty() {
            return self.steps(block, scope);
        }
        let name = block.names.first().map_or("it", String::as_str);
        for value in values.iter().take(FOUND_MAX) {
            let mut inner = scope.clone();
            inner.set(name, value);
            self.steps(block, &mut inner);
        }
    }

    fn parallel(&mut self, call: &Call, scope: &mut Scope) {
        for (name, value) in &call.args {
            if let Value::Block(block) = value {
                let mut inner = scope.clone();
                self.groups += 1;
                inner.group = self.groups;
                inner.stage = name.clone().unwrap_or_default();
                self.steps(block, &mut inner);
            }
        }
        self.inner(call.block.as_ref(), scope);
    }

    /// A matrix: its stages once for each value of its first axis.
    fn matrix(&mut self, call: &Call, scope: &Scope) {
        let Some(block) = &call.block else { return };
        self.found.note(
            call.line,
            "a matrix",
            "A repository builds one image, once: what varies are stages of its Dockerfile, or repositories.",
        );
        let axis =
            named(block, "axes").and_then(|axes| axes.block.as_ref()).and_then(|axes| named(axes, "axis"));
        let axis = axis.and_then(|axis| axis.block.as_ref());
        let name = axis.and_then(|axis| named(axis, "name")).and_then(|name| name.text("name", 0));
        let values = axis.and_then(|axis| named(axis, "values")).map(texts).unwrap_or_default();
        for value in values.iter().take(FOUND_MAX) {
            let mut inner = scope.clone();
            inner.set(name.as_deref().unwrap_or_default(), value);
            self.inner(named(block, "stages").and_then(|stages| stages.block.as_ref()), &mut inner);
        }
    }

    fn post(&mut self, call: &Call, scope: &Scope) {
        let Some(block) = &call.block else { return };
        for step in &block.steps {
            if let Step::Call(Call { name, block: Some(block), .. }) = step {
                let mut inner = scope.clone();
                inner.after = Some(name.clone());
                self.steps(block, &mut inner);
            }
        }
    }

    /// `timeout(…) { … }`: of the build, or of the test, as what it holds is.
    fn timeout(&mut self, call: &Call, scope: &mut Scope) {
        let (builds, loose) = (self.found.builds.len(), self.found.loose.len());
        self.inner(call.block.as_ref(), scope);
        let Some(time) = steps::time(call) else { return };
        if self.found.builds.len() > builds || call.block.is_none() {
            self.found.build_timeout.get_or_insert((call.line, time));
        } else if self.found.loose[loose.min(self.found.loose.len())..].iter().any(|one| one.inside.is_some())
        {
            self.found.test_timeout.get_or_insert((call.line, time));
        }
    }

    fn script(&mut self, call: &Call, scope: &mut Scope) {
        match call.arg("script", 0) {
            Some(Value::Text(text, line)) => commands::script(&mut self.found, scope, text, *line),
            Some(Value::Name(name)) => {
                let text = scope.expand(&format!("${{{name}}}"));
                commands::script(&mut self.found, scope, &text, call.line);
            }
            _ => self.found.note(
                call.line,
                "a script that is put together while it runs",
                "Look up what it does: put it in the Dockerfile or in [test].",
            ),
        }
    }
}

/// The first call of that name among the steps.
fn named<'b>(block: &'b Block, name: &str) -> Option<&'b Call> {
    block.steps.iter().find_map(|step| match step {
        Step::Call(call) if call.name == name => Some(call),
        _ => None,
    })
}

/// All texts among the arguments, those in lists included.
fn texts(call: &Call) -> Vec<String> {
    let mut texts = Vec::new();
    for (_, value) in &call.args {
        match value {
            Value::List(values) => texts.extend(values.iter().filter_map(Value::text)),
            value => texts.extend(value.text()),
        }
    }
    texts
}
