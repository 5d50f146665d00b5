//! What lies on the disk, and what happens when it is not as it was left.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Instant;

use slipway_core::accept::Ledger as _;
use slipway_core::{Problem, ProblemKind, Secret};
use slipway_store::{MasterKey, Store, StoreError, restore};

use crate::samples::*;

fn files(folder: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push((path.clone(), std::fs::read(&path).unwrap()));
        }
    }
    found
}

fn holds(folder: &Path, needle: &[u8]) -> bool {
    files(folder).iter().any(|(_, bytes)| bytes.windows(needle.len()).any(|w| w == needle))
}

#[test]
fn no_secret_is_readable_in_the_database_or_its_backup() {
    let home = Home::new();
    let store = home.open();
    let (password, kubeconfig) = ("correct-horse-battery", "client-key-data-0451".repeat(1000));
    store.put_registry(&registry("findable-name"), Some(&Secret::new(password))).unwrap();
    store.put_cluster(&cluster("prod"), &Secret::new(kubeconfig)).unwrap();
    let mut backup = Vec::new();
    store.backup(&mut backup).unwrap();
    drop(store);
    assert!(holds(&home.db(), b"findable-name"), "the search itself works");
    assert!(String::from_utf8(backup.clone()).unwrap().contains(&hex::encode("findable-name")));
    for secret in [password, "client-key-data-0451"] {
        for form in [secret.to_owned(), hex::encode(secret)] {
            assert!(!holds(&home.db(), form.as_bytes()), "{form} lies in the database");
            assert!(!backup.windows(form.len()).any(|w| w == form.as_bytes()), "{form} lies in the backup");
        }
        let twice = hex::encode(hex::encode(secret));
        assert!(!backup.windows(twice.len()).any(|w| w == twice.as_bytes()), "{secret} lies in the backup");
    }
}

#[test]
fn a_foreign_master_key_is_refused_with_a_sentence() {
    let home = Home::new();
    drop(home.open());
    let foreign = MasterKey::load_or_create(&home.path().join("keys/other")).unwrap();
    let problem = Problem::from(Store::open(&home.db(), &foreign).unwrap_err());
    assert_eq!(problem.kind, ProblemKind::Broken);
    assert!(problem.what.contains("master key does not fit"), "{problem}");
    home.open().create_user(&user("ann", true)).unwrap();
}

#[test]
fn a_second_server_of_the_same_folder_is_refused_with_a_sentence() {
    let home = Home::new();
    let _first = home.open();
    let error = Store::open(&home.db(), &home.key).unwrap_err();
    assert_eq!(error.place(), Some(&*home.db()), "for whoever starts it");
    let problem = Problem::from(error);
    assert!(problem.what.contains("in use by another process"), "{problem}");
    assert!(!problem.what.contains(home.db().to_str().unwrap()), "{problem}");
}

#[test]
fn an_unusable_folder_is_refused_with_a_sentence() {
    let home = Home::new();
    std::fs::write(home.path().join("file"), "x").unwrap();
    let error = Store::open(&home.path().join("file"), &home.key).unwrap_err();
    assert!(matches!(error, StoreError::Disk { doing: "opened", .. }), "{error}");
}

#[test]
fn everything_is_there_after_a_restart() {
    let home = Home::new();
    let store = home.open();
    store.create_user(&user("ann", true)).unwrap();
    store.put_registry(&registry("hub"), Some(&Secret::new("pw"))).unwrap();
    let repo = store.create_repo(&repo_name("app"), "d", true, NOW).unwrap();
    let id =
        store.intend(event(repo.id, &["main"], vec![owes_build("main"), owes_deploy("main")])).unwrap().id;
    let orders = store.accept(id, &[update("main")], NOW).unwrap();
    drop(store);
    let store = home.open();
    assert_eq!(store.users().unwrap(), [user("ann", true)]);
    assert_eq!(store.registry_password(&registry_name("hub")).unwrap().unwrap().expose(), "pw");
    assert_eq!(store.repos().unwrap(), [repo]);
    assert_eq!(store.accept(id, &[update("main")], NOW).unwrap(), orders);
}

#[test]
fn a_sweep_forgets_expired_sessions_only() {
    let home = Home::new();
    let store = home.open();
    store.create_user(&user("ann", true)).unwrap();
    for n in 0..10 {
        store.add_session([n; 32], &user_name("ann"), at(u64::from(n))).unwrap();
    }
    assert_eq!(store.sweep(at(4)).unwrap(), 5);
    assert_eq!(store.sweep(at(4)).unwrap(), 0);
    assert_eq!(store.session(&[4; 32], NOW).unwrap(), None);
    assert_eq!(store.session(&[5; 32], NOW).unwrap(), Some(user_name("ann")));
}

/// sled puts large pages into files that it never syncs; the pieces of `disk.rs` are there to avoid that.
#[test]
fn no_record_ever_becomes_an_unsynced_blob_file() {
    let home = Home::new();
    let store = home.open();
    for n in 0..20 {
        let repo = store.create_repo(&repo_name(&format!("app-{n}")), "", false, NOW).unwrap().id;
        let entries: Vec<_> = (0..2000).map(entry).collect();
        for length in [entries.len(), 20, 1500, 700] {
            store.put_inventory(repo, &cluster_name("prod"), &entries[..length]).unwrap();
        }
        let mut wide = deploy(repo);
        wide.notes = vec!["n".repeat(2900)];
        for _ in 0..30 {
            store.add_deploy(wide.clone()).unwrap();
        }
        store.put_cluster(&cluster(&format!("c{n}")), &Secret::new("k".repeat(100_000))).unwrap();
    }
    let blobs: Vec<_> = std::fs::read_dir(home.db().join("blobs")).unwrap().collect();
    assert!(blobs.is_empty(), "{blobs:?}");
}

#[test]
fn rewriting_a_record_does_not_fill_the_disk() {
    let home = Home::new();
    let store = home.open();
    let repo = store.create_repo(&repo_name("app"), "", false, NOW).unwrap().id;
    let mut wide = store.add_deploy(deploy(repo)).unwrap();
    let begun = Instant::now();
    // 600 × 100 KB; the cleaner works once a second.
    for n in 0..600 {
        wide.notes = vec![format!("{n} "), "n".repeat(100_000)];
        store.put_deploy(&wide).unwrap();
    }
    let bytes: usize = files(&home.db()).iter().map(|(_, bytes)| bytes.len()).sum();
    assert!(bytes < 30 << 20, "{} MiB on disk for 100 KB after {:?}", bytes >> 20, begun.elapsed());
}

#[test]
fn a_backup_brings_everything_back() {
    let home = Home::new();
    let store = home.open();
    store.create_user(&user("ann", true)).unwrap();
    store.put_cluster(&cluster("prod"), &Secret::new("k".repeat(20_000))).unwrap();
    let repo = store.create_repo(&repo_name("app"), "d", true, NOW).unwrap();
    let id = store.intend(event(repo.id, &["main"], vec![owes_build("main")])).unwrap().id;
    let orders = store.accept(id, &[update("main")], NOW).unwrap();
    let mut backup = Vec::new();
    let records = store.backup(&mut backup).unwrap();
    store.create_user(&user("later", false)).unwrap();
    assert!(restore(&mut backup.as_slice(), &home.db(), "old").unwrap_err().what.contains("in use"));

    let there = home.path().join("restored/db");
    assert_eq!(restore(&mut backup.as_slice(), &there, "old").unwrap().records, records);
    let restored = Store::open(&there, &home.key).unwrap();
    assert_eq!(restored.users().unwrap(), [user("ann", true)]);
    assert_eq!(restored.kubeconfig(&cluster_name("prod")).unwrap().unwrap().expose(), "k".repeat(20_000));
    assert_eq!(restored.accept(id, &[update("main")], NOW).unwrap(), orders);
    let next = restored.create_repo(&repo_name("next"), "", false, NOW).unwrap();
    assert!(next.id > repo.id, "ids go on where they were");
}

#[test]
fn a_broken_backup_is_refused_and_leaves_nothing() {
    let home = Home::new();
    let store = home.open();
    store.create_user(&user("ann", true)).unwrap();
    let mut backup = Vec::new();
    store.backup(&mut backup).unwrap();
    let lines: Vec<&[u8]> = backup.split_inclusive(|&b| b == b'\n').collect();
    let mut missing_line = lines.clone();
    missing_line.remove(2);
    let mut flipped = backup.clone();
    let at = backup.len() / 2;
    flipped[at] = if flipped[at] == b'0' { b'1' } else { b'0' };
    let bad: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", vec![]),
        ("not a backup", b"hello\n".to_vec()),
        ("one endless line", vec![b'{'; 1 << 20]),
        ("cut in a line", backup[..backup.len() - 20].to_vec()),
        ("cut between lines", lines[..lines.len() - 1].concat()),
        ("a line missing", missing_line.concat()),
        ("a digit changed", flipped),
        ("more behind its end", [backup.as_slice(), b"{}\n"].concat()),
        ("a newer version", [b"{\"slipway_backup\":2}\n", &backup[21..]].concat()),
    ];
    let there = home.path().join("restored");
    for (what, bytes) in bad {
        let problem = restore(&mut bytes.as_slice(), &there, "old").expect_err(what);
        assert_eq!(problem.kind, ProblemKind::Invalid, "{what}: {problem}");
        assert!(!there.exists(), "{what}: {problem}");
    }
}

/// A disk may return anything. Whatever it does, the store opens consistent, or refuses with a sentence.
#[test]
fn a_damaged_database_file_is_told_and_never_panics_outward() {
    let home = Home::new();
    let store = home.open();
    for n in 0..40 {
        store.create_user(&user(&format!("user-{n}"), n == 0)).unwrap();
    }
    drop(store);
    let original = std::fs::read(home.db().join("db")).unwrap();
    let used = original.iter().rposition(|&b| b != 0).unwrap();
    for step in 1..12 {
        let mut bytes = original.clone();
        bytes[used * step / 12] ^= 0x55;
        let folder = home.path().join(format!("damaged-{step}"));
        copy(&home.db(), &folder);
        std::fs::write(folder.join("db"), &bytes).unwrap();
        match Store::open(&folder, &home.key) {
            Ok(store) => drop(store.users()),
            Err(error) => assert!(!Problem::from(error).cure.is_empty()),
        }
    }
}

pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn nobody_else_on_the_host_can_look_in() {
    let home = Home::new();
    drop(home.open());
    let mode = |path: &str| std::fs::metadata(home.path().join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("db"), 0o700);
    assert_eq!(mode("keys"), 0o700);
    assert_eq!(mode("keys/master"), 0o600);
}
