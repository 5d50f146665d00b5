//! A damaged database is refused, and left as it was: every start either has all that was acknowledged, or says so.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use slipway_core::accept::Ledger;
use slipway_core::{Problem, ProblemKind, RepoId, Role, Secret};
use slipway_store::{Store, StoreError, restore, salvage};

use crate::on_disk::copy;
use crate::samples::*;

/// Places that are tried in each file.
const PLACES: usize = 100;
const NOISE_BYTES: usize = 16;

/// Everything that the store says, in words.
fn all(store: &Store) -> Vec<String> {
    let mut said = vec![
        format!("{:?}", store.users().unwrap()),
        format!("{:?}", store.keys(None).unwrap()),
        format!("{:?}", store.tokens(None).unwrap()),
        format!("{:?}", store.registry_password(&registry_name("hub")).unwrap().unwrap().expose()),
        format!("{:?}", store.kubeconfig(&cluster_name("prod")).unwrap().unwrap().expose()),
        format!("{:?}", store.intended().unwrap()),
    ];
    for repo in store.repos().unwrap() {
        said.push(format!(
            "{repo:?} {:?} {:?}",
            store.grants(repo.id).unwrap(),
            store.bindings(repo.id).unwrap()
        ));
        said.push(format!("{:?}", store.events(repo.id, 1000).unwrap()));
        said.push(format!("{:?}", store.builds(repo.id, None, 1000).unwrap()));
        said.push(format!("{:?}", store.deploys(repo.id, None, 1000).unwrap()));
    }
    said
}

/// What a team has after a while.
fn fill(store: &Store) {
    for n in 0..64 {
        let name = format!("user-{n}");
        store.create_user(&user(&name, n == 0)).unwrap();
        store.add_key(&key(&name, &format!("SHA256:{n}"))).unwrap();
        if n < 12 {
            store.add_token(&token(&name, &format!("id-{n}")), [n; 32]).unwrap();
        }
    }
    store.put_registry(&registry("hub"), Some(&Secret::new("password"))).unwrap();
    store.put_cluster(&cluster("prod"), &Secret::new("kubeconfig ".repeat(900))).unwrap();
    for name in ["app", "lib", "web"] {
        let repo = store.create_repo(&repo_name(name), "", false, NOW).unwrap().id;
        store.grant(&user_name("user-1"), repo, Role::Write).unwrap();
        store.bind_registry(&registry_binding(repo, "hub")).unwrap();
        for _ in 0..12 {
            let owed = vec![owes_build("main"), owes_deploy("main")];
            let id = store.intend(event(repo, &["main"], owed)).unwrap().id;
            store.accept(id, &[update("main")], NOW).unwrap();
        }
    }
    store.intend(event(RepoId(1), &["next"], vec![])).unwrap();
}

fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            found.insert(path.file_name().unwrap().into(), std::fs::read(&path).unwrap());
        }
    }
    found
}

/// A filled database; `stopped` cleanly, or as `kill -9` leaves it.
struct Scene {
    home: Home,
    whole: PathBuf,
    said: Vec<String>,
}

impl Scene {
    fn new(stopped: bool) -> Self {
        let home = Home::new();
        let store = home.open();
        fill(&store);
        let said = all(&store);
        let whole = home.path().join("whole");
        if stopped {
            drop(store);
            copy(&home.db(), &whole);
        } else {
            copy(&home.db(), &whole);
        }
        Self { home, whole, said }
    }

    /// A file of the database, by its name's beginning.
    fn file(&self, name: &str) -> PathBuf {
        let found = contents(&self.whole).into_keys().find(|path| path.to_str().unwrap().starts_with(name));
        found.unwrap_or_else(|| panic!("no {name} in {}", self.whole.display()))
    }

    /// Opens a copy on which `harm` was done: all there, or refused and left as it was. True if refused.
    fn refused(&self, what: &str, harm: impl FnOnce(&Path)) -> bool {
        let folder = self.home.path().join("tried/db");
        drop(std::fs::remove_dir_all(folder.parent().unwrap()));
        copy(&self.whole, &folder);
        harm(&folder);
        let harmed = contents(&folder);
        match Store::open(&folder, &self.home.key) {
            Ok(store) => {
                assert_eq!(all(&store), self.said, "{what}: it is served without all that was acknowledged");
                store.create_user(&user("later", false)).unwrap();
                false
            }
            Err(error) => {
                let problem = Problem::from(error);
                assert_eq!(problem.kind, ProblemKind::Broken, "{what}: {problem}");
                assert!(problem.cure.contains("slipway restore"), "{what}: {problem}");
                assert_eq!(contents(&folder), harmed, "{what}: its files are not as they were");
                let names = std::fs::read_dir(folder.parent().unwrap()).unwrap();
                let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
                assert!(names.len() <= 2, "{what}: something is left: {names:?}");
                true
            }
        }
    }
}

fn noise(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    let end = (at + NOISE_BYTES).min(bytes.len());
    for (byte, n) in bytes[at..end].iter_mut().zip(0u8..) {
        *byte ^= n.wrapping_mul(37) | 1;
    }
    std::fs::write(path, bytes).unwrap();
}

fn cut(path: &Path, length: usize) {
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(length as u64).unwrap();
}

/// How far the file is written.
fn used(path: &Path) -> usize {
    std::fs::read(path).unwrap().iter().rposition(|&b| b != 0).unwrap() + 1
}

#[test]
fn noise_and_cuts_at_a_hundred_places_are_refused_or_harmless() {
    for stopped in [true, false] {
        let scene = Scene::new(stopped);
        assert!(!scene.refused("untouched", |_| ()));
        let bytes = used(&scene.whole.join("db"));
        let (mut noisy, mut shorter) = (0, 0);
        for n in 0..PLACES {
            let at = bytes * n / PLACES;
            noisy += usize::from(
                scene.refused(&format!("noise at {at} of {bytes}"), |db| noise(&db.join("db"), at)),
            );
            shorter +=
                usize::from(scene.refused(&format!("cut at {at} of {bytes}"), |db| cut(&db.join("db"), at)));
        }
        println!(
            "stopped: {stopped}; {noisy} of {PLACES} noises and {shorter} of {PLACES} cuts were refused"
        );
        // Where the log was written anew since, noise harms nothing; a cut always does.
        assert!(noisy > PLACES / 4, "{noisy}");
        assert_eq!(shorter, PLACES);
    }
}

#[test]
fn the_last_acknowledged_change_is_missed() {
    let scene = Scene::new(false);
    let bytes = used(&scene.whole.join("db"));
    for back in [1, 2, 7, 30, 200] {
        assert!(scene.refused(&format!("{back} bytes less"), |db| cut(&db.join("db"), bytes - back)));
        assert!(
            scene.refused(&format!("noise {back} from the end"), |db| noise(&db.join("db"), bytes - back))
        );
    }
}

#[test]
fn noise_and_cuts_in_every_other_file_are_refused_or_harmless() {
    let scene = Scene::new(true);
    for name in ["conf", "snap", "witness"] {
        let file = scene.file(name);
        let bytes = std::fs::metadata(scene.whole.join(&file)).unwrap().len() as usize;
        for n in 0..20 {
            let at = bytes * n / 20;
            scene.refused(&format!("noise at {at} of {name}"), |db| noise(&db.join(&file), at));
            scene.refused(&format!("{name} cut at {at}"), |db| cut(&db.join(&file), at));
        }
        scene.refused(&format!("{name} missing"), |db| std::fs::remove_file(db.join(&file)).unwrap());
    }
    assert!(scene.refused("witness missing", |db| std::fs::remove_file(db.join("witness")).unwrap()));
    assert!(scene.refused("witness empty", |db| cut(&db.join("witness"), 0)));
    assert!(scene.refused("data missing", |db| std::fs::remove_file(db.join("db")).unwrap()));
    assert!(scene.refused("data and snapshot missing", |db| {
        std::fs::remove_file(db.join("db")).unwrap();
        std::fs::remove_file(db.join(scene.file("snap"))).unwrap();
    }));
    assert!(scene.refused("all but the witness missing", |db| {
        for name in contents(db).into_keys().filter(|name| name.as_path() != Path::new("witness")) {
            std::fs::remove_file(db.join(name)).unwrap();
        }
    }));
}

#[test]
fn an_older_copy_of_the_data_file_is_refused() {
    let home = Home::new();
    let store = home.open();
    store.create_user(&user("ann", true)).unwrap();
    drop(store);
    let older = home.path().join("older");
    copy(&home.db(), &older);
    let store = home.open();
    store.create_user(&user("bob", false)).unwrap();
    drop(store);
    std::fs::copy(older.join("db"), home.db().join("db")).unwrap();
    for entry in std::fs::read_dir(home.db()).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_str().unwrap().starts_with("snap") {
            std::fs::remove_file(path).unwrap();
        }
    }
    let problem = Problem::from(Store::open(&home.db(), &home.key).unwrap_err());
    assert!(problem.what.contains("acknowledged change"), "{problem}");
}

#[test]
fn an_opening_that_was_cut_off_begins_again() {
    let scene = Scene::new(true);
    let db = scene.home.path().join("cut/db");
    let beside = |suffix: &str| PathBuf::from(format!("{}.{suffix}", db.display()));
    // Between any two renames of an opening, whatever sled has made of the folder meanwhile.
    let leave: [&dyn Fn(); 4] = [
        &|| {
            copy(&scene.whole, &db);
            copy(&scene.whole, &beside("copying"));
            cut(&beside("copying").join("db"), 10);
        },
        &|| {
            copy(&scene.whole, &db);
            copy(&scene.whole, &beside("opening"));
            noise(&db.join("db"), 600);
        },
        &|| {
            copy(&scene.whole, &beside("discarded"));
            copy(&scene.whole, &beside("opening"));
            cut(&beside("discarded").join("db"), 10);
        },
        &|| {
            copy(&scene.whole, &db);
            copy(&scene.whole, &beside("discarded"));
            cut(&beside("discarded").join("db"), 10);
        },
    ];
    for (n, leave) in leave.iter().enumerate() {
        drop(std::fs::remove_dir_all(db.parent().unwrap()));
        leave();
        let store = Store::open(&db, &scene.home.key).unwrap_or_else(|e| panic!("{n}: {e}"));
        assert_eq!(all(&store), scene.said, "{n}");
    }
}

#[test]
fn a_backup_takes_the_place_of_a_damaged_database_and_of_no_other() {
    let scene = Scene::new(true);
    let mut backup = Vec::new();
    let store = Store::open(&scene.home.db(), &scene.home.key);
    store.unwrap().backup(&mut backup).unwrap();
    let whole = restore(&mut backup.as_slice(), &scene.home.db(), "old").unwrap_err();
    assert!(whole.what.contains("is whole; it is not replaced"), "{whole}");

    noise(&scene.home.db().join("db"), 600);
    let half = &backup[..backup.len() / 2];
    restore(&mut &half[..], &scene.home.db(), "old").unwrap_err();
    let refused = Store::open(&scene.home.db(), &scene.home.key).unwrap_err();
    assert!(
        matches!(refused, StoreError::Damaged { .. }),
        "a broken backup has changed something: {refused}"
    );

    let restored = restore(&mut backup.as_slice(), &scene.home.db(), "old").unwrap();
    let moved = restored.moved.expect("the damaged one is kept");
    assert_eq!(moved, scene.home.path().join("db.old"));
    assert!(moved.join("db").is_file());
    assert_eq!(all(&Store::open(&scene.home.db(), &scene.home.key).unwrap()), scene.said);
}

#[test]
fn what_can_still_be_read_is_taken_over_and_nothing_is_numbered_twice() {
    let scene = Scene::new(true);
    let db = scene.home.db();
    let refused = salvage(&db, &scene.home.key, "old").unwrap_err();
    assert!(refused.what.contains("is whole"), "{refused}");
    let bytes = used(&db.join("db"));
    cut(&db.join("db"), bytes * 3 / 4);
    let taken = salvage(&db, &scene.home.key, "old").unwrap();
    assert!(taken.records > 50, "{taken:?}");
    assert!(taken.moved.unwrap().join("db").is_file());
    let store = Store::open(&db, &scene.home.key).unwrap();
    let users = store.users().unwrap().len();
    assert!((4..=64).contains(&users), "{users}");
    assert_eq!(store.tokens(None).unwrap(), [], "a token that was removed would come back");
    let repo = store.create_repo(&repo_name("new"), "", false, NOW).unwrap();
    assert!(repo.id > RepoId(3), "{repo:?}");
    let missing = scene.home.path().join("nowhere/db");
    let problem = salvage(&missing, &scene.home.key, "old").unwrap_err();
    assert!(problem.what.contains("Nothing of the database"), "{problem}");
    assert!(!missing.exists(), "an empty one is never made");
}

/// Where the log has gone round, sled finds no beginning to read from: no record at all.
#[test]
fn where_nothing_can_be_read_the_servers_own_copy_is_taken_or_nothing_is_changed() {
    let home = Home::new();
    let store = home.open();
    fill(&store);
    store.keep_copy().unwrap();
    store.create_user(&user("later", false)).unwrap();
    drop(store);
    cut(&home.db().join("db"), 0);
    let copy = home.path().join("db.copy");
    let kept = std::fs::read(&copy).unwrap();
    std::fs::write(&copy, &kept[..kept.len() / 2]).unwrap();
    let problem = salvage(&home.db(), &home.key, "old").unwrap_err();
    assert!(problem.what.contains("Nothing of the database"), "{problem}");
    let refused = Store::open(&home.db(), &home.key);
    assert!(matches!(refused, Err(StoreError::Damaged { .. })), "it is left as it is");

    std::fs::write(&copy, &kept).unwrap();
    let taken = salvage(&home.db(), &home.key, "old").unwrap();
    assert!(taken.copied.is_some() && taken.moved.is_some(), "{taken:?}");
    let store = home.open();
    assert_eq!(store.users().unwrap().len(), 64);
    assert_eq!(store.tokens(None).unwrap(), []);
    drop(store);
    std::fs::remove_dir_all(home.db()).unwrap();
    salvage(&home.db(), &home.key, "old").unwrap();
    assert_eq!(home.open().users().unwrap().len(), 64);
}
