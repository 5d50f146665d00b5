//! One file of a commit-graph: where its chunks are, and what they say. Every read is checked against the file's end.

use std::ops::{Deref, Range};
use std::sync::OnceLock;

use slipway_core::Oid;

use super::bloom::Settings;
use super::{BrokenGraph, DATE_MAX, NO_PARENT, Result, TOP_BIT};

/// One file, with the position of its first commit in the chain.
pub(super) struct Layer<D> {
    data: D,
    hash_len: usize,
    start: u32,
    count: u32,
    /// Number of files below it that it says it builds on.
    bases: usize,
    chunks: Chunks,
    /// How its filters were made; `None` if it has none that can be used.
    filters: Option<Settings>,
    dates_are_small: OnceLock<bool>,
}

/// Where each chunk is; empty if it is missing.
#[derive(Default)]
struct Chunks {
    fanout: Range<usize>,
    ids: Range<usize>,
    commits: Range<usize>,
    offsets: Range<usize>,
    overflows: Range<usize>,
    edges: Range<usize>,
    filter_ends: Range<usize>,
    filters: Range<usize>,
    bases: Range<usize>,
}

const HEAD_LEN: usize = 8;
const ROW_LEN: usize = 12;
const FILTERS_HEAD_LEN: usize = 12;
/// Below this (the year 2097) a date's 32 bits do not overflow however many descendants correct it.
const SAFELY_CORRECTED: u64 = (1 << 32) - (1 << 28);

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

impl Chunks {
    /// Reads the table of contents; `count` chunks end before `end`.
    fn parse(data: &[u8], count: usize, end: usize) -> Result<Self> {
        let row = |n: usize| {
            let at = HEAD_LEN + ROW_LEN * n;
            let name = data.get(at..at + 4)?;
            Some((name, usize::try_from(long(data, at + 4)?).ok()?))
        };
        let mut chunks = Self::default();
        let first = HEAD_LEN + ROW_LEN * (count + 1);
        for n in 0..count {
            let cut = BrokenGraph("breaks off inside its table of contents");
            let (name, from) = row(n).ok_or(cut)?;
            let (_, to) = row(n + 1).ok_or(cut)?;
            if from < first || to < from || to > end {
                return Err(BrokenGraph("has a chunk that is not inside it"));
            }
            let Some(chunk) = chunks.named(name) else { continue };
            if chunk.end != 0 {
                return Err(BrokenGraph("has a chunk twice"));
            }
            *chunk = from..to;
        }
        match row(count) {
            Some(([0, 0, 0, 0], _)) => Ok(chunks),
            _ => Err(BrokenGraph("has no end of its table of contents")),
        }
    }

    fn named(&mut self, name: &[u8]) -> Option<&mut Range<usize>> {
        Some(match name {
            b"OIDF" => &mut self.fanout,
            b"OIDL" => &mut self.ids,
            b"CDAT" => &mut self.commits,
            b"GDA2" => &mut self.offsets,
            b"GDO2" => &mut self.overflows,
            b"EDGE" => &mut self.edges,
            b"BIDX" => &mut self.filter_ends,
            b"BDAT" => &mut self.filters,
            b"BASE" => &mut self.bases,
            _ => return None,
        })
    }

    /// Looks whether each chunk has the size that the number of commits asks for.
    fn check(&self, count: u32, hash_len: usize, bases: usize) -> Result<()> {
        let is = |chunk: &Range<usize>, each: usize| {
            usize::try_from(count).ok().and_then(|n| n.checked_mul(each)) == Some(chunk.len())
        };
        let holds = is(&self.ids, hash_len)
            && is(&self.commits, hash_len + 16)
            && (self.offsets.is_empty() || is(&self.offsets, 4))
            && (self.filter_ends.is_empty() || is(&self.filter_ends, 4))
            && self.bases.len() == bases * hash_len;
        if holds { Ok(()) } else { Err(BrokenGraph("has a chunk whose size does not fit its commits")) }
    }
}

impl<D: Deref<Target = [u8]>> Layer<D> {
    /// Reads the head, the table of contents and the fan-out; `start` commits are in the files below.
    pub(super) fn parse(data: D, hash_len: usize, start: u32) -> Result<Self> {
        let bytes: &[u8] = &data;
        let Some(&[b'C', b'G', b'P', b'H', version, hash, count, bases]) = bytes.first_chunk() else {
            return Err(BrokenGraph("is no commit-graph"));
        };
        if version != 1 {
            return Err(BrokenGraph("is of a version of commit-graphs that is not known here"));
        }
        if !matches!((hash, hash_len), (1, 20) | (2, 32)) {
            return Err(BrokenGraph("is for another hash than the repository's"));
        }
        let end = bytes.len().checked_sub(hash_len).ok_or(BrokenGraph("breaks off"))?;
        let chunks = Chunks::parse(bytes, usize::from(count), end)?;
        let count = last_of_fanout(bytes.get(chunks.fanout.clone()).unwrap_or_default())?;
        let total = start.checked_add(count).filter(|total| *total <= NO_PARENT);
        total.ok_or(BrokenGraph("has more commits than can be numbered"))?;
        chunks.check(count, hash_len, usize::from(bases))?;
        let filters = bytes.get(chunks.filters.clone()).and_then(Settings::parse);
        let filters = filters.filter(|_| !chunks.filter_ends.is_empty());
        Ok(Self {
            hash_len,
            start,
            count,
            bases: usize::from(bases),
            chunks,
            filters,
            data,
            dates_are_small: OnceLock::new(),
        })
    }

    /// Position after its last commit.
    pub(super) fn end(&self) -> u32 {
        self.start + self.count
    }

    pub(super) fn bases(&self) -> usize {
        self.bases
    }

    fn chunk(&self, at: &Range<usize>) -> &[u8] {
        self.data.get(at.clone()).unwrap_or_default()
    }

    /// Entry `n` of a chunk whose entries have `len` bytes.
    fn entry(&self, chunk: &Range<usize>, n: usize, len: usize) -> Result<&[u8]> {
        let entry = n.checked_mul(len).and_then(|at| self.chunk(chunk).get(at..)?.get(..len));
        entry.ok_or(BrokenGraph("points beyond the end of a chunk"))
    }

    fn word(&self, chunk: &Range<usize>, n: usize) -> Result<u32> {
        let entry = self.entry(chunk, n, 4)?;
        word(entry, 0).ok_or(BrokenGraph("breaks off"))
    }

    fn local(&self, position: u32) -> Result<usize> {
        let local = position.checked_sub(self.start).filter(|n| *n < self.count);
        local.map(|n| n as usize).ok_or(BrokenGraph("has no commit of that position"))
    }

    /// The checksum of base number `n` that it asks for.
    pub(super) fn base(&self, n: usize) -> Result<&[u8]> {
        self.entry(&self.chunks.bases, n, self.hash_len)
    }

    /// The checksum that it carries.
    pub(super) fn checksum(&self) -> &[u8] {
        &self.data[self.data.len() - self.hash_len..]
    }

    pub(super) fn checksum_holds(&self) -> bool {
        let kind = if self.hash_len == 20 { gix::hash::Kind::Sha1 } else { gix::hash::Kind::Sha256 };
        let mut hasher = gix::hash::hasher(kind);
        hasher.update(&self.data[..self.data.len() - self.hash_len]);
        hasher.try_finalize().is_ok_and(|sum| sum.as_bytes() == self.checksum())
    }

    pub(super) fn lookup(&self, id: &[u8]) -> Option<u32> {
        if id.len() != self.hash_len {
            return None;
        }
        let first = usize::from(*id.first()?);
        let mut to = self.word(&self.chunks.fanout, first).ok()? as usize;
        let mut from = match first.checked_sub(1) {
            Some(before) => self.word(&self.chunks.fanout, before).ok()? as usize,
            None => 0,
        };
        while from < to {
            let middle = from + (to - from) / 2;
            match self.entry(&self.chunks.ids, middle, self.hash_len).ok()?.cmp(id) {
                std::cmp::Ordering::Less => from = middle + 1,
                std::cmp::Ordering::Equal => return Some(self.start + middle as u32),
                std::cmp::Ordering::Greater => to = middle,
            }
        }
        None
    }

    pub(super) fn id_at(&self, position: u32) -> Result<Oid> {
        let id = self.entry(&self.chunks.ids, self.local(position)?, self.hash_len)?;
        Oid::from_bytes(id).ok_or(BrokenGraph("breaks off"))
    }

    /// The commit's tree, and the four words after it.
    fn commit(&self, position: u32) -> Result<(&[u8], [u32; 4])> {
        let entry = self.entry(&self.chunks.commits, self.local(position)?, self.hash_len + 16)?;
        let (tree, rest) = entry.split_at(self.hash_len);
        let mut words = [0; 4];
        for (n, to) in words.iter_mut().enumerate() {
            *to = word(rest, 4 * n).ok_or(BrokenGraph("breaks off"))?;
        }
        Ok((tree, words))
    }

    pub(super) fn tree(&self, position: u32) -> Result<Oid> {
        Oid::from_bytes(self.commit(position)?.0).ok_or(BrokenGraph("breaks off"))
    }

    pub(super) fn parents(&self, position: u32, parents: &mut Vec<u32>) -> Result<()> {
        let (_, [first, second, ..]) = self.commit(position)?;
        let known = |parent: u32| {
            let inside = Some(parent).filter(|parent| *parent < self.end());
            inside.ok_or(BrokenGraph("names a parent that it does not have"))
        };
        if first == NO_PARENT {
            return Ok(());
        }
        parents.push(known(first)?);
        if second == NO_PARENT {
            return Ok(());
        }
        if second & TOP_BIT == 0 {
            parents.push(known(second)?);
            return Ok(());
        }
        for n in (second & !TOP_BIT) as usize.. {
            let edge = self.word(&self.chunks.edges, n)?;
            parents.push(known(edge & !TOP_BIT)?);
            if edge & TOP_BIT != 0 {
                break;
            }
        }
        Ok(())
    }

    pub(super) fn date(&self, position: u32) -> Result<u64> {
        let (_, [.., high, low]) = self.commit(position)?;
        Ok((u64::from(high) << 32 | u64::from(low)) & DATE_MAX)
    }

    pub(super) fn level(&self, position: u32) -> Result<u32> {
        let (_, [.., high, _]) = self.commit(position)?;
        Ok(high >> 2)
    }

    /// True if every commit has a corrected date that can be relied on. Of corrected dates that need more than 32 bits git
    /// keeps only the lowest 32 on the way up to descendants, so a file with any date near that size counts as one
    /// without. Looks at all dates the first time that it is asked.
    pub(super) fn has_corrected_dates(&self) -> bool {
        if self.count == 0 || self.chunks.offsets.is_empty() {
            return self.count == 0;
        }
        *self.dates_are_small.get_or_init(|| {
            let mut entries = self.chunk(&self.chunks.commits).chunks_exact(self.hash_len + 16);
            entries.all(|entry| {
                long(entry, self.hash_len + 8).is_some_and(|when| when & DATE_MAX < SAFELY_CORRECTED)
            })
        })
    }

    pub(super) fn corrected_date(&self, position: u32) -> Result<Option<u64>> {
        let date = self.date(position)?;
        let offset = self.word(&self.chunks.offsets, self.local(position)?)?;
        let offset = if offset & TOP_BIT == 0 {
            u64::from(offset)
        } else {
            let entry = self.entry(&self.chunks.overflows, (offset & !TOP_BIT) as usize, 8)?;
            long(entry, 0).ok_or(BrokenGraph("breaks off"))?
        };
        date.checked_add(offset).map(Some).ok_or(BrokenGraph("has a corrected date beyond all numbers"))
    }

    pub(super) fn has_newer_filters(&self) -> bool {
        self.filters.is_some_and(|settings| settings.version > Settings::WRITTEN.version)
    }

    pub(super) fn filter(&self, position: u32) -> Result<Option<(&[u8], Settings)>> {
        let Some(settings) = self.filters else { return Ok(None) };
        let n = self.local(position)?;
        let from = if n == 0 { 0 } else { self.word(&self.chunks.filter_ends, n - 1)? as usize };
        let to = self.word(&self.chunks.filter_ends, n)? as usize;
        let all = self.chunk(&self.chunks.filters).get(FILTERS_HEAD_LEN..).unwrap_or_default();
        let filter =
            all.get(from..to).ok_or(BrokenGraph("has a changed-path filter that is not inside it"))?;
        Ok((!filter.is_empty()).then_some((filter, settings)))
    }
}

/// The number of commits, as a fan-out that never falls says.
fn last_of_fanout(fanout: &[u8]) -> Result<u32> {
    if fanout.len() != 4 * 256 {
        return Err(BrokenGraph("has no fan-out of 256 entries"));
    }
    let mut last = 0;
    for entry in fanout.as_chunks::<4>().0 {
        let upto = u32::from_be_bytes(*entry);
        if upto < last {
            return Err(BrokenGraph("has a fan-out that falls"));
        }
        last = upto;
    }
    Ok(last)
}
