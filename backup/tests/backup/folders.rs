//! Folders of backups: what is kept, gone on with, harmed, and let go.

use std::fs;
use std::os::unix::fs::MetadataExt;

use slipway_backup::{Folder, Keep, Source, Target, When};

use super::support::{
    HOUR, back, data, empty, hash, noise, receive, restore, sealed, stream, stream_at, walk,
};

#[test]
fn a_second_snapshot_brings_what_is_new_alone() {
    let folder = tempfile::tempdir().expect("temp");
    let root = folder.path().join("backups");
    let backups = Folder::take(&root).expect("taken");
    assert!(Folder::take(&root).expect_err("refused").what.contains("being written"));
    let (first, bytes) = receive(&backups, &data(), HOUR);
    assert_eq!((first.snapshot.number, first.snapshot.files, first.snapshot.new_files), (1, 11, 10));
    assert!(bytes > 300_000);

    let mut later = data();
    later[0].1 = b"other records\n".to_vec();
    let pack = format!("repos/1.git/objects/pack/pack-{}.pack", hash(9));
    later.push((pack, sealed(&noise(4, 1000))));
    later.push(("builds/1/3.log".into(), b"a third\n".to_vec()));
    let (second, bytes) = receive(&backups, &later, 2 * HOUR);
    assert!(bytes < 30_000, "{bytes} bytes were sent");
    assert_eq!((second.snapshot.number, second.snapshot.files, second.snapshot.new_files), (2, 13, 3));
    assert_eq!(second.verified.files, 12, "each content once");

    for (number, files, when) in [
        (1, data(), When::Number(1)),
        (2, later.clone(), When::Number(2)),
        (1, data(), When::Until(2 * HOUR - 1)),
    ] {
        let target = folder.path().join(format!("data-{when:?}"));
        let mut source = Source::open(&root, Some(&when)).expect("there");
        assert!(source.name().contains(&format!("snapshot {number} ")), "{}", source.name());
        restore(&mut source, &target).expect("back");
        back(&target, &files);
    }
    let mut newest = Source::open(&root, None).expect("there");
    assert_eq!(newest.verify().expect("right").0.files, 13);
    assert!(
        Source::open(&root, Some(&When::Number(3))).is_err()
            && Source::open(&root, Some(&When::Until(5))).is_err()
    );
    for entry in walk(&root) {
        let mode = fs::metadata(&entry).expect("there").mode() & 0o777;
        assert_eq!(mode, if entry.is_dir() { 0o700 } else { 0o600 }, "{}", entry.display());
    }
}

#[test]
fn a_backup_that_was_cut_off_is_gone_on_with() {
    let folder = tempfile::tempdir().expect("temp");
    let root = folder.path().join("backups");
    let whole = stream(&data());
    // Twice, at different places; the pack has come the second time.
    for at in [2_000, whole.len() - 4_000] {
        let backups = Folder::take(&root).expect("taken");
        let known = backups.known().expect("known");
        let bytes = stream_at(&data(), &known, HOUR, true);
        assert!(backups.receive(&mut &bytes[..at.min(bytes.len() - 2_000)], false).is_err());
        assert!(backups.snapshots().expect("listed").0.is_empty(), "there is no snapshot of it");
    }
    let backups = Folder::take(&root).expect("taken");
    let (received, bytes) = receive(&backups, &data(), HOUR);
    assert!(bytes < 100_000, "{bytes} bytes were sent again");
    assert_eq!(received.snapshot.files, 11);
    let incoming = fs::read_dir(root.join("incoming")).expect("there").count();
    assert_eq!(incoming, 0, "nothing is left on its way");
    let target = folder.path().join("data");
    restore(&mut Source::open(&root, None).expect("there"), &target).expect("back");
    back(&target, &data());
}

#[test]
fn a_damaged_content_is_told_and_comes_anew() {
    let folder = tempfile::tempdir().expect("temp");
    let root = folder.path().join("backups");
    receive(&Folder::take(&root).expect("taken"), &data(), HOUR);
    let largest = walk(&root.join("files"))
        .into_iter()
        .max_by_key(|p| p.metadata().expect("there").len())
        .expect("one");
    let mut content = fs::read(&largest).expect("read");
    content[1000] ^= 1;
    fs::write(&largest, content).expect("written");

    let target = folder.path().join("data");
    let problem = restore(&mut Source::open(&root, None).expect("there"), &target).expect_err("refused");
    assert!(problem.what.contains("is not what it was"), "{problem}");
    assert!(empty(&target));
    let looking = Folder::open(&root).expect("opens");
    let all = looking.snapshots().expect("listed").0;
    assert!(looking.verify(&all).is_err());

    // The next backup counts on it, finds out, and the one after that brings it anew.
    let backups = Folder::take(&root).expect("taken");
    let bytes = stream_at(&data(), &backups.known().expect("known"), 2 * HOUR, true);
    let problem = backups.receive(&mut bytes.as_slice(), false).expect_err("found out");
    assert!(problem.cure.contains("sent again"), "{problem}");
    let (_, bytes) = receive(&backups, &data(), 3 * HOUR);
    assert!(bytes > 300_000);
    restore(&mut Source::open(&root, None).expect("there"), &target).expect("back");
    back(&target, &data());
}

#[test]
fn a_harmed_snapshot_is_refused() {
    let folder = tempfile::tempdir().expect("temp");
    let root = folder.path().join("backups");
    receive(&Folder::take(&root).expect("taken"), &data(), HOUR);
    let path =
        fs::read_dir(root.join("snapshots")).expect("there").next().expect("one").expect("entry").path();
    let whole = fs::read_to_string(&path).expect("text");
    let target = folder.path().join("data");
    let tries = [
        whole.replace("repos/1.git/HEAD", "repos/9.git/HEAD"),
        whole.replace("repos/1.git/HEAD", "../../../etc/x"),
        whole.replacen("\"size\":12", "\"size\":13", 1),
        whole[..whole.len() - 1].to_owned(),
        whole.lines().filter(|line| !line.contains("config.toml")).map(|line| format!("{line}\n")).collect(),
        whole.lines().take(5).map(|line| format!("{line}\n")).collect(),
        String::new(),
    ];
    for bad in tries {
        assert_ne!(bad, whole);
        fs::write(&path, &bad).expect("written");
        let restored = Source::open(&root, None).and_then(|mut source| restore(&mut source, &target));
        assert!(restored.is_err() && empty(&target), "{bad}");
    }
    // A content that is a link to somewhere else.
    fs::write(&path, &whole).expect("written");
    let content = walk(&root.join("files")).into_iter().find(|p| p.is_file()).expect("one");
    let elsewhere = folder.path().join("elsewhere");
    fs::rename(&content, &elsewhere).expect("moved");
    std::os::unix::fs::symlink(&elsewhere, &content).expect("linked");
    assert!(restore(&mut Source::open(&root, None).expect("opens"), &target).is_err() && empty(&target));
}

#[test]
fn old_snapshots_go_and_take_with_them_what_is_theirs_alone() {
    let folder = tempfile::tempdir().expect("temp");
    let root = folder.path().join("backups");
    let backups = Folder::take(&root).expect("taken");
    let mut files = data();
    for n in 1..=6u8 {
        let pack = format!("repos/1.git/objects/pack/pack-{}.pack", hash(100 + n));
        files.truncate(data().len());
        files.push((pack, sealed(&noise(100 + u64::from(n), 10_000))));
        receive(&backups, &files, u64::from(n) * 24 * HOUR);
    }
    fs::write(root.join("files/README"), "not ours").expect("written");
    let (gone, bytes) = backups.retain(&Keep { last: 2, daily: 3, weekly: 0 }).expect("retained");
    assert_eq!(gone, 3);
    assert!((30_000..40_000).contains(&bytes), "{bytes}");
    let left: Vec<u64> = backups.snapshots().expect("listed").0.iter().map(|s| s.number).collect();
    assert_eq!(left, [4, 5, 6]);
    backups.verify(&backups.snapshots().expect("listed").0).expect("all is there");
    assert!(root.join("files/README").exists());
    assert_eq!(backups.retain(&Keep { last: 2, daily: 3, weekly: 0 }).expect("retained"), (0, 0));
    // One that cannot be read may need anything.
    let path =
        fs::read_dir(root.join("snapshots")).expect("there").next().expect("one").expect("entry").path();
    fs::write(&path, "{}\n").expect("written");
    assert!(backups.retain(&Keep { last: 1, daily: 0, weekly: 0 }).is_err());
    // Numbers are not given again.
    fs::remove_file(&path).expect("removed");
    assert_eq!(receive(&backups, &files, 30 * 24 * HOUR).0.snapshot.number, 7);
}

#[test]
fn a_folder_of_something_else_is_left_alone() {
    let folder = tempfile::tempdir().expect("temp");
    fs::write(folder.path().join("thesis.txt"), "mine").expect("written");
    assert!(Folder::take(folder.path()).expect_err("refused").what.contains("no folder of backups"));
    assert!(Folder::open(folder.path()).is_err());
    assert_eq!(walk(folder.path()).len(), 1);
    assert!(Target::take(folder.path()).expect_err("refused").what.contains("thesis.txt"));
}
