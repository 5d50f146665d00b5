//! Making deltas: an index of a base's blocks, and the instructions that turn the base into a target (gitformat-pack,
//! "Deltified representation"). Which base to take is decided in [`super::search`].
//!
//! The base is cut into blocks of 16 bytes, which a table of hashes finds again at any place of the target; what matches is
//! extended both ways. Beside the table two cheap guesses are tried: that both go on as they did before a change, and
//! that they end alike. Work and memory are linear in both sizes for any content: a bucket keeps few blocks, and what is
//! compared is then skipped.

use std::ops::Deref;

use crate::limits::DELTA_BUCKET_MAX;

/// Bytes that are hashed together.
const BLOCK: usize = 16;
/// Bases up to this many bytes have a block at every [`STEP_NEAR`] bytes, so that shorter matches are found.
const NEAR_MAX: usize = 256 << 10;
const STEP_NEAR: usize = 8;
/// Most bytes of one copy instruction in packs of version 2.
const COPY_MAX: usize = 0x1_0000;
/// Most bytes of one insert instruction.
const INSERT_MAX: usize = 0x7f;
/// A match of so many bytes is taken without looking for a longer one.
const LONG_ENOUGH: usize = 4096;
/// A match where the base was expected to go on is taken from so many bytes without asking the table.
const ON_COURSE_MIN: usize = 24;
/// Blocks of equal hash and other content that one comparison puts up with, beside one for every block of the target.
const MISSES_FREE: usize = 1000;
/// Bytes that a match must save over writing the bytes themselves.
const GAIN_MIN: usize = 2;

/// A block of the base.
#[derive(Clone, Copy, Default)]
struct Block {
    at: u32,
    /// Bits of its hash that its bucket does not tell.
    tag: u32,
}

/// A base, ready to be compared with many targets. Takes 8 to 12 bytes for every 8 (bases up to 256 KiB) or 16 bytes of
/// the base.
pub(crate) struct DeltaIndex<B> {
    base: B,
    /// Where each bucket starts among the blocks, and the last one's end.
    starts: Box<[u32]>,
    blocks: Box<[Block]>,
    /// The hash's highest bits, all but so many, are the bucket.
    shift: u32,
}

fn load(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Hash of 16 bytes; all its bits are good.
fn hash(block: &[u8; BLOCK]) -> u64 {
    let half = |at: usize| load(block, at).unwrap_or(0);
    let mixed = half(0).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29) ^ half(8);
    let mixed = mixed.wrapping_mul(0xd6e8_feb8_6659_fd93);
    mixed ^ mixed >> 32
}

/// How many bytes both start with in common.
fn common(a: &[u8], b: &[u8]) -> usize {
    let (a_words, _) = a.as_chunks::<8>();
    let (b_words, _) = b.as_chunks::<8>();
    let mut len = 0;
    for (x, y) in a_words.iter().zip(b_words) {
        let differ = u64::from_le_bytes(*x) ^ u64::from_le_bytes(*y);
        if differ != 0 {
            return len + differ.trailing_zeros() as usize / 8;
        }
        len += 8;
    }
    len + a[len..].iter().zip(&b[len..]).take_while(|(x, y)| x == y).count()
}

/// How many bytes both end with in common.
fn common_end(a: &[u8], b: &[u8]) -> usize {
    let (_, a_words) = a.as_rchunks::<8>();
    let (_, b_words) = b.as_rchunks::<8>();
    let same = a_words.iter().rev().zip(b_words.iter().rev()).take_while(|(x, y)| x == y).count() * 8;
    let rest = |all: &[u8]| all.len() - same;
    let (a, b) = (&a[..rest(a)], &b[..rest(b)]);
    same + a.iter().rev().zip(b.iter().rev()).take_while(|(x, y)| x == y).count()
}

impl<B: Deref<Target = [u8]>> DeltaIndex<B> {
    /// Indexes `base`; of one beyond 4 GiB only what copy instructions can reach.
    pub(crate) fn new(base: B) -> Self {
        let hashes: Vec<(u32, u64)> = blocks_of(reachable(&base)).collect();
        let bits = hashes.len().next_power_of_two().trailing_zeros().max(4);
        let shift = 64 - bits;
        let bucket = |hash: u64| (hash >> shift) as usize;
        let mut counts = vec![0u32; 1 << bits];
        hashes.iter().for_each(|(_, hash)| counts[bucket(*hash)] += 1);
        let mut starts = Vec::with_capacity(counts.len() + 1);
        let mut total = 0;
        for &count in &counts {
            starts.push(total);
            total += count.min(DELTA_BUCKET_MAX);
        }
        starts.push(total);
        let mut blocks = vec![Block::default(); total as usize];
        // Of a bucket with too many blocks some are kept, evenly from all of the base.
        let mut met = vec![0u32; counts.len()];
        for (at, hash) in hashes {
            let bucket = bucket(hash);
            let count = u64::from(counts[bucket]);
            let kept = count.min(u64::from(DELTA_BUCKET_MAX));
            let n = u64::from(met[bucket]);
            met[bucket] += 1;
            let slot = n * kept / count;
            if slot != (n + 1) * kept / count {
                blocks[starts[bucket] as usize + slot as usize] = Block { at, tag: hash as u32 };
            }
        }
        Self { base, starts: starts.into(), blocks: blocks.into(), shift }
    }

    /// The base.
    pub(crate) fn base(&self) -> &[u8] {
        &self.base
    }

    /// Bytes that the index takes, without the base.
    pub(crate) fn memory(&self) -> usize {
        self.starts.len() * size_of::<u32>() + self.blocks.len() * size_of::<Block>()
    }

    fn candidates(&self, hash: u64) -> &[Block] {
        let bucket = (hash >> self.shift) as usize;
        let range = self.starts.get(bucket..bucket + 2);
        range.and_then(|range| self.blocks.get(range[0] as usize..range[1] as usize)).unwrap_or_default()
    }
}

/// Upper bound of the bytes that indexing and comparing a base of that size takes.
pub(crate) fn index_bytes_max(base_len: u64) -> u64 {
    let step = if base_len <= NEAR_MAX as u64 { STEP_NEAR } else { BLOCK } as u64;
    (base_len / step).saturating_mul(16 + 8 + 16).saturating_add(512)
}

/// The part of a base that copy instructions reach.
fn reachable(base: &[u8]) -> &[u8] {
    &base[..base.len().min(u32::MAX as usize)]
}

/// The blocks of a base and their hashes; of a run of equal ones only the first, which has the longest match.
fn blocks_of(base: &[u8]) -> impl Iterator<Item = (u32, u64)> {
    let step = if base.len() <= NEAR_MAX { STEP_NEAR } else { BLOCK };
    let mut last = None;
    (0..base.len())
        .step_by(step)
        .map_while(move |at| {
            let block: &[u8; BLOCK] = base[at..].first_chunk()?;
            Some((at as u32, hash(block)))
        })
        .filter(move |&(_, hash)| last.replace(hash) != Some(hash))
}

/// Bytes of the base that are bytes of the target.
#[derive(Clone, Copy, Default)]
struct Match {
    /// Where in the base.
    from: usize,
    len: usize,
}

/// The delta that makes `target` from the index's base, if it has at most `max_size` bytes; the search ends as soon as it
/// cannot.
pub(crate) fn create<B: Deref<Target = [u8]>>(
    index: &DeltaIndex<B>,
    target: &[u8],
    max_size: usize,
) -> Option<Vec<u8>> {
    if target.is_empty() {
        // Such a delta may be shorter than git takes one, and saves nothing.
        return None;
    }
    let base = reachable(index.base());
    let mut delta = Delta { out: Vec::new(), target, written: 0, max_size };
    delta.size(index.base().len());
    delta.size(target.len());
    let mut ending = if base.len() == index.base().len() { common_end(base, target) } else { 0 };
    // Short endings cost more as an instruction of their own.
    if ending < 8 {
        ending = 0;
    }
    let end = target.len() - ending;
    let mut at = 0;
    // Where the base goes on if nothing changes.
    let mut course = 0usize;
    let mut misses = MISSES_FREE + target.len() / BLOCK;
    while at < end {
        // What waits may still turn out to be the start of a match, but not much of it.
        if delta.out.len() + (at - delta.written) > max_size.saturating_add(2 * BLOCK) {
            return None;
        }
        let mut found = on_course(base, course, target, at);
        if found.len < ON_COURSE_MIN {
            found = best(index, target, at, found, &mut misses);
        }
        if found.len == 0 {
            at += 1;
            course += 1;
            continue;
        }
        let back = common_end(&base[..found.from], &target[delta.written..at]);
        let whole = Match { from: found.from - back, len: found.len + back };
        if whole.len < copy_cost(whole) + GAIN_MIN {
            at += 1;
            course += 1;
            continue;
        }
        delta.insert_until(at - back);
        delta.copy(whole);
        at += found.len;
        course = whole.from + whole.len;
        delta.check()?;
    }
    delta.insert_until(end);
    let ended = delta.written.max(end);
    delta
        .copy(Match { from: base.len() - (target.len() - ended).min(base.len()), len: target.len() - ended });
    delta.check()?;
    Some(delta.out)
}

/// What matches where the base would go on.
fn on_course(base: &[u8], course: usize, target: &[u8], at: usize) -> Match {
    match (load(base, course), load(target, at)) {
        (Some(a), Some(b)) if a == b => Match { from: course, len: common(&base[course..], &target[at..]) },
        _ => Match::default(),
    }
}

/// The longest match that the table knows, if it is longer than `found`. Counts `misses` down for blocks that only have the
/// hash in common, and knows nothing more once they are used up: no honest content comes near.
fn best<B: Deref<Target = [u8]>>(
    index: &DeltaIndex<B>,
    target: &[u8],
    at: usize,
    mut found: Match,
    misses: &mut usize,
) -> Match {
    let rest = &target[at..];
    let Some(block) = rest.first_chunk::<BLOCK>().filter(|_| *misses > 0) else { return found };
    let hash = hash(block);
    for candidate in index.candidates(hash) {
        if candidate.tag != hash as u32 {
            continue;
        }
        let from = candidate.at as usize;
        let len = common(&reachable(index.base())[from..], rest);
        if len < BLOCK {
            *misses = misses.saturating_sub(1);
        }
        if len > found.len {
            found = Match { from, len };
            if len >= LONG_ENOUGH {
                break;
            }
        }
    }
    found
}

/// Bytes of the copy instructions for a match, and of the insertion that it cuts in two.
fn copy_cost(m: Match) -> usize {
    let offset = (m.from as u32).to_le_bytes().iter().filter(|b| **b != 0).count();
    let len = (m.len.min(COPY_MAX - 1) as u32).to_le_bytes().iter().filter(|b| **b != 0).count();
    2 + offset + len
}

/// A delta being written.
struct Delta<'a> {
    out: Vec<u8>,
    target: &'a [u8],
    /// Bytes of the target that the instructions so far make.
    written: usize,
    max_size: usize,
}

impl Delta<'_> {
    fn check(&self) -> Option<()> {
        (self.out.len() <= self.max_size).then_some(())
    }

    fn size(&mut self, mut size: usize) {
        while size > 0x7f {
            self.out.push((size & 0x7f) as u8 | 0x80);
            size >>= 7;
        }
        self.out.push(size as u8);
    }

    /// Inserts the target's bytes up to `end`, if they are not written yet.
    fn insert_until(&mut self, end: usize) {
        if end <= self.written {
            return;
        }
        for part in self.target[self.written..end].chunks(INSERT_MAX) {
            self.out.push(part.len() as u8);
            self.out.extend_from_slice(part);
        }
        self.written = end;
    }

    fn copy(&mut self, mut m: Match) {
        self.written += m.len;
        while m.len > 0 {
            let len = m.len.min(COPY_MAX);
            let op = self.out.len();
            self.out.push(0x80);
            let offset = (m.from as u32).to_le_bytes();
            // A length of 0x10000 is written as 0.
            let length = (len as u32).to_le_bytes();
            for (bit, byte) in offset.into_iter().chain(length.into_iter().take(2)).enumerate() {
                if byte != 0 {
                    self.out[op] |= 1 << bit;
                    self.out.push(byte);
                }
            }
            m = Match { from: m.from + len, len: m.len - len };
        }
    }
}

#[cfg(test)]
mod tests;
