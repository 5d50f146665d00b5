//! Lock files as git makes them (`NAME.lock` beside what is locked), of which the next start of the server can tell that
//! they are its own: each is a second name of a file in `slipway/`. After a crash nobody holds those; a lock without such a
//! mark may be that of a plain git which is at work. What is locked is replaced by a rename.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::durable::{make_inner, sync_folder};
use crate::error::{RepoError, Result};

/// Names that marks start with; a process id, a dash and a number follow.
pub(crate) const MARK: &str = "lock-";

static MARKS: AtomicU64 = AtomicU64::new(0);

/// The lock's other name, gone when dropped.
pub(crate) struct Mark(PathBuf);

impl Drop for Mark {
    fn drop(&mut self) {
        // What is left behind harms nobody, and goes at the next start.
        let _ = fs::remove_file(&self.0);
    }
}

/// Makes the lock `path` in the repository at `root`. The mark is to be kept until the lock is renamed or removed.
///
/// # Errors
/// [`ErrorKind::AlreadyExists`] if somebody holds it.
pub(crate) fn take(root: &Path, path: &Path) -> io::Result<(File, Mark)> {
    let folder = root.join("slipway");
    make_inner(&folder)?;
    let number = MARKS.fetch_add(1, Ordering::Relaxed);
    let mark = Mark(folder.join(format!("{MARK}{}-{number}", std::process::id())));
    // One of a process of this id that crashed must not pass for a lock that is held.
    let _ = fs::remove_file(&mark.0);
    let file = File::options().read(true).write(true).create_new(true).open(&mark.0)?;
    match fs::hard_link(&mark.0, path) {
        Ok(()) => Ok((file, mark)),
        // A file system without second names: the lock is good, and looks like git's after a crash.
        Err(e) if matches!(e.kind(), ErrorKind::PermissionDenied | ErrorKind::Unsupported) => {
            let file = File::options().read(true).write(true).create_new(true).open(path)?;
            Ok((file, mark))
        }
        Err(e) => Err(e),
    }
}

/// The files that marks stand for, by device and number.
#[derive(Default)]
pub(crate) struct Marked(HashSet<(u64, u64)>);

impl Marked {
    /// Adds the one of this mark.
    pub(crate) fn add(&mut self, mark: &Path) {
        // One name alone is no lock, or not any more.
        if let Ok(meta) = fs::symlink_metadata(mark)
            && meta.nlink() > 1
        {
            self.0.insert((meta.dev(), meta.ino()));
        }
    }

    /// True if the lock has a mark.
    pub(crate) fn has(&self, lock: &Path) -> bool {
        fs::symlink_metadata(lock).is_ok_and(|meta| self.0.contains(&(meta.dev(), meta.ino())))
    }
}

/// A lock file; goes when dropped, unless it was renamed.
pub(crate) struct Lock {
    /// Of the update that it is for.
    pub(crate) number: usize,
    /// What is locked.
    pub(crate) target: PathBuf,
    path: PathBuf,
    file: File,
    done: bool,
    _mark: Mark,
}

impl Drop for Lock {
    fn drop(&mut self) {
        if !self.done {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Lock {
    /// Takes the lock of `target` in the repository at `root`.
    pub(crate) fn take(root: &Path, target: PathBuf, number: usize) -> Result<Self> {
        let mut path = target.clone().into_os_string();
        path.push(".lock");
        let path = PathBuf::from(path);
        match take(root, &path) {
            Ok((file, mark)) => Ok(Self { number, target, path, file, done: false, _mark: mark }),
            Err(e) if e.kind() == ErrorKind::AlreadyExists => Err(RepoError::RefLocked { path }),
            Err(e) => Err(RepoError::io("create", &path)(e)),
        }
    }

    /// Writes what the file shall be, flushed.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file
            .write_all(bytes)
            .and_then(|()| self.file.sync_all())
            .map_err(RepoError::io("write", &self.path))
    }

    /// Puts it in the place of what is locked.
    pub(crate) fn rename(mut self) -> Result<()> {
        fs::rename(&self.path, &self.target).map_err(RepoError::io("rename", &self.path))?;
        self.done = true;
        Ok(())
    }
}

/// Replaces a file at the top of the repository under its lock, durable on return. `text` is asked once the lock is held;
/// if there is none, the file goes.
pub(crate) fn rewrite(path: &Path, text: impl FnOnce() -> Result<Vec<u8>>) -> Result<()> {
    let root = path.parent().unwrap_or(path);
    let mut lock = Lock::take(root, path.to_owned(), 0)?;
    let text = text()?;
    if text.is_empty() {
        match fs::remove_file(path) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(RepoError::io("remove", path)(e)),
            _ => drop(lock),
        }
    } else {
        lock.write(&text)?;
        lock.rename()?;
    }
    sync_folder(root)
}
