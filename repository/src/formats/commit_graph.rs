//! Git's commit-graph (gitformat-commit-graph): ids, trees, parents, dates, generation numbers and changed-path filters of
//! many commits, answered from a file without reading an object. Reads one file or a chain of them as one space of
//! positions; writes single files. Nothing here is trusted: a malformed file gives errors, never a panic.
//!
//! Start at [`CommitGraph`] and [`chain::open`]; writing is [`write::Writer`].

use std::ops::Deref;

use slipway_core::Oid;

use self::bloom::{PathKeys, Settings};
use self::layer::Layer;
use crate::limits::COMMIT_GRAPH_LAYERS_MAX;

pub(crate) mod bloom;
pub(crate) mod chain;
mod layer;
#[cfg(test)]
mod tests;
pub(crate) mod write;

/// Stands for "no parent"; positions are below it.
const NO_PARENT: u32 = 0x7000_0000;
/// Marks an entry of the extra edges as a commit's last, a second parent as a place among the extra edges, and a
/// generation offset as a place among the overflows.
const TOP_BIT: u32 = 1 << 31;
/// The largest topological level that is stored; deeper commits have it too.
const LEVEL_MAX: u32 = 0x3fff_ffff;
/// Bits of a date that are stored.
const DATE_MAX: u64 = (1 << 34) - 1;

/// What is wrong with a commit-graph file. The sentence's subject is the file: "has …", "is …".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct BrokenGraph(pub(crate) &'static str);

type Result<T> = std::result::Result<T, BrokenGraph>;

/// A commit-graph of one or more files over any bytes, such as maps of files. Positions run through all its files.
pub(crate) struct CommitGraph<D> {
    /// The base first.
    layers: Vec<Layer<D>>,
}

impl<D: Deref<Target = [u8]>> CommitGraph<D> {
    /// Reads the structure of a single file or of a chain's files, the base first; `hash_len` is 20 or 32. The checksum
    /// is not looked at: see [`CommitGraph::checksums_hold`].
    pub(crate) fn new(files: impl IntoIterator<Item = D>, hash_len: usize) -> Result<Self> {
        let mut graph = Self { layers: Vec::new() };
        for data in files {
            graph.push(data, hash_len)?;
        }
        if graph.layers.is_empty() {
            return Err(BrokenGraph("has no file"));
        }
        Ok(graph)
    }

    fn push(&mut self, data: D, hash_len: usize) -> Result<()> {
        if self.layers.len() >= COMMIT_GRAPH_LAYERS_MAX {
            return Err(BrokenGraph("is a chain of too many files"));
        }
        let layer = Layer::parse(data, hash_len, self.len())?;
        if layer.bases() != self.layers.len() {
            return Err(BrokenGraph("is not at its place in its chain"));
        }
        for (n, base) in self.layers.iter().enumerate() {
            if layer.base(n)? != base.checksum() {
                return Err(BrokenGraph("builds on other files than those of its chain"));
            }
        }
        self.layers.push(layer);
        Ok(())
    }

    /// Number of commits; positions are below it.
    pub(crate) fn len(&self) -> u32 {
        self.layers.last().map_or(0, Layer::end)
    }

    /// Number of files.
    pub(crate) fn layers(&self) -> usize {
        self.layers.len()
    }

    /// The commit's position; `None` if it is not in the graph.
    pub(crate) fn lookup(&self, id: &Oid) -> Option<u32> {
        self.layers.iter().rev().find_map(|layer| layer.lookup(id.as_bytes()))
    }

    fn layer(&self, position: u32) -> Result<&Layer<D>> {
        let n = self.layers.partition_point(|layer| layer.end() <= position);
        self.layers.get(n).ok_or(BrokenGraph("has no commit of that position"))
    }

    /// The id of the commit.
    pub(crate) fn id_at(&self, position: u32) -> Result<Oid> {
        self.layer(position)?.id_at(position)
    }

    /// The tree of the commit.
    pub(crate) fn tree(&self, position: u32) -> Result<Oid> {
        self.layer(position)?.tree(position)
    }

    /// Puts the positions of the commit's parents, in order, into `parents` (cleared first).
    pub(crate) fn parents(&self, position: u32, parents: &mut Vec<u32>) -> Result<()> {
        parents.clear();
        self.layer(position)?.parents(position, parents)
    }

    /// The committer's date in seconds since 1970: its lowest 34 bits.
    pub(crate) fn date(&self, position: u32) -> Result<u64> {
        self.layer(position)?.date(position)
    }

    /// The topological level (generation number, version 1): more than that of every parent, but never above
    /// `0x3fff_ffff`. 0 says that the writer did not compute it.
    pub(crate) fn level(&self, position: u32) -> Result<u32> {
        self.layer(position)?.level(position)
    }

    /// The corrected date (generation number, version 2): not before the date, and later than that of every parent.
    /// `None`, and then for every commit, if one file of the graph has none or has dates from the year 2097 on, which git
    /// corrects wrongly: go by the level then.
    pub(crate) fn corrected_date(&self, position: u32) -> Result<Option<u64>> {
        if !self.layers.iter().all(Layer::has_corrected_dates) {
            return Ok(None);
        }
        self.layer(position)?.corrected_date(position)
    }

    /// False if the commit surely changed nothing at the path, or below it, against its first parent (a first commit:
    /// against nothing). True also where the graph has no filter.
    pub(crate) fn may_have_changed(&self, position: u32, path: &PathKeys) -> Result<bool> {
        Ok(match self.filter(position)? {
            Some((filter, settings)) => path.may_be_in(filter, settings),
            None => true,
        })
    }

    /// The bytes of the commit's changed-path filter, never none, and how filters were made where it stands. Filters
    /// made with [`Settings::WRITTEN`] can be taken into a new file as they are.
    pub(crate) fn filter(&self, position: u32) -> Result<Option<(&[u8], Settings)>> {
        self.layer(position)?.filter(position)
    }

    /// True if filters of a file have a hash that git before 2.46 does not know, at which it crashes.
    pub(crate) fn has_newer_filters(&self) -> bool {
        self.layers.iter().any(Layer::has_newer_filters)
    }

    /// Reads all of every file; false if the checksum at the end of one is not that of its content.
    pub(crate) fn checksums_hold(&self) -> bool {
        self.layers.iter().all(Layer::checksum_holds)
    }
}
