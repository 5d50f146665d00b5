//! Lock files as git makes them (`NAME.lock` beside what is locked), of which the next start of the server can tell that
//! they are its own: each is a second name of a file in `slipway/`. After a crash nobody holds those; a lock without such a
//! mark may be that of a plain git which is at work.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

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
    fs::create_dir_all(&folder)?;
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
