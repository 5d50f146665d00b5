//! A backup as a stream.

use std::fs;

use slipway_backup::{Head, Writer};
use slipway_core::Problem;

use super::support::{HOUR, data, noise, stream, taken};

#[test]
fn what_is_written_is_read() {
    let (files, end) = taken(&stream(&data())).expect("whole");
    assert_eq!(files, data());
    assert_eq!(end.files, data().len() as u64);
    assert!(end.troubles().0.is_empty());
}

#[test]
fn every_tar_unpacks_it_and_every_sha256sum_checks_it() {
    let folder = tempfile::tempdir().expect("temp");
    let file = folder.path().join("backup.tar");
    fs::write(&file, stream(&data())).expect("written");
    let run = |name: &str, args: &[&str]| {
        let out =
            std::process::Command::new(name).args(args).current_dir(folder.path()).output().expect(name);
        assert!(out.status.success(), "{name}: {}", String::from_utf8_lossy(&out.stderr));
    };
    run("tar", &["xf", "backup.tar"]);
    run("sha256sum", &["--quiet", "--strict", "-c", "SHA256SUMS"]);
    assert_eq!(fs::read(folder.path().join("keys/master.key")).expect("there"), b"key\n");
}

#[test]
fn whatever_is_cut_or_flipped_is_refused() {
    let whole = stream(&data());
    for at in (0..whole.len() - 1024).step_by(509).chain([0, 1, 511, 512, 513]) {
        assert!(taken(&whole[..at]).is_err(), "cut at {at}");
    }
    let (files, _) = taken(&whole).expect("whole");
    for at in (0..whole.len()).step_by(211) {
        let mut bad = whole.clone();
        bad[at] ^= 0x10;
        // Bytes that fill up a block are nobody's.
        if let Ok((found, _)) = taken(&bad) {
            assert_eq!(found, files, "flipped at {at}");
        }
    }
    assert!(taken(b"").is_err() && taken(&noise(3, 5000)).is_err());
}

#[test]
fn a_maker_that_fails_says_why() {
    let folder = tempfile::tempdir().expect("temp");
    let mut bytes = Vec::new();
    let writer = Writer::begin(&mut bytes, &Head::new("0.1.0", HOUR, true), folder.path()).expect("begun");
    writer.fail(&Problem::new(slipway_core::ProblemKind::Busy, "A backup is being made already.", "Wait."));
    let problem = taken(&bytes).expect_err("it has failed");
    assert_eq!(problem.what, "A backup is being made already.");
}
