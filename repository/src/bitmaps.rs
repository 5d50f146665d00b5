//! Reachability bitmaps of a set of packs: what a commit reaches, looked up instead of walked to.
//!
//! They cover the packs of the multi-pack index, or one pack. Their numbers are the packs' own order; what leaves here is
//! a set by place. What they tell of a generation, whose newest commits have none, is in `told.rs`.

mod left_out;
mod looks;
mod told;
mod whole;

pub(crate) use self::left_out::LeftOut;
pub(crate) use self::looks::Looks;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use slipway_core::Oid;

use crate::bits::Bits;
use crate::error::{RepoError, Result};
use crate::formats::{BitmapFile, Broken};
use crate::mapped::Mapped;
use crate::marks::Marks;
use crate::object::Kind;
use crate::pack::Pack;
use crate::packs::{JointIndex, PackSet, gix_id};

/// The bitmaps of a set of packs.
pub(crate) struct Bitmaps {
    file: BitmapFile<Mapped>,
    bytes: Mapped,
    path: PathBuf,
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
        match BitmapFile::parse(data.clone(), hash_len, count) {
            Ok(file) if file.checksum() == checksum => {
                Some(Self { file, bytes: data, path, cover, kinds: Default::default() })
            }
            Ok(_) => None,
            Err(e) => {
                tracing::warn!(path = %path.display(), "bitmaps are not used: {e}");
                None
            }
        }
    }

    /// True if some of the file cannot be read.
    pub(crate) fn is_lost(&self) -> bool {
        self.bytes.is_lost()
    }

    /// The error for a file of which some cannot be read.
    pub(crate) fn unreadable(&self) -> RepoError {
        RepoError::BrokenPack { path: self.path.clone(), why: "some of it cannot be read".into() }
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
