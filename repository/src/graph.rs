//! The commits of a repository as a graph in memory: ids, parents, dates, trees. Filled as walks ask for it, shared by
//! all generations (commits never change), some hundred and thirty bytes a commit.
//!
//! Many walks read it at once: a commit is copied out under a short lock, and none is held while a walk thinks or an
//! object is read.

use std::collections::{BinaryHeap, HashMap};
use std::ops::Deref;
use std::sync::{Arc, PoisonError, RwLock};

use slipway_core::Oid;

use crate::bits::Bits;
use crate::error::{RepoError, Result};
use crate::limits::LINKED_OBJECT_BYTES_MAX;
use crate::links::{CommitHead, commit_head};
use crate::object::{Kind, Objects};

/// A commit's number in the graph.
pub(crate) type Node = u32;

/// Commits by number.
#[derive(Default)]
pub(crate) struct Graph {
    known: RwLock<Known>,
}

#[derive(Default)]
struct Known {
    index: HashMap<Oid, Node>,
    ids: Vec<Oid>,
    /// `None` until the commit is read.
    read: Vec<Option<Read>>,
}

#[derive(Clone)]
struct Read {
    tree: Oid,
    date: i64,
    parents: Parents,
}

/// A commit that was read.
#[derive(Clone)]
pub(crate) struct Commit {
    /// Its tree.
    pub(crate) tree: Oid,
    /// The committer's date, in seconds since 1970.
    pub(crate) date: i64,
    /// Its parents, which need not have been read.
    pub(crate) parents: Parents,
}

/// The parents of a commit: one or two nearly always.
#[derive(Clone)]
pub(crate) enum Parents {
    /// So many of these.
    Few(u8, [Node; 2]),
    /// Three and more.
    Many(Arc<[Node]>),
}

impl Parents {
    fn new(nodes: &[Node]) -> Self {
        match *nodes {
            [] => Self::Few(0, [0; 2]),
            [one] => Self::Few(1, [one, 0]),
            [one, two] => Self::Few(2, [one, two]),
            _ => Self::Many(nodes.into()),
        }
    }
}

impl Deref for Parents {
    type Target = [Node];

    fn deref(&self) -> &[Node] {
        match self {
            Self::Few(count, nodes) => &nodes[..usize::from(*count)],
            Self::Many(nodes) => nodes,
        }
    }
}

impl Known {
    fn number(&mut self, id: &Oid) -> Node {
        let Self { index, ids, read } = self;
        *index.entry(*id).or_insert_with(|| {
            ids.push(*id);
            read.push(None);
            ids.len() as Node - 1
        })
    }
}

impl Graph {
    /// Number of commits known.
    pub(crate) fn len(&self) -> usize {
        self.look(|known| known.ids.len())
    }

    fn look<T>(&self, see: impl FnOnce(&Known) -> T) -> T {
        // Filled one whole commit at a time: a panic in between leaves it valid.
        see(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The id.
    pub(crate) fn id(&self, node: Node) -> Oid {
        self.look(|known| known.ids[node as usize])
    }

    /// The commit's number if it is in the graph.
    pub(crate) fn known(&self, id: &Oid) -> Option<Node> {
        self.look(|known| known.index.get(id).copied())
    }

    /// The commit's number, read from `objects` if need be; `None` if the id names nothing or no commit.
    pub(crate) fn find(&self, objects: &dyn Objects, id: &Oid) -> Result<Option<Node>> {
        let read = self.look(|known| {
            known.index.get(id).copied().filter(|node| known.read[*node as usize].is_some())
        });
        if read.is_some() {
            return Ok(read);
        }
        let mut data = Vec::new();
        let kind = match objects.header(id)? {
            Some((Kind::Commit, _)) => objects.read(id, LINKED_OBJECT_BYTES_MAX, &mut data)?,
            other => other.map(|(kind, _)| kind),
        };
        if kind == Some(Kind::Commit) { self.fill(id, &data).map(|(node, _)| Some(node)) } else { Ok(None) }
    }

    /// The commit, read from `objects` if that was not done yet.
    pub(crate) fn commit(&self, objects: &dyn Objects, node: Node) -> Result<Commit> {
        let id = match self.look(|known| known.read[node as usize].clone().ok_or(known.ids[node as usize])) {
            Ok(Read { tree, date, parents }) => return Ok(Commit { tree, date, parents }),
            Err(id) => id,
        };
        let mut data = Vec::new();
        match objects.read(&id, LINKED_OBJECT_BYTES_MAX, &mut data)? {
            Some(Kind::Commit) => self.fill(&id, &data).map(|(_, commit)| commit),
            Some(kind) => Err(RepoError::BrokenObject { id, why: format!("a commit's parent is a {kind}") }),
            None => Err(RepoError::Missing { id }),
        }
    }

    fn fill(&self, id: &Oid, data: &[u8]) -> Result<(Node, Commit)> {
        let head = commit_head(data);
        let CommitHead { tree, parents, date } =
            head.ok_or_else(|| RepoError::BrokenObject { id: *id, why: "its header is not valid".into() })?;
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let node = known.number(id);
        let parents: Vec<Node> = parents.iter().map(|p| known.number(p)).collect();
        let parents = Parents::new(&parents);
        known.read[node as usize] = Some(Read { tree, date, parents: parents.clone() });
        Ok((node, Commit { tree, date, parents }))
    }
}

/// A walk to all ancestors, newest first, that can be paused after any commit.
#[derive(Clone, Default)]
pub(crate) struct Ancestors {
    pub(crate) seen: Bits,
    next: BinaryHeap<(i64, Node)>,
}

impl Ancestors {
    /// Starts (also) at `node`.
    pub(crate) fn start(&mut self, graph: &Graph, objects: &dyn Objects, node: Node) -> Result<()> {
        if !self.seen.has(node as usize) {
            let date = graph.commit(objects, node)?.date;
            self.seen.put(node as usize);
            self.next.push((date, node));
        }
        Ok(())
    }

    /// The next commit.
    pub(crate) fn step(&mut self, graph: &Graph, objects: &dyn Objects) -> Result<Option<(Node, Commit)>> {
        let Some(&(_, node)) = self.next.peek() else { return Ok(None) };
        // Parents are read before the commit is taken off, so that a walk that fails can go on later.
        let commit = graph.commit(objects, node)?;
        let mut parents = Vec::with_capacity(commit.parents.len());
        for &parent in commit.parents.iter() {
            if !self.seen.has(parent as usize) {
                parents.push((graph.commit(objects, parent)?.date, parent));
            }
        }
        self.next.pop();
        for (date, parent) in parents {
            if self.seen.put(parent as usize) {
                self.next.push((date, parent));
            }
        }
        Ok(Some((node, commit)))
    }

    /// True once every commit has been given out.
    pub(crate) fn is_done(&self) -> bool {
        self.next.is_empty()
    }
}
