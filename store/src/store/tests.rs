//! Reading and writing of any record, over both engines; damage, over the one that has a disk.

use slipway_core::{ProblemKind, UserName};

use super::*;
use crate::engine::{Scan, Tree};
use crate::keys::{self, Key};

fn name(text: &str) -> UserName {
    UserName::parse(text).expect("valid")
}

/// A store over each engine.
fn each(check: impl Fn(&Store)) {
    let folder = tempfile::tempdir().expect("temp folder");
    let key = MasterKey::load_or_create(&folder.path().join("master")).expect("made");
    check(&Store::in_memory(&key).expect("made"));
    check(&Store::open(&folder.path().join("db"), &key).expect("opens"));
}

fn on_disk() -> (tempfile::TempDir, Arc<Disk>, Store) {
    let folder = tempfile::tempdir().expect("temp folder");
    let key = MasterKey::load_or_create(&folder.path().join("master")).expect("made");
    let path = folder.path().join("db");
    Disk::make(&path, None, |_| Ok(())).expect("made");
    let disk = Arc::new(Disk::open(&path).expect("opens"));
    let vault = Arc::new(Vault::new(&key).expect("right length"));
    let store = Store { engine: disk.clone(), vault, limits: Arc::default() };
    (folder, disk, store)
}

fn put(store: &Store, key: &Key, text: &str) -> Result<usize, Problem> {
    store.transact(|tx| tx.put(key.clone(), &text))
}

fn get(store: &Store, key: &Key) -> Result<Option<String>, Problem> {
    store.read(|view| view.get(key))
}

/// All keys of records as they lie there.
fn raw_keys(store: &Store) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let all = store.engine.each(&mut || (), &mut |tree, key, _| {
        if tree == Tree::Records {
            found.push(key.to_vec());
        }
        Ok(())
    });
    all.expect("readable");
    found
}

#[test]
fn a_damaged_or_newer_record_is_told_by_its_name() {
    let (_folder, disk, store) = on_disk();
    let key = keys::user(&name("ann"));
    put(&store, &key, "hello").expect("written");
    let raw = disk.look(|records| records.value(&key)).expect("readable").expect("there").to_vec();
    let mut flipped = raw.clone();
    *flipped.last_mut().expect("not empty") ^= 1;
    let newer = [&[9], &raw[1..]].concat();
    for (bad, told) in [
        (flipped, "The record of user ann is damaged"),
        (Vec::new(), "The record of user ann is damaged"),
        (newer, "The record of user ann was written by a newer Slipway (version 9"),
    ] {
        disk.put_raw(vec![(Tree::Records, key.bytes().to_vec(), bad)]).expect("planted");
        let problem = get(&store, &key).expect_err("told");
        assert_eq!(problem.kind, ProblemKind::Broken);
        assert!(problem.what.starts_with(told), "{problem}");
        let listed = store.read(|view| view.page::<String>(&keys::users(), None, 10));
        assert!(listed.is_err(), "a list does not leave it out in silence");
    }
    put(&store, &key, "mended").expect("a damaged record can be replaced");
    assert_eq!(get(&store, &key).expect("whole"), Some("mended".to_owned()));
}

#[test]
fn a_missing_piece_is_damage() {
    each(|store| {
        let key = keys::user(&name("ann"));
        put(store, &key, &"x".repeat(10_000)).expect("written");
        store.transact(|tx| tx.remove(keys::piece(&key, 2))).expect("removed");
        let problem = get(store, &key).expect_err("told");
        assert!(problem.what.contains("user ann is damaged: a piece is missing"), "{problem}");
    });
}

#[test]
fn no_piece_is_left_behind() {
    each(|store| {
        let key = keys::user(&name("ann"));
        let long = "x".repeat(10_000);
        put(store, &key, &long).expect("written");
        assert_eq!(raw_keys(store).len(), 5);
        put(store, &key, "short").expect("written");
        assert_eq!(raw_keys(store), [key.bytes()]);
        let twice = store.transact(|tx| {
            tx.put(key.clone(), &long)?;
            let between: Option<String> = tx.get(&key)?;
            tx.put(key.clone(), &"short")?;
            Ok(between)
        });
        assert_eq!(twice.expect("written"), Some(long.clone()), "a change sees its own long records");
        assert_eq!(raw_keys(store), [key.bytes()]);
        put(store, &key, &long).expect("written");
        let removed_and_made = store.transact(|tx| {
            tx.remove(key.clone())?;
            tx.put(key.clone(), &"x".repeat(4000)).map(drop)
        });
        removed_and_made.expect("written");
        assert_eq!(raw_keys(store).len(), 3);
        store.transact(|tx| tx.remove(key.clone())).expect("removed");
        assert_eq!(raw_keys(store), [[0u8; 0]; 0]);
    });
}

#[test]
fn a_refused_change_leaves_nothing() {
    each(|store| {
        let key = keys::user(&name("ann"));
        let refusal = Problem::new(ProblemKind::Denied, "Not so.", "Ask.");
        let refused: Result<(), _> = store.transact(|tx| {
            tx.put(key.clone(), &"x")?;
            Err(refusal.clone())?
        });
        assert_eq!(refused, Err(refusal), "in the caller's own words");
        assert_eq!(get(store, &key).expect("readable"), None);
    });
}

#[test]
fn a_change_sees_what_it_has_staged_and_others_do_not() {
    each(|store| {
        let user = |n: &str| keys::user(&name(n));
        for n in ["b", "d"] {
            put(store, &user(n), n).expect("written");
        }
        put(store, &keys::public_key("k"), "k").expect("written");
        let seen = store.transact(|tx| {
            for n in ["a", "c", "e"] {
                tx.put(user(n), &n)?;
            }
            tx.remove(user("b"))?;
            tx.put(user("d"), &"D")?;
            let (a, c) = (user("a"), user("c"));
            let all = |scan: Scan<'_>| -> Result<Vec<String>, StoreError> {
                tx.view().records(&keys::users(), scan).collect()
            };
            Ok([all(Scan::Up)?, all(Scan::Down)?, all(Scan::UpAfter(&a))?, all(Scan::DownFrom(&c))?])
        });
        let want: [&[&str]; 4] = [&["a", "c", "D", "e"], &["e", "D", "c", "a"], &["c", "D", "e"], &["a"]];
        assert_eq!(seen.expect("written"), want);
        let after: Vec<String> = store.read(|view| view.page(&keys::users(), None, 10)).expect("read");
        assert_eq!(after, ["a", "c", "D", "e"]);
    });
}

#[test]
fn scans_keep_to_their_prefix() {
    each(|store| {
        for user in ["a", "b", "c"] {
            put(store, &keys::user(&name(user)), user).expect("written");
        }
        put(store, &keys::public_key("k"), "k").expect("written");
        put(store, &keys::registry(&slipway_core::RegistryName::parse("z").expect("valid")), "z")
            .expect("written");
        let seen = |scan: Scan<'_>| -> Vec<String> {
            store.read(|view| view.records(&keys::users(), scan).collect()).expect("readable")
        };
        assert_eq!(seen(Scan::Up), ["a", "b", "c"]);
        assert_eq!(seen(Scan::Down), ["c", "b", "a"]);
        assert_eq!(seen(Scan::DownFrom(&keys::user(&name("c")))), ["b", "a"]);
        assert_eq!(seen(Scan::DownFrom(&keys::user(&name("a")))), [""; 0]);
        let page = |after: Option<&str>| -> Vec<String> {
            store.read(|view| view.page(&keys::users(), after, 2)).expect("readable")
        };
        assert_eq!(page(None), ["a", "b"]);
        assert_eq!(page(Some("a")), ["b", "c"]);
        assert_eq!(page(Some("aa")), ["b", "c"], "a cursor need not be there");
        for end in ["c", "zz", "\u{10ffff}"] {
            assert_eq!(page(Some(end)), [""; 0], "{end:?}");
        }
    });
}

#[test]
#[should_panic(expected = "from inside")]
#[cfg(debug_assertions)]
fn whoever_asks_the_store_inside_of_a_change_is_told() {
    each(|store| drop(store.transact(|_| Ok(store.users()?))));
}
