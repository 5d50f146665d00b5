//! What the search promises, and its deltas beside those that stock git finds among the same objects.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use super::super::apply;
use super::*;
use crate::formats::name_hash;

/// Versions of a text: each changes a few lines of the one before.
fn versions(name: u64, count: u64, lines: u64) -> Vec<Vec<u8>> {
    let line = |n: u64, version: u64| {
        // The last version up to this one that changed the line.
        let changed = (0..=version).rev().find(|v| (n * 7 + v * 13 + name).is_multiple_of(37)).unwrap_or(0);
        format!(
            "line {n} of {name}, changed in {changed}: {:x}\n",
            (n + changed * 31).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        )
    };
    (0..count).map(|v| (0..lines + v).map(|n| line(n, v)).collect::<String>().into_bytes()).collect()
}

fn objects(contents: &[Vec<u8>], per_name: usize) -> Vec<Candidate> {
    let object = |(n, data): (usize, &Vec<u8>)| Candidate {
        kind: if n % 5 == 4 { Kind::Tree } else { Kind::Blob },
        size: data.len() as u64,
        name_hash: (n / per_name) as u32,
        role: Role::Search,
    };
    contents.iter().enumerate().map(object).collect()
}

fn settings(stop: &AtomicBool) -> Settings<'_> {
    Settings { window: 10, depth: 50, window_bytes: 64 << 20, threads: 1, stop }
}

type Found = HashMap<u32, Option<(u32, usize)>>;

/// Searches, applies every delta, and looks whether chains end and are short enough.
fn found(objects: &[Candidate], contents: &[Vec<u8>], settings: &Settings<'_>) -> Found {
    let found = Mutex::new(Found::new());
    let sink = |n: u32, outcome: Outcome| {
        let told = match outcome {
            Outcome::Whole => None,
            Outcome::Delta { base, delta } => {
                let mut out = Vec::new();
                apply(&contents[base as usize], &delta, u64::MAX, &mut out).unwrap();
                assert!(out == contents[n as usize]);
                assert_eq!(objects[base as usize].kind, objects[n as usize].kind);
                Some((base, delta.len()))
            }
        };
        assert!(found.lock().unwrap().insert(n, told).is_none(), "{n} was reported twice");
        Ok(())
    };
    let read = |n: u32, data: &mut Vec<u8>| {
        data.extend_from_slice(&contents[n as usize]);
        Ok(())
    };
    search(objects, settings, &read, &sink).unwrap();
    let found = found.into_inner().unwrap();
    check_chains(objects, &found, settings.depth);
    found
}

fn check_chains(objects: &[Candidate], found: &Found, depth: usize) {
    for (object, n) in objects.iter().zip(0u32..) {
        let base = |n: u32| match (found.get(&n), objects[n as usize].role) {
            (Some(told), _) => told.map(|(base, _)| base),
            (None, Role::Known(base)) => Some(base),
            (None, Role::BaseOnly) => None,
            (None, Role::Search) => panic!("{n} was not reported"),
        };
        assert!(object.role != Role::BaseOnly || !found.contains_key(&n));
        let steps = std::iter::successors(Some(n), |&n| base(n)).take(depth + 2).count() - 1;
        assert!(steps <= depth, "a chain of more than {depth} deltas ends at {n}");
    }
}

fn sum(found: &Found, contents: &[Vec<u8>]) -> usize {
    found.iter().map(|(n, told)| told.map_or(contents[*n as usize].len(), |(_, len)| len)).sum()
}

#[test]
fn likes_become_deltas_within_the_depth() {
    let stop = AtomicBool::new(false);
    let contents: Vec<_> = (0..4).flat_map(|name| versions(name, 60, 120)).collect();
    let objects = objects(&contents, 60);
    let all: usize = contents.iter().map(Vec::len).sum();
    for depth in [0, 1, 5, 50] {
        let found = found(&objects, &contents, &Settings { depth, ..settings(&stop) });
        let total = sum(&found, &contents);
        assert!(
            if depth == 0 { total == all } else { total < all / if depth == 1 { 3 } else { 5 } },
            "{total} of {all} at depth {depth}"
        );
    }
    let none = found(&objects, &contents, &Settings { window_bytes: 1000, ..settings(&stop) });
    assert_eq!(sum(&none, &contents), all, "without memory all stay whole");
    let little = found(&objects, &contents, &Settings { window_bytes: 300 << 10, ..settings(&stop) });
    assert!(sum(&little, &contents) < all / 3, "{} of {all}", sum(&little, &contents));
}

#[test]
fn threads_find_what_one_finds() {
    let stop = AtomicBool::new(false);
    let contents: Vec<_> = (0..220).flat_map(|name| versions(name, 10, 12)).collect();
    let objects = objects(&contents, 10);
    let one = found(&objects, &contents, &settings(&stop));
    let three = found(&objects, &contents, &Settings { threads: 3, ..settings(&stop) });
    let (one, three) = (sum(&one, &contents), sum(&three, &contents));
    assert!(three < one + one / 50, "{three} instead of {one}");
}

#[test]
fn known_deltas_stay_unless_they_cannot() {
    let stop = AtomicBool::new(false);
    let contents = versions(1, 40, 50);
    let mut objects = objects(&contents, 40);
    objects.iter_mut().for_each(|object| object.kind = Kind::Blob);
    // A chain of four below 5, a ring, itself, one beyond the list, another kind.
    for (n, base) in
        [(1, 5), (2, 1), (3, 2), (4, 3), (10, 11), (11, 12), (12, 10), (20, 20), (21, 999), (22, 39)]
    {
        objects[n].role = Role::Known(base);
    }
    objects[39].kind = Kind::Tree;
    let kept = found(&objects, &contents, &Settings { depth: 6, ..settings(&stop) });
    assert!([1, 2, 3, 4].iter().all(|n| !kept.contains_key(n)));
    assert_eq!([10, 11, 12].iter().filter(|n| kept.contains_key(n)).count(), 1, "one of the ring is cut off");
    assert!([20, 21, 22, 5].iter().all(|n| kept.contains_key(n)));
    let cut = found(&objects, &contents, &Settings { depth: 2, ..settings(&stop) });
    assert!([1, 2, 3, 4].iter().any(|n| cut.contains_key(n)), "the chain of four is cut");
}

#[test]
fn bases_of_the_receiver_are_used_and_not_sent() {
    let stop = AtomicBool::new(false);
    let contents = versions(3, 12, 80);
    let mut objects = objects(&contents, 12);
    for (n, object) in objects.iter_mut().enumerate() {
        object.kind = Kind::Blob;
        object.role = if n == 0 { Role::Search } else { Role::BaseOnly };
    }
    let found = found(&objects, &contents, &settings(&stop));
    assert_eq!(found.len(), 1);
    assert!(found[&0].is_some());
}

#[test]
fn it_stops_and_tells_errors() {
    let stop = AtomicBool::new(true);
    let contents: Vec<_> = (0..220).flat_map(|name| versions(name, 10, 4)).collect();
    let objects = objects(&contents, 10);
    let fine = |n: u32, data: &mut Vec<u8>| {
        data.extend_from_slice(&contents[n as usize]);
        Ok(())
    };
    let take = |_: u32, _: Outcome| Ok(());
    for threads in [1, 3] {
        stop.store(true, Ordering::Relaxed);
        let settings = Settings { threads, ..settings(&stop) };
        assert!(matches!(search(&objects, &settings, &fine, &take), Err(RepoError::Stopped)));
        stop.store(false, Ordering::Relaxed);
        let broken =
            |n: u32, data: &mut Vec<u8>| if n == 77 { Err(RepoError::Unchecked) } else { fine(n, data) };
        assert!(matches!(search(&objects, &settings, &broken, &take), Err(RepoError::Unchecked)));
        let full = |n: u32, _: Outcome| if n == 88 { Err(RepoError::NotAtomic) } else { Ok(()) };
        assert!(matches!(search(&objects, &settings, &fine, &full), Err(RepoError::NotAtomic)));
    }
}

fn git(dir: &Path, args: &[&str], input: &[u8]) -> Vec<u8> {
    let mut git = Command::new("git");
    git.args(args).current_dir(dir).env_clear().env("PATH", std::env::var_os("PATH").unwrap());
    git.env("HOME", dir).env("GIT_CONFIG_NOSYSTEM", "1");
    let mut child = git.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let feeder = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    feeder.join().unwrap().unwrap();
    assert!(output.status.success(), "git {args:?}");
    output.stdout
}

/// Blobs, trees and commits of a history, in the order in which git lists them, with their contents.
fn history(dir: &Path) -> (Vec<u8>, Vec<Candidate>, Vec<Vec<u8>>) {
    let texts: Vec<_> = (0..12).map(|name| versions(name, 40, 30 + name * 40)).collect();
    let mut stream = Vec::new();
    for version in 0..40 {
        write!(
            stream,
            "commit refs/heads/main\ncommitter C <c@x> {} +0000\ndata 2\nm\n\n",
            1_700_000_000 + version * 60
        )
        .unwrap();
        for (name, text) in texts.iter().enumerate().filter(|(name, _)| (name + version).is_multiple_of(3)) {
            write!(stream, "M 644 inline src/d{}/f{name}.txt\ndata {}\n", name % 4, text[version].len())
                .unwrap();
            stream.extend_from_slice(&text[version]);
            stream.push(b'\n');
        }
    }
    git(dir, &["init", "-q", "--bare", "."], b"");
    git(dir, &["fast-import", "--quiet"], &stream);
    let list = git(dir, &["rev-list", "--objects", "main"], b"");
    let (mut objects, mut contents, mut ids) = (Vec::new(), Vec::new(), String::new());
    let text = String::from_utf8(list.clone()).unwrap();
    let rows: Vec<_> = text.lines().map(|line| line.split_once(' ').unwrap_or((line, ""))).collect();
    rows.iter().for_each(|(id, _)| writeln!(ids, "{id}").unwrap());
    let batch = git(dir, &["cat-file", "--batch"], ids.as_bytes());
    let mut rest = &batch[..];
    for (_, path) in &rows {
        let end = rest.iter().position(|&b| b == b'\n').unwrap();
        let head: Vec<_> = rest[..end].split(|&b| b == b' ').collect();
        let size: usize = std::str::from_utf8(head[2]).unwrap().parse().unwrap();
        let kind = Kind::from_bytes(head[1]).unwrap();
        let name_hash = crate::formats::name_hash(path.as_bytes());
        objects.push(Candidate { kind, size: size as u64, name_hash, role: Role::Search });
        contents.push(rest[end + 1..end + 1 + size].to_vec());
        rest = &rest[end + size + 2..];
    }
    (list, objects, contents)
}

#[test]
fn finds_as_much_as_git() {
    let stop = AtomicBool::new(false);
    let dir = tempfile::tempdir().unwrap();
    let (list, objects, contents) = history(dir.path());
    let args = ["pack-objects", "-q", "--no-reuse-delta", "--window=10", "--depth=50", "--threads=1", "p"];
    git(dir.path(), &args, &list);
    let index = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().path());
    let index = index.filter(|p| p.extension().is_some_and(|e| e == "idx")).collect::<Vec<_>>();
    let told = git(dir.path(), &["verify-pack", "-v", index[0].to_str().unwrap()], b"");
    let told = String::from_utf8(told).unwrap();
    // A row is: id, kind, size (a delta's own), size in the pack, offset; a delta's also: depth, base.
    let rows = told.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let rows = rows.filter(|row| row.len() >= 5 && row[0].len() == 40).collect::<Vec<_>>();
    assert_eq!(rows.len(), objects.len());
    let theirs: usize = rows.iter().map(|row| row[2].parse::<usize>().unwrap()).sum();
    let ours = sum(&found(&objects, &contents, &settings(&stop)), &contents);
    assert!(ours <= theirs + theirs / 50, "{ours} bytes; git makes {theirs}");
}
