//! The drill of docs/backup.md with the real binary: back up while people work, destroy, restore elsewhere, and compare every ref,
//! object, record, log and key.

#[path = "harness/mod.rs"]
mod harness;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use harness::{Person, Slipway, curl, eventually, gits, program, run, text};
use serde_json::Value;

/// Bytes that do not compress.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..length).map(|_| next()).collect()
}

fn slipway(args: &[&str]) -> Output {
    run(Command::new(program()).args(args).env_remove("SLIPWAY_DATA"))
}

fn done(args: &[&str]) -> String {
    let out = slipway(args);
    assert!(out.status.success(), "{args:?}: {}{}", text(&out.stdout), text(&out.stderr));
    text(&out.stdout)
}

/// What a refused verb says.
fn refused(args: &[&str]) -> String {
    let out = slipway(args);
    assert!(!out.status.success(), "{args:?}: {}", text(&out.stdout));
    text(&out.stderr)
}

fn utf8(path: &Path) -> &str {
    path.to_str().expect("utf-8")
}

/// The lines of an export, those of some kinds.
fn export(server: &Slipway) -> Vec<Value> {
    let lines: Vec<Value> =
        server.cli(&["export"]).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.first().map(|head| &head["slipway_export"]), Some(&Value::from(1)));
    assert_eq!(lines.last().map(|end| &end["records"]), Some(&Value::from(lines.len() as u64 - 2)));
    lines
}

fn of_kind<'a>(lines: &'a [Value], kind: &str) -> impl Iterator<Item = &'a Value> {
    lines.iter().filter(move |line| line["kind"] == kind)
}

fn ended(server: &mut Slipway) {
    let pid = server.child.id().to_string();
    assert!(run(Command::new("kill").arg(&pid)).status.success());
    server.child.wait().expect("ended");
}

/// A server with two repositories, some logs and a person.
struct Scene {
    server: Slipway,
    ann: Person,
    app: PathBuf,
    home: PathBuf,
}

impl Scene {
    fn new() -> Self {
        let server = Slipway::start();
        let ann = server.person("ann", true);
        server.cli(&["user", "add", "bob"]);
        for name in ["app", "lib"] {
            server.cli(&["repo", "create", name]);
        }
        let app = ann.work_tree("app", &[("a.txt", "one\n")]);
        fs::write(app.join("big.bin"), noise(1, 3 << 20)).expect("written");
        ann.commit(&app, &[("b.txt", "two\n")], "second");
        ann.git(&app, &["tag", "-a", "v1", "-m", "first"]);
        ann.git(&app, &["push", "-q", &ann.http_url("app"), "main", "v1"]);
        let lib = ann.work_tree("lib", &[("lib.txt", "lib\n")]);
        ann.git(&lib, &["push", "-q", &ann.ssh_url("lib"), "main"]);
        let logs = server.data.join("builds/1");
        fs::create_dir_all(&logs).expect("folder");
        fs::write(logs.join("1.log"), "== build\nok\n").expect("log");
        let home = server.data.parent().expect("parent").to_owned();
        Self { server, ann, app, home }
    }

    fn back_up(&self, args: &[&str]) -> Value {
        let mut all = vec!["backup"];
        all.extend(args);
        self.server.json(&all)
    }
}

/// Every repository's refs.
fn refs(data: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(data.join("repos")).expect("repos") {
        let path = entry.expect("entry").path();
        let name = path.file_name().expect("name").to_string_lossy().into_owned();
        if !path.is_symlink() && name.ends_with(".git") {
            for line in git(&path, &["for-each-ref", "--format=%(objectname) %(refname)"]).lines() {
                let (id, of) = line.split_once(' ').expect("two words");
                found.insert(format!("{name} {of}"), id.to_owned());
            }
        }
    }
    found
}

/// What git says; nothing where the repository is just being removed.
fn git(path: &Path, args: &[&str]) -> String {
    let out = run(Command::new(&gits()[0]).arg("--git-dir").arg(path).args(args));
    assert!(out.status.success() || !path.exists(), "{} {args:?}: {}", path.display(), text(&out.stderr));
    text(&out.stdout)
}

/// The same of a server that is stopped or new, each repository looked at with all that its refs lead to.
fn checked_refs(data: &Path) -> BTreeMap<String, String> {
    for entry in fs::read_dir(data.join("repos")).expect("repos") {
        let path = entry.expect("entry").path();
        if !path.is_symlink() {
            git(&path, &["fsck", "--full", "--strict", "--no-dangling"]);
            git(&path, &["rev-list", "--objects", "--all", "--quiet"]);
        }
    }
    refs(data)
}

/// Refs and events tell the same story: where a ref is, the newest accepted event of it has brought it.
fn agree(refs: &BTreeMap<String, String>, records: &[Value]) {
    let mut told: BTreeMap<String, String> = BTreeMap::new();
    for event in of_kind(records, "event").map(|line| &line["record"]) {
        if event["state"] != "accepted" {
            assert_eq!(event["state"], "abandoned", "the start has settled it: {event}");
            continue;
        }
        for update in event["updates"].as_array().expect("updates") {
            let key = format!("{}.git {}", event["repo"], update["name"].as_str().expect("name"));
            told.insert(key, update["new"].as_str().expect("id").to_owned());
        }
    }
    let there: BTreeMap<String, String> = refs
        .iter()
        .filter(|(name, _)| !name.ends_with(" HEAD"))
        .map(|(n, id)| (n.clone(), id.clone()))
        .collect();
    assert_eq!(there, told, "refs (left), and what the events say (right)");
}

/// People at work until they are told to stop: pushes, accounts, tokens, grants, a repository made and another removed. Gives every
/// branch whose push was acknowledged.
fn at_work(scene: &Scene, begun: &AtomicBool, stop: &AtomicBool) -> BTreeSet<String> {
    let (server, ann) = (&scene.server, &scene.ann);
    let mut pushed = BTreeSet::new();
    for n in 0.. {
        if stop.load(Ordering::SeqCst) {
            return pushed;
        }
        let branch = format!("work-{n}");
        ann.commit(&scene.app, &[("work.txt", &format!("{n}\n"))], &branch);
        ann.git(
            &scene.app,
            &[
                "push",
                "-q",
                &ann.http_url("app"),
                &format!("HEAD:refs/heads/{branch}"),
                "+HEAD:refs/heads/moving",
            ],
        );
        pushed.insert(branch);
        match n % 4 {
            0 => drop(server.cli(&["grant", "bob", "lib", ["read", "write", "admin"][n / 4 % 3]])),
            1 => drop(server.cli(&["token", "create", "bob", "--name", &format!("t{n}")])),
            2 => drop(server.cli(&["repo", "create", &format!("new-{n}")])),
            _ => drop(server.cli(&["repo", "remove", &format!("new-{}", n - 1), "--yes"])),
        }
        if n == 3 {
            begun.store(true, Ordering::SeqCst);
        }
    }
    pushed
}

/// Compares a restored data folder with what was there before the backup began, and with itself.
fn compare(scene: &Scene, data: &Path, before: (&BTreeMap<String, String>, &[Value])) {
    let server = Slipway::start_in(data, &[]);
    let (refs, records) = (checked_refs(data), export(&server));
    agree(&refs, &records);
    for (name, id) in before.0.iter().filter(|(name, _)| !name.contains("moving")) {
        assert_eq!(refs.get(name), Some(id), "{name}");
    }
    let all: BTreeSet<String> = records.iter().map(Value::to_string).collect();
    for kind in ["user", "key", "token"] {
        for line in of_kind(before.1, kind) {
            assert!(all.contains(&line.to_string()), "{line} is lost");
        }
    }
    for event in of_kind(before.1, "event").filter(|line| line["record"]["state"] == "accepted") {
        assert!(all.contains(&event.to_string()), "{event} is lost");
    }
    // An old token signs in, by hand and with git; the server is the one that clients know.
    let (status, _) = curl(&[
        "-u",
        &format!("ann:{}", scene.ann.token),
        &format!("http://{}/-/api/v1/repos/app", server.http),
    ]);
    assert_eq!(status, 200, "an old token is not known");
    let ann = Person { http: server.http.clone(), ssh: server.ssh.clone(), ..scene.ann.clone() };
    let clone = data.with_file_name("clone");
    ann.git(&ann.home, &["clone", "-q", "--mirror", &ann.ssh_url("app"), utf8(&clone)]);
    ann.git(&clone, &["fsck", "--full"]);
    fs::remove_dir_all(&clone).expect("removed");
    assert_eq!(fs::read(data.join("builds/1/1.log")).expect("log"), b"== build\nok\n");
    let out = slipway(&["doctor", "--data", utf8(data)]);
    assert!(text(&out.stdout).contains("ok   server"), "{}", text(&out.stdout));
}

#[test]
fn what_was_backed_up_while_people_worked_is_all_there_elsewhere() {
    let mut scene = Scene::new();
    let data = scene.server.data.clone();
    let (backups, file) = (scene.home.join("backups"), scene.home.join("backup.tar"));
    let host_key = |data: &Path| {
        let keys = fs::read_dir(data.join("keys")).expect("keys");
        let read = |path: PathBuf| (path.file_name().map(|n| n.to_owned()), fs::read(&path).expect("key"));
        keys.map(|entry| read(entry.expect("entry").path())).collect::<BTreeMap<_, _>>()
    };
    let (begun, stop) = (AtomicBool::new(false), AtomicBool::new(false));
    let (before, records, pushed) = std::thread::scope(|scope| {
        let work = scope.spawn(|| at_work(&scene, &begun, &stop));
        eventually("people work", Duration::from_secs(60), || begun.load(Ordering::SeqCst).then_some(()));
        // What is acknowledged by now must be in what is backed up from now on.
        let (records, before) = (export(&scene.server), refs(&data));
        let made = scene.back_up(&[utf8(&backups)]);
        assert_eq!((&made["whole"], &made["number"]), (&Value::from(true), &Value::from(1)), "{made}");
        assert_eq!(made["verified"]["seen"], 0, "every file was read once more: {made}");
        scene.back_up(&[utf8(&file)]);
        scene.back_up(&[utf8(&backups)]);
        stop.store(true, Ordering::SeqCst);
        (before, records, work.join().expect("people end"))
    });
    assert!(pushed.len() > 4, "{pushed:?}");
    let keys = host_key(&data);
    scene.server.crash();
    fs::remove_dir_all(&data).expect("destroyed");

    for (n, from) in [(1, &backups), (2, &backups), (3, &file)] {
        let elsewhere = scene.home.join(format!("elsewhere-{n}"));
        let mut args = vec!["restore", utf8(from), "--data", utf8(&elsewhere)];
        let number = n.to_string();
        if from == &backups {
            args.extend(["--snapshot", &number]);
        }
        let told = done(&args);
        assert!(told.contains("every checksum right"), "{told}");
        assert_eq!(host_key(&elsewhere), keys);
        compare(&scene, &elsewhere, (&before, &records));
    }
    assert!(done(&["backup", "verify", utf8(&backups)]).contains("2 snapshots are right"));
    let listed = done(&["backup", "list", utf8(&backups)]);
    assert_eq!(listed.lines().count(), 3, "{listed}");
}

#[test]
fn a_second_backup_copies_what_is_new_and_a_stopped_server_is_backed_up_too() {
    let mut scene = Scene::new();
    let backups = scene.home.join("backups");
    let first = scene.back_up(&[utf8(&backups)]);
    assert!(first["new_bytes"].as_u64() > Some(3 << 20), "{first}");
    scene.ann.commit(&scene.app, &[("c.txt", "three\n")], "third");
    scene.ann.git(&scene.app, &["push", "-q", &scene.ann.http_url("app"), "main"]);
    let second = scene.back_up(&[utf8(&backups), "--quick"]);
    assert!(second["new_bytes"].as_u64() < Some(1 << 20), "{second}");
    assert!(second["verified"]["seen"].as_u64() > Some(0), "{second}");
    let told = refused(&["backup", utf8(&backups), "--data", utf8(&scene.home.join("nowhere"))]);
    assert!(told.contains("No server answers"), "{told}");

    ended(&mut scene.server);
    let third = scene.back_up(&[utf8(&backups)]);
    assert!(third["new_bytes"].as_u64() < Some(1 << 20), "{third}");
    assert_eq!(third["whole"], true);
    let elsewhere = scene.home.join("elsewhere");
    done(&["restore", utf8(&backups), "--data", utf8(&elsewhere)]);
    assert_eq!(checked_refs(&elsewhere), refs(&scene.server.data));

    // What everybody may unpack and check without us.
    let file = scene.home.join("b.tar");
    scene.back_up(&[utf8(&file)]);
    let told = refused(&["backup", utf8(&file), "--data", utf8(&scene.server.data)]);
    assert!(told.contains("there already"), "{told}");
    let unpacked = scene.home.join("unpacked");
    fs::create_dir(&unpacked).expect("folder");
    assert!(run(Command::new("tar").arg("xf").arg(&file).current_dir(&unpacked)).status.success());
    let checked = run(Command::new("sha256sum").args(["--quiet", "-c", "SHA256SUMS"]).current_dir(&unpacked));
    assert!(checked.status.success(), "{}", text(&checked.stderr));
}

#[test]
fn a_backup_that_is_killed_harms_nothing() {
    let mut scene = Scene::new();
    let backups = scene.home.join("backups");
    for n in 0..12u64 {
        let mut child = Command::new(program())
            .args(["backup", utf8(&backups), "--data", utf8(&scene.server.data)])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        std::thread::sleep(Duration::from_millis(5 + n * 20));
        if n % 2 == 0 {
            // Who takes it; it may have ended by now.
            drop(child.kill());
            child.wait().expect("ended");
        } else {
            scene.server.crash();
            child.wait().expect("ended");
            scene.server.restart();
        }
        let listed = slipway(&["backup", "list", utf8(&backups)]);
        let none_yet = text(&listed.stderr).contains("no folder of backups") || !backups.exists();
        assert!(listed.status.success() || none_yet, "{}", text(&listed.stderr));
    }
    let made = eventually("a backup", Duration::from_secs(30), || {
        let out = scene.server.try_cli(&["backup", utf8(&backups), "--json"]);
        // The server may not have noticed yet that the last reader has gone.
        out.status.success().then(|| serde_json::from_slice::<Value>(&out.stdout).expect("JSON"))
    });
    assert_eq!(made["whole"], true, "{made}");
    done(&["backup", "verify", utf8(&backups)]);
    let left = run(Command::new("find").arg(&scene.server.data).args(["-name", "held"]));
    assert_eq!(text(&left.stdout), "", "links are left");
    let elsewhere = scene.home.join("elsewhere");
    done(&["restore", utf8(&backups), "--data", utf8(&elsewhere)]);
    assert_eq!(checked_refs(&elsewhere), refs(&scene.server.data));
}

#[test]
fn a_harmed_backup_is_refused_and_writes_nothing() {
    let scene = Scene::new();
    let (file, data) = (scene.home.join("b.tar"), scene.home.join("elsewhere"));
    scene.back_up(&[utf8(&file)]);
    let whole = fs::read(&file).expect("read");
    let bad = scene.home.join("bad.tar");
    let try_it = |bytes: &[u8], what: &str| {
        fs::write(&bad, bytes).expect("written");
        let told = refused(&["restore", utf8(&bad), "--data", utf8(&data)]);
        assert!(told.contains("backup"), "{what}: {told}");
        let left = fs::read_dir(&data).map_or(0, Iterator::count);
        assert_eq!(left, 0, "{what}: something is written");
        assert!(!slipway(&["backup", "verify", utf8(&bad)]).status.success(), "{what}");
    };
    for part in [1, 3, 7, 9] {
        try_it(&whole[..whole.len() * part / 10], "cut");
        let mut flipped = whole.clone();
        let at = whole.len() * part / 10;
        flipped[at..at + 4].iter_mut().for_each(|byte| *byte ^= 0xA5);
        try_it(&flipped, "flipped");
    }
    try_it(b"", "empty");
    try_it(&noise(5, 10_000), "noise");
    // What somebody else packed.
    let (evil, folder) = (scene.home.join("evil.tar"), scene.home.join("evil"));
    fs::create_dir(&folder).expect("folder");
    fs::write(folder.join("x"), "x").expect("written");
    let packed = run(Command::new("tar")
        .args(["cPf"])
        .arg(&evil)
        .arg("../evil/x")
        .arg("/etc/hostname")
        .current_dir(&folder));
    assert!(packed.status.success());
    try_it(&fs::read(&evil).expect("read"), "somebody's");
    done(&["restore", utf8(&file), "--data", utf8(&data)]);
    let told = refused(&["restore", utf8(&file), "--data", utf8(&data)]);
    assert!(told.contains("not empty") && told.contains("--records"), "{told}");
    let told = refused(&["restore", utf8(&file), "--data", utf8(&scene.server.data)]);
    assert!(told.contains("not empty"), "{told}");
    // A server does not start in one that is half restored.
    fs::create_dir(data.join("restoring")).expect("folder");
    let out = slipway(&["serve", "--data", utf8(&data), "--http", "127.0.0.1:0", "--ssh", "127.0.0.1:0"]);
    assert!(text(&out.stderr).contains("has not ended"), "{}", text(&out.stderr));
}

#[test]
fn without_keys_and_records_alone() {
    let mut scene = Scene::new();
    let data = scene.server.data.clone();
    let (file, keyless, elsewhere) =
        (scene.home.join("b.tar"), scene.home.join("k.tar"), scene.home.join("elsewhere"));
    scene.back_up(&[utf8(&file)]);
    scene.back_up(&[utf8(&keyless), "--without-keys"]);
    let listed = text(&run(Command::new("tar").arg("tf").arg(&keyless)).stdout);
    assert!(listed.contains("repos/1.git/HEAD") && !listed.contains("keys/"), "{listed}");
    let told = refused(&["restore", utf8(&keyless), "--data", utf8(&elsewhere)]);
    assert!(told.contains("--keys DIR") && told.contains("master.key"), "{told}");
    let keys = data.join("keys");
    done(&["restore", utf8(&keyless), "--keys", utf8(&keys), "--data", utf8(&elsewhere)]);
    let server = Slipway::start_in(&elsewhere, &[]);
    assert!(server.cli(&["repo", "list"]).contains("app"));
    drop(server);

    // The records of a whole backup, where only the database is gone.
    let before = refs(&data);
    ended(&mut scene.server);
    fs::remove_dir_all(data.join("db")).expect("removed");
    let told = done(&["restore", utf8(&file), "--records", "--data", utf8(&data)]);
    assert!(told.contains("records are back"), "{told}");
    scene.server.restart();
    assert!(scene.server.cli(&["user", "list"]).contains("bob"));
    assert_eq!(refs(&data), before);
}

#[test]
fn only_an_owner_backs_up_and_exports_and_no_secret_is_told() {
    let scene = Scene::new();
    let bob = scene.server.cli(&["token", "create", "bob", "--scope", "repo:read,repo:write,api"]);
    let base = format!("http://{}/-/api/v1", scene.server.http);
    for who in [format!("bob:{}", bob.trim()), "nobody:x".to_owned()] {
        for (method, path) in [("POST", "/backup"), ("GET", "/backup"), ("GET", "/export")] {
            let (status, _) = curl(&["-X", method, "-u", &who, &format!("{base}{path}")]);
            assert!(matches!(status, 401 | 403), "{method} {path}: {status}");
        }
    }
    let password = scene.home.join("password");
    fs::write(&password, "hunter22-hunter22").expect("written");
    scene.server.cli(&[
        "registry",
        "add",
        "local",
        "--url",
        "127.0.0.1:5000",
        "--username",
        "u",
        "--password-file",
        utf8(&password),
    ]);
    let told = scene.server.cli(&["export"]);
    assert!(
        !told.contains("hunter22") && !told.contains(&scene.ann.token) && !told.contains("value_sha256"),
        "{told}"
    );
    let lines = export(&scene.server);
    let secret = of_kind(&lines, "registry_password").next().expect("told of");
    assert_eq!((&secret["name"], &secret["record"]), (&Value::from("local"), &Value::from("encrypted")));
    assert!(of_kind(&lines, "session").next().is_none());
    let grant = of_kind(&lines, "user").find(|line| line["record"]["name"] == "bob");
    assert!(grant.is_some(), "{told}");
    // The same by a token, from elsewhere, to a file that is named as people do.
    let remote = Command::new(program())
        .args(["backup", "remote.tar", "--server", &format!("http://{}", scene.server.http), "--json"])
        .current_dir(&scene.home)
        .env("SLIPWAY_TOKEN", &scene.ann.token)
        .output()
        .expect("runs");
    assert!(remote.status.success(), "{}", text(&remote.stderr));
    let made: Value = serde_json::from_slice(&remote.stdout).expect("JSON");
    assert_eq!(made["whole"], true, "{made}");
}

#[test]
fn a_server_backs_itself_up_as_its_settings_say() {
    let folder = tempfile::tempdir().expect("temp");
    let (data, to) = (folder.path().join("data"), folder.path().join("backups"));
    fs::create_dir(&data).expect("folder");
    let settings = format!("[backup]\nto = \"{}\"\nevery = \"6h\"\nkeep = {{ last = 3 }}\n", to.display());
    fs::write(data.join("config.toml"), &settings).expect("written");
    let mut server = Slipway::start_in(&data, &[]);
    let ann = server.person("ann", true);
    let metric = |server: &Slipway, name: &str| {
        let (_, all) =
            curl(&["-u", &format!("ann:{}", ann.token), &format!("http://{}/-/metrics", server.http)]);
        let line =
            all.lines().find(|line| line.starts_with(&format!("slipway_backup_{name} "))).map(str::to_owned);
        line.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
            .unwrap_or_else(|| panic!("{name}: {all}"))
    };
    let at = eventually("a backup", Duration::from_secs(60), || {
        Some(metric(&server, "last_success_seconds")).filter(|at| *at > 1_700_000_000)
    });
    assert!(metric(&server, "size_bytes") > 0 && metric(&server, "failures_total") == 0);
    assert!(done(&["backup", "verify", utf8(&to)]).contains("1 snapshots are right"));
    let doctor = text(&server.try_cli(&["doctor"]).stdout);
    assert!(doctor.contains("ok   backup"), "{doctor}");

    // The next life knows of it, and waits its time; one that cannot be made is told.
    ended(&mut server);
    server.restart();
    assert_eq!(metric(&server, "failures_total"), 0);
    eventually("the time of the last one", Duration::from_secs(30), || {
        (metric(&server, "last_success_seconds") == at).then_some(())
    });
    ended(&mut server);
    let settings = settings.replace(utf8(&to), "/proc/nowhere");
    fs::write(data.join("config.toml"), settings).expect("written");
    server.restart();
    eventually("the failure is counted", Duration::from_secs(60), || {
        (metric(&server, "failures_total") == 1).then_some(())
    });
    let doctor = text(&server.try_cli(&["doctor"]).stdout);
    assert!(doctor.contains("FAIL backup") && doctor.contains("/proc/nowhere"), "{doctor}");
}
