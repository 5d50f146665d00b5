//! Links by name, `NAME.git` to `ID.git`, for administrators and their scripts: the server itself never goes by them.
//!
//! A name of digits alone could be an id, and has none. What stands under a name and is no link of ours stays.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::Path;

use slipway_core::{RepoId, RepoName};

use super::{Repositories, is_there};
use crate::durable::sync_folder;
use crate::error::{RepoError, Result};

/// Where a link of ours leads; `None` for everything else, links that somebody else made included.
pub(super) fn target(path: &Path) -> Result<Option<RepoId>> {
    match fs::read_link(path) {
        Ok(to) => {
            let id: Option<RepoId> =
                to.to_str().and_then(|to| to.strip_suffix(".git")).and_then(|to| to.parse().ok());
            // As we write it, and not "+7", "007" or a folder's own link to another disk.
            Ok(id.filter(|id| to == Path::new(&format!("{id}.git"))))
        }
        // No link, or gone since.
        Err(e) if matches!(e.kind(), ErrorKind::InvalidInput | ErrorKind::NotFound) => Ok(None),
        Err(e) => Err(RepoError::io("look at", path)(e)),
    }
}

/// True for a name that has a link.
fn has_link(name: &RepoName) -> bool {
    !name.as_str().bytes().all(|b| b.is_ascii_digit())
}

impl Repositories {
    /// Makes the link of that name lead to the repository, and removes others that do. False if something that is not ours
    /// stands in its place.
    pub fn link(&self, id: RepoId, name: &RepoName) -> Result<bool> {
        for (stem, to) in self.links()? {
            if to == id && stem != name.as_str() {
                self.unlink_stem(&stem)?;
            }
        }
        let done = self.point(name, id)?;
        sync_folder(&self.root)?;
        Ok(done)
    }

    /// Removes all links that lead to it.
    pub(super) fn unlink(&self, id: RepoId) -> Result<()> {
        for (stem, _) in self.links()?.into_iter().filter(|(_, to)| *to == id) {
            self.unlink_stem(&stem)?;
        }
        Ok(())
    }

    /// Makes all links anew where they are not as wanted. Gives the names in whose place something else stands.
    pub fn settle_links(&self, wanted: &BTreeMap<RepoName, RepoId>) -> Result<Vec<RepoName>> {
        let mut right = BTreeSet::new();
        for (stem, to) in self.links()? {
            match RepoName::parse(&stem) {
                Ok(name) if wanted.get(&name) == Some(&to) => drop(right.insert(name)),
                _ => self.unlink_stem(&stem)?,
            }
        }
        let mut in_the_way = Vec::new();
        for (name, id) in wanted.iter().filter(|(name, _)| !right.contains(*name)) {
            if !self.point(name, *id)? {
                in_the_way.push(name.clone());
            }
        }
        sync_folder(&self.root)?;
        Ok(in_the_way)
    }

    /// The names whose link is missing or leads elsewhere than wanted, and links that nobody wants.
    pub fn misled_links(&self, wanted: &BTreeMap<RepoName, RepoId>) -> Result<Vec<String>> {
        let mut found: BTreeMap<String, RepoId> = self.links()?.into_iter().collect();
        let mut misled = Vec::new();
        for (name, id) in wanted.iter().filter(|(name, _)| has_link(name)) {
            if found.remove(name.as_str()) != Some(*id) {
                misled.push(name.to_string());
            }
        }
        misled.extend(found.into_keys());
        Ok(misled)
    }

    fn links(&self) -> Result<Vec<(String, RepoId)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.root).map_err(RepoError::io("list", &self.root))? {
            let entry = entry.map_err(RepoError::io("list", &self.root))?;
            let name = entry.file_name();
            let Some(stem) = name.to_str().and_then(|n| n.strip_suffix(".git")) else { continue };
            if let Some(to) = target(&entry.path())? {
                found.push((stem.to_owned(), to));
            }
        }
        Ok(found)
    }

    fn point(&self, name: &RepoName, id: RepoId) -> Result<bool> {
        if !has_link(name) {
            return Ok(true);
        }
        let path = self.folder(name.as_str());
        match target(&path)? {
            Some(to) if to == id => return Ok(true),
            Some(_) => {}
            None if is_there(&path)? => return Ok(false),
            None => {}
        }
        let aside = self.aside("link");
        symlink(format!("{id}.git"), &aside).map_err(RepoError::io("create", &aside))?;
        fs::rename(&aside, &path).map_err(RepoError::io("create", &path))?;
        Ok(true)
    }

    fn unlink_stem(&self, stem: &str) -> Result<()> {
        let path = self.folder(stem);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(RepoError::io("remove", &path)(e)),
            _ => Ok(()),
        }
    }
}
