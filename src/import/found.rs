//! What was found in an old pipeline, as it was found: image builds, pushes, tests, targets, and what is to be told. What
//! becomes of it is `plan.rs`.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::condition::Condition;
use super::limits::{FOUND_MAX, LOOSE_MAX, NOTES_MAX, QUOTED_CHARS_MAX, SCRIPT_BYTES_MAX, STEPS_MAX};
use super::reference::Reference;
use super::scope::{self, Scope};

/// A remark on a line of the old file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Note {
    pub(super) line: usize,
    pub(super) what: String,
    /// What to do about it; empty where nothing has to be done.
    #[serde(rename = "do", skip_serializing_if = "String::is_empty")]
    pub(super) cure: String,
}

/// An image that is built.
#[derive(Clone, Debug, Default)]
pub(super) struct Build {
    pub(super) line: usize,
    /// By which words.
    pub(super) by: &'static str,
    /// All names it is given.
    pub(super) names: Vec<String>,
    /// From the root; nothing is `Dockerfile` in the context.
    pub(super) dockerfile: Option<String>,
    pub(super) context: String,
    pub(super) target: Option<String>,
    pub(super) args: BTreeMap<String, String>,
    pub(super) pull: bool,
    pub(super) when: Condition,
}

/// A name that an image is pushed by.
#[derive(Clone, Debug)]
pub(super) struct Push {
    pub(super) line: usize,
    pub(super) reference: Reference,
    pub(super) when: Condition,
}

/// A command that is neither Docker's nor known otherwise: a test, where it runs in the built image.
#[derive(Clone, Debug)]
pub(super) struct Loose {
    pub(super) line: usize,
    pub(super) text: String,
    /// Words, where it is a command of its own and no line of a script.
    pub(super) argv: Option<Vec<String>>,
    /// What joins it with the one before.
    pub(super) joint: &'static str,
    /// The image it runs in.
    pub(super) inside: Option<String>,
    pub(super) env: BTreeMap<String, String>,
    pub(super) network: bool,
}

/// Manifests that are written.
#[derive(Clone, Debug)]
pub(super) struct Deploy {
    pub(super) line: usize,
    pub(super) by: String,
    pub(super) repo: Option<String>,
    pub(super) branch: Option<String>,
    pub(super) path: Option<String>,
    pub(super) when: Condition,
    pub(super) stage: String,
    pub(super) group: usize,
}

/// What a secret is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Purpose {
    Build,
    Test,
    Registry,
    Manifests,
}

/// A secret that the pipeline has from its server.
#[derive(Clone, Debug)]
pub(super) struct Secret {
    pub(super) line: usize,
    /// What the server calls it.
    pub(super) known_as: String,
    pub(super) purposes: BTreeSet<Purpose>,
}

/// A container beside the test.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Service {
    pub(super) line: usize,
    pub(super) name: String,
    pub(super) image: String,
    pub(super) env: BTreeMap<String, String>,
}

/// All that was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) builds: Vec<Build>,
    pub(super) pushes: Vec<Push>,
    pub(super) loose: Vec<Loose>,
    pub(super) deploys: Vec<Deploy>,
    pub(super) secrets: BTreeMap<String, Secret>,
    pub(super) services: Vec<Service>,
    pub(super) region: Option<String>,
    /// A host that somebody logs in to, and whether with a password of its own.
    pub(super) login: Option<String>,
    pub(super) password: bool,
    pub(super) build_timeout: Option<(usize, String)>,
    pub(super) test_timeout: Option<(usize, String)>,
    /// Lines that tell somebody how builds end.
    pub(super) notified: Vec<usize>,
    /// The line that applies manifests to a cluster.
    pub(super) cluster: Option<usize>,
    pub(super) namespace: Option<String>,
    /// True where every push of every branch is built.
    pub(super) every_ref: bool,
    /// True where every tag is built as well.
    pub(super) every_tag: bool,
    pub(super) notes: Vec<Note>,
    pub(super) done: Vec<Note>,
    /// What is not mapped and not told for want of room.
    pub(super) untold: usize,
    steps: usize,
    script_bytes: usize,
}

impl Found {
    /// Of a server that builds every branch where nothing else is said.
    pub(super) fn of_every_branch() -> Self {
        Self { every_ref: true, ..Self::default() }
    }

    /// Counts a step: false where there have been too many.
    pub(super) fn step(&mut self) -> bool {
        self.steps += 1;
        if self.steps == STEPS_MAX {
            self.note(0, format!("more than {STEPS_MAX} steps"), "Split the file, and import its parts.");
        }
        self.steps < STEPS_MAX
    }

    /// Counts a script that is read: false where there has been too much of them.
    pub(super) fn reads(&mut self, script: &str) -> bool {
        self.script_bytes = self.script_bytes.saturating_add(script.len());
        if self.script_bytes > SCRIPT_BYTES_MAX {
            self.note(
                0,
                format!("scripts of more than {SCRIPT_BYTES_MAX} bytes"),
                "Split the file, and import its parts.",
            );
        }
        self.script_bytes <= SCRIPT_BYTES_MAX
    }

    /// Something is not mapped.
    pub(super) fn note(&mut self, line: usize, what: impl Into<String>, cure: impl Into<String>) {
        let one_line = |text: String| text.replace(char::is_control, " ");
        let note = Note { line, what: one_line(what.into()), cure: one_line(cure.into()) };
        if self.notes.contains(&note) {
            return;
        }
        if self.notes.len() < NOTES_MAX { self.notes.push(note) } else { self.untold += 1 }
    }

    /// Slipway does that by itself.
    pub(super) fn done(&mut self, line: usize, what: impl Into<String>) {
        if self.done.len() < NOTES_MAX {
            let what = what.into().replace(char::is_control, " ");
            self.done.push(Note { line, what, cure: String::new() });
        }
    }

    pub(super) fn build(&mut self, mut build: Build) {
        build.names.truncate(FOUND_MAX);
        build.args = build.args.into_iter().take(FOUND_MAX).collect();
        if self.builds.len() < FOUND_MAX {
            self.builds.push(build);
        }
    }

    /// The build that gave an image that name: the last one.
    pub(super) fn built(&mut self, name: &str) -> Option<&mut Build> {
        let wanted = Reference::read(name);
        let (name, path) = (name.to_owned(), wanted.name());
        let exact = self.builds.iter().rposition(|b| b.names.contains(&name));
        let at = exact.or_else(|| {
            self.builds.iter().rposition(|b| b.names.iter().any(|n| Reference::read(n).name() == path))
        });
        at.map(|at| &mut self.builds[at])
    }

    /// `docker tag from to`.
    pub(super) fn tagged(&mut self, from: &str, to: &str) {
        if let Some(build) = self.built(from).filter(|b| b.names.len() < FOUND_MAX) {
            build.names.push(to.to_owned());
        }
    }

    /// An image is pushed by that name.
    pub(super) fn pushed(&mut self, line: usize, name: &str, scope: &Scope) {
        let mut reference = Reference::read(name);
        if reference.host.is_none() {
            reference.host = scope.registry.clone();
        }
        let push = Push { line, reference, when: scope.when.clone() };
        let there = |p: &Push| p.reference == push.reference && p.when == push.when;
        if self.pushes.len() < FOUND_MAX && !self.pushes.iter().any(there) {
            self.pushes.push(push);
        }
    }

    pub(super) fn loose(&mut self, loose: Loose) {
        if self.loose.len() < LOOSE_MAX { self.loose.push(loose) } else { self.untold += 1 }
    }

    pub(super) fn deploy(&mut self, deploy: Deploy) {
        let same =
            |d: &&mut Deploy| d.group == deploy.group && d.path == deploy.path && d.repo == deploy.repo;
        if self.deploys.iter_mut().find(same).is_none() && self.deploys.len() < FOUND_MAX {
            self.deploys.push(deploy);
        }
    }

    /// The server gives the steps a secret by that name.
    pub(super) fn secret(&mut self, line: usize, name: &str, known_as: &str) {
        let fits = !name.is_empty() && name.chars().all(super::cursor::is_name);
        if fits && self.secrets.len() < FOUND_MAX {
            let secret = Secret { line, known_as: known_as.to_owned(), purposes: BTreeSet::new() };
            self.secrets.entry(name.to_owned()).or_insert(secret);
        }
    }

    /// A text names variables: those that are secrets are for that.
    pub(super) fn uses(&mut self, text: &str, purpose: Purpose) {
        for name in scope::names(text) {
            // Jenkins' two halves of a user name and password.
            let whole = name.strip_suffix("_USR").or_else(|| name.strip_suffix("_PSW")).unwrap_or(name);
            let known = if self.secrets.contains_key(name) { name } else { whole };
            if let Some(secret) = self.secrets.get_mut(known) {
                secret.purposes.insert(purpose);
            }
        }
    }

    pub(super) fn service(&mut self, mut service: Service) {
        service.env = shown(service.env).into_iter().take(FOUND_MAX).collect();
        if self.services.len() < FOUND_MAX && !self.services.iter().any(|s| s.name == service.name) {
            self.services.push(service);
        }
    }
}

/// Words in the names of what is nobody else's business.
const SECRETS: [&str; 7] = ["password", "passwd", "token", "secret", "apikey", "api_key", "access_key"];

/// True for the name of a variable that holds a secret, as it looks.
pub(super) fn is_secret(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    SECRETS.iter().any(|part| lower.contains(part))
}

/// The environment of something, without the values of what looks like a secret.
pub(super) fn shown(env: BTreeMap<String, String>) -> BTreeMap<String, String> {
    let hidden = |(name, value): (String, String)| {
        let value = if is_secret(&name) { "***".to_owned() } else { value };
        (name, value)
    };
    env.into_iter().map(hidden).collect()
}

/// A piece of the old file as a remark may show it: one line, cut, without what may be a password.
pub(super) fn quoted(text: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut hide = false;
    for word in text.split_whitespace().take(QUOTED_CHARS_MAX) {
        let lower = word.to_ascii_lowercase();
        let named = is_secret(word);
        words.push(match word.split_once('=') {
            _ if hide && !word.starts_with('$') => "***".into(),
            Some((name, value)) if named && !value.trim_start_matches(['"', '\'']).starts_with('$') => {
                format!("{name}=***")
            }
            _ => without_userinfo(word),
        });
        hide = (lower == "-p" && text.contains("login"))
            || named && lower.starts_with('-') && !word.contains('=');
    }
    let clean: String = words.join(" ").chars().filter(|c| !c.is_control()).collect();
    if clean.chars().count() <= QUOTED_CHARS_MAX {
        return clean;
    }
    clean.chars().take(QUOTED_CHARS_MAX).chain(['…']).collect()
}

fn without_userinfo(word: &str) -> String {
    let Some((before, rest)) = word.split_once("://") else { return word.to_owned() };
    match rest.split_once('@') {
        Some((user, host)) if !user.contains('/') => format!("{before}://***@{host}"),
        _ => word.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_quoted_is_short_and_without_passwords() {
        for (text, want) in [
            ("docker login -u me -p hunter2 host", "docker login -u me -p *** host"),
            ("docker login --password hunter2", "docker login --password ***"),
            ("x --token=abc NPM_TOKEN=abc A=b", "x --token=*** NPM_TOKEN=*** A=b"),
            ("x NPM_TOKEN=$NPM_TOKEN -p $P", "x NPM_TOKEN=$NPM_TOKEN -p $P"),
            ("git push https://me:pw@host/x", "git push https://***@host/x"),
            ("a\n\tb\u{1b}[31m", "a b[31m"),
        ] {
            assert_eq!(quoted(text), want, "{text}");
        }
        assert_eq!(quoted(&"x".repeat(1_000)).chars().count(), QUOTED_CHARS_MAX + 1);
    }
}
