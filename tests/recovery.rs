//! What the server does with a data folder that is not as it was left: it serves all that was acknowledged, or it says what is wrong
//! and how to put it right, and the cure works.

#[path = "harness/mod.rs"]
mod harness;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use harness::{Person, Slipway, program, run, text};

/// Copies of a data folder are tried as their own.
fn copy(from: &Path, to: &Path) {
    drop(fs::remove_dir_all(to));
    assert!(run(Command::new("cp").args(["-a", "--"]).arg(from).arg(to)).status.success());
}

/// A server with accounts and repositories, stopped; its folder and what it said.
struct Scene {
    server: Slipway,
    ann: Person,
    said: String,
}

impl Scene {
    fn new() -> Self {
        let server = Slipway::start();
        let ann = server.person("ann", true);
        for n in 0..30 {
            server.cli(&["user", "add", &format!("user-{n}")]);
        }
        for name in ["app", "lib"] {
            server.cli(&["repo", "create", name]);
            server.cli(&["grant", "user-3", name, "write"]);
            let tree = ann.work_tree(name, &[("a.txt", "one\n")]);
            ann.git(&tree, &["push", "-q", &ann.http_url(name), "main"]);
        }
        let said = said(&server);
        let mut scene = Self { server, ann, said };
        scene.stop();
        scene
    }

    fn data(&self) -> &Path {
        &self.server.data
    }

    fn stop(&mut self) {
        let pid = self.server.child.id().to_string();
        assert!(run(Command::new("kill").arg(&pid)).status.success());
        self.server.child.wait().expect("ended");
    }
}

/// What the server has, in words.
fn said(server: &Slipway) -> String {
    let lists: [&[&str]; 4] = [&["user", "list"], &["repo", "list"], &["token", "list"], &["key", "list"]];
    let mut all: Vec<String> = lists.iter().map(|list| server.cli(list)).collect();
    // Its addresses change with each start.
    all[1] = all[1].lines().map(|row| row.split("ssh://").next().unwrap_or_default()).collect();
    all.join("\n")
}

/// Runs `serve` on a folder that it should refuse, until it ends; `None` if it serves.
fn refused(data: &Path) -> Option<String> {
    let mut child = Command::new(program())
        .args(["serve", "--http", "127.0.0.1:0", "--ssh", "127.0.0.1:0", "--data"])
        .arg(data)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("wait") {
            assert!(!status.success());
            let out = child.wait_with_output().expect("output");
            return Some(text(&out.stderr));
        }
        if fs::read_to_string(data.join("run/pid")).is_ok_and(|pid| pid.trim() == child.id().to_string()) {
            child.kill().expect("kill");
            child.wait().expect("wait");
            return None;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "it neither serves nor refuses");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn slipway(data: &Path, args: &[&str]) -> Output {
    run(Command::new(program()).args(args).arg("--data").arg(data))
}

fn done(data: &Path, args: &[&str]) -> String {
    let out = slipway(data, args);
    assert!(out.status.success(), "{args:?}: {}", text(&out.stderr));
    text(&out.stdout)
}

fn noise(path: &Path, at: usize) {
    let mut bytes = fs::read(path).expect("read");
    let end = (at + 16).min(bytes.len());
    bytes[at..end].iter_mut().for_each(|byte| *byte ^= 0x5A);
    fs::write(path, bytes).expect("written");
}

#[test]
fn a_damaged_database_is_refused_with_a_cure_and_never_served() {
    let scene = Scene::new();
    let tried = scene.data().with_file_name("tried");
    let log = fs::read(scene.data().join("db/db")).expect("read");
    let used = log.iter().rposition(|&b| b != 0).expect("written") + 1;
    let mut times = 0;
    for n in 0..25 {
        copy(scene.data(), &tried);
        let at = used * n / 25;
        if n % 2 == 0 {
            noise(&tried.join("db/db"), at);
        } else {
            let file = fs::OpenOptions::new().write(true).open(tried.join("db/db")).expect("open");
            file.set_len(at as u64).expect("cut");
        }
        let Some(told) = refused(&tried) else {
            let server = Slipway::start_in(&tried, &[]);
            assert_eq!(said(&server), scene.said, "place {n}: it serves less than was acknowledged");
            continue;
        };
        times += 1;
        let last = told.lines().last().unwrap_or_default();
        assert!(last.contains("is damaged") && last.contains("slipway restore"), "{told}");
    }
    assert!(times > 12, "the harm hardly harmed: {times}");
}

#[test]
fn no_empty_database_is_put_beside_what_people_own() {
    let scene = Scene::new();
    let tried = scene.data().with_file_name("tried");
    let takes: [&[&str]; 3] = [&["db"], &["db", "keys"], &["db", "repos"]];
    for taken in takes {
        copy(scene.data(), &tried);
        for name in taken {
            fs::remove_dir_all(tried.join(name)).expect("removed");
        }
        let told = refused(&tried).expect("refused");
        assert!(
            told.contains("its database is missing") && told.contains("slipway restore"),
            "{taken:?}: {told}"
        );
        assert!(!tried.join("db").exists(), "{taken:?}");
    }
    copy(scene.data(), &tried);
    fs::remove_file(tried.join("keys/master.key")).expect("removed");
    let told = refused(&tried).expect("refused");
    assert!(told.contains("master.key is missing") && told.contains("Put it back"), "{told}");
    assert!(!tried.join("keys/master.key").exists(), "a key that fits nothing was made");
}

#[test]
fn a_first_start_that_was_cut_off_begins_again() {
    let folder = tempfile::tempdir().expect("temp");
    let data = folder.path().join("data");
    // `kill -9` at a moment of the first start that is a little later each time.
    for ms in [1u64, 3, 5, 8, 12, 20, 30, 45, 60, 90] {
        drop(fs::remove_dir_all(&data));
        let mut child = Command::new(program())
            .args(["serve", "--http", "127.0.0.1:0", "--ssh", "127.0.0.1:0", "--data"])
            .arg(&data)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        std::thread::sleep(Duration::from_millis(ms));
        child.kill().expect("kill");
        child.wait().expect("wait");
        let told = refused(&data);
        assert_eq!(told, None, "after {ms} ms");
        assert!(!data.join("first-start").exists());
    }
}

#[test]
fn a_backup_takes_the_place_of_a_damaged_database() {
    let mut scene = Scene::new();
    let (data, file) = (scene.data().to_owned(), scene.data().with_file_name("records.backup"));
    let path = file.to_str().expect("utf-8");
    scene.server.restart();
    let told = done(&data, &["backup", "--records", path]);
    assert!(told.contains("records are in"), "{told}");
    assert!(
        !slipway(&data, &["backup", "--records", path]).status.success(),
        "a backup is never written over"
    );
    let running = slipway(&data, &["restore", path]);
    assert!(text(&running.stderr).contains("in use by another process"), "{}", text(&running.stderr));
    scene.stop();
    let whole = slipway(&data, &["restore", path]);
    assert!(text(&whole.stderr).contains("is whole; it is not replaced"), "{}", text(&whole.stderr));

    noise(&data.join("db/db"), 600);
    assert!(refused(&data).is_some());
    let told = done(&data, &["restore", path]);
    assert!(told.contains("records are back") && told.contains("db.damaged-"), "{told}");
    scene.server.restart();
    assert_eq!(said(&scene.server), scene.said);
    let tree = scene.ann.home.join("again");
    scene
        .ann
        .git(&scene.ann.home, &["clone", "-q", &scene.ann.http_url("app"), tree.to_str().expect("utf-8")]);
    scene.stop();

    fs::remove_dir_all(data.join("db")).expect("removed");
    assert!(refused(&data).is_some());
    done(&data, &["restore", path]);
    scene.server.restart();
    assert_eq!(said(&scene.server), scene.said);
}

#[test]
fn without_a_backup_what_can_be_read_is_taken_over() {
    let mut scene = Scene::new();
    let data = scene.data().to_owned();
    let log = data.join("db/db");
    let used = fs::read(&log).expect("read").iter().rposition(|&b| b != 0).expect("written") + 1;
    noise(&log, used * 3 / 4);
    assert!(refused(&data).is_some());
    let told = done(&data, &["restore", "--salvage"]);
    assert!(told.contains("is lost"), "{told}");
    scene.server.restart();
    let users = scene.server.cli(&["user", "list"]);
    assert!(users.contains("ann") && users.contains("user-3"), "{users}");
    scene.server.cli(&["repo", "create", "new"]);
}

/// A name of a backup is never one of the server's files for people who come over SSH.
#[test]
fn over_ssh_no_file_of_the_server_is_written_or_read() {
    let mut scene = Scene::new();
    scene.server.restart();
    let planted: PathBuf = scene.data().join("planted");
    let planted_there = format!("backup {}", planted.display());
    for verb in [planted_there.as_str(), "restore /etc/passwd", "restore --salvage"] {
        let out = scene.ann.over_ssh(verb, "");
        assert!(!out.status.success(), "{verb:?}");
        assert!(text(&out.stderr).contains("only in a shell on the server's host"), "{}", text(&out.stderr));
    }
    assert!(!planted.exists());
}
