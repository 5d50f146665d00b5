//! Writing reachability bitmaps, one commit's after another's: each is stored whole or as what differs from one of the
//! last few, whichever is shorter. The file has a lookup table, and the hashes of the objects' paths if they are given.
//!
//! Memory: the last few bitmaps as dense bits, and 20 bytes for each bitmap.

use std::collections::VecDeque;
use std::io::{self, Write};

use super::Hashed;
use super::bitmap::{FULL_DAG, HASH_CACHE, LOOKUP_TABLE, WHOLE, sorted_places};
use super::ewah::{encode, encode_words};
use crate::bits::Bits;
use crate::limits::{BITMAP_BASES_TRIED, BITMAP_WRITTEN_CHAIN_MAX};

/// Flag of a bitmap: it may be used again when the file is written anew.
pub(crate) const REUSABLE: u8 = 1;

/// What the head of a file of bitmaps tells.
pub(crate) struct BitmapHead<'a> {
    /// How many objects the pack or multi-pack index has.
    pub(crate) objects: u32,
    /// How many bitmaps will follow.
    pub(crate) bitmaps: u32,
    /// The checksum that ends the pack or the multi-pack index; its length chooses the hash.
    pub(crate) checksum: &'a [u8],
    /// Whether the hashes of the objects' paths will be given.
    pub(crate) name_hashes: bool,
}

/// A file of bitmaps in the making.
pub(crate) struct BitmapWriter<W> {
    out: Hashed<W>,
    objects: u32,
    bitmaps: u32,
    name_hashes: bool,
    recent: VecDeque<Recent>,
    rows: Vec<Row>,
    buffer: Vec<u8>,
}

/// A bitmap that the next ones may be told from.
struct Recent {
    bits: Bits,
    /// How many others are needed to read it.
    chain: usize,
}

struct Row {
    position: u32,
    /// How many bitmaps before this one its base is; 0 if it is stored whole.
    distance: u8,
    offset: u64,
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

impl<W: Write> BitmapWriter<W> {
    /// Starts a file; `kinds` are the bits of all commits, trees, blobs and tags.
    pub(crate) fn start(out: W, head: &BitmapHead<'_>, kinds: [&Bits; 4]) -> io::Result<Self> {
        let mut out = Hashed::new(out, head.checksum.len());
        let flags = FULL_DAG | LOOKUP_TABLE | if head.name_hashes { HASH_CACHE } else { 0 };
        out.put(b"BITM\0\x01")?;
        out.put(&flags.to_be_bytes())?;
        out.put_u32(head.bitmaps)?;
        out.put(head.checksum)?;
        for bits in kinds {
            out.put(&encode(bits, bit_len(bits, head.objects)?))?;
        }
        Ok(Self {
            out,
            objects: head.objects,
            bitmaps: head.bitmaps,
            name_hashes: head.name_hashes,
            recent: VecDeque::with_capacity(BITMAP_BASES_TRIED),
            rows: Vec::new(),
            buffer: Vec::new(),
        })
    }

    /// Appends a bitmap. `position`: where the commit is in the index; each at most once. `bits`: all that it reaches,
    /// itself too. Like bitmaps that come near one another make the file small.
    pub(crate) fn push(&mut self, position: u32, bits: Bits, flags: u8) -> io::Result<()> {
        if position >= self.objects || self.rows.len() >= self.bitmaps as usize {
            return Err(invalid("there is no such commit or place for its bitmap"));
        }
        let len = bit_len(&bits, self.objects)?;
        let mut best = (0, encode(&bits, len));
        for (distance, recent) in (1..).zip(&self.recent) {
            self.buffer.clear();
            if recent.chain < BITMAP_WRITTEN_CHAIN_MAX
                && encode_difference(&bits, &recent.bits, self.objects, best.1.len() - 1, &mut self.buffer)
            {
                best.0 = distance;
                std::mem::swap(&mut best.1, &mut self.buffer);
            }
        }
        let (distance, raw) = best;
        self.rows.push(Row { position, distance, offset: self.out.len() });
        self.out.put_u32(position)?;
        self.out.put(&[distance, flags])?;
        self.out.put(&raw)?;
        let chain = distance.checked_sub(1).map_or(0, |n| self.recent[usize::from(n)].chain + 1);
        self.recent.truncate(BITMAP_BASES_TRIED - 1);
        self.recent.push_front(Recent { bits, chain });
        Ok(())
    }

    /// Ends the file. `name_hashes`: of the path of each object, in the order of the index, 0 where there is none; as many
    /// as there are objects if they were announced.
    pub(crate) fn finish(mut self, name_hashes: impl Iterator<Item = u32>) -> io::Result<W> {
        if self.rows.len() != self.bitmaps as usize {
            return Err(invalid("there are fewer bitmaps than were announced"));
        }
        let (order, places) = sorted_places(self.rows.iter().map(|row| row.position));
        for pair in order.windows(2) {
            if self.rows[pair[0] as usize].position == self.rows[pair[1] as usize].position {
                return Err(invalid("there are two bitmaps of one commit"));
            }
        }
        for n in order {
            let row = &self.rows[n as usize];
            let base = if row.distance == 0 { WHOLE } else { places[n as usize - usize::from(row.distance)] };
            self.out.put_u32(row.position)?;
            self.out.put_u64(row.offset)?;
            self.out.put_u32(base)?;
        }
        let mut count = 0u64;
        for hash in name_hashes {
            self.out.put_u32(hash)?;
            count += 1;
        }
        if count != if self.name_hashes { u64::from(self.objects) } else { 0 } {
            return Err(invalid("there are not as many hashes of paths as were announced"));
        }
        Ok(self.out.finish()?.0)
    }
}

/// Up to which bit a set goes.
fn bit_len(bits: &Bits, objects: u32) -> io::Result<u32> {
    let words = bits.words();
    let len = words.last().map_or(0, |last| words.len() * 64 - last.leading_zeros() as usize);
    let len = u32::try_from(len).ok().filter(|len| *len <= objects);
    len.ok_or_else(|| invalid("a bitmap has bits beyond the objects"))
}

/// Encodes what differs if that takes no more than `bytes_max` bytes.
fn encode_difference(bits: &Bits, base: &Bits, objects: u32, bytes_max: usize, out: &mut Vec<u8>) -> bool {
    let (ours, theirs) = (bits.words(), base.words());
    let count = ours.len().max(theirs.len());
    let word = |words: &[u64], at: usize| words.get(at).copied().unwrap_or(0);
    let words = (0..count).map(|at| word(ours, at) ^ word(theirs, at));
    let len = u32::try_from(count * 64).unwrap_or(u32::MAX).min(objects);
    encode_words(words, len, bytes_max, out)
}
