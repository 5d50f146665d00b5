//! Repositories to measure with: real ones, copied and tuned once, and generated ones. Both are kept below
//! ~/.cache/slipway/bench.

use std::fs;
use std::path::{Path, PathBuf};

use sha1::{Digest, Sha1};

use crate::site::{Outcome, git, run};

/// A tuned bare repository.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    /// Its name in the table and on the servers.
    pub(crate) name: String,
    /// Where it is.
    pub(crate) path: PathBuf,
    /// The commit that HEAD names.
    pub(crate) tip: String,
    /// The branch that HEAD names, in full.
    pub(crate) branch: String,
}

/// Where prepared repositories are kept.
pub(crate) fn cache() -> Outcome<PathBuf> {
    let home = std::env::var("HOME").unwrap_or_else(|_| "/tmp".into());
    let base =
        std::env::var("XDG_CACHE_HOME").map_or_else(|_| Path::new(&home).join(".cache"), PathBuf::from);
    let folder = base.join("slipway/bench");
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

impl Subject {
    fn open(name: &str, path: PathBuf) -> Outcome<Self> {
        let tip = run(git(&path).args(["rev-parse", "--verify", "HEAD^{commit}"]))
            .map_err(|e| format!("{}: its HEAD names no commit: {e}", path.display()))?;
        let branch = run(git(&path).args(["symbolic-ref", "HEAD"]))?;
        Ok(Self { name: name.into(), path, tip, branch })
    }

    /// A tuned copy of the branches and tags of a real repository, made again when its refs change.
    pub(crate) fn real(path: &Path) -> Outcome<Self> {
        let stem = path.file_stem().map_or("repo".into(), |s| s.to_string_lossy().into_owned());
        let name: String = stem.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
        let refs = run(git(path).args(["for-each-ref", "refs/heads", "refs/tags"]))?;
        let stamp: String =
            Sha1::digest(refs.as_bytes()).iter().take(5).map(|b| format!("{b:02x}")).collect();
        let copy = cache()?.join(format!("real-{name}-{stamp}.git"));
        prepared(&copy, |new| {
            run(git(path).args(["clone", "-q", "--bare", "--no-local", "."]).arg(new)).map(drop)
        })?;
        Self::open(&name, copy)
    }

    /// A generated repository; `fill` writes it where it does not exist.
    pub(crate) fn generated(name: &str, fill: impl FnOnce(&Path) -> Outcome<()>) -> Outcome<Self> {
        let path = cache()?.join(format!("{name}-v1.git"));
        prepared(&path, |new| {
            run(git(Path::new("/")).args(["init", "-q", "--bare", "-b", "main"]).arg(new))?;
            fill(new)
        })?;
        Self::open(name, path)
    }

    /// Its pack files.
    pub(crate) fn packs(&self) -> Outcome<Vec<PathBuf>> {
        let mut all = Vec::new();
        for entry in fs::read_dir(self.path.join("objects/pack"))? {
            let path = entry?.path();
            if path.extension().is_some_and(|e| e == "pack") {
                all.push(path);
            }
        }
        Ok(all)
    }

    /// Old (none), new and name of every branch and tag: what a first push sends.
    pub(crate) fn creations(&self) -> Outcome<Vec<(String, String, String)>> {
        let format = "--format=%(objectname) %(refname)";
        let lines = run(git(&self.path).args(["for-each-ref", format, "refs/heads", "refs/tags"]))?;
        let updates = lines.lines().filter_map(|l| l.split_once(' '));
        Ok(updates.map(|(id, name)| ("0".repeat(40), id.to_owned(), name.to_owned())).collect())
    }
}

/// Makes and tunes a repository beside its place, then puts it there in one step.
fn prepared(path: &Path, make: impl FnOnce(&Path) -> Outcome<()>) -> Outcome<()> {
    if path.exists() {
        return Ok(());
    }
    eprintln!("preparing {} (kept for later runs)", path.display());
    let new = path.with_extension(format!("new-{}", std::process::id()));
    let made = make(&new).and_then(|()| tune(&new)).and_then(|()| Ok(fs::rename(&new, path)?));
    if made.is_err() {
        drop(fs::remove_dir_all(&new));
    }
    made
}

/// What a careful administrator of plain git does for speed.
fn tune(repo: &Path) -> Outcome<()> {
    run(git(repo).args(["pack-refs", "--all"]))?;
    run(git(repo).args(["-c", "pack.threads=2", "-c", "core.bigFileThreshold=2m", "repack", "-qadb"]))?;
    run(git(repo).args(["commit-graph", "write", "--reachable", "--changed-paths", "--no-progress"]))?;
    run(git(repo).args(["update-server-info"]))?;
    Ok(())
}
