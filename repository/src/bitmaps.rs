//! Reachability bitmaps of one generation: what a commit reaches, looked up instead of walked to.
//!
//! They cover the packs of the multi-pack index, or one pack; commits that came since are walked, and only what is new
//! in them is looked at. Their numbers are the packs' own order; what leaves here is a set by place.

mod left_out;
mod looks;
mod whole;

pub(crate) use self::left_out::LeftOut;

pub(crate) use self::looks::Looks;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use slipway_core::Oid;

use crate::bits::Bits;
use crate::error::{RepoError, Result};
use crate::formats::{BitmapFile, Broken};
use crate::graph::{Graph, Node};
use crate::ids::Recent;
use crate::mapped::Mapped;
use crate::object::Kind;
use crate::pack::Pack;
use crate::packs::{JointIndex, PackSet, Place, gix_id};
use crate::reach::Marks;
use crate::snapshot::Snapshot;

/// The bitmaps of a set of packs.
pub(crate) struct Bitmaps {
    file: BitmapFile<Mapped>,
    cover: Cover,
    kinds: [OnceLock<Bits>; 4],
}

/// What the bits stand for.
enum Cover {
    /// The objects of the set's first pack.
    First,
    /// The objects of the multi-pack index.
    Joint(Arc<JointIndex>),
}

impl Bitmaps {
    /// Opens the bitmaps that belong to these packs; `None` if there are none, or (loudly) if they are broken.
    pub(crate) fn open(packs: &PackSet) -> Option<Self> {
        let first = packs.packs().first()?;
        let hash_len = first.hash_len();
        let (path, cover, count, checksum) = match packs.index() {
            Some(index) => {
                let checksum = index.file.checksum().to_vec();
                let name = format!("multi-pack-index-{}.bitmap", hex::encode(&checksum));
                (first.path().with_file_name(name), Cover::Joint(index.clone()), index.file.count(), checksum)
            }
            None => {
                let checksum = first.checksum().as_bytes().to_vec();
                (first.path().with_extension("bitmap"), Cover::First, first.count(), checksum)
            }
        };
        let data = Mapped::open(&path).ok()?;
        match BitmapFile::parse(data, hash_len, count) {
            Ok(file) if file.checksum() == checksum => Some(Self { file, cover, kinds: Default::default() }),
            Ok(_) => None,
            Err(e) => {
                tracing::warn!(path = %path.display(), "bitmaps are not used: {e}");
                None
            }
        }
    }

    /// How many commits have one.
    pub(crate) fn len(&self) -> u32 {
        self.file.len()
    }

    /// Reads all of the file to see whether its checksum is right.
    pub(crate) fn verify(&self) -> Result<(), Broken> {
        self.file.verify()
    }

    /// How many objects have a bit.
    pub(crate) fn objects(&self) -> u32 {
        match &self.cover {
            Cover::First => self.file.objects(),
            Cover::Joint(index) => index.file.count(),
        }
    }

    /// The id at a position of the index.
    pub(crate) fn id<'a>(&'a self, packs: &'a PackSet, position: u32) -> Option<&'a [u8]> {
        match &self.cover {
            Cover::First => {
                let first = packs.packs().first().filter(|pack| position < pack.count())?;
                Some(first.id_at(position).as_bytes())
            }
            Cover::Joint(index) => index.file.id(position),
        }
    }

    /// The number of the commit's bitmap.
    pub(crate) fn find(&self, packs: &PackSet, id: &Oid) -> Option<u32> {
        self.file.find(self.position(packs, id)?)
    }

    /// What the commit of that bitmap reaches, in the file's own bits.
    pub(crate) fn reach(&self, number: u32) -> Result<Bits, Broken> {
        self.file.reach(number)
    }

    /// All objects of that kind, in the file's own bits.
    pub(crate) fn kind(&self, kind: Kind) -> Result<Bits, Broken> {
        self.file.kind(kind)?.decode()
    }

    /// The same, kept.
    fn kept_kind(&self, kind: Kind) -> Result<&Bits, Broken> {
        let slot = &self.kinds[usize::from(kind.pack_code() - 1)];
        match slot.get() {
            Some(bits) => Ok(bits),
            None => self.kind(kind).map(|bits| slot.get_or_init(|| bits)),
        }
    }

    /// True if every object of the pack has a bit.
    pub(crate) fn covers(&self, packs: &PackSet, pack: &Arc<Pack>) -> bool {
        let is = |number: usize| packs.packs().get(number).is_some_and(|ours| Arc::ptr_eq(ours, pack));
        match &self.cover {
            Cover::First => is(0),
            Cover::Joint(index) => index.numbers.iter().any(|number| is(*number as usize)),
        }
    }

    /// The position in the index of the object, by which its bitmap is found.
    fn position(&self, packs: &PackSet, id: &Oid) -> Option<u32> {
        match &self.cover {
            Cover::First => packs.packs().first()?.lookup(&gix_id(id)),
            Cover::Joint(index) => index.file.find(id.as_bytes()).ok()?.map(|found| found.position),
        }
    }

    /// The bit that stands for the object at a position of the index.
    pub(crate) fn bit(&self, packs: &PackSet, position: u32) -> Option<usize> {
        match &self.cover {
            Cover::First => {
                let pack = packs.packs().first()?;
                pack.rank_of(pack.offset_at(position))
            }
            Cover::Joint(index) => index.file.bit_of_position(position).map(|bit| bit as usize),
        }
    }

    /// The set by place of what the bits stand for.
    fn marks(&self, packs: &PackSet, bits: &Bits) -> Result<Marks, Broken> {
        let mut marks = Marks::for_packs(packs);
        match &self.cover {
            Cover::First => {
                let count = packs.packs().first().map_or(0, |p| p.count() as usize);
                mark_pack(packs, 0, bits, 0..count, &mut marks);
            }
            Cover::Joint(index) => {
                for (pack, number) in (0u32..).zip(&index.numbers) {
                    let range = index.file.bits_of_pack(pack);
                    let range = range.ok_or(Broken("its bits cannot be told apart by packs"))?;
                    let range = range.start as usize..range.end as usize;
                    if Some(pack) == index.file.preferred_pack() {
                        mark_pack(packs, *number, bits, range, &mut marks);
                    } else {
                        mark_some(packs, index, *number, bits, range, &mut marks)?;
                    }
                }
            }
        }
        Ok(marks)
    }
}

/// The bits of a pack all of whose objects have one, in its own order.
fn mark_pack(packs: &PackSet, number: u32, bits: &Bits, range: std::ops::Range<usize>, marks: &mut Marks) {
    let (pack, ranks) = (&packs.packs()[number as usize], packs.ranks(number));
    if range.len() == ranks.len() && bits.all_set(range.start, range.end) {
        marks.put_ranks(ranks);
        return;
    }
    let first = range.start;
    for bit in bits.iter_in(range).take_while(|bit| bit - first < ranks.len()) {
        marks.put_rank(ranks.start + pack.at_rank(bit - first) as usize);
    }
}

/// The bits of a pack some of whose objects were taken from others: they are in its order, so both are walked together.
fn mark_some(
    packs: &PackSet,
    index: &JointIndex,
    number: u32,
    bits: &Bits,
    range: std::ops::Range<usize>,
    marks: &mut Marks,
) -> Result<(), Broken> {
    let (pack, ranks) = (&packs.packs()[number as usize], packs.ranks(number));
    let mut rank = 0;
    for bit in bits.iter_in(range) {
        let position = index.file.position_of_bit(bit as u32).ok_or(Broken("it has too few bits"))?;
        let offset = index.file.at(position)?.offset;
        while rank < ranks.len() && pack.offset_at(pack.at_rank(rank)) < offset {
            rank += 1;
        }
        if rank >= ranks.len() {
            return Err(Broken("it names an object that is not in its pack"));
        }
        marks.put_rank(ranks.start + pack.at_rank(rank) as usize);
    }
    Ok(())
}

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
        self.bitmaps.get_or_init(open).as_deref()
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
            let are_whole = bitmaps.are_whole(&packs, self);
            match &are_whole {
                Ok(true) => {}
                Ok(false) => {
                    tracing::warn!(%objects, "bitmaps from a time when history ended earlier are not used")
                }
                Err(e) => tracing::warn!(%objects, "bitmaps are not used: {e}"),
            }
            are_whole
        };
        let is_whole = self.recipes.looks.at(root, bitmaps.file.trailer(), look).unwrap_or(false);
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
