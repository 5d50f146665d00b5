//! Scripts of old pipelines, command by command: what each means for a build, or that nobody knows.

use super::agent;
use super::condition::{self, Condition};
use super::docker;
use super::found::{Found, Loose, Purpose, quoted};
use super::limits::{DEPTH_MAX, FOUND_MAX};
use super::manifests;
use super::scope::{self, Scope};
use super::shell::{self, Command, Joint};

/// Goes through a script that begins in that line.
pub(super) fn script(found: &mut Found, scope: &mut Scope, text: &str, line: usize) {
    if found.reads(text) {
        walk(found, scope, &shell::read(text, line), 0);
    }
}

/// `if` and what held outside of it.
struct Branching {
    outside: Condition,
    said: Option<condition::Refs>,
}

fn walk(found: &mut Found, scope: &mut Scope, commands: &[Command], depth: usize) {
    let (mut branchings, mut guarded, mut at) = (Vec::new(), None, 0);
    let mut folders: Vec<(usize, String)> = Vec::new();
    while let Some(command) = commands.get(at) {
        at += 1;
        if !found.step() || depth > DEPTH_MAX {
            return;
        }
        while folders.last().is_some_and(|(nested, _)| *nested > command.nested) {
            scope.folder = folders.pop().map(|(_, folder)| folder).unwrap_or_default();
        }
        if command.nested > folders.last().map_or(0, |(nested, _)| *nested) {
            folders.push((command.nested, scope.folder.clone()));
        }
        if command.joint != Joint::And {
            scope.when = guarded.take().unwrap_or_else(|| scope.when.clone());
        }
        let words = bare(&command.words);
        if command.joint == Joint::Pipe && command.words.iter().any(|word| word == "login") && at > 1 {
            found.uses(&commands[at - 2].text, Purpose::Registry);
        }
        match words.first().map_or("", String::as_str) {
            "for" => at += looped(found, scope, &commands[at - 1..], depth),
            "if" | "elif" | "else" | "fi" => {
                let (expression, more) = whole_condition(words, &commands[at..]);
                at += more;
                branch(found, scope, command, (words, &expression), &mut branchings);
            }
            "[" | "[[" | "test" => {
                let refs = condition::expression(&tested(words));
                let outside = scope.when.clone();
                scope.when = outside.and(&Condition::of(refs.unwrap_or_default()));
                guarded.get_or_insert(outside);
            }
            _ => one(found, scope, command, words, depth),
        }
    }
    if let Some(outside) = guarded {
        scope.when = outside;
    }
    if let Some((_, folder)) = folders.into_iter().next() {
        scope.folder = folder;
    }
}

/// Without the words of the shell and of others that only carry a command.
fn bare(words: &[String]) -> &[String] {
    let carries = |word: &String| {
        matches!(
            word.as_str(),
            "then" | "do" | "{" | "}" | "!" | "sudo" | "exec" | "time" | "command" | "nohup"
        )
    };
    let skipped = words.iter().take_while(|word| carries(word)).count();
    &words[skipped..]
}

/// The expression of `[ … ]`.
fn tested(words: &[String]) -> String {
    let inner = words
        .iter()
        .filter(|word| !matches!(word.as_str(), "[" | "[[" | "]" | "]]" | "test" | "if" | "elif"));
    let quote = |word: &String| match word.as_str() {
        "==" | "=" | "!=" | "=~" | "&&" | "||" | "!" | "-eq" => word.clone(),
        "-a" => "&&".into(),
        "-o" => "||".into(),
        _ => format!("\"{word}\""),
    };
    let words: Vec<String> = inner.map(quote).collect();
    match words.as_slice() {
        [flag, name] if flag == "\"-n\"" => name.clone(),
        [flag, name] if flag == "\"-z\"" => format!("! {name}"),
        all => all.join(" "),
    }
}

/// The expression after `if`, and how many commands more belong to it: `[ a ] && [ b ]` are two.
fn whole_condition(words: &[String], next: &[Command]) -> (String, usize) {
    let mut expression = tested(words);
    let more = next.iter().take_while(|command| {
        let joined = matches!(command.joint, Joint::And | Joint::Or);
        joined && command.words.first().is_some_and(|word| matches!(word.as_str(), "[" | "[[" | "test"))
    });
    let more: Vec<&Command> = more.take(DEPTH_MAX).collect();
    for command in &more {
        let sign = if command.joint == Joint::And { "&&" } else { "||" };
        expression = format!("{expression} {sign} {}", tested(&command.words));
    }
    (expression, more.len())
}

fn branch(
    found: &mut Found,
    scope: &mut Scope,
    command: &Command,
    (words, expression): (&[String], &str),
    open: &mut Vec<Branching>,
) {
    match words[0].as_str() {
        "if" => {
            let said = condition::expression(expression);
            if said.is_none() {
                let what = format!("the condition `{}`", quoted(&command.text));
                found.note(command.line, what, "What it holds is taken to run always.");
            }
            let outside = scope.when.clone();
            scope.when = outside.and(&Condition::of(said.clone().unwrap_or_default()));
            if open.len() < DEPTH_MAX {
                open.push(Branching { outside, said });
            }
        }
        "fi" => {
            if let Some(branching) = open.pop() {
                scope.when = branching.outside;
            }
        }
        _ => {
            let Some(branching) = open.last() else { return };
            let others = branching.said.clone().and_then(condition::Refs::not).unwrap_or_default();
            let own = if words[0] == "elif" { condition::expression(expression) } else { None };
            scope.when = branching.outside.and(&Condition::of(others.and(own.unwrap_or_default())));
        }
    }
    // `else docker push …` on one line.
    if words[0] == "else" && words.len() > 1 {
        one(found, scope, command, &words[1..], 0);
    }
}

/// A loop over words: its commands once for each. How many commands it has after its first.
fn looped(found: &mut Found, scope: &mut Scope, commands: &[Command], depth: usize) -> usize {
    let mut open = 0_usize;
    let end = commands.iter().position(|command| {
        let first = bare(&command.words).first().map_or("", String::as_str);
        open += usize::from(matches!(first, "for" | "while" | "until"));
        open -= usize::from(first == "done" && open > 0);
        open == 0
    });
    let end = end.unwrap_or(commands.len());
    let head = bare(&commands[0].words);
    let (Some(name), Some("in")) = (head.get(1), head.get(2).map(String::as_str)) else { return 0 };
    let values = head[3..].iter().map(|word| scope.expand(word)).collect::<Vec<_>>().join(" ");
    for value in values.split_whitespace().take(FOUND_MAX) {
        let mut inner = scope.clone();
        inner.set(name, value);
        walk(found, &mut inner, &commands[1..end], depth + 1);
    }
    end.saturating_sub(1)
}

/// `NAME=value`.
fn assignment(word: &str) -> Option<(&str, &str)> {
    let (name, value) = word.split_once('=')?;
    let fits = !name.is_empty()
        && name.chars().all(super::cursor::is_name)
        && !name.starts_with(|c: char| c.is_ascii_digit());
    fits.then_some((name, value))
}

fn one(found: &mut Found, scope: &mut Scope, command: &Command, words: &[String], depth: usize) {
    let set = words.iter().take_while(|word| assignment(word).is_some()).count();
    let (settings, words) = words.split_at(set);
    let Some(program) = words.first() else {
        for (name, value) in settings.iter().filter_map(|word| assignment(word)) {
            scope.set(name, value);
        }
        return;
    };
    if let Some(inner) = program.strip_prefix("$(").and_then(|rest| rest.strip_suffix(')')) {
        return inner_script(found, scope, (inner, command.line), depth);
    }
    let (name, rest) = (scope.expand(program), &split(scope, &words[1..])[..]);
    let name = name.rsplit('/').next().unwrap_or_default().to_owned();
    match name.as_str() {
        "docker" | "podman" | "buildah" | "nerdctl" => docker::docker(found, scope, command, rest),
        "docker-compose" | "podman-compose" => docker::compose(found, command),
        "executor" | "kaniko" => docker::kaniko(found, scope, command, rest),
        "aws" => aws(found, scope, command, rest),
        "export" | "readonly" | "declare" | "local" => {
            for (name, value) in rest.iter().filter_map(|word| assignment(word)) {
                scope.set(name, value);
            }
        }
        "cd" | "pushd" if scope.inside.is_none() || rest.len() > 1 => change_folder(scope, rest),
        "sh" | "bash" | "ash"
            if rest.first().is_some_and(|flag| flag.starts_with('-') && flag.ends_with('c')) =>
        {
            let inner = rest.get(1).cloned().unwrap_or_default();
            inner_script(found, scope, (&inner, command.line), depth);
        }
        "amazon-linux-extras" | "nohup" | "dockerd" | "dockerd-entrypoint.sh" | "timeout" => {
            found.done(command.line, "starts an engine of its own");
        }
        _ if manifests::command(found, scope, command, &name, rest) => {}
        _ => loose(found, scope, command),
    }
}

/// A script within a command.
fn inner_script(found: &mut Found, scope: &mut Scope, (text, line): (&str, usize), depth: usize) {
    if found.reads(text) {
        walk(found, scope, &shell::read(text, line), depth + 1);
    }
}

/// The words, a variable that stands alone and holds several as several.
fn split(scope: &Scope, words: &[String]) -> Vec<String> {
    let mut all = Vec::new();
    for word in words {
        let expanded = scope.expand(word);
        let name = word.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
        let alone = name.is_some_and(|name| name.chars().all(super::cursor::is_name));
        if alone && !expanded.contains("$(") && expanded.contains(' ') {
            all.extend(expanded.split_whitespace().map(str::to_owned));
        } else {
            all.push(word.clone());
        }
    }
    all
}

fn change_folder(scope: &mut Scope, rest: &[String]) {
    let Some(to) = rest.iter().find(|word| !word.starts_with('-')) else { return };
    if let Some(folder) = scope::inside(&scope.folder, &scope.expand(to)) {
        scope.folder = if folder == "." { String::new() } else { folder };
    }
}

/// A command that may be a test.
fn loose(found: &mut Found, scope: &Scope, command: &Command) {
    let text = scope.expand(&command.text);
    let joint = match command.joint {
        Joint::Then => "\n",
        Joint::And => " && ",
        Joint::Or => " || ",
        Joint::Pipe => " | ",
    };
    if scope.after.is_some() {
        return agent::after(found, command);
    }
    // What a server's login file holds is the login.
    if text.contains(".docker/config.json") {
        found.uses(&text, Purpose::Registry);
        return found.done(command.line, "the login file of the registry");
    }
    if text.starts_with("curl") && text.contains("/job/") {
        let by = "a job that is started by curl";
        manifests::wrote(found, scope, command.line, by.into(), None);
        let cure = "[deploy.NAME] takes its place where that job writes manifests; else a webhook on `build` starts it.";
        return found.note(command.line, by, cure);
    }
    if text.contains("imagedefinitions.json") || text.contains("imageDetail.json") {
        return found.note(command.line, "imagedefinitions.json for ECS", agent::ECS);
    }
    let (inside, env) = (scope.inside.clone(), scope.env.clone());
    found.loose(Loose { line: command.line, text, argv: None, joint, inside, env, network: false });
}

/// Nobody knows that command.
pub(super) fn unknown(found: &mut Found, command: &Command) {
    let what = format!("`{}`", quoted(&command.text));
    found.note(command.line, what, agent::UNKNOWN);
}

fn aws(found: &mut Found, scope: &Scope, command: &Command, words: &[String]) {
    let flags = docker::Flags::read(
        words,
        &["--region", "--profile", "--output", "--query", "--name", "--secret-id"],
        true,
    );
    let line = command.line;
    if let Some(region) =
        flags.get(&["--region"]).map(|region| scope.expand(region)).filter(|r| !r.contains('$'))
    {
        found.region.get_or_insert(region);
    }
    words.iter().for_each(|word| found.uses(word, Purpose::Registry));
    let verb = |n: usize| flags.plain.get(n).map_or("", String::as_str);
    match (verb(0), verb(1)) {
        ("ecr" | "ecr-public", "get-login-password" | "get-login" | "get-authorization-token") => {
            found.done(line, "the login at ECR: fetched and refreshed by the server");
        }
        ("ecr", "create-repository" | "describe-repositories") => {
            found.done(line, "the repository in ECR: made when missing");
        }
        ("ecr", "start-image-scan" | "describe-image-scan-findings" | "wait") => {
            found.note(line, "waits for ECR's scan", docker::SCANS);
        }
        ("eks", "update-kubeconfig") => {
            found.cluster.get_or_insert(line);
            found.done(line, "the kubeconfig: given once to `slipway cluster add`");
        }
        ("ecs", _) => found.note(line, format!("`aws ecs {}`", quoted(verb(1))), agent::ECS),
        ("secretsmanager" | "ssm", _) => found.note(
            line,
            format!("`{}`", quoted(&command.text)),
            "Read the value once, and give it with `slipway secret set`.",
        ),
        ("sts" | "configure" | "--version" | "codeartifact", _) => {
            found.done(line, format!("aws {}", verb(0)))
        }
        _ => unknown(found, command),
    }
}
