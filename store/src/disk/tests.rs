//! What the disk promises beyond what every engine does.

use std::time::Duration;

use slipway_core::Problem;

use super::*;

fn write(disk: &Disk, key: &Key, text: &str) -> Result<(), StoreError> {
    disk.change(|_| Ok(Batch::from([(key.clone(), Some(text.as_bytes().to_vec()))])))
}

fn read(disk: &Disk, key: &Key) -> Option<String> {
    let found = disk.look(|records| records.value(key)).expect("readable");
    found.map(|value| String::from_utf8_lossy(&value).into_owned())
}

fn made() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("temp folder");
    let path = folder.path().join("db");
    Disk::make(&path, None, |_| Ok(())).expect("made");
    (folder, path)
}

#[test]
fn after_a_failed_write_the_database_is_opened_anew_and_has_all_that_was_acknowledged() {
    let (_folder, path) = made();
    let disk = Disk::open(&path).expect("opens");
    let key = |n: u32| Key::from_bytes(format!("uann{n}").as_bytes());
    for round in 0..5 {
        write(&disk, &key(round), "kept").expect("written");
        disk.halt(&"no space left");
        assert_eq!(read(&disk, &key(round)).as_deref(), Some("kept"), "what is there can be read meanwhile");
        write(&disk, &key(100 + round), "after").expect("written again");
        assert_eq!(disk.mend().expect("mended"), u64::from(round) + 1);
        for earlier in 0..=round {
            assert_eq!(read(&disk, &key(earlier)).as_deref(), Some("kept"), "{earlier} after {round}");
            assert_eq!(read(&disk, &key(100 + earlier)).as_deref(), Some("after"));
        }
    }
    drop(disk);
    let again = Disk::open(&path).expect("opens at the next start");
    assert_eq!(read(&again, &key(104)).as_deref(), Some("after"));
}

#[test]
fn a_try_that_fails_is_told_and_not_made_again_at_once() {
    let (folder, path) = made();
    let disk = Disk::open(&path).expect("opens");
    let key = Key::from_bytes(b"uann");
    write(&disk, &key, "before").expect("written");
    // Stands where the probe would be written.
    let probe = folder.path().join("db.probe");
    std::fs::create_dir_all(probe.join("x")).expect("made");
    disk.halt(&"no space left");
    for _ in 0..3 {
        let problem = Problem::from(write(&disk, &key, "lost").expect_err("refused"));
        assert!(problem.what.starts_with("The database cannot be written: "), "{problem}");
        assert!(problem.cure.contains("no restart is needed"), "{problem}");
        assert!(!problem.to_string().contains(&*folder.path().to_string_lossy()), "{problem}");
        assert_eq!(read(&disk, &key).as_deref(), Some("before"));
    }
    std::fs::remove_dir_all(&probe).expect("removed");
    assert!(write(&disk, &key, "too soon").is_err(), "a full disk is not asked at every request");
    let began = Instant::now();
    while let Err(error) = write(&disk, &key, "after") {
        assert!(began.elapsed() < Duration::from_secs(60), "{error}");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(read(&disk, &key).as_deref(), Some("after"));
}

#[test]
fn who_changes_things_while_it_is_opened_anew_hears_what_is_true() {
    let (_folder, path) = made();
    let disk = Disk::open(&path).expect("opens");
    let written = std::thread::scope(|scope| {
        let halting = scope.spawn(|| {
            for _ in 0..8 {
                std::thread::sleep(Duration::from_millis(20));
                disk.halt(&"a fault");
            }
        });
        let writers: Vec<_> = (0..4u32)
            .map(|writer| {
                let disk = &disk;
                scope.spawn(move || {
                    let keys = (0..60u32).map(|n| Key::from_bytes(format!("u{writer}-{n}").as_bytes()));
                    keys.filter(|key| write(disk, key, "acknowledged").is_ok()).collect::<Vec<_>>()
                })
            })
            .collect();
        halting.join().expect("halted");
        writers.into_iter().flat_map(|writer| writer.join().expect("wrote")).collect::<Vec<_>>()
    });
    assert!(!written.is_empty());
    drop(disk);
    let again = Disk::open(&path).expect("opens");
    for key in &written {
        assert_eq!(read(&again, key).as_deref(), Some("acknowledged"));
    }
}
