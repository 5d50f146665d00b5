//! Everything packed anew, judged by git: nothing reachable is ever lost, what is not ages in a cruft pack that git reads,
//! and goes when it is old, and pushes go on meanwhile.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use slipway_core::accept::{Incoming, RefStore};
use slipway_core::{ObjectFormat, Oid, RefName, RefUpdate};
use slipway_repository::*;

use crate::support::*;

const DAY: Duration = Duration::from_secs(86_400);

fn go() -> AtomicBool {
    AtomicBool::new(false)
}

fn two_weeks() -> RepackOptions {
    RepackOptions { expire_before: SystemTime::now() - 14 * DAY }
}

/// Pushes a commit of another repository as a thin pack on top of what the branch has.
fn push(repository: &Repository, from: &Path, branch: &str, old: Option<&str>, new: &str) {
    let revs = format!("{new}\n{}", old.map(|o| format!("^{o}\n")).unwrap_or_default());
    let args = ["pack-objects", "--revs", "--thin", "--stdout", "-q", "--delta-base-offset"];
    let pack = git_in(from, &args, revs.as_bytes());
    let mut received =
        repository.receive(&mut pack.as_slice(), &ReceiveLimits::default(), &|_| (), &go()).unwrap();
    received.check_connected(&[oid(new)], &go()).unwrap();
    received.publish().unwrap();
    set(repository, branch, old, Some(new));
}

fn set(repository: &Repository, branch: &str, old: Option<&str>, new: Option<&str>) {
    let id = |hex: Option<&str>| hex.map_or(repository.object_format().zero(), oid);
    let name = RefName::parse(&format!("refs/heads/{branch}")).unwrap();
    let update = RefUpdate { name, old: id(old), new: id(new) };
    assert_eq!(repository.update(&[update], false).unwrap(), [Ok(())]);
}

/// A repository into which a history was pushed in a number of pushes, and the one it came from.
fn pushed(lab: &Lab, seed: u64, commits: u64, bits: usize) -> (Arc<Repository>, PathBuf, PathBuf) {
    let (repository, path) = lab.create("app");
    let from = lab.bare("from.git");
    import(&from, seed, commits);
    let line = git(&from, &["rev-list", "--reverse", "--topo-order", "main"]);
    let line: Vec<&str> = line.lines().collect();
    let mut old = None;
    for part in line.chunks(line.len().div_ceil(bits)) {
        let new = part[part.len() - 1];
        push(&repository, &from, "main", old, new);
        old = Some(new);
    }
    (repository, path, from)
}

fn files(path: &Path, extension: &str) -> Vec<PathBuf> {
    let all = std::fs::read_dir(path.join("objects/pack")).unwrap().map(|e| e.unwrap().path());
    all.filter(|p| p.extension().is_some_and(|e| e == extension)).collect()
}

fn check(path: &Path) {
    git(path, &["fsck", "--full", "--strict"]);
    git(path, &["multi-pack-index", "verify"]);
    git(path, &["commit-graph", "verify"]);
    for index in files(path, "idx") {
        git(path, &["verify-pack", index.to_str().unwrap()]);
    }
    let plain = git(path, &["rev-list", "--objects", "--count", "--all"]);
    assert_eq!(plain, git(path, &["rev-list", "--objects", "--count", "--all", "--use-bitmap-index"]));
}

fn ids(path: &Path) -> BTreeSet<Oid> {
    all_objects(path).into_iter().map(|o| o.0).collect()
}

fn write(path: &Path, text: &str, age: Duration) -> Oid {
    let id = String::from_utf8(git_in(path, &["hash-object", "-w", "--stdin"], text.as_bytes())).unwrap();
    let file = path.join("objects").join(&id[..2]).join(id[2..].trim());
    backdate(&file, age);
    oid(&id)
}

fn backdate(file: &Path, age: Duration) {
    // Only the owner of a file may do so, whatever its mode says.
    File::open(file).unwrap().set_modified(SystemTime::now() - age).unwrap();
}

/// Has it seem long ago that cruft was set aside.
fn age_cruft(path: &Path) {
    files(path, "mtimes").iter().for_each(|file| backdate(file, Duration::from_secs(7200)));
}

#[test]
fn one_pack_of_everything_with_better_deltas() {
    FORMATS.into_iter().for_each(one_pack);
}

fn one_pack(format: ObjectFormat) {
    let lab = Lab::of(format);
    let (repository, path, _) = pushed(&lab, 41, 300, 24);
    let before = ids(&path);
    let stored = repository.storage().unwrap();
    let done = repository.repack(&two_weeks(), &go()).unwrap();
    assert_eq!((done.after.packs, done.replaced), (1, stored.packs), "{done:?}");
    let full = done.full.unwrap();
    assert_eq!((full.reachable, full.unreachable, full.dropped), (before.len() as u64, 0, 0));
    assert_eq!(ids(&path), before);
    check(&path);
    assert!(files(&path, "mtimes").is_empty());
    // What git makes of the same objects is the measure.
    let theirs = lab.bare("theirs.git");
    git(&theirs, &["fetch", "-q", path.to_str().unwrap(), "+refs/*:refs/*"]);
    git(&theirs, &["repack", "-adfq"]);
    let size = |path: &Path| files(path, "pack").iter().map(|p| p.metadata().unwrap().len()).sum::<u64>();
    println!("pushed {} repacked {} git's {}", stored.bytes, size(&path), size(&theirs));
    assert!(size(&path) < stored.bytes * 9 / 10, "{} of {}", size(&path), stored.bytes);
    assert!(size(&path) < size(&theirs) * 13 / 10, "{} beside git's {}", size(&path), size(&theirs));
    let index = files(&path, "idx");
    let chains = git(&path, &["verify-pack", "-v", "-s", index[0].to_str().unwrap()]);
    let longest =
        chains.lines().filter_map(|l| l.strip_prefix("chain length = ")?.split(':').next()?.parse().ok());
    assert!(longest.max().unwrap_or(0) <= 50, "{chains}");
    // Once more makes nothing worse.
    let again = repository.repack(&two_weeks(), &go()).unwrap();
    assert_eq!(again.after.packs, 1);
    assert!(again.after.bytes <= done.after.bytes, "{} > {}", again.after.bytes, done.after.bytes);
    check(&path);
    assert!(repository.last_maintenance().unwrap().full);
}

#[test]
fn what_nothing_reaches_ages_in_a_pack_that_git_reads() {
    FORMATS.into_iter().for_each(ages);
}

fn ages(format: ObjectFormat) {
    let lab = Lab::of(format);
    let (repository, path, from) = pushed(&lab, 42, 60, 6);
    let (young, old) = (write(&path, "young", Duration::ZERO), write(&path, "old", 30 * DAY));
    let tip = git(&path, &["rev-parse", "main"]);
    let lost = git(&from, &["commit-tree", "-p", &tip, "-m", "lost", &format!("{tip}^{{tree}}")]);
    push(&repository, &from, "lost", None, &lost);
    set(&repository, "lost", Some(&lost), None);
    let before = ids(&path);
    let done = repository.repack(&two_weeks(), &go()).unwrap();
    let full = done.full.unwrap();
    assert_eq!((full.unreachable, full.dropped, done.after.packs), (3, 0, 2), "{done:?}");
    assert_eq!((ids(&path), files(&path, "mtimes").len()), (before.clone(), 1));
    assert!(git(&path, &["count-objects"]).starts_with("0 objects"));
    check(&path);
    // Again: what was set aside keeps its age.
    repository.maintain(&go()).unwrap();
    repository.repack(&two_weeks(), &go()).unwrap();
    assert_eq!(ids(&path), before);
    // git knows which is old, by the times that were written here.
    git(&path, &["repack", "-d", "--cruft", "--cruft-expiration=2.weeks.ago", "-q"]);
    let now = ids(&path);
    assert!(now.contains(&young) && now.contains(&oid(&lost)) && !now.contains(&old));
    assert_eq!(now.len(), before.len() - 1);
    check_plain(&path);
    // And here git's times are read.
    repository.repack(&two_weeks(), &go()).unwrap();
    assert_eq!(ids(&path), now);
    check(&path);
    git(&path, &["gc", "--cruft", "--prune=now", "-q"]);
    assert!(!ids(&path).contains(&young));
    check_plain(&path);
}

fn check_plain(path: &Path) {
    git(path, &["fsck", "--full", "--strict"]);
}

#[test]
fn the_old_goes_but_nothing_that_is_needed() {
    FORMATS.into_iter().for_each(the_old_goes);
}

fn the_old_goes(format: ObjectFormat) {
    let lab = Lab::of(format);
    let (repository, path, _) = pushed(&lab, 43, 40, 4);
    let age = 30 * DAY;
    let (old, needed) = (write(&path, "old", age), write(&path, "needed", age));
    let entry = format!("100644 blob {needed}\tfile\n");
    // A young tree that leads to an old file.
    let tree = String::from_utf8(git_in(&path, &["mktree"], entry.as_bytes())).unwrap();
    let kept = write(&path, "named by a reflog", age);
    std::fs::create_dir_all(path.join("logs/refs/heads")).unwrap();
    let line = format!("{} {kept} A <a@example.org> 1700000000 +0000\tpush\n", format.zero());
    std::fs::write(path.join("logs/refs/heads/main"), line).unwrap();
    let has = |id: &Oid| ids(&path).contains(id);

    // Set aside first, whatever its age; and not at once after that.
    for _ in 0..2 {
        let done = repository.repack(&two_weeks(), &go()).unwrap();
        assert_eq!(done.full.unwrap().dropped, 0);
        assert!(has(&old));
    }
    age_cruft(&path);
    // Too young by what was asked for.
    let all = RepackOptions { expire_before: SystemTime::now() - 60 * DAY };
    assert_eq!(repository.repack(&all, &go()).unwrap().full.unwrap().dropped, 0);
    age_cruft(&path);
    // However little patience is asked for, nothing younger than an hour goes.
    let all = RepackOptions { expire_before: SystemTime::now() };
    let done = repository.repack(&all, &go()).unwrap();
    assert_eq!(done.full.unwrap().dropped, 1, "{done:?}");
    assert!(!has(&old) && has(&needed) && has(&oid(&tree)) && has(&kept));
    check(&path);
}

#[test]
fn a_push_under_way_puts_the_going_off() {
    let lab = Lab::new();
    let (repository, path, from) = pushed(&lab, 44, 20, 2);
    let main = git(&path, &["rev-parse", "main"]);
    let commit = |parent: &str, message: &str| {
        let blob = String::from_utf8(git_in(&from, &["hash-object", "-w", "--stdin"], b"theirs")).unwrap();
        let entry = format!("100644 blob {}\tfile\n", blob.trim());
        let tree = String::from_utf8(git_in(&from, &["mktree"], entry.as_bytes())).unwrap();
        git(&from, &["commit-tree", "-p", parent, "-m", message, tree.trim()])
    };
    let theirs = commit(&main, "theirs");
    push(&repository, &from, "theirs", None, &theirs);
    // A push that builds on the branch, checked and not yet accepted ...
    let mine = commit(&theirs, "mine");
    let args = ["pack-objects", "--revs", "--thin", "--stdout", "-q"];
    let pack = git_in(&from, &args, format!("{mine}\n^{theirs}\n").as_bytes());
    let mut received =
        repository.receive(&mut pack.as_slice(), &ReceiveLimits::default(), &|_| (), &go()).unwrap();
    received.check_connected(&[oid(&mine)], &go()).unwrap();
    // ... when the branch goes, and weeks go by.
    set(&repository, "theirs", Some(&theirs), None);
    assert_eq!(repository.repack(&two_weeks(), &go()).unwrap().full.unwrap().unreachable, 3);
    let soon = |repository: &Repository| repository.repack(&two_weeks(), &go()).unwrap().full.unwrap();
    make_old(&path);
    let full = soon(&repository);
    assert_eq!((full.dropped, full.postponed), (0, 3), "{full:?}");
    received.publish().unwrap();
    set(&repository, "mine", None, Some(&mine));
    drop(received);
    git(&path, &["fsck", "--full", "--strict"]);
    set(&repository, "mine", Some(&mine), None);
    repository.repack(&two_weeks(), &go()).unwrap();
    make_old(&path);
    assert_eq!(soon(&repository).dropped, 4);
    assert!(!ids(&path).contains(&oid(&theirs)));
    check(&path);
}

/// Has what was set aside seem to be a month old: the times are rewritten, with the checksum that they end with.
fn make_old(path: &Path) {
    for file in files(path, "mtimes") {
        let mut bytes = std::fs::read(&file).unwrap();
        let end = bytes.len() - 40;
        for time in bytes[12..end].chunks_exact_mut(4) {
            time.copy_from_slice(&1_700_000_000u32.to_be_bytes());
        }
        let sum = end + 20;
        let hashed = sha1_of(&bytes[..sum]);
        bytes[sum..].copy_from_slice(&hashed);
        std::fs::remove_file(&file).unwrap();
        std::fs::write(&file, bytes).unwrap();
    }
    age_cruft(path);
}

fn sha1_of(bytes: &[u8]) -> [u8; 20] {
    use sha1::Digest;
    sha1::Sha1::digest(bytes).into()
}

#[test]
fn kept_packs_are_left_alone() {
    let lab = Lab::new();
    let (repository, path, _) = pushed(&lab, 45, 60, 6);
    let kept = files(&path, "pack").remove(2);
    std::fs::write(kept.with_extension("keep"), "").unwrap();
    let before = ids(&path);
    let done = repository.repack(&two_weeks(), &go()).unwrap();
    assert_eq!(done.after.packs, 2);
    assert!(kept.exists());
    assert_eq!(ids(&path), before);
    check(&path);
}

#[test]
fn pushes_during_repacks_lose_nothing() {
    let lab = Lab::new();
    let (repository, path, from) = pushed(&lab, 46, 40, 4);
    let line = git(&from, &["rev-list", "--topo-order", "main"]);
    let line: Vec<&str> = line.lines().collect();
    let (done, dropped) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let pushers: Vec<_> = (0..2u64)
            .map(|n| {
                let (repository, from, line) = (&repository, &from, &line);
                scope.spawn(move || pusher(repository, from, line, n))
            })
            .collect();
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                // As if weeks had gone by: whatever was set aside may go.
                make_old(&path);
                match repository.repack(&two_weeks(), &go()) {
                    Ok(done) => {
                        dropped.fetch_add(done.full.unwrap().dropped as usize, Ordering::Relaxed);
                    }
                    Err(e) => panic!("{e}"),
                }
                if dropped.load(Ordering::Relaxed) % 2 == 0 {
                    repository.maintain(&go()).unwrap();
                }
            }
        });
        let failed = pushers.into_iter().map(|p| p.join()).filter(Result::is_err).count();
        done.store(true, Ordering::Relaxed);
        assert_eq!(failed, 0);
    });
    println!("{} objects went meanwhile", dropped.load(Ordering::Relaxed));
    assert!(dropped.load(Ordering::Relaxed) > 0);
    git(&path, &["fsck", "--full", "--strict"]);
    repository.repack(&two_weeks(), &go()).unwrap();
    check(&path);
}

/// Makes commits on a branch of its own and takes them back, over and over, so that the same objects come and go.
fn pusher(repository: &Repository, from: &Path, line: &[&str], n: u64) {
    let mut random = Random(n);
    let branch = format!("own{n}");
    let mut tip: Option<String> = None;
    for round in 0..60u64 {
        let parent = line[random.below(line.len() as u64) as usize];
        let blob = git_in(from, &["hash-object", "-w", "--stdin"], format!("{n} {}", round % 7).as_bytes());
        let entry = format!("100644 blob {}\tfile\n", String::from_utf8(blob).unwrap().trim());
        let tree = String::from_utf8(git_in(from, &["mktree"], entry.as_bytes())).unwrap();
        let new = git(from, &["commit-tree", "-p", parent, "-m", &format!("{}", round % 5), tree.trim()]);
        let main = git(from, &["rev-parse", "main"]);
        // The client knows what main and its own branch have.
        let mut revs = format!("{new}\n^{main}\n");
        if let Some(tip) = &tip {
            revs += &format!("^{tip}\n");
        }
        let args = ["pack-objects", "--revs", "--thin", "--stdout", "-q", "--delta-base-offset"];
        let pack = git_in(from, &args, revs.as_bytes());
        let mut received =
            repository.receive(&mut pack.as_slice(), &ReceiveLimits::default(), &|_| (), &go()).unwrap();
        received.check_connected(&[oid(&new)], &go()).unwrap();
        std::thread::sleep(Duration::from_millis(random.below(20)));
        received.publish().unwrap();
        set(repository, &branch, tip.as_deref(), Some(&new));
        drop(received);
        tip = Some(new);
        if random.below(3) == 0 {
            set(repository, &branch, tip.take().as_deref(), None);
            std::thread::sleep(Duration::from_millis(random.below(40)));
        }
    }
}

#[test]
fn fetches_find_what_was_moved_since_others_asked_for_it() {
    let lab = Lab::new();
    let (repository, path, from) = pushed(&lab, 47, 120, 30);
    let tip = git(&path, &["rev-parse", "main"]);
    let fetch = |behind: usize| {
        let had = git(&path, &["rev-parse", &format!("{}~{behind}", tip.trim())]);
        let client = lab.bare(&format!("client-{behind}.git"));
        git(&client, &["fetch", "-q", from.to_str().unwrap(), had.trim()]);
        let request = PackRequest {
            wants: vec![oid(tip.trim())],
            haves: vec![oid(had.trim())],
            thin: true,
            ofs_delta: true,
            ..PackRequest::default()
        };
        let mut pack = repository.snapshot().unwrap().pack(&request, &go()).unwrap();
        let mut bytes = vec![0; pack.bytes() as usize];
        assert_eq!(pack.fill(&mut bytes).unwrap(), bytes.len());
        git_in(&client, &["index-pack", "--stdin", "--fix-thin", "--strict"], &bytes);
        git(&client, &["update-ref", "refs/heads/main", tip.trim()]);
        git(&client, &["fsck", "--full", "--strict"]);
    };
    fetch(20);
    fetch(19);
    let more = write(&path, "an object of its own", Duration::ZERO);
    git_in(&path, &["pack-objects", "-q", "objects/pack/pack"], format!("{more}\n").as_bytes());
    fetch(18);
    repository.maintain(&go()).unwrap();
    fetch(17);
    repository.repack(&two_weeks(), &go()).unwrap();
    fetch(16);
}
