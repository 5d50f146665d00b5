//! Steps that are plugins: what their settings say.

use crate::import::condition::{ALL, DEFAULT_BRANCH, Refs};
use crate::import::docker;
use crate::import::found::{Build, Found, Purpose, quoted};
use crate::import::jenkinsfile::TELLS;
use crate::import::manifests;
use crate::import::reference::Reference;
use crate::import::scope::{self, Scope};
use crate::import::yaml::Node;

/// Words in the names of plugins that build an image.
const BUILDERS: [&str; 6] = ["docker", "kaniko", "ecr", "buildx", "buildah", "gcr"];
/// Words in the names of those that tell somebody.
const TELLERS: [&str; 10] =
    ["slack", "mail", "discord", "telegram", "matrix", "webhook", "ntfy", "mattermost", "notify", "teams"];

/// Carries out a step, if it is a plugin.
pub(super) fn step(found: &mut Found, node: &Node, image: &str, scope: &Scope) -> bool {
    // Drone's first versions had the settings beside the image.
    let settings = node.get("settings").unwrap_or(node);
    let path = Reference::read(image).path;
    let name = path.rsplit('/').next().unwrap_or_default().to_owned();
    let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
    if has(&BUILDERS) && settings.get("repo").is_some() {
        build(found, settings, scope, node.line, &name);
    } else if node.get("commands").is_some() {
        return false;
    } else if has(&TELLERS) {
        found.notified.push(node.line);
        found.note(node.line, format!("the plugin {}", quoted(image)), TELLS);
    } else if name.contains("git-push") || name.contains("gitops") || name.contains("kustomize") {
        let mut scope = scope.clone();
        let remote = settings.text_of("remote").map(|remote| scope.expand(remote));
        let branch = settings.text_of("branch").map(|branch| scope.expand(branch));
        if let Some(remote) = remote {
            manifests::cloned(&mut scope, &remote, branch, Some("."));
        }
        manifests::wrote(found, &scope, node.line, format!("the plugin {}", quoted(image)), None);
    } else if node.get("settings").is_some() {
        let what = format!("the plugin {}", quoted(image));
        found.note(
            node.line,
            what,
            "Plugins do not run here: say in [test] what checks the image, in [deploy.NAME] where it goes.",
        );
    } else {
        return false;
    }
    true
}

fn build(found: &mut Found, settings: &Node, scope: &Scope, line: usize, plugin: &str) {
    let text = |key: &str| settings.text_of(key).map(|text| scope.expand(text));
    let mut build = Build { line, by: "a plugin that builds", when: scope.when.clone(), ..Build::default() };
    build.context = place(found, text("context").as_deref().unwrap_or("."), line);
    build.dockerfile = text("dockerfile").map(|file| place(found, &file, line));
    build.target = text("target");
    build.pull = text("pull_image").or_else(|| text("always_pull")).as_deref() == Some("true");
    for key in ["build_args", "build_arg"] {
        let Some(node) = settings.get(key) else { continue };
        let commas = node.text().map(|text| text.split(',').map(str::to_owned).collect::<Vec<_>>());
        let of_text = commas.unwrap_or_default().into_iter().filter_map(|one| {
            let (name, value) = one.split_once('=')?;
            Some((name.to_owned(), value.to_owned(), line))
        });
        let pairs = if node.text().is_some() { of_text.collect() } else { node.pairs() };
        build
            .args
            .extend(pairs.into_iter().map(|(name, value, _)| (name.trim().to_owned(), scope.expand(&value))));
    }
    for (key, purpose) in [("build_args_from_env", Purpose::Build), ("secrets", Purpose::Build)] {
        for name in settings.texts_of(key) {
            let id = name.split(',').find_map(|part| part.strip_prefix("id=")).unwrap_or(name);
            found.secret(line, id, key);
            found.uses(&format!("${{{id}}}"), purpose);
        }
    }
    logins(found, settings, plugin);
    let name = name(settings, scope);
    build.names = vec![name.clone()];
    found.build(build);
    if text("dry_run").or_else(|| text("no_push")).as_deref() != Some("true") {
        tags(found, settings, scope, &name);
    }
    if let Some(platforms) = text("platforms").filter(|p| p != "linux/amd64").or_else(|| text("platform")) {
        found.note(line, format!("platforms {}", quoted(&platforms)), docker::PLATFORMS);
    }
    if let Some(labels) = settings.get("labels").or_else(|| settings.get("custom_labels")) {
        found.note(
            labels.line,
            "labels of the image",
            "Write LABEL in the Dockerfile, with ARG where they vary.",
        );
    }
}

fn place(found: &mut Found, path: &str, line: usize) -> String {
    scope::inside("", path).unwrap_or_else(|| {
        let what = format!("the place {} is not in the repository, or not known", quoted(path));
        found.note(
            line,
            what,
            "Write build.context and build.dockerfile as paths from the repository's root.",
        );
        ".".into()
    })
}

/// The image's name, with the registry's host.
fn name(settings: &Node, scope: &Scope) -> String {
    let text = |key: &str| settings.text_of(key).map(|text| scope.expand(text)).unwrap_or_default();
    let (repo, registry) = (text("repo"), text("registry"));
    let registry =
        registry.trim_start_matches("https://").trim_start_matches("http://").trim_end_matches('/');
    let whole = Reference::read(&repo).host.is_some() || registry.is_empty();
    if whole || registry.contains("index.docker.io") { repo } else { format!("{registry}/{repo}") }
}

fn logins(found: &mut Found, settings: &Node, plugin: &str) {
    for key in ["password", "username", "access_key", "secret_key", "json_key", "config"] {
        let Some(node) = settings.get(key) else { continue };
        found.password |= key == "password";
        if let Some(secret) = node.text_of("from_secret") {
            found.done(
                node.line,
                format!("the secret {}: given once to `slipway registry add`", quoted(secret)),
            );
        }
    }
    if plugin.contains("ecr") || settings.get("region").is_some() {
        let region = settings.text_of("region").unwrap_or("us-east-1");
        found.region.get_or_insert(region.to_owned());
    }
}

fn tags(found: &mut Found, settings: &Node, scope: &Scope, name: &str) {
    let node = settings.get("tags").or_else(|| settings.get("tag"));
    let mut texts: Vec<(String, usize)> = Vec::new();
    for (text, line) in node.map(Node::texts).unwrap_or_default() {
        texts.extend(
            text.split(',').map(|tag| (scope.expand(tag.trim()), line)).filter(|(tag, _)| !tag.is_empty()),
        );
    }
    let auto = ["auto_tag", "auto-tag"].iter().any(|key| settings.text_of(key) == Some("true"));
    for (tag, line) in &texts {
        found.pushed(*line, &format!("{name}:{tag}"), scope);
    }
    if auto {
        let line = settings.line;
        let mut of_tag = scope.clone();
        of_tag.when.refs = Refs::tags(&[ALL]);
        found.pushed(line, &format!("{name}:${{CI_COMMIT_TAG##v}}"), &of_tag);
        let mut of_branch = scope.clone();
        of_branch.when.refs = Refs::branches(&[DEFAULT_BRANCH]);
        found.pushed(line, &format!("{name}:latest"), &of_branch);
    } else if texts.is_empty() {
        found.pushed(settings.line, &format!("{name}:latest"), scope);
    }
}
