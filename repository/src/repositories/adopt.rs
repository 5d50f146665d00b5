//! Folders that an earlier version named after their repositories come under their ids, once, at the start.
//!
//! Two steps, each folder marked with its id first: all go to `ID.moving`, then each to `ID.git`. A name may be another's
//! id (a repository called `7`), so that none could go to its place before the others have left theirs. Cut off anywhere,
//! the next start goes on. What no record owns stays, if need be under another name.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use slipway_core::{RepoId, RepoName};

use super::{Repositories, identity, is_there};
use crate::durable::sync_folder;
use crate::error::{RepoError, Result};

/// What the names of folders on their way end in.
const MOVING: &str = "moving";

/// What came of it.
#[derive(Debug, Default)]
pub struct Adopted {
    /// How many folders came to their places.
    pub moved: usize,
    /// Other names that repositories' folders had: a rename was cut off.
    pub earlier: BTreeMap<RepoId, String>,
    /// Repositories whose folders are there and could not be moved.
    pub failed: BTreeSet<RepoId>,
}

impl Repositories {
    /// Brings every repository's folder to its place. One that cannot be moved does not keep the others from it.
    pub fn adopt(&self, records: &BTreeMap<RepoId, RepoName>) -> Result<Adopted> {
        let mut adopted = Adopted::default();
        let mut folders = BTreeMap::new();
        for stem in self.folders()? {
            match identity::owner(&self.folder(&stem)) {
                Ok(owner) => drop(folders.insert(stem, owner)),
                Err(e) => tracing::error!("a folder is left alone: {}", e.located()),
            }
        }
        let names: BTreeMap<&str, RepoId> = records.iter().map(|(id, name)| (name.as_str(), *id)).collect();
        for (id, name) in records {
            let Some(stem) = self.found(*id, name, &folders, &names)? else { continue };
            if let Err(e) = self.take(*id, &stem) {
                tracing::error!(repo = %name, "its folder cannot be brought under its id: {}", e.located());
                adopted.failed.insert(*id);
            }
            folders.remove(&stem);
            if stem != name.as_str() && stem != id.to_string() {
                adopted.earlier.insert(*id, stem);
            }
        }
        sync_folder(&self.root)?;
        adopted.moved = self.arrive()?;
        Ok(adopted)
    }

    /// The folder of that repository, if it is not in its place and marked.
    fn found(
        &self,
        id: RepoId,
        name: &RepoName,
        folders: &BTreeMap<String, Option<RepoId>>,
        names: &BTreeMap<&str, RepoId>,
    ) -> Result<Option<String>> {
        let place = id.to_string();
        if folders.get(&place) == Some(&Some(id)) || is_there(&self.moving(id))? {
            return Ok(None);
        }
        // What it says itself counts most: a rename may have been cut off, or somebody moved it.
        let marked = folders.iter().find(|(_, owner)| **owner == Some(id)).map(|(stem, _)| stem.clone());
        if marked.is_some() {
            return Ok(marked);
        }
        let unmarked = |stem: &str| folders.get(stem) == Some(&None);
        if unmarked(name.as_str()) {
            return Ok(Some(name.as_str().to_owned()));
        }
        // In its place, and its mark was removed with everything else that can be made anew.
        let in_place = |other: &RepoId| folders.get(&other.to_string()) == Some(&Some(*other));
        let is_anothers = names.get(place.as_str()).is_some_and(|other| !in_place(other));
        Ok((unmarked(&place) && !is_anothers).then_some(place))
    }

    fn take(&self, id: RepoId, stem: &str) -> Result<()> {
        let path = self.folder(stem);
        identity::mark(&path, id)?;
        if path != self.path(id) {
            fs::rename(&path, self.moving(id)).map_err(RepoError::io("move", &path))?;
        }
        Ok(())
    }

    /// Moves what is on its way to its place; how many there were.
    fn arrive(&self) -> Result<usize> {
        let mut moved = 0;
        for entry in fs::read_dir(&self.root).map_err(RepoError::io("list", &self.root))? {
            let entry = entry.map_err(RepoError::io("list", &self.root))?;
            let name = entry.file_name();
            let id = name.to_str().and_then(|n| n.strip_suffix(MOVING)?.strip_suffix('.')?.parse().ok());
            let Some(id) = id else { continue };
            let place = self.path(id);
            if is_there(&place)? {
                let stray = place.with_extension("git.stray");
                tracing::warn!(path = %stray.display(), "a folder that no repository owns is moved out of the way");
                fs::rename(&place, &stray).map_err(RepoError::io("move", &place))?;
            }
            fs::rename(entry.path(), &place).map_err(RepoError::io("move", &entry.path()))?;
            moved += 1;
        }
        sync_folder(&self.root)?;
        Ok(moved)
    }

    fn moving(&self, id: RepoId) -> std::path::PathBuf {
        self.root.join(format!("{id}.{MOVING}"))
    }
}
