//! The packs of one generation: finding objects in them, and decoding them through their deltas.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::io::{BufReader, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use gix::hash::{Kind as HashKind, ObjectId};
use slipway_core::limits::in_force;
use slipway_core::{ObjectFormat, Oid};

use crate::bulk::{Bulk, Taken, take_in};
use crate::delta;
use crate::error::{RepoError, Result};
use crate::formats::Midx;
use crate::inflate::{InflateError, Inflating};
use crate::limits::{BASE_CACHE_OBJECT_BYTES_MAX, DELTA_DEPTH_MAX, SMALL_BYTES_MAX, STORED_RESULT_BYTES_MAX};
use crate::mapped::Mapped;
use crate::object::Kind;
use crate::pack::{EntryHeader, EntryKind, Pack, next_serial};

/// Where a packed object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Place {
    /// Which pack of the set.
    pub(crate) pack: u32,
    /// Position in its index.
    pub(crate) position: u32,
}

/// Packs in a fixed order. Of several copies of an object *the* one is what the multi-pack index chose, if it has it,
/// and else the first one found.
pub(crate) struct PackSet {
    packs: Vec<Arc<Pack>>,
    /// Number of objects in the packs before each.
    starts: Vec<usize>,
    index: Option<Arc<JointIndex>>,
    /// Tells the index and the packs apart from all others, in their order.
    serials: Arc<[u64]>,
    cache: Arc<BaseCache>,
}

/// The multi-pack index, over the first packs of a set.
pub(crate) struct JointIndex {
    /// The file.
    pub(crate) file: Midx<Mapped>,
    /// The number in the set of each of its packs.
    pub(crate) numbers: Vec<u32>,
    bytes: Mapped,
    serial: u64,
}

impl JointIndex {
    /// This file with its bytes, over the packs of a set that have these numbers there.
    pub(crate) fn new(file: Midx<Mapped>, bytes: Mapped, numbers: Vec<u32>) -> Self {
        Self { file, numbers, bytes, serial: next_serial() }
    }
}

/// What tells a set of packs apart. Places found in it are the same in every set that begins with it.
#[derive(Clone, Debug)]
pub(crate) struct Lineage(Arc<[u64]>);

/// gix's word for the hash of a repository.
pub(crate) fn hash_kind(format: ObjectFormat) -> HashKind {
    match format {
        ObjectFormat::Sha1 => HashKind::Sha1,
        ObjectFormat::Sha256 => HashKind::Sha256,
    }
}

/// gix's form of an id.
pub(crate) fn gix_id(id: &Oid) -> ObjectId {
    ObjectId::from_bytes_or_panic(id.as_bytes())
}

/// Our form of an id.
pub(crate) fn our_id(id: &gix::hash::oid) -> Oid {
    Oid::from_bytes(id.as_bytes()).unwrap_or(Oid::ZERO_SHA1)
}

impl PackSet {
    /// A set without a multi-pack index.
    pub(crate) fn new(packs: Vec<Arc<Pack>>, cache: Arc<BaseCache>) -> Self {
        Self::with_index(packs, None, cache)
    }

    /// A set whose multi-pack index is over its first packs.
    pub(crate) fn with_index(
        packs: Vec<Arc<Pack>>,
        index: Option<Arc<JointIndex>>,
        cache: Arc<BaseCache>,
    ) -> Self {
        let mut starts = Vec::with_capacity(packs.len() + 1);
        let mut sum = 0usize;
        for pack in &packs {
            starts.push(sum);
            sum += pack.count() as usize;
        }
        starts.push(sum);
        let joint = index.as_ref().map(|index| index.serial);
        let serials =
            std::iter::once(joint.unwrap_or(u64::MAX)).chain(packs.iter().map(|p| p.serial())).collect();
        Self { packs, starts, index, serials, cache }
    }

    /// The packs, in order.
    pub(crate) fn packs(&self) -> &[Arc<Pack>] {
        &self.packs
    }

    /// The pack of a place.
    pub(crate) fn pack(&self, place: Place) -> &Arc<Pack> {
        &self.packs[place.pack as usize]
    }

    /// The set with further packs at its end: places stay valid.
    pub(crate) fn with_more(&self, more: impl IntoIterator<Item = Arc<Pack>>) -> Self {
        let packs = self.packs.iter().cloned().chain(more).collect();
        Self::with_index(packs, self.index.clone(), self.cache.clone())
    }

    /// True if something was found broken in a pack or an index, or some of them cannot be read.
    pub(crate) fn is_doubtful(&self) -> bool {
        self.index.as_ref().is_some_and(|index| index.bytes.is_lost())
            || self.packs.iter().any(|p| p.is_doubtful())
    }

    /// Asks whether all indexes can be read: before something is said not to be there.
    ///
    /// # Errors
    /// The first that cannot.
    pub(crate) fn check_indexes(&self) -> Result<()> {
        if let Some(index) = self.index.as_ref().filter(|index| index.bytes.is_lost())
            && let Some(first) = index.numbers.first().and_then(|number| self.packs.get(*number as usize))
        {
            let path = first.path().with_file_name("multi-pack-index");
            return Err(RepoError::BrokenPack { path, why: "some of it cannot be read".into() });
        }
        self.packs.iter().find(|pack| pack.is_lost()).map_or(Ok(()), |pack| Err(pack.unreadable()))
    }

    /// Where the indexes of its packs are. Bytes, because paths take long to compare.
    pub(crate) fn index_paths(&self) -> HashSet<&OsStr> {
        self.packs.iter().map(|pack| pack.index_path().as_os_str()).collect()
    }

    /// The multi-pack index.
    pub(crate) fn index(&self) -> Option<&Arc<JointIndex>> {
        self.index.as_ref()
    }

    /// What tells it apart.
    pub(crate) fn lineage(&self) -> Lineage {
        Lineage(self.serials.clone())
    }

    /// True if the other's packs are the first of these, and its index this one: its places are places here.
    pub(crate) fn begins_with(&self, other: &Lineage) -> bool {
        self.serials.starts_with(&other.0)
    }

    /// The ranks of one pack's objects.
    pub(crate) fn ranks(&self, pack: u32) -> std::ops::Range<usize> {
        let pack = pack as usize;
        self.starts[pack]..self.starts[pack + 1]
    }

    /// A number for each place, dense over all packs.
    pub(crate) fn rank(&self, place: Place) -> usize {
        self.starts[place.pack as usize] + place.position as usize
    }

    /// Objects in all packs, copies counted.
    pub(crate) fn count(&self) -> usize {
        self.starts.last().copied().unwrap_or(0)
    }

    /// Finds the object.
    pub(crate) fn locate(&self, id: &Oid) -> Option<Place> {
        let raw = gix_id(id);
        let mut joint = 0;
        if let Some(index) = &self.index {
            joint = index.numbers.len();
            // A damaged index is as good as none: the packs are asked one by one.
            match index.file.find(id.as_bytes()) {
                Ok(Some(found)) => {
                    let pack = index.numbers[found.pack as usize];
                    let position = self.packs[pack as usize].lookup(&raw);
                    return position.map(|position| Place { pack, position });
                }
                Ok(None) => {}
                Err(_) => joint = 0,
            }
        }
        self.packs
            .iter()
            .zip(0u32..)
            .skip(joint)
            .find_map(|(p, pack)| p.lookup(&raw).map(|position| Place { pack, position }))
    }

    /// The id at a place.
    pub(crate) fn id(&self, place: Place) -> Oid {
        our_id(self.pack(place).id_at(place.position))
    }

    /// Kind and size of the object at a place, following deltas by their headers alone.
    pub(crate) fn header(&self, place: Place) -> Result<(Kind, u64)> {
        let pack = self.pack(place);
        let mut offset = pack.offset_at(place.position);
        let mut size = None;
        for _ in 0..DELTA_DEPTH_MAX {
            let entry = pack.header(offset)?;
            if let EntryKind::Whole(kind) = entry.kind {
                return Ok((kind, size.unwrap_or(entry.size)));
            }
            if size.is_none() {
                size = Some(self.delta_result(pack, &entry)?);
            }
            offset = base_offset(pack, offset, &entry)?;
        }
        Err(pack.broken(offset, "its chain of deltas is too long"))
    }

    fn delta_result(&self, pack: &Pack, entry: &EntryHeader) -> Result<u64> {
        let mut head = Vec::with_capacity(32);
        pack.inflate_start(entry, 20, &mut head)?;
        let sizes =
            delta::sizes(&head).ok_or_else(|| pack.broken(entry.data_offset, "its delta has no sizes"))?;
        Ok(sizes.1)
    }

    /// Reads the object at a place into `out` (cleared first); an error if it has more than `max` bytes.
    pub(crate) fn read(&self, place: Place, max: u64, out: &mut Vec<u8>) -> Result<Kind> {
        let pack = self.pack(place);
        let offset = pack.offset_at(place.position);
        let entry = pack.header(offset)?;
        let too_large = |size| RepoError::ObjectTooLarge { id: self.id(place), size, max };
        if let EntryKind::Whole(kind) = entry.kind {
            if entry.size > max {
                return Err(too_large(entry.size));
            }
            pack.inflate(&entry, out)?;
            return Ok(kind);
        }
        let size = self.delta_result(pack, &entry)?;
        if size > max {
            return Err(too_large(size));
        }
        self.read_delta(place.pack, offset, entry, max, out)
    }

    /// Makes the object of a delta, in memory: in `out` (cleared first).
    fn read_delta(
        &self,
        number: u32,
        top: u64,
        entry: EntryHeader,
        max: u64,
        out: &mut Vec<u8>,
    ) -> Result<Kind> {
        let pack = &self.packs[number as usize];
        let (kind, made) = self.make(pack, top, entry, max, out)?;
        if let Some(made) = made {
            made.read_into(out)?;
        }
        Ok(kind)
    }

    /// The object at a place, in memory if it is small or there is room, and else in a file.
    pub(crate) fn bulk(&self, place: Place) -> Result<(Kind, Bulk)> {
        let pack = self.pack(place);
        let offset = pack.offset_at(place.position);
        let entry = pack.header(offset)?;
        if let EntryKind::Whole(kind) = entry.kind {
            return Ok((kind, self.whole(pack, &entry)?));
        }
        let mut out = Vec::new();
        let (kind, made) = self.make(pack, offset, entry, STORED_RESULT_BYTES_MAX, &mut out)?;
        Ok((kind, made.unwrap_or_else(|| Bulk::Memory(out, Taken::default()))))
    }

    /// A whole entry's object.
    fn whole(&self, pack: &Arc<Pack>, entry: &EntryHeader) -> Result<Bulk> {
        let mut bulk = Bulk::room(entry.size, &pack.spool_folder())?;
        match &mut bulk {
            Bulk::Memory(data, _) => pack.inflate(entry, data)?,
            file => {
                let mut from = Inflating::new(&**pack, entry.data_offset, entry.size);
                take_in(&mut from, entry.size, file).map_err(RepoError::io("read", pack.path()))?;
            }
        }
        Ok(bulk)
    }

    /// Walks from the delta down to a whole object or a cached one, then applies the deltas on the way back up. Only
    /// offsets are remembered on the way down, so memory is that of one base, one delta and one result; where those are
    /// large, they are in files. A small result is in `out`.
    fn make(
        &self,
        pack: &Arc<Pack>,
        top: u64,
        entry: EntryHeader,
        max: u64,
        out: &mut Vec<u8>,
    ) -> Result<(Kind, Option<Bulk>)> {
        let (kind, mut base, mut chain) = self.base(pack, top, entry)?;
        let key = pack.serial();
        let mut instructions = Vec::new();
        while let Some((offset, entry)) = chain.pop() {
            let light = entry.size <= SMALL_BYTES_MAX as u64;
            let size = if light {
                pack.inflate(&entry, &mut instructions)?;
                delta::sizes(&instructions).ok_or_else(|| pack.broken(offset, "its delta has no sizes"))?.1
            } else {
                self.delta_result(pack, &entry)?
            };
            if size > if chain.is_empty() { max } else { STORED_RESULT_BYTES_MAX } {
                return Err(pack.broken(offset, "its delta's result is too large"));
            }
            if let (Some(bytes), true) = (base.bytes(), light && size <= SMALL_BYTES_MAX as u64) {
                delta::apply(bytes, &instructions, size, out).map_err(|why| pack.broken(offset, why))?;
                if chain.is_empty() {
                    return Ok((kind, None));
                }
                let made: Arc<[u8]> = Arc::from(out.as_slice());
                self.cache.put(key, offset, kind, &made);
                base = Base::Kept(made);
                continue;
            }
            let made = apply_large(pack, &base.into_bulk(), offset, &entry, size)?;
            if chain.is_empty() {
                return Ok((kind, Some(made)));
            }
            base = Base::Large(made);
        }
        Err(pack.broken(top, "it is no delta"))
    }

    /// What a delta builds on in the end, and the deltas on the way, the nearest to it last.
    fn base(&self, pack: &Arc<Pack>, top: u64, entry: EntryHeader) -> Result<(Kind, Base, Chain)> {
        let key = pack.serial();
        let mut chain = vec![(top, entry)];
        let mut offset = base_offset(pack, top, &entry)?;
        loop {
            if let Some((found, bytes)) = self.cache.get(key, offset) {
                return Ok((found, Base::Kept(bytes), chain));
            }
            let entry = pack.header(offset)?;
            if let EntryKind::Whole(found) = entry.kind {
                if entry.size > SMALL_BYTES_MAX as u64 {
                    return Ok((found, Base::Large(self.whole(pack, &entry)?), chain));
                }
                let mut bytes = Vec::new();
                pack.inflate(&entry, &mut bytes)?;
                let bytes: Arc<[u8]> = bytes.into();
                self.cache.put(key, offset, found, &bytes);
                return Ok((found, Base::Kept(bytes), chain));
            }
            if chain.len() >= DELTA_DEPTH_MAX {
                return Err(pack.broken(offset, "its chain of deltas is too long"));
            }
            chain.push((offset, entry));
            offset = base_offset(pack, offset, &entry)?;
        }
    }
}

/// Offsets and headers of deltas.
type Chain = Vec<(u64, EntryHeader)>;

/// What a delta is applied to.
enum Base {
    /// Small, and perhaps others want it too.
    Kept(Arc<[u8]>),
    Large(Bulk),
}

impl Base {
    fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Kept(bytes) => Some(bytes),
            Self::Large(bulk) => bulk.in_memory(),
        }
    }

    fn into_bulk(self) -> Bulk {
        match self {
            Self::Kept(bytes) => Bulk::Memory(bytes.to_vec(), Taken::default()),
            Self::Large(bulk) => bulk,
        }
    }
}

/// Applies a delta that is large itself, or makes something large.
fn apply_large(pack: &Arc<Pack>, base: &Bulk, offset: u64, entry: &EntryHeader, size: u64) -> Result<Bulk> {
    let mut made = Bulk::room(size, &pack.spool_folder())?;
    let from = Inflating::new(&**pack, entry.data_offset, entry.size);
    let done = delta::apply_stream(base, &mut BufReader::new(from), &mut |piece| made.write_all(piece));
    match done {
        Ok(()) => Ok(made),
        Err(InflateError::Broken(why)) => Err(pack.broken(offset, why)),
        Err(InflateError::Io(source)) => Err(RepoError::io("read", pack.path())(source)),
    }
}

/// Where the base of a delta is. Stored packs are whole: the base is in the same pack.
pub(crate) fn base_offset(pack: &Pack, offset: u64, entry: &EntryHeader) -> Result<u64> {
    match entry.kind {
        EntryKind::OfsDelta(base) => Ok(base),
        EntryKind::RefDelta(raw) => {
            let id = ref_base(pack, &raw);
            let position =
                pack.lookup(&id).ok_or_else(|| pack.broken(offset, "its delta's base is not in the pack"))?;
            Ok(pack.offset_at(position))
        }
        EntryKind::Whole(_) => Err(pack.broken(offset, "it is no delta")),
    }
}

/// The id of a reference delta's base.
pub(crate) fn ref_base(pack: &Pack, raw: &[u8; 32]) -> ObjectId {
    ObjectId::from_bytes_or_panic(&raw[..pack.hash_len()])
}

/// Decoded objects that further deltas build on, bounded by bytes. When full, old ones leave in the order they came.
#[derive(Default)]
pub(crate) struct BaseCache(Mutex<CacheState>);

type Cached = (Kind, Arc<[u8]>);

#[derive(Default)]
struct CacheState {
    found: HashMap<(u64, u64), Cached>,
    queue: std::collections::VecDeque<(u64, u64)>,
    bytes: usize,
}

impl BaseCache {
    fn get(&self, pack: u64, offset: u64) -> Option<Cached> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).found.get(&(pack, offset)).cloned()
    }

    fn put(&self, pack: u64, offset: u64, kind: Kind, bytes: &Arc<[u8]>) {
        if bytes.len() > BASE_CACHE_OBJECT_BYTES_MAX {
            return;
        }
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *state;
        if state.found.insert((pack, offset), (kind, bytes.clone())).is_some() {
            return;
        }
        state.queue.push_back((pack, offset));
        state.bytes += bytes.len() + 96;
        while state.bytes as u64 > in_force().delta_base_cache_max {
            let Some(oldest) = state.queue.pop_front() else { break };
            if let Some((_, gone)) = state.found.remove(&oldest) {
                state.bytes -= gone.len() + 96;
            }
        }
    }
}

/// Lists the indexes of a folder of packs, with what tells two files of one name apart.
pub(crate) fn list(folder: &Path) -> Result<Vec<std::path::PathBuf>> {
    let mut found = Vec::new();
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(found),
        Err(e) => return Err(RepoError::io("list", folder)(e)),
    };
    for entry in entries {
        let path = entry.map_err(RepoError::io("list", folder))?.path();
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        if name.starts_with("pack-") && name.ends_with(".idx") {
            found.push(path);
        }
    }
    Ok(found)
}
