//! Stock git against the real binary: both gits, SSH and HTTP, protocol 0, 1 and 2.

#[path = "harness/mod.rs"]
mod harness;

use std::path::Path;

use harness::{Person, Slipway, gits, run, text};

fn with_protocol(person: &Person, v: &str, folder: &Path, args: &[&str]) -> String {
    person.git(folder, &[&["-c", v], args].concat())
}

fn everyday(person: &Person, url: &str, protocol: &str, tag: &str) {
    let v = format!("protocol.version={protocol}");
    let git = |folder: &Path, args: &[&str]| with_protocol(person, &v, folder, args);
    let tree = person.work_tree(&format!("tree-{tag}"), &[("a.txt", "one\n"), ("dir/b.txt", "two\n")]);
    git(&tree, &["remote", "add", "origin", url]);
    git(&tree, &["push", "-q", "--set-upstream", "origin", "main"]);
    // New branch, tags, several refs at once.
    git(&tree, &["checkout", "-q", "-b", "feature"]);
    let tip = person.commit(&tree, &[("c.txt", "three\n")], "second");
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
    // Clone, in full, shallow, and without blobs.
    let clones = tree.parent().expect("parent");
    for (how, name) in
        [(vec![], "full"), (vec!["--depth", "1"], "shallow"), (vec!["--filter=blob:none"], "blobless")]
    {
        let target = clones.join(format!("{name}-{tag}"));
        let mut args = vec!["clone", "-q", "-b", "feature"];
        args.extend(how.iter().copied());
        args.extend([url, target.to_str().expect("utf-8")]);
        git(clones, &args);
        assert_eq!(std::fs::read_to_string(target.join("c.txt")).expect("read"), "three\n", "{tag} {name}");
        if name != "blobless" {
            person.git(&target, &["fsck", "--full", "--strict"]);
        }
        let count = person.git(&target, &["rev-list", "--count", "HEAD"]);
        assert_eq!(count.trim(), if name == "shallow" { "1" } else { "2" }, "{tag} {name}");
    }
    let shallow = clones.join(format!("shallow-{tag}"));
    git(&shallow, &["fetch", "-q", "--deepen", "1"]);
    assert_eq!(person.git(&shallow, &["rev-list", "--count", "HEAD"]).trim(), "2", "{tag}");
    // Fetch and pull what others pushed.
    let full = clones.join(format!("full-{tag}"));
    let newer = person.commit(&tree, &[("dir/b.txt", "two and a half\n")], "third");
    git(&tree, &["push", "-q", "origin", "feature"]);
    git(&full, &["pull", "-q"]);
    assert_eq!(person.git(&full, &["rev-parse", "HEAD"]).trim(), newer, "{tag}");
    changes_and_deletes(person, &v, &tree, &tip, tag);
}

/// What moves and removes branches, from a full and from a shallow clone.
fn changes_and_deletes(person: &Person, v: &str, tree: &Path, tip: &str, tag: &str) {
    let git = |folder: &Path, args: &[&str]| with_protocol(person, v, folder, args);
    let shallow = tree.parent().expect("parent").join(format!("shallow-{tag}"));
    // Force, and being refused without.
    git(tree, &["reset", "-q", "--hard", tip]);
    person.commit(tree, &[("d.txt", "four\n")], "another third");
    let refused = person.try_git(tree, &["-c", v, "push", "origin", "feature"]);
    assert!(!refused.status.success(), "{tag}: a non-fast-forward needs --force");
    git(tree, &["push", "-q", "--force", "origin", "feature"]);
    // Push from a shallow clone.
    git(&shallow, &["fetch", "-q", "origin", "feature"]);
    git(&shallow, &["reset", "-q", "--hard", "FETCH_HEAD"]);
    person.commit(&shallow, &[("e.txt", "five\n")], "from a shallow clone");
    git(&shallow, &["push", "-q", "origin", "HEAD:refs/heads/from-shallow"]);
    // Delete.
    git(tree, &["push", "-q", "origin", "--delete", "from-shallow", "light"]);
    let listed = git(tree, &["ls-remote", "origin"]);
    assert!(!listed.contains("from-shallow") && !listed.contains("light"), "{tag}: {listed}");
    let refused = person.try_git(tree, &["-c", v, "push", "origin", "--delete", "main"]);
    assert!(
        !refused.status.success()
            && text(&refused.stderr).contains("deletion of the current branch prohibited"),
        "{tag}"
    );
}

#[test]
fn everyday_git_works_over_both_transports_and_all_protocols_with_both_gits() {
    let server = Slipway::start();
    let ann = server.person("ann", true);
    for (at, git) in gits().into_iter().enumerate() {
        let person = Person { git, ..ann.clone() };
        for protocol in ["0", "1", "2"] {
            for transport in ["ssh", "http"] {
                let tag = format!("{at}-{protocol}-{transport}");
                let repo = format!("repo-{tag}");
                server.cli(&["repo", "create", &repo]);
                let url = if transport == "ssh" { person.ssh_url(&repo) } else { person.http_url(&repo) };
                everyday(&person, &url, protocol, &tag);
                let fsck = run(std::process::Command::new(&person.git)
                    .args(["fsck", "--full", "--strict"])
                    .current_dir(server.data.join("repos").join(format!("{repo}.git"))));
                assert!(fsck.status.success(), "{tag}: {}", text(&fsck.stderr));
            }
        }
    }
}

#[test]
fn every_address_form_reaches_the_repository() {
    let server = Slipway::start();
    let ann = server.person("ann", true);
    server.cli(&["repo", "create", "app"]);
    let tree = ann.work_tree("tree", &[("a", "b")]);
    ann.git(&tree, &["push", "-q", &ann.ssh_url("app"), "main"]);
    let (ssh, http) = (&ann.ssh, format!("http://ann:{}@{}", ann.token, ann.http));
    for url in [
        format!("ssh://git@{ssh}/app"),
        format!("ssh://git@{ssh}/app.git"),
        format!("ssh://anyone@{ssh}/v1/repos/app"),
        format!("{http}/app"),
        format!("{http}/app.git"),
        format!("{http}/v1/repos/app"),
    ] {
        assert!(ann.git(&tree, &["ls-remote", &url]).contains("refs/heads/main"), "{url}");
    }
}

#[test]
fn rsa_keys_of_people_who_come_from_codecommit_are_good() {
    let server = Slipway::start();
    let mut ann = server.person("ann", true);
    server.cli(&["repo", "create", "app"]);
    ann.key = ann.home.join("id_rsa");
    run(std::process::Command::new("ssh-keygen")
        .args(["-q", "-t", "rsa", "-b", "3072", "-N", "", "-f"])
        .arg(&ann.key));
    server.cli(&["key", "add", "ann", "--key", ann.key.with_extension("pub").to_str().expect("utf-8")]);
    let tree = ann.work_tree("tree", &[("a", "b")]);
    ann.git(&tree, &["push", "-q", &ann.ssh_url("app"), "main"]);
}

#[test]
fn plain_git_may_work_beside_the_server() {
    let server = Slipway::start();
    let ann = server.person("ann", true);
    server.cli(&["repo", "create", "app"]);
    let tree = ann.work_tree("tree", &[("a", "b")]);
    ann.git(&tree, &["remote", "add", "origin", &ann.ssh_url("app")]);
    for n in 0..12 {
        ann.commit(&tree, &[("a", &n.to_string())], "more");
        ann.git(&tree, &["push", "-q", "origin", "main"]);
    }
    let bare = server.data.join("repos/app.git");
    ann.git(&bare, &["gc", "-q", "--prune=now"]);
    ann.git(&bare, &["branch", "made-by-hand", "main~3"]);
    let listed = ann.git(&tree, &["ls-remote", "origin"]);
    assert!(listed.contains("refs/heads/made-by-hand"), "{listed}");
    ann.git(&ann.home, &["clone", "-q", &ann.http_url("app"), "after-gc"]);
    ann.commit(&tree, &[("a", "last")], "last");
    ann.git(&tree, &["push", "-q", "origin", "main"]);
    ann.git(&bare, &["fsck", "--full", "--strict"]);
}

#[test]
fn an_archive_comes_by_web() {
    let server = Slipway::start();
    let ann = server.person("ann", true);
    server.cli(&["repo", "create", "app"]);
    let tree = ann.work_tree("tree", &[("dir/a.txt", "hello\n")]);
    ann.git(&tree, &["push", "-q", &ann.http_url("app"), "main"]);
    let file = ann.home.join("a.tar.gz");
    let out = run(std::process::Command::new("curl")
        .args(["-sf", "-u", &format!("ann:{}", ann.token), "-o"])
        .arg(&file)
        .arg(format!("http://{}/app/archive/main.tar.gz", ann.http)));
    assert!(out.status.success());
    let listed = run(std::process::Command::new("tar").arg("tzf").arg(&file));
    assert!(text(&listed.stdout).contains("dir/a.txt"), "{}", text(&listed.stdout));
}
