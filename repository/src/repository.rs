//! One bare repository on disk: its current generation, and the lock that writers of its refs take.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwapOption;
use slipway_core::{ObjectFormat, Oid, RefName};

use crate::boundary;
use crate::cure::no_object;
use crate::doubt;
use crate::error::{RepoError, Result};
use crate::findings::Answers;
use crate::formats::commit_graph::chain;
use crate::gate::Gate;
use crate::graph::Graph;
use crate::hold::Holds;
use crate::limits::{DOUBT_EVERY, PEEL_DEPTH_MAX, WATCHED_LOST_MAX};
use crate::loose::path_of;
use crate::object::Kind;
use crate::pack::Pack;
use crate::packs::{self, BaseCache, PackSet};
use crate::refs::{RawRefs, Ref, Stamp, Stamps, Value, head_itself};
use crate::send::cache::Recipes;
use crate::settings::{ConfigValue, Settings};
use crate::snapshot::{Snapshot, arrange, open_packs};
use crate::view::Views;

/// A repository. Blocking.
pub struct Repository {
    root: PathBuf,
    /// The hash that makes its ids; it never changes.
    format: ObjectFormat,
    current: ArcSwapOption<Generation>,
    /// Held while a generation is read, so that it is read once.
    reading: Mutex<HashMap<Oid, Option<Oid>>>,
    /// Something changed that the time stamps looked at do not show.
    stale: AtomicBool,
    /// Held while refs are written.
    writing: Mutex<()>,
    /// Held while packs are rolled up.
    pub(crate) maintaining: Mutex<()>,
    /// Between pushes and whoever drops objects.
    gate: Arc<Gate>,
    /// What a backup holds.
    holds: Arc<Holds>,
    cache: Arc<BaseCache>,
    views: Views,
    /// This handle's own among the answers.
    answers: Answers,
}

/// What repositories keep together, so that its bound is one for all of them.
#[derive(Clone, Default)]
pub(crate) struct Shared {
    recipes: Arc<Recipes>,
    bases: Arc<BaseCache>,
    pub(crate) holds: Arc<Holds>,
}

impl Drop for Repository {
    fn drop(&mut self) {
        self.answers.recipes.forget(self.answers.repository);
    }
}

/// A snapshot and what tells whether it is still current.
struct Generation {
    snapshot: Arc<Snapshot>,
    refs: Stamps,
    packs: Stamps,
    /// Of the commit-graph and the boundary: looked at only when something else has changed.
    graph: Stamps,
    /// How many doubts had been raised when it was last seen that none is about this one.
    doubts: AtomicU64,
    /// When its files were last looked at for that.
    looked: Mutex<Option<Instant>>,
}

impl Generation {
    /// True if nothing of it was found broken since it was read, and where anything was, here or elsewhere, its files are still
    /// those that are open.
    fn is_trusted(&self) -> bool {
        let raised = doubt::raised();
        if self.doubts.load(Ordering::Acquire) == raised {
            return true;
        }
        if self.snapshot.is_doubtful() {
            return false;
        }
        // Whoever is at it looks for all, and one that is asked all the time is not looked at all the time.
        let Ok(mut looked) = self.looked.try_lock() else { return true };
        if looked.is_some_and(|at| at.elapsed() < DOUBT_EVERY) {
            return true;
        }
        let packs = self.snapshot.packs.load();
        let same =
            packs.packs().iter().all(|pack| pack.is_as_opened()) && self.graph.still_hold().unwrap_or(false);
        if same {
            *looked = Some(Instant::now());
            self.doubts.store(raised, Ordering::Release);
        }
        same
    }
}

impl Repository {
    /// Opens the bare repository at `root`.
    pub(crate) fn open(root: PathBuf, shared: Shared) -> Result<Self> {
        let files = vec![root.join("config")];
        Self::new(root, Settings::default(), files, shared)
    }

    /// Opens the repository in the folder `root` (the one with `HEAD` in it) outside of a folder of repositories, with
    /// settings from `files` on top of `base`.
    ///
    /// # Errors
    /// [`RepoError::Unsupported`] for what is not served.
    pub fn open_with(root: PathBuf, base: Settings, files: Vec<PathBuf>) -> Result<Self> {
        Self::new(root, base, files, Shared::default())
    }

    /// The same repository with config values that count more than those of its files.
    #[must_use]
    pub fn overruled(mut self, last: Vec<ConfigValue>) -> Self {
        self.views.overrule(last);
        self
    }

    fn new(root: PathBuf, base: Settings, files: Vec<PathBuf>, shared: Shared) -> Result<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let format = check_format(&root)?;
        Ok(Self {
            format,
            views: Views::new(base, files),
            root,
            current: ArcSwapOption::empty(),
            reading: Mutex::default(),
            stale: AtomicBool::new(false),
            writing: Mutex::default(),
            maintaining: Mutex::default(),
            gate: Arc::default(),
            holds: shared.holds,
            cache: shared.bases,
            answers: Answers { repository: NUMBER.fetch_add(1, Ordering::Relaxed), recipes: shared.recipes },
        })
    }

    /// Its folder.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The hash that makes its ids.
    pub fn object_format(&self) -> ObjectFormat {
        self.format
    }

    /// Between pushes and whoever drops objects.
    pub(crate) fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// What a backup holds.
    pub(crate) fn holds(&self) -> &Holds {
        &self.holds
    }

    /// Decoded delta bases.
    pub(crate) fn bases(&self) -> Arc<BaseCache> {
        self.cache.clone()
    }

    /// What was made of its settings.
    pub(crate) fn views(&self) -> &Views {
        &self.views
    }

    /// Takes the turn to write refs.
    pub(crate) fn write_turn(&self) -> MutexGuard<'_, ()> {
        // The guarded value is (): a thread that panicked left nothing half-done in it.
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The current generation (cheap; notices changes made by plain git beside us).
    pub fn snapshot(&self) -> Result<Arc<Snapshot>> {
        if let Some(snapshot) = self.still_current()? {
            return Ok(snapshot);
        }
        let mut peeled = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(snapshot) = self.still_current()? {
            return Ok(snapshot);
        }
        self.stale.store(false, Ordering::Release);
        let read = self.read(&mut peeled);
        if read.is_err() {
            // What lies there now has not been seen.
            self.look_again();
        }
        read
    }

    /// Reads the generation that is there now.
    fn read(&self, peeled: &mut HashMap<Oid, Option<Oid>>) -> Result<Arc<Snapshot>> {
        let doubts = doubt::raised();
        let previous = self.current.load_full().filter(|generation| generation.is_trusted());
        if previous.is_none() {
            // Nothing of one that is in doubt is kept: its files may have been put right.
            self.answers.recipes.forget(self.answers.repository);
            peeled.clear();
        }
        // Refs first, packs second: objects are there before the refs that lead to them.
        let raw = RawRefs::read(&self.root)?;
        let (packs, pack_stamps) = self.read_packs(previous.as_deref())?;
        let head = match &raw.head {
            Value::Symbolic(name) => name.clone(),
            Value::Direct(..) => head_itself()?,
        };
        if previous.as_ref().is_some_and(|p| !packs.begins_with(&p.snapshot.packs.load().lineage())) {
            // Packs went: what refs lead to is looked for anew.
            peeled.clear();
        }
        let (graph, graph_stamps) = self.read_graph(previous.as_deref())?;
        let mut snapshot = Snapshot::new(
            self.root.join("objects"),
            self.format,
            head,
            packs.clone(),
            graph,
            self.answers.clone(),
        );
        (snapshot.refs, snapshot.lost) = advertised(&raw, &snapshot, peeled)?;
        let pack_stamps = self.watch_lost(&raw, &snapshot, pack_stamps)?;
        let snapshot = match &previous {
            // Nothing changed: what was computed for it stays valid.
            Some(p)
                if p.snapshot.refs == snapshot.refs
                    && p.snapshot.lost == snapshot.lost
                    && p.snapshot.head == snapshot.head
                    && Arc::ptr_eq(&p.snapshot.packs.load(), &packs)
                    && Arc::ptr_eq(&p.snapshot.graph, &snapshot.graph) =>
            {
                p.snapshot.clone()
            }
            Some(p) => {
                if !packs.begins_with(&p.snapshot.packs.load().lineage()) {
                    self.answers.recipes.retire(self.answers.repository, &packs);
                }
                snapshot.inherit(&p.snapshot)?;
                Arc::new(snapshot)
            }
            None => Arc::new(snapshot),
        };
        let generation = Generation {
            snapshot: snapshot.clone(),
            refs: raw.stamps,
            packs: pack_stamps,
            graph: graph_stamps,
            doubts: AtomicU64::new(doubts),
            looked: Mutex::default(),
        };
        self.current.store(Some(Arc::new(generation)));
        Ok(snapshot)
    }

    /// Has the next who asks open every file anew, those that are open now included.
    pub(crate) fn open_anew(&self) {
        self.current.store(None);
    }

    /// Has the next who asks look at everything anew.
    pub(crate) fn look_again(&self) {
        self.stale.store(true, Ordering::Release);
    }

    fn still_current(&self) -> Result<Option<Arc<Snapshot>>> {
        if self.stale.load(Ordering::Acquire) {
            return Ok(None);
        }
        match &*self.current.load() {
            Some(g) if g.is_trusted() && g.refs.still_hold()? && g.packs.still_hold()? => {
                Ok(Some(g.snapshot.clone()))
            }
            _ => Ok(None),
        }
    }

    /// Where refs lead to nothing: says why if the objects lie elsewhere, and has whatever may bring them back watched.
    fn watch_lost(&self, raw: &RawRefs, snapshot: &Snapshot, mut stamps: Stamps) -> Result<Stamps> {
        if snapshot.lost.is_empty() {
            return Ok(stamps);
        }
        check_alternates(&self.root)?;
        stamps.take(alternates(&self.root))?;
        for (name, _) in snapshot.lost.iter().take(WATCHED_LOST_MAX) {
            let value = raw.refs.get(name).unwrap_or(&raw.head);
            if let Some((target, _)) = raw.resolve(value) {
                stamps.take(path_of(&snapshot.objects, &target))?;
            }
        }
        Ok(stamps)
    }

    /// The packs on disk now; those already open are kept open, and the same set stays the same. Packs that were added go
    /// behind the others, so that places stay valid; any other change orders them anew.
    fn read_packs(&self, previous: Option<&Generation>) -> Result<(Arc<PackSet>, Stamps)> {
        let mut stamps = Stamps::new();
        let folder = self.root.join("objects/pack");
        stamps.take(folder.clone())?;
        let joint = Stamp::of(&folder.join("multi-pack-index"))?;
        let listed = packs::list(&folder)?;
        let Some(before) = previous.map(|p| p.snapshot.packs.load_full()) else {
            let opened = open_packs(listed.clone(), self.format)?;
            watch_left_out(&listed, &opened, &mut stamps)?;
            let packs = arrange(opened, &folder, self.cache.clone());
            return Ok((Arc::new(packs), stamps.with(joint)));
        };
        let same_index = previous.is_some_and(|p| p.packs.extra() == Some(joint));
        let mut open = before.index_paths();
        if doubt::raised() > 0 {
            // Where anything was found broken files may be put right, and a pack of the same name is then another.
            for pack in before.packs().iter().filter(|pack| !pack.is_as_opened()) {
                open.remove(pack.index_path().as_os_str());
            }
        }
        let (known, fresh): (Vec<_>, Vec<_>) =
            listed.into_iter().partition(|path| open.contains(path.as_os_str()));
        let opened = open_packs(fresh.clone(), self.format)?;
        watch_left_out(&fresh, &opened, &mut stamps)?;
        let fresh = opened;
        let all_there = known.len() == before.packs().len();
        if same_index && all_there {
            let packs = if fresh.is_empty() { before } else { Arc::new(before.with_more(fresh)) };
            return Ok((packs, stamps.with(joint)));
        }
        let known: HashSet<PathBuf> = known.into_iter().collect();
        let kept = before.packs().iter().filter(|p| known.contains(p.index_path())).cloned();
        let packs = arrange(kept.chain(fresh).collect(), &folder, self.cache.clone());
        Ok((Arc::new(packs), stamps.with(joint)))
    }

    /// The commit-graph and the boundary, read anew if their files changed.
    fn read_graph(&self, previous: Option<&Generation>) -> Result<(Arc<Graph>, Stamps)> {
        let objects = self.root.join("objects");
        let mut stamps = Stamps::new();
        stamps.take(chain::single_path(&objects))?;
        stamps.take(chain::list_path(&objects))?;
        stamps.take(boundary::path_of(&self.root))?;
        if let Some(previous) = previous
            && previous.graph.still_hold()?
        {
            return Ok((previous.snapshot.graph_to_keep(&objects)?, stamps));
        }
        Ok((Arc::new(Graph::open(&objects, self.format)?), stamps))
    }
}

/// Has the files of packs that could not be opened watched: one that is put right in its place changes no folder.
fn watch_left_out(listed: &[PathBuf], opened: &[Arc<Pack>], stamps: &mut Stamps) -> Result<()> {
    if listed.len() == opened.len() {
        return Ok(());
    }
    let open: HashSet<&Path> = opened.iter().map(|pack| pack.index_path()).collect();
    for index in listed.iter().filter(|index| !open.contains(index.as_path())) {
        stamps.take(index.clone())?;
        stamps.take(index.with_extension("pack"))?;
    }
    Ok(())
}

/// Refs that can be read, and those that cannot.
type Shown = (Vec<Ref>, Vec<(RefName, String)>);

/// The refs as they are shown: HEAD first if it resolves, then by name, tags peeled. Refs that lead nowhere are left
/// out, but for HEAD; those whose objects are missing are told apart, by name.
fn advertised(raw: &RawRefs, snapshot: &Snapshot, known: &mut HashMap<Oid, Option<Oid>>) -> Result<Shown> {
    let mut lost = raw.lost.clone();
    let mut shown = Vec::with_capacity(raw.refs.len() + 1);
    // Rebuilt each time, so that it holds only what is in use.
    let mut peels = HashMap::with_capacity(known.len());
    let head = (head_itself()?, &raw.head);
    for (name, value) in std::iter::once((&head.0, head.1)).chain(&raw.refs) {
        let Some((target, peeled)) = raw.resolve(value) else { continue };
        let symref = match value {
            Value::Symbolic(to) => Some(to.clone()),
            Value::Direct(..) => None,
        };
        let peeled = match peeled {
            Some(peeled) => peeled,
            None => match peels.get(&target).or_else(|| known.get(&target)) {
                Some(peeled) => *peeled,
                None => match peel(snapshot, &target)? {
                    Some(end) => (end != target).then_some(end),
                    None => {
                        tracing::warn!(%name, %target, "a ref leads to a missing object; only HEAD is shown so");
                        lost.push((name.clone(), no_object(&target)));
                        if name.as_str() == "HEAD" {
                            // As git has it: a clone fails then, instead of looking like one of an empty repository.
                            shown.push(Ref { name: name.clone(), target, peeled: None, symref });
                        }
                        continue;
                    }
                },
            },
        };
        peels.insert(target, peeled);
        shown.push(Ref { name: name.clone(), target, peeled, symref });
    }
    *known = peels;
    lost.sort();
    Ok((shown, lost))
}

/// What the object is after following tags; itself if it is none, `None` if something is missing.
pub(crate) fn peel(snapshot: &Snapshot, id: &Oid) -> Result<Option<Oid>> {
    let mut id = *id;
    for _ in 0..PEEL_DEPTH_MAX {
        match snapshot.object_size(&id)? {
            None => return Ok(None),
            Some((Kind::Tag, _)) => {}
            Some(_) => return Ok(Some(id)),
        }
        let tag = snapshot.object(&id, 16 << 20)?.ok_or(RepoError::Missing { id })?;
        let hex = tag.data.strip_prefix(b"object ").and_then(|rest| rest.split(|&b| b == b'\n').next());
        let target = hex.and_then(Oid::from_hex);
        id = target.ok_or_else(|| RepoError::BrokenObject { id, why: "it names no object".into() })?;
    }
    Ok(Some(id))
}

/// Which hash it uses. Refuses what is not served: unknown hashes, other ref stores, borrowed objects.
pub(crate) fn check_format(root: &Path) -> Result<ObjectFormat> {
    let unsupported = |why: &str| RepoError::Unsupported { path: root.to_owned(), why: why.into() };
    let path = root.join("config");
    let text = match fs::read(&path) {
        Ok(text) => String::from_utf8_lossy(&text).to_lowercase(),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(e) => return Err(RepoError::io("read", &path)(e)),
    };
    let mut section = "";
    let mut format = ObjectFormat::Sha1;
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            section = line;
        }
        let Some((key, value)) = line.split_once('=').map(|(k, v)| (k.trim(), v.trim())) else { continue };
        match (section, key, value) {
            ("[extensions]", "refstorage", "files") => {}
            ("[extensions]", "objectformat", name) => {
                let known = name.parse();
                format = known.map_err(|_| unsupported("uses another hash than SHA-1 and SHA-256"))?;
            }
            ("[extensions]", "refstorage", _) => {
                return Err(unsupported("keeps its refs in another form than files"));
            }
            ("[core]", "repositoryformatversion", version) if !matches!(version, "0" | "1") => {
                return Err(unsupported("has a format version above 1"));
            }
            _ => {}
        }
    }
    check_alternates(root)?;
    Ok(format)
}

fn alternates(root: &Path) -> PathBuf {
    root.join("objects/info/alternates")
}

/// Refuses a repository that borrows objects.
fn check_alternates(root: &Path) -> Result<()> {
    if fs::read(alternates(root)).is_ok_and(|text| !text.trim_ascii().is_empty()) {
        let why = "borrows objects from another repository (objects/info/alternates)".into();
        return Err(RepoError::Unsupported { path: root.to_owned(), why });
    }
    Ok(())
}
