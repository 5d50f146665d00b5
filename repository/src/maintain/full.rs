//! Everything packed anew: one pack of what is reachable, one of what is not, and of that nothing which is old.
//!
//! All that is in the packs replaced is in the new ones, but for the objects that go. Those go behind closed gates: no
//! push is under way, and once more nothing leads to them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use slipway_core::Oid;
use slipway_core::limits::in_force;

use super::cruft::{Expiry, Unreachable, unreachable};
use super::order::{Reachable, reachable};
use super::record::Record;
use super::rewrite::rewrite;
use super::roots::named;
use super::{Maintained, combine, go_on, is_free, remove, retire};
use crate::error::{RepoError, Result};
use crate::limits::{
    GATE_PATIENCE, LINKED_OBJECT_BYTES_MAX, REPACK_EXPIRE_MIN, REPACK_OLD_SHARE, REPACK_UNREACHABLE_SHARE,
};
use crate::links::each_link;
use crate::marks::Marks;
use crate::object::Objects;
use crate::pack::Pack;
use crate::packs::PackSet;
use crate::repository::Repository;
use crate::snapshot::Snapshot;

/// How everything is packed anew.
#[derive(Clone, Copy, Debug)]
pub struct RepackOptions {
    /// Objects that nothing reaches and that were last written before this go, if they were set aside by an earlier full
    /// repack. Nothing younger than an hour ever goes.
    pub expire_before: SystemTime,
}

/// What packing everything anew did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Repacked {
    /// Objects that something reaches.
    pub reachable: u64,
    /// Objects that nothing reaches, kept for now.
    pub unreachable: u64,
    /// Objects that went.
    pub dropped: u64,
    /// Objects that should have gone, and stay until the next time because pushes were under way.
    pub postponed: u64,
}

impl Repository {
    /// As the repository's own settings have it: `gc.pruneExpire`, two weeks if that is not set.
    ///
    /// # Errors
    /// Settings that cannot be read.
    pub fn repack_options(&self) -> Result<RepackOptions> {
        let after = self.settings()?.prune_after;
        Ok(RepackOptions { expire_before: SystemTime::now().checked_sub(after).unwrap_or(UNIX_EPOCH) })
    }

    /// Packs everything anew. Takes long, and as much disk again as the packs have; meant for a thread of low priority.
    ///
    /// # Errors
    /// As [`Repository::maintain`].
    pub fn repack(&self, options: &RepackOptions, stop: &AtomicBool) -> Result<Maintained> {
        self.in_turn(true, || {
            // What a ref that cannot be read leads to would look as if nothing led to it.
            self.snapshot()?.check_refs()?;
            self.pack_loose(stop)?;
            let (replaced, repacked) = self.pack_anew(options, stop)?;
            self.write_commit_graph(stop)?;
            let mut record = Record::read(self.root());
            record.full = Some(SystemTime::now());
            record.full_objects = repacked.reachable + repacked.unreachable;
            record.write(self.root())?;
            Ok((replaced, Some(repacked)))
        })
    }

    /// True if packing everything anew would pay: not for a week after the last time, and then if much is out of reach or
    /// most has come since.
    ///
    /// # Errors
    /// What cannot be read; [`RepoError::Stopped`] once `stop` is set.
    pub fn repack_is_due(&self, stop: &AtomicBool) -> Result<bool> {
        let record = Record::read(self.root());
        if !record.repack_may_be_due() {
            return Ok(false);
        }
        let snapshot = self.snapshot()?;
        let all = snapshot.packs.load().count() as u64;
        if all.saturating_sub(record.full_objects) * REPACK_OLD_SHARE.1 > all * REPACK_OLD_SHARE.0 {
            return Ok(true);
        }
        let reached = snapshot.all_reachable(stop)?.count() as u64;
        Ok(all.saturating_sub(reached) * REPACK_UNREACHABLE_SHARE > all)
    }

    fn pack_anew(&self, options: &RepackOptions, stop: &AtomicBool) -> Result<(usize, Repacked)> {
        let now = SystemTime::now();
        let ago = |time: Duration| now.checked_sub(time).unwrap_or(UNIX_EPOCH);
        let mut expiry = Expiry {
            before: options.expire_before.min(ago(REPACK_EXPIRE_MIN)),
            set_aside_before: ago(REPACK_EXPIRE_MIN),
        };
        let ages = self.pack_unreachable_loose(stop)?;
        let snapshot = apart(&*self.snapshot()?);
        let packs = snapshot.packs.load_full();
        let sources: Vec<Arc<Pack>> = packs.packs().iter().filter(|p| is_free(p)).cloned().collect();
        let all = self.all_reachable_from_anywhere(&snapshot, &packs, &mut expiry, stop)?;
        let is_source = |pack: &Pack| sources.iter().any(|source| source.path() == pack.path());
        let rest = unreachable((&snapshot, &packs), &is_source, &all.marks, &ages, &expiry, stop)?;

        let mut items = all.items;
        items.retain(|item| is_source(packs.pack(item.place)));
        let mut made = Vec::new();
        if !items.is_empty() {
            let path = rewrite(&snapshot, &packs, &items, stop)?;
            // The same objects may have been a cruft pack before.
            remove(&path.with_extension("mtimes"))?;
            made.push(path);
        }
        if !rest.times.is_empty() {
            made.push(set_aside(&snapshot, &packs, &rest, stop)?);
        }
        let mut retired = sources;
        retired.retain(|pack| !made.iter().any(|path| path == pack.path()));
        go_on(stop)?;
        self.join(&retired, true, stop)?;
        let mut repacked = Repacked {
            reachable: items.len() as u64,
            unreachable: rest.times.len() as u64,
            ..Repacked::default()
        };
        let count = self.retire_all(retired, &rest.dropped, (&packs, &all.marks), &mut repacked)?;
        Ok((count, repacked))
    }

    /// Everything that the refs reach, and what is named elsewhere. If that leads to something missing, what is named
    /// elsewhere is left out, and nothing goes.
    fn all_reachable_from_anywhere(
        &self,
        snapshot: &Snapshot,
        packs: &PackSet,
        expiry: &mut Expiry,
        stop: &AtomicBool,
    ) -> Result<Reachable> {
        let more = named(self.root(), self.object_format())?;
        match reachable(snapshot, packs, &more, stop) {
            Err(e @ RepoError::Missing { .. }) => {
                tracing::warn!("a reflog or a ref that is not served leads nowhere ({e}); no object goes");
                expiry.before = UNIX_EPOCH;
                reachable(snapshot, packs, &HashSet::new(), stop)
            }
            done => done,
        }
    }

    /// Removes the packs that others took the place of; those with objects that go only if nothing needs these. Gives how
    /// many went.
    fn retire_all(
        &self,
        mut retired: Vec<Arc<Pack>>,
        dropped: &HashSet<Oid>,
        reached: (&PackSet, &Marks),
        repacked: &mut Repacked,
    ) -> Result<usize> {
        let closed = if dropped.is_empty() { None } else { self.gate().close(GATE_PATIENCE) };
        let may_drop =
            closed.is_some() && !self.holds().is_held() && !self.is_needed_now(dropped, reached)?;
        if may_drop {
            repacked.dropped = dropped.len() as u64;
        } else {
            repacked.postponed = dropped.len() as u64;
            retired.retain(|pack| {
                let has = |id: &Oid| pack.lookup(&crate::packs::gix_id(id)).is_some();
                !dropped.iter().any(has)
            });
        }
        for pack in &retired {
            retire(pack)?;
        }
        Ok(retired.len())
    }

    /// True if one of these objects is reachable now, from refs that moved since `reached` was found out.
    fn is_needed_now(&self, dropped: &HashSet<Oid>, reached: (&PackSet, &Marks)) -> Result<bool> {
        self.look_again();
        let snapshot = self.snapshot()?;
        snapshot.check_refs()?;
        let mut open: Vec<Oid> = snapshot.refs().iter().map(|r| r.target).collect();
        open.extend(named(self.root(), self.object_format())?);
        let (mut seen, mut data) = (HashSet::new(), Vec::new());
        while let Some(id) = open.pop() {
            if dropped.contains(&id) {
                return Ok(true);
            }
            if reached.1.has(reached.0, &id) || !seen.insert(id) {
                continue;
            }
            if let Some(kind) = snapshot.read(&id, LINKED_OBJECT_BYTES_MAX, &mut data)? {
                each_link(&id, kind, &data, &mut |target, _| {
                    open.push(target);
                    Ok(())
                })?;
            }
        }
        Ok(false)
    }
}

/// The same generation with a cache of its own: going through everything must not drive out what serving needs, nor have
/// it wait.
fn apart(snapshot: &Snapshot) -> Snapshot {
    let packs = snapshot.packs.load();
    let packs = PackSet::with_index(packs.packs().to_vec(), packs.index().cloned(), Arc::default());
    let mut own = Snapshot::new(
        snapshot.objects.clone(),
        snapshot.format,
        snapshot.head.clone(),
        Arc::new(packs),
        snapshot.graph.clone(),
        snapshot.findings.answers.clone(),
    );
    own.refs = snapshot.refs.clone();
    own
}

/// Writes what nothing reaches into a cruft pack.
fn set_aside(
    snapshot: &Snapshot,
    packs: &Arc<PackSet>,
    rest: &Unreachable,
    stop: &AtomicBool,
) -> Result<std::path::PathBuf> {
    let mut taken = Marks::for_packs(packs);
    rest.times.keys().for_each(|rank| taken.put_rank(*rank));
    let age = |packs: &PackSet, place| rest.times.get(&packs.rank(place)).copied().unwrap_or(u32::MAX);
    combine::write(snapshot, packs.clone(), taken, Some(&age), stop)
}

impl Record {
    /// True if enough time has passed.
    pub(super) fn repack_may_be_due(&self) -> bool {
        self.full.is_some_and(|full| full.elapsed().is_ok_and(|age| age >= in_force().repack_interval))
    }
}

/// The ages of objects that were loose, in seconds since 1970.
pub(super) type LooseAges = HashMap<Oid, u32>;
