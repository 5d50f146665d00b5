//! The way back: all of it or nothing, whatever the backup says.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;

use slipway_backup::{Folder, Head, Known, Meta, Name, Source, Target, When, Writer, write_file};

use super::support::{Files, HOUR, back, data, database, empty, restore, stream, stream_at};

/// A tar with one entry after the head of a backup.
fn hostile(make: impl FnOnce(&mut tar::Header) -> Vec<u8>) -> Vec<u8> {
    let whole = stream(&data());
    // The head is one block, and its content another.
    let mut bytes = whole[..1024].to_vec();
    let mut header = tar::Header::new_ustar();
    header.set_mode(0o600);
    header.set_size(4);
    let content = make(&mut header);
    header.set_cksum();
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend_from_slice(&content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes.extend_from_slice(&[0; 1024]);
    bytes
}

fn named(header: &mut tar::Header, name: &str) -> Vec<u8> {
    let raw = header.as_old_mut();
    raw.name = [0; 100];
    raw.name[..name.len()].copy_from_slice(name.as_bytes());
    b"evil".to_vec()
}

#[test]
fn a_hostile_backup_writes_nothing() {
    let folder = tempfile::tempdir().expect("temp");
    let (file, data, beside) =
        (folder.path().join("b.tar"), folder.path().join("data"), folder.path().join("x"));
    let long = "repos/1.git/refs/heads/".to_owned() + &"a".repeat(70);
    let link = |header: &mut tar::Header, kind: tar::EntryType| {
        header.set_entry_type(kind);
        header.set_size(0);
        header.set_link_name("/etc/passwd").expect("set");
        named(header, "keys/master.key");
        Vec::new()
    };
    let mut all: Vec<(&str, Vec<u8>)> = Vec::new();
    for name in [
        "../x",
        "/tmp/x",
        "keys/../../x",
        "repos/1.git/../../../x",
        "repos/1.git/hooks/post-receive",
        "db/db",
        "run/admin.sock",
    ] {
        all.push((name, hostile(|header| named(header, name))));
    }
    for kind in [
        tar::EntryType::Symlink,
        tar::EntryType::Link,
        tar::EntryType::Directory,
        tar::EntryType::Fifo,
        tar::EntryType::GNUSparse,
    ] {
        all.push(("a link or the like", hostile(|header| link(header, kind))));
    }
    for kind in [tar::EntryType::GNULongName, tar::EntryType::XHeader, tar::EntryType::GNULongLink] {
        all.push((
            "a long name",
            hostile(|header| {
                header.set_entry_type(kind);
                header.set_size(u64::MAX / 4);
                named(header, "keys/master.key")
            }),
        ));
    }
    all.push((
        "a huge file",
        hostile(|header| {
            header.set_size(u64::MAX / 2);
            named(header, &long)
        }),
    ));
    all.push(("a file that is not summed", hostile(|header| named(header, "keys/other"))));
    for (what, bytes) in all {
        fs::write(&file, &bytes).expect("written");
        for source in [
            &mut Source::File(file.clone()),
            &mut Source::Stream(Box::new(std::io::Cursor::new(bytes.clone()))),
        ] {
            let problem = restore(source, &data).expect_err(what);
            assert!(problem.what.contains("backup"), "{what}: {problem}");
            assert!(empty(&data) && !beside.exists(), "{what} has written something");
        }
    }
}

#[test]
fn a_file_is_written_whole_or_not_at_all_and_brought_back() {
    let folder = tempfile::tempdir().expect("temp");
    let (file, target) = (folder.path().join("b.tar"), folder.path().join("data"));
    let whole = stream(&data());
    assert!(write_file(&mut &whole[..whole.len() / 2], &file).is_err());
    assert!(empty(folder.path()), "half of one is left");
    let (_, end, verified) = write_file(&mut whole.as_slice(), &file).expect("written");
    assert_eq!((verified.files, verified.bytes), (end.files, end.bytes));
    assert_eq!(fs::metadata(&file).expect("there").permissions().mode() & 0o777, 0o600);
    assert!(write_file(&mut whole.as_slice(), &file).is_err(), "one that is there is not written over");
    let restored = restore(&mut Source::open(&file, None).expect("opens"), &target).expect("back");
    assert_eq!(restored.time.as_deref(), Some("1970-01-01T01:00:00Z"));
    back(&target, &data());
    let problem = restore(&mut Source::open(&file, None).expect("opens"), &target).expect_err("refused");
    assert!(problem.what.contains("not empty"), "{problem}");
    back(&target, &data());
    assert!(Source::open(&file, Some(&When::Number(1))).is_err(), "it has no snapshots");
}

#[test]
fn without_keys_a_backup_says_what_it_needs() {
    let folder = tempfile::tempdir().expect("temp");
    let (file, target, keys) =
        (folder.path().join("b.tar"), folder.path().join("data"), folder.path().join("keys"));
    let mut files = data();
    files.remove(2);
    fs::write(&file, stream_at(&files, &Known::default(), HOUR, false)).expect("written");
    let source = || Source::open(&file, None).expect("opens");
    let problem = restore(&mut source(), &target).expect_err("refused");
    assert!(problem.cure.contains("--keys"), "{problem}");
    assert!(empty(&target));
    fs::create_dir(&keys).expect("folder");
    let with_keys = || Target::take(&target)?.restore(&mut source(), Some(&keys), database);
    assert!(with_keys().expect_err("refused").what.contains("no master.key"));
    assert!(empty(&target));
    fs::write(keys.join("master.key"), "key\n").expect("written");
    with_keys().expect("back");
    back(&target, &data());
}

#[test]
fn a_restore_that_was_cut_off_begins_anew_or_is_finished() {
    let folder = tempfile::tempdir().expect("temp");
    let (file, target) = (folder.path().join("b.tar"), folder.path().join("data"));
    fs::write(&file, stream(&data())).expect("written");
    let source = || Source::open(&file, None).expect("opens");
    // While files were written.
    fs::create_dir_all(target.join("restoring/data/repos/1.git")).expect("folders");
    fs::write(target.join("restoring/data/repos/1.git/HEAD"), "half").expect("written");
    assert!(Target::is_begun(&target));
    restore(&mut source(), &target).expect("back");
    back(&target, &data());
    // While parts were moved to their places.
    let parts = target.join("restoring/data");
    fs::create_dir_all(&parts).expect("folder");
    fs::rename(target.join("db"), parts.join("db")).expect("moved");
    fs::rename(target.join("keys"), parts.join("keys")).expect("moved");
    fs::write(target.join("restoring/ready"), "").expect("marked");
    let finished = restore(&mut source(), &target).expect("finished");
    assert_eq!(finished.time, None);
    back(&target, &data());
}

#[test]
fn what_cannot_be_read_is_left_out_and_told() {
    struct Broken(usize);
    impl Read for Broken {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let length = buffer.len().min(self.0);
            self.0 -= length;
            if length == 0 { Err(std::io::Error::other("a bad sector")) } else { Ok(length) }
        }
    }
    let folder = tempfile::tempdir().expect("temp");
    let root = folder.path().join("backups");
    let mut bytes = Vec::new();
    let mut writer =
        Writer::begin(&mut bytes, &Head::new("0.1.0", HOUR, true), folder.path()).expect("begun");
    for (name, content) in data() {
        let meta =
            Meta { name: Name::parse(&name).expect("valid"), size: content.len() as u64, modified_s: 7 };
        let done = match name.as_str() {
            "builds/1/1.log" => writer.file(&meta, &mut Broken(3)),
            _ if name.ends_with(".idx") => writer.file(&meta, &mut &[content.as_slice(), b"x"].concat()[1..]),
            _ => writer.file(&meta, &mut content.as_slice()),
        };
        done.expect("the others go on");
    }
    writer.finish().expect("ended");
    let received =
        Folder::take(&root).expect("taken").receive(&mut bytes.as_slice(), false).expect("received");
    let (troubles, more) = received.snapshot.troubles();
    assert_eq!((troubles.len(), more), (2, 0), "{troubles:?}");
    assert!(!troubles[0].left_out && troubles[0].what.ends_with(".idx"), "{troubles:?}");
    assert!(troubles[1].left_out && troubles[1].why.contains("a bad sector"), "{troubles:?}");
    assert_eq!(received.snapshot.files, 10);
    for source in [
        &mut Source::open(&root, Some(&When::Number(1))).expect("there"),
        &mut Source::Stream(Box::new(std::io::Cursor::new(bytes))),
    ] {
        let target = tempfile::tempdir().expect("temp");
        let data = target.path().join("data");
        restore(source, &data).expect("back");
        assert!(!data.join("builds/1/1.log").exists());
        assert!(data.join("builds/1/2.log").exists());
    }
}

#[test]
fn where_no_snapshot_is_whole_none_is_taken_that_is_not_named() {
    let temp = tempfile::tempdir().expect("temp");
    let root = temp.path().join("backups");
    let folder = Folder::take(&root).expect("taken");
    let mut broken = data();
    // Its own checksum does not fit any more.
    broken.iter_mut().filter(|(name, _)| name.ends_with(".pack")).for_each(|(_, bytes)| bytes[1000] ^= 1);
    let take = |files: &Files, at: u64| {
        folder
            .receive(&mut stream_at(files, &Known::default(), at, true).as_slice(), false)
            .expect("received")
    };
    take(&broken, HOUR);
    take(&broken, 2 * HOUR);
    let refused = Source::open(&root, None).err().expect("refused");
    assert!(refused.what.contains("No snapshot of ") && refused.what.contains(".pack"), "{refused}");
    assert!(refused.cure.contains("--snapshot 2"), "{refused}");
    let named = Source::open(&root, Some(&When::Number(2))).expect("named");
    assert!(named.name().starts_with("snapshot 2 "));
    take(&data(), 3 * HOUR);
    take(&broken, 4 * HOUR);
    let newest = Source::open(&root, None).expect("there is a whole one");
    assert!(newest.name().starts_with("snapshot 3 "), "{}", newest.name());
    let passed_over = newest.passed_over();
    assert!(passed_over.len() == 1 && passed_over[0].starts_with("4 ("), "{passed_over:?}");
}
