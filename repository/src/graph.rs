//! The commits of a repository as a graph: ids, parents, dates, trees. Those that the repository's commit-graph file has
//! are looked up there; others are kept in memory as walks ask for them, some hundred and thirty bytes a commit. Shared by
//! generations, since commits never change.
//!
//! Many walks read it at once: a commit is copied out under a short lock, and none is held while a walk thinks or an
//! object is read.

use std::cell::RefCell;
use std::collections::BinaryHeap;
use std::fs::File;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use slipway_core::{ObjectFormat, Oid};

use crate::bits::Bits;
use crate::boundary::Boundary;
use crate::doubt::Doubt;
use crate::error::{RepoError, Result};
use crate::formats::commit_graph::{BrokenGraph, CommitGraph, chain};
use crate::ids::IdMap;
use crate::limits::LINKED_OBJECT_BYTES_MAX;
use crate::links::{CommitHead, commit_head};
use crate::mapped::Mapped;
use crate::object::{Kind, Objects};

/// A commit's number in the graph.
pub(crate) type Node = u32;

/// Commits by number: first those of the file, then those in memory.
#[derive(Default)]
pub(crate) struct Graph {
    format: ObjectFormat,
    /// Commits that have no parents here, whatever they say.
    boundary: Boundary,
    file: Option<CommitGraph<Mapped>>,
    /// The file's bytes, of each layer.
    layers: Vec<Mapped>,
    /// Where the file is, for people.
    place: PathBuf,
    /// Something was found broken in the file.
    doubt: Doubt,
    known: RwLock<Known>,
}

#[derive(Default)]
struct Known {
    index: IdMap<Node>,
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
    /// These.
    pub(crate) fn of(nodes: &[Node]) -> Self {
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
    /// Opens the commit-graph below a folder of objects. One that is broken is left out, loudly; so is that of a shallow
    /// repository, quietly: it tells of parents that are not there.
    ///
    /// # Errors
    /// A boundary that cannot be read.
    pub(crate) fn open(objects: &Path, format: ObjectFormat) -> Result<Self> {
        let boundary = Boundary::read(objects.parent().unwrap_or(objects), format)?;
        if !boundary.is_empty() {
            return Ok(Self { format, boundary, ..Self::at(objects) });
        }
        let layers: RefCell<Vec<Mapped>> = RefCell::default();
        let map = |path: &Path| {
            let bytes = File::open(path).and_then(|file| Mapped::of(&file))?;
            RefCell::borrow_mut(&layers).push(bytes.clone());
            Ok(bytes)
        };
        let file = chain::open(objects, format.id_bytes(), map).unwrap_or_else(|e| {
            tracing::warn!("{e}; it is not used");
            None
        });
        Ok(Self { format, boundary, file, layers: layers.into_inner(), ..Self::at(objects) })
    }

    fn at(objects: &Path) -> Self {
        Self { place: chain::single_path(objects), ..Self::default() }
    }

    /// True if something was found broken in the file, or some of it cannot be read.
    pub(crate) fn is_doubtful(&self) -> bool {
        self.doubt.is_raised() || self.is_lost()
    }

    fn is_lost(&self) -> bool {
        self.layers.iter().any(Mapped::is_lost)
    }

    fn broken(&self, why: &str) -> RepoError {
        self.doubt.raise();
        RepoError::BrokenPack { path: self.place.clone(), why: why.into() }
    }

    /// Asks whether all of the file that was read could be.
    ///
    /// # Errors
    /// [`RepoError::BrokenPack`] if it could not.
    pub(crate) fn check(&self) -> Result<()> {
        if self.is_lost() { Err(self.broken("some of it cannot be read")) } else { Ok(()) }
    }

    /// The boundary of a shallow repository.
    pub(crate) fn boundary(&self) -> &Boundary {
        &self.boundary
    }

    /// Commits in the file.
    fn stored(&self) -> Node {
        self.file.as_ref().map_or(0, CommitGraph::len)
    }

    /// Number of commits kept in memory.
    pub(crate) fn kept(&self) -> usize {
        self.look(|known| known.ids.len())
    }

    /// The commit-graph file.
    pub(crate) fn file(&self) -> Option<&CommitGraph<Mapped>> {
        self.file.as_ref()
    }

    fn look<T>(&self, see: impl FnOnce(&Known) -> T) -> T {
        // Filled one whole commit at a time: a panic in between leaves it valid.
        see(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The id; the zero id if the file is broken there.
    pub(crate) fn id(&self, node: Node) -> Oid {
        match (&self.file, node.checked_sub(self.stored())) {
            (Some(file), None) => file.id_at(node).unwrap_or(self.format.zero()),
            (_, at) => self.look(|known| known.ids[at.unwrap_or(node) as usize]),
        }
    }

    /// The commit's number, read from `objects` if need be; `None` if the id names nothing or no commit.
    pub(crate) fn find(&self, objects: &dyn Objects, id: &Oid) -> Result<Option<Node>> {
        if let Some(node) = self.file.as_ref().and_then(|file| file.lookup(id)) {
            return Ok(Some(node));
        }
        let read = self
            .look(|known| known.index.get(id).copied().filter(|node| known.read[*node as usize].is_some()));
        if let Some(node) = read {
            return Ok(Some(node + self.stored()));
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
        let Some(at) = node.checked_sub(self.stored()) else { return self.stored_commit(node) };
        let read = self.look(|known| known.read[at as usize].clone().ok_or(known.ids[at as usize]));
        let id = match read {
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

    fn stored_commit(&self, node: Node) -> Result<Commit> {
        let file = self.file.as_ref().ok_or_else(|| self.broken("it is gone"))?;
        let mut parents = Vec::with_capacity(2);
        let mut read = || {
            file.parents(node, &mut parents)?;
            Ok((file.tree(node)?, file.date(node)?))
        };
        let (tree, date) = read().map_err(|e: BrokenGraph| self.broken(e.0))?;
        self.check()?;
        Ok(Commit { tree, date: i64::try_from(date).unwrap_or(i64::MAX), parents: Parents::of(&parents) })
    }

    fn fill(&self, id: &Oid, data: &[u8]) -> Result<(Node, Commit)> {
        let head = commit_head(data);
        let CommitHead { tree, mut parents, date } =
            head.ok_or_else(|| RepoError::BrokenObject { id: *id, why: "its header is not valid".into() })?;
        if self.boundary.has(id) {
            parents.clear();
        }
        let stored = self.stored();
        let in_file = |id: &Oid| self.file.as_ref().and_then(|file| file.lookup(id));
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let node = known.number(id);
        let parents: Vec<Node> =
            parents.iter().map(|p| in_file(p).unwrap_or_else(|| known.number(p) + stored)).collect();
        let parents = Parents::of(&parents);
        known.read[node as usize] = Some(Read { tree, date, parents: parents.clone() });
        Ok((node + stored, Commit { tree, date, parents }))
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
}
