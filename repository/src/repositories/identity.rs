//! Which folder is whose: a repository's id in a file of its own, so that a folder that was restored, moved or copied is
//! never taken for another's; and which folders were left by a removal that a crash cut off.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use slipway_core::RepoId;

use super::{Repositories, links};
use crate::durable::sync_folder;
use crate::error::{RepoError, Result};

/// The file, below the repository's folder.
const FILE: &str = "slipway/id";
/// The file that says that the repository was removed and only its folder is left.
const REMOVED: &str = "slipway/removed";

/// Writes whose folder it is, durably.
pub(super) fn mark(folder: &Path, id: RepoId) -> Result<()> {
    write(folder, FILE, &format!("{id}\n"))
}

/// Whose folder it is by what it says itself; `None` if it says nothing.
///
/// # Errors
/// [`RepoError::NotIts`] if what it says is no id: then it is not known whose it is.
pub(super) fn owner(folder: &Path) -> Result<Option<RepoId>> {
    let path = folder.join(FILE);
    match fs::read(&path) {
        Ok(bytes) => {
            let id = std::str::from_utf8(&bytes).ok().and_then(|text| text.trim().parse().ok());
            let unclear = || RepoError::NotIts {
                path: folder.to_owned(),
                why: "does not say whose it is: its slipway/id is broken".into(),
            };
            id.ok_or_else(unclear).map(Some)
        }
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(e) => Err(RepoError::io("read", &path)(e)),
    }
}

fn write(folder: &Path, name: &str, text: &str) -> Result<()> {
    let inner = folder.join("slipway");
    fs::create_dir_all(&inner).map_err(RepoError::io("create", &inner))?;
    let (path, fresh) = (folder.join(name), folder.join(format!("{name}.new")));
    fs::write(&fresh, text).map_err(RepoError::io("write", &fresh))?;
    let file = fs::File::open(&fresh).map_err(RepoError::io("open", &fresh))?;
    file.sync_all().map_err(RepoError::io("flush", &fresh))?;
    fs::rename(&fresh, &path).map_err(RepoError::io("write", &path))?;
    sync_folder(&inner)
}

impl Repositories {
    /// All folders that may hold a repository, by their names without `.git`, in no order. Links that lead to one of them
    /// are none.
    pub fn folders(&self) -> Result<Vec<String>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.root).map_err(RepoError::io("list", &self.root))? {
            let entry = entry.map_err(RepoError::io("list", &self.root))?;
            let name = entry.file_name();
            let Some(stem) = name.to_str().and_then(|n| n.strip_suffix(".git")) else { continue };
            if links::target(&entry.path())?.is_none() {
                found.push(stem.to_owned());
            }
        }
        Ok(found)
    }

    /// Writes, durably, that the folder may be deleted as soon as no record names it: what a crash in the middle of a
    /// removal leaves is then told from a folder that somebody put there. A folder that is not there needs no word.
    pub fn mark_removed(&self, id: RepoId) -> Result<()> {
        let path = self.path(id);
        if super::is_there(&path)? { write(&path, REMOVED, "") } else { Ok(()) }
    }

    /// True if [`Repositories::mark_removed`] was called for that folder.
    pub fn is_marked_removed(&self, stem: &str) -> Result<bool> {
        let path = self.folder(stem).join(REMOVED);
        fs::exists(&path).map_err(RepoError::io("look at", &path))
    }
}
