//! Taking a pack in: streamed into quarantine, indexed, every object checked. Nothing is visible until
//! [`Received::publish`].
//!
//! Two passes: [`scan`] while the bytes arrive, [`resolve`] over the file; of large packs each on several threads.
//! Memory is some sixty bytes an object, a buffer, one object a thread and a budget of delta bases; a pack of more than
//! a buffer never sits in memory. Whether the objects hang together with the repository's refs is
//! [`crate::connected`]'s question.

mod admit;
mod entries;
mod gitmodules;
mod index_file;
mod ingest;
mod input;
mod links;
mod pool;
mod publish;
mod reader;
mod resolve;
mod scan;
mod thin;
mod tree;
mod turns;
mod twins;

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use slipway_core::Oid;

use self::entries::Entries;
use self::ingest::{Finished, Ingest, ids_of};
use self::input::Input;
use self::links::Rest;
pub(crate) use self::links::two_kinds;
use self::publish::{Flush, Keep};
use self::scan::Scan;
use crate::boundary;
use crate::check::{self, Checks, Flaw, Level, Rule};
use crate::error::{RepoError, Result};
use crate::gate::Pass;
use crate::limits::{EXACT_LINKS_OBJECTS_MAX, GITMODULES_BYTES_MAX, PARALLEL_FROM};
use crate::object::{Kind, Objects};
use crate::pack::Pack;
use crate::packs::{BaseCache, PackSet, hash_kind};
use crate::quarantine::Quarantine;
use crate::repository::Repository;
use crate::snapshot::Snapshot;
use crate::view::Side;

/// What a pack may have, and how it is worked on.
#[derive(Clone, Copy, Debug)]
pub struct ReceiveLimits {
    /// Most bytes of the pack itself.
    pub pack_bytes_max: u64,
    /// Most objects.
    pub objects_max: u32,
    /// Most bytes of one object, inflated.
    pub object_bytes_max: u64,
    /// Longest chain of deltas.
    pub depth_max: u32,
    /// Threads that work on one pack; 0 for as many as the machine has processors.
    pub threads: usize,
    /// But no more than this.
    pub threads_max: usize,
    /// Packs of fewer objects are worked on by one thread: starting others would take longer.
    pub parallel_from: u32,
    /// Packs that announce more objects have their links remembered by fingerprint, which takes a third of the memory.
    pub exact_links_max: u32,
}

impl Default for ReceiveLimits {
    /// 4 GiB, 20 million objects, 2 GiB an object, and chains as long as git makes them at most (4095).
    fn default() -> Self {
        Self {
            pack_bytes_max: 4 << 30,
            objects_max: 20_000_000,
            object_bytes_max: 2 << 30,
            depth_max: 4095,
            threads: 0,
            threads_max: 16,
            parallel_from: PARALLEL_FROM,
            exact_links_max: EXACT_LINKS_OBJECTS_MAX,
        }
    }
}

impl ReceiveLimits {
    /// How many threads work on one large pack.
    fn threads(&self) -> usize {
        let asked = match self.threads {
            0 => std::thread::available_parallelism().map_or(1, |n| n.get()),
            asked => asked,
        };
        asked.min(self.threads_max)
    }
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The pack is arriving.
    Receiving {
        /// Objects here.
        objects: u32,
        /// Objects announced.
        total: u32,
    },
    /// Deltas become objects.
    Resolving {
        /// Deltas done.
        deltas: u32,
        /// Deltas in the pack.
        total: u32,
    },
}

/// Objects in quarantine, in front of the repository's own. Dropped without `publish`, they are gone.
pub struct Received {
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) incoming: Option<IncomingPack>,
    /// Keeps what it builds upon from being dropped.
    pub(crate) _pass: Pass,
    /// Commits that came without their parents and are to be taken so.
    pub(crate) boundary: BTreeSet<Oid>,
    /// The same by the tips that build on them.
    pub(crate) ends: Vec<(Oid, Vec<Oid>)>,
    /// Those that were put on the repository's boundary.
    pub(crate) ended: BTreeSet<Oid>,
    /// Set once [`Received::check_connected`] found nothing missing.
    pub(crate) checked: AtomicBool,
    remarks: Vec<String>,
}

/// The pack in quarantine.
pub(crate) struct IncomingPack {
    pub(crate) packs: PackSet,
    /// Its index in quarantine, and the name that its files get.
    path: PathBuf,
    name: String,
    objects: PathBuf,
    /// Links that leave the pack, and the kinds they must lead to.
    pub(crate) outside: Vec<(Oid, Kind)>,
    /// Objects of the repository that deltas were based on, and that are therefore in the pack too.
    pub(crate) bases: Vec<Oid>,
    has_reverse: bool,
    /// There until the pack is published.
    flush: Option<Flush>,
    /// There from then on, until the refs were moved and this goes.
    keep: Option<Keep>,
    quarantine: Option<Quarantine>,
}

impl Repository {
    /// Streams a pack into quarantine, indexes it, checks every object. Nothing is visible until `Received::publish`.
    ///
    /// # Errors
    /// [`RepoError::BadPack`], [`RepoError::Truncated`], [`RepoError::BadObject`], [`RepoError::Collision`],
    /// [`RepoError::TooMuch`] for what is wrong with the pack, [`RepoError::Stopped`] once `stop` is set.
    pub fn receive(
        &self,
        pack: &mut dyn Read,
        limits: &ReceiveLimits,
        progress: &dyn Fn(Progress),
        stop: &AtomicBool,
    ) -> Result<Received> {
        // The gate first: what the snapshot has stays until the refs have moved.
        let pass = self.gate().enter();
        let snapshot = self.snapshot()?;
        let checks = self.checks()?;
        receive((snapshot, pass), checks, pack, limits, progress, stop)
    }

    /// The same for somebody who sees no more than a service shows ([`Repository::view`]): what only other refs reach
    /// cannot be built upon.
    ///
    /// # Errors
    /// As for [`Repository::receive`].
    pub fn receive_as(
        &self,
        side: Side,
        pack: &mut dyn Read,
        limits: &ReceiveLimits,
        progress: &dyn Fn(Progress),
        stop: &AtomicBool,
    ) -> Result<Received> {
        let pass = self.gate().enter();
        let snapshot = self.view(side)?.snapshot;
        let checks = self.checks()?;
        receive((snapshot, pass), checks, pack, limits, progress, stop)
    }

    /// The same, judged by these rules.
    pub(crate) fn receive_checked(
        &self,
        checks: Checks,
        pack: &mut dyn Read,
        limits: &ReceiveLimits,
        stop: &AtomicBool,
    ) -> Result<Received> {
        let pass = self.gate().enter();
        let snapshot = self.snapshot()?;
        receive((snapshot, pass), Arc::new(checks), pack, limits, &|_| {}, stop)
    }

    /// How what is pushed is to be checked.
    fn checks(&self) -> Result<Arc<Checks>> {
        let checks = &self.settings()?.receive.checks;
        if checks.are_all() { Ok(checks.clone()) } else { checks.with_lists(self.root()).map(Arc::new) }
    }

    /// For pushes without a pack (deletes, refs to known objects) and as `Incoming` over what is stored.
    pub fn received_nothing(&self) -> Result<Received> {
        let pass = self.gate().enter();
        Ok(Received::nothing(self.snapshot()?, pass))
    }

    /// The same for somebody who sees no more than a service shows.
    pub fn received_nothing_as(&self, side: Side) -> Result<Received> {
        let pass = self.gate().enter();
        Ok(Received::nothing(self.view(side)?.snapshot, pass))
    }
}

/// [`Repository::receive`] in front of a snapshot whose objects stay while the pass is
/// held.
fn receive(
    (snapshot, pass): (Arc<Snapshot>, Pass),
    checks: Arc<Checks>,
    pack: &mut dyn Read,
    limits: &ReceiveLimits,
    progress: &dyn Fn(Progress),
    stop: &AtomicBool,
) -> Result<Received> {
    let quarantine = Quarantine::new(&snapshot.objects)?;
    let path = quarantine.path().join("incoming.pack");
    let file = index_file::create_final(&path).map_err(RepoError::io("create", &path))?;
    let input = Input::new(pack, &file, &path, snapshot.format, limits.pack_bytes_max, stop);
    let entries = Entries::new(snapshot.format);
    let scanned = Scan::new(input, limits, entries, checks.clone()).run(progress)?;
    if scanned.entries.len() == 0 {
        return Ok(Received::nothing(snapshot, pass));
    }
    let ingest = Ingest { snapshot: &snapshot, file: &file, path: &path, limits, progress, stop };
    let Finished { trailer, flush, has_reverse, rest, bases, gitmodules, remarks } =
        ingest.finish(scanned)?;
    let path = path.with_extension("idx");
    let packs = PackSet::new(
        vec![Arc::new(Pack::open(&path, hash_kind(snapshot.format))?)],
        Arc::new(BaseCache::default()),
    );
    let outside = match rest {
        Rest::Exact(links) => links,
        Rest::Prints(left) => ids_of(&left, &packs, stop)?,
    };
    let incoming = IncomingPack {
        packs,
        path,
        name: format!("pack-{trailer}.idx"),
        objects: snapshot.objects.clone(),
        outside,
        bases,
        has_reverse,
        flush: Some(flush),
        keep: None,
        quarantine: Some(quarantine),
    };
    let received = Received { incoming: Some(incoming), remarks, ..Received::nothing(snapshot, pass) };
    received.check_gitmodules(&gitmodules, &checks)?;
    Ok(received)
}

impl Received {
    fn nothing(snapshot: Arc<Snapshot>, pass: Pass) -> Self {
        Self {
            snapshot,
            incoming: None,
            _pass: pass,
            boundary: BTreeSet::new(),
            ends: Vec::new(),
            ended: BTreeSet::new(),
            checked: AtomicBool::new(false),
            remarks: Vec::new(),
        }
    }

    /// How many objects came, borrowed bases counted.
    pub fn object_count(&self) -> u32 {
        self.incoming.as_ref().map_or(0, |i| i.packs.count() as u32)
    }

    /// What the pusher is to be told of objects that break a rule and were let through (`receive.fsck.<msg-id>=warn`).
    pub fn remarks(&self) -> &[String] {
        &self.remarks
    }

    /// The repository's folder.
    pub(crate) fn root(&self) -> &Path {
        self.snapshot.objects.parent().unwrap_or(&self.snapshot.objects)
    }

    /// For objects that are in the repository already.
    pub(crate) fn take_as_checked(&self) {
        self.checked.store(true, Ordering::Release);
    }

    fn check_gitmodules(&self, blobs: &[Oid], checks: &Checks) -> Result<()> {
        let mut data = Vec::new();
        for id in blobs {
            let judge = |flaw: Flaw| match checks.level(id, flaw.rule) {
                Level::Error => Err(check::refuse(*id, Kind::Blob, &flaw)),
                Level::Warn | Level::Ignore => Ok(()),
            };
            match self.read(id, GITMODULES_BYTES_MAX, &mut data) {
                // A missing one is for the connectivity check to find; a folder of that name is none.
                Ok(Some(Kind::Blob)) => gitmodules::check(&data).or_else(judge)?,
                Ok(_) => {}
                Err(RepoError::ObjectTooLarge { max, .. }) => {
                    let why = format!("a .gitmodules of more than {max} bytes is not taken");
                    judge(Flaw::new(Rule::GitmodulesLarge, why))?;
                }
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Moves the objects out of quarantine, durable on return. Doing it again changes nothing. Until this is dropped,
    /// `git gc` leaves the pack alone: no ref leads to it yet.
    ///
    /// # Errors
    /// [`RepoError::Unchecked`] if [`Received::check_connected`] did not pass before.
    pub(crate) fn publish_objects(&mut self) -> Result<()> {
        let Some(incoming) = &mut self.incoming else { return Ok(()) };
        if incoming.quarantine.is_none() {
            return Ok(());
        }
        if !self.checked.load(Ordering::Acquire) {
            return Err(RepoError::Unchecked);
        }
        incoming.publish()?;
        if !self.boundary.is_empty() {
            self.ended = boundary::extend(self.root(), self.snapshot.format, &self.boundary)?;
        }
        Ok(())
    }
}

impl Objects for Received {
    fn read(&self, id: &Oid, max: u64, data: &mut Vec<u8>) -> Result<Option<Kind>> {
        if let Some(incoming) = &self.incoming
            && let Some(place) = incoming.packs.locate(id)
        {
            return incoming.packs.read(place, max, data).map(Some);
        }
        self.snapshot.read(id, max, data)
    }

    fn header(&self, id: &Oid) -> Result<Option<(Kind, u64)>> {
        if let Some(incoming) = &self.incoming
            && let Some(place) = incoming.packs.locate(id)
        {
            return incoming.packs.header(place).map(Some);
        }
        self.snapshot.header(id)
    }

    fn is_boundary(&self, id: &Oid) -> bool {
        self.snapshot.is_boundary(id) || self.boundary.contains(id)
    }
}

#[cfg(test)]
mod tests;
