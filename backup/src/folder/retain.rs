//! Lets snapshots go, and contents that no snapshot has any more.

use std::collections::HashSet;
use std::fs;

use slipway_core::{Problem, ProblemKind};

use super::{Folder, receive};
use crate::disk;
use crate::hashes::Sum;
use crate::refusal::unreadable;
use crate::retention::Keep;
use crate::snapshot;

impl Folder {
    /// Removes snapshots that are not kept, and contents that none of those left has; says how many snapshots and bytes went.
    ///
    /// # Errors
    /// Where a snapshot cannot be read no content goes: it may be its.
    pub fn retain(&self, keep: &Keep) -> Result<(u64, u64), Problem> {
        if self._lock.is_none() {
            return Err(Problem::new(
                ProblemKind::Conflict,
                "The folder of backups is not taken.",
                "Report this.",
            ));
        }
        let (snapshots, broken) = self.snapshots()?;
        if let Some(problem) = broken.into_iter().next() {
            return Err(problem);
        }
        let all: Vec<_> = snapshots.iter().map(|s| (s.number, s.at, s.is_whole())).collect();
        let kept = keep.kept(&all);
        let (stay, go): (Vec<_>, Vec<_>) = snapshots.into_iter().partition(|s| kept.contains(&s.number));
        let mut needed: HashSet<Sum> = HashSet::new();
        for one in &stay {
            snapshot::read(&one.path, |entry| {
                needed.insert(entry.sum);
                Ok(())
            })?;
        }
        for path in receive::unfinished(self)? {
            snapshot::read_unfinished(&path, |entry| needed.extend([entry.sum]));
        }
        for one in &go {
            disk::remove(&one.path)?;
        }
        disk::sync(&self.root().join("snapshots"))?;
        let bytes = if go.is_empty() { 0 } else { self.sweep(&needed)? };
        Ok((go.len() as u64, bytes))
    }

    /// Removes contents that nothing needs; what has another name is not ours.
    fn sweep(&self, needed: &HashSet<Sum>) -> Result<u64, Problem> {
        let mut bytes = 0;
        let files = self.root().join("files");
        for folder in fs::read_dir(&files).map_err(unreadable(&files))? {
            let folder = folder.map_err(unreadable(&files))?;
            let two = folder.file_name().to_string_lossy().into_owned();
            if two.len() != 2 || !folder.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            for file in fs::read_dir(folder.path()).map_err(unreadable(&files))? {
                let file = file.map_err(unreadable(&files))?;
                let mut sum = [0; 32];
                let name = format!("{two}{}", file.file_name().to_string_lossy());
                if hex::decode_to_slice(&name, &mut sum).is_ok() && !needed.contains(&sum) {
                    bytes += file.metadata().map_or(0, |facts| facts.len());
                    disk::remove(&file.path())?;
                }
            }
        }
        Ok(bytes)
    }
}
