//! Writing a commit-graph: commits are taken in any order, then sorted, numbered and written as one complete file.

use std::io::{self, Write};

use slipway_core::Oid;

use super::bloom::Settings;
use super::{BrokenGraph, DATE_MAX, LEVEL_MAX, NO_PARENT, Result, TOP_BIT};
use crate::bits::Bits;
use crate::limits::{BLOOM_BYTES_MAX, COMMIT_GRAPH_COMMITS_MAX};

/// Collects commits; they must be closed under parents when [`Writer::sort`] is called. Holds about 120 bytes a commit
/// (SHA-1), and its filter.
pub(crate) struct Writer {
    hash_len: usize,
    ids: Vec<u8>,
    trees: Vec<u8>,
    dates: Vec<u64>,
    /// Where each commit's parents end in `parents`, counted in ids.
    parent_ends: Vec<u32>,
    parents: Vec<u8>,
    /// Where each commit's filter ends.
    filter_ends: Vec<u32>,
    filters: Vec<u8>,
}

impl Writer {
    /// Starts with no commit; `hash_len` is 20 or 32.
    pub(crate) fn new(hash_len: usize) -> Self {
        Self {
            hash_len,
            ids: Vec::new(),
            trees: Vec::new(),
            dates: Vec::new(),
            parent_ends: Vec::new(),
            parents: Vec::new(),
            filter_ends: Vec::new(),
            filters: Vec::new(),
        }
    }

    /// Number of commits.
    pub(crate) fn len(&self) -> usize {
        self.dates.len()
    }

    /// Takes a commit in. `date` is in seconds since 1970; one before that counts as 0, and of one beyond the year 2514
    /// the lowest 34 bits are stored, as git does. `filter` is what [`super::bloom::ChangedPaths::filter`] made, or what
    /// another graph has under the same [`Settings::WRITTEN`]; empty if it was not computed.
    ///
    /// # Errors
    /// If there are too many commits, or an id is for another hash.
    pub(crate) fn add(
        &mut self,
        id: &Oid,
        tree: &Oid,
        parents: &[Oid],
        date: i64,
        filter: &[u8],
    ) -> Result<()> {
        if self.len() >= COMMIT_GRAPH_COMMITS_MAX {
            return Err(BrokenGraph("would have too many commits"));
        }
        if [id, tree].into_iter().chain(parents).any(|id| id.as_bytes().len() != self.hash_len) {
            return Err(BrokenGraph("would have ids of two hashes"));
        }
        let end = (self.parents.len() / self.hash_len).checked_add(parents.len());
        let end = end.and_then(|end| u32::try_from(end).ok()).filter(|end| *end < TOP_BIT);
        self.parent_ends.push(end.ok_or(BrokenGraph("would have too many parents"))?);
        self.ids.extend_from_slice(id.as_bytes());
        self.trees.extend_from_slice(tree.as_bytes());
        self.dates.push(u64::try_from(date).unwrap_or(0) & DATE_MAX);
        parents.iter().for_each(|parent| self.parents.extend_from_slice(parent.as_bytes()));
        if self.filters.len() + filter.len() <= BLOOM_BYTES_MAX {
            self.filters.extend_from_slice(filter);
        }
        self.filter_ends.push(self.filters.len() as u32);
        Ok(())
    }

    fn id(&self, n: u32) -> &[u8] {
        &self.ids[n as usize * self.hash_len..][..self.hash_len]
    }

    /// The range of commit `n` in a list that `ends` divides.
    fn range(ends: &[u32], n: u32) -> std::ops::Range<usize> {
        let from = if n == 0 { 0 } else { ends[n as usize - 1] };
        from as usize..ends[n as usize] as usize
    }

    /// Numbers the commits by id and computes their generations.
    ///
    /// # Errors
    /// If a commit came twice, a parent is not among them, or commits are their own ancestors.
    pub(crate) fn sort(mut self) -> Result<Sorted> {
        let mut order: Vec<u32> = (0..self.len() as u32).collect();
        order.sort_unstable_by(|&a, &b| self.id(a).cmp(self.id(b)));
        if order.windows(2).any(|two| self.id(two[0]) == self.id(two[1])) {
            return Err(BrokenGraph("would have a commit twice"));
        }
        let position = |id: &[u8]| {
            let found = order.binary_search_by(|&n| self.id(n).cmp(id));
            found.map(|at| at as u32).map_err(|_| BrokenGraph("would miss a commit's parent"))
        };
        let parents = self.parents.chunks_exact(self.hash_len).map(position).collect::<Result<Vec<u32>>>()?;
        self.parents = Vec::new();
        let mut sorted = Sorted { from: self, order, parents, levels: Vec::new(), corrected: Vec::new() };
        sorted.number_generations()?;
        Ok(sorted)
    }
}

/// Commits ready to be written.
pub(crate) struct Sorted {
    from: Writer,
    /// The commits in the order of their ids: each is its number in `from`.
    order: Vec<u32>,
    /// Positions of all parents, in the order of `from`.
    parents: Vec<u32>,
    /// By position: topological levels.
    levels: Vec<u32>,
    /// By position: corrected dates.
    corrected: Vec<u64>,
}

impl Sorted {
    fn parents(&self, position: u32) -> &[u32] {
        &self.parents[Writer::range(&self.from.parent_ends, self.order[position as usize])]
    }

    fn date(&self, position: u32) -> u64 {
        self.from.dates[self.order[position as usize] as usize]
    }

    /// Walks from every commit to its roots and numbers it on the way back.
    fn number_generations(&mut self) -> Result<()> {
        let count = self.order.len();
        self.levels = vec![0; count];
        self.corrected = vec![0; count];
        let mut entered = Bits::default();
        let mut open: Vec<u32> = Vec::new();
        for start in 0..count as u32 {
            open.push(start);
            while let Some(&top) = open.last() {
                let numbered = |position: u32| self.levels[position as usize] != 0;
                if numbered(top) {
                    open.pop();
                } else if entered.put(top as usize) {
                    open.extend(self.parents(top).iter().copied().filter(|&parent| !numbered(parent)));
                } else if self.parents(top).iter().all(|&parent| numbered(parent)) {
                    self.number(top);
                    open.pop();
                } else {
                    return Err(BrokenGraph("would have a commit that is its own ancestor"));
                }
            }
        }
        Ok(())
    }

    /// Numbers a commit whose parents are.
    fn number(&mut self, position: u32) {
        let mut level = 0;
        // A first commit of date 0 has 1: 0 stands for "not computed".
        let mut corrected = self.date(position).max(1);
        for &parent in self.parents(position) {
            level = level.max(self.levels[parent as usize]);
            corrected = corrected.max(self.corrected[parent as usize] + 1);
        }
        self.levels[position as usize] = (level + 1).min(LEVEL_MAX);
        self.corrected[position as usize] = corrected;
    }

    /// Writes the file, and returns the checksum at its end.
    ///
    /// # Errors
    /// Those of `out`. What was written by then is no commit-graph.
    pub(crate) fn write(&self, out: impl Write) -> io::Result<Oid> {
        let kind = if self.from.hash_len == 20 { gix::hash::Kind::Sha1 } else { gix::hash::Kind::Sha256 };
        let mut out = Hashed { out, hash: gix::hash::hasher(kind) };
        let count = self.order.len();
        let edges = self.edges();
        let overflows = self.overflows();
        let filters = self.from.filters.len();
        let chunks = [
            (b"OIDF", 4 * 256),
            (b"OIDL", count * self.from.hash_len),
            (b"CDAT", count * (self.from.hash_len + 16)),
            (b"GDA2", count * 4),
            (b"GDO2", overflows.len() * 8),
            (b"EDGE", edges.len() * 4),
            (b"BIDX", if filters == 0 { 0 } else { count * 4 }),
            (b"BDAT", if filters == 0 { 0 } else { 12 + filters }),
        ];
        self.write_head(&chunks, &mut out)?;
        self.write_ids(&mut out)?;
        self.write_commits(&mut out)?;
        self.write_offsets(&mut out)?;
        overflows.iter().try_for_each(|offset| out.put(&offset.to_be_bytes()))?;
        edges.iter().try_for_each(|edge| out.put(&edge.to_be_bytes()))?;
        if filters != 0 {
            self.write_filters(&mut out)?;
        }
        out.finish()
    }

    /// Head and table of contents; empty chunks are left out, but never the first three.
    fn write_head<W: Write>(&self, chunks: &[(&[u8; 4], usize)], out: &mut Hashed<W>) -> io::Result<()> {
        let chunks: Vec<_> = chunks
            .iter()
            .zip(0..)
            .filter(|((_, len), n)| *n < 3 || *len > 0)
            .map(|(chunk, _)| chunk)
            .collect();
        let hash = if self.from.hash_len == 20 { 1 } else { 2 };
        out.put(&[b'C', b'G', b'P', b'H', 1, hash, chunks.len() as u8, 0])?;
        let mut at = 8 + 12 * (chunks.len() as u64 + 1);
        for (name, len) in chunks {
            out.put(&name[..])?;
            out.put(&at.to_be_bytes())?;
            at += *len as u64;
        }
        out.put(&[0; 4])?;
        out.put(&at.to_be_bytes())
    }

    fn write_ids<W: Write>(&self, out: &mut Hashed<W>) -> io::Result<()> {
        for first in 0..=255u8 {
            let upto = self.order.partition_point(|&n| self.from.id(n)[0] <= first);
            out.put(&(upto as u32).to_be_bytes())?;
        }
        self.order.iter().try_for_each(|&n| out.put(self.from.id(n)))
    }

    fn write_commits<W: Write>(&self, out: &mut Hashed<W>) -> io::Result<()> {
        let mut edge = 0u32;
        let hash_len = self.from.hash_len;
        for (&n, position) in self.order.iter().zip(0..) {
            out.put(&self.from.trees[n as usize * hash_len..][..hash_len])?;
            let parents = self.parents(position);
            let first = parents.first().copied().unwrap_or(NO_PARENT);
            let second = match parents {
                [] | [_] => NO_PARENT,
                [_, second] => *second,
                [_, further @ ..] => {
                    let at = edge;
                    edge += further.len() as u32;
                    at | TOP_BIT
                }
            };
            let when = u64::from(self.levels[position as usize]) << 34 | self.date(position);
            out.put(&first.to_be_bytes())?;
            out.put(&second.to_be_bytes())?;
            out.put(&when.to_be_bytes())?;
        }
        Ok(())
    }

    /// The extra edges: all parents but the first of commits that have more than two.
    fn edges(&self) -> Vec<u32> {
        let mut edges = Vec::new();
        for position in 0..self.order.len() as u32 {
            if let [_, further @ .., last] = self.parents(position)
                && !further.is_empty()
            {
                edges.extend_from_slice(further);
                edges.push(last | TOP_BIT);
            }
        }
        edges
    }

    /// How far each commit's corrected date is from its date.
    fn offsets(&self) -> impl Iterator<Item = u64> {
        self.corrected.iter().zip(0..).map(|(corrected, position)| corrected - self.date(position))
    }

    /// The offsets that do not fit into 31 bits.
    fn overflows(&self) -> Vec<u64> {
        self.offsets().filter(|offset| *offset >= u64::from(TOP_BIT)).collect()
    }

    fn write_offsets<W: Write>(&self, out: &mut Hashed<W>) -> io::Result<()> {
        let mut overflow = 0u32;
        self.offsets().try_for_each(|offset| {
            let word = u32::try_from(offset).ok().filter(|offset| offset & TOP_BIT == 0);
            let word = word.unwrap_or_else(|| {
                overflow += 1;
                (overflow - 1) | TOP_BIT
            });
            out.put(&word.to_be_bytes())
        })
    }

    fn write_filters<W: Write>(&self, out: &mut Hashed<W>) -> io::Result<()> {
        let filter = |n: u32| Writer::range(&self.from.filter_ends, n);
        let mut end = 0u32;
        for &n in &self.order {
            end += filter(n).len() as u32;
            out.put(&end.to_be_bytes())?;
        }
        out.put(&Settings::WRITTEN.bytes())?;
        self.order.iter().try_for_each(|&n| out.put(&self.from.filters[filter(n)]))
    }
}

/// Writes and hashes.
struct Hashed<W> {
    out: W,
    hash: gix::hash::Hasher,
}

impl<W: Write> Hashed<W> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.out.write_all(bytes)
    }

    fn finish(mut self) -> io::Result<Oid> {
        let sum = self.hash.try_finalize().map_err(io::Error::other)?;
        self.out.write_all(sum.as_bytes())?;
        self.out.flush()?;
        Oid::from_bytes(sum.as_bytes()).ok_or_else(|| io::Error::other("the checksum has an unknown length"))
    }
}
