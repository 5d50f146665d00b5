//! Stock git as the oracle, and histories to feed both.
#![allow(dead_code, missing_docs, unreachable_pub, clippy::unwrap_used)]
#![allow(clippy::new_without_default, clippy::should_implement_trait)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use slipway_core::{ObjectFormat, Oid, RepoId, RepoName};
use slipway_repository::{Repositories, Repository};

/// A small generator of numbers (splitmix64), so that a failing seed can be run again.
pub struct Random(pub u64);
impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

/// Runs git in a folder with nothing of the host's configuration.
pub fn git_raw(dir: &Path, args: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new("git")
        .args(args)
        .current_dir(dir)
        .env_clear()
        .env("PATH", std::env::var("PATH").unwrap())
        .env("HOME", dir)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_AUTHOR_NAME", "A")
        .env("GIT_AUTHOR_EMAIL", "a@example.org")
        .env("GIT_COMMITTER_NAME", "C")
        .env("GIT_COMMITTER_EMAIL", "c@example.org")
        .env("GIT_AUTHOR_DATE", "1700000000 +0000")
        .env("GIT_COMMITTER_DATE", "1700000000 +0000")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let feeder = std::thread::spawn(move || {
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().unwrap();
    feeder.join().unwrap();
    output
}

pub fn git_in(dir: &Path, args: &[&str], input: &[u8]) -> Vec<u8> {
    let output = git_raw(dir, args, input);
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

pub fn git(dir: &Path, args: &[&str]) -> String {
    String::from_utf8(git_in(dir, args, b"")).unwrap().trim_end().to_owned()
}

pub fn oid(hex: &str) -> Oid {
    Oid::parse(hex.trim()).unwrap()
}

/// Repositories of ours in a folder that goes at the end.
pub struct Lab {
    pub dir: tempfile::TempDir,
    pub repositories: Repositories,
    /// Of all that are made in it.
    pub format: ObjectFormat,
}

/// Both of git's hashes.
pub const FORMATS: [ObjectFormat; 2] = [ObjectFormat::Sha1, ObjectFormat::Sha256];

impl Lab {
    pub fn new() -> Self {
        Self::of(ObjectFormat::Sha1)
    }
    pub fn of(format: ObjectFormat) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let repositories = Repositories::open(&dir.path().join("repos")).unwrap();
        Self { dir, repositories, format }
    }
    pub fn create(&self, name: &str) -> (Arc<Repository>, PathBuf) {
        let id = RepoId(1 + self.repositories.folders().unwrap().len() as u64);
        let repository = self.repositories.create(id, self.format).unwrap();
        assert!(self.repositories.link(id, &RepoName::parse(name).unwrap()).unwrap());
        // Not the link to it: a copy shall be one.
        (repository, self.path(name).canonicalize().unwrap())
    }
    /// The repository that the link of that name leads to.
    pub fn get(&self, name: &str) -> Arc<Repository> {
        let folder = std::fs::read_link(self.path(name)).unwrap();
        self.repositories.get(folder.file_stem().unwrap().to_str().unwrap().parse().unwrap()).unwrap()
    }
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("repos").join(format!("{name}.git"))
    }
    /// A bare repository made by git alone.
    pub fn bare(&self, name: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        let format = format!("--object-format={}", self.format);
        git(self.dir.path(), &["init", "-q", "--bare", "-b", "main", &format, name]);
        path
    }
}

/// One change of a commit: a file goes, moves, or is written.
fn change(out: &mut Vec<u8>, present: &mut Vec<String>, random: &mut Random) {
    match random.below(8) {
        0 if !present.is_empty() => {
            let gone = present.swap_remove(random.below(present.len() as u64) as usize);
            writeln!(out, "D {gone}").unwrap();
        }
        1 if !present.is_empty() => {
            let i = random.below(present.len() as u64) as usize;
            let new = format!("moved/{}/{}.txt", random.below(9), random.below(1000));
            writeln!(out, "R {} {new}", present[i]).unwrap();
            present.retain(|p| *p != new);
            if i < present.len() {
                present[i] = new;
            } else {
                present.push(new);
            }
        }
        _ => {
            let deep = random.below(5);
            let mut path = String::new();
            for d in 0..deep {
                path += &format!("dir{}-{d}/", random.below(3));
            }
            path += &format!("file{}.txt", random.below(12));
            // A file named like a folder never happens: folders start with "dir".
            let mut text = String::new();
            for line in 0..random.below(200) {
                let r = if random.below(30) == 0 { random.next() } else { 7 };
                text += &format!("line {line} of {path}: {r}\n");
            }
            let mode = if random.below(10) == 0 { "100755" } else { "100644" };
            writeln!(out, "M {mode} inline {path}\ndata {}\n{text}", text.len()).unwrap();
            if !present.contains(&path) {
                present.push(path);
            }
        }
    }
}

/// A history as a stream for git fast-import: branches, merges, tags, deletes, renames, deep folders.
pub fn history(seed: u64, commits: u64) -> Vec<u8> {
    let mut random = Random(seed);
    let mut out = Vec::new();
    let mut marks: Vec<u64> = Vec::new();
    let mut files: Vec<Vec<String>> = Vec::new();
    let mut mark = 0;
    for n in 0..commits {
        let parent = if marks.is_empty() || (random.below(30) == 0 && n * 3 < commits) {
            None
        } else {
            let back = random.below(4.min(marks.len() as u64));
            Some(marks.len() - 1 - back as usize)
        };
        let mut present = parent.map(|p| files[p].clone()).unwrap_or_default();
        let merge = (random.below(6) == 0 && marks.len() > 2 && parent.is_some())
            .then(|| random.below(marks.len() as u64) as usize);
        mark += 1;
        let branch = if n + 1 == commits { "main".to_owned() } else { format!("b{}", random.below(4)) };
        let message = format!("commit {n}\n\nof seed {seed}\n");
        writeln!(out, "commit refs/heads/{branch}\nmark :{mark}\ncommitter C <c@example.org> {} +0100\ndata {}\n{message}",
            1_700_000_000 + n * 60 - random.below(3) * 50, message.len()).unwrap();
        if let Some(p) = parent {
            writeln!(out, "from :{}", marks[p]).unwrap();
        } else {
            // A root: fast-import would take the branch's tip otherwise.
            writeln!(out, "from 0000000000000000000000000000000000000000").unwrap();
        }
        if let Some(m) = merge.filter(|m| Some(*m) != parent) {
            writeln!(out, "merge :{}", marks[m]).unwrap();
        }
        for _ in 0..=random.below(4) {
            change(&mut out, &mut present, &mut random);
        }
        marks.push(mark);
        files.push(present);
        if random.below(10) == 0 {
            writeln!(out, "tag t{n}\nfrom :{mark}\ntagger T <t@example.org> 1700000000 +0000\ndata 4\ntag\n")
                .unwrap();
        }
    }
    out
}

/// Fills a repository made by git with such a history.
pub fn import(repo: &Path, seed: u64, commits: u64) {
    let mut stream = history(seed, commits);
    if git(repo, &["rev-parse", "--show-object-format"]) == "sha256" {
        let none = |format: ObjectFormat| format.zero().to_string();
        let text = String::from_utf8(stream).unwrap();
        stream = text.replace(&none(ObjectFormat::Sha1), &none(ObjectFormat::Sha256)).into_bytes();
    }
    git_in(repo, &["fast-import", "--quiet", "--force"], &stream);
}

/// Every object of a repository: id, kind, size.
pub fn all_objects(repo: &Path) -> Vec<(Oid, String, u64)> {
    let text = git(repo, &["cat-file", "--batch-check", "--batch-all-objects"]);
    text.lines()
        .map(|line| {
            let mut words = line.split(' ');
            (
                oid(words.next().unwrap()),
                words.next().unwrap().to_owned(),
                words.next().unwrap().parse().unwrap(),
            )
        })
        .collect()
}

/// What is reachable from some revisions, as `git rev-list --objects` says.
pub fn reachable(repo: &Path, args: &[&str]) -> std::collections::BTreeSet<Oid> {
    let mut all = vec!["rev-list", "--objects"];
    all.extend(args);
    git(repo, &all).lines().map(|l| oid(l.split(' ').next().unwrap())).collect()
}
