//! Generated repositories, written through `git fast-import`: the same bytes on every machine.

use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::{ChildStdin, Stdio};

use crate::site::{Outcome, git};
use crate::statistics::Random;
use crate::subject::Subject;

/// Seconds since 1970 of the first commit.
const BEGINNING: u64 = 1_600_000_000;
/// Files of a linear history, and folders that they lie in.
const FILES: u64 = 2000;
const FOLDERS: u64 = 40;

type Stream = BufWriter<ChildStdin>;

/// Feeds `git fast-import` in `repo`.
fn import(repo: &Path, write: impl FnOnce(&mut Stream) -> std::io::Result<()>) -> Outcome<()> {
    let mut command = git(repo);
    command.args([
        "-c",
        "pack.compression=1",
        "fast-import",
        "--quiet",
        "--force",
        "--big-file-threshold=2m",
    ]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
    let input = child.stdin.take().ok_or("fast-import has no input")?;
    let mut stream = BufWriter::with_capacity(1 << 20, input);
    let written = write(&mut stream).and_then(|()| stream.flush());
    drop(stream);
    let status = child.wait()?;
    written?;
    if status.success() { Ok(()) } else { Err(format!("git fast-import ended with {status}").into()) }
}

fn commit(to: &mut Stream, number: u64) -> std::io::Result<()> {
    let message = format!("change {number}\n");
    writeln!(to, "commit refs/heads/main\nmark :{}", number + 1)?;
    writeln!(to, "committer Bench <bench@example.org> {} +0000", BEGINNING + number * 60)?;
    writeln!(to, "data {}\n{message}", message.len())
}

fn file(to: &mut Stream, path: &str, content: &[u8]) -> std::io::Result<()> {
    writeln!(to, "M 100644 inline {path}\ndata {}", content.len())?;
    to.write_all(content)?;
    to.write_all(b"\n")
}

/// Some hundred bytes of text that differ by number and share most lines with those before.
fn text(number: u64) -> Vec<u8> {
    let mut random = Random::new(number);
    let mut out = format!("This is state {number}.\n").into_bytes();
    for line in 0..12 {
        let word = if line == 3 { random.next() } else { (number % FILES) * 31 + line };
        out.extend_from_slice(format!("line {line} has the value {word:x}\n").as_bytes());
    }
    out
}

/// `commits` commits in a row, each changing one of 2000 files (four objects a commit), with `refs` tags.
pub(crate) fn linear(commits: u64, refs: u64) -> Outcome<Subject> {
    Subject::generated(&format!("linear-{commits}-refs-{refs}"), |repo| {
        import(repo, |to| {
            for number in 0..commits {
                commit(to, number)?;
                let at = number % FILES;
                file(to, &format!("folder{}/file{at}", at % FOLDERS), &text(number))?;
            }
            for tag in 0..refs {
                let mark = tag * commits.max(1) / refs.max(1) + 1;
                writeln!(to, "reset refs/tags/release-{tag:06}\nfrom :{}\n", mark.min(commits))?;
            }
            Ok(())
        })
    })
}

/// One tree of `files` files, 500 in a folder, and 30 commits after it.
pub(crate) fn wide(files: u64) -> Outcome<Subject> {
    Subject::generated(&format!("tree-{files}"), |repo| {
        import(repo, |to| {
            commit(to, 0)?;
            for number in 0..files {
                file(to, &format!("folder{}/file{number}", number / 500), &text(number))?;
            }
            for change in 1..=30 {
                commit(to, change)?;
                let number = change * 997 % files;
                file(to, &format!("folder{}/file{number}", number / 500), &text(files + change))?;
            }
            Ok(())
        })
    })
}

/// `count` blobs of 10 MB each that do not compress.
pub(crate) fn blobs(count: u64) -> Outcome<Subject> {
    Subject::generated(&format!("blobs-{}MB", count * 10), |repo| {
        import(repo, |to| {
            let mut content = vec![0; 10_000_000];
            for number in 0..count {
                Random::new(number + 1).fill(&mut content);
                commit(to, number)?;
                file(to, &format!("blob{number}.bin"), &content)?;
            }
            Ok(())
        })
    })
}
