//! A disk that is full, or fails, below the real server: what was acknowledged stays, what was not says so, and once there is room
//! everything works again without a restart. And streams that cannot be written: they end nothing.

#[path = "disk/full.rs"]
mod full;
#[path = "harness/mod.rs"]
mod harness;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use harness::{Person, Slipway, curl, eventually, program, run, text};

/// How long the server may take to find out that there is room again.
const AGAIN: Duration = Duration::from_secs(60);

/// A file system of its own, of so many MiB. Needs root.
struct Small {
    folder: tempfile::TempDir,
}

impl Small {
    fn of_mib(mib: u32) -> Self {
        let folder = tempfile::Builder::new().prefix("slipway-small-").tempdir().expect("temp");
        let size = format!("size={mib}m");
        let mounted =
            run(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder.path()));
        assert!(mounted.status.success(), "mount: {}", text(&mounted.stderr));
        Self { folder }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn free(&self) -> u64 {
        let out = run(Command::new("stat").args(["-f", "-c", "%a %S"]).arg(self.path()));
        let all = text(&out.stdout);
        let (blocks, size) = all.trim().split_once(' ').expect("two numbers");
        blocks.parse::<u64>().expect("blocks") * size.parse::<u64>().expect("size")
    }

    fn ballast(&self) -> PathBuf {
        self.path().join("ballast")
    }

    /// Leaves so many bytes free.
    fn fill(&self, leave: u64) {
        self.empty();
        let bytes = self.free().saturating_sub(leave);
        fs::write(self.ballast(), vec![1; bytes as usize]).expect("the ballast fits");
    }

    fn empty(&self) {
        drop(fs::remove_file(self.ballast()));
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        run(Command::new("umount").arg("-l").arg(self.path()));
    }
}

/// What the server has acknowledged.
#[derive(Default)]
struct Acknowledged {
    users: Vec<String>,
    registries: Vec<String>,
    refs: BTreeMap<String, String>,
}

struct World {
    server: Slipway,
    ann: Person,
    tree: PathBuf,
    done: Acknowledged,
    tries: usize,
}

impl World {
    fn on(data: &Path, home: &Path) -> Self {
        let server = Slipway::start_in(data, &[]);
        let mut ann = server.person("ann", true);
        // Only the server's own files are on the small disk.
        let moved = home.join("home-ann");
        run(Command::new("cp").arg("-a").arg(&ann.home).arg(&moved));
        (ann.home, ann.key) = (moved.clone(), moved.join("id_ed25519"));
        server.cli(&["repo", "create", "app"]);
        let tree = ann.work_tree("tree", &[("README.md", "# Read me\n")]);
        ann.git(&tree, &["push", "-q", &ann.http_url("app"), "main"]);
        let mut done = Acknowledged::default();
        done.users.push("ann".into());
        done.refs.insert("refs/heads/main".into(), ann.git(&tree, &["rev-parse", "main"]).trim().into());
        Self { server, ann, tree, done, tries: 0 }
    }

    /// A push and a record, each of which may fail, and says so then.
    fn try_all(&mut self) -> (bool, bool) {
        self.tries += 1;
        let n = self.tries;
        let number = |i: u64| (i + 1).wrapping_mul(n as u64 + 7).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let noise: String = (0..3000).map(|i| format!("{:016x}\n", number(i))).collect();
        let tip = self.ann.commit(&self.tree, &[(&format!("noise-{n}"), &noise)], "noise");
        let (url, branch) = (self.ann.http_url("app"), format!("refs/heads/try-{n}"));
        let pushed = self.ann.try_git(&self.tree, &["push", "-q", &url, &format!("main:{branch}")]);
        let said = text(&pushed.stderr);
        if pushed.status.success() {
            self.done.refs.insert(branch, tip);
        } else {
            self.assert_told(&said);
        }
        let name = format!("user-{n}");
        let added = self.server.try_cli(&["user", "add", &name]);
        let said = text(&added.stderr);
        if added.status.success() {
            self.done.users.push(name);
        } else {
            self.assert_told(&said);
        }
        (pushed.status.success(), added.status.success())
    }

    /// Large records, until one is refused: then the database itself has found no room.
    fn exhaust(&mut self) {
        let secret: String = (0..40_000u32)
            .map(|n| char::from(b'a' + (n.wrapping_mul(2_654_435_761) >> 24) as u8 % 26))
            .collect();
        for n in 0..60 {
            let name = format!("r{}-{n}", self.tries);
            let body = self.ann.home.join("body.json");
            let text = format!(r#"{{"url":"127.0.0.1:1","username":"x","password":"{n}{secret}"}}"#);
            fs::write(&body, text).expect("written");
            let (status, said) = curl(&[
                "-X",
                "PUT",
                "-H",
                "Content-Type: application/json",
                "-H",
                &format!("Authorization: Bearer {}", self.ann.token),
                "--data-binary",
                &format!("@{}", body.display()),
                &format!("http://{}/-/api/v1/registries/{name}", self.server.http),
            ]);
            if status != 200 {
                return self.assert_told(&said);
            }
            self.done.registries.push(name);
        }
        panic!("the database takes everything on a full disk");
    }

    fn assert_told(&self, said: &str) {
        assert!(said.contains("disk") || said.contains("written") || said.contains("space"), "{said}");
        assert!(!said.contains("panicked") && !said.contains("hung up unexpectedly"), "{said}");
        let data = self.server.data.display().to_string();
        assert!(!said.contains(&data), "{said} tells where the data folder is");
    }

    /// All that was acknowledged is there, and nothing is half-done.
    fn assert_whole(&self, when: &str) {
        let users = self.server.cli(&["user", "list"]);
        for user in &self.done.users {
            assert!(users.contains(user.as_str()), "{user} {when}: {users}");
        }
        let registries = self.server.cli(&["registry", "list"]);
        for registry in &self.done.registries {
            assert!(registries.contains(registry.as_str()), "{registry} {when}: {registries}");
        }
        let shown = self.ann.git(&self.tree, &["ls-remote", "-q", &self.ann.http_url("app")]);
        for (name, id) in &self.done.refs {
            assert!(shown.contains(&format!("{id}\t{name}")), "{name} {when}: {shown}");
        }
        let folder = self.server.data.join("repos/app.git").canonicalize().expect("folder");
        // Beside it packs are rolled up, and git tells of each that went while it looked.
        eventually(&format!("nothing is broken {when}"), AGAIN, || {
            let fsck = self.ann.try_git(&folder, &["-c", "safe.directory=*", "fsck", "--full", "--strict"]);
            let told = format!("{}{}", text(&fsck.stdout), text(&fsck.stderr));
            let is_race = told.contains("index not opened");
            assert!(fsck.status.success() || is_race, "fsck {when}: {told}");
            (!is_race).then_some(())
        });
    }

    /// Nothing of a push that failed lies about.
    fn assert_clean(&self, when: &str) {
        let folder = self.server.data.join("repos/app.git").canonicalize().expect("folder");
        // Who pushed is told before what came is cleared away.
        eventually(&format!("nothing of a failed push lies about {when}"), AGAIN, || {
            let found = run(Command::new("find")
                .arg(&folder)
                .args(["-name", "*.lock", "-o", "-name", "tmp_*", "-o", "-name", "*.keep"]));
            found.stdout.is_empty().then_some(())
        });
        for entry in fs::read_dir(folder.join("objects/pack")).expect("packs") {
            let path = entry.expect("entry").path();
            assert!(
                path.extension().is_none_or(|e| e != "pack") || path.with_extension("idx").exists(),
                "{path:?} {when}"
            );
        }
    }

    /// Both work, without a restart.
    fn assert_works_again(&mut self, when: &str) {
        eventually(&format!("ready {when}"), AGAIN, || {
            (curl(&[&format!("http://{}/-/readyz", self.server.http)]).0 == 200).then_some(())
        });
        assert_eq!(self.try_all(), (true, true), "{when}");
        self.assert_whole(when);
        self.assert_clean(when);
    }
}

#[test]
fn what_a_full_disk_refuses_is_told_and_works_again_once_there_is_room() {
    let (small, home) = (Small::of_mib(24), tempfile::tempdir().expect("temp"));
    let mut world = World::on(&small.path().join("data"), home.path());
    let pid = world.server.child.id();
    let ready = format!("http://{}/-/readyz", world.server.http);
    for leave in [
        0,
        0,
        8 << 10,
        20 << 10,
        40 << 10,
        64 << 10,
        100 << 10,
        160 << 10,
        256 << 10,
        520 << 10,
        800 << 10,
        0,
    ] {
        let when = format!("with {leave} bytes left");
        small.fill(leave);
        world.try_all();
        world.exhaust();
        for _ in 0..2 {
            world.try_all();
        }
        let said = eventually(&format!("{when} it is not ready"), AGAIN, || {
            let (status, said) = curl(&[&ready]);
            (status == 503 && said.contains("disk")).then_some(said)
        });
        assert!(!said.contains(&small.path().display().to_string()), "{said}");
        assert_eq!(curl(&[&format!("http://{}/-/healthz", world.server.http)]).0, 200, "{when}");
        let doctor = text(&world.server.try_cli(&["doctor"]).stdout);
        assert!(doctor.contains("Free space on the server's disk"), "{when}: {doctor}");
        // What is there is still served.
        world.ann.git(&world.tree, &["ls-remote", "-q", &world.ann.http_url("app")]);
        assert_eq!(world.ann.get("/app/files/README.md").0, 200, "{when}");
        small.empty();
        world.assert_works_again(&format!("after {when}"));
    }
    assert_eq!(world.server.child.id(), pid);
    assert!(world.server.child.try_wait().expect("wait").is_none());
    assert!(!world.server.log().contains("panicked"), "{}", world.server.log());
    small.fill(0);
    world.try_all();
    world.server.crash();
    small.empty();
    world.server.restart();
    world.assert_whole("after a crash on a full disk");
    world.assert_works_again("after a crash on a full disk");
}

/// Makes system calls of a running server fail, by strace(1), until it is dropped.
struct Failing(Child);

impl Failing {
    /// From the `when`-th of these calls on, `times` of them fail with EIO. Gives the tracer once it traces.
    fn inject(pid: u32, calls: &str, when: usize, times: usize) -> Self {
        Self::trace(pid, calls, &format!("inject={calls}:error=EIO:when={when}..{}", when + times - 1))
    }

    /// All of these calls fail with that.
    fn inject_error(pid: u32, calls: &str, error: &str) -> Self {
        Self::trace(pid, calls, &format!("inject={calls}:error={error}"))
    }

    fn trace(pid: u32, calls: &str, inject: &str) -> Self {
        let mut tracer = Command::new("strace")
            .args([
                "-f",
                "-qq",
                "-o",
                "/dev/null",
                "-e",
                &format!("trace={calls}"),
                "-e",
                inject,
                "-p",
                &pid.to_string(),
            ])
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("no strace: run tests/lab up");
        let status = format!("/proc/{pid}/status");
        eventually("the tracer is there", AGAIN, || {
            assert!(tracer.try_wait().expect("wait").is_none(), "strace ends: it may not trace");
            let text = fs::read_to_string(&status).unwrap_or_default();
            text.lines().any(|l| l.starts_with("TracerPid:") && !l.ends_with("\t0")).then_some(())
        });
        // Each thread is attached to by itself, the first one first.
        std::thread::sleep(Duration::from_millis(100));
        Self(tracer)
    }
}

impl Drop for Failing {
    fn drop(&mut self) {
        run(Command::new("kill").args(["-INT", &self.0.id().to_string()]));
        drop(self.0.wait());
    }
}

#[test]
fn each_write_that_fails_in_turn_costs_what_it_was_for_and_nothing_else() {
    let home = tempfile::tempdir().expect("temp");
    let mut world = World::on(&home.path().join("data"), home.path());
    let pid = world.server.child.id();
    let mut failed = 0;
    for (calls, turns) in [
        ("pwrite64", 6),
        ("fsync,fdatasync", 10),
        ("rename,renameat,renameat2", 8),
        ("link,linkat,mkdir,mkdirat", 5),
        ("unlink,unlinkat,rmdir", 4),
        ("sync_file_range,ftruncate", 3),
    ] {
        for turn in 1..=turns {
            for times in [1, 400] {
                let when = format!("{calls}: {times} from number {turn}");
                let failing = Failing::inject(pid, calls, turn, times);
                let (pushed, added) = world.try_all();
                failed += usize::from(!pushed) + usize::from(!added);
                drop(failing);
                eventually(&format!("ready after {when}"), AGAIN, || {
                    (curl(&[&format!("http://{}/-/readyz", world.server.http)]).0 == 200).then_some(())
                });
            }
        }
        let when = format!("after failing {calls}");
        assert_eq!(world.try_all(), (true, true), "{when}");
        world.assert_whole(&when);
    }
    assert!(failed >= 20, "{failed} of what was tried has failed");
    assert!(world.server.child.try_wait().expect("wait").is_none());
    world.server.crash_and_restart();
    world.assert_whole("after a crash");
}

/// A server whose standard error is that file.
fn serve_into(data: &Path, stderr: Stdio, stdout: Stdio) -> Child {
    Command::new(program())
        .arg("serve")
        .arg("--data")
        .arg(data)
        .args(["--http", "127.0.0.1:0", "--ssh", "127.0.0.1:0"])
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(stderr)
        .spawn()
        .expect("start the server")
}

fn address(data: &Path) -> String {
    eventually("the server is up", AGAIN, || {
        let http = fs::read_to_string(data.join("run/http")).ok()?.trim().to_owned();
        fs::metadata(data.join("run/pid")).ok()?;
        (curl(&[&format!("http://{http}/-/healthz")]).0 == 200).then_some(http)
    })
}

#[test]
fn streams_that_cannot_be_written_end_nothing() {
    let full = || Stdio::from(File::options().write(true).open("/dev/full").expect("/dev/full"));
    let small = Small::of_mib(1);
    let log = || {
        Stdio::from(File::options().create(true).append(true).open(small.path().join("log")).expect("log"))
    };
    for which in ["full", "closed pipe", "a small disk"] {
        let folder = tempfile::tempdir().expect("temp");
        let data = folder.path().join("data");
        let mut child = match which {
            "full" => serve_into(&data, full(), full()),
            "closed pipe" => {
                let mut child = serve_into(&data, Stdio::piped(), Stdio::piped());
                drop((child.stderr.take(), child.stdout.take()));
                child
            }
            _ => serve_into(&data, log(), Stdio::null()),
        };
        let http = address(&data);
        if which == "a small disk" {
            small.fill(0);
        }
        for n in 0..20 {
            // Each of these says something in the log.
            let (status, _) = curl(&["-u", &format!("x:wrong{n}"), &format!("http://{http}/-/api/v1/repos")]);
            assert!(matches!(status, 401 | 503), "{which}: {status}");
        }
        let added = run(Command::new(program()).args(["user", "add", "ann", "--data"]).arg(&data));
        assert!(added.status.success(), "{which}: {}", text(&added.stderr));
        assert!(child.try_wait().expect("wait").is_none(), "{which}: the server goes on");
        run(Command::new("kill").arg(child.id().to_string()));
        assert!(child.wait().expect("ends").success(), "{which}: it ends when it is told to");
    }
}

#[test]
fn a_reader_that_leaves_ends_a_command_quietly() {
    let server = Slipway::start();
    for n in 0..50 {
        server.cli(&["user", "add", &format!("user-{n}")]);
    }
    for args in [&["user", "list"][..], &["completions", "bash"], &["doctor"]] {
        let mut child = Command::new(program())
            .args(args)
            .arg("--data")
            .arg(&server.data)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("start");
        let out = child.stdout.take().expect("stdout");
        if args[0] == "completions" {
            // As `| head -1` does.
            let mut line = String::new();
            BufReader::with_capacity(1, out).read_line(&mut line).expect("a line");
        } else {
            drop(out);
        }
        let mut said = String::new();
        child.stderr.take().expect("stderr").read_to_string(&mut said).expect("read");
        let status = child.wait().expect("ends");
        assert_eq!(said, "", "{args:?}");
        assert!(matches!(status.code(), Some(0 | 1 | 141)), "{args:?}: {status}");
    }
    let out = Command::new(program())
        .args(["user", "list", "--data"])
        .arg(&server.data)
        .stdout(File::options().write(true).open("/dev/full").expect("/dev/full"))
        .output()
        .expect("runs");
    assert!(!out.status.success() && text(&out.stderr).contains("The output cannot be written"), "{out:?}");
}
