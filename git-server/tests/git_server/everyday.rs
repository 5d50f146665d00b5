//! What people do every day, over both transports, in every version of the protocol, with both stock gits.

use std::path::Path;

use slipway_core::{ObjectFormat, Role, Scope};

use crate::server::{Person, Server, gits};

fn everyday(person: &Person, url: &str, bare: &Path, protocol: &str, tag: &str) {
    let version = format!("protocol.version={protocol}");
    let git = |folder: &Path, args: &[&str]| person.git(folder, &[&["-c", version.as_str()], args].concat());
    let tree = person.work_tree(&format!("tree-{tag}"), &[("a.txt", "one\n"), ("dir/b.txt", "two\n")]);
    let home = person.home.clone();
    git(&tree, &["remote", "add", "origin", url]);
    // An empty repository can be listed and cloned.
    assert_eq!(git(&tree, &["ls-remote", "origin"]), "", "{tag}");
    git(&home, &["clone", "-q", url, &format!("empty-{tag}")]);
    git(&tree, &["push", "-q", "-u", "origin", "main"]);
    // A new branch and tags, all at once.
    git(&tree, &["checkout", "-q", "-b", "feature"]);
    person.commit(&tree, &[("c.txt", "three\n")], "second");
    git(&tree, &["tag", "-a", "v1", "-m", "one"]);
    git(&tree, &["tag", "light"]);
    git(&tree, &["push", "-q", "--atomic", "origin", "feature", "v1", "light"]);
    let listed = git(&tree, &["ls-remote", "origin"]);
    for name in [
        "HEAD",
        "refs/heads/main",
        "refs/heads/feature",
        "refs/tags/v1",
        "refs/tags/v1^{}",
        "refs/tags/light",
    ] {
        assert!(listed.contains(&format!("\t{name}\n")), "{tag}: no {name} in\n{listed}");
    }
    assert!(
        git(&tree, &["ls-remote", "--symref", "origin", "HEAD"]).contains("ref: refs/heads/main\tHEAD"),
        "{tag}"
    );
    clones(person, url, protocol, tag);
    // Fetch and pull what others pushed.
    let full = home.join(format!("full-{tag}"));
    for n in 0..40 {
        person.commit(&tree, &[("dir/b.txt", &format!("line {n}\n"))], &format!("more {n}"));
    }
    git(&tree, &["push", "-q", "origin", "feature"]);
    git(&full, &["pull", "-q"]);
    assert_eq!(person.git(&full, &["rev-parse", "HEAD"]), person.git(&tree, &["rev-parse", "HEAD"]), "{tag}");
    assert_eq!(git(&full, &["fetch", "origin"]), "", "{tag}: nothing new");
    // Histories that went apart.
    person.commit(&full, &[("d.txt", "theirs\n")], "theirs");
    person.commit(&tree, &[("e.txt", "ours\n")], "ours");
    git(&tree, &["push", "-q", "origin", "feature"]);
    let refused = person.try_git(&full, &["-c", &version, "push", "origin", "feature"]);
    assert!(!refused.status.success(), "{tag}: a push that would lose commits needs --force");
    git(&full, &["pull", "-q", "--rebase"]);
    git(&full, &["push", "-q", "origin", "feature"]);
    git(&tree, &["push", "-q", "--force", "origin", "feature"]);
    // Delete.
    git(&tree, &["push", "-q", "origin", "--delete", "feature", "v1"]);
    let listed = git(&tree, &["ls-remote", "origin"]);
    assert!(
        !listed.contains("feature") && !listed.contains("v1") && listed.contains("light"),
        "{tag}\n{listed}"
    );
    // A ref to what is there already needs an empty pack only.
    git(&tree, &["push", "-q", "origin", "main:refs/heads/again"]);
    person.git(bare, &["fsck", "--full", "--strict"]);
}

fn clones(person: &Person, url: &str, protocol: &str, tag: &str) {
    let version = format!("protocol.version={protocol}");
    let home = person.home.clone();
    let git = |folder: &Path, args: &[&str]| person.git(folder, &[&["-c", version.as_str()], args].concat());
    let variants: [(&[&str], &str, &str); 4] = [
        (&[], "full", "2"),
        (&["--depth", "1"], "shallow", "1"),
        (&["--filter=blob:none"], "blobless", "2"),
        (&["--single-branch", "--no-tags"], "single", "2"),
    ];
    for (how, name, commits) in variants {
        let target = format!("{name}-{tag}");
        git(&home, &[&["clone", "-q", "-b", "feature"], how, &[url, &target]].concat());
        let target = home.join(target);
        assert_eq!(std::fs::read_to_string(target.join("c.txt")).expect("read"), "three\n", "{tag} {name}");
        assert_eq!(person.git(&target, &["rev-list", "--count", "HEAD"]).trim(), commits, "{tag} {name}");
        person.git(&target, &["fsck", "--full", "--strict"]);
    }
    // A mirror has everything.
    git(&home, &["clone", "-q", "--mirror", url, &format!("mirror-{tag}")]);
    // Deeper, then whole; then a push from a shallow clone.
    let shallow = home.join(format!("shallow-{tag}"));
    git(&shallow, &["checkout", "-q", "-b", "from-shallow"]);
    person.commit(&shallow, &[("s.txt", "s\n")], "from a shallow clone");
    git(&shallow, &["push", "-q", "origin", "from-shallow"]);
    git(&shallow, &["push", "-q", "origin", "--delete", "from-shallow"]);
    git(&shallow, &["fetch", "-q", "--deepen", "1"]);
    assert_eq!(person.git(&shallow, &["rev-list", "--count", "HEAD"]).trim(), "3", "{tag}");
    let again = format!("shallow-again-{tag}");
    git(&home, &["clone", "-q", "--depth", "1", "-b", "feature", url, &again]);
    git(&home.join(&again), &["fetch", "-q", "--unshallow"]);
    assert_eq!(person.git(&home.join(&again), &["rev-list", "--count", "HEAD"]).trim(), "2", "{tag}");
    person.git(&home.join(&again), &["fsck", "--full", "--strict"]);
}

fn check(protocol: &str, format: ObjectFormat) {
    let server = Server::start();
    let dev = server.person("dev", false);
    let token = server.token("dev", &[Scope::RepoWrite], None);
    for (n, git) in gits().iter().enumerate() {
        let person = dev.with_git(git).with_format(format);
        for transport in ["ssh", "http"] {
            let repo = format!("app-{transport}-{n}");
            let bare = server.repo_of(format, &repo, false);
            server.grant("dev", &repo, Role::Write);
            let url = if transport == "ssh" { person.ssh_url(&repo) } else { person.http_url(&repo, &token) };
            everyday(&person, &url, &bare, protocol, &format!("{transport}-{n}"));
        }
    }
}

#[test]
fn everyday_work_goes_well_in_protocol_0() {
    check("0", ObjectFormat::Sha1);
}

#[test]
fn everyday_work_goes_well_in_protocol_1() {
    check("1", ObjectFormat::Sha1);
}

#[test]
fn everyday_work_goes_well_in_protocol_2() {
    check("2", ObjectFormat::Sha1);
}

#[test]
fn everyday_work_goes_well_with_sha256_ids() {
    check("0", ObjectFormat::Sha256);
    check("2", ObjectFormat::Sha256);
}

#[test]
fn every_form_of_address_leads_to_the_repository() {
    let server = Server::start();
    let dev = server.person("dev", false);
    server.repo("app", false);
    server.grant("dev", "app", Role::Write);
    let token = server.token("dev", &[Scope::RepoRead], None);
    let tree = dev.work_tree("tree", &[("a", "a")]);
    dev.git(&tree, &["push", "-q", &dev.ssh_url("app"), "main"]);
    for path in ["app", "app.git", "v1/repos/app", "v1/repos/app.git", "app/"] {
        assert!(dev.git(&tree, &["ls-remote", &dev.ssh_url(path)]).contains("refs/heads/main"), "{path}");
    }
    for path in ["app", "app.git", "v1/repos/app", "v1/repos/app.git"] {
        assert!(
            dev.git(&tree, &["ls-remote", &dev.http_url(path, &token)]).contains("refs/heads/main"),
            "{path}"
        );
    }
    // As on CodeCommit, the login is an id that says nothing: the key decides.
    let any = dev.ssh_url("v1/repos/app").replace("git@", "APKAEXAMPLE@");
    assert!(dev.git(&tree, &["ls-remote", &any]).contains("refs/heads/main"));
}
