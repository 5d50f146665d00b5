//! One repository's files are damaged below a running server: cut short while they are mapped, overwritten, taken away. That
//! costs this repository an error in words, and nobody else anything; what is put right is served again without a restart; the
//! doctor finds it, and makes anew what can be. And no surface tells where the server keeps its files.

#[path = "damage/cures.rs"]
mod cures;
#[path = "harness/mod.rs"]
mod harness;
#[path = "damage/put_back.rs"]
mod put_back;

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use harness::{Person, Slipway, curl, eventually, run, text};

/// Commits of the history: enough that every index has many pages.
const COMMITS: usize = 1200;

struct World {
    server: Slipway,
    ann: Person,
    tree: PathBuf,
    folder: PathBuf,
    tip: String,
    _place: tempfile::TempDir,
}

impl World {
    /// `app`, packed anew with all that makes it fast, and `other`, which nothing happens to.
    fn new() -> Self {
        let place = tempfile::Builder::new().prefix("slipway-test-").tempdir().expect("temp");
        let data = place.path().join("data");
        fs::create_dir_all(&data).expect("folder");
        // When is said here.
        fs::write(data.join("config.toml"), "[maintenance]\nenabled = false\n").expect("config");
        let server = Slipway::start_in(&data, &[]);
        let ann = server.person("ann", true);
        server.cli(&["repo", "create", "app"]);
        server.cli(&["repo", "create", "other", "--public"]);
        let tree = ann.home.join("tree");
        fs::create_dir_all(&tree).expect("folder");
        ann.git(&tree, &["init", "-q", "-b", "main"]);
        import(&ann, &tree);
        ann.git(&tree, &["checkout", "-qf", "main"]);
        ann.git(&tree, &["push", "-q", &ann.http_url("app"), "main"]);
        ann.git(&tree, &["push", "-q", &ann.http_url("other"), "main"]);
        server.cli(&["repo", "maintain", "app", "--full"]);
        let folder = server.data.join("repos/app.git").canonicalize().expect("the repository's folder");
        let tip = ann.git(&tree, &["rev-parse", "HEAD"]).trim().to_owned();
        Self { server, ann, tree, folder, tip, _place: place }
    }

    /// What the server maps, and packs.
    fn file(&self, which: &str) -> PathBuf {
        let found = match which {
            "commit-graph" => Some(self.folder.join("objects/info/commit-graph")),
            "midx" => Some(self.folder.join("objects/pack/multi-pack-index")),
            extension => fs::read_dir(self.folder.join("objects/pack"))
                .expect("packs")
                .map(|entry| entry.expect("entry").path())
                .filter(|path| path.extension().is_some_and(|e| e == extension))
                .max_by_key(|path| fs::metadata(path).map_or(0, |facts| facts.len())),
        };
        found.filter(|path| path.exists()).unwrap_or_else(|| panic!("no {which}"))
    }

    /// Every way in which files are read. Each is right, or says what is wrong; true if all are right.
    fn read_all(&self, when: &str) -> bool {
        let mut right = true;
        for page in
            ["/log", "/log/d3", "/files/d3/f3", "/raw/d1/f1", "/refs", "/search?q=f3", "/archive/main.tar.gz"]
        {
            let (status, body) = self.ann.get(&format!("/app{page}"));
            assert!(matches!(status, 200 | 500), "{page} {when}: {status} {body}");
            right &= status == 200;
        }
        let clone = self.ann.home.join("clone");
        let target = clone.to_str().expect("utf-8");
        for (url, args) in [
            (self.ann.http_url("app"), &["clone", "-q", "--mirror"][..]),
            (self.ann.ssh_url("app"), &["clone", "-q", "--mirror", "--filter=blob:none"]),
            (self.ann.http_url("app"), &["clone", "-q", "--mirror", "--depth=5"]),
        ] {
            let out = self.ann.try_git(&self.ann.home, &[args, &[&url, target]].concat());
            if out.status.success() {
                let tip = self.ann.git(&clone, &["rev-parse", "refs/heads/main"]);
                assert_eq!(tip.trim(), self.tip, "{args:?} {when}");
                if args.len() == 3 {
                    let count = self.ann.git(&clone, &["rev-list", "--objects", "--all", "--count"]);
                    assert!(
                        count.trim().parse::<usize>().expect("a number") > 3 * COMMITS,
                        "{when}: {count}"
                    );
                    self.ann.git(&clone, &["fsck", "--connectivity-only"]);
                }
            }
            right &= out.status.success();
            drop(fs::remove_dir_all(&clone));
        }
        right
    }

    /// A new branch is pushed; it may be refused.
    fn push(&self, name: &str) -> bool {
        let commit = self.ann.git(&self.tree, &["commit-tree", "-m", name, "-p", "HEAD", "HEAD^{tree}"]);
        let spec = format!("{}:refs/heads/{name}", commit.trim());
        self.ann.try_git(&self.tree, &["push", "-q", &self.ann.ssh_url("app"), &spec]).status.success()
    }

    fn assert_others_go_on(&self, when: &str) {
        self.ann.git(&self.tree, &["ls-remote", "-q", &self.ann.http_url("other")]);
        let (status, _) = curl(&[&format!("http://{}/other/log", self.ann.http)]);
        assert_eq!(status, 200, "other {when}");
        assert!(!self.server.log().contains("panicked"), "{when}: {}", self.server.log());
    }

    fn assert_right_again(&self, when: &str) {
        eventually(&format!("right again {when}"), Duration::from_secs(30), || {
            self.read_all(when).then_some(())
        });
        assert!(self.push(&when.replace(|c: char| !c.is_ascii_alphanumeric(), "-")), "a push {when}");
    }
}

/// A history of many commits, folders and files.
fn import(ann: &Person, tree: &Path) {
    let mut stream = String::new();
    for n in 0..COMMITS {
        let (message, content) = (format!("commit {n}"), format!("content {n} {}\n", n * 7919));
        stream.push_str(&format!(
            "commit refs/heads/main\ncommitter Ann <ann@example.org> {} +0000\ndata {}\n{message}\nM 100644 inline d{}/f{}\ndata {}\n{content}\n",
            1_700_000_000 + n * 60,
            message.len(),
            n % 17,
            n % 29,
            content.len()
        ));
    }
    let mut child = ann
        .git_command(tree, &["fast-import", "--quiet"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("fast-import");
    child.stdin.take().expect("stdin").write_all(stream.as_bytes()).expect("written");
    assert!(child.wait().expect("ends").success());
}

/// In place: the file stays the one that is open.
fn overwrite(path: &Path, bytes: &[u8]) {
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).expect("writable");
    let mut file = File::options().write(true).truncate(true).open(path).expect("opens");
    file.write_all(bytes).expect("written");
}

/// As another file of the same name.
fn put_back(path: &Path, bytes: &[u8]) {
    let aside = path.with_file_name("put-back");
    fs::write(&aside, bytes).expect("written");
    fs::rename(&aside, path).expect("renamed");
}

const MAPPED: [&str; 5] = ["idx", "midx", "bitmap", "rev", "commit-graph"];

#[test]
fn a_mapped_file_that_is_cut_short_costs_its_own_repository_an_error() {
    let mut world = World::new();
    assert!(world.read_all("at first"));
    for which in MAPPED {
        for part in [0, 1, 2] {
            let when = format!("with {which} cut to part {part}");
            let path = world.file(which);
            let whole = fs::read(&path).expect("read");
            let length = [0, 4096.min(whole.len() as u64 / 3), whole.len() as u64 / 2][part];
            assert!(world.read_all(&format!("before {when}")));
            fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644))
                .expect("writable");
            File::options().write(true).open(&path).expect("opens").set_len(length).expect("cut");
            for _ in 0..2 {
                world.read_all(&when);
                world.push(&format!("cut-{which}-{part}"));
            }
            world.assert_others_go_on(&when);
            if part == 1 {
                put_back(&path, &whole)
            } else {
                overwrite(&path, &whole)
            }
            world.assert_right_again(&format!("put back {which} {part}"));
            world.server.cli(&["repo", "maintain", "app", "--full"]);
        }
    }
    assert!(world.server.child.try_wait().expect("wait").is_none());
}

#[test]
fn noise_in_a_file_is_an_error_and_what_is_put_right_is_served_without_a_restart() {
    let world = World::new();
    for which in ["pack", "idx", "midx", "bitmap", "rev", "commit-graph"] {
        for in_place in [true, false] {
            let when = format!("with noise in {which}, in place: {in_place}");
            let path = world.file(which);
            let whole = fs::read(&path).expect("read");
            let noise: Vec<u8> = whole
                .iter()
                .zip(0usize..)
                .map(|(b, at)| if at < 1100 { *b } else { b ^ (at as u8 | 0x91) })
                .collect();
            // As a new file, so that the server opens it.
            put_back(&path, &noise);
            world.read_all(&when);
            world.read_all(&when);
            world.assert_others_go_on(&when);
            if in_place {
                overwrite(&path, &whole)
            } else {
                put_back(&path, &whole)
            }
            world.assert_right_again(&format!("mended {which} {in_place}"));
            world.server.cli(&["repo", "maintain", "app", "--full"]);
        }
    }
}

#[test]
fn refs_locks_and_alternates_that_are_put_right_are_noticed() {
    let world = World::new();
    let (ann, folder) = (&world.ann, &world.folder);
    assert!(world.push("by-hand"));
    let shown = || ann.try_git(&world.tree, &["ls-remote", "-q", &ann.http_url("app"), "refs/heads/by-hand"]);
    let file = folder.join("refs/heads/by-hand");
    let before = fs::read_to_string(&file).expect("a loose ref");
    assert!(text(&shown().stdout).contains(before.trim()));
    overwrite(&file, b"garbage\n");
    eventually("the broken ref is told", Duration::from_secs(30), || {
        (!text(&shown().stdout).contains(before.trim())).then_some(())
    });
    overwrite(&file, format!("{}\n", world.tip).as_bytes());
    eventually("the mended ref is shown", Duration::from_secs(30), || {
        text(&shown().stdout).contains(&world.tip).then_some(())
    });
    overwrite(&file, before.as_bytes());
    eventually("a ref that was written by hand is shown", Duration::from_secs(30), || {
        text(&shown().stdout).contains(before.trim()).then_some(())
    });

    let lock = folder.join("refs/heads/locked.lock");
    fs::write(&lock, "").expect("written");
    let out = ann.try_git(&world.tree, &["push", "-q", &ann.http_url("app"), "HEAD:refs/heads/locked"]);
    let said = text(&out.stderr);
    assert!(
        !out.status.success() && said.contains("refs/heads/locked.lock") && said.contains("doctor --repair"),
        "{said}"
    );
    fs::remove_file(&lock).expect("removed");
    assert!(world.push("locked"));

    // As `git clone --shared` leaves it: the objects lie elsewhere.
    let elsewhere = ann.home.join("elsewhere");
    fs::rename(folder.join("objects"), &elsewhere).expect("moved");
    fs::create_dir_all(folder.join("objects/info")).expect("made");
    fs::create_dir_all(folder.join("objects/pack")).expect("made");
    fs::write(folder.join("objects/info/alternates"), format!("{}\n", elsewhere.display())).expect("written");
    for url in [ann.http_url("app"), ann.ssh_url("app")] {
        let said = text(&ann.try_git(&world.tree, &["ls-remote", &url]).stderr);
        assert!(said.contains("borrows objects from another repository"), "{said}");
        assert!(!said.contains(&world.server.data.display().to_string()), "{said}");
    }
    assert_eq!(ann.get("/app").0, 500);
    fs::remove_dir_all(folder.join("objects")).expect("removed");
    fs::rename(&elsewhere, folder.join("objects")).expect("moved back");
    world.assert_right_again("with its own objects");
}

/// The rows of the doctor's report about repositories and names: whether each is well, and what it says.
fn rows(world: &World, args: &[&str]) -> Vec<(bool, String)> {
    let out = world.server.try_cli(&[args, &["--json"]].concat());
    let report: serde_json::Value = serde_json::from_slice(&out.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}{}", text(&out.stdout), text(&out.stderr)));
    let all = report["checks"].as_array().expect("checks").iter();
    let about =
        all.filter(|c| c["name"].as_str().is_some_and(|n| n.starts_with("repository ") || n == "names"));
    about.map(|c| (c["ok"] == true, format!("{} {} {}", c["name"], c["what"], c["cure"]))).collect()
}

#[test]
fn the_doctor_finds_what_is_damaged_and_makes_anew_what_can_be() {
    let world = World::new();
    assert_eq!(rows(&world, &["doctor"]), [], "all is well at first");
    let noise = |path: &Path| {
        let mut bytes = fs::read(path).expect("read");
        let middle = bytes.len() / 2;
        bytes[middle..middle + 16].copy_from_slice(&[0x5a; 16]);
        overwrite(path, &bytes);
    };
    let old = |path: &Path| {
        let long_ago = std::time::SystemTime::now() - Duration::from_secs(26 * 3600);
        File::options().write(true).open(path).expect("opens").set_modified(long_ago).expect("set");
    };
    let link = world.server.data.join("repos/app.git");
    for which in ["no idx", "idx", "midx", "bitmap", "rev", "commit-graph", "lock", "no link", "wrong link"] {
        let told = match which {
            "no idx" => {
                fs::remove_file(world.file("idx")).expect("removed");
                "it is missing"
            }
            "lock" => {
                let lock = world.folder.join("refs/heads/stale.lock");
                fs::write(&lock, "").expect("written");
                old(&lock);
                "refs/heads/stale.lock is left behind"
            }
            "no link" => {
                fs::remove_file(&link).expect("removed");
                "links by name"
            }
            "wrong link" => {
                fs::remove_file(&link).expect("removed");
                std::os::unix::fs::symlink("999.git", &link).expect("linked");
                "links by name"
            }
            _ => {
                noise(&world.file(which));
                "its checksum is wrong"
            }
        };
        let found = rows(&world, &["doctor"]);
        assert!(
            found.iter().any(|(well, row)| !well && row.contains(told) && row.contains("--repair")),
            "{which}: {found:?}"
        );
        assert!(!world.server.try_cli(&["doctor"]).status.success(), "{which}");
        let mended = rows(&world, &["doctor", "--repair"]);
        assert!(
            mended.iter().all(|(well, _)| *well) && mended.iter().any(|(_, row)| row.contains("mended: ")),
            "{which}: {mended:?}"
        );
        assert_eq!(rows(&world, &["doctor"]), [], "{which} afterwards");
        assert!(world.read_all(&format!("after {which}")));
        world.server.cli(&["repo", "maintain", "app", "--full"]);
    }
    // What no repair brings back is told, and nothing of it goes.
    let pack = world.file("pack");
    let whole = fs::read(&pack).expect("read");
    noise(&pack);
    let found = rows(&world, &["doctor", "--repair"]);
    assert!(found.iter().any(|(well, row)| !well && row.contains("backup")), "{found:?}");
    assert!(pack.exists());
    put_back(&pack, &whole);
    world.assert_right_again("with the pack put back");
    assert!(rows(&world, &["doctor"]).iter().all(|(well, _)| *well));
}

/// All that anybody is told while the repository is in that state.
fn said(world: &World, secret: &str, when: &str) {
    let (ann, tree) = (&world.ann, &world.tree);
    let mut all = Vec::new();
    for url in [ann.http_url("app"), ann.ssh_url("app"), format!("http://{}/app", ann.http)] {
        for args in [
            &["ls-remote", &url][..],
            &["clone", "-q", "--mirror", &url, "gone"],
            &["push", &url, "HEAD:refs/heads/told"],
            &["push", "--atomic", &url, ":refs/heads/main", "HEAD:refs/heads/x/y"],
            &["archive", &format!("--remote={url}"), "main"],
        ] {
            let out = ann.try_git(tree, args);
            all.push(format!("{args:?}: {}{}", text(&out.stderr), String::from_utf8_lossy(&out.stdout)));
            drop(fs::remove_dir_all(tree.join("gone")));
        }
    }
    for page in [
        "",
        "/log",
        "/files/d1",
        "/raw/d1/f1",
        "/refs",
        "/blame/d1/f1",
        "/search?q=f1",
        "/archive/main.tar.gz",
        "/compare/main~2...main",
        "/settings",
        "/builds",
        "/deploys",
    ] {
        all.push(format!("{page}: {:?}", ann.get(&format!("/app{page}"))));
        all.push(format!("{page}: {:?}", curl(&[&format!("http://{}/app{page}", ann.http)])));
    }
    for path in
        ["/repos/app", "/repos", "/repos/app/events", "/repos/app/builds", "/repos/app/diff", "/repos/nosuch"]
    {
        all.push(format!("{path}: {:?}", ann.get(&format!("/-/api/v1{path}"))));
    }
    for path in ["/-/readyz", "/", "/-/healthz"] {
        all.push(format!("{path}: {:?}", curl(&[&format!("http://{}{path}", ann.http)])));
    }
    for verb in [
        "repo show app",
        "repo list",
        "build list app",
        "repo maintain app",
        "repo create a..b",
        "build start app",
    ] {
        let out = ann.over_ssh(verb, "");
        all.push(format!("{verb}: {}{}", text(&out.stdout), text(&out.stderr)));
    }
    for line in all {
        // The work tree's own path is the client's to know.
        let line = line.replace(&tree.display().to_string(), "").replace(&ann.home.display().to_string(), "");
        assert!(!line.contains(secret), "{when}: {line}");
    }
}

#[test]
fn nobody_is_told_where_the_server_keeps_its_files() {
    let world = World::new();
    world.server.cli(&["repo", "set", "app", "--public"]);
    let secret = world.server.data.display().to_string();
    let folder = &world.folder;
    let cut = |path: PathBuf| {
        let whole = fs::read(&path).expect("read");
        overwrite(&path, &whole[..whole.len() / 3]);
        (path, whole)
    };
    said(&world, &secret, "as it is");
    for which in ["pack", "idx", "midx", "bitmap", "rev", "commit-graph"] {
        let (path, whole) = cut(world.file(which));
        said(&world, &secret, which);
        put_back(&path, &whole);
    }
    for (name, garbage) in [
        ("HEAD", "nonsense"),
        ("packed-refs", "nonsense"),
        ("config", "[core\n"),
        ("config", "[extensions]\n\trefstorage = reftable\n"),
        ("refs/heads/broken", "nonsense"),
        ("refs/heads/told.lock", ""),
        ("packed-refs.lock", ""),
        ("HEAD.lock", ""),
        ("objects/info/alternates", "/srv/other/objects\n"),
        ("slipway/id", "77"),
    ] {
        let path = folder.join(name);
        let before = fs::read(&path).ok();
        fs::write(&path, garbage).expect("written");
        said(&world, &secret, name);
        match before {
            Some(bytes) => fs::write(&path, bytes).expect("written"),
            None => fs::remove_file(&path).expect("removed"),
        }
    }
    // Folders that cannot be written in, or are gone.
    for name in ["objects", "objects/pack", "refs", "refs/heads", "slipway"] {
        let (path, aside) = (folder.join(name), folder.join("aside"));
        fs::rename(&path, &aside).expect("moved");
        said(&world, &secret, &format!("without {name}"));
        fs::write(&path, "in the way")
            .or_else(|_| fs::remove_dir_all(&path).and_then(|()| fs::write(&path, "in the way")))
            .expect("in the way");
        said(&world, &secret, &format!("with a file in place of {name}"));
        // Whatever the server may have made there.
        drop(fs::remove_file(&path));
        drop(fs::remove_dir_all(&path));
        fs::rename(&aside, &path).expect("moved back");
    }
    {
        let chattr = |flag: &str| run(Command::new("chattr").args(["-R", flag]).arg(folder)).status.success();
        // Where the file system has such a thing: nothing can be written there, whoever asks.
        if chattr("+i") {
            said(&world, &secret, "immutable");
            assert!(chattr("-i"));
        }
    }
    let aside = world.server.data.join("repos/aside");
    fs::rename(folder, &aside).expect("moved");
    said(&world, &secret, "without its folder");
    fs::rename(&aside, folder).expect("moved back");
    world.assert_others_go_on("at the end");
}
