//! Whose folder is whose: what an earlier version named after repositories comes under ids, cut off anywhere; what was
//! moved or restored is never taken for another's.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use slipway_core::{ObjectFormat, RepoId, RepoName};
use slipway_repository::{RepoError, Repositories};

use crate::support::*;

/// Names that are others' ids: 2 is called 3 and 3 is called 2.
const REPOS: [(u64, &str); 4] = [(1, "app"), (2, "3"), (3, "2"), (4, "gone")];

fn records() -> BTreeMap<RepoId, RepoName> {
    REPOS.iter().map(|(id, name)| (RepoId(*id), RepoName::parse(name).unwrap())).collect()
}

/// A folder as 0.1 kept it: by name, each with a branch of that name.
fn old() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("repos");
    fs::create_dir(&root).unwrap();
    for name in ["app", "2", "3", "stray"] {
        git(&root, &["init", "-q", "--bare", &format!("{name}.git")]);
        fs::create_dir(root.join(format!("{name}.git/slipway"))).unwrap();
        say(&root, name, name);
    }
    (dir, root)
}

/// Has the folder's HEAD say whose it was at first.
fn say(root: &Path, folder: &str, branch: &str) {
    git(&root.join(format!("{folder}.git")), &["symbolic-ref", "HEAD", &format!("refs/heads/of-{branch}")]);
}

fn says(repositories: &Repositories, id: u64) -> String {
    let repository = repositories.get(RepoId(id)).unwrap();
    repository.snapshot().unwrap().head().short().to_owned()
}

fn assert_settled(root: &Path) {
    let repositories = Repositories::open(root).unwrap();
    let adopted = repositories.adopt(&records()).unwrap();
    assert!(adopted.failed.is_empty());
    assert_eq!([1, 2, 3].map(|id| says(&repositories, id)), ["of-app", "of-3", "of-2"]);
    assert!(matches!(repositories.get(RepoId(4)), Err(RepoError::NoFolder { .. })));
    let folders: BTreeSet<String> = repositories.folders().unwrap().into_iter().collect();
    assert_eq!(folders, ["1", "2", "3", "stray"].map(str::to_owned).into());
    // Links, but for names of digits; once more changes nothing.
    let names = records().into_iter().map(|(id, name)| (name, id)).collect();
    for _ in 0..2 {
        assert_eq!(repositories.settle_links(&names).unwrap(), []);
        assert_eq!(fs::read_link(root.join("app.git")).unwrap(), Path::new("1.git"));
        assert_eq!(repositories.adopt(&records()).unwrap().moved, 0);
    }
    let left: BTreeSet<String> =
        fs::read_dir(root).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    let want = ["1.git", "2.git", "3.git", "stray.git", "app.git", "gone.git"].map(str::to_owned);
    assert_eq!(left, want.into());
}

#[test]
fn folders_of_an_earlier_version_come_under_ids_cut_off_anywhere() {
    // Each step of a start that was killed: mark, leave, arrive.
    let mark = |root: &Path, stem: &str, id: u64| {
        fs::write(root.join(format!("{stem}/slipway/id")), format!("{id}\n")).unwrap()
    };
    let steps: [&dyn Fn(&Path); 8] = [
        &|_| (),
        &|root| mark(root, "app.git", 1),
        &|root| fs::rename(root.join("app.git"), root.join("1.moving")).unwrap(),
        &|root| mark(root, "3.git", 2),
        &|root| fs::rename(root.join("3.git"), root.join("2.moving")).unwrap(),
        &|root| {
            mark(root, "2.git", 3);
            fs::rename(root.join("2.git"), root.join("3.moving")).unwrap();
        },
        &|root| fs::rename(root.join("2.moving"), root.join("2.git")).unwrap(),
        &|root| fs::rename(root.join("3.moving"), root.join("3.git")).unwrap(),
    ];
    for killed_after in 0..steps.len() {
        let (_dir, root) = old();
        steps.iter().take(killed_after + 1).for_each(|step| step(&root));
        assert_settled(&root);
    }
}

#[test]
fn a_folder_on_another_disk_and_a_rename_that_was_cut_off_are_found() {
    let (dir, root) = old();
    let elsewhere = dir.path().join("elsewhere.git");
    fs::rename(root.join("app.git"), &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, root.join("app.git")).unwrap();
    // 0.1 had recorded the new name, and not yet moved the folder.
    fs::rename(root.join("3.git"), root.join("before.git")).unwrap();
    fs::write(root.join("before.git/slipway/id"), "2\n").unwrap();
    let repositories = Repositories::open(&root).unwrap();
    let adopted = repositories.adopt(&records()).unwrap();
    assert_eq!(adopted.earlier, [(RepoId(2), "before".to_owned())].into());
    assert_eq!([1, 2, 3].map(|id| says(&repositories, id)), ["of-app", "of-3", "of-2"]);
    assert_eq!(fs::read_link(root.join("1.git")).unwrap(), elsewhere);
}

#[test]
fn a_folder_that_was_moved_is_never_taken_for_anothers() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let (one, two) = (RepoId(1), RepoId(2));
    {
        let repositories = Repositories::open(root).unwrap();
        repositories.create(one, ObjectFormat::Sha1).unwrap();
        repositories.create(two, ObjectFormat::Sha1).unwrap();
    }
    say(root, "1", "one");
    // Somebody restores the first into the second's place.
    fs::rename(root.join("2.git"), root.join("kept")).unwrap();
    fs::rename(root.join("1.git"), root.join("2.git")).unwrap();
    let repositories = Repositories::open(root).unwrap();
    assert!(matches!(repositories.get(two), Err(RepoError::NotIts { .. })));
    let records = [(one, "one"), (two, "two")].map(|(id, name)| (id, RepoName::parse(name).unwrap())).into();
    repositories.adopt(&records).unwrap();
    assert_eq!(says(&repositories, 1), "of-one", "it says itself whose it is");
    assert!(matches!(repositories.get(two), Err(RepoError::NoFolder { .. })));
    // A mark that cannot be read is nobody's word.
    fs::write(root.join("1.git/slipway/id"), "1\0\0").unwrap();
    let repositories = Repositories::open(root).unwrap();
    assert!(matches!(repositories.get(one), Err(RepoError::NotIts { .. })));
    repositories.adopt(&records).unwrap();
    assert!(root.join("1.git").exists(), "and left alone");
    // Without one its place counts, and it is marked again.
    fs::remove_dir_all(root.join("1.git/slipway")).unwrap();
    repositories.adopt(&records).unwrap();
    assert_eq!(says(&repositories, 1), "of-one");
    assert_eq!(fs::read_to_string(root.join("1.git/slipway/id")).unwrap(), "1\n");
}

#[test]
fn links_follow_names_and_spare_what_is_not_ours() {
    let lab = Lab::new();
    let (_, _) = lab.create("one");
    let root = lab.dir.path().join("repos");
    let name = |name: &str| RepoName::parse(name).unwrap();
    fs::create_dir(root.join("taken.git")).unwrap();
    assert!(!lab.repositories.link(RepoId(1), &name("taken")).unwrap(), "a folder is there");
    assert!(root.join("taken.git").is_dir() && !root.join("one.git").exists());
    std::os::unix::fs::symlink("/nowhere/7.git", root.join("theirs.git")).unwrap();
    assert!(lab.repositories.link(RepoId(1), &name("42")).unwrap(), "a name of digits has none");
    assert!(!root.join("42.git").is_symlink());
    std::os::unix::fs::symlink("9.git", root.join("stale.git")).unwrap();
    let wanted = [(name("two"), RepoId(1))].into();
    assert_eq!(lab.repositories.settle_links(&wanted).unwrap(), []);
    assert!(root.join("theirs.git").is_symlink() && !root.join("stale.git").is_symlink());
    assert_eq!(fs::read_link(root.join("two.git")).unwrap(), Path::new("1.git"));
}
