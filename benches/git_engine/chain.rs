//! Prepared pushes: commits in a row on top of a repository's tip, each changing one file, and a thin pack for each.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::client::{PackSource, Push};
use crate::site::{Outcome, git, run};
use crate::subject::Subject;

/// A row of commits that no server has yet.
pub(crate) struct Chain {
    /// A repository that has them, and everything else through an alternate.
    pub(crate) repo: PathBuf,
    /// The branch they go to, in full.
    pub(crate) branch: String,
    /// The tip, then the commits.
    pub(crate) commits: Vec<String>,
}

impl Chain {
    /// Makes `count` commits on top of the subject's tip, for `branch` (in full). Different labels never share objects.
    pub(crate) fn make(
        subject: &Subject,
        scratch: &Path,
        label: &str,
        branch: &str,
        count: usize,
    ) -> Outcome<Self> {
        let repo = scratch.join(format!("chain-{}-{label}.git", subject.name));
        run(git(scratch).args(["init", "-q", "--bare"]).arg(&repo))?;
        let alternate = format!("{}\n", subject.path.join("objects").display());
        std::fs::write(repo.join("objects/info/alternates"), alternate)?;
        run(git(&repo).args(["config", "gc.auto", "0"]))?;
        let path = deepest_file(subject)?;
        let old = git(&subject.path)
            .args(["cat-file", "blob", &format!("{}:{path}", subject.tip)])
            .output()?
            .stdout;
        let mut import =
            git(&repo).args(["fast-import", "--quiet", "--force"]).stdin(Stdio::piped()).spawn()?;
        let mut input = import.stdin.take().ok_or("fast-import has no input")?;
        let mut stream = Vec::new();
        for number in 1..=count {
            let mut content = format!("{label} {number}\n").into_bytes();
            content.extend_from_slice(&old);
            one(&mut stream, subject, number, &path, &content)?;
            input.write_all(&stream)?;
            stream.clear();
        }
        drop(input);
        if !import.wait()?.success() {
            return Err("git fast-import failed".into());
        }
        let range = format!("{}..refs/heads/chain", subject.tip);
        let listed = run(git(&repo).args(["rev-list", "--reverse", "--first-parent", &range]))?;
        let commits = std::iter::once(subject.tip.clone()).chain(listed.lines().map(str::to_owned)).collect();
        Ok(Self { repo, branch: branch.into(), commits })
    }

    /// The push of commit `number` (from 1) to servers that have the one before. `old` is where the branch is, if it is.
    pub(crate) fn push(&self, number: usize, old: Option<&str>) -> Outcome<Push> {
        let (before, new) = (&self.commits[number - 1], &self.commits[number]);
        let mut pack = git(&self.repo);
        pack.args(["pack-objects", "--revs", "--thin", "--stdout", "--delta-base-offset", "-q"]);
        let mut child = pack.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut input = child.stdin.take().ok_or("no input")?;
        write!(input, "{new}\n^{before}\n")?;
        drop(input);
        let out = child.wait_with_output()?;
        if !out.status.success() {
            return Err("git pack-objects failed".into());
        }
        let old = old.map_or_else(|| "0".repeat(40), str::to_owned);
        Ok(Push {
            updates: vec![(old, new.clone(), self.branch.clone())],
            pack: PackSource::Bytes(out.stdout),
        })
    }
}

fn one(
    out: &mut Vec<u8>,
    subject: &Subject,
    number: usize,
    path: &str,
    content: &[u8],
) -> std::io::Result<()> {
    let message = format!("bench {number}\n");
    writeln!(out, "commit refs/heads/chain\nmark :{number}")?;
    writeln!(out, "committer Bench <bench@example.org> {} +0000", 1_700_000_000 + number)?;
    writeln!(out, "data {}\n{message}", message.len())?;
    if number == 1 {
        writeln!(out, "from {}", subject.tip)?;
    }
    writeln!(out, "M 100644 inline {path}\ndata {}", content.len())?;
    out.extend_from_slice(content);
    out.push(b'\n');
    Ok(())
}

/// A plain text file as far down in the tree as there is one: as many trees change as can be.
fn deepest_file(subject: &Subject) -> Outcome<String> {
    let listed = run(git(&subject.path).args(["ls-tree", "-r", &subject.tip]))?;
    let files = listed.lines().filter_map(|l| l.strip_prefix("100644 blob ")?.split_once('\t'));
    let plain = files.map(|(_, path)| path).filter(|p| {
        let small = [".rs", ".c", ".h", ".md", ".txt", ".toml", ".py", ".go"].iter().any(|e| p.ends_with(e));
        !p.contains(['"', ' ']) && (small || p.starts_with("folder"))
    });
    let found = plain.max_by_key(|p| p.matches('/').count());
    Ok(found.unwrap_or("bench.txt").to_owned())
}
