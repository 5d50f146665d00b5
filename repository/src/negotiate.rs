//! What upload-pack asks before it sends: whether enough is in common, and where a shallow answer ends.

use std::collections::{HashMap, HashSet, VecDeque};

use slipway_core::Oid;

use crate::error::{RepoError, Result};
use crate::graph::Node;
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

/// A search for commits that lead to what both sides have. Each commit is looked at once, whatever the number of wants.
struct Search<'a> {
    snapshot: &'a Snapshot,
    /// Leads there.
    found: HashSet<Node>,
    seen: HashSet<Node>,
    /// Dates before this are not followed.
    oldest: i64,
}

impl Search<'_> {
    fn leads_there(&mut self, start: Node) -> Result<bool> {
        let graph = self.snapshot.graph();
        if self.found.contains(&start) {
            return Ok(true);
        }
        if !self.seen.insert(start) {
            return Ok(false);
        }
        // The way down from the start, and for each commit on it which parent comes next.
        let mut way = vec![(start, graph.commit(self.snapshot, start)?.parents, 0)];
        while let Some((_, parents, next)) = way.last_mut() {
            let Some(&parent) = parents.get(*next) else {
                way.pop();
                continue;
            };
            *next += 1;
            if self.found.contains(&parent) {
                self.found.extend(way.iter().map(|(node, ..)| *node));
                return Ok(true);
            }
            if self.seen.insert(parent) {
                let commit = graph.commit(self.snapshot, parent)?;
                if commit.date >= self.oldest {
                    way.push((parent, commit.parents, 0));
                }
            }
        }
        Ok(false)
    }
}

/// git's word for "all of it".
const DEPTH_INFINITE: u32 = 0x7fff_ffff;

impl Snapshot {
    /// True if every want leads to a common commit, or to a parent of one, no further back than the oldest of them:
    /// negotiation may end. Where clocks ran backwards the answer may be no, which costs another round and nothing else.
    /// Wants that are no commits do not count.
    pub fn is_ready(&self, wants: &[Oid], common: &[Oid]) -> Result<bool> {
        let graph = self.graph();
        let mut search =
            Search { snapshot: self, found: HashSet::new(), seen: HashSet::new(), oldest: i64::MAX };
        for id in common {
            if let Some(node) = self.commit_of(id)? {
                let commit = graph.commit(self, node)?;
                search.oldest = search.oldest.min(commit.date);
                search.found.insert(node);
                search.found.extend(commit.parents.iter());
            }
        }
        if search.found.is_empty() {
            return Ok(false);
        }
        let mut starts = Vec::new();
        for want in wants {
            if let Some(node) = self.commit_of(want)? {
                starts.push((graph.commit(self, node)?.date, node));
            }
        }
        // The oldest first, as in git: where clocks ran backwards the younger ones may need what is found on the way.
        starts.sort_unstable();
        for (_, node) in starts {
            if !search.leads_there(node)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The commit that the id leads to, tags followed; `None` if it leads to none.
    pub(crate) fn commit_of(&self, id: &Oid) -> Result<Option<Node>> {
        let mut id = *id;
        for _ in 0..PEEL_DEPTH_MAX {
            if let Some(node) = self.graph().find(self, &id)? {
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
    ///
    /// # Errors
    /// [`RepoError::NothingSelected`] if no wanted commit is young enough and not excluded.
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
        let graph = self.graph();
        let nodes = |ids: &[Oid]| -> Result<Vec<Node>> {
            let mut found = Vec::with_capacity(ids.len());
            for id in ids {
                found.extend(self.commit_of(id)?);
            }
            Ok(found)
        };
        let heads = nodes(wants)?;
        let boundary = nodes(client)?;
        // Where the repository itself ends.
        let ends: HashSet<Node> = nodes(self.boundary())?.into_iter().collect();
        let (shallow, inside) = match deepen.depth {
            Some(DEPTH_INFINITE..) if ends.is_empty() => {
                return Ok(ShallowAnswer { shallow: Vec::new(), unshallow: client.to_vec() });
            }
            Some(depth) if deepen.relative => {
                let reached = nodes(&reached)?;
                if boundary.is_empty() {
                    self.by_depth(&heads, depth, &ends)?
                } else {
                    self.by_depth(&reached, depth.saturating_add(1), &ends)?
                }
            }
            Some(depth) => self.by_depth(&heads, depth, &ends)?,
            None => self.by_exclusion(&heads, deepen, &ends)?,
        };
        let known: HashSet<Node> = boundary.iter().copied().collect();
        let mut answer = ShallowAnswer::default();
        answer.shallow.extend(shallow.iter().filter(|n| !known.contains(n)).map(|n| graph.id(*n)));
        answer.unshallow.extend(boundary.iter().filter(|n| inside.contains(n)).map(|n| graph.id(*n)));
        Ok(answer)
    }

    /// Where an answer that is not to be cut ends all the same: where this repository's own history does. The client's
    /// boundary stays as it is.
    pub fn own_ends(&self, wants: &[Oid], client: &[Oid]) -> Result<ShallowAnswer> {
        let (mut heads, mut ends) = (Vec::new(), HashSet::new());
        for id in wants {
            heads.extend(self.commit_of(id)?);
        }
        for id in self.boundary().iter().chain(client) {
            ends.extend(self.commit_of(id)?);
        }
        let (shallow, _) = self.by_depth(&heads, u32::MAX, &ends)?;
        let mut shallow: Vec<Oid> = shallow.into_iter().map(|node| self.graph().id(node)).collect();
        shallow.retain(|id| !client.contains(id));
        Ok(ShallowAnswer { shallow, unshallow: Vec::new() })
    }

    /// Those at the depth (the wants have depth 1) or at the `ends`, and those before them.
    fn by_depth(
        &self,
        heads: &[Node],
        depth: u32,
        ends: &HashSet<Node>,
    ) -> Result<(Vec<Node>, HashSet<Node>)> {
        let graph = self.graph();
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
            if at >= depth || ends.contains(&node) {
                shallow.push(node);
                continue;
            }
            inside.insert(node);
            for &parent in graph.commit(self, node)?.parents.iter() {
                depths.entry(parent).or_insert_with(|| {
                    queue.push_back(parent);
                    at + 1
                });
            }
        }
        Ok((shallow, inside))
    }

    /// By age and by what other commits reach: the boundary is every commit that is in and has a parent that is not, or
    /// that is one of the `ends`.
    fn by_exclusion(
        &self,
        heads: &[Node],
        deepen: &Deepen,
        ends: &HashSet<Node>,
    ) -> Result<(Vec<Node>, HashSet<Node>)> {
        let graph = self.graph();
        let mut excluded = HashSet::new();
        let mut open = Vec::new();
        for id in &deepen.not {
            open.extend(self.commit_of(id)?);
        }
        while let Some(node) = open.pop() {
            if excluded.insert(node) {
                open.extend(graph.commit(self, node)?.parents.iter());
            }
        }
        let mut inside = HashSet::new();
        let mut order = Vec::new();
        open.extend(heads);
        while let Some(node) = open.pop() {
            let commit = graph.commit(self, node)?;
            let is_in = !excluded.contains(&node) && deepen.since.is_none_or(|since| commit.date >= since);
            if !is_in || !inside.insert(node) {
                continue;
            }
            open.extend(commit.parents.iter());
            order.push((node, commit.parents));
        }
        if order.is_empty() {
            // An empty boundary would mean all of history.
            return Err(RepoError::NothingSelected);
        }
        let mut shallow = Vec::new();
        for (node, parents) in order {
            if ends.contains(&node) || parents.iter().any(|p| !inside.contains(p)) {
                shallow.push(node);
            }
        }
        for node in &shallow {
            inside.remove(node);
        }
        Ok((shallow, inside))
    }
}
