//! What an old pipeline comes to in words of slipway.toml and its commands: one image, its test, its tags, its targets.

use std::collections::BTreeMap;

use serde::Serialize;
use slipway_core::limits::DEPLOY_TARGETS_MAX;
use slipway_core::spec::{Scope as Whose, Template};
use slipway_core::{Problem, ProblemKind};

use super::agent;
use super::choice::{self, Chosen};
use super::condition::{self, ALL, Condition, DEFAULT_BRANCH, Refs};
use super::found::{self, Found, Loose, Note, Purpose, Push, Service, quoted};
use super::reference::{Reference, Registry};
use super::scope::{Filled, filled};

/// All that is printed.
#[derive(Debug, Default, Serialize)]
pub(super) struct Plan {
    /// The line that builds the image, and its words.
    pub(super) line: usize,
    pub(super) by: &'static str,
    pub(super) dockerfile: Option<String>,
    pub(super) context: String,
    pub(super) target: Option<String>,
    pub(super) args: BTreeMap<String, String>,
    /// Arguments whose values vary, with placeholders.
    pub(super) varying_args: BTreeMap<String, String>,
    pub(super) pull: bool,
    pub(super) timeout: Option<(usize, String)>,
    /// Which pushes build; nothing is those to the default branch.
    pub(super) on: Option<On>,
    pub(super) test: Test,
    pub(super) services: Vec<Service>,
    pub(super) tags: Vec<Tag>,
    pub(super) registry: Option<Registry>,
    pub(super) registry_password: bool,
    pub(super) deploys: Vec<Target>,
    pub(super) build_secrets: Vec<String>,
    pub(super) notified: Option<usize>,
    pub(super) cluster: Option<usize>,
    pub(super) namespace: Option<String>,
    pub(super) not_mapped: Vec<Note>,
    /// What needs nothing, because Slipway does it by itself.
    pub(super) done: Vec<Note>,
}

/// `on = { … }`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct On {
    pub(super) branches: Vec<String>,
    pub(super) tags: Vec<String>,
    pub(super) paths: Vec<String>,
}

/// `[test]`.
#[derive(Debug, Default, Serialize)]
pub(super) struct Test {
    pub(super) line: usize,
    pub(super) target: Option<String>,
    pub(super) run: Option<Vec<String>>,
    pub(super) shell: Option<String>,
    /// A command that ran on the agent, where nothing runs in the image.
    pub(super) hint: Option<String>,
    pub(super) env: BTreeMap<String, String>,
    pub(super) secrets: Vec<String>,
    pub(super) network: bool,
    pub(super) timeout: Option<(usize, String)>,
}

/// One of `[push] tags`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Tag {
    pub(super) line: usize,
    pub(super) tag: String,
    pub(super) on: Option<On>,
}

/// `[deploy.NAME]`.
#[derive(Debug, Serialize)]
pub(super) struct Target {
    pub(super) line: usize,
    pub(super) by: String,
    pub(super) name: String,
    /// Nothing where the file does not name it.
    pub(super) repo: Option<String>,
    pub(super) branch: Option<String>,
    pub(super) path: Option<String>,
    pub(super) on: Option<On>,
}

/// What was asked for beside the file.
#[derive(Clone, Debug, Default)]
pub(super) struct Wishes {
    /// Which of several images.
    pub(super) image: Option<String>,
    /// The manifest repository, where the file does not name it.
    pub(super) manifests: Option<String>,
}

impl On {
    /// Whose builds move a name; `None` where that is what holds without a word.
    fn of(condition: &Condition) -> Option<Self> {
        match &condition.refs {
            _ if condition.by_hand => Some(Self::default()),
            Refs::Any => None,
            Refs::Only { branches, tags } if branches == &[DEFAULT_BRANCH] && tags.is_empty() => None,
            Refs::Only { branches, tags } => {
                Some(Self { branches: named(branches), tags: tags.clone(), paths: Vec::new() })
            }
        }
    }
}

/// Patterns in which the default branch has the name that it mostly has.
fn named(branches: &[String]) -> Vec<String> {
    let name = |b: &String| if b == DEFAULT_BRANCH { "main".to_owned() } else { b.clone() };
    branches.iter().map(name).collect()
}

/// Makes a plan of what was found.
///
/// # Errors
/// A sentence where no image is built, or several are.
pub(super) fn plan(mut found: Found, wishes: &Wishes, file: &str) -> Result<Plan, Problem> {
    let (chosen, others) = choice::choose(&mut found, wishes, file)?;
    let mut plan = Plan {
        line: chosen.build.line,
        by: chosen.build.by,
        context: chosen.build.context.clone(),
        dockerfile: chosen.build.dockerfile.clone(),
        target: chosen.build.target.clone(),
        pull: chosen.build.pull,
        timeout: found.build_timeout.take(),
        ..Plan::default()
    };
    arguments(&mut plan, &mut found, &chosen);
    plan.on = on(&mut found, &chosen);
    plan.test = test(&mut found, &chosen, &others);
    plan.services = std::mem::take(&mut found.services);
    pushes(&mut plan, &mut found, &chosen);
    plan.deploys = targets(&mut found, wishes);
    secrets(&mut plan, &mut found);
    plan.registry_password |= found.password;
    plan.notified = found.notified.first().copied();
    (plan.cluster, plan.namespace) = (found.cluster, found.namespace.take());
    plan.not_mapped = sorted(std::mem::take(&mut found.notes));
    if found.untold > 0 {
        let (what, cure) = (format!("{} lines more", found.untold), "Split the file, and import its parts.");
        plan.not_mapped.push(Note { line: 0, what, cure: cure.into() });
    }
    plan.done = sorted(std::mem::take(&mut found.done));
    Ok(plan)
}

fn sorted(mut notes: Vec<Note>) -> Vec<Note> {
    notes.sort();
    notes.dedup();
    notes
}

fn arguments(plan: &mut Plan, found: &mut Found, chosen: &Chosen) {
    for (name, value) in &chosen.build.args {
        let Filled { text, unknown } = filled(value);
        if let Some(secret) = unknown.iter().find(|name| found.secrets.contains_key(*name)) {
            found.note(
                chosen.build.line,
                format!("the build argument {name} is the secret {secret}"),
                format!("Arguments stay in the image; read it in the Dockerfile with RUN --mount=type=secret,id={secret}."),
            );
        } else if !unknown.is_empty() {
            let what =
                format!("the build argument {name}: {} is set outside of this file", unknown.join(", "));
            found.note(chosen.build.line, what, "Write its value in [build] args.");
        } else if found::is_secret(name) {
            let what = format!("the build argument {name} looks like a secret");
            let cure = "Give it with `slipway secret set … --for build`; the Dockerfile reads it with RUN --mount=type=secret.";
            found.note(chosen.build.line, what, cure);
        } else if text == *value {
            plan.args.insert(name.clone(), text);
        } else {
            plan.varying_args.insert(name.clone(), text);
        }
    }
}

/// Which pushes build.
fn on(found: &mut Found, chosen: &Chosen) -> Option<On> {
    let when = &chosen.build.when;
    let all = || vec![ALL.to_owned()];
    let on = match &when.refs {
        Refs::Any if found.every_ref => {
            let tags = if found.every_tag { all() } else { Vec::new() };
            On { branches: all(), tags, paths: when.paths.clone() }
        }
        Refs::Any => On { branches: Vec::new(), tags: Vec::new(), paths: when.paths.clone() },
        Refs::Only { branches, tags } if branches == &[DEFAULT_BRANCH] => {
            On { branches: Vec::new(), tags: tags.clone(), paths: when.paths.clone() }
        }
        refs if refs.is_none() => {
            found.note(
                chosen.build.line,
                "the image is built for pull requests, schedules or by hand alone",
                "Here pushes build it: [build] on says which; `slipway build start` builds by hand.",
            );
            return None;
        }
        Refs::Only { branches, tags } => {
            // A branch that is none: no branch at all.
            let branches = if branches.is_empty() { vec!["!**".to_owned()] } else { named(branches) };
            On { branches, tags: tags.clone(), paths: when.paths.clone() }
        }
    };
    (on != On::default()).then_some(on)
}

/// What is run in the built image; everything else that ran is told.
fn test(found: &mut Found, chosen: &Chosen, others: &[Chosen]) -> Test {
    let loose = std::mem::take(&mut found.loose);
    let is_in = |one: &Loose, chosen: &Chosen| one.inside.as_deref().is_some_and(|image| chosen.has(image));
    let (inside, outside): (Vec<Loose>, Vec<Loose>) = loose.into_iter().partition(|one| is_in(one, chosen));
    let (staged, outside): (Vec<Loose>, Vec<Loose>) =
        outside.into_iter().partition(|one| others.iter().any(|other| is_in(one, other)));
    let hint = agent::tell(found, &outside);
    let mut test = in_image(found, &inside);
    test.timeout = found.test_timeout.take();
    let stage = others.iter().find_map(|other| Some((other.build.line, other.build.target.clone()?)));
    for one in &staged {
        let what = format!("`{}` runs in another image of the same Dockerfile", quoted(&one.text));
        found.note(one.line, what, "Make it the last RUN of that stage.");
    }
    if let Some((line, target)) = stage {
        if test.line == 0 {
            (test.line, test.target) = (line, Some(target));
        } else {
            let what = format!("the stage {target} is built as well");
            found.note(line, what, "[test] has one of target, run and shell: choose.");
        }
    }
    if test.line == 0 {
        (test.line, test.hint) = hint.map_or((0, None), |(line, text)| (line, Some(text)));
    }
    test
}

fn in_image(found: &mut Found, loose: &[Loose]) -> Test {
    let mut test = Test { line: loose.first().map_or(0, |one| one.line), ..Test::default() };
    for one in loose {
        for (name, value) in &one.env {
            test.env.insert(name.clone(), value.clone());
        }
        test.network |= one.network;
    }
    match loose {
        [] => {}
        [Loose { argv: Some(argv), .. }] => match argv.as_slice() {
            [shell, flag, line] if is_shell(shell) && flag.starts_with('-') && flag.ends_with('c') => {
                test.shell = Some(line.clone());
            }
            _ => test.run = Some(argv.clone()),
        },
        several => {
            let mut script = String::new();
            for one in several {
                if !script.is_empty() {
                    script.push_str(one.joint);
                }
                script.push_str(&one.argv.as_deref().map_or_else(|| one.text.clone(), line_of));
            }
            test.shell = Some(script);
        }
    }
    let said = test.shell.clone().unwrap_or_default() + &test.run.clone().unwrap_or_default().join(" ");
    found.uses(&said, Purpose::Test);
    let mut told = filled(&said).text != said;
    told &= super::scope::names(&said).iter().any(|name| !test.env.contains_key(*name));
    if told {
        let what = "the test reads what the old server set (commit, branch, number)";
        found.note(
            test.line,
            what,
            "A test gets CI=true; give it the rest as build arguments, with ARG and ENV.",
        );
    }
    test
}

fn is_shell(program: &str) -> bool {
    matches!(program.rsplit('/').next(), Some("sh" | "bash" | "ash"))
}

/// Words as a line for a shell.
fn line_of(argv: &[String]) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,${}".contains(c);
    let quote = |word: &String| {
        if !word.is_empty() && word.chars().all(plain) {
            word.clone()
        } else {
            format!("'{}'", word.replace('\'', "'\\''"))
        }
    };
    argv.iter().map(quote).collect::<Vec<_>>().join(" ")
}

/// The tags, and the registry they go to.
fn pushes(plan: &mut Plan, found: &mut Found, chosen: &Chosen) {
    let region = found.region.clone();
    let named = chosen.pushes.first().map(|push| push.reference.clone());
    let named = named.or_else(|| chosen.build.names.first().map(|name| Reference::read(name)));
    let mut reference = named.unwrap_or_else(|| Reference::read(""));
    if reference.host.is_none() {
        reference.host =
            found.login.clone().map(|host| Reference::read(&format!("{host}/x")).host.unwrap_or(host));
    }
    let known = !reference.path.is_empty() || reference.host.is_some() || region.is_some();
    plan.registry = known.then(|| Registry::of(&reference, region.as_deref()));
    for push in &chosen.pushes {
        if push.reference.name() != chosen.pushes[0].reference.name() {
            let what = format!("the image is pushed as {} too", quoted(&push.reference.name()));
            found.note(push.line, what, "A repository is bound to one registry and one image path.");
        }
        if let Some(tag) = tag(found, push, chosen) {
            match plan.tags.iter_mut().find(|known| known.tag == tag.tag) {
                Some(known) => known.on = either(known.on.take(), tag.on),
                None => plan.tags.push(tag),
            }
        }
    }
}

fn either(a: Option<On>, b: Option<On>) -> Option<On> {
    let (a, b) = (a?, b?);
    let either = condition::either;
    Some(On { branches: either(&a.branches, &b.branches), tags: either(&a.tags, &b.tags), paths: Vec::new() })
}

fn tag(found: &mut Found, push: &Push, chosen: &Chosen) -> Option<Tag> {
    let written = push.reference.tag();
    let Filled { text, unknown } = filled(written);
    let alone = unknown.len() == 1 && text == format!("${{{}}}", unknown[0]);
    let text = if alone {
        let what = format!("the tag {} is set outside of this file", quoted(&unknown[0]));
        found.note(push.line, what, "{sha} stands in its place; other placeholders: docs/slipway-toml.md.");
        "{sha}".to_owned()
    } else {
        text
    };
    if !alone && !unknown.is_empty() {
        let what = format!("the tag `{}` is known only while it is built", quoted(written));
        found.note(
            push.line,
            what,
            "A tag is made of letters, digits and the placeholders of docs/slipway-toml.md.",
        );
        return None;
    }
    if written.contains(":0:") && text.contains("{short}") {
        found.done(push.line, "{short} is the first ten digits of the commit");
    }
    if text.contains("{date}") {
        found.done(push.line, "{date} is the day in UTC, such as 2026-11-30");
    }
    let template = match Template::parse(&text) {
        Ok(template) => template,
        Err(why) => {
            let what = format!("the tag `{}`: {}", quoted(written), quoted(&why));
            found.note(
                push.line,
                what,
                "Make it of letters, digits and the placeholders of docs/slipway-toml.md.",
            );
            return None;
        }
    };
    let own = push.when.refs == chosen.build.when.refs;
    let (on, scope) = (On::of(&push.when), template.scope());
    let of_tags = on.as_ref().is_some_and(|on| on.branches.is_empty() && !push.when.by_hand);
    let on = match scope {
        Whose::Commit => {
            if !own && push.when.refs != Refs::Any {
                let what = format!("the tag {text} is pushed for some branches alone");
                found.note(push.line, what, "Here every build pushes its commit's tag, which moves nothing; [build] on says what builds.");
            }
            None
        }
        Whose::Ref | Whose::Build if own || of_tags => None,
        _ => on,
    };
    Some(Tag { line: push.line, tag: text, on })
}

/// `[deploy.*]`, each with a name of its own.
fn targets(found: &mut Found, wishes: &Wishes) -> Vec<Target> {
    let mut targets: Vec<Target> = Vec::new();
    for deploy in std::mem::take(&mut found.deploys) {
        let repo = deploy.repo.or_else(|| wishes.manifests.clone());
        let path = deploy.path.filter(|path| path != ".");
        let on = On::of(&deploy.when);
        let same = |t: &Target| t.repo == repo && t.path == path && t.branch == deploy.branch;
        if targets.iter().any(same) {
            continue;
        }
        if targets.len() >= DEPLOY_TARGETS_MAX {
            let what = format!("writes more than {DEPLOY_TARGETS_MAX} places");
            found.note(
                deploy.line,
                what,
                "Let one [deploy.NAME] have a folder as its path: all of it is written.",
            );
            break;
        }
        let base = target_name(path.as_deref().unwrap_or_default(), &deploy.stage);
        let taken =
            targets.iter().filter(|t| t.name == base || t.name.starts_with(&format!("{base}-"))).count();
        let name = if taken == 0 { base } else { format!("{base}-{}", taken + 1) };
        let branch = deploy.branch;
        targets.push(Target { line: deploy.line, by: deploy.by, name, repo, branch, path, on });
    }
    targets
}

/// What the environment is called in the path or in the stage.
fn target_name(path: &str, stage: &str) -> String {
    const KNOWN: [(&str, &str); 9] = [
        ("prod", "prod"),
        ("staging", "staging"),
        ("stage", "staging"),
        ("stg", "staging"),
        ("qa", "qa"),
        ("test", "test"),
        ("uat", "uat"),
        ("preview", "preview"),
        ("dev", "dev"),
    ];
    let of = |text: &str| {
        let text = text.to_ascii_lowercase();
        let words: Vec<&str> = text.split(|c: char| !c.is_ascii_alphanumeric()).collect();
        KNOWN
            .iter()
            .find(|(word, _)| words.iter().any(|w| w.starts_with(word)))
            .map(|(_, name)| (*name).to_owned())
    };
    of(path).or_else(|| of(stage)).unwrap_or_else(|| "prod".into())
}

fn secrets(plan: &mut Plan, found: &mut Found) {
    for (name, secret) in std::mem::take(&mut found.secrets) {
        let is_for = |purpose| secret.purposes.contains(&purpose);
        let known_as = quoted(&secret.known_as);
        if is_for(Purpose::Build) {
            plan.build_secrets.push(name.clone());
        }
        if is_for(Purpose::Test) {
            plan.test.secrets.push(name.clone());
        }
        plan.registry_password |= is_for(Purpose::Registry);
        if is_for(Purpose::Registry) {
            found.done(secret.line, format!("{name} ({known_as}): given once to `slipway registry add`"));
        }
        if is_for(Purpose::Manifests) {
            found.done(secret.line, format!("{name} ({known_as}): manifests are written without a password"));
        }
        if secret.purposes.is_empty() {
            let what = format!("the secret {name} ({known_as}) is used by nothing that was recognised");
            found.note(
                secret.line,
                what,
                "Give it with `slipway secret set`, if the build or the test needs it.",
            );
        }
    }
    // What is a secret has no place in a file.
    let open: Vec<String> = plan
        .test
        .env
        .iter()
        .filter(|(name, value)| plan.test.secrets.contains(name) || value.contains('$'))
        .map(|(n, _)| n.clone())
        .collect();
    for name in open {
        plan.test.env.remove(&name);
    }
    plan.test.env = found::shown(std::mem::take(&mut plan.test.env));
}

/// A refusal.
pub(super) fn refused(what: String, cure: &str) -> Problem {
    Problem::new(ProblemKind::Invalid, what, cure)
}
