//! What bitmaps tell of a generation: everything that commits reach, and what of it a filter leaves out. Commits that came
//! since they were written are walked, and only what is new in them is looked at.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use slipway_core::Oid;

use super::{Bitmaps, LeftOut};
use crate::bits::Bits;
use crate::error::{RepoError, Result};
use crate::formats::Broken;
use crate::graph::{Graph, Node};
use crate::ids::Recent;
use crate::marks::Marks;
use crate::object::Kind;
use crate::packs::{PackSet, Place};
use crate::snapshot::Snapshot;

/// Everything that some commits reach, in the making.
struct Union<'a> {
    snapshot: &'a Snapshot,
    bitmaps: &'a Bitmaps,
    packs: Arc<PackSet>,
    bits: Bits,
    seen: Bits,
    /// Commits that have no bitmap and are in none so far.
    bare: Vec<Node>,
}

impl Union<'_> {
    fn graph(&self) -> &Graph {
        self.snapshot.graph()
    }

    /// True if what the commit reaches is in by now: it is in another's bitmap, or its own was put in.
    fn covered(&mut self, node: Node) -> Result<bool, Broken> {
        let id = self.graph().id(node);
        let Some(position) = self.bitmaps.position(&self.packs, &id) else { return Ok(false) };
        if self.bitmaps.bit(&self.packs, position).is_some_and(|bit| self.bits.has(bit)) {
            return Ok(true);
        }
        let Some(number) = self.bitmaps.file.find(position) else { return Ok(false) };
        self.bits.or(&self.bitmaps.file.reach(number)?);
        Ok(true)
    }
}

impl Snapshot {
    /// The bitmaps, if there are any.
    pub(crate) fn bitmaps(&self) -> Option<&Bitmaps> {
        // Those of a shallow repository may be from before it was one, or know nothing of what it has become since.
        let open = || self.graph.boundary().is_empty().then(|| self.open_bitmaps()).flatten();
        self.findings.bitmaps.get_or_init(open).as_deref()
    }

    /// Opens them; those of others only if they are whole.
    fn open_bitmaps(&self) -> Option<Arc<Bitmaps>> {
        let packs = self.packs.load();
        let bitmaps = Bitmaps::open(&packs)?;
        let root = self.objects.parent().unwrap_or(&self.objects);
        if crate::maintain::record::wrote_bitmaps(root, bitmaps.file.checksum()) {
            return Some(Arc::new(bitmaps));
        }
        let objects = self.objects.display();
        let look = || {
            let are_whole = bitmaps.are_whole(&packs, &self.graph, self);
            match &are_whole {
                Ok(true) => {}
                Ok(false) => {
                    tracing::warn!(%objects, "bitmaps from a time when history ended earlier are not used")
                }
                Err(e) => tracing::warn!(%objects, "bitmaps are not used: {e}"),
            }
            are_whole
        };
        let is_whole =
            self.findings.answers.recipes.looks.at(root, bitmaps.file.trailer(), look).unwrap_or(false);
        is_whole.then(|| Arc::new(bitmaps))
    }

    /// Everything that the commits reach, by bitmaps as far as there are any; `None` if there are none, or broken ones.
    /// `stop` is looked at between commits.
    pub(crate) fn reach_of(&self, commits: &[Oid], stop: &AtomicBool) -> Result<Option<Marks>> {
        let Some(bitmaps) = self.bitmaps() else { return Ok(None) };
        let mut union = Union {
            snapshot: self,
            bitmaps,
            packs: self.packs.load_full(),
            bits: Bits::default(),
            seen: Bits::default(),
            bare: Vec::new(),
        };
        let found = union.gather(commits, stop)?;
        let Union { packs, bits, bare, .. } = union;
        let marks = match found.and_then(|()| bitmaps.marks(&packs, &bits)) {
            Ok(marks) => marks,
            Err(e) => {
                tracing::warn!(objects = %self.objects.display(), "bitmaps are not used: {e}");
                return Ok(None);
            }
        };
        let mut marks = marks;
        let mut recent = Recent::default();
        for node in bare {
            if stop.load(Ordering::Relaxed) {
                return Err(RepoError::Stopped);
            }
            // A bitmap that came later in the walk may have brought it.
            if marks.put(&self.packs.load(), &self.graph().id(node)) {
                let tree = self.graph().commit(self, node)?.tree;
                self.mark_tree(&tree, &mut marks, &mut recent)?;
            }
        }
        Ok(Some(marks))
    }

    /// Takes out of a set what a filter leaves out; false if there are no bitmaps to tell it by.
    ///
    /// # Errors
    /// Where objects cannot be read; [`RepoError::Stopped`] once `stop` is set.
    pub(crate) fn leave_out(&self, out: &LeftOut, marks: &mut Marks, stop: &AtomicBool) -> Result<bool> {
        let Some(bitmaps) = self.bitmaps() else { return Ok(false) };
        let packs = self.packs.load_full();
        let all = |kind: Kind| bitmaps.kept_kind(kind).and_then(|bits| bitmaps.marks(&packs, bits));
        for kind in &out.kinds {
            match all(*kind) {
                Ok(all) => marks.remove(&all),
                Err(_) => return Ok(false),
            }
        }
        let by_size = out.blobs_from < u64::MAX && !out.kinds.contains(&Kind::Blob);
        if by_size {
            let Ok(blobs) = all(Kind::Blob) else { return Ok(false) };
            let is_small = |place: Place| Ok(packs.header(place)?.1 < out.blobs_from);
            marks.try_retain(
                &packs,
                &|pack| bitmaps.covers(&packs, pack),
                stop,
                &mut |found| match found {
                    Ok(place) if blobs.has_place(&packs, place) => is_small(place),
                    _ => Ok(true),
                },
            )?;
        }
        // What came since has no bits.
        let stays = |(kind, size): (Kind, u64)| {
            !out.kinds.contains(&kind) && (kind != Kind::Blob || size < out.blobs_from)
        };
        if by_size || !out.kinds.is_empty() {
            marks.try_retain(
                &packs,
                &|pack| !bitmaps.covers(&packs, pack),
                stop,
                &mut |found| match found {
                    Ok(place) => packs.header(place).map(stays),
                    Err(id) => Ok(self.object_size(id)?.is_none_or(stays)),
                },
            )?;
        }
        Ok(true)
    }
}

impl Union<'_> {
    /// Walks from the commits to such as have bitmaps.
    fn gather(&mut self, commits: &[Oid], stop: &AtomicBool) -> Result<Result<(), Broken>> {
        let mut starts = Vec::with_capacity(commits.len());
        for id in commits {
            if let Some(node) = self.snapshot.commit_of(id)? {
                starts.push((self.graph().commit(self.snapshot, node)?.date, node));
            }
        }
        // The newest first: nearly always it reaches nearly all the others.
        starts.sort_unstable_by_key(|start| std::cmp::Reverse(*start));
        for (_, node) in starts {
            if self.seen.has(node as usize) {
                continue;
            }
            let mut open = vec![node];
            while let Some(node) = open.pop() {
                if stop.load(Ordering::Relaxed) {
                    return Err(RepoError::Stopped);
                }
                if !self.seen.put(node as usize) {
                    continue;
                }
                match self.covered(node) {
                    Ok(true) => {}
                    Ok(false) => {
                        self.bare.push(node);
                        let commit = self.graph().commit(self.snapshot, node)?;
                        open.extend(commit.parents.iter());
                    }
                    Err(e) => return Ok(Err(e)),
                }
            }
        }
        Ok(Ok(()))
    }
}
