//! Answers judged by git, with the bounds of a test.

#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use crate::support::{Lab, git, git_in, oid};
use crate::{PackRequest, Repository, Settings};

/// Commits that each change every one of so many files.
fn import(path: &Path, files: usize, commits: usize) {
    let mut script = String::new();
    for commit in 0..commits {
        writeln!(script, "commit refs/heads/main\ncommitter A <a@b> {commit} +0000\ndata 1\nc").unwrap();
        for file in 0..files {
            // Each version has more in common with the next one than with those after it.
            let lines = commit * 8..commit * 9 + 24;
            let text: String = lines.map(|n| format!("{:x}\n", (file * 131 + n) * 2_654_435_761)).collect();
            writeln!(script, "M 100644 inline f{file}\ndata {}\n{text}", text.len()).unwrap();
        }
    }
    git_in(path, &["fast-import", "--quiet"], script.as_bytes());
    // Each version builds on the next one.
    git(path, &["repack", "-adfq", "--window=10"]);
}

#[test]
fn deltas_of_a_commit_with_very_many_changes_close_no_ring() {
    let lab = Lab::new();
    let (served, client) = (lab.bare("served.git"), lab.bare("client.git"));
    import(&served, crate::limits::NEWS_MAX + 50, 4);
    let repository = Repository::open_with(served.clone(), Settings::default(), Vec::new()).unwrap();
    let answer = |wants: &str, haves: &[&str]| {
        let id = |rev: &str| oid(git(&served, &["rev-parse", rev]).trim());
        let request = PackRequest {
            wants: vec![id(wants)],
            haves: haves.iter().map(|rev| id(rev)).collect(),
            thin: true,
            ofs_delta: true,
            ..PackRequest::default()
        };
        let mut stream = repository.snapshot().unwrap().pack(&request, &AtomicBool::new(false)).unwrap();
        let mut bytes = vec![0; stream.bytes() as usize + 1];
        let got = stream.fill(&mut bytes).unwrap();
        bytes.truncate(got);
        bytes
    };
    // The newest version is the base of the others, and is not sent.
    git_in(&client, &["index-pack", "--stdin"], &answer("main~3", &[]));
    git_in(&client, &["index-pack", "--stdin", "--fix-thin"], &answer("main~1", &["main~3"]));
    git(&client, &["update-ref", "refs/heads/main", git(&served, &["rev-parse", "main~1"]).trim()]);
    git(&client, &["fsck", "--full", "--strict"]);
}
