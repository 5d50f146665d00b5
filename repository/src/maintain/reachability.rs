//! Computes and writes reachability bitmaps: of all that refs point at, and of commits between, close together where
//! history is young and far apart where it is old. Those that were computed before are taken over as they are.
//!
//! Commits are taken parents first. A bitmap starts from those of the nearest commits that have one; between them and it
//! each commit's tree is laid beside its parent's, so that the work is that of all differences together. Everything is
//! counted in the bits of the multi-pack index.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use slipway_core::Oid;

use super::changes::{Change, each_change};
use super::earlier::Earlier;
use super::{combine::durable, go_on};
use crate::bits::Bits;
use crate::error::{RepoError, Result};
use crate::formats::{BitmapHead, BitmapWriter, Broken, Ewah, REUSABLE, ewah_encode};
use crate::graph::{Commit, Node};
use crate::limits::{BITMAP_OLD_SPACE, BITMAP_TIPS_MAX, BITMAP_YOUNG_COMMITS, BITMAP_YOUNG_SPACE};
use crate::object::Kind;
use crate::packs::{JointIndex, PackSet};
use crate::snapshot::Snapshot;

/// Bitmaps in the making.
pub(super) struct Reachability<'a> {
    snapshot: &'a Snapshot,
    packs: Arc<PackSet>,
    index: Arc<JointIndex>,
    /// The bit of each position of the index.
    bit_of: Vec<u32>,
    earlier: Option<Earlier<'a>>,
    stop: &'a AtomicBool,
}

/// A commit with a bitmap: its node, its position in the index, and what it reaches, compressed.
struct Made {
    position: u32,
    bits: Vec<u8>,
}

impl<'a> Reachability<'a> {
    /// Over packs that have a multi-pack index. Bitmaps over `before`, packs of the snapshot, are used again.
    pub(super) fn new(
        snapshot: &'a Snapshot,
        packs: &Arc<PackSet>,
        before: Option<&'a PackSet>,
        stop: &'a AtomicBool,
    ) -> Result<Self> {
        let lost = || RepoError::Invalid { what: "bitmaps need a multi-pack index".into() };
        let index = packs.index().ok_or_else(lost)?.clone();
        let mut bit_of = vec![0; index.file.count() as usize];
        for bit in 0..index.file.count() {
            let place = index.file.position_of_bit(bit).and_then(|p| bit_of.get_mut(p as usize));
            *place.ok_or_else(lost)? = bit;
        }
        let earlier = match before {
            Some(before) => Earlier::new(snapshot, before, &index, &bit_of, stop)?,
            None => None,
        };
        Ok(Self { snapshot, packs: packs.clone(), index, bit_of, earlier, stop })
    }

    /// Computes and writes them; false, and no file, if no commit can have one.
    pub(super) fn write(&self, path: &Path, sum: &[u8]) -> Result<bool> {
        let order = self.parents_first()?;
        let chosen = self.choose(&order)?;
        let made = self.make(&order, &chosen)?;
        if made.is_empty() {
            return Ok(false);
        }
        let kinds = self.kinds()?;
        let head = BitmapHead {
            objects: self.index.file.count(),
            bitmaps: made.len() as u32,
            checksum: sum,
            name_hashes: false,
        };
        durable(path, |out| {
            let kinds = [&kinds[0], &kinds[1], &kinds[2], &kinds[3]];
            let mut writer = BitmapWriter::start(out, &head, kinds)?;
            for one in &made {
                let bits = self.decode(&one.bits).map_err(std::io::Error::other)?;
                writer.push(one.position, bits, REUSABLE)?;
            }
            writer.finish(std::iter::empty()).map(drop)
        })?;
        Ok(true)
    }

    fn decode(&self, raw: &[u8]) -> Result<Bits, Broken> {
        Ewah::parse(raw, self.index.file.count())?.0.decode()
    }

    /// All commits that refs reach, each behind its parents.
    fn parents_first(&self) -> Result<Vec<Node>> {
        let (graph, snapshot) = (self.snapshot.graph(), self.snapshot);
        let (mut seen, mut order) = (Bits::default(), Vec::new());
        for tip in &snapshot.roots()?.commits {
            let Some(tip) = graph.find(snapshot, tip)? else { continue };
            let mut open: Vec<(Node, Commit, usize)> = Vec::new();
            if seen.put(tip as usize) {
                open.push((tip, graph.commit(snapshot, tip)?, 0));
            }
            while let Some((node, commit, next)) = open.last_mut() {
                match commit.parents.get(*next) {
                    Some(&parent) => {
                        *next += 1;
                        if seen.put(parent as usize) {
                            open.push((parent, graph.commit(snapshot, parent)?, 0));
                        }
                    }
                    None => {
                        order.push(*node);
                        open.pop();
                    }
                }
            }
            go_on(self.stop)?;
        }
        Ok(order)
    }

    /// Which commits get bitmaps.
    fn choose(&self, order: &[Node]) -> Result<HashSet<Node>> {
        let mut tips = Vec::new();
        for tip in &self.snapshot.roots()?.commits {
            if let Some(node) = self.snapshot.graph().find(self.snapshot, tip)? {
                tips.push((self.snapshot.graph().commit(self.snapshot, node)?.date, node));
            }
        }
        tips.sort_unstable_by(|a, b| b.cmp(a));
        tips.dedup();
        let mut chosen: HashSet<Node> =
            tips.into_iter().take(BITMAP_TIPS_MAX).map(|(_, node)| node).collect();
        // Those that have one are preferred: where a commit counts from moves with every push.
        let mut since = 0;
        for (age, node) in order.iter().rev().enumerate() {
            let space = if age < BITMAP_YOUNG_COMMITS { BITMAP_YOUNG_SPACE } else { BITMAP_OLD_SPACE };
            since += 1;
            let has_one = || self.earlier.as_ref().is_some_and(|e| e.has(&self.snapshot.graph().id(*node)));
            if since >= space || (since >= space / 2 && has_one()) {
                chosen.insert(*node);
                since = 0;
            }
        }
        Ok(chosen)
    }

    /// The bitmaps of the chosen commits whose objects are all covered by the index.
    fn make(&self, order: &[Node], chosen: &HashSet<Node>) -> Result<Vec<Made>> {
        let turn: HashMap<Node, u32> = order.iter().copied().zip(0..).collect();
        let mut numbers: HashMap<Node, usize> = HashMap::new();
        let mut made: Vec<Made> = Vec::new();
        for node in order.iter().filter(|node| chosen.contains(node)) {
            go_on(self.stop)?;
            let Some(position) = self.position(&self.snapshot.graph().id(*node)) else { continue };
            let earlier = self.earlier.as_ref().and_then(|e| e.reach(&self.snapshot.graph().id(*node)));
            let bits = match earlier {
                Some(bits) => bits,
                None => {
                    let mut bits = Bits::with_len(self.bit_of.len());
                    let mut between = self.between(*node, &numbers, &made, &mut bits)?;
                    between.sort_unstable_by_key(|(node, _)| turn.get(node).copied());
                    if !self.fill(&between, &mut bits)? {
                        continue;
                    }
                    bits
                }
            };
            numbers.insert(*node, made.len());
            made.push(Made { position, bits: ewah_encode(&bits, self.index.file.count()) });
        }
        Ok(made)
    }

    /// Walks from a commit to those that have bitmaps, whose bits are put in; gives the commits on the way.
    fn between(
        &self,
        node: Node,
        numbers: &HashMap<Node, usize>,
        made: &[Made],
        bits: &mut Bits,
    ) -> Result<Vec<(Node, Commit)>> {
        let (mut seen, mut open, mut found) = (HashSet::from([node]), vec![node], Vec::new());
        while let Some(node) = open.pop() {
            if let Some(number) = numbers.get(&node) {
                let broken = |e: Broken| RepoError::Invalid { what: format!("a bitmap: {e}") };
                let (stored, _) =
                    Ewah::parse(&made[*number].bits, self.index.file.count()).map_err(broken)?;
                stored.or_into(bits).map_err(broken)?;
                continue;
            }
            let commit = self.snapshot.graph().commit(self.snapshot, node)?;
            open.extend(commit.parents.iter().filter(|parent| seen.insert(**parent)));
            found.push((node, commit));
        }
        Ok(found)
    }

    /// Puts commits and what their trees hold in, parents first; false if something is not covered by the index.
    fn fill(&self, commits: &[(Node, Commit)], bits: &mut Bits) -> Result<bool> {
        let (graph, snapshot) = (self.snapshot.graph(), self.snapshot);
        for (node, commit) in commits {
            go_on(self.stop)?;
            match self.put(&graph.id(*node), bits) {
                None => return Ok(false),
                Some(false) => continue,
                Some(true) => {}
            }
            let beside = match commit.parents.first() {
                Some(parent) => Some(graph.commit(snapshot, *parent)?.tree),
                None => None,
            };
            let mut covered = true;
            each_change(snapshot, beside.as_ref(), &commit.tree, &mut |change| {
                let Change::Added { id, .. } = change else { return Ok(false) };
                match self.put(id, bits) {
                    Some(new) => Ok(new),
                    None => {
                        covered = false;
                        Ok(false)
                    }
                }
            })?;
            if !covered {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn position(&self, id: &Oid) -> Option<u32> {
        self.index.file.find(id.as_bytes()).ok()?.map(|found| found.position)
    }

    /// Puts an object in; `None` if the index does not have it, false if it was in.
    fn put(&self, id: &Oid, bits: &mut Bits) -> Option<bool> {
        let bit = *self.bit_of.get(self.position(id)? as usize)?;
        Some(bits.put(bit as usize))
    }

    /// The bits of all commits, trees, blobs and tags.
    fn kinds(&self) -> Result<[Bits; 4]> {
        let known = self.earlier.as_ref().and_then(|earlier| {
            let kind = |kind| earlier.kind(kind);
            Some([kind(Kind::Commit)?, kind(Kind::Tree)?, kind(Kind::Blob)?, kind(Kind::Tag)?])
        });
        let told = |pack| known.is_some() && self.earlier.as_ref().is_some_and(|e| e.covers(pack));
        let packs = self.packs.packs().iter().enumerate();
        let fresh: Vec<_> = packs.filter(|(_, pack)| !told(pack)).collect();
        let mut kinds = known.unwrap_or_else(|| std::array::from_fn(|_| Bits::with_len(self.bit_of.len())));
        for (number, pack) in fresh {
            go_on(self.stop)?;
            let of = pack.kinds(self.stop)?;
            for (rank, kind) in of.iter().enumerate() {
                let position = pack.at_rank(rank);
                let found = self.index.file.find(pack.id_at(position).as_bytes());
                let Ok(Some(found)) = found else { continue };
                if found.pack as usize != number {
                    continue;
                }
                let slot = match kind {
                    Kind::Commit => 0,
                    Kind::Tree => 1,
                    Kind::Blob => 2,
                    Kind::Tag => 3,
                };
                if let Some(bit) = self.bit_of.get(found.position as usize) {
                    kinds[slot].put(*bit as usize);
                }
            }
        }
        Ok(kinds)
    }
}
