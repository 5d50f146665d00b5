//! A plan as slipway.toml, with the commands before it and what is not mapped behind it.

use std::collections::BTreeMap;

use super::choice::default_dockerfile;
use super::found::{Note, quoted};
use super::given;
use super::limits::LINES_NAMED_MAX;
use super::plan::{On, Plan, Tag, Target};
use super::sheet::{Sheet, key, list, string};

/// The keys alone; what was refused is among the plan's remarks then.
pub(super) fn toml(plan: &mut Plan, repo: &str) -> String {
    let mut sheet = Sheet::default();
    build(&mut sheet, plan);
    test(&mut sheet, plan, repo);
    push(&mut sheet, &plan.tags);
    for target in &plan.deploys {
        deploy(&mut sheet, target);
    }
    let written = sheet.written();
    for (line, why) in written.refused {
        let what = format!("`{}` is no line of slipway.toml: {}", quoted(&line), quoted(&why));
        plan.not_mapped.push(Note {
            line: plan.line,
            what,
            cure: "It stands there as a comment: mend it.".into(),
        });
    }
    written.text
}

fn at(line: usize, by: &str) -> String {
    if line == 0 {
        String::new()
    } else {
        format!("line {line}: {by}").trim_end_matches([':', ' ']).to_owned()
    }
}

fn build(sheet: &mut Sheet, plan: &Plan) {
    sheet.put("[build]", &at(plan.line, plan.by));
    if let Some(file) = plan.dockerfile.as_ref().filter(|file| **file != default_dockerfile(&plan.context)) {
        sheet.put(&format!("dockerfile = {}", string(file)), "");
    }
    if plan.context != "." {
        sheet.put(&format!("context = {}", string(&plan.context)), "");
    }
    if let Some(target) = &plan.target {
        sheet.put(&format!("target = {}", string(target)), "");
    }
    if plan.pull {
        sheet.put("pull = \"always\"", "");
    }
    if let Some((line, timeout)) = &plan.timeout {
        sheet.put(&format!("timeout = {}", string(timeout)), &at(*line, ""));
    }
    if let Some(condition) = &plan.on {
        sheet.put(&format!("on = {}", on(condition)), "");
    }
    if !plan.args.is_empty() || !plan.varying_args.is_empty() {
        sheet.blank();
        sheet.put("[build.args]", "");
        for (name, value) in &plan.args {
            sheet.put(&format!("{} = {}", key(name), string(value)), "");
        }
        given::varying_args(sheet, &plan.varying_args);
    }
}

fn test(sheet: &mut Sheet, plan: &Plan, repo: &str) {
    let test = &plan.test;
    if test.line == 0 && plan.services.is_empty() {
        return;
    }
    sheet.blank();
    sheet.put("[test]", &at(test.line, ""));
    if let Some(target) = &test.target {
        sheet.put(&format!("target = {}", string(target)), "");
    }
    if let Some(run) = &test.run {
        sheet.put(&format!("run = {}", list(run)), "");
    }
    if let Some(shell) = &test.shell {
        sheet.put(&format!("shell = {}", string(shell)), "");
    }
    if let Some(hint) = &test.hint {
        sheet.comment(
            "target = \"test\"",
            &format!("a stage of the Dockerfile with `{hint}`, which ran outside of the image"),
        );
    }
    if test.network && plan.services.is_empty() {
        sheet.put("network = \"bridge\"", "");
    }
    if let Some((line, timeout)) = &test.timeout {
        sheet.put(&format!("timeout = {}", string(timeout)), &at(*line, ""));
    }
    given::test_env(sheet, &test.env);
    given::test_secrets(sheet, &test.secrets, repo);
    given::services(sheet, &plan.services);
}

fn push(sheet: &mut Sheet, tags: &[Tag]) {
    if tags.is_empty() {
        return;
    }
    let one = |tag: &Tag| match &tag.on {
        None => string(&tag.tag),
        Some(condition) => format!("{{ tag = {}, on = {} }}", string(&tag.tag), on(condition)),
    };
    let mut lines: Vec<usize> = tags.iter().map(|tag| tag.line).collect();
    lines.dedup();
    sheet.blank();
    sheet.put("[push]", &numbers(&lines));
    if tags.iter().all(|tag| tag.on.is_none()) {
        sheet.put(&format!("tags = [{}]", tags.iter().map(one).collect::<Vec<_>>().join(", ")), "");
    } else {
        let all: Vec<String> = tags.iter().map(|tag| format!("    {},\n", one(tag))).collect();
        sheet.put(&format!("tags = [\n{}]", all.concat()), "");
    }
}

fn deploy(sheet: &mut Sheet, target: &Target) {
    sheet.blank();
    let head = format!("[deploy.{}]", key(&target.name));
    let said = at(target.line, &target.by);
    let Some(repo) = &target.repo else {
        sheet.comment(&head, &said);
        sheet.comment(
            "repo = \"MANIFESTS\"",
            "the file does not name it: write its name, and take the # away",
        );
        if let Some(branch) = &target.branch {
            sheet.comment(&format!("branch = {}", string(branch)), "");
        }
        let path = target.path.as_deref().unwrap_or(".");
        sheet.comment(&format!("path = {}", string(path)), "a file, or a folder: all of it");
        if let Some(condition) = &target.on {
            sheet.comment(&format!("on = {}", on(condition)), "");
        }
        return;
    };
    // All of it or nothing: a line alone would belong to the table before.
    let mut lines = format!("{head}\nrepo = {}", string(repo));
    if let Some(branch) = &target.branch {
        lines.push_str(&format!("\nbranch = {}", string(branch)));
    }
    if let Some(path) = &target.path {
        lines.push_str(&format!("\npath = {}", string(path)));
    }
    if let Some(condition) = &target.on {
        let by_hand = *condition == On::default();
        let remark = if by_hand { "  # moved by hand: slipway build promote REPO N" } else { "" };
        lines.push_str(&format!("\non = {}{remark}", on(condition)));
    }
    sheet.put(&lines, &said);
}

/// `{ branches = […], … }`.
fn on(on: &On) -> String {
    let parts = [("branches", &on.branches), ("tags", &on.tags), ("paths", &on.paths)];
    let parts: Vec<String> = parts
        .iter()
        .filter(|(_, all)| !all.is_empty())
        .map(|(name, all)| format!("{name} = {}", list(all)))
        .collect();
    if parts.is_empty() { "{}".into() } else { format!("{{ {} }}", parts.join(", ")) }
}

/// The commands for whoever runs the server, then those in the work tree.
pub(super) fn commands(plan: &Plan, repo: &str) -> (Vec<String>, Vec<String>) {
    let mut server = vec![format!("slipway repo create {repo}")];
    if let Some(registry) = &plan.registry {
        let region = registry
            .region
            .as_ref()
            .map(|region| format!(" --region {}", word(region, "REGION")))
            .unwrap_or_default();
        let kind = if registry.kind == "ecr" { " --kind ecr" } else { "" };
        let ask = registry.kind != "ecr" && plan.registry_password;
        let password = if ask { " --username USER --password-file FILE" } else { "" };
        let (name, url) = (&registry.name, word(&registry.url, "HOST"));
        server.push(format!("slipway registry add {name} --url {url}{kind}{region}{password}"));
        server.push(format!("slipway registry test {name}"));
        let image = word(registry.image.as_deref().unwrap_or_default(), "PATH");
        server.push(format!("slipway bind {repo} --registry {name} --image {image}"));
    } else {
        server.push("slipway registry add NAME --url HOST[:PORT][/PREFIX]".into());
        server.push(format!("slipway bind {repo} --registry NAME"));
    }
    for name in &plan.build_secrets {
        server.push(format!("slipway secret set {repo} {name} --for build"));
    }
    for name in &plan.test.secrets {
        server.push(format!("slipway secret set {repo} {name} --for test"));
    }
    server.extend(manifests(plan));
    if plan.notified.is_some() {
        server.push(format!("slipway webhook add {repo} --url https://ADDRESS --events build"));
    }
    let tree = vec![
        "slipway check".to_owned(),
        format!("git remote add slipway ssh://git@SERVER:2222/{repo}"),
        "git push slipway HEAD -o wait".to_owned(),
    ];
    (server, tree)
}

/// A piece of a command that somebody will copy: only what no shell understands otherwise, or a word to fill in.
fn word<'t>(text: &'t str, otherwise: &'t str) -> &'t str {
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-/:*".contains(c);
    if !text.is_empty() && !text.starts_with('-') && text.chars().all(fits) { text } else { otherwise }
}

/// The manifest repositories, and the cluster that follows them.
fn manifests(plan: &Plan) -> Vec<String> {
    let mut commands = Vec::new();
    let mut repos: Vec<(&str, Option<&str>)> = Vec::new();
    for target in &plan.deploys {
        let repo = (word(target.repo.as_deref().unwrap_or_default(), "MANIFESTS"), target.branch.as_deref());
        if !repos.iter().any(|(name, _)| *name == repo.0) {
            repos.push(repo);
        }
    }
    if repos.is_empty() && plan.cluster.is_some() {
        repos.push(("MANIFESTS", None));
    }
    if !repos.is_empty() {
        commands.push("slipway cluster add CLUSTER --kubeconfig FILE".to_owned());
    }
    for (repo, branch) in repos {
        let branch = branch.map(|branch| format!(" --branch {}", word(branch, "BRANCH"))).unwrap_or_default();
        let namespace = plan
            .namespace
            .as_ref()
            .map(|ns| format!(" --namespace {}", word(ns, "NAMESPACE")))
            .unwrap_or_default();
        commands.push(format!("slipway repo create {repo}"));
        commands.push(format!("slipway bind {repo} --cluster CLUSTER{branch}{namespace}"));
    }
    commands
}

/// Everything as one text.
pub(super) fn page(plan: &Plan, toml: &str, repo: &str, source: &str) -> String {
    let (server, tree) = commands(plan, repo);
    let mut text = format!(
        "# slipway.toml for {repo}, made from {source} by `slipway import`. Read it before you use it.\n#\n"
    );
    text.push_str("# Once, for the server (words in capitals are yours to fill in):\n");
    server.iter().for_each(|command| text.push_str(&format!("#   {command}\n")));
    text.push_str("# Then, in the work tree, with this as slipway.toml:\n");
    tree.iter().for_each(|command| text.push_str(&format!("#   {command}\n")));
    text.push('\n');
    text.push_str(toml);
    text.push_str(&not_mapped(&plan.not_mapped));
    text.push_str(&done(&plan.done));
    text
}

fn not_mapped(notes: &[Note]) -> String {
    if notes.is_empty() {
        return "\n# Not mapped: nothing.\n".into();
    }
    let mut text = String::from("\n# Not mapped:\n");
    for (at, note) in notes.iter().enumerate() {
        let place = if note.line == 0 { String::new() } else { format!("line {}: ", note.line) };
        text.push_str(&format!("# {place}{}\n", note.what));
        if notes.get(at + 1).is_none_or(|next| next.cure != note.cure) {
            text.push_str(&format!("#     {}\n", note.cure));
        }
    }
    text
}

fn done(notes: &[Note]) -> String {
    let mut by_what: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for note in notes {
        by_what.entry(&note.what).or_default().push(note.line);
    }
    if by_what.is_empty() {
        return String::new();
    }
    let mut all: Vec<(&str, Vec<usize>)> = by_what.into_iter().collect();
    all.sort_by_key(|(_, lines)| lines.first().copied());
    let mut text = String::from("#\n# Needs nothing here:\n");
    for (what, lines) in all {
        text.push_str(&format!("# {}: {what}\n", numbers(&lines)));
    }
    text
}

/// `line 3`, or `lines 3, 7`.
fn numbers(lines: &[usize]) -> String {
    let word = if lines.len() == 1 { "line" } else { "lines" };
    let mut said: Vec<String> = lines.iter().take(LINES_NAMED_MAX).map(usize::to_string).collect();
    if lines.len() > said.len() {
        said.push("…".into());
    }
    format!("{word} {}", said.join(", "))
}
