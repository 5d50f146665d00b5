//! A walk over everything reachable, in the order in which a pack of it is best read: newest commits first, and what they
//! need in the order in which a checkout asks for it. Tells each object's path to whoever searches for deltas.

use std::collections::HashSet;
use std::sync::atomic::AtomicBool;

use slipway_core::Oid;

use super::go_on;
use crate::error::{RepoError, Result};
use crate::formats::name_hash;
use crate::graph::Ancestors;
use crate::limits::{LINKED_OBJECT_BYTES_MAX, PEEL_DEPTH_MAX, TREE_DEPTH_MAX};
use crate::links::{TreeEntries, tag_target};
use crate::marks::Marks;
use crate::object::{Kind, Objects};
use crate::packs::{PackSet, Place};
use crate::snapshot::Snapshot;

/// A reachable, packed object.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item {
    pub(super) place: Place,
    pub(super) kind: Kind,
    /// [`name_hash`] of a path that it has; 0 if it has none.
    pub(super) name_hash: u32,
}

/// Everything reachable.
pub(super) struct Reachable {
    /// The packed ones, commits first, then tags, trees and the rest.
    pub(super) items: Vec<Item>,
    /// All of them.
    pub(super) marks: Marks,
}

/// Walks from the refs of the snapshot and from `more`; of these only what is there counts.
pub(super) fn reachable(
    snapshot: &Snapshot,
    packs: &PackSet,
    more: &HashSet<Oid>,
    stop: &AtomicBool,
) -> Result<Reachable> {
    let mut walk = Walk {
        snapshot,
        packs,
        stop,
        marks: Marks::for_packs(packs),
        commits: Vec::new(),
        tags: Vec::new(),
        trees: Vec::new(),
        blobs: Vec::new(),
        path: Vec::new(),
    };
    walk.run(more)?;
    let Walk { marks, commits, tags, trees, blobs, .. } = walk;
    let items = [commits, tags, trees, blobs].concat();
    Ok(Reachable { items, marks })
}

struct Walk<'a> {
    snapshot: &'a Snapshot,
    packs: &'a PackSet,
    stop: &'a AtomicBool,
    marks: Marks,
    commits: Vec<Item>,
    tags: Vec<Item>,
    trees: Vec<Item>,
    blobs: Vec<Item>,
    path: Vec<u8>,
}

impl Walk<'_> {
    fn run(&mut self, more: &HashSet<Oid>) -> Result<()> {
        let (snapshot, graph) = (self.snapshot, self.snapshot.graph());
        let mut walk = Ancestors::default();
        let mut others = Vec::new();
        let tips = snapshot.refs().iter().map(|r| (r.target, true));
        for (tip, must) in tips.chain(more.iter().map(|id| (*id, false))) {
            match self.peel(tip, must)? {
                Some((id, Kind::Commit)) => {
                    if let Some(node) = graph.find(snapshot, &id)? {
                        walk.start(graph, snapshot, node)?;
                    }
                }
                Some((id, kind)) => others.push((id, kind)),
                None => {}
            }
        }
        let mut roots = Vec::new();
        while let Some((node, commit)) = walk.step(graph, snapshot)? {
            go_on(self.stop)?;
            self.put(&graph.id(node), Kind::Commit);
            roots.push(commit.tree);
        }
        for tree in roots {
            self.tree(&tree)?;
        }
        for (id, kind) in others {
            match kind {
                Kind::Tree => self.tree(&id)?,
                _ => drop(self.put(&id, kind)),
            }
        }
        Ok(())
    }

    /// Puts tags in on the way to what they point at. `None` if something is missing that need not be there.
    fn peel(&mut self, tip: Oid, must: bool) -> Result<Option<(Oid, Kind)>> {
        let (mut id, mut data) = (tip, Vec::new());
        for _ in 0..PEEL_DEPTH_MAX {
            match self.snapshot.object_size(&id)? {
                None if must => return Err(RepoError::Missing { id }),
                None => return Ok(None),
                Some((Kind::Tag, _)) => {
                    self.snapshot.read(&id, LINKED_OBJECT_BYTES_MAX, &mut data)?;
                    self.put(&id, Kind::Tag);
                    let broken = RepoError::BrokenObject { id, why: "its header is not valid".into() };
                    id = tag_target(&data).ok_or(broken)?.0;
                }
                Some((kind, _)) => return Ok(Some((id, kind))),
            }
        }
        Err(RepoError::TooMuch { what: "the number of tags of tags", max: PEEL_DEPTH_MAX as u64 })
    }

    /// False if it was in.
    fn put(&mut self, id: &Oid, kind: Kind) -> bool {
        if !self.marks.put(self.packs, id) {
            return false;
        }
        let Some(place) = self.packs.locate(id) else { return true };
        let name_hash = if self.path.is_empty() { 0 } else { name_hash(&self.path) };
        let list = match kind {
            Kind::Commit => &mut self.commits,
            Kind::Tag => &mut self.tags,
            Kind::Tree => &mut self.trees,
            Kind::Blob => &mut self.blobs,
        };
        list.push(Item { place, kind, name_hash });
        true
    }

    /// The tree and all below it that was not seen, each folder before what is in it.
    fn tree(&mut self, id: &Oid) -> Result<()> {
        let mut open = Vec::new();
        open.extend(self.enter(id)?);
        while let Some(folder) = open.last_mut() {
            match self.folder(folder)? {
                None => drop(open.pop()),
                Some(_) if open.len() > TREE_DEPTH_MAX => {
                    return Err(RepoError::TooMuch {
                        what: "the depth of folders",
                        max: TREE_DEPTH_MAX as u64,
                    });
                }
                Some(below) => open.extend(self.enter(&below)?),
            }
        }
        Ok(())
    }

    /// A tree that was not seen.
    fn enter(&mut self, id: &Oid) -> Result<Option<Folder>> {
        if !self.put(id, Kind::Tree) {
            return Ok(None);
        }
        go_on(self.stop)?;
        let mut data = Vec::new();
        match self.snapshot.read(id, LINKED_OBJECT_BYTES_MAX, &mut data)? {
            Some(Kind::Tree) => Ok(Some(Folder { id: *id, data, at: 0, path: self.path.len() })),
            Some(kind) => {
                let why = format!("it is used as a tree and is a {kind}");
                Err(RepoError::BrokenObject { id: *id, why })
            }
            None => Err(RepoError::Missing { id: *id }),
        }
    }

    /// Puts entries in up to the next folder, which is returned; the path is that folder's then.
    fn folder(&mut self, folder: &mut Folder) -> Result<Option<Oid>> {
        let Folder { id, data, at, path } = folder;
        let mut entries = TreeEntries::new(data.get(*at..).unwrap_or_default(), id.as_bytes().len());
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(|why| RepoError::BrokenObject { id: *id, why: why.into() })?;
            self.path.truncate(*path);
            if !self.path.is_empty() {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(entry.name);
            match entry.kind() {
                Some(Kind::Tree) => {
                    *at = data.len() - entries.left();
                    return Ok(Some(entry.id));
                }
                Some(kind) => drop(self.put(&entry.id, kind)),
                None => {}
            }
        }
        self.path.truncate(*path);
        Ok(None)
    }
}

/// A folder that is walked.
struct Folder {
    id: Oid,
    data: Vec<u8>,
    /// Where the next entry begins.
    at: usize,
    /// Bytes of the path that leads here.
    path: usize,
}
