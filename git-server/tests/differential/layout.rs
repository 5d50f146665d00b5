//! Histories on disk, in every form in which git and this server leave them.

use std::io::Write;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use slipway_core::Oid;
use slipway_repository::{Repository, Settings};

use crate::history::History;
use crate::oracle::git;
use crate::pack::{Entry, write};
use crate::random::Random;

/// Makes a bare repository in `dir` (which ends in `.git`) with all objects and refs of a history.
pub(crate) fn store(history: &History, dir: &Path, settings: &str, random: &mut Random) {
    create(history, dir, settings);
    let mut rest = &history.order[..];
    while !rest.is_empty() {
        let (now, later) =
            rest.split_at(if random.one_in(2) { rest.len() } else { 1 + random.below(rest.len()) });
        take(history, dir, now, random.one_in(3));
        rest = later;
    }
    set_refs(history, dir);
    for _ in 0..random.below(3) {
        tidy(dir, random);
    }
    // Some of it comes after: what is in no bitmap, no commit-graph, no multi-pack index.
    if random.one_in(2) {
        let again = random.some(&history.order, 5);
        if !again.is_empty() {
            take(history, dir, &again, random.one_in(2));
        }
    }
}

/// An empty repository.
pub(crate) fn create(history: &History, dir: &Path, settings: &str) {
    let (parent, name) = (dir.parent().unwrap(), dir.file_name().unwrap().to_str().unwrap());
    let format = format!("--object-format={}", history.format());
    git(parent, &["init", "-q", "--bare", "--template=", &format, name], b"");
    let mut config = std::fs::OpenOptions::new().append(true).open(dir.join("config")).unwrap();
    config.write_all(b"[core]\n\tfsync = none\n[pack]\n\tthreads = 1\n[gc]\n\tauto = 0\n").unwrap();
    config.write_all(settings.as_bytes()).unwrap();
    std::fs::write(dir.join("HEAD"), format!("ref: {}\n", history.head)).unwrap();
}

/// Puts objects in, each by itself or together.
fn take(history: &History, dir: &Path, ids: &[Oid], loose: bool) {
    let mut entries = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for id in ids.iter().filter(|id| seen.insert(**id)) {
        let object = &history.objects[id];
        entries.push(Entry::Whole(object.kind, &object.data));
    }
    let pack = write(history.sha256, &entries);
    if loose {
        git(dir, &["unpack-objects", "-q"], &pack);
    } else {
        git(dir, &["index-pack", "--stdin"], &pack);
    }
}

/// Sets all refs.
pub(crate) fn set_refs(history: &History, dir: &Path) {
    let lines: String = history.refs.iter().map(|(name, id)| format!("create {name} {id}\n")).collect();
    git(dir, &["update-ref", "--stdin"], lines.as_bytes());
}

/// One thing that an administrator, git or this server does to a repository now and then.
fn tidy(dir: &Path, random: &mut Random) {
    let run = |args: &[&str]| drop(git(dir, args, b""));
    match random.below(12) {
        0 => run(&["pack-refs", "--all"]),
        1 => run(&["repack", "-q", "-d"]),
        2 => run(&["repack", "-q", "-a", "-d", "-f", "--depth=8"]),
        3 => run(&["repack", "-q", "-A", "-d", "-b"]),
        4 => run(&["repack", "-q", "-d", "--geometric=2", "--write-midx"]),
        5 => {
            run(&["repack", "-q", "-d", "-l"]);
            run(&["repack", "-q", "-d", "--geometric=2", "--write-midx", "--write-bitmap-index"]);
        }
        6 => run(&["repack", "-q", "-d", "--cruft"]),
        7 => run(&["commit-graph", "write", "--reachable"]),
        8 => run(&["commit-graph", "write", "--reachable", "--changed-paths", "--split"]),
        9 => run(&["gc", "-q", "--prune=never"]),
        full => maintain(dir, full == 10),
    }
}

/// This server's own maintenance.
pub(crate) fn maintain(dir: &Path, full: bool) {
    let files = vec![dir.join("config")];
    let repository = Repository::open_with(dir.to_owned(), Settings::default(), files).unwrap();
    let stop = AtomicBool::new(false);
    let done = if full {
        repository.repack(&repository.repack_options().unwrap(), &stop)
    } else {
        repository.maintain(&stop)
    };
    done.unwrap();
}
