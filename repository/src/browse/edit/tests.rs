//! Commits of our own, checked by stock git: it unpacks them, verifies them and lists what is in them.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use slipway_core::{ObjectFormat, RepoId};

use super::*;
use crate::browse::{first_commit, incoming};
use crate::{Repositories, Repository, Snapshot};

struct Lab {
    dir: tempfile::TempDir,
    repository: Arc<Repository>,
}

impl Lab {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let repositories = Repositories::open(dir.path()).expect("opens");
        let repository = repositories.create(RepoId(1), ObjectFormat::Sha1).expect("made");
        Self { dir, repository }
    }

    fn git(&self, args: &[&str], input: &[u8]) -> String {
        git(&self.dir.path().join("1.git"), args, input)
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        self.repository.snapshot().expect("readable")
    }

    /// Makes the commit and lets git take it in and verify it.
    fn make(&self, parent: Option<&Oid>, edits: &[Edit]) -> Result<Oid> {
        let who = Signature {
            name: "Jo <x>\n".into(),
            email: "jo@x".into(),
            at_ms: 1_700_000_000_999,
            offset_minutes: -90,
        };
        let words = Words { message: "\nChange things\n\nbody\n\n", author: &who, committer: &who };
        let made = make(self.snapshot().as_ref(), ObjectFormat::Sha1, parent, edits, &words)?;
        self.git(&["unpack-objects", "-q", "--strict"], &made.pack);
        self.git(&["update-ref", "refs/heads/main", &made.commit.to_string()], b"");
        self.git(&["fsck", "--strict", "--no-dangling"], b"");
        Ok(made.commit)
    }

    fn files(&self) -> String {
        self.git(&["ls-tree", "-r", "--format=%(objectmode) %(path)", "main"], b"")
    }

    fn import(&self, files: &[(&str, &str, &str)]) -> Oid {
        let mut stream = "commit refs/heads/main\ncommitter C <c@x> 1700000000 +0000\ndata 1\nm\n".to_owned();
        for (mode, path, text) in files {
            stream += &match *mode {
                "160000" => format!("M 160000 {text} {path}\n"),
                _ => format!("M {mode} inline {path}\ndata {}\n{text}\n", text.len()),
            };
        }
        self.git(&["fast-import", "--quiet", "--force"], stream.as_bytes());
        Oid::parse(&self.git(&["rev-parse", "main"], b"")).expect("an id")
    }
}

fn git(dir: &Path, args: &[&str], input: &[u8]) -> String {
    let mut git = Command::new("git");
    git.args(args).current_dir(dir).env("GIT_CONFIG_NOSYSTEM", "1").env("HOME", dir);
    git.env("GIT_COMMITTER_NAME", "C").env("GIT_COMMITTER_EMAIL", "c@x");
    let mut child = git.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("git runs");
    child.stdin.take().expect("piped").write_all(input).expect("git reads");
    let output = child.wait_with_output().expect("git ends");
    assert!(output.status.success(), "git {args:?}");
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

fn write(path: &str, text: &str) -> Edit {
    Edit { path: path.into(), content: Some(text.into()), executable: false }
}

fn remove(path: &str) -> Edit {
    Edit { path: path.into(), content: None, executable: false }
}

fn why(result: Result<Oid>) -> String {
    result.expect_err("refused").to_string()
}

#[test]
fn commits_grow_from_nothing_and_git_agrees() {
    let lab = Lab::new();
    let run = Edit { executable: true, ..write("bin/run", "#!/bin/sh\n") };
    let root =
        lab.make(None, &[write("a.txt", "a\n"), run, write("a/b/c", "c"), write("a-b", "")]).expect("made");
    assert_eq!(lab.files(), "100644 a-b\n100644 a.txt\n100644 a/b/c\n100755 bin/run");
    let shown = lab.git(&["log", "-1", "--format=%an|%ae|%at|%ad|%B", "--date=format:%z"], b"");
    assert_eq!(shown, "Jo x|jo@x|1700000000|-0130|Change things\n\nbody");
    let second = lab
        .make(Some(&root), &[write("bin/run", "exit\n"), remove("a/b/c"), write("é/\u{F7FF}", "")])
        .expect("made");
    assert_eq!(lab.files(), "100644 a-b\n100644 a.txt\n100755 bin/run\n100644 \"\\303\\251/\\377\"");
    assert_eq!(lab.git(&["rev-parse", "main^"], b""), root.to_string());
    // A file gives way to a folder and back.
    let third = lab.make(Some(&second), &[remove("a.txt"), write("a.txt/inner", "x")]).expect("made");
    lab.make(Some(&third), &[remove("a.txt/inner"), write("a.txt", "a\n"), remove("é/\u{F7FF}")])
        .expect("made");
    assert_eq!(lab.files(), "100644 a-b\n100644 a.txt\n100755 bin/run");
    assert!(matches!(lab.make(Some(&second), &[write("a-b", "")]), Err(RepoError::NothingChanged)));
}

#[test]
fn the_rest_of_the_tree_stays_as_it_is() {
    let lab = Lab::new();
    let sub = "1".repeat(40);
    let base = lab.import(&[
        ("120000", "link", "there"),
        ("160000", "sub", &sub),
        ("100755", "d/x", "x"),
        ("100644", "y", "y"),
    ]);
    lab.make(Some(&base), &[write("d/new", "n")]).expect("made");
    assert_eq!(lab.files(), "100644 d/new\n100755 d/x\n120000 link\n160000 sub\n100644 y");
    assert!(why(lab.make(Some(&base), &[write("link", "x")])).contains("symbolic link"));
    assert!(why(lab.make(Some(&base), &[write("sub", "x")])).contains("submodule"));
    assert!(why(lab.make(Some(&base), &[write("link/x", "x")])).contains("not a folder"));
}

#[test]
fn paths_that_no_tree_may_hold_are_refused() {
    let lab = Lab::new();
    let base = lab.import(&[("100644", "d/x", "x"), ("100644", "y", "y")]);
    for path in [
        "",
        "/",
        "/y",
        "y/",
        "a//b",
        "..",
        "../y",
        "a/../b",
        ".",
        "./y",
        ".git",
        ".git/config",
        "a/.GIT/hooks/x",
        "git~1/x",
        ".g\u{200c}it/x",
        ".git /x",
        "a\0b",
        &"a/".repeat(200),
        &"x".repeat(5000),
    ] {
        let refused = lab.make(Some(&base), &[write(path, "evil")]);
        assert!(matches!(refused, Err(RepoError::BadEdit { .. })), "{path:?}: {refused:?}");
    }
    assert!(why(lab.make(Some(&base), &[write("d", "x")])).contains("a folder of that name"));
    assert!(why(lab.make(Some(&base), &[write("y/z", "x")])).contains("not a folder"));
    assert!(why(lab.make(Some(&base), &[write("y", "1"), write("y", "2")])).contains("twice"));
    assert!(
        why(lab.make(Some(&base), &[write("n", "1"), write("n/m", "2")])).contains("a folder of that name")
    );
    for path in ["none", "d/none", "none/none", "d"] {
        assert!(
            matches!(lab.make(Some(&base), &[remove(path)]), Err(RepoError::NoSuchPath { .. })),
            "{path}"
        );
    }
    assert!(matches!(lab.make(Some(&Oid::Sha1([7; 20])), &[]), Err(RepoError::Missing { .. })));
}

#[test]
fn what_is_made_is_packed_and_nothing_else() {
    let lab = Lab::new();
    let base = lab.import(&[("100644", "d/x", "one"), ("100644", "y", "two")]);
    let who = Signature { name: "J".into(), email: String::new(), at_ms: 0, offset_minutes: 0 };
    let words = Words { message: "m", author: &who, committer: &who };
    // A second file of a known content: root tree, commit and, though it is known, the content.
    let made = make(lab.snapshot().as_ref(), ObjectFormat::Sha1, Some(&base), &[write("z", "one")], &words);
    assert_eq!(made.expect("made").pack[8..12], [0, 0, 0, 3]);
}

#[test]
fn a_first_commit_needs_no_repository() {
    let lab = Lab::new();
    let who = Signature { name: "J".into(), email: "j@x".into(), at_ms: 1000, offset_minutes: 0 };
    let edits = [write("a/b", "same"), write("c", "same")];
    let (commit, pack) = first_commit(&edits, "m", &who).expect("made");
    assert_eq!(pack[8..12], [0, 0, 0, 4], "two trees, a commit, and one blob for both files");
    lab.git(&["unpack-objects", "-q", "--strict"], &pack);
    lab.git(&["update-ref", "refs/heads/main", &commit.to_string()], b"");
    assert_eq!(lab.files(), "100644 a/b\n100644 c");
    assert!(matches!(first_commit(&[remove("x")], "m", &who), Err(RepoError::NoSuchPath { .. })));
    assert!(matches!(first_commit(&edits, " \n", &who), Err(RepoError::Invalid { .. })));
}

#[test]
fn a_push_is_asked_for_files_links_and_changes() {
    let lab = Lab::new();
    let files = [
        ("100644", "slipway.toml", "x"),
        ("120000", "Dockerfile", "docker/./../docker/app"),
        ("100644", "docker/app", "FROM x"),
        ("120000", "loop", "loop"),
        ("120000", "out", "../../etc/passwd"),
        ("120000", "abs", "/etc/passwd"),
        ("120000", "folder", "docker"),
        ("100644", "back", "b"),
    ];
    let base = lab.import(&files);
    let snapshot = lab.snapshot();
    let objects = snapshot.as_ref();
    let file = |path, max| incoming::file(objects, &base, path, max).expect("readable");
    assert_eq!(file("slipway.toml", 1), Some(b"x".to_vec()));
    assert_eq!(file("./docker//app", 6), Some(b"FROM x".to_vec()));
    for (path, max) in [("none", 9), ("docker", 9), ("Dockerfile", 99), ("../x", 9), ("", 9)] {
        assert_eq!(file(path, max), None, "{path}");
    }
    // Too large is not the same as not there, and neither is a commit that is missing.
    let large = incoming::file(objects, &base, "slipway.toml", 0).expect_err("refused");
    assert_eq!(large.what, "slipway.toml has 1 bytes; at most 0 are read.");
    let gone = incoming::file(objects, &Oid::Sha1([9; 20]), "slipway.toml", 9).expect_err("told");
    assert_eq!(gone.kind, slipway_core::ProblemKind::Broken);
    let has = |path| incoming::has_file(objects, &base, path).expect("readable");
    assert!(["Dockerfile", "docker/app", "folder/app", "./back"].into_iter().all(has));
    assert!(
        !["loop", "out", "abs", "folder", "docker", "none", "docker/app/x", "..", ""].into_iter().any(has)
    );
    lab.git(&["tag", "-am", "t", "v1", "main"], b"");
    let tag = Oid::parse(&lab.git(&["rev-parse", "v1"], b"")).expect("an id");
    let snapshot = lab.snapshot();
    let facts = incoming::commit(snapshot.as_ref(), &tag).expect("readable").expect("a commit");
    assert_eq!((facts.id, facts.subject.as_str()), (base, "m"));
    assert_eq!(incoming::commit(snapshot.as_ref(), &Oid::Sha1([9; 20])), Ok(None));
    let next = lab
        .make(Some(&base), &[write("docker/app", "FROM y"), remove("back"), write("new/x", "")])
        .expect("made");
    let snapshot = lab.snapshot();
    let changed = |old: Option<&Oid>, max| {
        incoming::changed_paths(snapshot.as_ref(), old, &next, max).expect("readable")
    };
    let names = |paths: &[&str]| Some(paths.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>());
    assert_eq!(changed(Some(&base), 3), names(&["back", "docker/app", "new/x"]));
    assert_eq!(changed(Some(&base), 2), None);
    assert_eq!(changed(None, 99).map(|p| p.len()), Some(8));
    assert_eq!(changed(Some(&next), 0), names(&[]));
}
