//! `gc.pid`: git's way to say that a repository is being maintained (git-gc(1)). A line with a process id and a host name.
//!
//! It is there with its content or not at all: written as `gc.pid.lock`, which whoever maintains holds while it looks at
//! `gc.pid`, and renamed. git counts a `gc.pid` without both words for nothing.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

use crate::error::{RepoError, Result};
use crate::lock_file;

/// git takes a lock over that is older than this, whoever holds it.
const AGE_MAX: Duration = Duration::from_secs(12 * 3600);

/// The lock, given back when dropped.
pub(super) struct GcLock {
    path: PathBuf,
    /// What it says.
    words: String,
}

impl GcLock {
    /// Takes it for the repository at `root`.
    pub(super) fn take(root: &Path) -> Result<Self> {
        let path = root.join("gc.pid");
        let lock = root.join("gc.pid.lock");
        let (mut file, _mark) = match lock_file::take(root, &lock) {
            Ok(taken) => taken,
            Err(e) if e.kind() == ErrorKind::AlreadyExists => return Err(RepoError::Maintained),
            Err(e) => return Err(RepoError::io("create", &lock)(e)),
        };
        let words = format!("{} {}", std::process::id(), host());
        let done = if is_held(&path) {
            Err(RepoError::Maintained)
        } else {
            let written = file.write_all(words.as_bytes()).map_err(RepoError::io("write", &lock));
            written.and_then(|()| fs::rename(&lock, &path).map_err(RepoError::io("rename", &path)))
        };
        if done.is_err() {
            let _ = fs::remove_file(&lock);
        }
        done.map(|()| Self { path, words })
    }
}

impl Drop for GcLock {
    fn drop(&mut self) {
        // After half a day it may be somebody else's.
        if fs::read_to_string(&self.path).is_ok_and(|words| words != self.words) {
            return;
        }
        if let Err(e) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), "the lock of maintenance is left behind: {e}");
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
    let mut words = text.split_ascii_whitespace();
    let (Some(process), Some(of)) = (words.next(), words.next()) else { return false };
    let Ok(process) = process.parse::<u64>() else { return false };
    of != host() || (process != u64::from(std::process::id()) && is_alive(process))
}

/// True if a process of that id exists.
pub(crate) fn is_alive(process: u64) -> bool {
    let process = i32::try_from(process).ok().and_then(Pid::from_raw);
    process.is_some_and(|process| !matches!(test_kill_process(process), Err(e) if e != Errno::PERM))
}

fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn who_looks_beside_us_sees_the_whole_line_or_none() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("gc.pid");
        let whole = format!("{} {}", std::process::id(), host());
        std::thread::scope(|scope| {
            let taking = scope.spawn(|| (0..3000).for_each(|_| drop(GcLock::take(root.path()).unwrap())));
            let mut seen = 0;
            while !taking.is_finished() {
                if let Ok(text) = fs::read_to_string(&path) {
                    assert_eq!(text, whole);
                    seen += 1;
                }
            }
            assert!(seen > 0);
        });
        assert!(!path.exists() && !root.path().join("gc.pid.lock").exists());
        assert_eq!(fs::read_dir(root.path().join("slipway")).unwrap().count(), 0);
    }

    #[test]
    fn a_git_gc_beside_us_says_that_it_is_running() {
        let root = tempfile::tempdir().unwrap();
        let git = |args: &[&str]| {
            let output =
                Command::new("git").args(args).current_dir(root.path()).stdin(Stdio::null()).output();
            output.unwrap()
        };
        assert!(git(&["init", "-q", "--bare", "."]).status.success());
        let lock = GcLock::take(root.path()).unwrap();
        let refused = git(&["gc"]);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        let expected = format!("gc is already running on machine '{}' pid {}", host(), std::process::id());
        assert!(!refused.status.success() && said.contains(&expected), "{said}");
        drop(lock);
        assert!(git(&["gc", "-q"]).status.success());
    }

    /// What git does beside the same `gc.pid` decides.
    #[test]
    fn a_lock_is_held_where_git_holds_it_to_be() {
        let root = tempfile::tempdir().unwrap();
        let git = |args: &[&str]| {
            let mut git = Command::new("git");
            git.args(args).current_dir(root.path()).stderr(Stdio::null()).status().unwrap().success()
        };
        assert!(git(&["init", "-q", "--bare", "."]));
        let (path, host) = (root.path().join("gc.pid"), host());
        let parent = std::os::unix::process::parent_id();
        for (text, hours, held) in [
            (format!("{parent} {host}"), 0, true),
            (format!("{parent} {host}\n"), 11, true),
            (format!("{parent} {host}"), 13, false),
            (format!("{} {host}", i32::MAX), 0, false),
            (format!("1 not-{host}"), 0, true),
            (format!("1 not-{host}"), 13, false),
            (String::new(), 0, false),
            (parent.to_string(), 0, false),
            (format!("x {host}"), 0, false),
        ] {
            let write = || {
                fs::write(&path, &text).unwrap();
                let age = Duration::from_secs(hours * 3600);
                let file = File::options().write(true).open(&path).unwrap();
                file.set_modified(SystemTime::now() - age).unwrap();
            };
            write();
            assert_eq!(!git(&["gc", "-q"]), held, "git: {text:?}, {hours} h");
            write();
            let taken = GcLock::take(root.path());
            assert_eq!(matches!(taken, Err(RepoError::Maintained)), held, "{text:?}, {hours} h");
            assert!(!root.path().join("gc.pid.lock").exists());
        }
        let _ = fs::remove_file(&path);
        fs::write(root.path().join("gc.pid.lock"), "").unwrap();
        assert!(matches!(GcLock::take(root.path()), Err(RepoError::Maintained)));
        assert!(!git(&["gc", "-q"]));
    }
}
