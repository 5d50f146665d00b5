//! What upload-pack asks before it sends: whether enough is in common, and where a shallow answer ends.

use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};

use slipway_core::Oid;

use crate::error::Result;
use crate::graph::{Graph, Node};
use crate::limits::PEEL_DEPTH_MAX;
use crate::links::tag_target;
use crate::object::Kind;
use crate::snapshot::Snapshot;

/// How far back a shallow answer goes.
#[derive(Clone, Debug, Default)]
pub struct Deepen {
    /// So many commits from each want, itself counted. From 2³¹-1 on: all of them.
    pub depth: Option<u32>,
    /// No commits before this time, in seconds since 1970.
    pub since: Option<i64>,
    /// No commits that these reach.
    pub not: Vec<Oid>,
    /// Depth counts from the client's boundary.
    pub relative: bool,
}

/// How the client's boundary moves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShallowAnswer {
    /// Commits whose parents the client will not have, and of which it does not know that yet.
    pub shallow: Vec<Oid>,
    /// Commits of the client's boundary whose parents it will have.
    pub unshallow: Vec<Oid>,
}

/// git's word for "all of it".
const DEPTH_INFINITE: u32 = 0x7fff_ffff;

impl Snapshot {
    /// True if every want is a descendant of (or is) some common commit: negotiation may end. Wants that are no commits
    /// do not count.
    pub fn is_ready(&self, wants: &[Oid], common: &[Oid]) -> Result<bool> {
        let mut graph = self.graph();
        let mut targets = HashSet::new();
        let mut oldest = i64::MAX;
        for id in common {
            if let Some(node) = self.commit_of(&mut graph, id)? {
                targets.insert(node);
                oldest = oldest.min(graph.date(node));
            }
        }
        if targets.is_empty() {
            return Ok(false);
        }
        for want in wants {
            if let Some(node) = self.commit_of(&mut graph, want)?
                && !self.reaches(&mut graph, node, &targets, oldest)?
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Looks for one of `targets` among the ancestors, no further back than `oldest`: where clocks ran backwards the
    /// answer may be no, which costs another round and nothing else.
    fn reaches(&self, graph: &mut Graph, from: Node, targets: &HashSet<Node>, oldest: i64) -> Result<bool> {
        let mut seen = HashSet::from([from]);
        let mut queue = BinaryHeap::from([(graph.date(from), from)]);
        while let Some((date, node)) = queue.pop() {
            if targets.contains(&node) {
                return Ok(true);
            }
            if date < oldest {
                continue;
            }
            for i in 0..graph.parents(node).len() {
                let parent = graph.parents(node)[i];
                if seen.insert(parent) {
                    graph.load(self, parent)?;
                    queue.push((graph.date(parent), parent));
                }
            }
        }
        Ok(false)
    }

    /// The commit that the id leads to, tags followed; `None` if it leads to none.
    pub(crate) fn commit_of(&self, graph: &mut Graph, id: &Oid) -> Result<Option<Node>> {
        let mut id = *id;
        for _ in 0..PEEL_DEPTH_MAX {
            if let Some(node) = graph.find(self, &id)? {
                return Ok(Some(node));
            }
            match self.object_size(&id)? {
                Some((Kind::Tag, _)) => {}
                _ => return Ok(None),
            }
            let tag = self.object(&id, crate::limits::LINKED_OBJECT_BYTES_MAX)?;
            match tag.and_then(|tag| tag_target(&tag.data)) {
                Some((target, _)) => id = target,
                None => return Ok(None),
            }
        }
        Ok(None)
    }

    /// The boundary of a shallow answer. `client` is the client's boundary now.
    pub fn shallow(&self, wants: &[Oid], client: &[Oid], deepen: &Deepen) -> Result<ShallowAnswer> {
        let mut reached = Vec::new();
        if deepen.relative {
            // git counts from every commit of the boundary that some ref reaches, wanted or not.
            for id in client {
                if self.is_visible(id)? {
                    reached.push(*id);
                }
            }
        }
        let mut graph = self.graph();
        let nodes = |graph: &mut Graph, ids: &[Oid]| -> Result<Vec<Node>> {
            let mut found = Vec::with_capacity(ids.len());
            for id in ids {
                found.extend(self.commit_of(graph, id)?);
            }
            Ok(found)
        };
        let heads = nodes(&mut graph, wants)?;
        let boundary = nodes(&mut graph, client)?;
        let (shallow, inside) = match deepen.depth {
            Some(DEPTH_INFINITE..) => {
                return Ok(ShallowAnswer { shallow: Vec::new(), unshallow: client.to_vec() });
            }
            Some(depth) if deepen.relative => {
                let reached = nodes(&mut graph, &reached)?;
                if boundary.is_empty() {
                    self.by_depth(&mut graph, &heads, depth)?
                } else {
                    self.by_depth(&mut graph, &reached, depth.saturating_add(1))?
                }
            }
            Some(depth) => self.by_depth(&mut graph, &heads, depth)?,
            None => self.by_exclusion(&mut graph, &heads, deepen)?,
        };
        let known: HashSet<Node> = boundary.iter().copied().collect();
        let mut answer = ShallowAnswer::default();
        answer.shallow.extend(shallow.iter().filter(|n| !known.contains(n)).map(|n| graph.id(*n)));
        answer.unshallow.extend(boundary.iter().filter(|n| inside.contains(n)).map(|n| graph.id(*n)));
        Ok(answer)
    }

    /// Those at the depth (the wants have depth 1), and those before it.
    fn by_depth(&self, graph: &mut Graph, heads: &[Node], depth: u32) -> Result<(Vec<Node>, HashSet<Node>)> {
        let mut depths: HashMap<Node, u32> = HashMap::new();
        let mut queue = VecDeque::new();
        for &head in heads {
            if depths.insert(head, 1).is_none() {
                queue.push_back(head);
            }
        }
        let (mut shallow, mut inside) = (Vec::new(), HashSet::new());
        // Breadth first, so that the first visit is the shortest way.
        while let Some(node) = queue.pop_front() {
            let at = depths[&node];
            if at >= depth {
                shallow.push(node);
                continue;
            }
            inside.insert(node);
            for i in 0..graph.parents(node).len() {
                let parent = graph.parents(node)[i];
                graph.load(self, parent)?;
                depths.entry(parent).or_insert_with(|| {
                    queue.push_back(parent);
                    at + 1
                });
            }
        }
        Ok((shallow, inside))
    }

    /// By age and by what other commits reach: the boundary is every commit that is in and has a parent that is not.
    fn by_exclusion(
        &self,
        graph: &mut Graph,
        heads: &[Node],
        deepen: &Deepen,
    ) -> Result<(Vec<Node>, HashSet<Node>)> {
        let mut excluded = HashSet::new();
        let mut open = Vec::new();
        for id in &deepen.not {
            open.extend(self.commit_of(graph, id)?);
        }
        while let Some(node) = open.pop() {
            if excluded.insert(node) {
                for i in 0..graph.parents(node).len() {
                    let parent = graph.parents(node)[i];
                    graph.load(self, parent)?;
                    open.push(parent);
                }
            }
        }
        let is_in = |graph: &Graph, node: Node| {
            !excluded.contains(&node) && deepen.since.is_none_or(|since| graph.date(node) >= since)
        };
        let mut inside = HashSet::new();
        let mut order = Vec::new();
        open.extend(heads);
        while let Some(node) = open.pop() {
            if !is_in(graph, node) || !inside.insert(node) {
                continue;
            }
            order.push(node);
            for i in 0..graph.parents(node).len() {
                let parent = graph.parents(node)[i];
                graph.load(self, parent)?;
                open.push(parent);
            }
        }
        let mut shallow = Vec::new();
        for node in order {
            if graph.parents(node).iter().any(|p| !inside.contains(p)) {
                shallow.push(node);
            }
        }
        for node in &shallow {
            inside.remove(node);
        }
        Ok((shallow, inside))
    }
}
