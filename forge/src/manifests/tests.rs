//! A push in quarantine and the repository that it goes into, read by the same lines.

use std::path::Path;
use std::process::{Command, Stdio};

use slipway_core::accept::Incoming as _;
use slipway_repository::{Edit, Received, Repository, Settings, Signature};

use super::*;

fn is_manifest(path: &str) -> bool {
    path.ends_with(".yaml")
}

const BOUNDS: Bounds = Bounds { is_manifest, files_max: 5_000, file_bytes_max: 4 << 20, bytes_max: 32 << 20 };

/// A bare repository with stock git's history in it.
struct Bare {
    repository: Repository,
    _dir: tempfile::TempDir,
}

impl Bare {
    /// One commit on main, from a stream for `git fast-import`: its files.
    fn with(files: &str) -> (Self, Oid) {
        let dir = tempfile::tempdir().expect("a folder");
        git(dir.path(), &["init", "-q", "--bare", "."], "");
        let stream = format!(
            "blob\nmark :1\ndata 2\nx\ncommit refs/heads/main\nmark :2\ncommitter J <j@x> 0 +0000\ndata 1\nm\n{files}\n"
        );
        git(dir.path(), &["fast-import", "--quiet"], &stream);
        let tip = git(dir.path(), &["rev-parse", "refs/heads/main"], "");
        let root = dir.path().to_owned();
        let repository = Repository::open_with(root, Settings::default(), Vec::new()).expect("a repository");
        (Self { repository, _dir: dir }, Oid::parse(tip.trim()).expect("an id"))
    }

    /// A push on top of `parent`, not in the repository yet.
    fn push(&self, parent: &Oid, edits: &[(&str, &[u8])]) -> (Oid, Received) {
        let who = Signature { name: "J".into(), email: "j@x".into(), at_ms: 0, offset_minutes: 0 };
        let edit = |(path, content): &(&str, &[u8])| Edit {
            path: (*path).to_owned(),
            content: Some(content.to_vec()),
            executable: false,
        };
        let edits: Vec<Edit> = edits.iter().map(edit).collect();
        self.repository.commit(Some(parent), &edits, "m", &who, &who).expect("a commit")
    }

    /// What the gate reads of the push, and what the deploy reads once it is in.
    fn both(
        &self,
        (commit, mut push): (Oid, Received),
        path: &str,
    ) -> [Result<Vec<ManifestFile>, Problem>; 2] {
        let there = |read: Result<Option<Vec<ManifestFile>>, Problem>| {
            read.and_then(|files| files.ok_or_else(|| nothing_at(&commit, path)))
        };
        let gate = there(read(&push, &commit, path, &BOUNDS));
        push.publish().expect("published");
        let snapshot = self.repository.snapshot().expect("readable");
        [gate, there(read(snapshot.as_ref(), &commit, path, &BOUNDS))]
    }
}

fn git(dir: &Path, args: &[&str], input: &str) -> String {
    use std::io::Write;
    let mut child = Command::new("git")
        .args(args)
        .current_dir(dir)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("HOME", dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("git");
    child.stdin.take().expect("stdin").write_all(input.as_bytes()).expect("fed");
    let out = child.wait_with_output().expect("git ends");
    assert!(out.status.success(), "git {args:?}");
    String::from_utf8(out.stdout).expect("text")
}

fn paths(files: &[ManifestFile]) -> Vec<&str> {
    files.iter().map(|f| f.path.as_str()).collect()
}

#[test]
fn a_hundred_thousand_other_files_hide_no_manifest() {
    let others: String =
        (0..100_001).map(|n| format!("M 100644 :1 k8s/docs/{}/{n}.txt\n", n % 300)).collect();
    let (bare, tip) = Bare::with(&others);
    let push = bare.push(&tip, &[("k8s/z.yaml", b"no: manifest"), ("elsewhere/y.yaml", b"kind: X")]);
    for read in bare.both(push, "k8s") {
        let files = read.expect("within the bounds");
        assert_eq!(paths(&files), ["k8s/z.yaml"]);
        assert_eq!(files[0].bytes, b"no: manifest");
    }
}

#[test]
fn a_manifest_beyond_a_bound_is_refused_by_name_at_the_gate_and_at_the_deploy() {
    let (bare, tip) = Bare::with("M 100644 :1 README\n");
    let large = vec![b'#'; (4 << 20) + 1];
    for told in bare.both(bare.push(&tip, &[("k8s/large.yaml", &large), ("k8s/a.yaml", b"a")]), "k8s") {
        let problem = told.expect_err("refused");
        assert_eq!(problem.kind, ProblemKind::Invalid);
        assert_eq!(problem.what, "k8s/large.yaml has 4194305 bytes; a manifest may have 4194304.");
    }
    let nearly = vec![b'#'; 4 << 20];
    let many: Vec<(String, &[u8])> = (0..9).map(|n| (format!("k8s/{n}.yaml"), nearly.as_slice())).collect();
    let many: Vec<(&str, &[u8])> = many.iter().map(|(path, content)| (path.as_str(), *content)).collect();
    for told in bare.both(bare.push(&tip, &many), ".") {
        let problem = told.expect_err("refused");
        assert!(problem.what.starts_with("With k8s/8.yaml the manifests have 37748736 bytes"), "{problem}");
    }
}

#[test]
fn one_file_more_than_a_deploy_reads_is_refused_by_name() {
    let all: String = (0..5_001).map(|n| format!("M 100644 :1 k8s/{n:04}.yaml\n")).collect();
    let (bare, tip) = Bare::with(&all);
    for told in bare.both(bare.push(&tip, &[("README", b"x")]), "/k8s/") {
        let problem = told.expect_err("refused");
        assert_eq!(problem.what, "k8s/5000.yaml is manifest 5001 of this commit; one deploy reads 5000.");
    }
}

#[test]
fn a_folder_within_itself_is_not_walked_for_ever() {
    let (bare, tip) = Bare::with("M 100644 :1 a.yaml\n");
    // Thirty levels of ten times the same folder: 10^30 places of which each is small.
    let root = bare.repository.snapshot().expect("readable");
    drop(root);
    let dir = bare._dir.path();
    let mut tree = git(dir, &["mktree"], "").trim().to_owned();
    for _ in 0..30 {
        let rows: String = (0..10).map(|n| format!("040000 tree {tree}\td{n}\n")).collect();
        tree = git(dir, &["mktree"], &rows).trim().to_owned();
    }
    let snapshot = bare.repository.snapshot().expect("readable");
    let problem =
        read(snapshot.as_ref(), &Oid::parse(&tree).expect("an id"), "", &BOUNDS).expect_err("too many");
    assert_eq!(problem.kind, ProblemKind::TooLarge, "{problem}");
    assert!(read(snapshot.as_ref(), &tip, "", &BOUNDS).is_ok());
}

#[test]
fn a_bound_folder_that_is_not_there_is_told_and_a_file_may_be_bound() {
    let (bare, tip) = Bare::with("M 100644 :1 k8s/a.yaml\n");
    for told in bare.both(bare.push(&tip, &[("README", b"x")]), "kubernetes") {
        let problem = told.expect_err("told");
        assert!(problem.what.starts_with("There is no \"kubernetes\" in commit"), "{problem}");
        assert_eq!(problem.kind, ProblemKind::Invalid);
    }
    for read in bare.both(bare.push(&tip, &[("README", b"y")]), "k8s/a.yaml") {
        assert_eq!(paths(&read.expect("one file")), ["k8s/a.yaml"]);
    }
}

/// Links by path and target.
fn linked(links: &[(&str, &str)]) -> String {
    let link =
        |(path, target): &(&str, &str)| format!("M 120000 inline {path}\ndata {}\n{target}\n", target.len());
    links.iter().map(link).collect()
}

#[test]
fn links_are_followed_within_the_commit_and_refused_by_name_where_they_lead_out_of_it() {
    let files = "M 100644 :1 base/b.yaml\nM 100644 :1 base/sub/c.yaml\nM 100644 :1 base/notes.txt\nM 100644 :1 k8s/a.yaml\n";
    let fine = linked(&[
        ("k8s/link.yaml", "../base/b.yaml"),
        ("k8s/dir", "../base/sub"),
        ("k8s/notes.txt", "../base/notes.txt"),
        ("k8s/twice.yaml", "link.yaml"),
        ("k8s/.hidden", "/etc"),
        ("k8s/read.me", "/etc/motd"),
    ]);
    let (bare, tip) = Bare::with(&format!("{files}{fine}"));
    for read in bare.both(bare.push(&tip, &[("README", b"x")]), "k8s") {
        assert_eq!(
            paths(&read.expect("read")),
            ["k8s/a.yaml", "k8s/dir/c.yaml", "k8s/link.yaml", "k8s/twice.yaml"]
        );
    }
    // The bound folder itself may be a link.
    for read in bare.both(bare.push(&tip, &[("README", b"y")]), "k8s/dir") {
        assert_eq!(paths(&read.expect("read")), ["k8s/dir/c.yaml"]);
    }
    for (link, target, why) in [
        ("k8s/out.yaml", "../../secret.yaml", "is not in this repository"),
        ("k8s/etc", "/etc", "is not in this repository"),
        ("k8s/gone.yaml", "../base/gone.yaml", "which is not there"),
        ("k8s/self", ".", "in a circle"),
        ("k8s/loop.yaml", "loop.yaml", "in a circle"),
    ] {
        let (bare, tip) = Bare::with(&format!("{files}{}", linked(&[(link, target)])));
        for told in bare.both(bare.push(&tip, &[("README", b"x")]), "k8s") {
            let problem = told.expect_err(link);
            assert!(problem.kind == ProblemKind::Invalid && problem.what.contains(why), "{link}: {problem}");
            assert!(problem.what.starts_with("k8s/"), "{problem}");
        }
    }
}

#[test]
fn a_submodule_is_refused_by_name_unless_it_is_passed_over() {
    let files = "M 100644 :1 k8s/a.yaml\nM 160000 1111111111111111111111111111111111111111 k8s/vendor\n";
    let (bare, tip) = Bare::with(files);
    for told in bare.both(bare.push(&tip, &[("README", b"x")]), "k8s") {
        let problem = told.expect_err("refused");
        assert!(problem.what.starts_with("k8s/vendor is a submodule"), "{problem}");
    }
    for read in bare.both(
        bare.push(
            &tip,
            &[
                ("k8s/.sourceignore", b"vendor\n"),
                ("k8s/values.yaml", b"x"),
                (".sourceignore", b"values.yaml\n"),
            ],
        ),
        "k8s",
    ) {
        assert_eq!(paths(&read.expect("read")), ["k8s/a.yaml"]);
    }
    for told in bare.both(bare.push(&tip, &[("k8s/.sourceignore", b"[\n")]), "k8s") {
        assert!(told.expect_err("no pattern").what.starts_with("k8s/.sourceignore cannot be read: line 1"));
    }
}
