//! The objects of a repository, kept by hard links below `slipway/held` for as long as somebody reads them, and its small files.
//! A disk that is full takes no links: then they are read where they lie. Nothing is rolled up there either that would take one away,
//! and should there be room again just then, the backup says what it has missed.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use slipway_core::spool::is_full;
use slipway_core::{Oid, RefName};

use super::refs::HeldRefs;
use crate::error::{RepoError, Result};
use crate::limits::{HELD_FILE_BYTES_MAX, HELD_TRIES_MAX};
use crate::sweep::KEEP_WORDS;

/// The folder of links, in the repository's own.
pub(crate) const FOLDER: &str = "slipway/held";

/// What goes with a pack. The multi-pack index, bitmaps and the commit-graph are not here: they are made anew.
const OF_PACKS: [&str; 6] = ["pack", "idx", "rev", "mtimes", "keep", "promisor"];
/// Small files of a repository beside its refs.
const SMALL: [&str; 5] = ["config", "description", "info/attributes", "info/exclude", "slipway/id"];

/// One repository as it was at the moment of its hold.
pub struct HeldRepository {
    /// The folder of links, or the repository's own: opened once, so that it is found wherever the repository's folder goes.
    folder: File,
    /// Where the links are, if there are any.
    links: Option<PathBuf>,
    small: Vec<(String, Vec<u8>)>,
    packs: BTreeSet<String>,
    loose: Vec<Oid>,
    lost: Vec<(RefName, String)>,
}

impl HeldRepository {
    pub(super) fn new(root: &Path, refs: HeldRefs) -> Result<Self> {
        let open = |path: &Path| File::open(path).map_err(RepoError::io("open", path));
        let mut held = Self {
            folder: open(root)?,
            links: None,
            small: refs.files,
            packs: BTreeSet::new(),
            loose: Vec::new(),
            lost: refs.lost,
        };
        let path = root.join(FOLDER);
        remove(&path)?;
        let linked = make(&path.join("objects/pack")).and_then(|()| {
            held.folder = open(&path)?;
            held.links = Some(path.clone());
            held.link_objects(&root.join("objects"))
        });
        match linked {
            Err(RepoError::Io { source, .. }) if is_full(&source) => {
                remove(&path)?;
                (held.folder, held.links) = (open(root)?, None);
                held.link_objects(&root.join("objects"))?;
            }
            linked => linked?,
        }
        for name in SMALL {
            held.small.extend(read_small(root, name)?.map(|text| (name.to_owned(), text)));
        }
        Ok(held)
    }

    /// Small files with their content, by their names in the repository's folder: refs, `config` and the like.
    pub fn small(&self) -> &[(String, Vec<u8>)] {
        &self.small
    }

    /// Refs that cannot be read, and why: they are not among the files.
    pub fn lost(&self) -> &[(RefName, String)] {
        &self.lost
    }

    /// The files of its objects, packs first, by their names in the repository's folder. None of them ever changes.
    pub fn objects(&self) -> impl Iterator<Item = String> {
        let packs = self.packs.iter().map(|name| format!("objects/pack/{name}"));
        let loose = self.loose.iter().map(|id| {
            let hex = id.to_string();
            format!("objects/{}/{}", &hex[..2], &hex[2..])
        });
        packs.chain(loose)
    }

    /// Opens one of [`HeldRepository::objects`].
    ///
    /// # Errors
    /// A disk that fails.
    pub fn open(&self, name: &str) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        Ok(rustix::fs::openat(&self.folder, name, flags, Mode::empty())?.into())
    }

    /// Links everything. Objects move from files of their own into packs, and from packs into others, which are there first:
    /// two listings of the packs that are the same, with all of them linked in between, hold every object.
    fn link_objects(&mut self, objects: &Path) -> Result<()> {
        for _ in 0..HELD_TRIES_MAX {
            let loose = self.link_loose(objects)?;
            let before = packs(&objects.join("pack"))?;
            let mut all = true;
            for name in &before {
                all &= self.link(&objects.join("pack").join(name), &format!("objects/pack/{name}"))?;
            }
            if all && packs(&objects.join("pack"))? == before {
                (self.loose, self.packs) = (loose, before);
                return Ok(());
            }
        }
        Err(RepoError::Maintained)
    }

    /// Links loose objects; one that is not there any more lies in a pack.
    fn link_loose(&self, objects: &Path) -> Result<Vec<Oid>> {
        let mut found = Vec::new();
        for byte in 0..=255u8 {
            let folder = objects.join(format!("{byte:02x}"));
            for name in names(&folder)? {
                let Some(id) = Oid::from_hex(format!("{byte:02x}{name}").as_bytes()) else { continue };
                let to = format!("objects/{byte:02x}");
                if let Some(links) = &self.links {
                    make(&links.join(&to))?;
                }
                if self.link(&folder.join(&name), &format!("{to}/{name}"))? {
                    found.push(id);
                }
            }
        }
        Ok(found)
    }

    /// False if the file is not there any more.
    fn link(&self, from: &Path, to: &str) -> Result<bool> {
        let Some(links) = &self.links else { return Ok(from.exists()) };
        match fs::hard_link(from, links.join(to)) {
            Ok(()) => Ok(true),
            // Linked in an earlier round.
            Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(true),
            Err(e) if e.kind() == ErrorKind::NotFound && links.exists() => Ok(false),
            Err(e) => Err(RepoError::io("link", from)(e)),
        }
    }
}

impl Drop for HeldRepository {
    fn drop(&mut self) {
        // A folder that has gone aside goes with its links.
        if let Some(links) = &self.links
            && let Err(e) = remove(links)
        {
            tracing::warn!(path = %links.display(), "links of a backup are left until the next start: {e}");
        }
    }
}

/// The names of packs' files, those of packs without an index aside: nobody sees these.
fn packs(folder: &Path) -> Result<BTreeSet<String>> {
    let all: BTreeSet<String> = names(folder)?.into_iter().collect();
    let is_whole = |stem: &str| all.contains(&format!("{stem}.idx")) && all.contains(&format!("{stem}.pack"));
    let of_pack = |name: &String| {
        let Some((stem, extension)) = name.split_once('.') else { return false };
        let is_one = stem.starts_with("pack-") && OF_PACKS.contains(&extension) && is_whole(stem);
        is_one && !(extension == "keep" && is_kept_for_a_push(&folder.join(name)))
    };
    Ok(all.iter().filter(|name| of_pack(name)).cloned().collect())
}

fn is_kept_for_a_push(path: &Path) -> bool {
    let mut words = Vec::new();
    let read = File::open(path).and_then(|file| file.take(KEEP_WORDS.len() as u64).read_to_end(&mut words));
    // One that is gone by now was.
    read.is_err() || words == KEEP_WORDS.as_bytes()
}

fn names(folder: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(RepoError::io("list", folder)(e)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry.map_err(RepoError::io("list", folder))?.file_name();
        found.extend(name.into_string());
    }
    Ok(found)
}

fn read_small(root: &Path, name: &str) -> Result<Option<Vec<u8>>> {
    let path = root.join(name);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(RepoError::io("read", &path)(e)),
    };
    let mut text = Vec::new();
    file.take(HELD_FILE_BYTES_MAX + 1).read_to_end(&mut text).map_err(RepoError::io("read", &path))?;
    if text.len() as u64 > HELD_FILE_BYTES_MAX {
        return Err(RepoError::TooMuch {
            what: "the bytes of a repository's small file",
            max: HELD_FILE_BYTES_MAX,
        });
    }
    Ok(Some(text))
}

fn make(folder: &Path) -> Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(RepoError::io("create", folder))
}

pub(crate) fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(RepoError::io("remove", folder)(e)),
        _ => Ok(()),
    }
}
