//! Stopped at every step, maintenance leaves a whole repository.

#![allow(clippy::unwrap_used)]

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicBool, Ordering};

thread_local! {
    /// Steps until the flag is raised; none if negative.
    static LEFT: Cell<i64> = const { Cell::new(-1) };
    /// What is done at a step instead of raising the flag.
    static MEANWHILE: RefCell<Option<Box<dyn FnOnce()>>> = const { RefCell::new(None) };
}

/// Counts a step, and raises the flag at the one that a test chose.
pub(super) fn step(stop: &AtomicBool) {
    LEFT.with(|left| match left.get() {
        n if n < 0 => {}
        0 => match MEANWHILE.with_borrow_mut(Option::take) {
            Some(act) => {
                left.set(-1);
                act();
            }
            None => stop.store(true, Ordering::Relaxed),
        },
        n => left.set(n - 1),
    });
}

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use slipway_core::Oid;

use crate::support::{Lab, all_objects, git, git_in, import};
use crate::{RepackOptions, RepoError, Repository};

/// A repository with a few packs, loose objects, and objects that nothing reaches.
fn untidy(lab: &Lab, name: &str) -> std::path::PathBuf {
    let (_, path) = lab.create(name);
    for seed in 0..3 {
        import(&path, seed, 6);
    }
    for text in ["young", "old"] {
        git_in(&path, &["hash-object", "-w", "--stdin"], text.as_bytes());
    }
    let tree = git(&path, &["rev-parse", "main^{tree}"]);
    let loose = git(&path, &["commit-tree", "-p", "main", "-m", "loose", &tree]);
    git(&path, &["update-ref", "refs/heads/loose", &loose]);
    path
}

fn ids(path: &Path) -> BTreeSet<Oid> {
    all_objects(path).into_iter().map(|o| o.0).collect()
}

/// Stops the work at ever later steps, until it gets through.
fn stop_everywhere(path: &Path, work: impl Fn(&Repository, &AtomicBool) -> Result<(), RepoError>) {
    let all = ids(path);
    let (mut steps, mut stopped) = (0, 0);
    loop {
        // A process of its own each time, as it were.
        let files = vec![path.join("config")];
        let repository = Repository::open_with(path.to_owned(), crate::Settings::default(), files).unwrap();
        LEFT.with(|left| left.set(steps));
        let done = work(&repository, &AtomicBool::new(false));
        LEFT.with(|left| left.set(-1));
        git(path, &["fsck", "--full", "--strict", "--no-dangling"]);
        assert_eq!(ids(path), all, "after {steps} steps");
        assert!(!path.join("gc.pid").exists());
        match done {
            Err(RepoError::Stopped) => stopped += 1,
            Ok(()) => break,
            Err(e) => panic!("after {steps} steps: {e}"),
        }
        steps += 1 + steps / 12;
    }
    assert!(stopped > 20, "{stopped}");
    for name in std::fs::read_dir(path.join("objects")).unwrap() {
        let name = name.unwrap().file_name();
        assert!(!name.to_string_lossy().starts_with("tmp_"), "{name:?} is left");
    }
}

#[test]
fn a_roll_up_that_stops_anywhere_leaves_everything_whole() {
    let lab = Lab::new();
    let path = untidy(&lab, "app");
    stop_everywhere(&path, |repository, stop| repository.maintain(stop).map(drop));
}

#[test]
fn a_full_repack_that_stops_anywhere_leaves_everything_whole() {
    let lab = Lab::new();
    let path = untidy(&lab, "app");
    let options = RepackOptions { expire_before: SystemTime::now() - Duration::from_secs(86_400) };
    stop_everywhere(&path, |repository, stop| repository.repack(&options, stop).map(drop));
    git(&path, &["multi-pack-index", "verify"]);
    git(&path, &["commit-graph", "verify"]);
}

/// A repository with an old commit in a cruft pack, and that commit.
fn with_cruft(lab: &Lab) -> (std::path::PathBuf, String) {
    let (repository, path) = lab.create("app");
    import(&path, 7, 6);
    let blob = git_in(&path, &["hash-object", "-w", "--stdin"], b"only here");
    let entry = format!("100644 blob {}\tfile\n", String::from_utf8(blob).unwrap().trim());
    let tree = git_in(&path, &["mktree"], entry.as_bytes());
    let tree = String::from_utf8(tree).unwrap();
    let commit = git(&path, &["commit-tree", "-p", "main", "-m", "lost", tree.trim()]);
    let long_ago = SystemTime::now() - Duration::from_secs(40 * 86_400);
    for id in git(&path, &["rev-list", "--objects", &commit, "^main"]).lines() {
        let file = path.join("objects").join(&id[..2]).join(&id[2..40]);
        std::fs::File::open(file).unwrap().set_modified(long_ago).unwrap();
    }
    repository.repack(&month(), &AtomicBool::new(false)).unwrap();
    for file in std::fs::read_dir(path.join("objects/pack")).unwrap() {
        let file = file.unwrap().path();
        if file.extension().is_some_and(|e| e == "mtimes") {
            std::fs::File::open(file).unwrap().set_modified(long_ago).unwrap();
        }
    }
    (path, commit)
}

fn month() -> RepackOptions {
    RepackOptions { expire_before: SystemTime::now() - Duration::from_secs(30 * 86_400) }
}

#[test]
fn an_object_that_a_ref_comes_back_to_does_not_go() {
    let lab = Lab::new();
    let (before, commit) = with_cruft(&lab);
    let (mut stayed, mut went) = (0, 0);
    for step in (0..).step_by(5) {
        // The same start each time.
        let path = lab.dir.path().join("copy.git");
        let _ = std::fs::remove_dir_all(&path);
        let copied = std::process::Command::new("cp").arg("-a").arg(&before).arg(&path).status().unwrap();
        assert!(copied.success());
        let files = vec![path.join("config")];
        let repository = Repository::open_with(path.clone(), crate::Settings::default(), files).unwrap();
        let (folder, back) = (path.clone(), commit.clone());
        let act =
            move || drop(crate::support::git_raw(&folder, &["update-ref", "refs/heads/back", &back], b""));
        MEANWHILE.set(Some(Box::new(act)));
        LEFT.with(|left| left.set(step));
        let done = repository.repack(&month(), &AtomicBool::new(false)).unwrap();
        LEFT.with(|left| left.set(-1));
        // It is too late once the commit is gone: then git does not set the ref.
        git(&path, &["fsck", "--full", "--strict"]);
        let full = done.full.unwrap();
        assert_eq!(full.unreachable, 0);
        if full.dropped > 0 {
            went += 1
        } else {
            stayed += 1
        }
        if MEANWHILE.with_borrow_mut(Option::take).is_some() {
            break;
        }
    }
    assert!(stayed > 5 && went > 0, "{stayed} {went}");
}

/// The commits that have bitmaps, with what git says they reach compared with what the bitmap says.
fn judged(repository: &Repository, path: &Path) -> BTreeSet<Oid> {
    let snapshot = repository.snapshot().unwrap();
    let packs = snapshot.packs.load_full();
    let bitmaps = snapshot.bitmaps().unwrap();
    let by_bit: std::collections::HashMap<usize, Oid> = (0..bitmaps.objects())
        .map(|at| {
            let id = Oid::from_bytes(bitmaps.id(&packs, at).unwrap()).unwrap();
            (bitmaps.bit(&packs, at).unwrap(), id)
        })
        .collect();
    let mut commits = BTreeSet::new();
    for id in by_bit.values() {
        let Some(number) = bitmaps.find(&packs, id) else { continue };
        let reach: BTreeSet<Oid> = bitmaps.reach(number).unwrap().iter().map(|bit| by_bit[&bit]).collect();
        assert!(reach == crate::support::reachable(path, &[&id.to_string()]), "{id}");
        commits.insert(*id);
    }
    for (kind, word) in
        [(crate::Kind::Commit, "commit"), (crate::Kind::Tree, "tree"), (crate::Kind::Blob, "blob")]
    {
        let told: BTreeSet<Oid> = bitmaps.kind(kind).unwrap().iter().map(|bit| by_bit[&bit]).collect();
        let real: BTreeSet<Oid> =
            all_objects(path).into_iter().filter(|(_, kind, _)| kind == word).map(|o| o.0).collect();
        assert!(told == real, "{word}: {} told, {} there", told.len(), real.len());
    }
    commits
}

#[test]
fn bitmaps_that_are_used_again_tell_what_git_tells() {
    let lab = Lab::new();
    let (repository, path) = lab.create("app");
    let stop = AtomicBool::new(false);
    import(&path, 11, 500);
    repository.maintain(&stop).unwrap();
    let mut before = judged(&repository, &path);
    assert!(before.len() > 2);
    for (seed, commits) in [(12, 40), (13, 250), (14, 60)] {
        import(&path, seed, commits);
        // Another number for everything that came before: more tips, and packs rolled into one.
        repository.maintain(&stop).unwrap();
        let after = judged(&repository, &path);
        assert!(after.intersection(&before).count() > 1, "none was used again");
        before = after;
    }
    // A file of bitmaps with a wrong bit in it is not handed on.
    let pack = path.join("objects/pack");
    let is_bitmap = |p: &std::path::PathBuf| p.extension().is_some_and(|e| e == "bitmap");
    let files = || std::fs::read_dir(&pack).unwrap().map(|f| f.unwrap().path());
    let file = files().find(is_bitmap).unwrap();
    let mut bytes = std::fs::read(&file).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    std::fs::remove_file(&file).unwrap();
    std::fs::write(&file, bytes).unwrap();
    import(&path, 15, 60);
    let files = vec![path.join("config")];
    let repository = Repository::open_with(path.clone(), crate::Settings::default(), files).unwrap();
    repository.maintain(&stop).unwrap();
    judged(&repository, &path);
}

/// The objects that a clone of everything gets.
fn cloned(lab: &Lab, path: &Path, name: &str) -> BTreeSet<Oid> {
    let files = vec![path.join("config")];
    let repository = Repository::open_with(path.to_owned(), crate::Settings::default(), files).unwrap();
    let snapshot = repository.snapshot().unwrap();
    let wants = snapshot.refs().iter().map(|r| r.target).collect();
    let request = crate::PackRequest { wants, ofs_delta: true, ..crate::PackRequest::default() };
    let mut stream = snapshot.pack(&request, &AtomicBool::new(false)).unwrap();
    let mut pack = vec![0; stream.bytes() as usize];
    let got = stream.fill(&mut pack).unwrap();
    let client = lab.bare(name);
    git_in(&client, &["index-pack", "--stdin"], &pack[..got]);
    ids(&client)
}

#[test]
fn bitmaps_that_git_wrote_while_history_was_cut_off_are_not_used_once_it_is_whole() {
    for (seed, depth) in [(21, 3), (22, 2), (25, 4)] {
        let lab = Lab::new();
        let source = lab.bare("source.git");
        import(&source, seed, 150);
        let url = format!("file://{}", source.display());
        let (repository, path) = lab.create("app");
        git(&path, &["fetch", "-q", &format!("--depth={depth}"), &url, "+refs/*:refs/*"]);
        let cut = ids(&path).len();
        git(&path, &["repack", "-q", "-adb"]);
        git(&path, &["fetch", "-q", "--unshallow", &url]);
        assert!(!path.join("shallow").exists() && ids(&path).len() > cut);
        let all = crate::support::reachable(&path, &["--all"]);
        for round in 0..2 {
            assert!(repository.snapshot().unwrap().bitmaps().is_none(), "round {round}");
            assert!(fs::read_to_string(path.join("slipway/bitmaps")).unwrap().ends_with(" cut\n"));
            assert_eq!(cloned(&lab, &path, &format!("clone{round}.git")), all, "round {round}");
            // git goes on from what it had.
            git(&path, &["repack", "-q", "-adb"]);
        }
        repository.maintain(&AtomicBool::new(false)).unwrap();
        assert!(judged(&repository, &path).len() > 1);
        assert_eq!(cloned(&lab, &path, "clone.git"), all);
    }
}

#[test]
fn bitmaps_that_git_wrote_for_a_whole_history_are_used() {
    let lab = Lab::new();
    let (repository, path) = lab.create("app");
    import(&path, 23, 150);
    git(&path, &["repack", "-q", "-adb"]);
    assert!(judged(&repository, &path).len() > 1);
    assert!(fs::read_to_string(path.join("slipway/bitmaps")).unwrap().ends_with(" whole\n"));
    // And taken over.
    import(&path, 24, 150);
    repository.maintain(&AtomicBool::new(false)).unwrap();
    assert!(judged(&repository, &path).len() > 1);
}
