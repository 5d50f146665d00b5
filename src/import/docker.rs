//! `docker build`, `tag`, `push`, `run` and their like: podman, buildah, buildx, kaniko.

use std::collections::BTreeMap;

use super::commands::unknown;
use super::found::{Build, Found, Loose, Purpose, Service, quoted};
use super::limits::FOUND_MAX;
use super::reference::Reference;
use super::scope::{self, Scope};
use super::shell::Command;

/// Flags and what stands without one.
pub(super) struct Flags {
    named: Vec<(String, String)>,
    pub(super) plain: Vec<String>,
}

impl Flags {
    /// Reads words of which these flags have a value.
    pub(super) fn read(words: &[String], valued: &[&str], all: bool) -> Self {
        let mut flags = Self { named: Vec::new(), plain: Vec::new() };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            if !word.starts_with('-') || word == "-" {
                flags.plain.push(word.clone());
                if all {
                    continue;
                }
                flags.plain.extend(words.cloned());
                break;
            }
            if let Some((name, value)) = word.split_once('=').filter(|_| word.starts_with("--")) {
                flags.named.push((name.to_owned(), value.to_owned()));
            } else if valued.contains(&word.as_str()) {
                flags.named.push((word.clone(), words.next().cloned().unwrap_or_default()));
            } else {
                flags.named.push((word.clone(), String::new()));
            }
        }
        flags
    }

    pub(super) fn all<'a>(&'a self, names: &'a [&str]) -> impl Iterator<Item = &'a str> {
        self.named.iter().filter(|(n, _)| names.contains(&n.as_str())).map(|(_, value)| value.as_str())
    }

    pub(super) fn get<'a>(&'a self, names: &'a [&str]) -> Option<&'a str> {
        self.all(names).last()
    }
}

const BUILD_VALUED: [&str; 30] = [
    "-t",
    "--tag",
    "-f",
    "--file",
    "--build-arg",
    "--target",
    "--platform",
    "--cache-from",
    "--cache-to",
    "--label",
    "--secret",
    "--ssh",
    "--network",
    "--output",
    "-o",
    "--progress",
    "--builder",
    "--iidfile",
    "--metadata-file",
    "--memory",
    "-m",
    "--cpu-quota",
    "--shm-size",
    "--ulimit",
    "--add-host",
    "--isolation",
    "--build-context",
    "--cgroup-parent",
    "--annotation",
    "--allow",
];

const RUN_VALUED: [&str; 32] = [
    "-e",
    "--env",
    "--env-file",
    "-v",
    "--volume",
    "--network",
    "--net",
    "-w",
    "--workdir",
    "-u",
    "--user",
    "--name",
    "-p",
    "--publish",
    "--entrypoint",
    "--link",
    "--memory",
    "-m",
    "--cpus",
    "--mount",
    "--platform",
    "-l",
    "--label",
    "--add-host",
    "--gpus",
    "--shm-size",
    "--ulimit",
    "--cap-add",
    "--security-opt",
    "--hostname",
    "-h",
    "--pull",
];

/// Carries out `docker …`; `words` begin with what follows `docker`.
pub(super) fn docker(found: &mut Found, scope: &mut Scope, command: &Command, words: &[String]) {
    let line = command.line;
    let Some((verb, rest)) = words.split_first() else { return };
    match verb.as_str() {
        "buildx" | "image" | "builder" | "container" => docker(found, scope, command, rest),
        "build" | "bud" | "build-using-dockerfile" => build(found, scope, command, rest),
        "bake" => found.note(
            line,
            "docker buildx bake: the images stand in another file",
            "Look there for the one that is this repository's, and write its dockerfile, context, target and args in [build].",
        ),
        "tag" => {
            if let [from, to] = rest {
                found.tagged(&scope.expand(from), &scope.expand(to));
            }
        }
        "push" => push(found, scope, command, rest),
        "imagetools" => imagetools(found, scope, command, rest),
        "run" => run(found, scope, command, rest),
        "login" => login(found, scope, line, rest),
        "compose" => compose(found, command),
        "manifest" => found.note(line, "an index of several platforms", PLATFORMS),
        "save" | "load" | "import" => found.note(
            line,
            format!("`{}`", quoted(&command.text)),
            "An image goes from the build to its registry; nothing has to be carried from stage to stage.",
        ),
        "scan" | "scout" => found.note(line, "scans the image", SCANS),
        "exec" | "cp" => found.note(
            line,
            format!("`{}`", quoted(&command.text)),
            "What is to be asked of a running container, ask in [test] shell, in the image itself.",
        ),
        "logout" | "rmi" | "rm" | "prune" | "system" | "stop" | "kill" | "create" | "use" | "inspect" | "images" | "ls"
        | "ps" | "info" | "version" | "--version" | "pull" | "network" | "volume" | "logs" | "history" | "wait" => {
            found.done(line, format!("docker {verb}"));
        }
        _ => unknown(found, command),
    }
}

pub(super) const PLATFORMS: &str =
    "An image is built for the engine's own platform; run an engine of the other platform for those.";
pub(super) const SCANS: &str =
    "Scan in a stage of the Dockerfile that [test] target names, or let the registry scan what is pushed.";

fn build(found: &mut Found, scope: &Scope, command: &Command, words: &[String]) {
    let (line, flags) = (command.line, Flags::read(words, &BUILD_VALUED, true));
    let context = flags.plain.first().map_or(".", String::as_str);
    let mut build = Build { line, by: "docker build", when: scope.when.clone(), ..Build::default() };
    build.context = place(found, scope, line, context);
    build.dockerfile = flags.get(&["-f", "--file"]).map(|file| place(found, scope, line, file));
    build.names = flags.all(&["-t", "--tag"]).take(FOUND_MAX).map(|name| scope.expand(name)).collect();
    build.target = flags.get(&["--target"]).map(|target| scope.expand(target));
    build.args = args(found, scope, &flags, "--build-arg");
    build.pull = flags.get(&["--pull"]).is_some_and(|value| value != "false");
    tell(found, line, &flags, command);
    let output = flags.get(&["--output", "-o"]).unwrap_or_default();
    let pushes = flags.get(&["--push"]).is_some_and(|value| value != "false")
        || output.contains("type=registry")
        || output.contains("push=true");
    let mut names = build.names.clone();
    names.extend(
        output.split(',').filter_map(|part| part.strip_prefix("name=")).map(|name| scope.expand(name)),
    );
    found.build(build);
    if pushes {
        names.iter().for_each(|name| found.pushed(line, name, scope));
    }
}

/// A path from the root; the place itself, and a remark, where it leads elsewhere.
fn place(found: &mut Found, scope: &Scope, line: usize, path: &str) -> String {
    let path = scope.expand(path);
    if let Some(inside) = scope.inside(&path) {
        return inside;
    }
    let what = format!("the place {} is not in the repository, or not known", quoted(&path));
    found.note(line, what, "Write build.context and build.dockerfile as paths from the repository's root.");
    ".".into()
}

/// `--build-arg NAME=VALUE`, and `NAME` alone for a variable of that name.
pub(super) fn args(found: &mut Found, scope: &Scope, flags: &Flags, flag: &str) -> BTreeMap<String, String> {
    let mut args = BTreeMap::new();
    for arg in flags.all(&[flag]).take(FOUND_MAX) {
        let (name, value) = match arg.split_once('=') {
            Some((name, value)) => (name.to_owned(), scope.expand(value)),
            None => (arg.to_owned(), scope.expand(&format!("${{{arg}}}"))),
        };
        found.uses(&value, Purpose::Build);
        args.insert(name, value);
    }
    args
}

/// What slipway.toml has no key for.
fn tell(found: &mut Found, line: usize, flags: &Flags, command: &Command) {
    if let Some(platform) = flags.get(&["--platform"]).filter(|p| *p != "linux/amd64") {
        found.note(line, format!("--platform {}", quoted(platform)), PLATFORMS);
    }
    for secret in flags.all(&["--secret"]) {
        if let Some(id) = secret.split(',').find_map(|part| part.strip_prefix("id=")) {
            found.secret(line, id, "--secret");
            found.uses(&format!("${{{id}}}"), Purpose::Build);
        }
    }
    if flags.get(&["--ssh"]).is_some() {
        found.note(line, "--ssh", "Give the build a token as a secret, and fetch over https with it.");
    }
    if flags.all(&["--label", "--annotation"]).next().is_some() {
        found.note(line, "labels of the image", "Write LABEL in the Dockerfile, with ARG where they vary.");
    }
    if flags.get(&["--no-cache"]).is_some() {
        found.note(
            line,
            "--no-cache",
            "`git push -o build.no-cache` builds a push anew; a build need not always.",
        );
    }
    if flags.get(&["--network"]).is_some_and(|network| network != "default") {
        found.note(
            line,
            "--network",
            "What builds may reach is said by `slipway bind --build-limit network=…`.",
        );
    }
    if flags.all(&["--cache-from", "--cache-to"]).next().is_some() {
        found.done(line, "the build cache: the engine keeps it");
    }
    if flags.get(&["--build-context"]).is_some() {
        found.note(
            line,
            format!("`{}`", quoted(&command.text)),
            "A build has one context: copy what it needs into it.",
        );
    }
}

/// `kaniko/executor`: builds and pushes in one.
pub(super) fn kaniko(found: &mut Found, scope: &Scope, command: &Command, words: &[String]) {
    const VALUED: [&str; 14] = [
        "-c",
        "--context",
        "-f",
        "--dockerfile",
        "-d",
        "--destination",
        "--build-arg",
        "--target",
        "--cache-repo",
        "--customPlatform",
        "--custom-platform",
        "--verbosity",
        "-v",
        "--context-sub-path",
    ];
    let (line, flags) = (command.line, Flags::read(words, &VALUED, true));
    let mut build = Build { line, by: "kaniko", when: scope.when.clone(), ..Build::default() };
    let context = flags.get(&["-c", "--context"]).unwrap_or(".");
    let remote = context.contains("://") && !context.starts_with("dir://");
    build.context = if remote { ".".into() } else { place(found, scope, line, context) };
    if let Some(below) = flags.get(&["--context-sub-path"]) {
        build.context = scope::inside(&build.context, below).unwrap_or_else(|| ".".into());
    }
    build.dockerfile = flags.get(&["-f", "--dockerfile"]).map(|file| {
        let from = Scope::in_folder(&build.context);
        let file = scope.expand(file);
        let within = file.strip_prefix(&format!("{}/", build.context)).unwrap_or(&file);
        place(found, &from, line, within)
    });
    build.target = flags.get(&["--target"]).map(|target| scope.expand(target));
    build.args = args(found, scope, &flags, "--build-arg");
    build.names =
        flags.all(&["-d", "--destination"]).take(FOUND_MAX).map(|name| scope.expand(name)).collect();
    if flags.get(&["--customPlatform", "--custom-platform"]).is_some_and(|p| p != "linux/amd64") {
        found.note(line, "--custom-platform", PLATFORMS);
    }
    let names = build.names.clone();
    found.build(build);
    if flags.get(&["--no-push"]).is_none() {
        names.iter().for_each(|name| found.pushed(line, name, scope));
    }
}

fn push(found: &mut Found, scope: &Scope, command: &Command, words: &[String]) {
    let flags = Flags::read(words, &[], true);
    let Some(name) = flags.plain.first().map(|name| scope.expand(name)) else { return };
    if flags.get(&["-a", "--all-tags"]).is_none() {
        return found.pushed(command.line, &name, scope);
    }
    let names = found.built(&name).map(|build| build.names.clone()).unwrap_or_default();
    let of_it = names.iter().filter(|n| n.starts_with(&format!("{name}:")));
    of_it.for_each(|name| found.pushed(command.line, name, scope));
}

/// `imagetools create -t TO FROM`: a further name for what is pushed already.
fn imagetools(found: &mut Found, scope: &Scope, command: &Command, words: &[String]) {
    let flags = Flags::read(words, &["-t", "--tag"], true);
    let names: Vec<String> = flags.all(&["-t", "--tag"]).map(|name| scope.expand(name)).collect();
    for name in names {
        if let Some(from) = flags.plain.get(1) {
            found.tagged(&scope.expand(from), &name);
        }
        found.pushed(command.line, &name, scope);
    }
}

fn login(found: &mut Found, scope: &Scope, line: usize, words: &[String]) {
    let flags = Flags::read(words, &["-u", "--username", "-p", "--password"], true);
    words.iter().for_each(|word| found.uses(word, Purpose::Registry));
    found.password |= flags.get(&["-u", "--username"]).is_some_and(|user| user != "AWS");
    if let Some(host) = flags.plain.first() {
        found.login = Some(scope.expand(host));
    }
    found.done(line, "docker login: the registry that the repository is bound to");
}

fn run(found: &mut Found, scope: &Scope, command: &Command, words: &[String]) {
    let (line, flags) = (command.line, Flags::read(words, &RUN_VALUED, false));
    let Some((image, rest)) = flags.plain.split_first() else { return };
    let image = scope.expand(image);
    let mut env = BTreeMap::new();
    for one in flags.all(&["-e", "--env"]).take(FOUND_MAX) {
        found.uses(&format!("${{{one}}} {one}"), Purpose::Test);
        let (name, value) = one.split_once('=').unwrap_or((one, ""));
        let value = if one.contains('=') { value.to_owned() } else { format!("${{{name}}}") };
        env.insert(name.to_owned(), scope.expand(&value));
    }
    let detached = flags.named.iter().any(|(name, _)| {
        name == "--detach" || name.starts_with('-') && !name.starts_with("--") && name.contains('d')
    });
    if detached && found.built(&image).is_none() {
        let name = flags.get(&["--name"]).map_or("db", |name| name).to_owned();
        return found.service(Service { line, name, image, env });
    }
    let entry = flags.get(&["--entrypoint"]).filter(|entry| !entry.is_empty());
    let argv: Vec<String> =
        entry.into_iter().chain(rest.iter().map(String::as_str)).map(|w| scope.expand(w)).collect();
    if found.built(&image).is_none() && !detached {
        return foreign(found, line, &image, &argv);
    }
    if argv.is_empty() || detached {
        let what = format!("`{}` starts the image", quoted(&command.text));
        return found.note(line, what, "Write the command that shows that it works in [test] run or shell.");
    }
    argv.iter().for_each(|word| found.uses(word, Purpose::Test));
    let network = flags.get(&["--network", "--net"]).is_some_and(|network| network != "none");
    let text = quoted(&argv.join(" "));
    let (argv, inside) = (Some(argv), Some(image));
    found.loose(Loose { line, text, argv, joint: "\n", inside, env, network });
}

/// A container of another image: a tool, known by the image's name.
fn foreign(found: &mut Found, line: usize, image: &str, argv: &[String]) {
    let path = Reference::read(image).path;
    let tool = path.rsplit('/').next().unwrap_or_default();
    let repeated = argv.first().is_some_and(|first| first == tool);
    let text = if repeated { argv.join(" ") } else { format!("{tool} {}", argv.join(" ")) };
    let (text, inside, env) = (quoted(&text), Some(image.to_owned()), BTreeMap::new());
    found.loose(Loose { line, text, argv: None, joint: "\n", inside, env, network: false });
}

pub(super) fn compose(found: &mut Found, command: &Command) {
    let what = format!("`{}`", quoted(&command.text));
    if command.words.iter().any(|word| word == "down" || word == "stop" || word == "rm") {
        return found.done(command.line, "docker compose down");
    }
    found.note(
        command.line,
        what,
        "The compose file is not read: its image goes to [build], what stands beside the test to [test.services.NAME].",
    );
}
