//! What a crash leaves in a repository, and removing it. Run at start, while nobody writes.

use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::error::{RepoError, Result};
use crate::limits::REF_FOLDERS_DEEP_MAX;
use crate::lock_file::{MARK, Marked};
use crate::maintain::is_alive;

/// Names that our quarantine folders start with; git's own, so that `git gc` removes them too.
pub(crate) const QUARANTINE: &str = "tmp_objdir-incoming-";

/// What the files say that keep our packs from `git gc` while a push is under way; a process id follows.
pub(crate) const KEEP_WORDS: &str = "slipway: refs are being updated by process ";

/// Names that the files of answers start with, in `slipway/`; each is removed right after it is made.
pub(crate) const SPOOL: &str = "answer-";

/// A lock younger than this, and without a mark of ours, may belong to a plain git that works beside us.
const LOCK_AGE_MIN: Duration = Duration::from_secs(60);
/// The same for its quarantines, in which a long push may sit, and for what it may take long to index.
const GIT_LONG_AGE_MIN: Duration = Duration::from_secs(24 * 3600);

/// Where git and we make locks, those of refs aside.
const LOCKS: [&str; 8] = [
    "HEAD.lock",
    "packed-refs.lock",
    "packed-refs.new",
    "config.lock",
    "shallow.lock",
    "gc.pid.lock",
    "objects/pack/multi-pack-index.lock",
    "objects/info/commit-graph.lock",
];

/// Removes quarantines and stale locks of the repository at `root`.
pub(crate) fn sweep(root: &Path) -> Result<()> {
    each(&root.join("objects"), &mut |path, name| match name.strip_prefix(QUARANTINE) {
        Some(number) if path.is_dir() && (is_ours(number) || is_older(path, GIT_LONG_AGE_MIN)) => {
            remove(fs::remove_dir_all(path), path)
        }
        _ => Ok(()),
    })?;
    each(&root.join("objects/pack"), &mut |path, name| {
        let ours = || fs::read(path).is_ok_and(|words| words.starts_with(KEEP_WORDS.as_bytes()));
        if name.ends_with(".keep") && ours() { remove(fs::remove_file(path), path) } else { Ok(()) }
    })?;
    each(&root.join("slipway"), &mut |path, name| match name.strip_prefix(SPOOL) {
        Some(number) if is_ours(number) => remove(fs::remove_file(path), path),
        _ => Ok(()),
    })?;
    crate::hold::sweep(root)?;
    let marks = marks(root)?;
    let mut marked = Marked::default();
    marks.iter().for_each(|mark| marked.add(mark));
    for name in LOCKS {
        let age_min = if name.starts_with("objects/") { GIT_LONG_AGE_MIN } else { LOCK_AGE_MIN };
        remove_stale(&root.join(name), &marked, age_min)?;
    }
    let mut locks = Vec::new();
    each_lock(&root.join("refs"), 0, &mut |path| locks.push(path.to_owned()))?;
    locks.iter().try_for_each(|lock| remove_stale(lock, &marked, LOCK_AGE_MIN))?;
    // Last: after another crash they are needed again.
    marks.iter().try_for_each(|mark| remove(fs::remove_file(mark), mark))
}

/// Locks that nobody holds any more: marked by a process that is gone, or without a mark and old. For a server that runs, whose own
/// locks are none of these.
pub(crate) fn stale_locks(root: &Path) -> Result<Vec<PathBuf>> {
    let (mut held, mut left) = (Marked::default(), Marked::default());
    each(&root.join("slipway"), &mut |path, name| {
        if let Some((process, _)) = name.strip_prefix(MARK).and_then(|rest| rest.split_once('-')) {
            let alive = process.parse().is_ok_and(is_alive);
            if alive { held.add(path) } else { left.add(path) }
        }
        Ok(())
    })?;
    let mut found = Vec::new();
    let mut look = |path: &Path, age_min: Duration| {
        let is_stale = !held.has(path) && (left.has(path) || is_older(path, age_min));
        if is_stale && fs::symlink_metadata(path).is_ok() {
            found.push(path.to_owned());
        }
    };
    for name in LOCKS {
        look(&root.join(name), if name.starts_with("objects/") { GIT_LONG_AGE_MIN } else { LOCK_AGE_MIN });
    }
    each_lock(&root.join("refs"), 0, &mut |path| look(path, LOCK_AGE_MIN))?;
    Ok(found)
}

fn each_lock(folder: &Path, deep: usize, visit: &mut dyn FnMut(&Path)) -> Result<()> {
    if deep > REF_FOLDERS_DEEP_MAX {
        return Ok(());
    }
    each(folder, &mut |path, name| {
        if path.is_dir() {
            each_lock(path, deep + 1, visit)?;
        } else if name.ends_with(".lock") {
            visit(path);
        }
        Ok(())
    })
}

/// The marks of locks that a crash left.
fn marks(root: &Path) -> Result<Vec<PathBuf>> {
    let mut marks = Vec::new();
    each(&root.join("slipway"), &mut |path, name| {
        if name.strip_prefix(MARK).is_some_and(is_ours) {
            marks.push(path.to_owned());
        }
        Ok(())
    })?;
    Ok(marks)
}

fn remove_stale(path: &Path, marked: &Marked, age_min: Duration) -> Result<()> {
    if marked.has(path) || is_older(path, age_min) { remove(fs::remove_file(path), path) } else { Ok(()) }
}

fn is_older(path: &Path, age_min: Duration) -> bool {
    let modified = fs::metadata(path).and_then(|m| m.modified());
    modified.is_ok_and(|m| SystemTime::now().duration_since(m).unwrap_or_default() >= age_min)
}

/// Ours end in a process id, a dash and a number; git's in six letters and digits. Ours have no living owner when the
/// server starts.
fn is_ours(rest: &str) -> bool {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    rest.split_once('-').is_some_and(|(process, count)| number(process) && number(count))
}

fn remove(done: std::io::Result<()>, path: &Path) -> Result<()> {
    match done {
        Ok(()) => {
            tracing::info!(path = %path.display(), "removed what a crash had left");
            Ok(())
        }
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        Err(e) => Err(RepoError::io("remove", path)(e)),
    }
}

fn each(folder: &Path, visit: &mut dyn FnMut(&Path, &str) -> Result<()>) -> Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(RepoError::io("list", folder)(e)),
    };
    for entry in entries {
        let path = entry.map_err(RepoError::io("list", folder))?.path();
        if let Some(name) = path.file_name().and_then(OsStr::to_str) {
            let name = name.to_owned();
            visit(&path, &name)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_of_ours_goes_at_once_and_one_of_gits_when_it_is_old() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for name in ["refs/heads/deep", "objects/pack", "objects/info"] {
            fs::create_dir_all(root.join(name)).unwrap();
        }
        let locks =
            ["refs/heads/deep/main.lock", LOCKS[1], LOCKS[5], LOCKS[6], LOCKS[7]].map(|name| root.join(name));
        // As if the process had been killed.
        for lock in &locks {
            std::mem::forget(crate::lock_file::take(root, lock).unwrap());
        }
        let taken = crate::lock_file::take(root, &locks[0]);
        assert_eq!(taken.err().map(|e| e.kind()), Some(ErrorKind::AlreadyExists));
        // One that was put in its place just before, and one of git.
        let (file, mark) = crate::lock_file::take(root, &root.join("refs/heads/done.lock")).unwrap();
        fs::rename(root.join("refs/heads/done.lock"), root.join("refs/heads/done")).unwrap();
        std::mem::forget((file, mark));
        let theirs = root.join("refs/heads/theirs.lock");
        fs::write(&theirs, "").unwrap();
        sweep(root).unwrap();
        assert!(locks.iter().all(|lock| !lock.exists()));
        assert!(theirs.exists() && root.join("refs/heads/done").exists());
        assert_eq!(fs::read_dir(root.join("slipway")).unwrap().count(), 0);
        let old = SystemTime::now() - 2 * LOCK_AGE_MIN;
        fs::File::options().write(true).open(&theirs).unwrap().set_modified(old).unwrap();
        sweep(root).unwrap();
        assert!(!theirs.exists());
    }
}
