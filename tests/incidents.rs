//! Classes of incidents that servers of this kind have had in the field, as docs/incidents.md lists them: the tests that no
//! other file has, and a look whether the list names tests that are there.

#[path = "harness/mod.rs"]
mod harness;

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use harness::{Person, Slipway, curl, run, text};

/// Every hook that git knows, on either side.
const HOOKS: [&str; 12] = [
    "pre-receive",
    "update",
    "post-receive",
    "post-update",
    "reference-transaction",
    "proc-receive",
    "push-to-checkout",
    "pre-auto-gc",
    "post-rewrite",
    "pre-push",
    "post-checkout",
    "fsmonitor-watchman",
];
/// Settings that name a program which git would start.
const PROGRAMS: [&str; 12] = [
    "core.fsmonitor",
    "core.sshCommand",
    "core.gitProxy",
    "core.alternateRefsCommand",
    "core.askPass",
    "uploadpack.packObjectsHook",
    "gpg.program",
    "gpg.ssh.allowedSignersFile",
    "tar.tar.gz.command",
    "diff.evil.textconv",
    "filter.evil.smudge",
    "credential.helper",
];

fn executable(path: &Path, content: &str) {
    fs::create_dir_all(path.parent().expect("parent")).expect("folder");
    fs::write(path, content).expect("written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("mode");
}

/// Pushes, fetches, has archives and pages made and the repository maintained, by every way in.
fn used(server: &Slipway, ann: &Person, tree: &Path, round: usize) {
    ann.commit(tree, &[("a.evil", &format!("{round}\n"))], &format!("round {round}"));
    for url in [ann.http_url("app"), ann.ssh_url("app")] {
        drop(ann.try_git(tree, &["push", "-q", &url, &format!("main:round-{round}"), "main"]));
        let copy = ann.home.join("copy");
        drop(ann.try_git(&ann.home, &["clone", "-q", &url, copy.to_str().expect("utf-8")]));
        drop(fs::remove_dir_all(copy));
    }
    let archive = ["archive", "--format=tar.gz", "--remote", &ann.ssh_url("app"), "main"];
    drop(run(ann.git_command(tree, &archive).stdout(Stdio::null())));
    for page in ["", "/archive/main.tar.gz", "/files/a.evil", "/compare/main~1...main", "/search?q=a"] {
        drop(ann.get(&format!("/app{page}")));
    }
    for how in [&["repo", "maintain", "app"][..], &["repo", "maintain", "app", "--full"]] {
        drop(server.try_cli(how));
    }
}

#[test]
fn no_hook_and_no_program_that_a_repository_or_an_account_names_is_ever_started() {
    let home = tempfile::tempdir().expect("temp");
    let mark = home.path().join("was-started");
    let evil = home.path().join("evil");
    executable(&evil, &format!("#!/bin/sh\ntouch {}\n", mark.display()));
    let evil = evil.to_str().expect("utf-8");
    let all: String = PROGRAMS
        .iter()
        .map(|key| {
            let (section, name) = key.rsplit_once('.').expect("two words");
            match section.split_once('.') {
                Some((section, sub)) => format!("[{section} \"{sub}\"]\n\t{name} = {evil}\n"),
                None => format!("[{section}]\n\t{name} = {evil}\n"),
            }
        })
        .collect();
    let hooks = home.path().join("hooks");
    HOOKS.iter().for_each(|hook| executable(&hooks.join(hook), &format!("#!/bin/sh\n{evil}\n")));
    let hooks = hooks.to_str().expect("utf-8");
    fs::write(home.path().join(".gitconfig"), format!("{all}[core]\n\thooksPath = {hooks}\n"))
        .expect("written");
    let server = Slipway::start_with_env(&[("HOME", home.path().to_str().expect("utf-8"))]);
    let ann = server.person("ann", true);
    server.cli(&["repo", "create", "app"]);
    let tree =
        ann.work_tree("app", &[("a.evil", "0\n"), (".gitattributes", "*.evil diff=evil filter=evil\n")]);
    let folder = server.data.join("repos/app.git");
    used(&server, &ann, &tree, 1);
    assert!(ann.git(&folder, &["branch", "--list", "round-1"]).contains("round-1"), "a round does something");
    for hook in HOOKS {
        executable(&folder.join("hooks").join(hook), &format!("#!/bin/sh\n{evil}\n"));
    }
    used(&server, &ann, &tree, 2);
    assert!(ann.git(&folder, &["branch", "--list", "round-2"]).contains("round-2"), "hooks refuse nothing");
    let before = fs::read_to_string(folder.join("config")).expect("config");
    for (round, key) in PROGRAMS.iter().chain(&["core.hooksPath"]).enumerate() {
        fs::write(folder.join("config"), &before).expect("written");
        let value = if *key == "core.hooksPath" { hooks } else { evil };
        ann.git(&folder, &["config", key, value]);
        used(&server, &ann, &tree, 3 + round);
        assert!(!mark.exists(), "{key} was obeyed");
    }
    assert!(!mark.exists(), "something was started");
    // The trap is a good one: git itself falls into it.
    fs::write(folder.join("config"), &before).expect("written");
    drop(ann.try_git(&tree, &["push", "-q", folder.to_str().expect("utf-8"), "main:trap"]));
    assert!(mark.exists(), "the hooks start what they name");
}

#[test]
fn of_a_clients_environment_the_protocol_s_version_comes_in_and_nothing_else() {
    let server = Slipway::start();
    let ann = server.person("ann", true);
    server.cli(&["repo", "create", "app"]);
    let tree = ann.work_tree("app", &[("a.txt", "a\n")]);
    ann.git(&tree, &["push", "-q", &ann.ssh_url("app"), "main"]);
    let plain = ann.git(&tree, &["ls-remote", &ann.ssh_url("app")]);
    let environment = || fs::read(format!("/proc/{}/environ", server.child.id())).expect("environment");
    let before = environment();
    for sent in [
        "LD_PRELOAD=/tmp/evil.so GIT_DIR=/etc GIT_TRACE=/tmp/evil GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=core.sshCommand",
        "GIT_PROTOCOL=version=2:LD_PRELOAD=/tmp/evil.so",
        "GIT_PROTOCOL=--split-string=sh",
    ] {
        let mut git = ann.git_command(&tree, &["ls-remote", &ann.ssh_url("app")]);
        let ssh = format!(
            "ssh -i {} -o IdentitiesOnly=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR \
             -o 'SetEnv={sent}'",
            ann.key.display()
        );
        let out = run(git.env("GIT_SSH_COMMAND", ssh));
        assert!(out.status.success(), "{sent}: {}", text(&out.stderr));
        assert_eq!(text(&out.stdout), plain, "{sent}");
        assert_eq!(environment(), before, "{sent}");
    }
    let log = server.log();
    assert!(!log.contains("panicked"), "{log}");
}

#[test]
fn a_key_that_was_shown_and_not_proved_is_nobodys() {
    let server = Slipway::start();
    let (ann, eve) = (server.person("ann", true), server.person("eve", false));
    server.cli(&["repo", "create", "secret"]);
    // Ann's public half, which everybody may know, and before it is proved Eve's own key.
    let shown: PathBuf = eve.home.join("shown");
    fs::copy(ann.key.with_extension("pub"), shown.with_extension("pub")).expect("copied");
    fs::copy(ann.key.with_extension("pub"), &shown).expect("copied");
    fs::set_permissions(&shown, fs::Permissions::from_mode(0o600)).expect("mode");
    let (host, port) = eve.ssh.rsplit_once(':').expect("host:port");
    let said = |command: &str| {
        let mut ssh = std::process::Command::new("ssh");
        ssh.args(["-v", "-p", port, "-i"]).arg(&shown).arg("-i").arg(&eve.key);
        ssh.args(["-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=no"]);
        ssh.args(["-o", "UserKnownHostsFile=/dev/null", "-T"]).arg(format!("ann@{host}"));
        run(if command.is_empty() { &mut ssh } else { ssh.arg(command) })
    };
    let out = said("");
    let heard = text(&out.stderr);
    assert!(heard.matches("Server accepts key").count() >= 2, "both keys are shown: {heard}");
    assert!(text(&out.stdout).starts_with("Hello eve."), "{}", text(&out.stdout));
    for refused in ["repo show secret", "user remove ann"] {
        let out = said(refused);
        assert!(!out.status.success(), "{refused}: {}{}", text(&out.stdout), text(&out.stderr));
    }
}

/// What comes back from that address for these bytes, once the client has hung up.
fn answer(address: &str, said: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).expect("connected");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("set");
    // Whoever is refused in the middle may find the door shut.
    drop(stream.write_all(said).and_then(|()| stream.shutdown(Shutdown::Write)));
    let mut heard = Vec::new();
    match stream.read_to_end(&mut heard) {
        Ok(_) => {}
        Err(e) if e.kind() == ErrorKind::ConnectionReset => {}
        Err(e) => panic!("the connection does not end: {e}"),
    }
    text(&heard)
}

#[test]
fn what_fuzzers_found_is_answered_and_breaks_nothing() {
    let server = Slipway::start();
    let ann = server.person("ann", true);
    server.cli(&["repo", "create", "open", "--public"]);
    let tree = ann.work_tree("open", &[("README.md", "# Open\n"), ("docs/a.md", "hi\n")]);
    ann.git(&tree, &["push", "-q", &ann.http_url("open"), "main"]);
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
    for (target, address) in [("http", &server.http), ("greeting", &server.ssh), ("handshake", &server.ssh)] {
        for seed in fs::read_dir(seeds.join(target)).expect("seeds") {
            let path = seed.expect("listed").path();
            let heard = answer(address, &fs::read(&path).expect("readable"));
            assert!(!heard.contains("HTTP/1.1 500 "), "{}: {heard}", path.display());
        }
    }
    assert_eq!(curl(&[&format!("http://{}/-/readyz", server.http)]).0, 200);
    ann.git(&tree, &["ls-remote", &ann.ssh_url("open")]);
    let log = server.log();
    assert!(!log.contains("panicked"), "{log}");
}

/// What stands between backquotes.
fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

#[test]
fn every_class_names_tests_that_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let list = fs::read_to_string(root.join("docs/incidents.md")).expect("docs/incidents.md");
    let rows: Vec<&str> =
        list.lines().filter(|line| line.starts_with("| ") && line.contains(".rs`")).collect();
    assert!(rows.len() >= 20, "the classes are found: {}", rows.len());
    for row in rows {
        let last = row.trim_end_matches([' ', '|']).rsplit(" | ").next().expect("a cell");
        let (mut file, mut tests) = (String::new(), 0);
        for word in quoted(last) {
            if word.ends_with(".rs") {
                file = fs::read_to_string(root.join(word)).unwrap_or_else(|e| panic!("{word}: {e}"));
            } else {
                assert!(
                    file.contains(&format!("fn {word}(")),
                    "there is no test {word} where it is said to be"
                );
                tests += 1;
            }
        }
        assert!(tests > 0, "no test: {row}");
    }
}
