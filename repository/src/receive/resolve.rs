//! Second pass over an incoming pack: deltas become objects.
//!
//! Goes depth first from each whole object to the deltas on it, with a stack of its own. Of a base's deltas those that
//! are bases in turn come last, and a base is let go before its last delta's children are looked at, so that a plain
//! chain holds one object however long it is. What is held beyond a budget is dropped and made again when needed.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::entries::{Entries, Needed, RawId, oid, raw};
use super::scan::{Inflated, admit};
use super::{Progress, ReceiveLimits};
use crate::delta;
use crate::error::{RepoError, Result};
use crate::inflate::{InflateError, Source, inflate_exact};
use crate::limits::{DELTA_RESULT_BYTES_MAX, PROGRESS_EVERY, RECEIVED_LINKED_BYTES_MAX, RESOLVE_BYTES_MAX};
use crate::object::Kind;
use crate::pack::{HEADER_BYTES_MAX, parse_header};

/// The file that the pack is written to.
pub(crate) struct PackFile<'a>(pub(crate) &'a File);

impl Source for PackFile<'_> {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }
}

/// A base whose deltas are being resolved.
struct Frame {
    entry: u32,
    kind: Kind,
    /// Bases above it in its chain.
    depth: u32,
    /// Dropped when memory is short.
    data: Option<Arc<Vec<u8>>>,
    /// Deltas on it that are left, last first.
    children: Vec<u32>,
}

type Compare<'a> = &'a dyn Fn(&RawId, Kind, &[u8]) -> Result<()>;

/// The second pass.
pub(crate) struct Resolve<'a> {
    pub(crate) file: &'a File,
    pub(crate) entries: &'a mut Entries,
    pub(crate) needed: &'a mut Needed,
    pub(crate) inflated: &'a mut Inflated,
    pub(crate) limits: &'a ReceiveLimits,
    pub(crate) packed_bytes: u64,
    pub(crate) stop: &'a AtomicBool,
    pub(crate) progress: &'a dyn Fn(Progress),
    /// Compares objects that are whole in memory with stored ones.
    pub(crate) compare: Compare<'a>,
    /// For each delta entry resolved so far, its base.
    pub(crate) base_of: std::collections::HashMap<u32, u32>,
    pub(crate) resolved: u32,
    /// Bytes that the stack's frames hold.
    pub(crate) held: usize,
}

impl Resolve<'_> {
    /// Resolves everything that builds on the whole object `root`.
    pub(crate) fn from(&mut self, root: u32) -> Result<()> {
        let entry = self.entries.all[root as usize];
        let Some(kind) = entry.kind else { return Ok(()) };
        let children = self.children(root, &entry.id);
        if children.is_empty() {
            return Ok(());
        }
        let data = Arc::new(self.inflate_entry(root)?.1);
        self.held = data.len();
        let mut stack = vec![Frame { entry: root, kind, depth: 0, data: Some(data), children }];
        while let Some(frame) = stack.last_mut() {
            let Some(child) = frame.children.pop() else {
                self.held -= stack.pop().and_then(|f| f.data).map_or(0, |d| d.len());
                continue;
            };
            let (parent, kind, depth) = (frame.entry, frame.kind, frame.depth + 1);
            if depth > self.limits.depth_max {
                let max = u64::from(self.limits.depth_max);
                return Err(RepoError::TooMuch { what: "the length of a chain of deltas", max });
            }
            let base = match &frame.data {
                Some(data) => data.clone(),
                None => {
                    let data = Arc::new(self.make(parent)?);
                    self.held += data.len();
                    frame.data = Some(data.clone());
                    data
                }
            };
            if frame.children.is_empty() {
                self.held -= stack.pop().and_then(|f| f.data).map_or(0, |d| d.len());
            }
            let data = self.apply(&base, child)?;
            drop(base);
            let id = self.resolved(child, parent, kind, &data)?;
            let children = self.children(child, &id);
            if !children.is_empty() {
                self.held += data.len();
                stack.push(Frame { entry: child, kind, depth, data: Some(Arc::new(data)), children });
                self.spare(&mut stack);
            }
        }
        Ok(())
    }

    /// Drops what the budget does not allow, the oldest first.
    fn spare(&mut self, stack: &mut [Frame]) {
        let Some((_, older)) = stack.split_last_mut() else { return };
        for frame in older {
            if self.held <= RESOLVE_BYTES_MAX {
                return;
            }
            if let Some(data) = frame.data.take() {
                self.held -= data.len();
            }
        }
    }

    /// The unresolved deltas on an entry: those that are bases of others come out of `pop` last.
    fn children(&self, base: u32, id: &RawId) -> Vec<u32> {
        let ofs = &self.entries.by_offset;
        let from = ofs.partition_point(|(b, _)| *b < base);
        let by_offset = ofs[from..].iter().take_while(|(b, _)| *b == base).map(|(_, d)| *d);
        let ids = &self.entries.by_id;
        let from = ids.partition_point(|(b, _)| b < id);
        let by_id = ids[from..].iter().take_while(|(b, _)| b == id).map(|(_, d)| *d);
        let mut all: Vec<u32> =
            by_offset.chain(by_id).filter(|d| self.entries.all[*d as usize].kind.is_none()).collect();
        // Bases by offset are known beforehand; bases by id only once hashed.
        all.sort_by_key(|d| {
            let from = ofs.partition_point(|(b, _)| b < d);
            ofs.get(from).is_none_or(|(b, _)| b != d)
        });
        all
    }

    fn resolved(&mut self, child: u32, base: u32, kind: Kind, data: &[u8]) -> Result<RawId> {
        if kind != Kind::Blob && data.len() as u64 > RECEIVED_LINKED_BYTES_MAX {
            let what = "the size of one commit, tag or folder in bytes";
            return Err(RepoError::TooMuch { what, max: RECEIVED_LINKED_BYTES_MAX });
        }
        let id = raw(&admit(kind, data, self.needed)?);
        (self.compare)(&id, kind, data)?;
        let entry = &mut self.entries.all[child as usize];
        entry.id = id;
        entry.kind = Some(kind);
        self.base_of.insert(child, base);
        if self.resolved.is_multiple_of(PROGRESS_EVERY) {
            if self.stop.load(Ordering::Relaxed) {
                return Err(RepoError::Stopped);
            }
            (self.progress)(Progress::Resolving {
                deltas: self.resolved,
                total: self.entries.deltas() as u32,
            });
        }
        self.resolved += 1;
        Ok(id)
    }

    fn apply(&mut self, base: &[u8], child: u32) -> Result<Vec<u8>> {
        let (_, instructions) = self.inflate_entry(child)?;
        let offset = self.entries.all[child as usize].offset;
        let max = self.limits.object_bytes_max.min(DELTA_RESULT_BYTES_MAX);
        let mut out = Vec::new();
        delta::apply(base, &instructions, max, &mut out).map_err(|why| {
            RepoError::bad_pack(format!("the object at byte {offset} cannot be made: {why}"))
        })?;
        self.inflated.add(out.len() as u64, self.packed_bytes)?;
        Ok(out)
    }

    /// Makes a resolved entry's object again, from the bottom of its chain.
    fn make(&mut self, entry: u32) -> Result<Vec<u8>> {
        let mut chain = Vec::new();
        let mut at = entry;
        while let Some(base) = self.base_of.get(&at) {
            chain.push(at);
            at = *base;
        }
        let mut data = self.inflate_entry(at)?.1;
        self.inflated.add(data.len() as u64, self.packed_bytes)?;
        while let Some(child) = chain.pop() {
            if self.stop.load(Ordering::Relaxed) {
                return Err(RepoError::Stopped);
            }
            data = self.apply(&data, child)?;
        }
        Ok(data)
    }

    fn inflate_entry(&self, entry: u32) -> Result<(Option<Kind>, Vec<u8>)> {
        let entry = &self.entries.all[entry as usize];
        let data = read_entry(self.file, entry.offset)?;
        Ok((entry.kind, data))
    }
}

/// Inflates the data of the entry at `offset` of a pack file that was scanned before.
pub(crate) fn read_entry(file: &File, offset: u64) -> Result<Vec<u8>> {
    let changed =
        |why: &str| RepoError::bad_pack(format!("the object at byte {offset} cannot be read back: {why}"));
    let mut head = [0u8; HEADER_BYTES_MAX];
    let got = PackFile(file).read_at(&mut head, offset).map_err(|e| changed(&e.to_string()))?;
    let header = parse_header(&head[..got], offset, 20).ok_or_else(|| changed("its header is not valid"))?;
    let mut data = Vec::new();
    inflate_exact(&PackFile(file), header.data_offset, header.size, &mut data).map_err(|e| match e {
        InflateError::Broken(why) => changed(why),
        InflateError::Io(e) => changed(&e.to_string()),
    })?;
    Ok(data)
}

/// The ids that no entry has and deltas still wait for.
pub(crate) fn waiting(entries: &Entries) -> Vec<RawId> {
    let mut ids: Vec<RawId> = entries
        .by_id
        .iter()
        .filter(|(_, d)| entries.all[*d as usize].kind.is_none())
        .map(|(id, _)| *id)
        .collect();
    ids.dedup();
    ids
}

/// The error for a delta whose base is nowhere.
pub(crate) fn no_base(id: &RawId) -> RepoError {
    RepoError::bad_pack(format!(
        "a delta needs object {}, which is neither in the pack nor reachable here",
        oid(id)
    ))
}
