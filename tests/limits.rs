//! `[limits]` of config.toml: the real binary keeps to what is set, refuses what makes no sense, and docs/limits.md tells of all.

#[path = "harness/mod.rs"]
mod harness;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use harness::*;
use slipway_core::limits::{Limit, Limits, Usual};

/// A server with this config.toml.
fn limited(config: &str) -> (Slipway, tempfile::TempDir) {
    let folder = tempfile::Builder::new().prefix("slipway-test-").tempdir().expect("temp");
    let data = folder.path().join("data");
    fs::create_dir_all(&data).expect("a folder");
    fs::write(data.join("config.toml"), config).expect("written");
    (Slipway::start_in(&data, &[]), folder)
}

/// Bytes that do not compress.
fn noise(count: usize) -> String {
    let mut state = 1u64;
    let next = |_| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        char::from(b'!' + (state >> 40) as u8 % 90)
    };
    (0..count).map(next).collect()
}

#[test]
fn a_push_is_as_large_as_it_may_be_and_no_larger() {
    let (server, _folder) = limited("[limits]\npack_size_max = \"64KiB\"\nobject_size_max = \"256KiB\"\n");
    let ann = server.person("ann", true);
    server.cli(&["repo", "create", "app"]);
    let tree = ann.work_tree("app", &[("a", "small\n")]);
    ann.git(&tree, &["push", "-q", &ann.ssh_url("app"), "main"]);
    ann.commit(&tree, &[("noise", &noise(200_000))], "a large pack");
    for url in [ann.ssh_url("app"), ann.http_url("app")] {
        let out = ann.try_git(&tree, &["push", &url, "main"]);
        assert!(!out.status.success(), "{url}");
        assert!(text(&out.stderr).contains("65536"), "{url}: {}", text(&out.stderr));
    }
    ann.git(&tree, &["reset", "-q", "--hard", "HEAD~1"]);
    ann.commit(&tree, &[("zeros", &"0".repeat(300_000))], "a small pack of a large object");
    let out = ann.try_git(&tree, &["push", &ann.ssh_url("app"), "main"]);
    assert!(!out.status.success() && text(&out.stderr).contains("262144"), "{}", text(&out.stderr));
}

#[test]
fn accounts_make_and_have_as_much_as_they_may() {
    let config = "[limits]\nrepositories_per_account_max = 2\nkeys_per_account_max = 1\n\
                  sign_in_failures_max = 1\naccounts_max = 2\n";
    let (server, _folder) = limited(config);
    let (ann, bob) = (server.person("ann", true), server.person("bob", false));
    for (name, made) in [("r1", true), ("r2", true), ("r3", false)] {
        let out = bob.over_ssh(&format!("repo create {name}"), "");
        assert_eq!(out.status.success(), made, "{name}: {}", text(&out.stderr));
    }
    assert!(ann.over_ssh("repo create r3", "").status.success(), "owners have no such limit");
    let another = server.try_cli(&["user", "add", "eve"]);
    assert!(text(&another.stderr).contains("already 2 users"), "{}", text(&another.stderr));
    let key = ann.home.join("second");
    let made = run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key));
    assert!(made.status.success());
    let public = format!("{}.pub", key.display());
    let second = server.try_cli(&["key", "add", "bob", "--key", &public]);
    assert!(text(&second.stderr).contains("already 1 keys of bob"), "{}", text(&second.stderr));
    let url = format!("http://{}/-/api/v1/whoami", server.http);
    let wrong = || curl(&["-u", "bob:slw_0123456789_wrong", &url]);
    assert_eq!(wrong().0, 401);
    let slowed = wrong();
    assert_ne!(slowed.0, 401, "asked to wait: {}", slowed.1);
}

#[test]
fn who_is_slow_or_sends_too_much_is_told_so_as_soon_as_is_set() {
    let config = "[limits]\nhttp_body_timeout = \"1s\"\nhttp_body_size_max = \"64KiB\"\nhttp_header_timeout = \"1s\"\n";
    let (server, _folder) = limited(config);
    let ann = server.person("ann", true);
    let begun = Instant::now();
    let mut stream = TcpStream::connect(&server.http).expect("connected");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
    let half = "POST /-/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n\
                Content-Length: 1000\r\n\r\nab";
    stream.write_all(half.as_bytes()).expect("sent");
    let mut told = [0; 12];
    stream.read_exact(&mut told).expect("answered");
    assert_eq!(&told, b"HTTP/1.1 408");
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    let body = format!("{{\"name\":\"{}\"}}", "x".repeat(70_000));
    let auth = format!("{}:{}", ann.name, ann.token);
    let url = format!("http://{}/-/api/v1/repos", server.http);
    let (status, said) = curl(&["-u", &auth, "-H", "Content-Type: application/json", "-d", &body, &url]);
    assert!(status == 413 && said.contains("65536 bytes"), "{status} {said}");
    let mut silent = TcpStream::connect(&server.http).expect("connected");
    silent.set_read_timeout(Some(Duration::from_secs(10))).expect("set");
    silent.write_all(b"GET / HTTP/1.1\r\nHo").expect("sent");
    let _ = silent.read_to_end(&mut Vec::new()).expect("closed in time");
}

#[test]
fn who_does_not_sign_in_over_ssh_has_as_long_as_is_set() {
    let (server, _folder) = limited("[limits]\nssh_login_timeout = \"2s\"\n");
    let begun = Instant::now();
    let mut stream = TcpStream::connect(&server.ssh).expect("connected");
    stream.set_read_timeout(Some(Duration::from_secs(15))).expect("set");
    let _ = stream.read_to_end(&mut Vec::new());
    let took = begun.elapsed();
    assert!((Duration::from_secs(1)..Duration::from_secs(12)).contains(&took), "20 s are usual: {took:?}");
}

#[test]
fn fewer_connections_than_the_process_could_hold_are_taken_if_that_is_set() {
    let (server, _folder) = limited("[limits]\nhttp_connections_max = 16\nhttp_connection_wait = \"1s\"\n");
    let told = server.log();
    assert!(!told.contains("fewer connections"), "{told}");
    // Half of them at most are one address's: whoever waits for its client gives way to the next.
    let held: Vec<TcpStream> =
        (0..20).map(|_| TcpStream::connect(&server.http).expect("connected")).collect();
    let health = curl(&[&format!("http://{}/-/healthz", server.http)]);
    assert_eq!(health.0, 200);
    std::thread::sleep(Duration::from_millis(300));
    let open = |stream: &TcpStream| {
        let mut stream = stream;
        stream.set_read_timeout(Some(Duration::from_millis(20))).expect("set");
        matches!(stream.read(&mut [0]), Err(e) if e.kind() == std::io::ErrorKind::WouldBlock)
    };
    let open = held.iter().filter(|stream| open(stream)).count();
    assert!(open <= 8, "{open} of 20 connections from one address are open");
}

#[test]
fn what_makes_no_sense_is_refused_at_start_with_its_line() {
    let folder = tempfile::tempdir().expect("temp");
    fs::write(folder.path().join("config.toml"), "[limits]\nbuilds_max = 4\npack_size_max = \"8 TB\"\n")
        .expect("written");
    let mut serve = Command::new(program());
    serve.arg("serve").arg("--data").arg(folder.path()).args([
        "--http",
        "127.0.0.1:0",
        "--ssh",
        "127.0.0.1:0",
    ]);
    let out = run(&mut serve);
    let told = text(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "{told}");
    let why = "config.toml:3:17: pack_size_max: \"8 TB\" is not a size from \"64KiB\" to \"1024GiB\", such as \"8GiB\". \
               Mend the configuration and start again.";
    assert!(told.contains(why), "{told}");
}

#[test]
fn the_doctor_tells_which_limits_are_not_as_usual_and_old_places_count() {
    let (server, _folder) = limited("builds_max = 3\ndrain_s = 5\n[limits]\ndeploys_max = 9\n");
    let doctor = text(&server.try_cli(&["doctor"]).stdout);
    let line = doctor.lines().find(|line| line.contains("limits:")).expect("a line");
    for told in ["builds_max = 3 (2)", "deploys_max = 9 (8)", "drain_timeout = \"5s\" (\"30s\")"] {
        assert!(line.contains(told), "{line}");
    }
    assert!(server.log().contains("builds_max is builds_max of [limits] now"), "{}", server.log());
}

/// The tables of docs/limits.md.
fn tables() -> String {
    let mut out = String::new();
    let mut subject = "";
    for limit in Limits::table() {
        if limit.subject != subject {
            subject = limit.subject;
            out += &format!("\n## {subject}\n\n| name | default | from | to | |\n|---|---|---|---|---|\n");
        }
        let of = |value| format!("`{}`", limit.unit.written(value));
        let (least, most) = (of(limit.least), of(limit.most));
        let about: Vec<&str> = limit.about.iter().map(|line| line.trim()).collect();
        let usual = usual(limit);
        out += &format!("| `{}` | {usual} | {least} | {most} | {} |\n", limit.name, about.join(" "));
    }
    out
}

fn usual(limit: &Limit) -> String {
    let of = |value| format!("`{}`", limit.unit.written(value));
    match limit.usual {
        Usual::Fixed(value) => of(value),
        Usual::Processors(each, least) => format!("{each} for each processor, `{least}` at least"),
        Usual::Memory(part, least, most) => format!("1/{part} of memory, {} to {}", of(least), of(most)),
    }
}

#[test]
fn the_documentation_has_every_limit_as_it_is() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/limits.md");
    let text = fs::read_to_string(&file).expect("docs/limits.md");
    let (head, _) = text.split_once("\n## ").expect("tables");
    let wanted = format!("{head}{}", tables());
    assert!(
        text == wanted,
        "docs/limits.md is not as the table in core/src/limits/table.rs; it should be:\n{wanted}"
    );
}

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && !name.starts_with('.') && !["target", "tests", "fuzz"].contains(&name.as_str()) {
            sources(&path, into);
        } else if name.ends_with(".rs") && !path.ends_with("core/src/limits/table.rs") {
            into.push(path);
        }
    }
}

#[test]
fn no_limit_is_without_effect() {
    let mut files = Vec::new();
    sources(Path::new(env!("CARGO_MANIFEST_DIR")), &mut files);
    let all: String = files.iter().map(|file| fs::read_to_string(file).expect("a source")).collect();
    let unread = Limits::table().iter().filter(|limit| !all.contains(&format!(".{}", limit.name)));
    let unread: Vec<&str> = unread.map(|limit| limit.name).collect();
    assert!(unread.is_empty(), "nothing asks for {unread:?}");
}
