//! Pushes that come from long lives elsewhere: very many refs, old mistakes, odd names; and what their pushers are told.

#[path = "harness/mod.rs"]
mod harness;

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use harness::{Person, Slipway, text};

/// A repository with so many pull refs beside its branch, as a migration brings it.
fn with_pull_refs(person: &Person, count: usize) -> std::path::PathBuf {
    let tree = person.work_tree("many", &[("a", "one\n")]);
    let id = person.git(&tree, &["rev-parse", "HEAD"]).trim().to_owned();
    let mut update = person.git_command(&tree, &["update-ref", "--stdin"]);
    let mut child = update.stdin(Stdio::piped()).spawn().expect("git runs");
    let mut lines = String::new();
    for n in 0..count {
        lines.push_str(&format!("create refs/pull/{n}/head {id}\n"));
    }
    child.stdin.take().expect("piped").write_all(lines.as_bytes()).expect("written");
    assert!(child.wait().expect("git ends").success());
    tree
}

#[test]
fn a_mirror_of_more_refs_than_one_event_tells_of_comes_in_whole() {
    let server = Slipway::start();
    let ann = server.person("ann", true);
    server.cli(&["repo", "create", "app"]);
    let count = 12_001;
    let tree = with_pull_refs(&ann, count);
    ann.git(&tree, &["push", "-q", "--mirror", &ann.ssh_url("app")]);
    let there = ann.git(&tree, &["ls-remote", "--refs", &ann.ssh_url("app")]);
    assert_eq!(there.lines().count(), count + 1);
    let events = server.json(&["repo", "show", "app"]);
    assert_eq!(events["default_branch"], "main", "{events}");
    let told = ann.get("/-/api/v1/repos/app/events?limit=10").1;
    let told: serde_json::Value = serde_json::from_str(&told).expect("json");
    let updates = |e: &serde_json::Value| e["updates"].as_array().map_or(0, Vec::len);
    let all: usize = told["events"].as_array().expect("events").iter().map(updates).sum();
    assert_eq!(all, count + 1, "every ref is told of");
    server.cli(&["repo", "create", "other"]);
    let atomic = ann.try_git(&tree, &["push", "--atomic", "--mirror", &ann.ssh_url("other")]);
    assert!(
        !atomic.status.success() && text(&atomic.stderr).contains("without --atomic"),
        "{}",
        text(&atomic.stderr)
    );
}

/// Writes an object as it is, without git's own checks.
fn object(person: &Person, tree: &Path, kind: &str, data: &[u8]) -> String {
    let mut command = person.git_command(tree, &["hash-object", "-t", kind, "-w", "--literally", "--stdin"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("git runs");
    child.stdin.take().expect("piped").write_all(data).expect("written");
    text(&child.wait_with_output().expect("git ends").stdout).trim().to_owned()
}

#[test]
fn rules_that_old_histories_break_hold_where_the_config_says_so() {
    let server = Slipway::start();
    let ann = server.person("ann", true);
    let tree = ann.work_tree("tree", &[("dir/a", "one\n")]);
    let of = |rev: &str| ann.git(&tree, &["rev-parse", rev]).trim().to_owned();
    let (root, folder) = (of("HEAD^{tree}"), of("HEAD:dir"));
    let id = |hex: &str| {
        (0..20).map(|n| u8::from_str_radix(&hex[n * 2..n * 2 + 2], 16).expect("hex")).collect::<Vec<u8>>()
    };
    let padded = object(&ann, &tree, "tree", &[b"040000 dir\0".as_slice(), &id(&folder)].concat());
    let commit = |tree: &str, zone: &str, message: &str| {
        format!("tree {tree}\nauthor A <a@b> 1 {zone}\ncommitter A <a@b> 1 +0000\n\n{message}\n").into_bytes()
    };
    for (rule, data) in [
        ("zeroPaddedFilemode", commit(&padded, "+0000", "x")),
        ("badTimezone", commit(&root, "+051800", "x")),
        ("badTimezone", commit(&root, "-7", "x")),
        ("nulInCommit", commit(&root, "+0000", "x\0y")),
    ] {
        let bad = object(&ann, &tree, "commit", &data);
        let name = format!("app-{}", &bad[..10]);
        server.cli(&["repo", "create", &name]);
        let push = |option: &[&str]| {
            let spec = format!("{bad}:refs/heads/main");
            ann.try_git(&tree, &[&["push", &ann.http_url(&name)], option, &[&spec]].concat())
        };
        let config = server.data.join(format!("repos/{name}.git/config"));
        let before = fs::read_to_string(&config).expect("a config");
        let set = |value: &str| {
            fs::write(&config, format!("{before}[receive \"fsck\"]\n\t{rule} = {value}\n")).expect("written");
        };
        set("error");
        let refused = push(&[]);
        let told = text(&refused.stderr);
        assert!(!refused.status.success() && told.contains(rule), "{rule}: {told}");
        assert!(told.contains("receive.fsck.skipList"), "{rule}: the way out is named: {told}");
        set("warn");
        let warned = push(&[]);
        assert!(warned.status.success() && text(&warned.stderr).contains(rule), "{}", text(&warned.stderr));
        ann.git(&tree, &["update-ref", "refs/heads/spare", &bad]);
        fs::write(&config, &before).expect("written");
        let spec = format!("{bad}:refs/heads/again");
        ann.git(&tree, &["push", "-q", &ann.http_url(&name), &spec]);
    }
}

#[test]
fn several_flaws_are_told_of_at_once() {
    let server = Slipway::start();
    let ann = server.person("ann", true);
    server.cli(&["repo", "create", "app"]);
    let tree = ann.work_tree("tree", &[("a", "one\n")]);
    let root = ann.git(&tree, &["rev-parse", "HEAD^{tree}"]).trim().to_owned();
    let first = object(
        &ann,
        &tree,
        "commit",
        format!("tree {root}\nauthor A 1 +0000\ncommitter A <a@b> 1 +0000\n\nx\n").as_bytes(),
    );
    let second =
        format!("tree {root}\nparent {first}\nauthor A <a@b> 01 +0000\ncommitter A <a@b> 1 +0000\n\nx\n");
    let second = object(&ann, &tree, "commit", second.as_bytes());
    let refused = ann.try_git(&tree, &["push", &ann.http_url("app"), &format!("{second}:refs/heads/main")]);
    let told = text(&refused.stderr);
    assert!(told.contains("missingEmail") && told.contains("zeroPaddedDate"), "{told}");
    assert!(told.contains(&first) && told.contains(&second), "{told}");
}

#[test]
fn odd_names_are_told_of_and_a_push_says_where_to_look() {
    let server = Slipway::start();
    let ann = server.person("ann", true);
    server.cli(&["repo", "create", "app"]);
    let tree = ann.work_tree("tree", &[("a", "one\n")]);
    let push = |spec: &str| {
        let out = ann.try_git(&tree, &["push", "--progress", &ann.http_url("app"), spec]);
        (out.status.success(), text(&out.stderr))
    };
    let id = ann.git(&tree, &["rev-parse", "HEAD"]).trim().to_owned();
    let (done, told) = push("HEAD:refs/heads/main");
    assert!(done && told.contains(&format!("/app/commit/{id}")), "{told}");
    let (done, told) = push("HEAD:refs/heads/Main");
    assert!(done && told.contains("differ in upper and lower case alone"), "{told}");
    let (done, told) = push("HEAD:refs/heads/-x");
    assert!(done && told.contains("for an option"), "{told}");
    let (done, told) = push("HEAD:refs/heads/HEAD");
    assert!(!done && told.contains("a branch cannot be called HEAD"), "{told}");
    let zip =
        ann.try_git(&tree, &["archive", &format!("--remote={}", ann.ssh_url("app")), "--format=zip", "main"]);
    let told = text(&zip.stderr);
    assert!(told.contains("\"zip\"") && told.contains("Ask for tar, tgz or tar.gz."), "{told}");
}
