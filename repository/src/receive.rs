//! Taking a pack in: streamed into quarantine, indexed, every object checked. Nothing is visible until
//! [`Received::publish`].
//!
//! Two passes: [`scan`] while the bytes arrive, [`resolve`] over the file. Memory is about a hundred bytes an object,
//! one commit, tag or tree, and a budget of delta bases; a pack never sits in memory. Whether the objects hang together
//! with the repository's refs is [`crate::connected`]'s question.

mod entries;
mod gitmodules;
mod index_file;
mod input;
mod resolve;
mod scan;
mod thin;

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use slipway_core::Oid;

pub(crate) use self::entries::two_kinds;
use self::entries::{Needed, RawId, oid};
use self::input::Input;
use self::resolve::{Resolve, no_base, waiting};
use self::scan::{Scan, Scanned};
use crate::error::{RepoError, Result};
use crate::gate::Pass;
use crate::limits::{COMPARE_BYTES_MAX, DELTA_RESULT_BYTES_MAX, GITMODULES_BYTES_MAX};
use crate::object::{Kind, Objects};
use crate::pack::Pack;
use crate::packs::{BaseCache, PackSet};
use crate::quarantine::Quarantine;
use crate::repositories::sync_folder;
use crate::repository::Repository;
use crate::snapshot::Snapshot;
use crate::view::Side;

/// What a pack may have.
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
}

impl Default for ReceiveLimits {
    /// 4 GiB, 20 million objects, 2 GiB an object, and chains as long as git makes them at most (4095).
    fn default() -> Self {
        Self { pack_bytes_max: 4 << 30, objects_max: 20_000_000, object_bytes_max: 2 << 30, depth_max: 4095 }
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
    /// Set once [`Received::check_connected`] found nothing missing.
    pub(crate) checked: AtomicBool,
}

/// The pack in quarantine.
pub(crate) struct IncomingPack {
    pub(crate) packs: PackSet,
    path: PathBuf,
    objects: PathBuf,
    /// Links that leave the pack, and the kinds they must lead to.
    pub(crate) outside: Vec<(Oid, Kind)>,
    /// Objects of the repository that deltas were based on.
    pub(crate) bases: Vec<Oid>,
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
        let _pass = self.gate().enter();
        let snapshot = self.view(Side::Push)?.snapshot;
        let quarantine = Quarantine::new(&snapshot.objects)?;
        let path = quarantine.path().join("incoming.pack");
        let file = File::options().read(true).write(true).create_new(true).open(&path);
        let file = file.map_err(RepoError::io("create", &path))?;
        let input = Input::new(pack, &file, &path, limits.pack_bytes_max, stop);
        let scanned = Scan::new(input, limits).run(progress)?;
        if scanned.entries.all.is_empty() {
            return Ok(Received { snapshot, incoming: None, _pass, checked: AtomicBool::new(false) });
        }
        let ingest = Ingest { snapshot: &snapshot, file: &file, path: &path, limits, progress, stop };
        let Finished { index, outside, bases, gitmodules } = ingest.finish(scanned)?;
        let pack = Pack::open(&index, gix::hash::Kind::Sha1)?;
        let packs = PackSet::new(vec![Arc::new(pack)], Arc::new(BaseCache::default()));
        let objects = snapshot.objects.clone();
        let incoming =
            IncomingPack { packs, path: index, objects, outside, bases, quarantine: Some(quarantine) };
        let received =
            Received { snapshot, incoming: Some(incoming), _pass, checked: AtomicBool::new(false) };
        received.check_gitmodules(&gitmodules)?;
        Ok(received)
    }

    /// For pushes without a pack (deletes, refs to known objects) and as `Incoming` over what is stored.
    pub fn received_nothing(&self) -> Result<Received> {
        let _pass = self.gate().enter();
        let snapshot = self.view(Side::Push)?.snapshot;
        Ok(Received { snapshot, incoming: None, _pass, checked: AtomicBool::new(false) })
    }
}

/// The second half of taking a pack in: everything after its last byte came.
struct Ingest<'a> {
    snapshot: &'a Snapshot,
    file: &'a File,
    path: &'a Path,
    limits: &'a ReceiveLimits,
    progress: &'a dyn Fn(Progress),
    stop: &'a AtomicBool,
}

/// An indexed pack.
struct Finished {
    index: PathBuf,
    /// Links that leave the pack.
    outside: Vec<(Oid, Kind)>,
    /// What its deltas borrowed.
    bases: Vec<Oid>,
    gitmodules: BTreeSet<Oid>,
}

impl Ingest<'_> {
    fn finish(&self, mut scanned: Scanned) -> Result<Finished> {
        self.compare_whole(&scanned)?;
        scanned.entries.by_offset.sort_unstable();
        scanned.entries.by_id.sort_unstable();
        let arrived = scanned.entries.all.len();
        let end = self.resolve_all(&mut scanned)?;
        let Scanned { mut entries, mut needed, mut trailer, .. } = scanned;
        let gitmodules = std::mem::take(&mut needed.gitmodules);
        let bases: Vec<Oid> = entries.all[arrived..].iter().map(|e| oid(&e.id)).collect();
        if !bases.is_empty() {
            trailer = thin::recount(self.file, self.path, entries.all.len() as u32, end)?;
        }
        let mut file = self.file;
        file.write_all(&trailer).map_err(RepoError::io("write", self.path))?;
        entries.all.sort_unstable_by_key(|e| e.id);
        if let Some(twins) = entries.all.windows(2).find(|w| w[0].id == w[1].id) {
            return Err(RepoError::bad_pack(format!("it has object {} twice", oid(&twins[0].id))));
        }
        let outside = links_out(&entries.all, needed)?;
        let name = format!("pack-{}", hex::encode(trailer));
        let index = self.path.with_file_name(format!("{name}.idx"));
        index_file::write_index(&index, &entries.all, &trailer)?;
        index_file::write_reverse(&index.with_extension("rev"), &entries.all, &trailer)?;
        let pack = index.with_extension("pack");
        fs::rename(self.path, &pack).map_err(RepoError::io("rename", &pack))?;
        Ok(Finished { index, outside, bases, gitmodules })
    }

    /// Resolves every delta, bringing in bases that only the repository has. Returns where the entries end.
    fn resolve_all(&self, scanned: &mut Scanned) -> Result<u64> {
        let mut end = scanned.end;
        let deltas = scanned.entries.deltas() as u32;
        if deltas == 0 {
            return Ok(end);
        }
        let arrived = scanned.entries.all.len() as u32;
        let compare = |id: &RawId, kind: Kind, data: &[u8]| self.compare(id, kind, data);
        let mut resolve = Resolve {
            file: self.file,
            entries: &mut scanned.entries,
            needed: &mut scanned.needed,
            inflated: &mut scanned.inflated,
            limits: self.limits,
            packed_bytes: scanned.end,
            stop: self.stop,
            progress: self.progress,
            compare: &compare,
            base_of: HashMap::new(),
            resolved: 0,
            held: 0,
        };
        for number in 0..arrived {
            // A delta resolved on the way was the base of what builds on it already.
            if !resolve.base_of.contains_key(&number) {
                resolve.from(number)?;
            }
        }
        for id in waiting(resolve.entries) {
            if waiting_for(&id, resolve.entries) {
                let mut data = Vec::new();
                let max = self.limits.object_bytes_max.min(DELTA_RESULT_BYTES_MAX);
                // Missing ones may yet turn out to be made from a delta on another.
                let Some(kind) = self.snapshot.read(&oid(&id), max, &mut data)? else { continue };
                let (entry, after) = thin::append(self.file, self.path, end, id, kind, &data)?;
                end = after;
                resolve.entries.all.push(entry);
                resolve.from(resolve.entries.all.len() as u32 - 1)?;
            }
        }
        (self.progress)(Progress::Resolving { deltas: resolve.resolved, total: deltas });
        if let Some(id) = waiting(resolve.entries).first() {
            return Err(no_base(id));
        }
        match resolve.entries.all.iter().find(|e| e.kind.is_none()) {
            Some(e) => Err(RepoError::bad_pack(format!("the delta at byte {} leads to no object", e.offset))),
            None => Ok(end),
        }
    }

    /// Compares objects that came whole with stored ones of the same id.
    fn compare_whole(&self, scanned: &Scanned) -> Result<()> {
        for entry in &scanned.entries.all {
            let Some(kind) = entry.kind else { continue };
            if self.stop.load(Ordering::Relaxed) {
                return Err(RepoError::Stopped);
            }
            let Some((_, size)) = self.snapshot.stored(&oid(&entry.id))? else { continue };
            if size <= COMPARE_BYTES_MAX {
                self.compare(&entry.id, kind, &resolve::read_entry(self.file, entry.offset)?)?;
            }
        }
        Ok(())
    }

    /// An id that is stored already must have the same content: whoever made a collision that the hash did not notice
    /// is stopped here. Objects too large to hold twice are trusted to the hash.
    fn compare(&self, id: &RawId, kind: Kind, data: &[u8]) -> Result<()> {
        let id = oid(id);
        let Some((stored_kind, size)) = self.snapshot.stored(&id)? else { return Ok(()) };
        if stored_kind != kind || size != data.len() as u64 {
            return Err(RepoError::Collision { id });
        }
        if size > COMPARE_BYTES_MAX {
            return Ok(());
        }
        let mut stored = Vec::new();
        match self.snapshot.read(&id, size, &mut stored)? {
            Some(_) if stored != data => Err(RepoError::Collision { id }),
            _ => Ok(()),
        }
    }
}

/// True if deltas still wait for the object: nothing resolved meanwhile turned out to be it.
fn waiting_for(id: &RawId, entries: &entries::Entries) -> bool {
    let from = entries.by_id.partition_point(|(b, _)| b < id);
    entries.by_id[from..]
        .iter()
        .take_while(|(b, _)| b == id)
        .any(|(_, d)| entries.all[*d as usize].kind.is_none())
}

fn links_out(all: &[entries::Entry], mut needed: Needed) -> Result<Vec<(Oid, Kind)>> {
    for entry in all {
        let kind = entry.kind.ok_or_else(|| RepoError::bad_pack("a delta was not resolved"))?;
        needed.strike(&entry.id, kind)?;
    }
    Ok(needed.into_rest())
}

impl Received {
    /// How many objects came, borrowed bases counted.
    pub fn object_count(&self) -> u32 {
        self.incoming.as_ref().map_or(0, |i| i.packs.count() as u32)
    }

    /// For objects that are in the repository already.
    pub(crate) fn take_as_checked(&self) {
        self.checked.store(true, Ordering::Release);
    }

    fn check_gitmodules(&self, blobs: &BTreeSet<Oid>) -> Result<()> {
        let mut data = Vec::new();
        for id in blobs {
            let refuse = |why: String| RepoError::BadObject { id: *id, kind: Kind::Blob, why };
            match self.read(id, GITMODULES_BYTES_MAX, &mut data) {
                // A missing one is for the connectivity check to find; a folder of that name is none.
                Ok(Some(Kind::Blob)) => gitmodules::check(&data).map_err(refuse)?,
                Ok(_) => {}
                Err(RepoError::ObjectTooLarge { max, .. }) => {
                    return Err(refuse(format!("a .gitmodules of more than {max} bytes is not taken")));
                }
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Moves the objects out of quarantine, durable on return. Doing it again changes nothing.
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
        let folder = incoming.objects.join("pack");
        fs::create_dir_all(&folder).map_err(RepoError::io("create", &folder))?;
        let name = incoming.path.file_name().unwrap_or_default();
        let target = folder.join(name);
        // The index comes last: a pack without one does not exist for anybody.
        for extension in ["pack", "rev", "idx"] {
            let from = incoming.path.with_extension(extension);
            let file = File::open(&from).map_err(RepoError::io("open", &from))?;
            file.set_permissions(fs::Permissions::from_mode(0o444))
                .map_err(RepoError::io("protect", &from))?;
            file.sync_all().map_err(RepoError::io("flush", &from))?;
        }
        // The same pack may be here already: then its files are the same, byte for byte.
        for extension in ["pack", "rev", "idx"] {
            let to = target.with_extension(extension);
            fs::rename(incoming.path.with_extension(extension), &to).map_err(RepoError::io("rename", &to))?;
        }
        sync_folder(&folder)?;
        incoming.quarantine = None;
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
}
