//! Pages read what git shows: revisions, files, logs, differences and archives of wild histories, with stock git as
//! the oracle.

mod content;
mod differences;
mod history;
mod incoming;
mod wild;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use slipway_core::Oid;
use slipway_core::accept::Incoming;
use slipway_repository::*;

use crate::support::*;

/// A repository with a wild history in it.
struct Wild {
    _lab: Lab,
    path: PathBuf,
    snapshot: Arc<Snapshot>,
}

impl Wild {
    fn new(seed: u64, commits: usize) -> Self {
        let lab = Lab::new();
        let (repository, path) = lab.create("wild");
        git_in(&path, &["fast-import", "--quiet", "--force"], &wild::stream(seed, commits));
        let snapshot = repository.snapshot().unwrap();
        Self { _lab: lab, path, snapshot }
    }

    fn commits(&self) -> Vec<Oid> {
        git(&self.path, &["rev-list", "--all"]).lines().map(oid).collect()
    }

    fn tips(&self) -> Vec<Oid> {
        let all = git(&self.path, &["for-each-ref", "--format=%(objectname)", "refs/heads"]);
        all.lines().map(oid).collect()
    }

    /// Every path that ever was, folders too, as git's bytes.
    fn paths(&self) -> BTreeSet<Vec<u8>> {
        let mut paths = BTreeSet::new();
        for commit in self.commits() {
            for path in nul_separated(&git_in(
                &self.path,
                &["ls-tree", "-rtz", "--name-only", &commit.to_string()],
                b"",
            )) {
                paths.insert(path);
            }
        }
        paths
    }
}

fn nul_separated(raw: &[u8]) -> Vec<Vec<u8>> {
    raw.split(|&b| b == 0).filter(|part| !part.is_empty()).map(<[u8]>::to_vec).collect()
}

/// Runs git with arguments that need not be UTF-8.
fn git_bytes(dir: &Path, args: &[&[u8]]) -> Vec<u8> {
    let output = Command::new("git")
        .args(args.iter().map(|a| OsStr::from_bytes(a)))
        .current_dir(dir)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("HOME", dir)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn lines_of(raw: &[u8]) -> Vec<String> {
    String::from_utf8(raw.to_vec()).unwrap().lines().map(str::to_owned).collect()
}

/// git's bytes as our text: what the walks hand out for them, worked out anew.
fn text(raw: &[u8]) -> String {
    let mut out = String::new();
    for chunk in raw.utf8_chunks() {
        for c in chunk.valid().chars() {
            if ('\u{F780}'..='\u{F7FF}').contains(&c) {
                out.extend(c.to_string().bytes().map(|b| char::from_u32(0xF700 + u32::from(b)).unwrap()));
            } else {
                out.push(c);
            }
        }
        out.extend(chunk.invalid().iter().map(|&b| char::from_u32(0xF700 + u32::from(b)).unwrap()));
    }
    out
}

fn plenty() -> Budget {
    Budget { deadline: Instant::now() + Duration::from_secs(60), commits_max: 1_000_000 }
}

fn ids(page: &LogPage) -> Vec<String> {
    page.commits.iter().map(|c| c.id.to_string()).collect()
}

const SEEDS: std::ops::Range<u64> = 1..9;

fn limits() -> DiffLimits {
    DiffLimits { files_max: 1000, lines_max: 100_000, blob_bytes_max: 1 << 20, context: 3 }
}

/// A file's change as `git diff-tree --raw` and `--numstat` tell it.
type Told = (char, String, String, String, String, Option<(usize, usize)>);

fn told_by_us(diff: &Diff) -> Vec<Told> {
    let mode = |m: Option<Mode>| m.map_or("000000", Mode::octal).to_owned();
    let told = |f: &FileDiff| {
        let status = match f.kind {
            ChangeKind::Added => 'A',
            ChangeKind::Removed => 'D',
            ChangeKind::Modified => 'M',
            ChangeKind::Renamed => 'R',
            ChangeKind::TypeChanged => 'T',
        };
        let counts = (!f.binary).then_some((f.added, f.removed));
        (status, f.old_path.clone(), f.new_path.clone(), mode(f.old_mode), mode(f.new_mode), counts)
    };
    diff.files.iter().map(told).collect()
}
