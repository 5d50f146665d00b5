//! Making what was done to a folder last: a rename or a new name is durable once the folder itself is flushed.

use std::fs::File;
use std::path::Path;

use crate::error::{RepoError, Result};

/// Makes renames and new names in the folder durable.
pub(crate) fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|f| f.sync_all()).map_err(RepoError::io("flush", folder))
}
