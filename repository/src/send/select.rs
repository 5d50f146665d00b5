//! Which objects an answer has: what the wants reach less what the haves reach.
//!
//! Commits are coloured from both sides, newest first. Trees are walked with one set of what was seen; before
//! that, the trees of the nearest commits that the client has are laid beside each new one's, and everything met on the
//! way down the changed paths is marked as the client's. Where a file came back unchanged from elsewhere it may be sent again, as
//! git's own sparse walk does; that costs bytes, never correctness.

use std::collections::{BinaryHeap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};

use slipway_core::Oid;

use super::PackRequest;
use super::filter::{Filter, FilteredWalk};
use crate::error::{RepoError, Result};
use crate::graph::{Graph, Node};
use crate::limits::{LINKED_OBJECT_BYTES_MAX, PEEL_DEPTH_MAX};
use crate::links::{TreeEntries, tag_target};
use crate::object::{Kind, Objects};
use crate::packs::Place;
use crate::reach::Marks;
use crate::snapshot::Snapshot;

/// The objects of an answer.
#[derive(Default)]
pub(crate) struct Selected {
    pub(crate) packed: Vec<Place>,
    pub(crate) loose: Vec<Oid>,
    /// All of the above.
    pub(crate) taken: Marks,
    /// Some of what the client has: good for bases of thin deltas.
    pub(crate) edge: Marks,
}

impl Selected {
    /// Puts an object in; false if it is in.
    fn take(&mut self, snapshot: &Snapshot, id: &Oid) -> bool {
        let packs = snapshot.packs.load();
        if !self.taken.put(&packs, id) {
            return false;
        }
        match packs.locate(id) {
            Some(place) => self.packed.push(place),
            None => self.loose.push(*id),
        }
        true
    }
}

const WANT: u8 = 1;
const HAVE: u8 = 2;
const QUEUED: u8 = 4;
/// At most so many trees that the client has are laid beside one commit's.
const EDGES_MAX: usize = 4;

struct Select<'a> {
    snapshot: &'a Snapshot,
    request: &'a PackRequest,
    stop: &'a AtomicBool,
    out: Selected,
    /// Pairs of trees that were laid beside one another.
    beside: HashSet<(Oid, Oid)>,
    buffers: (Vec<u8>, Vec<u8>),
}

/// A commit to send: its id, its tree, and trees that the client has close by.
struct Chosen {
    id: Oid,
    tree: Oid,
    edges: Vec<Oid>,
}

/// Commits that are wanted, and trees and blobs.
type Starts = (Vec<Oid>, Vec<(Oid, Kind)>);

/// Selects the objects of an answer.
pub(crate) fn select(snapshot: &Snapshot, request: &PackRequest, stop: &AtomicBool) -> Result<Selected> {
    let mut select = Select {
        snapshot,
        request,
        stop,
        out: Selected::default(),
        beside: HashSet::new(),
        buffers: Default::default(),
    };
    let (commits, others) = select.starts()?;
    let chosen = select.commits(&commits)?;
    let mut filtered = (request.filter != Filter::None).then(|| FilteredWalk::new(&request.filter));
    let all_commits = filtered.as_ref().is_none_or(|walk| walk.sends(Kind::Commit));
    let by_id: HashSet<&Oid> = if all_commits { HashSet::new() } else { commits.iter().collect() };
    for commit in &chosen {
        if all_commits || by_id.contains(&commit.id) {
            select.take(&commit.id);
        }
    }
    for commit in &chosen {
        for edge in &commit.edges {
            select.mark_edges(&commit.tree, edge)?;
        }
    }
    for (id, kind) in &others {
        select.take(id);
        if *kind == Kind::Tree {
            select.tree(id, true, &mut filtered)?;
        }
    }
    for commit in &chosen {
        select.tree(&commit.tree, false, &mut filtered)?;
    }
    if request.include_tag {
        select.tags()?;
    }
    Ok(select.out)
}

impl Select<'_> {
    fn go_on(&self) -> Result<()> {
        if self.stop.load(Ordering::Relaxed) { Err(RepoError::Stopped) } else { Ok(()) }
    }

    /// Puts an object into the answer; false if it is in.
    fn take(&mut self, id: &Oid) -> bool {
        self.out.take(self.snapshot, id)
    }

    /// Follows the wants' tags, which are taken, to commits, and to trees and blobs.
    fn starts(&mut self) -> Result<Starts> {
        let (mut commits, mut others) = (Vec::new(), Vec::new());
        let had: HashSet<&Oid> = self.request.haves.iter().collect();
        for want in &self.request.wants {
            let mut id = *want;
            for _ in 0..PEEL_DEPTH_MAX {
                match self.snapshot.object_size(&id)? {
                    None => return Err(RepoError::Missing { id }),
                    Some((Kind::Commit, _)) => commits.push(id),
                    Some((Kind::Tag, _)) => {
                        if !had.contains(&id) {
                            self.take(&id);
                        }
                        let tag = self
                            .snapshot
                            .find(&id, LINKED_OBJECT_BYTES_MAX)?
                            .ok_or(RepoError::Missing { id })?;
                        let broken = RepoError::BrokenObject { id, why: "its header is not valid".into() };
                        id = tag_target(&tag.data).ok_or(broken)?.0;
                        continue;
                    }
                    Some((kind, _)) => others.push((id, kind)),
                }
                break;
            }
        }
        Ok((commits, others))
    }

    /// The commits to send, newest first.
    fn commits(&mut self, wants: &[Oid]) -> Result<Vec<Chosen>> {
        let snapshot = self.snapshot;
        let mut graph = snapshot.graph();
        let nodes = |graph: &mut Graph, ids: &[Oid]| -> Result<HashSet<Node>> {
            let mut found = HashSet::with_capacity(ids.len());
            for id in ids {
                found.extend(snapshot.commit_of(graph, id)?);
            }
            Ok(found)
        };
        let had_cuts = nodes(&mut graph, &self.request.client_shallow)?;
        let gone = nodes(&mut graph, &self.request.unshallow)?;
        let mut cuts = nodes(&mut graph, &self.request.shallow)?;
        cuts.extend(had_cuts.difference(&gone));
        let mut colours = Colours::default();
        for id in wants {
            let node = graph.find(snapshot, id)?.ok_or(RepoError::Missing { id: *id })?;
            colours.paint(&graph, node, WANT);
        }
        // The client has these commits but not their parents, which it gets now.
        for &node in &gone {
            for parent in graph.parents(node).to_vec() {
                graph.load(snapshot, parent)?;
                colours.paint(&graph, parent, WANT);
            }
        }
        let haves = nodes(&mut graph, &self.request.haves)?;
        for &node in &haves {
            colours.paint(&graph, node, HAVE);
        }
        let mut listed = Vec::new();
        while let Some(node) = colours.pop(&graph) {
            self.go_on()?;
            let had = colours.has(node, HAVE);
            if !had {
                listed.push(node);
            }
            if if had { had_cuts.contains(&node) } else { cuts.contains(&node) } {
                continue;
            }
            for i in 0..graph.parents(node).len() {
                let parent = graph.parents(node)[i];
                graph.load(snapshot, parent)?;
                colours.paint(&graph, parent, if had { HAVE } else { WANT });
            }
        }
        listed.retain(|node| !colours.has(*node, HAVE));
        let mut nearby: Vec<Node> = haves.into_iter().collect();
        nearby.sort_unstable_by_key(|node| std::cmp::Reverse(graph.date(*node)));
        nearby.truncate(EDGES_MAX);
        let mut edges = close_by(&graph, &colours, &listed, &nearby);
        let mut chosen = Vec::with_capacity(listed.len());
        for node in listed {
            let mut trees = Vec::new();
            for edge in edges.remove(&node).unwrap_or_default() {
                graph.load(snapshot, edge)?;
                trees.push(graph.tree(edge));
            }
            chosen.push(Chosen { id: graph.id(node), tree: graph.tree(node), edges: trees });
        }
        Ok(chosen)
    }

    /// Lays a tree that the client has beside a new one and marks what it has as far down as both differ.
    fn mark_edges(&mut self, new: &Oid, old: &Oid) -> Result<()> {
        let packs = self.snapshot.packs.load_full();
        let mut pairs = vec![(*new, *old)];
        let (mut new_data, mut old_data) = std::mem::take(&mut self.buffers);
        self.out.edge.put(&packs, old);
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
                self.out.edge.put(&packs, &entry.id);
                if entry.kind() != Some(Kind::Tree) {
                    continue;
                }
                while news
                    .next_if(|n| n.kind() != Some(Kind::Tree) || slashed(n.name).lt(slashed(entry.name)))
                    .is_some()
                {}
                if let Some(twin) = news.next_if(|n| n.name == entry.name) {
                    pairs.push((twin.id, entry.id));
                }
            }
        }
        self.buffers = (new_data, old_data);
        Ok(())
    }

    /// Takes a tree and everything below it that is neither taken nor the client's, as the filter allows. The root
    /// itself was asked for by id if it is `explicit`.
    fn tree(&mut self, root: &Oid, explicit: bool, filtered: &mut Option<FilteredWalk>) -> Result<()> {
        match filtered {
            Some(walk) => self.filtered_tree(root, explicit, walk),
            None => self.whole_tree(root, explicit),
        }
    }

    fn filtered_tree(&mut self, root: &Oid, explicit: bool, walk: &mut FilteredWalk) -> Result<()> {
        let snapshot = self.snapshot;
        let stop = self.stop;
        let out = &mut self.out;
        let edge = std::mem::take(&mut out.edge);
        let packs = snapshot.packs.load_full();
        let done = walk.walk(snapshot, root, explicit, &|id| edge.has(&packs, id), &mut |id| {
            if stop.load(Ordering::Relaxed) {
                return Err(RepoError::Stopped);
            }
            out.take(snapshot, id);
            Ok(())
        });
        out.edge = edge;
        done
    }

    fn whole_tree(&mut self, root: &Oid, explicit: bool) -> Result<()> {
        let mut open = vec![*root];
        let mut is_root = explicit;
        let (mut data, other) = std::mem::take(&mut self.buffers);
        let packs = self.snapshot.packs.load_full();
        while let Some(id) = open.pop() {
            self.go_on()?;
            let asked = std::mem::take(&mut is_root);
            if !asked && self.out.edge.has(&packs, &id) {
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
                    Some(_) if !self.out.edge.has(&packs, &entry.id) => drop(self.take(&entry.id)),
                    Some(_) | None => {}
                }
            }
        }
        self.buffers = (data, other);
        Ok(())
    }

    /// Takes annotated tags of what is taken, and the tags between.
    fn tags(&mut self) -> Result<()> {
        let snapshot = self.snapshot;
        for r in snapshot.refs() {
            let Some(peeled) = r.peeled.filter(|_| r.name.as_tag().is_some()) else { continue };
            if !self.out.taken.has(&snapshot.packs.load(), &peeled) {
                continue;
            }
            let mut id = r.target;
            for _ in 0..PEEL_DEPTH_MAX {
                if id == peeled {
                    break;
                }
                self.take(&id);
                let tag = snapshot.find(&id, LINKED_OBJECT_BYTES_MAX)?.ok_or(RepoError::Missing { id })?;
                match tag_target(&tag.data) {
                    Some((target, _)) => id = target,
                    None => break,
                }
            }
        }
        Ok(())
    }
}

/// For each commit to send (newest first) the nearest ones that the client has, `nearby` where none is an ancestor.
fn close_by(graph: &Graph, colours: &Colours, listed: &[Node], nearby: &[Node]) -> HashMap<Node, Vec<Node>> {
    let mut edges: HashMap<Node, Vec<Node>> = HashMap::new();
    if nearby.is_empty() {
        return edges;
    }
    // Parents first: a commit none of whose parents the client has takes over what was close to its parents.
    for &node in listed.iter().rev() {
        let mut close: Vec<Node> = Vec::new();
        for parent in graph.parents(node) {
            let of_parent = edges.get(parent).map_or(&[][..], Vec::as_slice);
            let had = colours.has(*parent, HAVE).then_some(parent);
            close.extend(had.into_iter().chain(of_parent));
        }
        if close.is_empty() {
            close.extend(nearby);
        }
        close.sort_unstable();
        close.dedup();
        close.truncate(EDGES_MAX);
        edges.insert(node, close);
    }
    edges
}

fn slashed(name: &[u8]) -> impl Iterator<Item = u8> {
    name.iter().copied().chain([b'/'])
}

/// Colours of commits and the queue of those whose parents are not coloured yet.
#[derive(Default)]
struct Colours {
    of: Vec<u8>,
    queue: BinaryHeap<(i64, Node)>,
    /// Queued commits that only the wants reach.
    fresh: usize,
    /// Date of the oldest commit listed.
    oldest: Option<i64>,
}

impl Colours {
    fn has(&self, node: Node, colour: u8) -> bool {
        self.of.get(node as usize).is_some_and(|c| c & colour != 0)
    }

    fn paint(&mut self, graph: &Graph, node: Node, colour: u8) {
        let at = node as usize;
        if at >= self.of.len() {
            self.of.resize((at + 1).max(graph.len()), 0);
        }
        let before = self.of[at];
        // What the client has stays so, and its ancestors are coloured already.
        if before & (colour | HAVE) == colour || before & HAVE != 0 {
            self.of[at] |= colour;
            return;
        }
        self.of[at] |= colour | QUEUED;
        if before & QUEUED != 0 {
            // In the queue as wanted, now as had.
            self.fresh -= 1;
            return;
        }
        self.queue.push((graph.date(node), node));
        if colour == WANT {
            self.fresh += 1;
        }
    }

    /// The newest commit whose parents are to be coloured; `None` once nothing can change the answer. Beyond the last
    /// wanted commit, had ones are followed as long as they are no older than it: theirs may be among the listed.
    fn pop(&mut self, graph: &Graph) -> Option<Node> {
        let (date, node) = *self.queue.peek()?;
        if self.fresh == 0 && self.oldest.is_none_or(|oldest| date < oldest) {
            return None;
        }
        self.queue.pop();
        let colour = &mut self.of[node as usize];
        *colour &= !QUEUED;
        if *colour & HAVE == 0 {
            self.fresh -= 1;
            let date = graph.date(node);
            self.oldest = Some(self.oldest.map_or(date, |oldest| oldest.min(date)));
        }
        Some(node)
    }
}
