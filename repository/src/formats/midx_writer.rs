//! Writing a multi-pack index of version 1, with the order of bits (`RIDX`) and the bits of each pack (`BTMP`).
//!
//! The packs' indexes are merged: of the copies of an object that of the preferred pack is taken, else that of the pack
//! changed last, else that of the pack whose name comes first. Memory: 16 bytes an object, and 16 more for each object of
//! the pack that has the most; none of it on the heap one by one.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, Write};

use super::fanout::fanout_of;
use super::midx::{CHUNK_ROW_BYTES, FAR, HEAD_BYTES};
use super::{Hashed, hash_number};

/// The objects of a pack, sorted by id: what its index tells.
pub(crate) trait Listing {
    /// How many objects there are.
    fn count(&self) -> u32;
    /// The id at a position; `None` beyond the last, or if it cannot be told.
    fn id(&self, position: u32) -> Option<&[u8]>;
    /// The offset of the entry at a position; `None` beyond the last, or if it cannot be told.
    fn offset(&self, position: u32) -> Option<u64>;
}

/// A pack that goes into a multi-pack index.
pub(crate) struct MidxPack<'a> {
    /// The name of its index file, `pack-….idx`.
    pub(crate) name: &'a str,
    /// When the pack was last changed, in whatever unit.
    pub(crate) mtime: i64,
    pub(crate) objects: &'a dyn Listing,
}

/// An object taken: the number of its pack, and its position there.
type Taken = (u32, u32);

/// Writes a multi-pack index over `packs`; `preferred` is a place in it, of a pack that is not empty. Gives back the
/// output and the file's checksum, which its bitmap is named by.
///
/// # Errors
/// `InvalidInput` if two packs have one name or one that is not plainly an index file's, if there is no preferred pack, if
/// a pack's ids are not in order or cannot be told, or if there are more objects than 32 bits count. Else what the output
/// says.
pub(crate) fn write_midx<W: Write>(
    out: W,
    hash_len: usize,
    packs: &[MidxPack<'_>],
    preferred: usize,
) -> io::Result<(W, Vec<u8>)> {
    let mut order: Vec<usize> = (0..packs.len()).collect();
    order.sort_by_key(|n| packs[*n].name);
    let sorted: Vec<&MidxPack<'_>> = order.iter().map(|n| &packs[*n]).collect();
    let preferred = order.iter().position(|n| *n == preferred).map(|n| n as u32);
    check(&sorted, preferred)?;
    let preferred = preferred.unwrap_or(0);
    let taken = merge(&sorted, preferred, hash_len)?;
    let plan = Plan { hash_len, packs: sorted, preferred, taken };
    plan.write(out)
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

fn check(sorted: &[&MidxPack<'_>], preferred: Option<u32>) -> io::Result<()> {
    let plain = |name: &str| name.ends_with(".idx") && !name.contains(['/', '\0']);
    if sorted.iter().any(|p| !plain(p.name)) || sorted.windows(2).any(|two| two[0].name == two[1].name) {
        return Err(invalid("the packs of a multi-pack index need different names of index files"));
    }
    match preferred.and_then(|n| sorted.get(n as usize)) {
        Some(pack) if pack.objects.count() > 0 => Ok(()),
        _ => Err(invalid("a multi-pack index needs a preferred pack with objects")),
    }
}

/// Chooses a copy of each object; the result is in the order of ids.
fn merge(packs: &[&MidxPack<'_>], preferred: u32, hash_len: usize) -> io::Result<Vec<Taken>> {
    // Each entry is a pack's next object; the least comes first, of copies the one to be taken.
    let entry = |pack: u32, position: u32| {
        let MidxPack { mtime, objects, .. } = packs[pack as usize];
        // An id that cannot be told is empty, and refused below.
        (position < objects.count()).then(|| {
            let id = objects.id(position).unwrap_or_default();
            Reverse((id, pack != preferred, Reverse(*mtime), pack, position))
        })
    };
    let total: usize = packs.iter().map(|p| p.objects.count() as usize).sum();
    let most = packs.iter().map(|p| p.objects.count() as usize).max().unwrap_or(0);
    // Mostly the packs have little in common; what there is too much is given back.
    let mut taken: Vec<Taken> = Vec::with_capacity(most.max(total / 2));
    let mut heap: BinaryHeap<_> = (0..packs.len() as u32).filter_map(|pack| entry(pack, 0)).collect();
    let mut last: Option<&[u8]> = None;
    while let Some(mut top) = heap.peek_mut() {
        let Reverse((id, _, _, pack, position)) = *top;
        match entry(pack, position + 1) {
            Some(next) => *top = next,
            None => drop(std::collections::binary_heap::PeekMut::pop(top)),
        }
        if id.len() != hash_len || last.is_some_and(|last| last > id) {
            return Err(invalid("the ids of a pack are not in order"));
        }
        if last != Some(id) {
            taken.push((pack, position));
            last = Some(id);
        }
    }
    if u32::try_from(taken.len()).is_err() {
        return Err(invalid("there are too many objects for a multi-pack index"));
    }
    Ok(taken)
}

/// All that is to be written.
struct Plan<'a> {
    hash_len: usize,
    packs: Vec<&'a MidxPack<'a>>,
    preferred: u32,
    taken: Vec<Taken>,
}

impl Plan<'_> {
    fn ids(&self) -> impl Iterator<Item = &[u8]> {
        self.taken.iter().filter_map(|(pack, position)| self.packs[*pack as usize].objects.id(*position))
    }

    fn offset(&self, taken: Taken) -> io::Result<u64> {
        let offset = self.packs[taken.0 as usize].objects.offset(taken.1);
        offset.ok_or_else(|| invalid("the offsets of a pack cannot be told"))
    }

    fn write<W: Write>(&self, out: W) -> io::Result<(W, Vec<u8>)> {
        let mut out = Hashed::new(out, self.hash_len);
        let names: usize = self.packs.iter().map(|p| p.name.len() + 1).sum();
        // Far offsets go into a table of their own, but only if one of them needs more than 32 bits.
        let (mut far_count, mut farthest) = (0u64, 0);
        for taken in &self.taken {
            let offset = self.offset(*taken)?;
            far_count += u64::from(offset >= u64::from(FAR));
            farthest = offset.max(farthest);
        }
        let far = farthest > u64::from(u32::MAX);
        let count = self.taken.len() as u64;
        let mut chunks = vec![
            (b"PNAM", names.next_multiple_of(4) as u64),
            (b"OIDF", 1024),
            (b"OIDL", count * self.hash_len as u64),
            (b"OOFF", count * 8),
        ];
        chunks.extend(far.then_some((b"LOFF", far_count * 8)));
        chunks.extend([(b"RIDX", count * 4), (b"BTMP", self.packs.len() as u64 * 8)]);
        self.head(&mut out, &chunks)?;
        for pack in &self.packs {
            out.put(pack.name.as_bytes())?;
            out.put(&[0])?;
        }
        out.put(&[0; 3][..names.next_multiple_of(4) - names])?;
        fanout_of(self.ids()).iter().try_for_each(|n| out.put_u32(*n))?;
        self.ids().try_for_each(|id| out.put(id))?;
        self.offsets(&mut out, far)?;
        let packs = self.bits(&mut out)?;
        for (start, count) in packs {
            // A pack without bits starts nowhere; git writes 0.
            out.put_u32(if count == 0 { 0 } else { start })?;
            out.put_u32(count)?;
        }
        out.finish()
    }

    fn head<W: Write>(&self, out: &mut Hashed<W>, chunks: &[(&[u8; 4], u64)]) -> io::Result<()> {
        out.put(&[b'M', b'I', b'D', b'X', 1, hash_number(self.hash_len) as u8, chunks.len() as u8, 0])?;
        out.put_u32(self.packs.len() as u32)?;
        let mut at = (HEAD_BYTES + (chunks.len() + 1) * CHUNK_ROW_BYTES) as u64;
        for (name, len) in chunks {
            out.put(&name[..])?;
            out.put_u64(at)?;
            at += len;
        }
        out.put(&[0; 4])?;
        out.put_u64(at)
    }

    fn offsets<W: Write>(&self, out: &mut Hashed<W>, far: bool) -> io::Result<()> {
        let mut row = 0u32;
        for taken in &self.taken {
            let offset = self.offset(*taken)?;
            out.put_u32(taken.0)?;
            match u32::try_from(offset) {
                Ok(near) if !far || near < FAR => out.put_u32(near)?,
                _ => {
                    out.put_u32(FAR | row)?;
                    row += 1;
                }
            }
        }
        for taken in self.taken.iter().filter(|_| far) {
            let offset = self.offset(*taken)?;
            if offset >= u64::from(FAR) {
                out.put_u64(offset)?;
            }
        }
        Ok(())
    }

    /// Writes the positions in the order of bits; gives the first bit and the number of bits of each pack.
    fn bits<W: Write>(&self, out: &mut Hashed<W>) -> io::Result<Vec<(u32, u32)>> {
        let mut counts = vec![0u32; self.packs.len()];
        self.taken.iter().for_each(|(pack, _)| counts[*pack as usize] += 1);
        let rest = (0..self.packs.len() as u32).filter(|pack| *pack != self.preferred);
        let mut packs = vec![(0, 0); self.packs.len()];
        let mut next = 0;
        for pack in std::iter::once(self.preferred).chain(rest) {
            packs[pack as usize] = (next, counts[pack as usize]);
            next += counts[pack as usize];
        }
        // The positions pack by pack, each pack's still in the order of ids.
        let mut positions = vec![0u32; self.taken.len()];
        let mut free: Vec<u32> = packs.iter().map(|(start, _)| *start).collect();
        for ((pack, _), position) in self.taken.iter().zip(0..) {
            let slot = &mut free[*pack as usize];
            positions[*slot as usize] = position;
            *slot += 1;
        }
        let mut sorted: Vec<(u64, u32)> = Vec::new();
        for pack in positions.chunk_by(|a, b| self.taken[*a as usize].0 == self.taken[*b as usize].0) {
            sorted.clear();
            for position in pack {
                sorted.push((self.offset(self.taken[*position as usize])?, *position));
            }
            sorted.sort_unstable();
            sorted.iter().try_for_each(|(_, position)| out.put_u32(*position))?;
        }
        Ok(packs)
    }
}
