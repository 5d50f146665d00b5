//! The walks over whole trees: without parents close by, under a filter, and to see what the client has.

use std::sync::atomic::Ordering;

use slipway_core::Oid;

use super::Select;
use crate::check::compare;
use crate::error::{RepoError, Result};
use crate::limits::LINKED_OBJECT_BYTES_MAX;
use crate::links::{TreeEntries, TreeEntry};
use crate::object::{Kind, Objects};
use crate::send::filter::FilteredWalk;

impl Select<'_> {
    /// Lays a tree that the client has beside a new one and marks what it has as far down as both differ.
    pub(super) fn mark_edges(&mut self, new: &Oid, old: &Oid) -> Result<()> {
        let mut pairs = vec![(*new, *old)];
        let (mut new_data, mut old_data) = std::mem::take(&mut self.buffers);
        self.edge.met.insert(*old);
        while let Some((new, old)) = pairs.pop() {
            self.go_on()?;
            if new == old || !self.beside.insert((new, old)) {
                continue;
            }
            for (id, data) in [(&new, &mut new_data), (&old, &mut old_data)] {
                self.snapshot
                    .read(id, LINKED_OBJECT_BYTES_MAX, data)?
                    .ok_or(RepoError::Missing { id: *id })?;
            }
            let len = old.as_bytes().len();
            let mut news = TreeEntries::new(&new_data, len).map_while(Result::ok).peekable();
            for entry in TreeEntries::new(&old_data, len).map_while(Result::ok) {
                if entry.kind().is_none() {
                    continue;
                }
                self.edge.met.insert(entry.id);
                while news.next_if(|n| compare(n, &entry).is_lt()).is_some() {}
                let same = |n: &TreeEntry<'_>| n.name == entry.name && n.kind() == entry.kind();
                let Some(twin) = news.next_if(same) else { continue };
                if twin.id != entry.id {
                    self.twin(twin.id, entry.id);
                }
                if entry.kind() == Some(Kind::Tree) {
                    pairs.push((twin.id, entry.id));
                }
            }
        }
        self.buffers = (new_data, old_data);
        Ok(())
    }

    /// Takes a tree and everything below it that is neither taken nor the client's, as the filter allows. The root
    /// itself was asked for by id if it is `explicit`.
    pub(super) fn tree(&mut self, root: &Oid, explicit: bool) -> Result<()> {
        match self.filtered.take() {
            Some(mut walk) => {
                let done = self.filtered_tree(root, explicit, &mut walk);
                self.filtered = Some(walk);
                done
            }
            None => self.whole_tree(root, explicit),
        }
    }

    pub(super) fn filtered_tree(
        &mut self,
        root: &Oid,
        explicit: bool,
        walk: &mut FilteredWalk,
    ) -> Result<()> {
        self.walked = true;
        let Self { snapshot, stop, taken, edge, .. } = self;
        let packs = snapshot.packs.load_full();
        walk.walk(*snapshot, root, explicit, &|id| edge.has(&packs, id), &mut |id| {
            if stop.load(Ordering::Relaxed) {
                return Err(RepoError::Stopped);
            }
            taken.put(&snapshot.packs.load(), id);
            Ok(())
        })
    }

    pub(super) fn whole_tree(&mut self, root: &Oid, explicit: bool) -> Result<()> {
        self.walked = true;
        let mut open = vec![*root];
        let mut is_root = explicit;
        let (mut data, other) = std::mem::take(&mut self.buffers);
        let packs = self.snapshot.packs.load_full();
        while let Some(id) = open.pop() {
            self.go_on()?;
            let asked = std::mem::take(&mut is_root);
            if !asked && self.edge.has(&packs, &id) {
                continue;
            }
            if !self.take(&id) && !asked {
                continue;
            }
            let kind = self.snapshot.read(&id, LINKED_OBJECT_BYTES_MAX, &mut data)?;
            if kind != Some(Kind::Tree) {
                return Err(RepoError::Missing { id });
            }
            for entry in TreeEntries::new(&data, id.as_bytes().len()) {
                let entry = entry.map_err(|why| RepoError::BrokenObject { id, why: why.into() })?;
                match entry.kind() {
                    Some(Kind::Tree) => open.push(entry.id),
                    Some(_) if !self.edge.has(&packs, &entry.id) => {
                        self.take(&entry.id);
                    }
                    Some(_) | None => {}
                }
            }
        }
        self.buffers = (data, other);
        Ok(())
    }
}
