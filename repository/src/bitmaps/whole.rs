//! Whether bitmaps that somebody else wrote tell of all that a commit reaches. Those that git writes while a repository is
//! shallow end where its history ended then. They stay when the rest of it is fetched, git goes on from them when it packs
//! everything anew, and nothing in the file or beside it tells.
//!
//! So each is laid beside those of the commits below it, parents first, and beside the commits between. Only commits are
//! looked at: at the end of a shallow history the trees are whole. Costs one walk over the commits, once a file (`looks.rs`).

use std::collections::{BinaryHeap, HashMap, HashSet};

use slipway_core::Oid;

use super::Bitmaps;
use crate::bits::Bits;
use crate::error::{RepoError, Result};
use crate::formats::{Broken, Ewah, ewah_encode};
use crate::graph::{Graph, Node};
use crate::object::{Kind, Objects};
use crate::packs::PackSet;

/// A look at all bitmaps of a file.
struct Look<'a> {
    bitmaps: &'a Bitmaps,
    packs: &'a PackSet,
    graph: &'a Graph,
    objects: &'a dyn Objects,
    /// The bits of all commits.
    commits: Bits,
    /// The commits that have a bitmap, with its number.
    numbers: HashMap<Node, u32>,
    /// The commits that those reach which were found to be whole so far, compressed.
    whole: HashMap<Node, Vec<u8>>,
}

impl Bitmaps {
    /// False if the bitmap of some commit lacks a commit that it reaches.
    ///
    /// # Errors
    /// Bitmaps that are broken, and commits that cannot be read.
    pub(super) fn are_whole(&self, packs: &PackSet, graph: &Graph, objects: &dyn Objects) -> Result<bool> {
        let commits = self.kind(Kind::Commit).map_err(broken)?;
        let mut numbers = HashMap::new();
        for number in 0..self.len() {
            let position = self.file.position(number);
            let id = position.and_then(|at| self.id(packs, at)).and_then(Oid::from_bytes);
            let id = id.ok_or_else(|| broken(Broken("its commit is not there")))?;
            if let Some(node) = graph.find(objects, &id)? {
                numbers.insert(node, number);
            }
        }
        let mut look = Look { bitmaps: self, packs, graph, objects, commits, numbers, whole: HashMap::new() };
        for node in look.parents_first()? {
            if !look.is_whole(node)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Look<'_> {
    /// The commits that have bitmaps, each behind those that it reaches.
    fn parents_first(&self) -> Result<Vec<Node>> {
        let (mut seen, mut order) = (Bits::default(), Vec::new());
        for start in self.numbers.keys() {
            if !seen.put(*start as usize) {
                continue;
            }
            let mut open = vec![(*start, self.graph.commit(self.objects, *start)?.parents, 0)];
            while let Some((node, parents, next)) = open.last_mut() {
                let Some(&parent) = parents.get(*next) else {
                    order.extend(self.numbers.contains_key(node).then_some(*node));
                    open.pop();
                    continue;
                };
                *next += 1;
                if seen.put(parent as usize) {
                    open.push((parent, self.graph.commit(self.objects, parent)?.parents, 0));
                }
            }
        }
        Ok(order)
    }

    /// Looks at a commit's bitmap, those below it having been looked at.
    fn is_whole(&mut self, commit: Node) -> Result<bool> {
        let Some(number) = self.numbers.get(&commit) else { return Ok(true) };
        let mut reached = self.bitmaps.reach(*number).map_err(broken)?;
        reached.and(&self.commits);
        let mut needed = Bits::with_len(self.bitmaps.objects() as usize);
        let date = |node| self.graph.commit(self.objects, node).map(|commit| commit.date);
        let (mut seen, mut open) = (HashSet::from([commit]), BinaryHeap::from([(date(commit)?, commit)]));
        // Newest first: so a bitmap comes before the commits that it covers, and they are not walked to anew.
        while let Some((_, node)) = open.pop() {
            let position = self.bitmaps.position(self.packs, &self.graph.id(node));
            let bit = position.and_then(|position| self.bitmaps.bit(self.packs, position));
            // What has no bit is in no bitmap.
            let Some(bit) = bit else { return Ok(false) };
            if needed.has(bit) {
                continue;
            }
            if let Some(below) = self.whole.get(&node) {
                let (below, _) = Ewah::parse(below, self.bitmaps.objects()).map_err(broken)?;
                below.or_into(&mut needed).map_err(broken)?;
                continue;
            }
            needed.put(bit);
            for parent in self.graph.commit(self.objects, node)?.parents.iter() {
                if seen.insert(*parent) {
                    open.push((date(*parent)?, *parent));
                }
            }
        }
        // What it reaches, and not what the file says beyond that.
        self.whole.insert(commit, ewah_encode(&needed, self.bitmaps.objects()));
        needed.and_not(&reached);
        Ok(needed.is_empty())
    }
}

fn broken(e: Broken) -> RepoError {
    RepoError::Invalid { what: format!("a bitmap: {e}") }
}
