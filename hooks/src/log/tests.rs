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
fn a_log_is_bounded_and_keeps_its_head_its_end_and_its_verdict() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("x/1.log");
    let (file, _) = open(&path).expect("open");
    let most = 3 << 20;
    file.set_len(most - 10).expect("sparse");
    let length = watch::Sender::default();
    let mut writing = Writing::new(file, most, most - 10, &length);
    writing.text(b"head\n".to_vec(), false);
    let flood = 200_000u32;
    for n in 0..flood {
        writing.text(format!("line {n:08}\n").into_bytes(), false);
    }
    writing.text(b"failed\n".to_vec(), true);
    writing.text(b"after\n".to_vec(), false);
    writing.end();
    let end = read_at(&path, most - 10, 1 << 20).expect("read");
    let end = String::from_utf8(end).expect("UTF-8");
    let (note, tail) = end.strip_prefix("head\n").and_then(|end| end.split_once('\n')).expect("a note");
    let kept = tail.matches("line ").count();
    let missing = (flood as usize - kept) * 14;
    assert_eq!(
        note,
        format!("[the log has reached 3MiB: {missing} bytes of output are left out here, its end follows]")
    );
    assert!(
        tail.ends_with(&format!("line {:08}\nfailed\nafter\n", flood - 1)),
        "{:?}",
        &tail[tail.len() - 40..]
    );
    assert!(tail.len() as u64 <= crate::limits::LOG_TAIL_BYTES + 20);
    // However often: never more than the reserve.
    for n in 0..100 {
        writing.text(vec![b'x'; 200 << 10], false);
        writing.text(format!("stage {n}\n").into_bytes(), true);
    }
    let size = std::fs::metadata(&path).expect("a file").len();
    assert!(size <= most + crate::limits::LOG_RESERVE_BYTES + 4096, "{size}");
}

#[tokio::test]
async fn nothing_of_a_long_line_is_lost() {
    let folder = tempfile::tempdir().expect("folder");
    let logs = BuildLogs::new(folder.path());
    let (repo, n) = names();
    let log = logs.writer(repo, n, &[]).await.expect("writer");
    let numbers: String = (0..40_000).map(|n| format!("{n}é.")).collect();
    let mut lines = mask::Lines::default();
    let mut all = Vec::new();
    // As engines send them: in pieces of any size.
    for piece in numbers.as_bytes().chunks(31_991) {
        lines.push(piece, &log.masker(), LOG_LINE_BYTES_MAX, |line| all.push(line.to_vec()));
    }
    lines.finish(|line| all.push(line.to_vec()));
    for line in &all {
        log.output(line).await;
    }
    log.output(numbers.as_bytes()).await;
    log.flush().await;
    let mut bytes = Vec::new();
    while let Ok(more) = logs.read(repo, n, bytes.len() as u64, 1 << 20)
        && !more.is_empty()
    {
        bytes.extend_from_slice(&more);
    }
    bytes.retain(|b| *b != b'\n');
    assert_eq!(bytes, format!("{numbers}{numbers}").into_bytes());
    assert_eq!(broken(b"x"), b"x\n");
    let text = "é".repeat(LOG_LINE_BYTES_MAX * 3);
    assert!(String::from_utf8(broken(text.as_bytes())).is_ok(), "no character is cut");
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
