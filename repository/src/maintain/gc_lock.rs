//! `gc.pid`: git's way to say that a repository is being maintained (git-gc(1)). A line with a process id and a host name.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::error::{RepoError, Result};

/// git takes a lock over that is older than this, whoever holds it.
const AGE_MAX: Duration = Duration::from_secs(12 * 3600);

/// The lock, given back when dropped.
pub(super) struct GcLock(PathBuf);

impl GcLock {
    /// Takes it for the repository at `root`.
    pub(super) fn take(root: &Path) -> Result<Self> {
        let path = root.join("gc.pid");
        for _ in 0..2 {
            match File::create_new(&path) {
                Ok(mut file) => {
                    write!(file, "{} {}", std::process::id(), host())
                        .map_err(RepoError::io("write", &path))?;
                    return Ok(Self(path));
                }
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {
                    if is_held(&path) {
                        return Err(RepoError::Maintained);
                    }
                    super::remove(&path)?;
                }
                Err(e) => return Err(RepoError::io("create", &path)(e)),
            }
        }
        Err(RepoError::Maintained)
    }
}

impl Drop for GcLock {
    fn drop(&mut self) {
        if let Err(e) = fs::remove_file(&self.0) {
            tracing::warn!(path = %self.0.display(), "the lock of maintenance is left behind: {e}");
        }
    }
}

/// True if the holder is young and may be alive: on another host nobody can tell, here a process of that id must exist
/// that is not this one (whose own locks end with their maintenance).
fn is_held(path: &Path) -> bool {
    let Ok(modified) = fs::metadata(path).and_then(|m| m.modified()) else { return false };
    if SystemTime::now().duration_since(modified).unwrap_or_default() > AGE_MAX {
        return false;
    }
    let text = fs::read_to_string(path).unwrap_or_default();
    let Some((process, of)) = text.trim().split_once(' ') else { return !text.trim().is_empty() };
    let Ok(process) = process.parse::<u32>() else { return true };
    of != host() || (process != std::process::id() && Path::new(&format!("/proc/{process}")).exists())
}

fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
