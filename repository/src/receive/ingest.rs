//! The second half of taking a pack in: everything after its last byte came.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use slipway_core::Oid;

use super::entries::Entries;
use super::index_file;
use super::links::{Leftover, Links, Rest};
use super::publish::Flush;
use super::reader::PackBytes;
use super::resolve::{Given, Resolve, Stored};
use super::scan::Scanned;
use super::thin::{End, borrow};
use super::twins::drop_twins;
use super::{Progress, ReceiveLimits};
use crate::bulk::Bulk;
use crate::error::{RepoError, Result};
use crate::limits::{COMPARE_BYTES_MAX, DELTA_RESULT_BYTES_MAX, LINKED_OBJECT_BYTES_MAX, REVERSE_FROM};
use crate::links::each_link;
use crate::object::Kind;
use crate::packs::{PackSet, Place};
use crate::snapshot::Snapshot;

/// What the second half works on.
pub(crate) struct Ingest<'a> {
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) file: &'a File,
    pub(crate) path: &'a Path,
    pub(crate) limits: &'a ReceiveLimits,
    pub(crate) progress: &'a dyn Fn(Progress),
    pub(crate) stop: &'a AtomicBool,
}

/// An indexed pack.
pub(crate) struct Finished {
    /// Its checksum, which names it.
    pub(crate) trailer: Oid,
    pub(crate) flush: Flush,
    pub(crate) has_reverse: bool,
    /// Links that leave the pack.
    pub(crate) rest: Rest,
    /// What its deltas borrowed.
    pub(crate) bases: Vec<Oid>,
    /// Blobs that some tree names `.gitmodules`.
    pub(crate) gitmodules: Vec<Oid>,
    /// For the pusher.
    pub(crate) remarks: Vec<String>,
}

impl Ingest<'_> {
    pub(crate) fn finish(&self, scanned: Scanned) -> Result<Finished> {
        let Scanned { mut entries, links, end, arrived, inflated } = scanned;
        entries.seal();
        let came = entries.len() as u32;
        let mut end = End::new(self.file, self.path, end, arrived.small);
        self.resolve_all(&mut entries, &links, &mut end, inflated)?;
        links.check_refused()?;
        drop_twins(&mut entries, came, &mut end, self.limits.depth_max)?;
        let bases: Vec<Oid> = (came..entries.len() as u32).map(|n| entries.id(n)).collect();
        let mut trailer = arrived.trailer;
        if !bases.is_empty() {
            trailer = end.recount(entries.format(), entries.len() as u32)?;
        }
        end.seal(&trailer)?;
        let file = self.file.try_clone().map_err(RepoError::io("open", self.path))?;
        let mut flush = Flush::start(self.path, file);
        let sorted =
            entries.sorted().map_err(|twin| RepoError::bad_pack(format!("it has object {twin} twice")))?;
        strike(&entries, &links)?;
        let index = self.path.with_extension("idx");
        flush.add(&index, index_file::write_index(&index, &entries, &sorted, &trailer)?);
        // git makes up for the reverse index of a small pack in no time.
        let has_reverse = sorted.len() >= REVERSE_FROM;
        if has_reverse {
            let path = self.path.with_extension("rev");
            flush.add(&path, index_file::write_reverse(&path, entries.format(), &sorted, &trailer)?);
        }
        let gitmodules = links.gitmodules().into_iter().collect();
        let (remarks, rest) = (links.remarks(), links.rest()?);
        Ok(Finished { trailer, flush, has_reverse, rest, bases, gitmodules, remarks })
    }

    /// Resolves every delta, bringing in bases that only the repository has.
    fn resolve_all(
        &self,
        entries: &mut Entries,
        links: &Links,
        end: &mut End<'_>,
        inflated: u64,
    ) -> Result<()> {
        let deltas = entries.deltas();
        let came = entries.len() as u32;
        let totals = self.resolve(entries, links, end, (0, came), (inflated, 0))?;
        let waiting = entries.waiting();
        if !waiting.is_empty() {
            let max = self.limits.object_bytes_max.min(DELTA_RESULT_BYTES_MAX);
            for id in waiting {
                // Missing ones may yet turn out to be made from a delta on another.
                if let Some(object) = borrow(self.snapshot, &id, max)? {
                    end.append(&id, object, entries)?;
                }
            }
            self.resolve(entries, links, end, (came, came), totals)?;
        }
        if deltas > 0 {
            (self.progress)(Progress::Resolving { deltas, total: deltas });
        }
        if let Some(id) = entries.waiting().first() {
            return Err(RepoError::bad_pack(format!(
                "a delta needs object {id}, which is neither in the pack nor reachable here"
            )));
        }
        match entries.unresolved() {
            Some(n) => {
                let why = format!("the delta at byte {} leads to no object", entries.offset(n));
                Err(RepoError::bad_pack(why))
            }
            None => Ok(()),
        }
    }

    fn resolve(
        &self,
        entries: &Entries,
        links: &Links,
        end: &End<'_>,
        (from, appended): (u32, u32),
        totals: (u64, u32),
    ) -> Result<(u64, u32)> {
        let hash_len = entries.format().id_bytes();
        let given = Given {
            bytes: PackBytes { file: self.file, small: end.small.as_deref(), hash_len },
            folder: self.path.parent().unwrap_or(self.path),
            entries,
            links,
            limits: self.limits,
            stored: &Known(self.snapshot),
            stop: self.stop,
            packed: end.offset,
            appended,
            ready: &end.ready,
        };
        let threads =
            if entries.len() >= self.limits.parallel_from as usize { self.limits.threads() } else { 1 };
        let resolve = Resolve::new(given, from, totals);
        resolve.run(threads, self.progress)?;
        Ok(resolve.totals())
    }
}

/// Strikes what the pack has out of what it needs.
fn strike(entries: &Entries, links: &Links) -> Result<()> {
    for n in 0..entries.len() as u32 {
        let kind = entries.kind(n).ok_or_else(|| RepoError::bad_pack("a delta was not resolved"))?;
        links.strike(&entries.id(n), kind)?;
    }
    Ok(())
}

/// What the repository has already.
struct Known<'a>(&'a Snapshot);

impl Stored for Known<'_> {
    fn stored(&self, id: &Oid) -> Result<Option<(Kind, u64)>> {
        self.0.stored(id)
    }

    /// An id that is stored already must have the same content: whoever made a collision that the hash did not notice
    /// is stopped here. Objects too large to hold twice are trusted to the hash.
    fn compare(&self, id: &Oid, kind: Kind, data: &Bulk) -> Result<()> {
        let Some((stored_kind, size)) = self.0.stored(id)? else { return Ok(()) };
        if stored_kind != kind || size != data.len() {
            return Err(RepoError::Collision { id: *id });
        }
        if size > COMPARE_BYTES_MAX {
            return Ok(());
        }
        let Some((_, stored)) = self.0.bulk(id)? else { return Ok(()) };
        if stored.is_same(data)? { Ok(()) } else { Err(RepoError::Collision { id: *id }) }
    }
}

/// Finds the ids behind fingerprints: every commit, tag and tree of the pack is read once more.
pub(crate) fn ids_of(left: &Leftover, packs: &PackSet, stop: &AtomicBool) -> Result<Vec<(Oid, Kind)>> {
    let mut found = HashMap::new();
    let mut data = Vec::new();
    let Some(pack) = packs.packs().first() else { return Ok(Vec::new()) };
    for (rank, kind) in pack.kinds(stop)?.into_iter().enumerate() {
        if kind == Kind::Blob {
            continue;
        }
        if stop.load(Ordering::Relaxed) {
            return Err(RepoError::Stopped);
        }
        let place = Place { pack: 0, position: pack.at_rank(rank) };
        packs.read(place, LINKED_OBJECT_BYTES_MAX, &mut data)?;
        each_link(&packs.id(place), kind, &data, &mut |id, kind| {
            if left.has(&id) {
                found.insert(id, kind);
            }
            Ok(())
        })?;
    }
    Ok(found.into_iter().collect())
}
