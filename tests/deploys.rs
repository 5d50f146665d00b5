//! What deploys do where something is odd: folders that go, links, clusters that cannot be asked, objects that change hands.
//! Needs the parts of tests/lab.

#[path = "harness/mod.rs"]
mod harness;

use std::path::PathBuf;
use std::time::Duration;

use harness::{Lab, Namespace, Person, Slipway, lab, text};

const MINUTES: Duration = Duration::from_secs(180);

fn map(name: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{a: '1'}}\n")
}

/// A server, a namespace, and a work tree whose repository `app` is bound to both.
struct World<'a> {
    namespace: Namespace<'a>,
    server: Slipway,
    ann: Person,
    tree: PathBuf,
}

impl<'a> World<'a> {
    fn new(lab: &'a Lab, flags: &[&str]) -> Self {
        let namespace = lab.namespace("deploys");
        let server = Slipway::start();
        let ann = server.person("ann", true);
        server.cli(&["repo", "create", "app"]);
        server.cli(&["cluster", "add", "lab", "--kubeconfig", lab.kubeconfig.to_str().expect("utf-8")]);
        let tree = ann.work_tree("app", &[("README.md", "x")]);
        ann.git(&tree, &["remote", "add", "origin", &ann.ssh_url("app")]);
        let world = Self { namespace, server, ann, tree };
        world.bind("app", "lab", flags);
        world
    }

    fn bind(&self, repo: &str, cluster: &str, flags: &[&str]) -> String {
        let fixed = ["bind", repo, "--cluster", cluster, "--namespace", &self.namespace.name];
        self.server.cli(&[&fixed, flags].concat())
    }

    /// Writes files and commits all that changed.
    fn commit(&self, files: &[(&str, String)], message: &str) {
        let files: Vec<(&str, &str)> = files.iter().map(|(p, t)| (*p, t.as_str())).collect();
        self.ann.commit(&self.tree, &files, message);
    }

    /// Pushes, follows, and gives what was said.
    fn push(&self, options: &[&str]) -> (bool, String) {
        let mut args = vec!["push", "-o", "wait"];
        options.iter().for_each(|o| args.extend(["-o", o]));
        args.extend(["origin", "main"]);
        let out = self.ann.try_git(&self.tree, &args);
        (out.status.success(), text(&out.stderr))
    }

    fn pushed(&self, options: &[&str]) -> String {
        let (fine, said) = self.push(options);
        assert!(fine, "{said}");
        said
    }

    fn has(&self, lab: &Lab, name: &str) -> bool {
        lab.try_kubectl(&["-n", &self.namespace.name, "get", "cm", name]).status.success()
    }
}

#[test]
fn a_folder_that_went_is_an_empty_one_and_a_word_anywhere_in_the_push_confirms() {
    let lab = lab();
    let world = World::new(&lab, &["--path", "apps/web", "--dry-run", "enforce"]);
    let bound = world.bind("app", "lab", &["--path", "apps/web", "--dry-run", "enforce"]);
    assert!(!bound.contains("There is no"), "nothing was pushed yet: {bound}");
    let files: Vec<(String, String)> =
        (0..8).map(|n| (format!("apps/web/{n}.yaml"), map(&format!("c{n}")))).collect();
    let files: Vec<(&str, String)> = files.iter().map(|(p, t)| (p.as_str(), t.clone())).collect();
    world.commit(&files, "Eight");
    assert!(world.pushed(&[]).contains("verdict: all done"));
    let bound = world.bind("app", "lab", &["--path", "apps/wep", "--dry-run", "enforce"]);
    assert!(bound.contains("There is no \"apps/wep\" in branch main"), "{bound}");
    world.bind("app", "lab", &["--path", "apps/web", "--dry-run", "enforce"]);
    // One file left; the first commit of the push says that so many may go, the tip does not.
    let ann = &world.ann;
    for n in 1..8 {
        std::fs::remove_file(world.tree.join(format!("apps/web/{n}.yaml"))).expect("removed");
    }
    world.commit(&[], "Fewer");
    let said = world.pushed(&[]);
    assert!(said.contains("7 kept until it is confirmed") && said.contains("kept 7 objects"), "{said}");
    let record = world.server.json(&["deploy", "show", "app"]);
    assert!(record["state"] == "kept" && world.has(&lab, "c7"), "{record:#}");
    world.commit(&[("x", "1".into())], "A word\n\nSlipway-Prune: 7");
    world.commit(&[("x", "2".into())], "And another commit");
    let said = world.pushed(&[]);
    assert!(said.contains("verdict: all done") && !world.has(&lab, "c7"), "{said}");
    // The folder goes: told at the push, as an empty repository is.
    ann.git(&world.tree, &["rm", "-rq", "apps"]);
    world.commit(&[("x", "3".into())], "Gone");
    let (fine, said) = world.push(&[]);
    assert!(!fine && said.contains("The commit has no manifests, and all 1 objects"), "{said}");
    assert!(said.contains("Slipway-Prune: all"), "the cure is told: {said}");
    let said = world.pushed(&["deploy.prune=all"]);
    assert!(said.contains("verdict: all done") && !world.has(&lab, "c0"), "{said}");
    // Back to eight, and back to one by a rollback that says how many may go.
    let number = |record: &serde_json::Value| record["number"].as_u64().expect("a number");
    world.commit(&files, "Eight again");
    world.pushed(&[]);
    let eight = number(&world.server.json(&["deploy", "show", "app"]));
    for n in 1..8 {
        std::fs::remove_file(world.tree.join(format!("apps/web/{n}.yaml"))).expect("removed");
    }
    world.commit(&[], "Fewer again");
    world.pushed(&["deploy.prune=7"]);
    let one = number(&world.server.json(&["deploy", "show", "app"]));
    world.server.cli(&["deploy", "rollback", "app", &eight.to_string()]);
    assert_eq!(world.server.deploy_ended("app", one + 1, MINUTES)["state"], "healthy");
    world.server.cli(&["deploy", "rollback", "app", &one.to_string(), "--prune", "7"]);
    assert_eq!(world.server.deploy_ended("app", one + 2, MINUTES)["state"], "healthy");
    assert!(world.has(&lab, "c0") && !world.has(&lab, "c7"));
}

#[test]
fn links_are_followed_and_what_is_passed_over_is_named() {
    let lab = lab();
    let world = World::new(&lab, &["--path", "apps", "--dry-run", "enforce"]);
    world.commit(&[("apps/c1.yaml", map("c1")), ("apps/c2.yaml", map("c2"))], "Two");
    world.pushed(&[]);
    std::fs::create_dir(world.tree.join("base")).expect("a folder");
    std::fs::rename(world.tree.join("apps/c1.yaml"), world.tree.join("base/c1.yaml")).expect("moved");
    std::os::unix::fs::symlink("../base/c1.yaml", world.tree.join("apps/c1.yaml")).expect("a link");
    world.commit(&[], "A link");
    let said = world.pushed(&[]);
    assert!(said.contains("verdict: all done") && world.has(&lab, "c1"), "{said}");
    std::fs::remove_file(world.tree.join("apps/c2.yaml")).expect("removed");
    std::os::unix::fs::symlink("/etc/c2.yaml", world.tree.join("apps/c2.yaml")).expect("a link");
    world.commit(&[], "A link out");
    let (fine, said) = world.push(&[]);
    assert!(
        !fine && said.contains("apps/c2.yaml links to \"/etc/c2.yaml\", which is not in this repository"),
        "{said}"
    );
    // Without the gate the deploy says the same, is over at once, and deletes nothing.
    world.bind("app", "lab", &["--path", "apps", "--dry-run", "off"]);
    let said = world.pushed(&[]);
    assert!(said.contains("failed. apps/c2.yaml links to") && said.contains("verdict: not done"), "{said}");
    assert_eq!(world.server.json(&["deploy", "show", "app"])["failure"]["class"], "user");
    assert!(world.has(&lab, "c2"));
}

#[test]
fn a_push_that_cannot_be_checked_is_told_so_and_does_as_the_binding_says() {
    let lab = lab();
    let world = World::new(&lab, &[]);
    let kubeconfig = world.ann.home.join("down");
    std::fs::write(
        &kubeconfig,
        "apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: 'http://127.0.0.1:9'}}]\nusers: [{name: u, user: {token: x}}]\ncontexts: [{name: c, context: {cluster: c, user: u}}]\ncurrent-context: c\n",
    )
    .expect("write");
    world.server.cli(&["cluster", "add", "down", "--kubeconfig", kubeconfig.to_str().expect("utf-8")]);
    world.bind("app", "down", &["--dry-run", "enforce"]);
    let bob = world.server.person("bob", false);
    world.server.cli(&["grant", "bob", "app", "write"]);
    world.commit(&[("a.yaml", map("a"))], "One");
    let push = |who: &Person, options: &[&str]| {
        let url = who.ssh_url("app");
        let mut args = vec!["push"];
        options.iter().for_each(|o| args.extend(["-o", o]));
        args.extend([url.as_str(), "main"]);
        let out = who.try_git(&world.tree, &args);
        (out.status.success(), text(&out.stderr))
    };
    let (fine, said) = push(&world.ann, &[]);
    assert!(
        !fine && said.contains("These manifests could not be checked. Cluster down does not answer"),
        "{said}"
    );
    assert!(said.contains("-o deploy.unchecked") && !said.contains("refuses these manifests"), "{said}");
    let (fine, said) = push(&bob, &["deploy.unchecked"]);
    assert!(!fine && said.contains("an admin of the repository"), "{said}");
    let (fine, said) = push(&world.ann, &["deploy.unchecked"]);
    assert!(fine && said.contains("could not be checked") && said.contains("The push goes on"), "{said}");
    world.bind("app", "down", &["--dry-run", "enforce", "--gate-down", "allow"]);
    world.commit(&[("b.yaml", map("b"))], "Two");
    let (fine, said) = push(&bob, &[]);
    assert!(fine && said.contains("The push goes on"), "{said}");
    world.bind("app", "down", &["--gate-down", "refuse"]);
    world.commit(&[("c.yaml", map("c"))], "Three");
    assert!(!push(&world.ann, &[]).0);
}

#[test]
fn objects_outlive_a_repository_and_go_to_the_next_one_by_an_owners_word() {
    let lab = lab();
    let world = World::new(&lab, &[]);
    world.commit(&[("a.yaml", map("a")), ("b.yaml", map("b"))], "Two");
    world.pushed(&[]);
    let uid = |name: &str| {
        lab.kubectl(&["-n", &world.namespace.name, "get", "cm", name, "-o", "jsonpath={.metadata.uid}"])
    };
    let before = (uid("a"), uid("b"));
    let unbound = world.server.cli(&["unbind", "app", "--cluster"]);
    assert!(
        unbound.contains("2 objects stay in cluster lab") && unbound.contains("--delete-objects"),
        "{unbound}"
    );
    let removed = world.server.cli(&["repo", "remove", "app", "--yes"]);
    assert!(!removed.is_empty());
    world.server.cli(&["repo", "create", "app"]);
    world.bind("app", "lab", &[]);
    let said = world.pushed(&[]);
    assert!(
        said.contains("an earlier repository of the name app") && said.contains("slipway deploy adopt"),
        "{said}"
    );
    let listed = world.server.cli(&["deploy", "adopt", "app"]);
    assert!(
        listed.contains("a.yaml:1") && listed.contains("b.yaml:1") && listed.contains("--yes"),
        "{listed}"
    );
    assert_eq!(world.server.json(&["deploy", "show", "app"])["state"], "failed", "a list changes nothing");
    // Not by whoever may operate the repository alone.
    let bob = world.server.person("bob", false);
    world.server.cli(&["grant", "bob", "app", "admin"]);
    let refused = bob.over_ssh("deploy adopt app --yes", "");
    assert!(!refused.status.success(), "{}", text(&refused.stdout));
    world.server.cli(&["deploy", "adopt", "app", "--yes"]);
    let taken = world.server.deploy_ended("app", 2, MINUTES);
    assert_eq!((&taken["state"], &taken["cause"]["kind"]), (&"healthy".into(), &"adopt".into()), "{taken:#}");
    assert_eq!((uid("a"), uid("b")), before, "nothing was made anew");
    world.commit(&[("x", "1".into())], "Again");
    assert!(world.pushed(&[]).contains("verdict: all done"));
    // And out of the cluster with them.
    let told = world.server.cli(&["unbind", "app", "--cluster", "--delete-objects"]);
    assert!(told.contains("Deploy 4 deletes"), "{told}");
    assert_eq!(world.server.deploy_ended("app", 4, MINUTES)["state"], "healthy");
    assert!(!world.has(&lab, "a") && !world.has(&lab, "b"));
    harness::eventually("the binding is gone", MINUTES, || {
        let refused = world.server.try_cli(&["deploy", "sync", "app"]);
        text(&refused.stderr).contains("is not bound").then_some(())
    });
}

/// Whoever changes their mind while all is about to be deleted does not lose it by binding again.
#[test]
fn nothing_is_bound_again_while_all_that_was_applied_is_about_to_go() {
    let lab = lab();
    let world = World::new(&lab, &[]);
    world.commit(&[("a.yaml", map("a"))], "one");
    world.pushed(&[]);
    let nowhere = world.ann.home.join("nowhere");
    let config = std::fs::read_to_string(&lab.kubeconfig).expect("a kubeconfig");
    let away = config.lines().map(|line| match line.split_once("server: ") {
        Some((before, _)) => format!("{before}server: https://127.0.0.1:1\n"),
        None => format!("{line}\n"),
    });
    std::fs::write(&nowhere, away.collect::<String>()).expect("written");
    world.server.cli(&["cluster", "add", "lab", "--kubeconfig", nowhere.to_str().expect("utf-8")]);
    let told = world.server.cli(&["unbind", "app", "--cluster", "--delete-objects"]);
    assert!(told.contains("Deploy 2 deletes"), "{told}");
    let fixed = ["bind", "app", "--cluster", "lab", "--namespace", &world.namespace.name];
    let again = world.server.try_cli(&fixed);
    let said = text(&again.stderr);
    assert!(!again.status.success() && said.contains("Deploy 2 is about to delete all"), "{said}");
    let cancel = format!("http://{}/-/api/v1/repos/app/deploys/2/cancel", world.server.http);
    let user = format!("ann:{}", world.ann.token);
    assert_eq!(harness::curl(&["-X", "POST", "-u", &user, &cancel]).0, 200);
    let bound = harness::eventually("the binding", MINUTES, || {
        let out = world.server.try_cli(&fixed);
        out.status.success().then(|| text(&out.stdout))
    });
    assert!(bound.contains("app is bound"), "{bound}");
}
