//! The commits of a repository as a graph in memory: ids, parents, dates, trees. Filled as walks ask for it, shared by
//! all generations (commits never change), about a hundred bytes a commit.

use std::collections::{BinaryHeap, HashMap};

use slipway_core::Oid;

use crate::bits::Bits;
use crate::error::{RepoError, Result};
use crate::limits::LINKED_OBJECT_BYTES_MAX;
use crate::links::commit_head;
use crate::object::{Kind, Objects};

/// A commit's number in the graph.
pub(crate) type Node = u32;

/// Commits by number.
#[derive(Default)]
pub(crate) struct Graph {
    index: HashMap<[u8; 20], Node>,
    commits: Vec<Commit>,
    /// Parents of all commits, one run each.
    parents: Vec<Node>,
    buffer: Vec<u8>,
}

#[derive(Clone, Copy)]
struct Commit {
    id: [u8; 20],
    tree: [u8; 20],
    date: i64,
    /// Where its parents start; `u32::MAX` until it is read.
    parents: u32,
    parent_count: u32,
}

const UNREAD: u32 = u32::MAX;

fn raw(id: &Oid) -> [u8; 20] {
    let mut raw = [0; 20];
    raw.copy_from_slice(&id.as_bytes()[..20]);
    raw
}

impl Graph {
    /// Number of commits known.
    pub(crate) fn len(&self) -> usize {
        self.commits.len()
    }

    fn number(&mut self, id: &Oid) -> Node {
        let raw = raw(id);
        let commits = &mut self.commits;
        *self.index.entry(raw).or_insert_with(|| {
            commits.push(Commit { id: raw, tree: [0; 20], date: 0, parents: UNREAD, parent_count: 0 });
            commits.len() as Node - 1
        })
    }

    /// The commit's number if it is in the graph.
    pub(crate) fn known(&self, id: &Oid) -> Option<Node> {
        self.index.get(&raw(id)).copied()
    }

    /// The commit's number, read from `objects` if need be; `None` if the id names nothing or no commit.
    pub(crate) fn find(&mut self, objects: &dyn Objects, id: &Oid) -> Result<Option<Node>> {
        if let Some(node) = self.known(id)
            && self.commits[node as usize].parents != UNREAD
        {
            return Ok(Some(node));
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let kind = match objects.header(id)? {
            Some((Kind::Commit, _)) => objects.read(id, LINKED_OBJECT_BYTES_MAX, &mut buffer)?,
            other => other.map(|(kind, _)| kind),
        };
        let node = if kind == Some(Kind::Commit) { Some(self.fill(id, &buffer)?) } else { None };
        self.buffer = buffer;
        Ok(node)
    }

    /// Reads the commit if that was not done yet.
    pub(crate) fn load(&mut self, objects: &dyn Objects, node: Node) -> Result<()> {
        if self.commits[node as usize].parents != UNREAD {
            return Ok(());
        }
        let id = self.id(node);
        let mut buffer = std::mem::take(&mut self.buffer);
        match objects.read(&id, LINKED_OBJECT_BYTES_MAX, &mut buffer)? {
            Some(Kind::Commit) => drop(self.fill(&id, &buffer)?),
            Some(kind) => {
                return Err(RepoError::BrokenObject { id, why: format!("a commit's parent is a {kind}") });
            }
            None => return Err(RepoError::Missing { id }),
        }
        self.buffer = buffer;
        Ok(())
    }

    fn fill(&mut self, id: &Oid, data: &[u8]) -> Result<Node> {
        let head = commit_head(data);
        let head =
            head.ok_or_else(|| RepoError::BrokenObject { id: *id, why: "its header is not valid".into() })?;
        let node = self.number(id);
        if self.commits[node as usize].parents != UNREAD {
            return Ok(node);
        }
        let parents: Vec<Node> = head.parents.iter().map(|p| self.number(p)).collect();
        let commit = &mut self.commits[node as usize];
        commit.tree = raw(&head.tree);
        commit.date = head.date;
        commit.parents = self.parents.len() as u32;
        commit.parent_count = parents.len() as u32;
        self.parents.extend(parents);
        Ok(node)
    }

    /// The id.
    pub(crate) fn id(&self, node: Node) -> Oid {
        Oid::Sha1(self.commits[node as usize].id)
    }

    /// The tree of a commit that was read.
    pub(crate) fn tree(&self, node: Node) -> Oid {
        Oid::Sha1(self.commits[node as usize].tree)
    }

    /// The date of a commit that was read, in seconds since 1970.
    pub(crate) fn date(&self, node: Node) -> i64 {
        self.commits[node as usize].date
    }

    /// The parents of a commit that was read.
    pub(crate) fn parents(&self, node: Node) -> &[Node] {
        let commit = &self.commits[node as usize];
        if commit.parents == UNREAD {
            return &[];
        }
        &self.parents[commit.parents as usize..][..commit.parent_count as usize]
    }
}

/// A walk to all ancestors, newest first, that can be paused after any commit.
#[derive(Default)]
pub(crate) struct Ancestors {
    pub(crate) seen: Bits,
    next: BinaryHeap<(i64, Node)>,
}

impl Ancestors {
    /// Starts (also) at `node`, which was read.
    pub(crate) fn start(&mut self, graph: &Graph, node: Node) {
        if self.seen.put(node as usize) {
            self.next.push((graph.date(node), node));
        }
    }

    /// The next commit.
    pub(crate) fn step(&mut self, graph: &mut Graph, objects: &dyn Objects) -> Result<Option<Node>> {
        let Some(&(_, node)) = self.next.peek() else { return Ok(None) };
        // Parents are read before the commit is taken off, so that a walk that fails can go on later.
        for i in 0..graph.parents(node).len() {
            let parent = graph.parents(node)[i];
            graph.load(objects, parent)?;
        }
        self.next.pop();
        for &parent in graph.parents(node) {
            if self.seen.put(parent as usize) {
                self.next.push((graph.date(parent), parent));
            }
        }
        Ok(Some(node))
    }
}
