//! Commands that write manifests or speak to a cluster: what `[deploy.*]` and a bound cluster do instead.

use super::docker::Flags;
use super::found::{Deploy, Found, Purpose, quoted};
use super::scope::{CloneOf, Scope};
use super::shell::Command;

const APPLIES: &str = "Put the manifests into a repository that is bound to the cluster: it follows every commit; [deploy.NAME] writes the image there.";
const RENDERS: &str = "Commit what `helm template` prints into a repository that is bound to the cluster; [deploy.NAME] writes the image there.";

/// Carries out a command of that name, if it is one of these.
pub(super) fn command(
    found: &mut Found,
    scope: &mut Scope,
    command: &Command,
    name: &str,
    rest: &[String],
) -> bool {
    let line = command.line;
    match name {
        "git" => git(found, scope, command, rest),
        "sed" | "perl" | "yq" => return edit(found, scope, command, rest),
        "kustomize" if rest.iter().any(|word| word == "image") => {
            written(found, scope, command, Some(scope.inside(".").unwrap_or_else(|| ".".into())));
        }
        "kubectl" => kubectl(found, scope, command, rest),
        "envsubst" | "kustomize" => {
            found.note(line, format!("`{}`", quoted(&command.text)), APPLIES);
        }
        "helm" if rest.iter().any(|word| word == "upgrade" || word == "install" || word == "template") => {
            found.cluster.get_or_insert(line);
            found.note(line, format!("`{}`", quoted(&command.text)), RENDERS);
        }
        "argocd" | "flux" => {
            found.cluster.get_or_insert(line);
            found.done(line, format!("{name}: a bound cluster follows its repository by itself"));
        }
        _ => return false,
    }
    true
}

/// The repository's name in its address.
pub(super) fn repository(url: &str) -> Option<String> {
    let url = url.trim().trim_end_matches('/').trim_end_matches(".git");
    let name = url.rsplit(['/', ':']).next()?;
    let fits = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    fits.then(|| name.to_owned())
}

fn is_address(word: &str) -> bool {
    word.contains("://") || word.contains("::") || (word.contains('@') && word.contains(':'))
}

fn git(found: &mut Found, scope: &mut Scope, command: &Command, rest: &[String]) {
    const VALUED: [&str; 12] = [
        "-b",
        "--branch",
        "--depth",
        "-c",
        "-C",
        "-m",
        "--message",
        "-o",
        "--origin",
        "--author",
        "-am",
        "--config",
    ];
    let flags = Flags::read(rest, &VALUED, true);
    rest.iter().for_each(|word| found.uses(word, Purpose::Manifests));
    let Some((verb, plain)) = flags.plain.split_first() else { return };
    match verb.as_str() {
        "clone" => {
            let Some(url) = plain.first().map(|url| scope.expand(url)) else { return };
            let branch = flags.get(&["-b", "--branch"]).map(|branch| scope.expand(branch));
            cloned(scope, &url, branch, plain.get(1).map(String::as_str));
        }
        "push" => pushed(found, scope, command, plain),
        "checkout" | "switch" => {
            let branch = plain.first().map(|branch| scope.expand(branch)).filter(|b| !b.contains('$'));
            if let (Some(clone), Some(branch)) = (&mut scope.checkout, branch) {
                clone.branch = Some(branch);
            }
        }
        "submodule" | "lfs" => found.note(
            command.line,
            format!("git {verb}"),
            "A build has what the commit holds; a submodule must be a repository of the same server.",
        ),
        "tag" => {
            found.note(command.line, "sets a git tag", "Tag by hand; [build] on tags = […] builds tags.")
        }
        _ => {}
    }
}

/// From here on the scope has another repository's files in a folder.
pub(super) fn cloned(scope: &mut Scope, url: &str, branch: Option<String>, into: Option<&str>) {
    let Some(repo) = repository(url) else { return };
    let into = into.map_or_else(|| repo.clone(), |into| scope.expand(into));
    let folder = super::scope::inside(&scope.folder, &into).unwrap_or(into);
    scope.checkout =
        Some(CloneOf { repo, branch, folder: if folder == "." { String::new() } else { folder } });
}

/// `git push [URL|REMOTE] [REF]`: where what was written goes.
fn pushed(found: &mut Found, scope: &Scope, command: &Command, plain: &[String]) {
    let url = plain.first().map(|url| scope.expand(url)).filter(|word| is_address(word));
    let branch = plain.get(1).map(|spec| scope.expand(spec));
    let branch = branch.map(|spec| spec.rsplit(':').next().unwrap_or_default().replace("refs/heads/", ""));
    let branch = branch.filter(|b| !b.is_empty() && b != "HEAD" && !b.contains('$'));
    let mut any = false;
    for deploy in found.deploys.iter_mut().filter(|deploy| deploy.group == scope.group) {
        any = true;
        if deploy.repo.is_none() {
            deploy.repo = url.as_deref().and_then(repository);
        }
        deploy.branch = deploy.branch.take().or_else(|| branch.clone());
    }
    if !any && scope.checkout.is_some() {
        written(found, scope, command, None);
    } else if !any {
        let what = format!("`{}`", quoted(&command.text));
        found.note(command.line, what, "A build commits nothing but [deploy.NAME] into manifests.");
    }
}

/// `sed -i … FILE` and `yq -i … FILE`; false where it writes no manifest.
fn edit(found: &mut Found, scope: &Scope, command: &Command, rest: &[String]) -> bool {
    let in_place = rest
        .iter()
        .any(|word| word.starts_with("-i") || word == "--in-place" || word == "-pi" || word == "w");
    let is_manifest = |word: &&String| {
        [".yaml", ".yml", ".json", ".tpl", "kustomization"].iter().any(|end| word.ends_with(end))
    };
    let files: Vec<String> = rest.iter().skip(1).filter(is_manifest).map(|word| scope.expand(word)).collect();
    if !in_place || files.is_empty() {
        return false;
    }
    for file in files {
        let path = scope.inside(&file);
        written(found, scope, command, path);
    }
    true
}

/// Manifests get a new image here.
pub(super) fn written(found: &mut Found, scope: &Scope, command: &Command, path: Option<String>) {
    let by = quoted(&command.text);
    wrote(found, scope, command.line, by, path);
}

/// As [`written`], by words of its own.
pub(super) fn wrote(found: &mut Found, scope: &Scope, line: usize, by: String, path: Option<String>) {
    let clone = scope.checkout.as_ref();
    found.deploy(Deploy {
        line,
        by,
        repo: clone.map(|clone| clone.repo.clone()),
        branch: clone.and_then(|clone| clone.branch.clone()),
        path,
        when: scope.when.clone(),
        stage: scope.stage.clone(),
        group: scope.group,
    });
}

fn kubectl(found: &mut Found, scope: &Scope, command: &Command, rest: &[String]) {
    const VALUED: [&str; 8] =
        ["-n", "--namespace", "-f", "--filename", "-k", "--kustomize", "--context", "--kubeconfig"];
    let flags = Flags::read(rest, &VALUED, true);
    if let Some(namespace) =
        flags.get(&["-n", "--namespace"]).map(|n| scope.expand(n)).filter(|n| !n.contains('$'))
    {
        found.namespace.get_or_insert(namespace);
    }
    let verb = flags.plain.first().map_or("", String::as_str);
    let what = format!("`{}`", quoted(&command.text));
    match verb {
        "set" | "patch" | "apply" | "create" | "replace" | "delete" | "run" | "scale" => {
            found.cluster.get_or_insert(command.line);
            found.note(command.line, what, APPLIES);
        }
        "rollout" => {
            found.cluster.get_or_insert(command.line);
            found.done(command.line, "kubectl rollout: a deploy waits for its rollout");
        }
        _ => found.done(command.line, format!("kubectl {verb}")),
    }
}
