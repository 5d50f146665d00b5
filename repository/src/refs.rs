//! The refs of a repository as read from disk: `HEAD`, loose files below `refs/` and `packed-refs` (git-pack-refs(1)).
//!
//! Whoever writes them, plain git included, replaces files by rename, so each file is read whole or not at all.
//! Peeling needs objects and is left to the caller. Knows how to read; [`update`] writes.

pub(crate) mod update;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Instant;

use slipway_core::{Oid, RefName};

use crate::boundary;
use crate::error::{RepoError, Result};
use crate::limits::{
    PACKED_REFS_BYTES_MAX, PEEL_DEPTH_MAX, RACY_NS, REF_FOLDERS_DEEP_MAX, WATCH_REFS_EVERY, WATCHED_REFS_MAX,
};

/// One ref as advertised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ref {
    /// Its full name.
    pub name: RefName,
    /// The object it points at, symbolic refs followed.
    pub target: Oid,
    /// For annotated tags: what they finally point at.
    pub peeled: Option<Oid>,
    /// For symbolic refs: the ref they name.
    pub symref: Option<RefName>,
}

/// The name `HEAD`.
pub(crate) fn head_itself() -> Result<RefName> {
    RefName::parse("HEAD").map_err(|e| RepoError::Invalid { what: e.to_string() })
}

/// What one ref says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// An object, and what it peels to where `packed-refs` told (`Some(None)`: it is no tag).
    Direct(Oid, Option<Option<Oid>>),
    /// Another ref.
    Symbolic(RefName),
}

/// All refs, unpeeled, and what to look at to see whether they changed.
pub(crate) struct RawRefs {
    pub(crate) head: Value,
    /// Without HEAD.
    pub(crate) refs: BTreeMap<RefName, Value>,
    /// Those whose files cannot be read, and why.
    pub(crate) lost: Vec<(RefName, String)>,
    pub(crate) stamps: Stamps,
}

/// Tells two states of a file or folder apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Stamp {
    mtime_ns: i128,
    ctime_ns: i128,
    inode: u64,
    size: u64,
}

impl Stamp {
    /// That of an open file.
    pub(crate) fn told_by(m: &fs::Metadata) -> Self {
        Self {
            mtime_ns: i128::from(m.mtime()) * 1_000_000_000 + i128::from(m.mtime_nsec()),
            ctime_ns: i128::from(m.ctime()) * 1_000_000_000 + i128::from(m.ctime_nsec()),
            inode: m.ino(),
            size: m.size(),
        }
    }

    /// The stamp of what is at `path`; `None` if nothing is.
    pub(crate) fn of(path: &Path) -> Result<Option<Self>> {
        match fs::metadata(path) {
            Ok(m) => Ok(Some(Self::told_by(&m))),
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            Err(e) => Err(RepoError::io("look at", path)(e)),
        }
    }
}

/// Stamps taken before reading.
pub(crate) struct Stamps {
    of: Vec<(PathBuf, Option<Stamp>)>,
    /// Files that whoever writes them replaces, which their folder shows; a person with an editor may not.
    by_hand: Vec<(PathBuf, Option<Stamp>)>,
    /// When these were looked at last.
    watched: Mutex<Instant>,
    racy: bool,
    now_ns: i128,
    extra: Option<Option<Stamp>>,
}

impl Stamps {
    /// Starts a reading now.
    pub(crate) fn new() -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self {
            of: Vec::new(),
            by_hand: Vec::new(),
            watched: Mutex::new(Instant::now()),
            racy: false,
            now_ns: now.as_nanos() as i128,
            extra: None,
        }
    }

    /// Remembers the state of `path`, to be called before it is read. Returns whether it exists.
    pub(crate) fn take(&mut self, path: PathBuf) -> Result<bool> {
        let stamp = Stamp::of(&path)?;
        if let Some(s) = &stamp {
            // Changed within the clock's tick: another change in the same tick would not show.
            self.racy |= s.mtime_ns.max(s.ctime_ns) > self.now_ns - RACY_NS;
        }
        self.of.push((path, stamp));
        Ok(stamp.is_some())
    }

    /// Remembers the state of a file that only people would write into, to be called before it is read.
    fn watch(&mut self, path: &Path) -> Result<()> {
        if self.by_hand.len() < WATCHED_REFS_MAX {
            self.by_hand.push((path.to_owned(), Stamp::of(path)?));
        }
        Ok(())
    }

    /// True if no file was written by hand; looked at now and then, so that those who ask all the time do not pay for it.
    fn is_untouched(&self) -> Result<bool> {
        if self.by_hand.is_empty() {
            return Ok(true);
        }
        // Whoever is at it looks for all.
        let Ok(mut watched) = self.watched.try_lock() else { return Ok(true) };
        if watched.elapsed() < WATCH_REFS_EVERY {
            return Ok(true);
        }
        let same = hold(&self.by_hand)?;
        if same {
            *watched = Instant::now();
        }
        Ok(same)
    }

    /// Remembers one more state, which changes nothing about whether they hold.
    pub(crate) fn with(mut self, extra: Option<Stamp>) -> Self {
        self.extra = Some(extra);
        self
    }

    /// That state.
    pub(crate) fn extra(&self) -> Option<Option<Stamp>> {
        self.extra
    }

    /// True if everything looks as it did, and a change could not have gone unseen.
    pub(crate) fn still_hold(&self) -> Result<bool> {
        if self.racy {
            return Ok(false);
        }
        Ok(hold(&self.of)? && self.is_untouched()?)
    }
}

/// True if everything looks as it did.
fn hold(stamps: &[(PathBuf, Option<Stamp>)]) -> Result<bool> {
    for (path, stamp) in stamps {
        if Stamp::of(path)? != *stamp {
            return Ok(false);
        }
    }
    Ok(true)
}

impl RawRefs {
    /// Reads all refs of the bare repository at `root`.
    pub(crate) fn read(root: &Path) -> Result<Self> {
        let mut stamps = Stamps::new();
        stamps.take(root.join("HEAD"))?;
        let (head, lost) = read_head(root)?;
        // Loose before packed: git pack-refs writes the packed file before it removes loose ones, so what is not seen
        // loose is seen packed.
        let mut loose = Loose { lost, ..Loose::default() };
        if !stamps.take(root.join("refs"))? {
            return Err(RepoError::BrokenRef { path: root.join("refs"), why: "it is missing".into() });
        }
        read_folder(&root.join("refs"), "refs", 0, &mut stamps, &mut loose)?;
        let packed_path = root.join("packed-refs");
        stamps.take(packed_path.clone())?;
        let mut refs = read_packed(&packed_path)?;
        for (name, _) in &loose.lost {
            // What was packed before is not what the ref says now.
            refs.remove(name);
        }
        refs.append(&mut loose.refs);
        // Nearly no repository is shallow, and one that becomes so changes its packs too.
        let boundary = boundary::path_of(root);
        if Stamp::of(&boundary)?.is_some() {
            stamps.take(boundary)?;
        }
        Ok(Self { head, refs, lost: loose.lost, stamps })
    }

    /// The object a value leads to, and the first ref it names.
    pub(crate) fn resolve(&self, value: &Value) -> Option<(Oid, Option<Option<Oid>>)> {
        let mut value = value;
        for _ in 0..PEEL_DEPTH_MAX {
            match value {
                Value::Direct(id, peeled) => return Some((*id, *peeled)),
                Value::Symbolic(name) => value = self.refs.get(name)?,
            }
        }
        None
    }
}

/// Refs in files of their own.
#[derive(Default)]
struct Loose {
    refs: BTreeMap<RefName, Value>,
    lost: Vec<(RefName, String)>,
}

fn read_folder(
    folder: &Path,
    prefix: &str,
    deep: usize,
    stamps: &mut Stamps,
    loose: &mut Loose,
) -> Result<()> {
    if deep > REF_FOLDERS_DEEP_MAX {
        return Ok(());
    }
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        // Removed since its name was read: an emptied folder.
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(()),
        Err(e) => return Err(RepoError::io("list", folder)(e)),
    };
    for entry in entries {
        let entry = entry.map_err(RepoError::io("list", folder))?;
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|n| !n.ends_with(".lock")) else { continue };
        let full = format!("{prefix}/{name}");
        let path = entry.path();
        let is_folder = match entry.file_type() {
            Ok(t) if t.is_symlink() => path.is_dir(),
            Ok(t) => t.is_dir(),
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(RepoError::io("look at", &path)(e)),
        };
        if is_folder {
            stamps.take(path.clone())?;
            read_folder(&path, &full, deep + 1, stamps, loose)?;
            continue;
        }
        let Ok(name) = RefName::parse(&full) else {
            tracing::warn!(path = %path.display(), "a ref's name is not valid; it is not shown");
            continue;
        };
        stamps.watch(&path)?;
        match read_file(&path) {
            Ok(Some(value)) => drop(loose.refs.insert(name, value)),
            Ok(None) => {}
            Err(e @ RepoError::BrokenRef { .. }) => {
                tracing::warn!("{}; the ref is not shown", e.located());
                // Who mends it by hand may write into it: no folder shows that.
                stamps.take(path.clone())?;
                if let RepoError::BrokenRef { why, .. } = e {
                    loose.lost.push((name, format!("its file is broken: {why}")));
                }
            }
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// What HEAD says, and why it cannot be read. One that cannot names itself, which leads nowhere: everything else of the repository
/// can be read, and an admin can name the default branch anew.
fn read_head(root: &Path) -> Result<(Value, Vec<(RefName, String)>)> {
    let path = root.join("HEAD");
    let why = match read_file(&path) {
        Ok(Some(head)) => return Ok((head, Vec::new())),
        Ok(None) if !root.exists() => return Err(RepoError::NoFolder { path: root.to_owned() }),
        Ok(None) => "it is missing".to_owned(),
        Err(RepoError::BrokenRef { why, .. }) => why,
        Err(e) => return Err(e),
    };
    let name = head_itself()?;
    Ok((Value::Symbolic(name.clone()), vec![(name, format!("its file is broken: {why}"))]))
}

/// Reads one loose ref or HEAD; `None` if there is no such file.
pub(crate) fn read_file(path: &Path) -> Result<Option<Value>> {
    let mut file = match fs::File::open(path) {
        Ok(file) => file,
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(e) => return Err(RepoError::io("read", path)(e)),
    };
    let mut raw = Vec::with_capacity(256);
    match file.by_ref().take(4096).read_to_end(&mut raw) {
        Ok(_) => {}
        Err(e) if e.kind() == io::ErrorKind::IsADirectory => return Ok(None),
        Err(e) => return Err(RepoError::io("read", path)(e)),
    }
    let broken = |why: &str| RepoError::BrokenRef { path: path.to_owned(), why: why.into() };
    let text = std::str::from_utf8(&raw).map_err(|_| broken("it is not text"))?.trim_end();
    if let Some(name) = text.strip_prefix("ref:") {
        let name =
            RefName::parse(name.trim_start()).map_err(|_| broken("it names a ref that is not valid"))?;
        return Ok(Some(Value::Symbolic(name)));
    }
    let hex = text.split_ascii_whitespace().next().unwrap_or_default();
    let id = Oid::parse(hex).map_err(|_| broken("it has no object id"))?;
    Ok(Some(Value::Direct(id, None)))
}

/// Reads `packed-refs`; empty if there is none.
pub(crate) fn read_packed(path: &Path) -> Result<BTreeMap<RefName, Value>> {
    let raw = match fs::metadata(path) {
        Ok(m) if m.len() > PACKED_REFS_BYTES_MAX => {
            return Err(RepoError::BrokenRef { path: path.to_owned(), why: "it is too large".into() });
        }
        Ok(_) => fs::read(path),
        Err(e) => Err(e),
    };
    match raw {
        Ok(raw) => parse_packed(path, &raw),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(e) => Err(RepoError::io("read", path)(e)),
    }
}

/// [`read_packed`] of a text. `path` is for people.
pub(crate) fn parse_packed(path: &Path, raw: &[u8]) -> Result<BTreeMap<RefName, Value>> {
    let broken = |line: usize| RepoError::BrokenRef {
        path: path.to_owned(),
        why: format!("line {line} is not valid"),
    };
    let mut refs = Vec::new();
    let mut fully_peeled = false;
    let lines = raw.split(|&b| b == b'\n');
    for (line, number) in lines.zip(1..) {
        if line.is_empty() {
            continue;
        }
        if line.starts_with(b"#") {
            fully_peeled |= line.split(|&b| b == b' ').any(|w| w == b"fully-peeled");
        } else if let Some(hex) = line.strip_prefix(b"^") {
            let peeled = Oid::from_hex(hex).ok_or_else(|| broken(number))?;
            match refs.last_mut() {
                Some((_, Value::Direct(_, p))) => *p = Some(Some(peeled)),
                _ => return Err(broken(number)),
            }
        } else {
            let space = line.iter().position(|&b| b == b' ').ok_or_else(|| broken(number))?;
            let id = Oid::from_hex(&line[..space]).ok_or_else(|| broken(number))?;
            let name = std::str::from_utf8(&line[space + 1..]).ok().and_then(|n| RefName::parse(n).ok());
            let Some(name) = name else {
                tracing::warn!(path = %path.display(), line = number, "a ref's name is not valid; it is not shown");
                // A place for a "^" line to land on.
                refs.push((None, Value::Direct(id, None)));
                continue;
            };
            refs.push((Some(name), Value::Direct(id, fully_peeled.then_some(None))));
        }
    }
    Ok(refs.into_iter().filter_map(|(name, value)| Some((name?, value))).collect())
}
