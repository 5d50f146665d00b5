//! What [`Disk`] promises of single records, changes and scans.

use slipway_core::{Problem, ProblemKind, UserName};

use super::*;
use crate::keys::{self, Key};

fn name(text: &str) -> UserName {
    UserName::parse(text).expect("valid")
}

fn fresh() -> (tempfile::TempDir, Disk) {
    let folder = tempfile::tempdir().expect("temp folder");
    let path = folder.path().join("db");
    Disk::make(&path, None, |_| Ok(())).expect("made");
    let disk = Disk::open(&path).expect("opens");
    (folder, disk)
}

fn put(disk: &Disk, key: &Key, text: &str) -> Result<usize, StoreError> {
    disk.write(|change| change.put(key.clone(), &text))
}

fn get(disk: &Disk, key: &Key) -> Result<Option<String>, Problem> {
    disk.read(|view| view.get(key)).map_err(Problem::from)
}

/// All keys as they lie there.
fn raw_keys(disk: &Disk) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    disk.raw(|_, key, _| {
        found.push(key.to_vec());
        Ok::<_, StoreError>(())
    })
    .expect("readable");
    found
}

#[test]
fn a_damaged_or_newer_record_is_told_by_its_name() {
    let (_folder, disk) = fresh();
    let key = keys::user(&name("ann"));
    put(&disk, &key, "hello").expect("written");
    let mut raw = Vec::new();
    disk.raw(|_, _, value| {
        raw = value.to_vec();
        Ok::<_, StoreError>(())
    })
    .expect("readable");
    let mut flipped = raw.clone();
    *flipped.last_mut().expect("not empty") ^= 1;
    let newer = [&[9], &raw[1..]].concat();
    for (bad, told) in [
        (flipped, "The record of user ann is damaged"),
        (Vec::new(), "The record of user ann is damaged"),
        (newer, "The record of user ann was written by a newer Slipway (version 9"),
    ] {
        disk.put_raw(vec![(Tree::Records, key.bytes().to_vec(), bad)]).expect("planted");
        let problem = get(&disk, &key).expect_err("told");
        assert_eq!(problem.kind, ProblemKind::Broken);
        assert!(problem.what.starts_with(told), "{problem}");
        let listed: Result<Vec<String>, _> =
            disk.read(|view| view.records(&keys::users(), Scan::Up).collect());
        assert!(listed.is_err(), "a list does not leave it out in silence");
    }
    put(&disk, &key, "mended").expect("a damaged record can be replaced");
    assert_eq!(get(&disk, &key).expect("whole"), Some("mended".to_owned()));
}

#[test]
fn a_missing_piece_is_damage() {
    let (_folder, disk) = fresh();
    let key = keys::user(&name("ann"));
    put(&disk, &key, &"x".repeat(10_000)).expect("written");
    disk.write(|change| change.remove(keys::piece(&key, 2))).expect("removed");
    let problem = get(&disk, &key).expect_err("told");
    assert!(problem.what.contains("user ann is damaged: a piece is missing"), "{problem}");
}

#[test]
fn no_piece_is_left_behind() {
    let (_folder, disk) = fresh();
    let key = keys::user(&name("ann"));
    let long = "x".repeat(10_000);
    put(&disk, &key, &long).expect("written");
    assert_eq!(raw_keys(&disk).len(), 5);
    put(&disk, &key, "short").expect("written");
    assert_eq!(raw_keys(&disk), [key.bytes()]);
    let twice = disk.write(|change| {
        change.put(key.clone(), &long)?;
        let between: Option<String> = change.get(&key)?;
        change.put(key.clone(), &"short")?;
        Ok(between)
    });
    assert_eq!(twice.expect("written"), Some(long), "a change sees its own long records");
    assert_eq!(raw_keys(&disk), [key.bytes()]);
    put(&disk, &key, &"x".repeat(10_000)).expect("written");
    disk.write(|change| change.remove(key.clone())).expect("removed");
    assert_eq!(raw_keys(&disk), [[0u8; 0]; 0]);
}

#[test]
fn a_refused_change_leaves_nothing() {
    let (_folder, disk) = fresh();
    let key = keys::user(&name("ann"));
    let refused: Result<(), _> = disk.write(|change| {
        change.put(key.clone(), &"x")?;
        Err(StoreError::Sealed { what: "x".into() })
    });
    assert!(refused.is_err());
    assert_eq!(get(&disk, &key).expect("readable"), None);
}

#[test]
fn after_a_failed_write_nothing_more_is_written() {
    let (_folder, disk) = fresh();
    let key = keys::user(&name("ann"));
    put(&disk, &key, "before").expect("written");
    disk.halt(&"no space left");
    let problem = Problem::from(put(&disk, &key, "after").expect_err("refused"));
    assert!(problem.what.contains("takes no more changes"), "{problem}");
    assert_eq!(get(&disk, &key).expect("still readable"), Some("before".to_owned()));
}

#[test]
fn scans_keep_to_their_prefix() {
    let (_folder, disk) = fresh();
    for user in ["a", "b", "c"] {
        put(&disk, &keys::user(&name(user)), user).expect("written");
    }
    put(&disk, &keys::public_key("k"), "k").expect("written");
    let seen = |scan: Scan<'_>| -> Vec<String> {
        disk.read(|view| view.records(&keys::users(), scan).collect()).expect("readable")
    };
    assert_eq!(seen(Scan::Up), ["a", "b", "c"]);
    assert_eq!(seen(Scan::Down), ["c", "b", "a"]);
    assert_eq!(seen(Scan::DownFrom(&keys::user(&name("c")))), ["b", "a"]);
    assert_eq!(seen(Scan::DownFrom(&keys::user(&name("a")))), [""; 0]);
}
