//! What cannot be read is told so: never shown as empty, never as not there. Every page, the API and git, on a repository
//! whose files were damaged in one way after the other, and mended again without a restart.

#[path = "harness/mod.rs"]
mod harness;

use std::fs;
use std::path::{Path, PathBuf};

use harness::{Person, Slipway, text};

struct World {
    server: Slipway,
    ann: Person,
    tree: PathBuf,
    /// The repository's folder.
    folder: PathBuf,
    tip: String,
}

impl World {
    /// Two branches and a tag, everything in one pack and `packed-refs`, main pushed once more on top of that.
    fn new() -> Self {
        let server = Slipway::start();
        let ann = server.person("ann", true);
        server.cli(&["repo", "create", "app"]);
        let files = [("README.md", "# Read me\n"), ("src/main.rs", "fn main() {}\n"), ("b.txt", "b\n")];
        let tree = ann.work_tree("tree", &files);
        ann.git(&tree, &["branch", "topic"]);
        ann.git(&tree, &["tag", "-a", "v1", "-m", "first"]);
        ann.git(&tree, &["remote", "add", "origin", &ann.http_url("app")]);
        ann.git(&tree, &["push", "-q", "origin", "main", "topic", "v1"]);
        let folder = server.data.join("repos/app.git").canonicalize().expect("the repository's folder");
        ann.git(&folder, &["-c", "safe.directory=*", "repack", "-adq"]);
        ann.git(&folder, &["-c", "safe.directory=*", "pack-refs", "--all"]);
        let tip = ann.commit(&tree, &[("late.txt", "late\n")], "second");
        ann.git(&tree, &["push", "-q", "origin", "main"]);
        Self { server, ann, tree, folder, tip }
    }

    /// Pages that show what the objects and refs say.
    fn pages(&self) -> Vec<String> {
        let tip = &self.tip;
        [
            "",
            "/files/src/main.rs",
            "/files/src?at=topic",
            "/raw/README.md",
            "/log",
            "/log/src",
            "/refs",
            "/search?q=main",
            "/archive/main.tar.gz",
            "/compare/topic...main",
            &format!("/commit/{tip}"),
        ]
        .iter()
        .map(|page| format!("/app{page}"))
        .collect()
    }

    fn assert_whole(&self, when: &str) {
        for page in self.pages() {
            assert_eq!(self.ann.get(&page).0, 200, "{page} {when}");
        }
        self.ann.git(&self.tree, &["ls-remote", "-q", &self.ann.http_url("app")]);
    }

    /// Every page says that it cannot be read, and so does git.
    fn assert_told(&self, when: &str) {
        for page in self.pages() {
            let (status, body) = self.ann.get(&page);
            assert_eq!(status, 500, "{page} {when}: {body}");
            assert!(
                body.contains("Ask an owner of this server to ") || body.contains("disk"),
                "{page} {when} says what to do: {body}"
            );
            let path = self.server.data.display().to_string();
            assert!(!body.contains(&path), "{page} {when} tells where the data folder is: {body}");
        }
        assert_eq!(self.ann.get("/").0, 200, "the list of repositories {when}");
        assert_eq!(self.ann.get("/-/api/v1/repos/app").0, 200, "the record {when}");
        self.assert_git_told(when);
    }

    fn assert_git_told(&self, when: &str) {
        let target = self.ann.home.join("clone");
        for url in [self.ann.http_url("app"), self.ann.ssh_url("app")] {
            let out = self
                .ann
                .try_git(&self.ann.home, &["clone", "-q", "--mirror", &url, target.to_str().expect("utf-8")]);
            let said = text(&out.stderr);
            assert!(!out.status.success(), "a clone {when}: {said}");
            drop(fs::remove_dir_all(&target));
        }
    }
}

/// Moves something away; gives it back when dropped.
struct Away(PathBuf, PathBuf);

impl Away {
    fn take(path: PathBuf) -> Self {
        let aside = path.with_extension("aside");
        fs::rename(&path, &aside).unwrap_or_else(|e| panic!("{path:?}: {e}"));
        Self(path, aside)
    }
}

impl Drop for Away {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
        drop(fs::remove_file(&self.0));
        fs::rename(&self.1, &self.0).expect("put back");
    }
}

/// Other bytes in place of a file; the old ones when dropped.
struct Garbled(PathBuf, Vec<u8>);

impl Garbled {
    fn with(path: PathBuf, bytes: &[u8]) -> Self {
        let before = fs::read(&path).unwrap_or_else(|e| panic!("{path:?}: {e}"));
        replace(&path, bytes);
        Self(path, before)
    }
}

impl Drop for Garbled {
    fn drop(&mut self) {
        replace(&self.0, &self.1);
    }
}

/// As a new file: what is mapped into memory stays as it is, as after a restore.
fn replace(path: &Path, bytes: &[u8]) {
    let aside = path.with_extension("new");
    fs::write(&aside, bytes).expect("written");
    fs::rename(&aside, path).expect("renamed");
}

fn pack(folder: &Path, extension: &str) -> PathBuf {
    let packs = fs::read_dir(folder.join("objects/pack")).expect("packs").map(|e| e.expect("entry").path());
    let mut found: Vec<PathBuf> = packs.filter(|p| p.extension().is_some_and(|e| e == extension)).collect();
    found.sort_by_key(|p| fs::metadata(p).expect("there").len());
    found.pop().expect("a pack")
}

#[test]
fn a_damaged_repository_is_told_from_an_empty_one() {
    let world = World::new();
    let folder = &world.folder;
    world.assert_whole("at first");
    {
        let _objects = Away::take(folder.join("objects"));
        world.assert_told("without objects/");
        fs::create_dir_all(folder.join("objects/pack")).expect("an empty one");
        world.assert_told("with an empty objects/");
    }
    world.assert_whole("with the objects put back");
    {
        let _refs = Away::take(folder.join("refs"));
        world.assert_told("without refs/");
    }
    {
        let _head = Away::take(folder.join("HEAD"));
        world.assert_told("without HEAD");
    }
    for garbage in [&b""[..], b"\0\0\0\0", b"ref: refs/heads/..\n"] {
        let _head = Garbled::with(folder.join("HEAD"), garbage);
        world.assert_told("with a broken HEAD");
    }
    for garbage in [&b""[..], b"\xff\xfe", b"0123456789012345678901234567890123456789\n"] {
        let _main = Garbled::with(folder.join("refs/heads/main"), garbage);
        world.assert_told("with a broken branch");
    }
    {
        let _packed = Garbled::with(folder.join("packed-refs"), b"# pack-refs with: peeled\nnonsense\n");
        world.assert_told("with a broken packed-refs");
    }
    {
        let _folder = Away::take(folder.clone());
        world.assert_told("without its folder");
        let (_, record) = world.ann.get("/-/api/v1/repos/app");
        assert!(record.contains("\"unreadable\""), "{record}");
    }
    world.assert_whole("at the end");
    assert!(!world.server.log().contains("panicked"), "{}", world.server.log());
}

#[test]
fn the_same_after_a_restart() {
    let mut world = World::new();
    let folder = world.folder.clone();
    world.server.crash();
    let objects = Away::take(folder.join("objects"));
    fs::create_dir_all(folder.join("objects/pack")).expect("an empty one");
    world.server.restart();
    world.assert_told("started with an empty objects/");
    drop(objects);
    world.assert_whole("with the objects put back");
    world.server.crash();
    let refs = Away::take(folder.join("refs"));
    let packed = Away::take(folder.join("packed-refs"));
    fs::create_dir_all(folder.join("refs/heads")).expect("empty ones");
    world.server.restart();
    world.assert_told("started without a single ref");
    drop((refs, packed));
    world.assert_whole("with the refs put back");
    // Who pushes again mends it too.
    let _refs = Away::take(folder.join("refs"));
    let _packed = Away::take(folder.join("packed-refs"));
    fs::create_dir_all(folder.join("refs/heads")).expect("empty ones");
    world.ann.git(&world.tree, &["push", "-q", "origin", "main", "topic", "v1"]);
    world.assert_whole("pushed again");
}

#[test]
fn one_object_that_cannot_be_read_is_named_where_it_is_needed() {
    let world = World::new();
    let (ann, folder) = (&world.ann, &world.folder);
    let object = |rev: &str| {
        let id = ann.git(&world.tree, &["rev-parse", rev]).trim().to_owned();
        (folder.join("objects").join(&id[..2]).join(&id[2..]), id)
    };
    // All loose, so that each can go alone.
    let packs: Vec<Vec<u8>> = [pack(folder, "pack")].iter().map(|p| fs::read(p).expect("a pack")).collect();
    for extension in ["idx", "pack"] {
        fs::remove_file(pack(folder, extension)).expect("removed");
    }
    for pack in packs {
        let file = ann.home.join("all.pack");
        fs::write(&file, pack).expect("written");
        let unpack = format!(
            "git -c safe.directory='*' -C '{}' unpack-objects -q < '{}'",
            folder.display(),
            file.display()
        );
        let out = harness::run(std::process::Command::new("sh").args(["-c", &unpack]));
        assert!(out.status.success(), "{}", text(&out.stderr));
    }
    world.assert_whole("all loose");
    for (rev, gone, stays) in [
        (
            "main:README.md",
            &["", "/files/README.md", "/raw/README.md", "/search?q=x"][..],
            &["/log", "/refs"][..],
        ),
        ("main:src", &["/files/src", "/raw/src/main.rs", "/files/src/main.rs"], &["/log", "/raw/b.txt"]),
        ("topic", &["/log", "/files/b.txt?at=topic", "/compare/topic...main"], &["/raw/b.txt"]),
        ("v1", &["/refs"], &["/raw/b.txt"]),
    ] {
        let (path, id) = object(rev);
        for damage in ["gone", "garbled"] {
            let _one = match damage {
                "gone" => (Some(Away::take(path.clone())), None),
                _ => (None, Some(Garbled::with(path.clone(), b"not zlib at all"))),
            };
            for page in gone {
                let (status, body) = ann.get(&format!("/app{page}"));
                assert_eq!(status, 500, "{page} with {rev} {damage}: {body}");
                assert!(
                    body.contains(&id[..10]) || body.contains("refs/"),
                    "{page} with {rev} {damage}: {body}"
                );
            }
            // An annotated tag or a branch that is gone is the repository's matter: nothing of it is shown then.
            if !matches!(rev, "v1" | "topic") {
                for page in stays {
                    assert_eq!(ann.get(&format!("/app{page}")).0, 200, "{page} with {rev} {damage}");
                }
            }
        }
    }
    world.assert_whole("mended");
}

#[test]
fn a_broken_pack_is_told_and_harms_nobody_else() {
    let mut world = World::new();
    world.server.cli(&["repo", "create", "other"]);
    let ann = world.ann.clone();
    ann.git(&world.tree, &["push", "-q", &ann.http_url("other"), "main"]);
    let path = pack(&world.folder, "pack");
    let whole = fs::read(&path).expect("a pack");
    let garbled: Vec<u8> = whole.iter().zip(0..).map(|(b, at)| if at < 12 { *b } else { b ^ 0x5a }).collect();
    // In place, as a bad disk does it: what the server holds in memory may still be the truth, and nothing else is shown.
    let write = |bytes: &[u8]| {
        let mut file = fs::OpenOptions::new().write(true).open(&path).expect("the pack");
        std::io::Write::write_all(&mut file, bytes).expect("written");
    };
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).expect("writable");
    write(&garbled);
    for (page, truth) in [("/raw/README.md", "# Read me"), ("/raw/src/main.rs", "fn main"), ("/log", "first")]
    {
        let (status, body) = ann.get(&format!("/app{page}"));
        assert!(status == 500 || status == 200 && body.contains(truth), "{page}: {status} {body}");
    }
    let assert_told = |server: &mut Slipway, when: &str| {
        // What was read before may still be held.
        server.crash_and_restart();
        for page in ["/files/src/main.rs", "/raw/README.md", "/log", "/archive/main.tar.gz", "/search?q=main"]
        {
            let (status, body) = ann.get(&format!("/app{page}"));
            assert_eq!(status, 500, "{page} {when}: {body}");
        }
    };
    assert_told(&mut world.server, "garbled");
    world.assert_git_told("from a broken pack");
    assert_eq!(ann.get("/other").0, 200);
    ann.git(&world.tree, &["ls-remote", "-q", &ann.http_url("other")]);
    write(&whole);
    {
        let _away = Away::take(path.clone());
        assert_told(&mut world.server, "moved away");
    }
    world.assert_whole("with the pack put back");
}
