//! One generation of a repository, the ground that everything stands on: its refs and its packs, unchanging, and how an
//! object is read from them. What is found out about it lies in [`Findings`]; who finds it out (`reach`, `bitmaps`, `send`)
//! stands above, and is not known here.

use std::any::Any;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arc_swap::ArcSwap;
use slipway_core::{ObjectFormat, Oid, RefName};

use crate::bulk::Bulk;
use crate::cure::no_object;
use crate::error::{RepoError, Result};
use crate::findings::{Answers, Findings};
use crate::formats::Midx;
use crate::graph::Graph;
use crate::loose::Loose;
use crate::mapped::Mapped;
use crate::object::{Kind, Object, Objects};
use crate::pack::Pack;
use crate::packs::{self, BaseCache, JointIndex, PackSet, Place, hash_kind};
use crate::refs::{Ref, Stamps};

/// An immutable view of one generation. Send + Sync; hold it as long as you read.
pub struct Snapshot {
    pub(crate) objects: PathBuf,
    pub(crate) format: ObjectFormat,
    pub(crate) head: RefName,
    pub(crate) refs: Vec<Ref>,
    /// Refs that are there and cannot be read, by name, and why; not among `refs`, HEAD aside.
    pub(crate) lost: Vec<(RefName, String)>,
    /// Grows only if an object that was loose went into a new pack while this was held.
    pub(crate) packs: ArcSwap<PackSet>,
    /// When the folder of packs was last looked at again, and whether that ever found new ones.
    pub(crate) rescanned: Mutex<Option<(Stamps, bool)>>,
    pub(crate) graph: Arc<Graph>,
    /// Which of the 256 folders of loose objects existed when first asked.
    loose_folders: OnceLock<Box<[bool; 256]>>,
    /// All that is no ground: what was found out about it.
    pub(crate) findings: Findings,
}

impl Snapshot {
    /// A generation without refs, to read the objects that its refs point at.
    pub(crate) fn new(
        objects: PathBuf,
        format: ObjectFormat,
        head: RefName,
        packs: Arc<PackSet>,
        graph: Arc<Graph>,
        answers: Answers,
    ) -> Self {
        Self {
            objects,
            format,
            head,
            refs: Vec::new(),
            lost: Vec::new(),
            packs: ArcSwap::new(packs),
            rescanned: Mutex::default(),
            graph,
            loose_folders: OnceLock::new(),
            findings: Findings::new(answers),
        }
    }

    /// HEAD first if it resolves, then by name.
    pub fn refs(&self) -> &[Ref] {
        &self.refs
    }

    /// The branch HEAD names, born or not. With a detached HEAD, `HEAD` itself.
    pub fn head(&self) -> &RefName {
        &self.head
    }

    /// The ref of that full name, or `HEAD`.
    pub fn find_ref(&self, name: &str) -> Option<&Ref> {
        let named = match self.refs.first() {
            Some(first) if first.name.as_str() == "HEAD" => {
                if name == "HEAD" {
                    return Some(first);
                }
                &self.refs[1..]
            }
            _ => &self.refs[..],
        };
        named.binary_search_by(|r| r.name.as_str().cmp(name)).ok().map(|i| &named[i])
    }

    /// What the ref of that full name (or `HEAD`) points at; `None` if there is none.
    ///
    /// # Errors
    /// [`RepoError::LostRef`] if there is one and it cannot be read.
    pub fn target_of(&self, name: &str) -> Result<Option<Oid>> {
        match self.lost.binary_search_by(|(lost, _)| lost.as_str().cmp(name)) {
            Ok(at) => Err(lost_ref(&self.lost[at])),
            Err(_) => Ok(self.find_ref(name).map(|r| r.target)),
        }
    }

    /// Asks whether all refs can be read.
    ///
    /// # Errors
    /// [`RepoError::LostRef`] for the first that cannot.
    pub fn check_refs(&self) -> Result<()> {
        self.lost.first().map_or(Ok(()), |lost| Err(lost_ref(lost)))
    }

    /// Asks whether HEAD can be read. Where what it leads to is missing, it can.
    ///
    /// # Errors
    /// [`RepoError::LostRef`] where it cannot.
    pub(crate) fn check_head(&self) -> Result<()> {
        let is_lost = self.head.as_str() == "HEAD" && self.find_ref("HEAD").is_none();
        let lost = self.lost.iter().find(|(name, _)| is_lost && name.as_str() == "HEAD");
        lost.map_or(Ok(()), |lost| Err(lost_ref(lost)))
    }

    /// Asks whether all refs can be read and what they point at is here: before something is said not to be there.
    ///
    /// # Errors
    /// [`RepoError::LostRef`] for the first that cannot, or leads to nothing.
    pub fn check_tips(&self) -> Result<()> {
        self.check_refs()?;
        for r in &self.refs {
            if !self.contains(&r.target)? {
                return Err(lost_ref(&(r.name.clone(), no_object(&r.target))));
            }
        }
        Ok(())
    }

    /// What `make` makes of this generation, one value of each type, made once: a place for whoever shows it to keep how
    /// that looks.
    pub fn memo<T: Any + Send + Sync>(&self, make: impl Fn(&Self) -> T) -> Arc<T> {
        self.findings.memo.get(|| make(self))
    }

    /// The hash that makes its ids.
    pub fn object_format(&self) -> ObjectFormat {
        self.format
    }

    /// The commits of a shallow repository whose parents are not here, by id; none if its history is whole.
    pub fn boundary(&self) -> &[Oid] {
        self.graph.boundary().ids()
    }

    /// True if the object is stored here, reachable or not.
    pub fn contains(&self, id: &Oid) -> Result<bool> {
        Ok(self.look(id, |_| Ok(()))?.is_some())
    }

    /// The object, `None` if it is not there; an error if larger than `max` bytes.
    pub fn object(&self, id: &Oid, max: u64) -> Result<Option<Object>> {
        self.find(id, max)
    }

    /// The object's kind and its size in bytes, without reading all of it.
    pub fn object_size(&self, id: &Oid) -> Result<Option<(Kind, u64)>> {
        self.look(id, |found| match found {
            Found::Packed(packs, place) => packs.header(place),
            Found::Loose(loose) => Ok((loose.kind, loose.size)),
        })
    }

    /// The object, in memory only if it is small or there is room.
    pub(crate) fn bulk(&self, id: &Oid) -> Result<Option<(Kind, Bulk)>> {
        self.look(id, |found| match found {
            Found::Packed(packs, place) => packs.bulk(place),
            Found::Loose(loose) => Ok((loose.kind, loose.bulk(id, &self.objects)?)),
        })
    }

    /// Kind and size if the object was here when the snapshot was taken: no second look for late packs, and no file is
    /// looked for in folders that do not exist.
    pub(crate) fn stored(&self, id: &Oid) -> Result<Option<(Kind, u64)>> {
        let packs = self.packs.load();
        if let Some(place) = packs.locate(id) {
            return packs.header(place).map(Some);
        }
        let folders = self.loose_folders.get_or_init(|| {
            Box::new(std::array::from_fn(|i| self.objects.join(format!("{i:02x}")).is_dir()))
        });
        if !folders[usize::from(id.as_bytes()[0])] {
            return Ok(None);
        }
        Ok(Loose::open(&self.objects, id)?.map(|loose| (loose.kind, loose.size)))
    }

    /// True if something of it was found broken, or cannot be read: its files are worth a new look.
    pub(crate) fn is_doubtful(&self) -> bool {
        let bitmaps = self.findings.bitmaps.get().and_then(Option::as_ref);
        self.packs.load().is_doubtful()
            || self.graph.is_doubtful()
            || bitmaps.is_some_and(|bitmaps| bitmaps.is_lost())
    }

    /// Asks whether all that was read of the indexes, the commit-graph and the bitmaps could be read: before what was found
    /// out from them leaves this server.
    ///
    /// # Errors
    /// The first that could not.
    pub(crate) fn check_ground(&self) -> Result<()> {
        self.packs.load().check_indexes()?;
        self.graph.check()?;
        match self.findings.bitmaps.get() {
            Some(Some(bitmaps)) if bitmaps.is_lost() => Err(bitmaps.unreadable()),
            _ => Ok(()),
        }
    }

    /// True if there may be loose objects.
    pub(crate) fn has_loose(&self) -> bool {
        (0..=255u8).any(|n| self.objects.join(format!("{n:02x}")).is_dir())
    }

    /// Packs first, then loose files, then packs that came since.
    pub(crate) fn look<T>(
        &self,
        id: &Oid,
        mut visit: impl FnMut(Found<'_>) -> Result<T>,
    ) -> Result<Option<T>> {
        if id.format() != self.format {
            // An id of the other hash names nothing here.
            return Ok(None);
        }
        let packs = self.packs.load();
        if let Some(place) = packs.locate(id) {
            return visit(Found::Packed(&packs, place)).map(Some);
        }
        if let Some(loose) = Loose::open(&self.objects, id)? {
            return visit(Found::Loose(&loose)).map(Some);
        }
        if self.rescan()? {
            let packs = self.packs.load();
            if let Some(place) = packs.locate(id) {
                return visit(Found::Packed(&packs, place)).map(Some);
            }
        }
        self.packs.load().check_indexes()?;
        Ok(None)
    }

    /// Adds packs that another program made since. Returns whether a second look is worth it.
    fn rescan(&self) -> Result<bool> {
        let folder = self.objects.join("pack");
        let mut last = self.rescanned.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((stamps, grown)) = &*last
            && stamps.still_hold()?
        {
            return Ok(*grown);
        }
        let mut stamps = Stamps::new();
        stamps.take(folder.clone())?;
        let known = self.packs.load_full();
        let mut fresh = packs::list(&folder)?;
        let open = known.index_paths();
        fresh.retain(|path| !open.contains(path.as_os_str()));
        let opened = open_packs(fresh, self.format)?;
        // Another thread may have grown the set since the caller looked: then a second look is worth it too.
        let grown = !opened.is_empty() || last.as_ref().is_some_and(|(_, grown)| *grown);
        if !opened.is_empty() {
            self.packs.store(Arc::new(known.with_more(opened)));
        }
        *last = Some((stamps, grown));
        Ok(grown)
    }
}

fn lost_ref((name, why): &(RefName, String)) -> RepoError {
    RepoError::LostRef { name: name.clone(), why: why.clone() }
}

/// Where an object was found.
pub(crate) enum Found<'a> {
    Packed(&'a PackSet, Place),
    Loose(&'a Loose),
}

impl Objects for Snapshot {
    fn read(&self, id: &Oid, max: u64, data: &mut Vec<u8>) -> Result<Option<Kind>> {
        self.look(id, |found| match found {
            Found::Packed(packs, place) => packs.read(place, max, data),
            Found::Loose(loose) if loose.size > max => {
                Err(RepoError::ObjectTooLarge { id: *id, size: loose.size, max })
            }
            Found::Loose(loose) => {
                loose.read(id, &self.objects, data)?;
                Ok(loose.kind)
            }
        })
    }

    fn header(&self, id: &Oid) -> Result<Option<(Kind, u64)>> {
        self.object_size(id)
    }

    fn is_boundary(&self, id: &Oid) -> bool {
        self.graph.boundary().has(id)
    }
}

/// Opens packs, oldest first, leaving out those that went meanwhile and, loudly, those that are broken: what they hold
/// is then missing, which every reader reports by name.
pub(crate) fn open_packs(indexes: Vec<PathBuf>, format: ObjectFormat) -> Result<Vec<Arc<Pack>>> {
    let mut opened = Vec::with_capacity(indexes.len());
    for path in indexes {
        let modified = match fs::metadata(path.with_extension("pack")).and_then(|m| m.modified()) {
            Ok(time) => time,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            Err(e) => return Err(RepoError::io("look at", &path)(e)),
        };
        match Pack::open(&path, hash_kind(format)) {
            Ok(pack) => opened.push((modified, path, Arc::new(pack))),
            Err(RepoError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {}
            Err(e @ RepoError::BrokenPack { .. }) => tracing::error!("{}; it is left out", e.located()),
            Err(e) => return Err(e),
        }
    }
    opened.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
    Ok(opened.into_iter().map(|(_, _, pack)| pack).collect())
}

/// Puts packs in order: first those of the multi-pack index, or the one that has bitmaps; then as they came.
pub(crate) fn arrange(mut packs: Vec<Arc<Pack>>, folder: &Path, cache: Arc<BaseCache>) -> PackSet {
    let first = packs.iter().position(|pack| pack.path().with_extension("bitmap").exists());
    if let Some(first) = first {
        packs[..=first].rotate_right(1);
    }
    let Some(hash_len) = packs.first().map(|pack| pack.hash_len()) else { return PackSet::new(packs, cache) };
    let path = folder.join("multi-pack-index");
    let (file, bytes) = match Mapped::open(&path) {
        Ok(data) => match Midx::parse(data.clone(), hash_len) {
            Ok(file) => (file, data),
            Err(e) => {
                tracing::warn!(path = %path.display(), "the multi-pack index is not used: {e}");
                return PackSet::new(packs, cache);
            }
        },
        Err(_) => return PackSet::new(packs, cache),
    };
    let mut numbers = Vec::with_capacity(file.packs() as usize);
    for (number, place) in (0..file.packs()).zip(0usize..) {
        let named = |pack: &Arc<Pack>| {
            pack.index_path().file_name().and_then(|n| n.to_str()) == file.pack_name(number)
        };
        // Another program has removed a pack that the index still names: it is made anew soon.
        let Some(at) = packs[place..].iter().position(named) else { return PackSet::new(packs, cache) };
        packs[place..=place + at].rotate_right(1);
        numbers.push(place as u32);
    }
    PackSet::with_index(packs, Some(Arc::new(JointIndex::new(file, bytes, numbers))), cache)
}
