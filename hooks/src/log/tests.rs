//! Logs that are written, followed and read.

use super::*;
use std::time::Duration;

fn names() -> (RepoId, BuildNumber) {
    (RepoId(3), BuildNumber(7))
}

#[tokio::test]
async fn a_reader_that_came_first_sees_every_line_and_the_end() {
    let folder = tempfile::tempdir().expect("folder");
    let logs = BuildLogs::new(folder.path());
    let (repo, n) = names();
    let mut follower = logs.follow(repo, n, 0).await.expect("follow");
    let reading = tokio::spawn(async move {
        let mut all = Vec::new();
        while let Some(bytes) = follower.next(8).await.expect("read") {
            all.extend_from_slice(&bytes);
        }
        String::from_utf8(all).expect("UTF-8")
    });
    let log = logs.writer(repo, n, &[Secret::new("hunter22")]).await.expect("writer");
    log.stage(Stage::Clone).await;
    log.line("the password is hunter22").await;
    log.hide(Secret::new("later-secret"));
    log.output(b"and later-secret").await;
    log.flush().await;
    logs.close(repo, n);
    let text = tokio::time::timeout(Duration::from_secs(5), reading).await.expect("ends").expect("no panic");
    assert_eq!(text, "== clone repository\nthe password is ***\nand ***\n");
    assert_eq!(logs.read(repo, n, 3, 5).expect("read"), b"clone");
}

#[tokio::test]
async fn a_log_taken_up_again_goes_on_at_its_end() {
    let folder = tempfile::tempdir().expect("folder");
    let (repo, n) = names();
    for line in ["before the crash", "after it"] {
        let logs = BuildLogs::new(folder.path());
        let log = logs.writer(repo, n, &[]).await.expect("writer");
        log.line(line).await;
        log.flush().await;
    }
    let text = BuildLogs::new(folder.path()).read(repo, n, 0, 1000).expect("read");
    assert_eq!(text, b"before the crash\nafter it\n");
}

#[tokio::test]
async fn a_second_writer_speaks_after_the_first() {
    let folder = tempfile::tempdir().expect("folder");
    let logs = BuildLogs::new(folder.path());
    let (repo, n) = names();
    let first = logs.writer(repo, n, &[]).await.expect("writer");
    let second = logs.writer(repo, n, &[]).await.expect("writer");
    second.line("second").await;
    for i in 0..100 {
        first.line(&format!("first {i}")).await;
    }
    drop(first);
    second.flush().await;
    let text = String::from_utf8(logs.read(repo, n, 0, 10_000).expect("read")).expect("UTF-8");
    assert!(text.ends_with("first 99\nsecond\n"), "{text}");
}

#[test]
fn a_log_is_bounded_and_its_verdict_still_written() {
    let folder = tempfile::tempdir().expect("folder");
    let (file, bytes) = open(&folder.path().join("x/1.log")).expect("open");
    let most = 3 << 20;
    file.set_len(most - 10).expect("sparse");
    let length = watch::Sender::default();
    let bytes = bytes + most - 10;
    let mut writing = Writing { file, most, bytes, left_out: 0, lost: 0, length: &length };
    writing.text(b"much too long a line\n", false);
    writing.text(b"again\n", false);
    writing.text(b"failed\n", true);
    assert_eq!(writing.left_out, 21 + 6);
    let end = read_at(&folder.path().join("x/1.log"), most - 10, 1000).expect("read");
    let end = String::from_utf8(end).expect("UTF-8");
    assert_eq!(end, "[the log has reached 3MiB; the rest of the output is left out]\nfailed\n");
}

#[tokio::test]
async fn logs_go_with_their_repository() {
    let folder = tempfile::tempdir().expect("folder");
    let logs = BuildLogs::new(folder.path());
    let (repo, n) = names();
    let log = logs.writer(repo, n, &[]).await.expect("writer");
    log.line("x").await;
    log.flush().await;
    assert_eq!(logs.len(repo, n).expect("len"), 2);
    assert_eq!(logs.len(RepoId(4), n).expect("len"), 0, "another's");
    logs.remove(repo).expect("removed");
    logs.remove(repo).expect("that there is none is fine");
    assert_eq!(logs.read(repo, n, 0, 10).expect("read"), b"");
}
