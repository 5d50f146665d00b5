//! Which commits an answer has: coloured from both sides, newest first, until what the client has is told from what it
//! has not.

use std::collections::{BinaryHeap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};

use slipway_core::Oid;

use super::request::PackRequest;
use crate::bits::Bits;
use crate::error::{RepoError, Result};
use crate::graph::{Commit, Graph, Node, Parents};
use crate::limits::{BESIDE_MAX, EDGES_MAX};
use crate::snapshot::Snapshot;

const WANT: u8 = 1;
const HAVE: u8 = 2;
const QUEUED: u8 = 4;

/// A commit to send.
pub(super) struct Chosen {
    /// Its id.
    pub(super) id: Oid,
    /// Its tree.
    pub(super) tree: Oid,
    /// Trees that the client has or is sent before this one: the parents', or close ones that it has where it gets no
    /// parent.
    pub(super) beside: Vec<Oid>,
    /// Trees close by that it has; found only where a filter leaves things out.
    pub(super) edges: Vec<Oid>,
}

/// The commits to send. They may be millions: what is needed of each is read when its turn comes.
pub(super) struct Commits<'a> {
    colours: Colours<'a>,
    /// Parents before children.
    order: Vec<Node>,
    /// The newest of what the client has.
    nearby: Vec<Node>,
    /// For each commit the nearest ones that the client has; empty unless trees are walked under a filter.
    edges: HashMap<Node, Vec<Node>>,
}

/// Finds the commits to send; `None` if they are more than `max`. Edges are looked for if `edges` says so.
pub(super) fn commits<'a>(
    snapshot: &'a Snapshot,
    request: &PackRequest,
    wants: &[Oid],
    (max, edges): (usize, bool),
    stop: &AtomicBool,
) -> Result<Option<Commits<'a>>> {
    let graph = snapshot.graph();
    let had_cuts = nodes(snapshot, &request.client_shallow)?;
    let gone = nodes(snapshot, &request.unshallow)?;
    let mut cuts = nodes(snapshot, &request.shallow)?;
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
    let haves = nodes(snapshot, &request.haves)?;
    for &node in &haves {
        colours.paint(node, HAVE)?;
    }
    let mut listed = Vec::new();
    while let Some((node, commit)) = colours.pop()? {
        if stop.load(Ordering::Relaxed) {
            return Err(RepoError::Stopped);
        }
        if listed.len() >= max {
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
            listed.push(node);
        }
    }
    listed.retain(|node| !colours.has(*node, HAVE));
    let parents = |node: Node| Ok(graph.commit(snapshot, node)?.parents);
    let nearby = colours.nearby(&haves)?;
    let edges = if edges { colours.close_by(&listed, &nearby)? } else { HashMap::new() };
    let order = parents_first(&listed, &parents)?;
    Ok(Some(Commits { colours, order, nearby, edges }))
}

impl Commits<'_> {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// All of them, parents before children.
    pub(super) fn iter(&self) -> impl Iterator<Item = Result<Chosen>> {
        self.order.iter().map(|node| self.chosen(*node))
    }

    /// Their ids.
    pub(super) fn ids(&self) -> impl Iterator<Item = Oid> {
        self.order.iter().map(|node| self.colours.graph.id(*node))
    }

    fn chosen(&self, node: Node) -> Result<Chosen> {
        let Colours { graph, snapshot, .. } = self.colours;
        let commit = graph.commit(snapshot, node)?;
        // What is coloured is sent or had: whoever was coloured as wanted was listed too.
        let there = |parent: &&Node| self.colours.has(**parent, WANT | HAVE);
        let mut beside: Vec<Node> = commit.parents.iter().filter(there).copied().collect();
        if beside.is_empty() {
            beside.clone_from(&self.nearby);
        }
        beside.truncate(BESIDE_MAX);
        let edges = self.edges.get(&node).map_or(&[][..], Vec::as_slice);
        Ok(Chosen {
            id: graph.id(node),
            tree: commit.tree,
            beside: self.trees(&beside)?,
            edges: self.trees(edges)?,
        })
    }

    fn trees(&self, nodes: &[Node]) -> Result<Vec<Oid>> {
        let Colours { graph, snapshot, .. } = self.colours;
        nodes.iter().map(|node| Ok(graph.commit(snapshot, *node)?.tree)).collect()
    }
}

pub(super) fn nodes(snapshot: &Snapshot, ids: &[Oid]) -> Result<HashSet<Node>> {
    let mut found = HashSet::with_capacity(ids.len());
    for id in ids {
        found.extend(snapshot.commit_of(id)?);
    }
    Ok(found)
}

/// Puts commits, listed about newest first, in an order in which parents come before their children. Dates may lie, and a
/// broken commit-graph might even have rings; each commit comes once all the same.
fn parents_first(listed: &[Node], parents: &dyn Fn(Node) -> Result<Parents>) -> Result<Vec<Node>> {
    let at: HashMap<Node, u32> = listed.iter().copied().zip(0..).collect();
    let (mut entered, mut order) = (Bits::with_len(listed.len()), Vec::with_capacity(listed.len()));
    let mut open = Vec::new();
    for start in (0..listed.len() as u32).rev() {
        open.push((start, false));
        while let Some((here, done)) = open.pop() {
            let node = listed[here as usize];
            if done {
                order.push(node);
            } else if entered.put(here as usize) {
                open.push((here, true));
                let there =
                    parents(node)?.iter().filter_map(|parent| at.get(parent)).copied().collect::<Vec<_>>();
                open.extend(there.into_iter().map(|parent| (parent, false)));
            }
        }
    }
    Ok(order)
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

    /// The newest of what the client has.
    fn nearby(&self, haves: &HashSet<Node>) -> Result<Vec<Node>> {
        let mut nearby = Vec::with_capacity(haves.len());
        for &node in haves {
            nearby.push((self.graph.commit(self.snapshot, node)?.date, node));
        }
        nearby.sort_unstable_by_key(|(date, _)| std::cmp::Reverse(*date));
        nearby.truncate(EDGES_MAX);
        Ok(nearby.into_iter().map(|(_, node)| node).collect())
    }

    /// For each commit to send (newest first) the nearest ones that the client has, `nearby` where none is an ancestor.
    fn close_by(&self, listed: &[Node], nearby: &[Node]) -> Result<HashMap<Node, Vec<Node>>> {
        let mut edges: HashMap<Node, Vec<Node>> = HashMap::new();
        if nearby.is_empty() {
            return Ok(edges);
        }
        // Parents first: a commit none of whose parents the client has takes over what was close to its parents.
        for node in listed.iter().rev() {
            let mut close: Vec<Node> = Vec::new();
            for parent in self.graph.commit(self.snapshot, *node)?.parents.iter() {
                let of_parent = edges.get(parent).map_or(&[][..], Vec::as_slice);
                let had = self.has(*parent, HAVE).then_some(parent);
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
        Ok(edges)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The order of commits, each listed with its parents.
    fn order(listed: &[(Node, &[Node])]) -> Vec<Node> {
        let parents = |node: Node| Ok(Parents::of(listed.iter().find(|(n, _)| *n == node).unwrap().1));
        let nodes: Vec<Node> = listed.iter().map(|(node, _)| *node).collect();
        parents_first(&nodes, &parents).unwrap()
    }

    #[test]
    fn parents_come_first_whatever_the_dates_say() {
        // 1 <- 2 <- 4, 1 <- 3 <- 4, 3 <- 5; listed with dates that lie.
        let listed: [(Node, &[Node]); 5] = [(3, &[1]), (5, &[3]), (1, &[]), (4, &[2, 3]), (2, &[1])];
        let order = order(&listed);
        assert_eq!(order.len(), listed.len());
        let place = |node: Node| order.iter().position(|n| *n == node).unwrap();
        for (node, parents) in &listed {
            assert!(parents.iter().all(|parent| place(*parent) < place(*node)), "{order:?}");
        }
    }

    #[test]
    fn a_ring_in_a_broken_graph_does_not_hang() {
        let mut order = order(&[(1, &[2]), (2, &[1]), (3, &[3, 1])]);
        order.sort_unstable();
        assert_eq!(order, [1, 2, 3]);
    }
}
