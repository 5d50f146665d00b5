//! The folder of repositories: making, opening, removing.
//!
//! Each is a bare repository `ID.git` that plain git reads; ids are never given twice, so that nothing here is ever taken
//! for another that had its name. Making one and removing one are a rename each, so that a crash leaves nothing half-made
//! under an id; what it leaves aside, [`Repositories::sweep`] removes. Names are no matter of this room but for the links
//! that lead administrators to a folder ([`links`]).

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use slipway_core::limits::in_force;
use slipway_core::{ObjectFormat, RepoId};

use crate::durable::sync_folder;
use crate::error::{RepoError, Result};
use crate::hold::Holds;
use crate::limits::PROBE_BYTES;
use crate::repository::{Repository, Shared};

mod adopt;
mod identity;
mod links;

pub use self::adopt::Adopted;

/// Prefix of folders being made or removed. No repository name starts with a dot.
const ASIDE: &str = ".slipway-";

/// What a new repository's `config` says. Version 1 is what makes extensions count (gitrepository-layout(5)); SHA-1 needs
/// none, and stays readable for whoever knows only version 0.
fn config(format: ObjectFormat) -> String {
    let (version, extensions) = match format {
        ObjectFormat::Sha1 => (0, String::new()),
        other => (1, format!("[extensions]\n\tobjectformat = {other}\n")),
    };
    format!("[core]\n\trepositoryformatversion = {version}\n\tfilemode = true\n\tbare = true\n{extensions}")
}

/// The folder DATA/repos.
pub struct Repositories {
    root: PathBuf,
    open: Mutex<Open>,
    shared: Shared,
}

#[derive(Default)]
struct Open {
    handles: HashMap<RepoId, (Arc<Repository>, u64)>,
    uses: u64,
}

impl Repositories {
    /// Uses the folder, made if it is missing.
    pub fn open(root: &Path) -> Result<Self> {
        fs::create_dir_all(root).map_err(RepoError::io("create", root))?;
        let root = root.canonicalize().map_err(RepoError::io("open", root))?;
        Ok(Self { root, open: Mutex::default(), shared: Shared::default() })
    }

    /// Makes an empty repository whose HEAD names `main`, with ids of that hash, which never changes.
    ///
    /// # Errors
    /// [`RepoError::FolderExists`] if a folder of that id is there: it is somebody's, and not looked into.
    pub fn create(&self, id: RepoId, format: ObjectFormat) -> Result<Arc<Repository>> {
        let path = self.path(id);
        let mut open = self.lock();
        let taken = || RepoError::FolderExists { path: path.clone() };
        if is_there(&path)? {
            return Err(taken());
        }
        let aside = self.aside("new");
        let made = lay_out(&aside, format).and_then(|()| identity::mark(&aside, id)).and_then(|()| {
            // A name that plain git took meanwhile has files in it, and then the rename fails.
            fs::rename(&aside, &path).map_err(|e| match e.kind() {
                ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists => taken(),
                _ => RepoError::io("create", &path)(e),
            })
        });
        if let Err(e) = made {
            let _ = fs::remove_dir_all(&aside);
            return Err(e);
        }
        sync_folder(&self.root)?;
        self.opened(&mut open, id)
    }

    /// Opens it; open handles are cached and bounded.
    ///
    /// # Errors
    /// [`RepoError::NoFolder`] if its folder is not there, [`RepoError::NotIts`] if another's is in its place.
    pub fn get(&self, id: RepoId) -> Result<Arc<Repository>> {
        let mut open = self.lock();
        open.uses += 1;
        let now = open.uses;
        if let Some((repository, used)) = open.handles.get_mut(&id) {
            *used = now;
            return Ok(repository.clone());
        }
        self.opened(&mut open, id)
    }

    /// Deletes it with the links to it. Who still reads it goes on reading what is open. That it is gone already is fine.
    pub fn remove(&self, id: RepoId) -> Result<()> {
        self.lock().handles.remove(&id);
        self.unlink(id)?;
        self.remove_folder(&id.to_string())
    }

    /// Deletes a folder that no record owns, by its name without `.git`.
    pub fn remove_folder(&self, stem: &str) -> Result<()> {
        let (path, aside) = (self.folder(stem), self.aside("gone"));
        match fs::rename(&path, &aside) {
            Ok(()) => {}
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(RepoError::io("remove", &path)(e)),
        }
        sync_folder(&self.root)?;
        if stem.parse().is_ok_and(|id| self.shared.holds.keeps(id, &aside)) {
            return Ok(());
        }
        fs::remove_dir_all(&aside).map_err(RepoError::io("remove", &aside))
    }

    /// Removes what crashes left: stale quarantines, temporary files, locks. Called at start, before serving. A repository
    /// in which that cannot be done does not keep the others from being swept.
    pub fn sweep(&self) -> Result<()> {
        let entries = fs::read_dir(&self.root).map_err(RepoError::io("list", &self.root))?;
        for entry in entries {
            let entry = entry.map_err(RepoError::io("list", &self.root))?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            let path = entry.path();
            if name.starts_with(ASIDE) {
                fs::remove_dir_all(&path).map_err(RepoError::io("remove", &path))?;
            } else if name.ends_with(".git")
                && path.is_dir()
                && links::target(&path)?.is_none()
                && let Err(e) = crate::sweep::sweep(&path)
            {
                tracing::error!("what a crash may have left is not removed: {}", e.located());
            }
        }
        Ok(())
    }

    /// Asks whether something can be written in the folder of repositories, by doing it.
    ///
    /// # Errors
    /// What the disk says.
    pub fn check_writable(&self) -> Result<()> {
        let aside = self.aside("probe");
        let write = || {
            fs::create_dir(&aside)?;
            let mut file = File::create_new(aside.join("probe"))?;
            file.write_all(&[0x5a; PROBE_BYTES])?;
            file.sync_all()
        };
        let written = write().map_err(RepoError::io("write in", &self.root));
        // What stays goes at the next start.
        let _ = fs::remove_dir_all(&aside);
        written
    }

    /// True if maintaining the repository may pay: a glance at its folder that opens nothing.
    ///
    /// # Errors
    /// A folder that cannot be listed.
    pub fn may_need_work(&self, id: RepoId) -> Result<bool> {
        crate::maintain::may_need_work(&self.path(id))
    }

    /// What a backup holds.
    pub(crate) fn holds(&self) -> &Holds {
        &self.shared.holds
    }

    pub(crate) fn path(&self, id: RepoId) -> PathBuf {
        self.folder(&id.to_string())
    }

    /// The folder or link of that name without its ending.
    fn folder(&self, stem: &str) -> PathBuf {
        self.root.join(format!("{stem}.git"))
    }

    fn aside(&self, what: &str) -> PathBuf {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        self.root.join(format!("{ASIDE}{what}-{}-{number}", std::process::id()))
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        // Every change under the lock is one insert or remove: a panic leaves nothing half-done.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn opened(&self, open: &mut Open, id: RepoId) -> Result<Arc<Repository>> {
        let path = self.path(id);
        if !is_there(&path)? {
            return Err(RepoError::NoFolder { path });
        }
        if let Some(other) = identity::owner(&path)?.filter(|owner| *owner != id) {
            return Err(RepoError::NotIts { path, why: format!("belongs to repository number {other}") });
        }
        let repository = Arc::new(Repository::open(path, self.shared.clone())?);
        if open.handles.len() >= in_force().open_repositories_max {
            // Those in use stay: two handles to one repository would have two locks.
            let idle = open.handles.iter().filter(|(_, (r, _))| Arc::strong_count(r) == 1);
            if let Some(oldest) = idle.min_by_key(|(_, (_, used))| *used).map(|(id, _)| *id) {
                open.handles.remove(&oldest);
            }
        }
        open.uses += 1;
        open.handles.insert(id, (repository.clone(), open.uses));
        Ok(repository)
    }
}

/// True if something is there; a link counts even if it leads nowhere.
fn is_there(path: &Path) -> Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
        Err(e) => Err(RepoError::io("look at", path)(e)),
    }
}

/// Writes an empty bare repository (gitrepository-layout), flushed.
fn lay_out(root: &Path, format: ObjectFormat) -> Result<()> {
    for folder in ["objects/info", "objects/pack", "refs/heads", "refs/tags", "slipway"] {
        let folder = root.join(folder);
        fs::create_dir_all(&folder).map_err(RepoError::io("create", &folder))?;
    }
    for (name, text) in [("HEAD", "ref: refs/heads/main\n"), ("config", &config(format))] {
        let path = root.join(name);
        File::create_new(&path)
            .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
            .map_err(RepoError::io("write", &path))?;
    }
    for folder in ["objects", "refs", "."] {
        sync_folder(&root.join(folder))?;
    }
    Ok(())
}
