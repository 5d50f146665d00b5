//! What a crash leaves in a repository, and removing it. Run at start, while nobody writes.

use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::error::{RepoError, Result};
use crate::limits::REF_FOLDERS_DEEP_MAX;

/// Names that our quarantine folders start with; git's own, so that `git gc` removes them too.
pub(crate) const QUARANTINE: &str = "tmp_objdir-incoming-";

/// What the files say that keep our packs from `git gc` while a push is under way; a process id follows.
pub(crate) const KEEP_WORDS: &str = "slipway: refs are being updated by process ";

/// Names that the files of answers start with, in `slipway/`; each is removed right after it is made.
pub(crate) const SPOOL: &str = "answer-";

/// A lock younger than this may belong to a plain git that works beside us.
const LOCK_AGE_MIN: Duration = Duration::from_secs(60);
/// The same for its quarantines, in which a long push may sit.
const GIT_QUARANTINE_AGE_MIN: Duration = Duration::from_secs(24 * 3600);

/// Removes quarantines and stale locks of the repository at `root`.
pub(crate) fn sweep(root: &Path) -> Result<()> {
    each(&root.join("objects"), &mut |path, name| match name.strip_prefix(QUARANTINE) {
        Some(number) if path.is_dir() && (is_ours(number) || is_older(path, GIT_QUARANTINE_AGE_MIN)) => {
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
    for name in ["HEAD.lock", "packed-refs.lock", "packed-refs.new", "config.lock", "shallow.lock"] {
        remove_stale(&root.join(name))?;
    }
    sweep_locks(&root.join("refs"), 0)
}

fn sweep_locks(folder: &Path, deep: usize) -> Result<()> {
    if deep > REF_FOLDERS_DEEP_MAX {
        return Ok(());
    }
    each(folder, &mut |path, name| {
        if path.is_dir() {
            sweep_locks(path, deep + 1)
        } else if name.ends_with(".lock") {
            remove_stale(path)
        } else {
            Ok(())
        }
    })
}

fn remove_stale(path: &Path) -> Result<()> {
    if is_older(path, LOCK_AGE_MIN) { remove(fs::remove_file(path), path) } else { Ok(()) }
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
