//! Maintenance, judged by git: what it writes, what it leaves, and that nothing is ever missing meanwhile.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use slipway_core::Oid;
use slipway_core::accept::RefStore;
use slipway_core::{ObjectFormat, RefName, RefUpdate};
use slipway_repository::*;

use crate::support::*;

/// A history pushed bit by bit, as thin packs.
fn pushed(
    lab: &Lab,
    seed: u64,
    commits: u64,
    bits: usize,
) -> (std::sync::Arc<Repository>, std::path::PathBuf) {
    let (repository, path) = lab.create("app");
    let from = lab.bare("from.git");
    import(&from, seed, commits);
    let line = git(&from, &["rev-list", "--reverse", "--topo-order", "main"]);
    let line: Vec<&str> = line.lines().collect();
    let stop = AtomicBool::new(false);
    let mut old: Option<String> = None;
    let mut pushes: Vec<String> =
        line.chunks(line.len().div_ceil(bits)).map(|c| c[c.len() - 1].to_owned()).collect();
    pushes.dedup();
    for new in pushes {
        let revs = format!("{new}\n{}", old.as_ref().map(|o| format!("^{o}\n")).unwrap_or_default());
        let args = ["pack-objects", "--revs", "--thin", "--stdout", "-q", "--delta-base-offset"];
        let pack = git_in(&from, &args, revs.as_bytes());
        let mut received =
            repository.receive(&mut pack.as_slice(), &ReceiveLimits::default(), &|_| (), &stop).unwrap();
        received.check_connected(&[oid(&new)], &stop).unwrap();
        slipway_core::accept::Incoming::publish(&mut received).unwrap();
        let update = RefUpdate {
            name: RefName::parse("refs/heads/main").unwrap(),
            old: old.as_ref().map_or(lab.format.zero(), |o| oid(o)),
            new: oid(&new),
        };
        assert!(repository.update(&[update], false).unwrap()[0].is_ok());
        old = Some(new);
    }
    (repository, path)
}

fn packs(path: &Path) -> usize {
    let files = std::fs::read_dir(path.join("objects/pack")).unwrap();
    files.filter(|f| f.as_ref().unwrap().path().extension().is_some_and(|e| e == "pack")).count()
}

fn check(path: &Path) {
    git(path, &["fsck", "--full", "--strict"]);
    git(path, &["multi-pack-index", "verify"]);
    git(path, &["commit-graph", "verify"]);
    for pack in std::fs::read_dir(path.join("objects/pack")).unwrap() {
        let pack = pack.unwrap().path();
        if pack.extension().is_some_and(|e| e == "idx") {
            git(path, &["verify-pack", pack.to_str().unwrap()]);
        }
    }
    let head = git(path, &["rev-parse", "main"]);
    git(path, &["rev-list", "--test-bitmap", &head]);
    let plain = git(path, &["rev-list", "--objects", "--count", "--all"]);
    assert_eq!(plain, git(path, &["rev-list", "--objects", "--count", "--all", "--use-bitmap-index"]));
}

#[test]
fn pushes_are_rolled_up_and_git_agrees() {
    FORMATS.into_iter().for_each(rolled_up);
}

fn rolled_up(format: ObjectFormat) {
    let lab = Lab::of(format);
    let (repository, path) = pushed(&lab, 31, 300, 24);
    let before: BTreeSet<Oid> = all_objects(&path).into_iter().map(|o| o.0).collect();
    let bytes = repository.storage().unwrap().bytes;
    let count = packs(&path);
    assert!(count > 10);
    assert!(repository.storage().unwrap().needs_work());
    let done = repository.maintain(&AtomicBool::new(false)).unwrap();
    assert!(packs(&path) < 4, "{done:?}");
    assert_eq!(done.after.packs, packs(&path));
    assert!(done.after.bitmaps > 0 && done.after.graph_commits > 0 && !done.after.needs_work(), "{done:?}");
    // Bases that came with every thin push are there once now, and no delta was blown up.
    assert!(done.after.bytes <= bytes, "{} > {bytes}", done.after.bytes);
    check(&path);
    let after: BTreeSet<Oid> = all_objects(&path).into_iter().map(|o| o.0).collect();
    assert_eq!(before, after);
    // Once more changes nothing.
    let again = repository.maintain(&AtomicBool::new(false)).unwrap();
    assert_eq!((again.before, again.after.packs), (done.after.clone(), done.after.packs));
    assert!(!path.join("gc.pid").exists());
}

#[test]
fn what_is_maintained_is_served_whole() {
    FORMATS.into_iter().for_each(served_whole);
}

fn served_whole(format: ObjectFormat) {
    let lab = Lab::of(format);
    let (repository, path) = pushed(&lab, 32, 200, 12);
    repository.maintain(&AtomicBool::new(false)).unwrap();
    let tip = oid(&git(&path, &["rev-parse", "main"]));
    let request = PackRequest { wants: vec![tip], ofs_delta: true, ..PackRequest::default() };
    let mut stream = repository.snapshot().unwrap().pack(&request, &AtomicBool::new(false)).unwrap();
    let mut pack = vec![0; stream.bytes() as usize + 1];
    let got = stream.fill(&mut pack).unwrap();
    let client = lab.bare("client.git");
    git_in(&client, &["index-pack", "--stdin", "--strict"], &pack[..got]);
    let came: BTreeSet<Oid> = all_objects(&client).into_iter().map(|o| o.0).collect();
    assert_eq!(came, reachable(&path, &["main"]));
}

#[test]
fn loose_objects_are_packed_and_unreachable_ones_left() {
    FORMATS.into_iter().for_each(loose_are_packed);
}

fn loose_are_packed(format: ObjectFormat) {
    let lab = Lab::of(format);
    let (repository, path) = lab.create("app");
    import(&path, 33, 40);
    let aside = lab.dir.path().join("aside");
    std::fs::rename(path.join("objects/pack"), &aside).unwrap();
    std::fs::create_dir(path.join("objects/pack")).unwrap();
    for entry in std::fs::read_dir(&aside).unwrap() {
        let file = entry.unwrap().path();
        if file.extension().is_some_and(|e| e == "pack") {
            git_in(&path, &["unpack-objects", "-q"], &std::fs::read(file).unwrap());
        }
    }
    let stray = git_in(&path, &["hash-object", "-w", "--stdin"], b"nobody points at this");
    let stray = String::from_utf8(stray).unwrap().trim().to_owned();
    repository.maintain(&AtomicBool::new(false)).unwrap();
    check(&path);
    let unreachable = git(&path, &["fsck", "--unreachable", "--no-reflogs"]);
    let unreachable = unreachable.lines().filter(|l| l.starts_with("unreachable ")).count();
    assert!(unreachable > 0);
    assert_eq!(git(&path, &["count-objects"]).split(' ').next(), Some(unreachable.to_string().as_str()));
    assert_eq!(git(&path, &["cat-file", "-t", &stray]), "blob");
}

#[test]
fn git_gc_and_maintenance_keep_out_of_each_others_way() {
    let lab = Lab::new();
    let (repository, path) = pushed(&lab, 34, 60, 6);
    let host =
        String::from_utf8(std::process::Command::new("uname").arg("-n").output().unwrap().stdout).unwrap();
    // A process that lives: the test's parent.
    let parent = std::os::unix::process::parent_id();
    std::fs::write(path.join("gc.pid"), format!("{parent} {}", host.trim())).unwrap();
    assert!(matches!(repository.maintain(&AtomicBool::new(false)), Err(RepoError::Maintained)));
    std::fs::write(path.join("gc.pid"), format!("{} {}", u32::MAX, host.trim())).unwrap();
    repository.maintain(&AtomicBool::new(false)).unwrap();
    git(&path, &["gc", "-q", "--prune=now"]);
    repository.maintain(&AtomicBool::new(false)).unwrap();
    check(&path);
}

#[test]
fn a_stopped_maintenance_leaves_everything_whole() {
    let lab = Lab::new();
    let (repository, path) = pushed(&lab, 35, 60, 6);
    assert!(matches!(repository.maintain(&AtomicBool::new(true)), Err(RepoError::Stopped)));
    git(&path, &["fsck", "--full", "--strict"]);
    repository.maintain(&AtomicBool::new(false)).unwrap();
    check(&path);
}
