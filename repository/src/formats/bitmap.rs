//! Reachability bitmaps, `.bitmap` version 1 (git's bitmap-format): for some commits, which objects each reaches.
//!
//! Bits number the objects of a pack by offset, or those of a multi-pack index in pseudo-pack order; commits are named by
//! their position in the index. Most bitmaps are stored as what differs from another one. With a lookup table, opening
//! costs the same whatever the file's size; without one, the heads of all bitmaps are read once.

use std::ops::{Deref, Range};

use super::checksum::verify;
use super::{Broken, Ewah, u32_at, u64_at};
use crate::bits::Bits;
use crate::limits::BITMAP_CHAIN_MAX;
use crate::object::Kind;

pub(super) const FULL_DAG: u16 = 1;
pub(super) const HASH_CACHE: u16 = 4;
pub(super) const LOOKUP_TABLE: u16 = 0x10;
pub(super) const PSEUDO_MERGES: u16 = 0x20;
pub(super) const LOOKUP_ROW_BYTES: usize = 16;
/// In a lookup table: this bitmap is stored whole.
pub(super) const WHOLE: u32 = u32::MAX;
/// Position, distance of the base, flags.
const ENTRY_HEAD_BYTES: usize = 6;
/// A bitmap can be stored as what differs from one of so many before it.
const BASE_DISTANCE_MAX: u8 = 160;

/// A file of bitmaps, open.
pub(crate) struct BitmapFile<D> {
    data: D,
    hash_len: usize,
    objects: u32,
    /// Where the bitmaps of the four kinds are: commits, trees, blobs, tags.
    kinds: [usize; 4],
    /// Where the bitmaps of commits, and pseudo-merges, are.
    entries: Range<usize>,
    names_at: Option<usize>,
    rows: Rows,
}

/// Where each bitmap is, by the position of its commit.
enum Rows {
    /// In the file: this many rows from here on.
    Stored { at: usize, count: u32 },
    /// Found by reading the heads.
    Read(Vec<Row>),
}

#[derive(Clone, Copy)]
struct Row {
    position: u32,
    /// The row of the bitmap that this one differs from, or [`WHOLE`].
    base: u32,
    offset: u64,
}

/// A bitmap as it is stored.
pub(crate) struct Stored<'a> {
    /// 1: it may be used again when the file is written anew.
    pub(crate) flags: u8,
    /// The bitmap whose difference from this one is stored, if it is not stored whole.
    pub(crate) base: Option<u32>,
    /// Where it is in the file, in bytes: bitmaps build on those before them only, so in this order bases come first.
    pub(crate) offset: u64,
    pub(crate) bits: Ewah<'a>,
}

impl<D: Deref<Target = [u8]>> BitmapFile<D> {
    /// Opens the bitmaps of a pack or of a multi-pack index of so many objects.
    pub(crate) fn parse(data: D, hash_len: usize, objects: u32) -> Result<Self, Broken> {
        const SHORT: Broken = Broken("it is too short");
        let head: &[u8; 12] = data.first_chunk().ok_or(SHORT)?;
        if !head.starts_with(b"BITM\0\x01") {
            return Err(Broken("it is not a file of bitmaps of version 1"));
        }
        let flags = u16::from_be_bytes([head[6], head[7]]);
        if flags & FULL_DAG == 0 || flags & !(FULL_DAG | HASH_CACHE | LOOKUP_TABLE | PSEUDO_MERGES) != 0 {
            return Err(Broken("it has options that are not known here"));
        }
        let count = u32::from_be_bytes([head[8], head[9], head[10], head[11]]);
        let mut end = data.len().checked_sub(hash_len).ok_or(SHORT)?;
        let mut cut = |len: u64| {
            end = end.checked_sub(usize::try_from(len).ok()?)?;
            Some(end)
        };
        let names_at = match flags & HASH_CACHE {
            0 => None,
            _ => Some(cut(u64::from(objects) * 4).ok_or(SHORT)?),
        };
        let table_at = match flags & LOOKUP_TABLE {
            0 => None,
            _ => Some(cut(u64::from(count) * LOOKUP_ROW_BYTES as u64).ok_or(SHORT)?),
        };
        let mut kinds = [0; 4];
        let mut at = 12 + hash_len;
        for kind in &mut kinds {
            *kind = at;
            at += Ewah::parse(data.get(at..end).ok_or(SHORT)?, objects)?.1;
        }
        let rows = match table_at {
            Some(at) => Rows::Stored { at, count },
            None => Rows::Read(read_rows(&data, at..end, count, objects)?),
        };
        Ok(Self { data, hash_len, objects, kinds, entries: at..end, names_at, rows })
    }

    /// The checksum of the pack or multi-pack index that this file belongs to: where they differ, it is of no use.
    pub(crate) fn checksum(&self) -> &[u8] {
        &self.data[12..12 + self.hash_len]
    }

    /// The checksum of the file itself, as it says.
    pub(crate) fn trailer(&self) -> &[u8] {
        &self.data[self.data.len() - self.hash_len..]
    }

    /// Reads all of the file to see whether its checksum is right.
    pub(crate) fn verify(&self) -> Result<(), Broken> {
        verify(&self.data, self.hash_len)
    }

    /// The objects of a kind.
    pub(crate) fn kind(&self, kind: Kind) -> Result<Ewah<'_>, Broken> {
        let at = self.kinds[match kind {
            Kind::Commit => 0,
            Kind::Tree => 1,
            Kind::Blob => 2,
            Kind::Tag => 3,
        }];
        Ok(Ewah::parse(&self.data[at..self.entries.end], self.objects)?.0)
    }

    /// How many objects have a bit.
    pub(crate) fn objects(&self) -> u32 {
        self.objects
    }

    /// How many commits have a bitmap.
    pub(crate) fn len(&self) -> u32 {
        match &self.rows {
            Rows::Stored { count, .. } => *count,
            Rows::Read(rows) => rows.len() as u32,
        }
    }

    /// The position, in the index, of the commit of bitmap `n`; ascending with `n`. `None` beyond the last.
    pub(crate) fn position(&self, n: u32) -> Option<u32> {
        self.row(n).map(|row| row.position)
    }

    /// The number of the bitmap of the commit at this position in the index.
    pub(crate) fn find(&self, position: u32) -> Option<u32> {
        let (mut start, mut end) = (0, self.len());
        while start < end {
            let middle = start + (end - start) / 2;
            if self.position(middle)? < position { start = middle + 1 } else { end = middle }
        }
        (self.position(start) == Some(position)).then_some(start)
    }

    /// Bitmap `n` as it is stored, for those who keep the bitmaps that others differ from.
    pub(crate) fn stored(&self, n: u32) -> Result<Stored<'_>, Broken> {
        const WRONG: Broken = Broken("its table tells of a bitmap that is not there");
        let row = self.row(n).ok_or(WRONG)?;
        let at = usize::try_from(row.offset).map_err(|_| WRONG)?;
        if at < self.entries.start || at >= self.entries.end {
            return Err(WRONG);
        }
        let (head, rest) = self.data[at..self.entries.end].split_first_chunk().ok_or(WRONG)?;
        let [p0, p1, p2, p3, _, flags]: [u8; ENTRY_HEAD_BYTES] = *head;
        if row.position >= self.objects || u32::from_be_bytes([p0, p1, p2, p3]) != row.position {
            return Err(WRONG);
        }
        let base = (row.base != WHOLE).then_some(row.base);
        let bits = Ewah::parse(rest, self.objects)?.0;
        Ok(Stored { flags, base, offset: row.offset, bits })
    }

    /// What the commit of bitmap `n` reaches. Decodes every bitmap on the way to one that is stored whole: in files that
    /// git wrote there may be as many as bitmaps; see [`BitmapFile::stored`].
    pub(crate) fn reach(&self, n: u32) -> Result<Bits, Broken> {
        let mut bits = Bits::with_len(self.objects as usize);
        let mut next = Some(n);
        // A chain longer than there are bitmaps goes in a circle.
        for _ in 0..self.len().min(BITMAP_CHAIN_MAX) {
            let Some(n) = next else { break };
            let stored = self.stored(n)?;
            stored.bits.xor_into(&mut bits)?;
            next = stored.base;
        }
        if next.is_some() { Err(Broken("a bitmap builds on too many others")) } else { Ok(bits) }
    }

    /// The hash of the path at which the object at this position *in the index* was found; 0 if at none. `None` if the
    /// file does not tell, or beyond the last.
    pub(crate) fn name_hash(&self, position: u32) -> Option<u32> {
        if position >= self.objects {
            return None;
        }
        u32_at(&self.data, self.names_at? + position as usize * 4)
    }

    fn row(&self, n: u32) -> Option<Row> {
        match &self.rows {
            Rows::Read(rows) => rows.get(n as usize).copied(),
            Rows::Stored { count, .. } if n >= *count => None,
            Rows::Stored { at, .. } => {
                let at = at + n as usize * LOOKUP_ROW_BYTES;
                Some(Row {
                    position: u32_at(&self.data, at)?,
                    offset: u64_at(&self.data, at + 4)?,
                    base: u32_at(&self.data, at + 12)?,
                })
            }
        }
    }
}

/// Reads the heads of the bitmaps, one after another, and sorts them by position.
fn read_rows(data: &[u8], entries: Range<usize>, count: u32, objects: u32) -> Result<Vec<Row>, Broken> {
    const CUT: Broken = Broken("it has fewer bitmaps than it says");
    // Grows with what is there, not with what the file says.
    let mut rows: Vec<Row> = Vec::new();
    let mut at = entries.start;
    for n in 0..count {
        let (head, rest) = data.get(at..entries.end).and_then(|rest| rest.split_first_chunk()).ok_or(CUT)?;
        let [p0, p1, p2, p3, distance, _]: [u8; ENTRY_HEAD_BYTES] = *head;
        let position = u32::from_be_bytes([p0, p1, p2, p3]);
        if position >= objects || u32::from(distance) > n || distance > BASE_DISTANCE_MAX {
            return Err(Broken("a bitmap's head is not valid"));
        }
        // For now numbered in the order of the file.
        let base = if distance == 0 { WHOLE } else { n - u32::from(distance) };
        rows.push(Row { position, base, offset: at as u64 });
        at += ENTRY_HEAD_BYTES + Ewah::parse(rest, objects)?.1;
    }
    sorted(rows)
}

/// Sorts rows by position; their bases are renumbered with them.
pub(super) fn sorted_places(positions: impl Iterator<Item = u32>) -> (Vec<u32>, Vec<u32>) {
    let positions: Vec<u32> = positions.collect();
    let mut order: Vec<u32> = (0..positions.len() as u32).collect();
    order.sort_by_key(|n| positions[*n as usize]);
    let mut places = vec![0; order.len()];
    for (n, place) in order.iter().zip(0..) {
        places[*n as usize] = place;
    }
    (order, places)
}

fn sorted(rows: Vec<Row>) -> Result<Vec<Row>, Broken> {
    let (order, places) = sorted_places(rows.iter().map(|row| row.position));
    let base = |base: u32| if base == WHOLE { WHOLE } else { places[base as usize] };
    let rows: Vec<Row> =
        order.iter().map(|n| rows[*n as usize]).map(|row| Row { base: base(row.base), ..row }).collect();
    if rows.windows(2).any(|two| two[0].position == two[1].position) {
        return Err(Broken("it has two bitmaps of one commit"));
    }
    Ok(rows)
}
