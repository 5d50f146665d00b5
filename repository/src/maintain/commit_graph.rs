//! The commit-graph of all that refs reach, with what each commit changed. Filters that an earlier graph has are taken
//! over.

use std::io::{BufWriter, ErrorKind};
use std::sync::atomic::AtomicBool;

use super::changes::{Change, each_change};
use super::go_on;
use crate::durable::{make_inner, sync_folder};
use crate::error::{RepoError, Result};
use crate::formats::commit_graph::bloom::{ChangedPaths, Settings};
use crate::formats::commit_graph::write::Writer;
use crate::formats::commit_graph::{BrokenGraph, CommitGraph, chain};
use crate::graph::{Ancestors, Commit, Node};
use crate::repository::Repository;
use crate::snapshot::Snapshot;

impl Repository {
    /// Writes the commit-graph, unless it has everything already.
    pub(super) fn write_commit_graph(&self, stop: &AtomicBool) -> Result<()> {
        let snapshot = self.snapshot()?;
        let graph = snapshot.graph();
        if !graph.boundary().is_empty() {
            // As in git: it would go on telling where history ended once there is more of it.
            return Ok(());
        }
        let mut walk = Ancestors::default();
        for id in &snapshot.roots()?.commits {
            if let Some(node) = graph.find(&*snapshot, id)? {
                walk.start(graph, &*snapshot, node)?;
            }
        }
        let stored = graph.file().map_or(0, |file| file.len());
        let (mut writer, mut fresh) = (Writer::new(snapshot.format.id_bytes()), 0);
        let mut paths = ChangedPaths::default();
        let broken = |e: BrokenGraph| RepoError::Invalid { what: format!("the commit-graph {}", e.0) };
        while let Some((node, commit)) = walk.step(graph, &*snapshot)? {
            go_on(stop)?;
            fresh += u32::from(node >= stored);
            let filter = filter(&snapshot, node, &commit, &mut paths)?;
            let parents: Vec<_> = commit.parents.iter().map(|parent| graph.id(*parent)).collect();
            writer.add(&graph.id(node), &commit.tree, &parents, commit.date, &filter).map_err(broken)?;
        }
        let is_old = graph.file().is_some_and(CommitGraph::has_newer_filters);
        if writer.len() == 0 || (fresh == 0 && writer.len() == stored as usize && !is_old) {
            return Ok(());
        }
        let path = chain::single_path(&snapshot.objects);
        let folder = path.parent().unwrap_or(&snapshot.objects);
        let lock = path.with_extension("lock");
        make_inner(folder).map_err(RepoError::io("create", folder))?;
        let (file, _mark) = match crate::lock_file::take(self.root(), &lock) {
            Ok(taken) => taken,
            // A git that writes one now, or that ended before it could take its lock away: the next time will do, and one
            // that nobody holds is removed at a start once it is a day old.
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {
                tracing::warn!(lock = %lock.display(), "the commit-graph is not written: it is locked");
                return Ok(());
            }
            Err(e) => return Err(RepoError::io("create", &lock)(e)),
        };
        let sorted = writer.sort().map_err(broken);
        let done = sorted.and_then(|sorted| {
            let mut out = BufWriter::with_capacity(64 << 10, file);
            sorted.write(&mut out).map_err(RepoError::io("write", &lock))?;
            let file = out.into_inner().map_err(|e| RepoError::io("write", &lock)(e.into_error()))?;
            file.sync_all().map_err(RepoError::io("flush", &lock))?;
            std::fs::rename(&lock, &path).map_err(RepoError::io("rename", &path))
        });
        if done.is_err() {
            let _ = std::fs::remove_file(&lock);
        }
        done?;
        sync_folder(folder)?;
        // git reads the single file first; a chain beside it would only age.
        super::remove(&chain::list_path(&snapshot.objects))?;
        self.look_again();
        Ok(())
    }
}

/// The filter of what the commit changed, from the earlier graph if it has one.
fn filter(snapshot: &Snapshot, node: Node, commit: &Commit, paths: &mut ChangedPaths) -> Result<Vec<u8>> {
    let graph = snapshot.graph();
    if let Some(file) = graph.file().filter(|file| node < file.len())
        && let Ok(Some((stored, settings))) = file.filter(node)
        && settings == Settings::WRITTEN
    {
        return Ok(stored.to_vec());
    }
    let beside = match commit.parents.first() {
        Some(parent) => Some(graph.commit(snapshot, *parent)?.tree),
        None => None,
    };
    let mut room = true;
    each_change(snapshot, beside.as_ref(), &commit.tree, &mut |change| {
        let (Change::Added { file, path, .. } | Change::Removed { file, path }) = change;
        if file {
            room = paths.add(path);
        }
        Ok(room)
    })?;
    Ok(paths.filter())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::atomic::AtomicBool;

    use crate::Repository;
    use crate::formats::commit_graph::bloom::Settings;
    use crate::support::{Lab, git, import};

    fn made(repository: &Repository) -> Settings {
        let snapshot = repository.snapshot().unwrap();
        let file = snapshot.graph().file().unwrap();
        file.filter(0).unwrap().unwrap().1
    }

    /// git before 2.46 crashes at them, and leaves its lock behind.
    #[test]
    fn newer_filters_give_way_to_those_that_every_git_knows() {
        let lab = Lab::new();
        let (repository, path) = lab.create("one");
        import(&path, 1, 6);
        repository.maintain(&AtomicBool::new(false)).unwrap();
        assert_eq!(made(&repository), Settings::WRITTEN);
        let newer = "commitGraph.changedPathsVersion=2";
        git(&path, &["-c", newer, "commit-graph", "write", "--reachable", "--changed-paths"]);
        repository.look_again();
        if made(&repository).version == 2 {
            repository.maintain(&AtomicBool::new(false)).unwrap();
        }
        assert_eq!(made(&repository), Settings::WRITTEN);
    }
}
