//! Making what was done to a folder last: a rename or a new name is durable once the folder itself is flushed.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::Path;

use crate::error::{RepoError, Result};

/// Makes renames and new names in the folder durable.
pub(crate) fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|f| f.sync_all()).map_err(RepoError::io("flush", folder))
}

/// Makes a folder within a repository if it is missing, and none above it: where the repository's own is missing its disk may
/// not be mounted, and nothing must be put in its place.
pub(crate) fn make_inner(folder: &Path) -> io::Result<()> {
    match fs::create_dir(folder) {
        Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}
