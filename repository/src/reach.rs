//! What the refs of a snapshot reach: the measure of what may be sent, acknowledged and built on.
//!
//! Two walks, each paused as soon as it has the answer and taken up by the next question: over commits, and over the
//! trees of those commits. Both are exact; their worst case is one visit of everything, once a generation.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use slipway_core::Oid;

use crate::bits::Bits;
use crate::error::{RepoError, Result};
use crate::graph::{Ancestors, Graph};
use crate::limits::{GRAPH_KEPT_MAX, LINKED_OBJECT_BYTES_MAX, PEEL_DEPTH_MAX};
use crate::links::{TreeEntries, tag_target};
use crate::object::{Kind, Objects};
use crate::packs::{PackSet, Place};
use crate::snapshot::Snapshot;

/// What was found out so far about one generation.
#[derive(Default)]
pub(crate) struct Reach {
    roots: OnceLock<Roots>,
    commits: Mutex<Option<Ancestors>>,
    trees: Mutex<Option<TreeReach>>,
}

/// What the refs point at, by kind.
#[derive(Default)]
pub(crate) struct Roots {
    pub(crate) commits: Vec<Oid>,
    pub(crate) tags: HashSet<Oid>,
    /// Trees and blobs that refs point at.
    pub(crate) others: Vec<Oid>,
}

struct TreeReach {
    seen: Marks,
    walk: Ancestors,
}

/// A set of objects of one snapshot: a bit for each packed one, an id for each loose one.
#[derive(Default)]
pub(crate) struct Marks {
    packed: Bits,
    loose: HashSet<Oid>,
}

impl Marks {
    /// Puts it in; false if it was.
    pub(crate) fn put(&mut self, packs: &PackSet, id: &Oid) -> bool {
        // A loose object may have been packed since it was put in.
        if !self.loose.is_empty() && self.loose.contains(id) {
            return false;
        }
        match packs.locate(id) {
            Some(place) => self.packed.put(packs.rank(place)),
            None => self.loose.insert(*id),
        }
    }

    /// True if the packed object at that place is in.
    pub(crate) fn has_place(&self, packs: &PackSet, place: Place) -> bool {
        self.packed.has(packs.rank(place))
    }

    /// True if it is in.
    pub(crate) fn has(&self, packs: &PackSet, id: &Oid) -> bool {
        self.loose.contains(id) || packs.locate(id).is_some_and(|place| self.packed.has(packs.rank(place)))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Walks are changed one whole step at a time: a panic in between leaves them valid.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Snapshot {
    /// True if the object is reachable from the advertised refs, so that it may be sent and acknowledged.
    pub fn is_visible(&self, id: &Oid) -> Result<bool> {
        // Ref tips first: nearly every question is about one, and needs no object.
        if self.tips().contains(id) {
            return Ok(true);
        }
        match self.object_size(id)? {
            None => Ok(false),
            Some((Kind::Commit, _)) => self.commit_is_reachable(id),
            Some((Kind::Tag, _)) => Ok(self.roots()?.tags.contains(id)),
            Some((Kind::Tree | Kind::Blob, _)) => self.content_is_reachable(id),
        }
    }

    fn tips(&self) -> &HashSet<Oid> {
        self.tips
            .get_or_init(|| self.refs.iter().flat_map(|r| [Some(r.target), r.peeled]).flatten().collect())
    }

    /// What the refs point at, tags followed.
    pub(crate) fn roots(&self) -> Result<&Roots> {
        if let Some(roots) = self.reach.roots.get() {
            return Ok(roots);
        }
        let mut roots = Roots::default();
        let mut done = HashSet::new();
        for r in &self.refs {
            if r.name.as_branch().is_some() && done.insert(r.target) {
                // Branches point at commits; what git let through otherwise shows below.
                roots.commits.push(r.target);
                continue;
            }
            let mut id = r.target;
            for _ in 0..PEEL_DEPTH_MAX {
                if !done.insert(id) {
                    break;
                }
                match self.object_size(&id)? {
                    Some((Kind::Commit, _)) => roots.commits.push(id),
                    Some((Kind::Tag, _)) => {
                        roots.tags.insert(id);
                        let tag =
                            self.object(&id, LINKED_OBJECT_BYTES_MAX)?.ok_or(RepoError::Missing { id })?;
                        let broken = RepoError::BrokenObject { id, why: "its header is not valid".into() };
                        id = tag_target(&tag.data).ok_or(broken)?.0;
                        continue;
                    }
                    Some(_) => roots.others.push(id),
                    None => {}
                }
                break;
            }
        }
        Ok(self.reach.roots.get_or_init(|| roots))
    }

    fn all_commits(&self, graph: &mut Graph) -> Result<Ancestors> {
        let mut walk = Ancestors::default();
        for id in &self.roots()?.commits {
            if let Some(node) = graph.find(self, id)? {
                walk.start(graph, node);
            }
        }
        Ok(walk)
    }

    fn commit_is_reachable(&self, id: &Oid) -> Result<bool> {
        let mut graph = self.graph();
        let Some(node) = graph.find(self, id)? else { return Ok(false) };
        let mut commits = lock(&self.reach.commits);
        let walk = match &mut *commits {
            Some(walk) => walk,
            none => none.insert(self.all_commits(&mut graph)?),
        };
        while !walk.seen.has(node as usize) {
            if walk.step(&mut graph, self)?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The same for a tree or blob.
    pub(crate) fn content_is_reachable(&self, id: &Oid) -> Result<bool> {
        let mut trees = lock(&self.reach.trees);
        let reach = match &mut *trees {
            Some(reach) => reach,
            none => {
                let walk = self.all_commits(&mut self.graph())?;
                let mut reach = TreeReach { seen: Marks::default(), walk };
                for other in &self.roots()?.others {
                    self.mark_tree(other, &mut reach.seen)?;
                }
                none.insert(reach)
            }
        };
        while !reach.seen.has(&self.packs.load(), id) {
            let tree = {
                let mut graph = self.graph();
                match reach.walk.step(&mut graph, self)? {
                    Some(node) => graph.tree(node),
                    None => return Ok(false),
                }
            };
            self.mark_tree(&tree, &mut reach.seen)?;
        }
        Ok(true)
    }

    /// Puts a tree (or blob) and everything below it in; what was in before is not looked into again.
    pub(crate) fn mark_tree(&self, id: &Oid, seen: &mut Marks) -> Result<()> {
        let mut open = vec![*id];
        let mut data = Vec::new();
        if self.object_size(id)?.is_some_and(|(kind, _)| kind != Kind::Tree) {
            seen.put(&self.packs.load(), id);
            return Ok(());
        }
        while let Some(id) = open.pop() {
            if !seen.put(&self.packs.load(), &id) {
                continue;
            }
            if self.read(&id, LINKED_OBJECT_BYTES_MAX, &mut data)?.is_none() {
                return Err(RepoError::Missing { id });
            }
            for entry in TreeEntries::new(&data, id.as_bytes().len()) {
                let entry = entry.map_err(|why| RepoError::BrokenObject { id, why: why.into() })?;
                match entry.kind() {
                    Some(Kind::Tree) => open.push(entry.id),
                    Some(_) => drop(seen.put(&self.packs.load(), &entry.id)),
                    None => {}
                }
            }
        }
        Ok(())
    }

    /// The graph for the next generation: this one, unless it has grown too large. A walk in progress is not waited for.
    pub(crate) fn graph_to_keep(&self) -> Arc<Mutex<Graph>> {
        let full = self.graph.try_lock().is_ok_and(|graph| graph.len() > GRAPH_KEPT_MAX);
        if full { Arc::default() } else { self.graph.clone() }
    }

    /// The graph of commits, shared by generations.
    pub(crate) fn graph(&self) -> MutexGuard<'_, Graph> {
        lock(&self.graph)
    }
}
