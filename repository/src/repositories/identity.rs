//! Which folder is whose: a repository's id in a file of its own, so that a rename that a crash cut off between the
//! record and the folder can be finished.

use std::fs;
use std::io::ErrorKind;

use slipway_core::{RepoId, RepoName};

use super::Repositories;
use crate::error::{RepoError, Result};

/// The file, below the repository's folder.
const FILE: &str = "slipway/id";
/// The file that says that the repository was removed and only its folder is left.
const REMOVED: &str = "slipway/removed";

impl Repositories {
    /// The names of all folders that hold a repository, in no order.
    pub fn names(&self) -> Result<Vec<RepoName>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.root).map_err(RepoError::io("list", &self.root))? {
            let entry = entry.map_err(RepoError::io("list", &self.root))?;
            let name = entry.file_name();
            let name = name.to_str().and_then(|n| n.strip_suffix(".git")).map(RepoName::parse);
            if let Some(Ok(name)) = name {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// Writes whose folder it is, durably.
    pub fn mark(&self, name: &RepoName, id: RepoId) -> Result<()> {
        let path = self.path(name).join(FILE);
        let folder = self.path(name).join("slipway");
        fs::create_dir_all(&folder).map_err(RepoError::io("create", &folder))?;
        fs::write(&path, format!("{id}\n")).map_err(RepoError::io("write", &path))?;
        let file = fs::File::open(&path).map_err(RepoError::io("open", &path))?;
        file.sync_all().map_err(RepoError::io("sync", &path))?;
        super::sync_folder(&folder)
    }

    /// Writes, durably, that the folder may be deleted as soon as no record names it: what a crash in the middle of a
    /// removal leaves is then told from a folder that somebody put there.
    pub fn mark_removed(&self, name: &RepoName) -> Result<()> {
        let folder = self.path(name).join("slipway");
        let path = self.path(name).join(REMOVED);
        fs::create_dir_all(&folder).map_err(RepoError::io("create", &folder))?;
        let file = fs::File::create(&path).map_err(RepoError::io("create", &path))?;
        file.sync_all().map_err(RepoError::io("sync", &path))?;
        super::sync_folder(&folder)
    }

    /// True if [`Repositories::mark_removed`] was called for that folder.
    pub fn is_marked_removed(&self, name: &RepoName) -> Result<bool> {
        let path = self.path(name).join(REMOVED);
        fs::exists(&path).map_err(RepoError::io("look at", &path))
    }

    /// The folder that is marked with that id, if there is one.
    pub fn marked(&self, id: RepoId) -> Result<Option<RepoName>> {
        for name in self.names()? {
            let path = self.path(&name).join(FILE);
            match fs::read_to_string(&path) {
                Ok(text) if text.trim().parse() == Ok(id) => return Ok(Some(name)),
                Ok(_) => {}
                Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
                Err(e) => return Err(RepoError::io("read", &path)(e)),
            }
        }
        Ok(None)
    }
}
