//! Which objects an answer has: what the wants reach less what the haves reach.
//!
//! Commits are coloured from both sides, newest first. Trees are walked with one set of what was seen; before
//! that, the trees of the nearest commits that the client has are laid beside each new one's, and everything met on the
//! way down the changed paths is marked as the client's. Where a file came back unchanged from elsewhere it may be sent again, as
//! git's own sparse walk does; that costs bytes, never correctness. Who wants all that the refs reach and has nothing is
//! given what is known of that, without a walk.

use std::collections::{BinaryHeap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use slipway_core::Oid;

use super::PackRequest;
use super::filter::{Filter, FilteredWalk};
use crate::error::{RepoError, Result};
use crate::graph::{Commit, Graph, Node};
use crate::limits::{LINKED_OBJECT_BYTES_MAX, PEEL_DEPTH_MAX, TWINS_MAX, WALKED_COMMITS_MAX};
use crate::links::{TreeEntries, TreeEntry, tag_target};
use crate::object::{Kind, Objects};
use crate::reach::Marks;
use crate::snapshot::Snapshot;

/// The objects of an answer.
pub(crate) struct Selected {
    /// All of them.
    pub(crate) taken: Arc<Marks>,
    /// Some of what the client has: good for bases of thin deltas.
    pub(crate) edge: Marks,
    /// For some objects, what the client has at the same path.
    pub(crate) twins: HashMap<Oid, Oid>,
}

impl Selected {
    /// These objects, for somebody who has nothing.
    pub(crate) fn just(taken: Arc<Marks>) -> Self {
        Self { taken, edge: Marks::default(), twins: HashMap::new() }
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
    taken: Marks,
    edge: Marks,
    twins: HashMap<Oid, Oid>,
    /// The walk over trees, where a filter leaves something out.
    filtered: Option<FilteredWalk>,
    /// Pairs of trees that were laid beside one another.
    beside: HashSet<(Oid, Oid)>,
    buffers: (Vec<u8>, Vec<u8>),
    /// With more commits than this to send, bitmaps are asked instead.
    commits_max: usize,
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
    if wants_everything(snapshot, request) {
        return Ok(Selected::just(snapshot.all_reachable(stop)?));
    }
    let packs = snapshot.packs.load();
    let mut select = Select {
        snapshot,
        request,
        stop,
        taken: Marks::for_packs(&packs),
        edge: Marks::for_packs(&packs),
        twins: HashMap::new(),
        filtered: (request.filter != Filter::None).then(|| FilteredWalk::new(&request.filter)),
        beside: HashSet::new(),
        buffers: Default::default(),
        commits_max: usize::MAX,
    };
    if select.bitmaps_serve() {
        select.commits_max = WALKED_COMMITS_MAX;
    }
    select.run()?;
    let Select { taken, edge, twins, .. } = select;
    Ok(Selected { taken: Arc::new(taken), edge, twins })
}

fn wants_everything(snapshot: &Snapshot, request: &PackRequest) -> bool {
    let cut = [&request.haves, &request.client_shallow, &request.shallow, &request.unshallow];
    request.filter == Filter::None
        && cut.iter().all(|list| list.is_empty())
        && snapshot.is_everything(&request.wants.iter().collect())
}

impl Select<'_> {
    fn run(&mut self) -> Result<()> {
        let (commits, others) = self.starts()?;
        let many = self.request.haves.is_empty() && self.bitmaps_serve();
        if many && self.by_bitmaps(&commits)? {
            return self.finish(&others);
        }
        let chosen = match self.commits(&commits)? {
            Some(chosen) => chosen,
            None if self.by_bitmaps(&commits)? => return self.finish(&others),
            None => {
                self.commits_max = usize::MAX;
                self.commits(&commits)?.unwrap_or_default()
            }
        };
        let all = self.filtered.as_ref().is_none_or(|walk| walk.sends(Kind::Commit));
        let by_id = if all { HashSet::new() } else { self.asked_for(&commits)? };
        for commit in chosen.iter().filter(|commit| all || by_id.contains(&commit.id)) {
            self.take(&commit.id);
        }
        for commit in &chosen {
            for edge in &commit.edges {
                self.mark_edges(&commit.tree, edge)?;
            }
        }
        for commit in &chosen {
            self.tree(&commit.tree, false)?;
        }
        self.finish(&others)
    }

    /// Takes what is wanted and is no commit, and tags that come along.
    fn finish(&mut self, others: &[(Oid, Kind)]) -> Result<()> {
        for (id, kind) in others {
            self.take(id);
            if *kind == Kind::Tree {
                self.tree(id, true)?;
            }
        }
        if self.request.include_tag { self.tags() } else { Ok(()) }
    }

    /// True if bitmaps can tell what is asked for: nothing is cut off, and nothing but all blobs left out.
    fn bitmaps_serve(&self) -> bool {
        let PackRequest { client_shallow, shallow, unshallow, filter, .. } = self.request;
        let whole = client_shallow.is_empty() && shallow.is_empty() && unshallow.is_empty();
        whole && matches!(filter, Filter::None | Filter::BlobNone) && self.snapshot.bitmaps().is_some()
    }

    /// Takes what the commits reach and the haves do not, by bitmaps; false if there are none.
    fn by_bitmaps(&mut self, commits: &[Oid]) -> Result<bool> {
        if !self.bitmaps_serve() {
            return Ok(false);
        }
        let (snapshot, haves) = (self.snapshot, &self.request.haves);
        let Some(mut wanted) = snapshot.reach_of(commits, self.stop)? else { return Ok(false) };
        if !haves.is_empty() {
            let Some(had) = snapshot.reach_of(haves, self.stop)? else { return Ok(false) };
            wanted.remove(&had);
            self.edge = had;
        }
        if self.request.filter == Filter::BlobNone && !snapshot.without_blobs(&mut wanted)? {
            return Ok(false);
        }
        self.taken.add(&wanted);
        Ok(true)
    }

    fn go_on(&self) -> Result<()> {
        if self.stop.load(Ordering::Relaxed) { Err(RepoError::Stopped) } else { Ok(()) }
    }

    /// Puts an object into the answer; false if it is in.
    fn take(&mut self, id: &Oid) -> bool {
        self.taken.put(&self.snapshot.packs.load(), id)
    }

    /// Follows the wants' tags, which are taken, to commits, and to trees and blobs.
    fn starts(&mut self) -> Result<Starts> {
        let (mut commits, mut others) = (Vec::new(), Vec::new());
        let had: HashSet<&Oid> = self.request.haves.iter().collect();
        for want in &self.request.wants {
            let (mut id, mut is_had) = (*want, false);
            for _ in 0..PEEL_DEPTH_MAX {
                match self.snapshot.object_size(&id)? {
                    None => return Err(RepoError::Missing { id }),
                    Some((Kind::Commit, _)) => commits.push(id),
                    Some((Kind::Tag, _)) => {
                        if had.contains(&id) {
                            is_had = true;
                        } else {
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
                    // Who has a tag has what is behind it.
                    Some(_) if is_had || had.contains(&id) => {}
                    Some((kind, _)) => others.push((id, kind)),
                }
                break;
            }
        }
        Ok((commits, others))
    }

    /// The commits that are sent whatever the filter says: those wanted, and those right behind the boundary that goes.
    fn asked_for(&self, wants: &[Oid]) -> Result<HashSet<Oid>> {
        let (snapshot, graph) = (self.snapshot, self.snapshot.graph());
        let mut found: HashSet<Oid> = wants.iter().copied().collect();
        for node in self.nodes(&self.request.unshallow)? {
            found.extend(graph.commit(snapshot, node)?.parents.iter().map(|&parent| graph.id(parent)));
        }
        Ok(found)
    }

    fn nodes(&self, ids: &[Oid]) -> Result<HashSet<Node>> {
        let mut found = HashSet::with_capacity(ids.len());
        for id in ids {
            found.extend(self.snapshot.commit_of(id)?);
        }
        Ok(found)
    }

    /// The commits to send, newest first; `None` if they are many and bitmaps will tell sooner.
    fn commits(&mut self, wants: &[Oid]) -> Result<Option<Vec<Chosen>>> {
        let (snapshot, graph) = (self.snapshot, self.snapshot.graph());
        let had_cuts = self.nodes(&self.request.client_shallow)?;
        let gone = self.nodes(&self.request.unshallow)?;
        let mut cuts = self.nodes(&self.request.shallow)?;
        cuts.extend(had_cuts.difference(&gone));
        let mut colours = Colours::new(snapshot, graph);
        for id in wants {
            let node = graph.find(snapshot, id)?.ok_or(RepoError::Missing { id: *id })?;
            colours.paint(node, WANT)?;
        }
        // The client has these commits but not their parents, which it gets now.
        for &node in &gone {
            for &parent in graph.commit(snapshot, node)?.parents.iter() {
                colours.paint(parent, WANT)?;
            }
        }
        let haves = self.nodes(&self.request.haves)?;
        for &node in &haves {
            colours.paint(node, HAVE)?;
        }
        let mut listed = Vec::new();
        while let Some((node, commit)) = colours.pop()? {
            self.go_on()?;
            if listed.len() >= self.commits_max {
                return Ok(None);
            }
            let had = colours.has(node, HAVE);
            let cut = if had { had_cuts.contains(&node) } else { cuts.contains(&node) };
            if !cut {
                for &parent in commit.parents.iter() {
                    colours.paint(parent, if had { HAVE } else { WANT })?;
                }
            }
            if !had {
                listed.push((node, commit));
            }
        }
        listed.retain(|(node, _)| !colours.has(*node, HAVE));
        let mut nearby = Vec::with_capacity(haves.len());
        for node in haves {
            nearby.push((graph.commit(snapshot, node)?.date, node));
        }
        nearby.sort_unstable_by_key(|(date, _)| std::cmp::Reverse(*date));
        nearby.truncate(EDGES_MAX);
        let nearby: Vec<Node> = nearby.into_iter().map(|(_, node)| node).collect();
        let mut edges = close_by(&colours, &listed, &nearby);
        let mut chosen = Vec::with_capacity(listed.len());
        for (node, commit) in listed {
            let mut trees = Vec::new();
            for edge in edges.remove(&node).unwrap_or_default() {
                trees.push(graph.commit(snapshot, edge)?.tree);
            }
            chosen.push(Chosen { id: graph.id(node), tree: commit.tree, edges: trees });
        }
        Ok(Some(chosen))
    }

    /// Lays a tree that the client has beside a new one and marks what it has as far down as both differ.
    fn mark_edges(&mut self, new: &Oid, old: &Oid) -> Result<()> {
        let packs = self.snapshot.packs.load_full();
        let mut pairs = vec![(*new, *old)];
        let (mut new_data, mut old_data) = std::mem::take(&mut self.buffers);
        self.edge.put(&packs, old);
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
                self.edge.put(&packs, &entry.id);
                while news.next_if(|n| in_order(n).lt(in_order(&entry))).is_some() {}
                let same = |n: &TreeEntry<'_>| n.name == entry.name && n.kind() == entry.kind();
                let Some(twin) = news.next_if(same) else { continue };
                if twin.id != entry.id && self.twins.len() < TWINS_MAX {
                    self.twins.entry(twin.id).or_insert(entry.id);
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
    fn tree(&mut self, root: &Oid, explicit: bool) -> Result<()> {
        match self.filtered.take() {
            Some(mut walk) => {
                let done = self.filtered_tree(root, explicit, &mut walk);
                self.filtered = Some(walk);
                done
            }
            None => self.whole_tree(root, explicit),
        }
    }

    fn filtered_tree(&mut self, root: &Oid, explicit: bool, walk: &mut FilteredWalk) -> Result<()> {
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

    fn whole_tree(&mut self, root: &Oid, explicit: bool) -> Result<()> {
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

    /// Takes annotated tags of what is taken, and the tags between.
    fn tags(&mut self) -> Result<()> {
        let snapshot = self.snapshot;
        for r in snapshot.refs() {
            let Some(peeled) = r.peeled.filter(|_| r.name.as_tag().is_some()) else { continue };
            if !self.taken.has(&snapshot.packs.load(), &peeled) {
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
fn close_by(colours: &Colours<'_>, listed: &[(Node, Commit)], nearby: &[Node]) -> HashMap<Node, Vec<Node>> {
    let mut edges: HashMap<Node, Vec<Node>> = HashMap::new();
    if nearby.is_empty() {
        return edges;
    }
    // Parents first: a commit none of whose parents the client has takes over what was close to its parents.
    for (node, commit) in listed.iter().rev() {
        let mut close: Vec<Node> = Vec::new();
        for parent in commit.parents.iter() {
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
        edges.insert(*node, close);
    }
    edges
}

/// Git's order of entries: folders count as ending in a slash.
fn in_order<'a>(entry: &TreeEntry<'a>) -> impl Iterator<Item = u8> + use<'a> {
    let slash = (entry.kind() == Some(Kind::Tree)).then_some(b'/');
    entry.name.iter().copied().chain(slash)
}

/// Colours of commits and the queue of those whose parents are not coloured yet.
struct Colours<'a> {
    snapshot: &'a Snapshot,
    graph: &'a Graph,
    of: HashMap<Node, u8>,
    queue: BinaryHeap<(i64, Node)>,
    /// Queued commits that only the wants reach.
    fresh: usize,
    /// Date of the oldest commit listed.
    oldest: Option<i64>,
}

impl<'a> Colours<'a> {
    fn new(snapshot: &'a Snapshot, graph: &'a Graph) -> Self {
        Self { snapshot, graph, of: HashMap::new(), queue: BinaryHeap::new(), fresh: 0, oldest: None }
    }

    fn has(&self, node: Node, colour: u8) -> bool {
        self.of.get(&node).is_some_and(|c| c & colour != 0)
    }

    fn paint(&mut self, node: Node, colour: u8) -> Result<()> {
        let of = self.of.entry(node).or_insert(0);
        let before = *of;
        *of |= colour;
        // What the client has stays so, and its ancestors are coloured already.
        if before & (colour | HAVE) == colour || before & HAVE != 0 {
            return Ok(());
        }
        *of |= QUEUED;
        if before & QUEUED != 0 {
            // In the queue as wanted, now as had.
            self.fresh -= 1;
            return Ok(());
        }
        self.queue.push((self.graph.commit(self.snapshot, node)?.date, node));
        if colour == WANT {
            self.fresh += 1;
        }
        Ok(())
    }

    /// The newest commit whose parents are to be coloured; `None` once nothing can change the answer. Beyond the last
    /// wanted commit, had ones are followed as long as they are no older than it: theirs may be among the listed.
    fn pop(&mut self) -> Result<Option<(Node, Commit)>> {
        let Some(&(date, node)) = self.queue.peek() else { return Ok(None) };
        if self.fresh == 0 && self.oldest.is_none_or(|oldest| date < oldest) {
            return Ok(None);
        }
        self.queue.pop();
        let commit = self.graph.commit(self.snapshot, node)?;
        let colour = self.of.entry(node).or_insert(0);
        *colour &= !QUEUED;
        if *colour & HAVE == 0 {
            self.fresh -= 1;
            self.oldest = Some(self.oldest.map_or(date, |oldest| oldest.min(date)));
        }
        Ok(Some((node, commit)))
    }
}
