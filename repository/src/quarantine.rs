//! A folder for objects that nobody shall see yet. It goes when it is dropped.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{RepoError, Result};
use crate::sweep::QUARANTINE;

/// The folder, inside `objects/` so that leaving it is a rename.
pub(crate) struct Quarantine(PathBuf);

impl Quarantine {
    pub(crate) fn new(objects: &Path) -> Result<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = objects.join(format!("{QUARANTINE}{}-{number}", std::process::id()));
        let create = || fs::DirBuilder::new().mode(0o700).create(&path);
        let made = create().or_else(|e| match e.kind() {
            // Left by a crashed process of the same id.
            ErrorKind::AlreadyExists => fs::remove_dir_all(&path).and_then(|()| create()),
            _ => Err(e),
        });
        made.map_err(RepoError::io("create", &path))?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Quarantine {
    fn drop(&mut self) {
        if let Err(e) = fs::remove_dir_all(&self.0) {
            tracing::warn!(path = %self.0.display(), "a quarantine is left behind until the next start: {e}");
        }
    }
}
