//! What the disk promises beyond what every engine does.

use slipway_core::Problem;

use super::*;

fn write(disk: &Disk, key: &Key, text: &str) -> Result<(), StoreError> {
    disk.change(|_| Ok(Batch::from([(key.clone(), Some(text.as_bytes().to_vec()))])))
}

#[test]
fn after_a_failed_write_nothing_more_is_written() {
    let folder = tempfile::tempdir().expect("temp folder");
    let path = folder.path().join("db");
    Disk::make(&path, None, |_| Ok(())).expect("made");
    let disk = Disk::open(&path).expect("opens");
    let key = Key::from_bytes(b"uann");
    write(&disk, &key, "before").expect("written");
    disk.halt(&"no space left");
    let problem = Problem::from(write(&disk, &key, "after").expect_err("refused"));
    assert!(problem.what.contains("takes no more changes"), "{problem}");
    let there = disk.look(|records| records.value(&key)).expect("still readable");
    assert_eq!(there.as_deref(), Some(b"before".as_slice()));
}
