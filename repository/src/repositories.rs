//! The folder of repositories: making, opening, renaming, removing.
//!
//! Each is a bare repository `NAME.git` that plain git reads. Making one and removing one are a rename each, so that
//! a crash leaves nothing half-made under a name; what it leaves aside, [`Repositories::sweep`] removes.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use slipway_core::{ObjectFormat, RepoName};

use crate::error::{RepoError, Result};
use crate::limits::OPEN_REPOSITORIES_MAX;
use crate::repository::{Repository, Shared};

mod identity;

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
    handles: HashMap<RepoName, (Arc<Repository>, u64)>,
    uses: u64,
}

impl Repositories {
    /// Uses the folder, made if it is missing.
    pub fn open(root: &Path) -> Result<Self> {
        fs::create_dir_all(root).map_err(RepoError::io("create", root))?;
        let root = root.canonicalize().map_err(RepoError::io("open", root))?;
        Ok(Self { root, open: Mutex::default(), shared: Shared::default() })
    }

    /// Makes an empty repository whose HEAD names `main`, with ids of SHA-1.
    pub fn create(&self, name: &RepoName) -> Result<Arc<Repository>> {
        self.create_as(name, ObjectFormat::Sha1)
    }

    /// The same with ids of that hash, which never changes.
    pub fn create_as(&self, name: &RepoName, format: ObjectFormat) -> Result<Arc<Repository>> {
        let path = self.path(name);
        let mut open = self.lock();
        if fs::exists(&path).map_err(RepoError::io("look at", &path))? {
            return Err(RepoError::RepositoryExists { name: name.to_string() });
        }
        let aside = self.aside("new");
        let made = lay_out(&aside, format).and_then(|()| {
            // A name that plain git took meanwhile has files in it, and then the rename fails.
            fs::rename(&aside, &path).map_err(|e| match e.kind() {
                ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists => {
                    RepoError::RepositoryExists { name: name.to_string() }
                }
                _ => RepoError::io("create", &path)(e),
            })
        });
        if let Err(e) = made {
            let _ = fs::remove_dir_all(&aside);
            return Err(e);
        }
        sync_folder(&self.root)?;
        self.opened(&mut open, name)
    }

    /// Opens it; open handles are cached and bounded.
    pub fn get(&self, name: &RepoName) -> Result<Arc<Repository>> {
        let mut open = self.lock();
        open.uses += 1;
        let now = open.uses;
        if let Some((repository, used)) = open.handles.get_mut(name) {
            *used = now;
            return Ok(repository.clone());
        }
        self.opened(&mut open, name)
    }

    /// Gives it another name. Handles to the old one fail from now on.
    pub fn rename(&self, old: &RepoName, new: &RepoName) -> Result<()> {
        let (from, to) = (self.path(old), self.path(new));
        let mut open = self.lock();
        if fs::exists(&to).map_err(RepoError::io("look at", &to))? {
            return Err(RepoError::RepositoryExists { name: new.to_string() });
        }
        open.handles.remove(old);
        fs::rename(&from, &to).map_err(|e| gone(e, old, "rename", &from))?;
        sync_folder(&self.root)
    }

    /// Deletes it. Who still reads it goes on reading what is open.
    pub fn remove(&self, name: &RepoName) -> Result<()> {
        let path = self.path(name);
        let aside = self.aside("gone");
        {
            let mut open = self.lock();
            open.handles.remove(name);
            fs::rename(&path, &aside).map_err(|e| gone(e, name, "remove", &path))?;
            sync_folder(&self.root)?;
        }
        fs::remove_dir_all(&aside).map_err(RepoError::io("remove", &aside))
    }

    /// Removes what crashes left: stale quarantines, temporary files, locks. Called at start, before serving.
    pub fn sweep(&self) -> Result<()> {
        let entries = fs::read_dir(&self.root).map_err(RepoError::io("list", &self.root))?;
        for entry in entries {
            let entry = entry.map_err(RepoError::io("list", &self.root))?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            let path = entry.path();
            if name.starts_with(ASIDE) {
                fs::remove_dir_all(&path).map_err(RepoError::io("remove", &path))?;
            } else if name.ends_with(".git") && path.is_dir() {
                crate::sweep::sweep(&path)?;
            }
        }
        Ok(())
    }

    /// True if maintaining the repository may pay: a glance at its folder that opens nothing.
    ///
    /// # Errors
    /// A folder that cannot be listed.
    pub fn may_need_work(&self, name: &RepoName) -> Result<bool> {
        crate::maintain::may_need_work(&self.path(name))
    }

    fn path(&self, name: &RepoName) -> PathBuf {
        self.root.join(format!("{name}.git"))
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

    fn opened(&self, open: &mut Open, name: &RepoName) -> Result<Arc<Repository>> {
        let path = self.path(name);
        if !fs::exists(path.join("HEAD")).map_err(RepoError::io("look at", &path))? {
            return Err(RepoError::NoSuchRepository { name: name.to_string() });
        }
        let repository = Arc::new(Repository::open(path, self.shared.clone())?);
        if open.handles.len() >= OPEN_REPOSITORIES_MAX {
            // Those in use stay: two handles to one repository would have two locks.
            let idle = open.handles.iter().filter(|(_, (r, _))| Arc::strong_count(r) == 1);
            if let Some(oldest) = idle.min_by_key(|(_, (_, used))| *used).map(|(name, _)| name.clone()) {
                open.handles.remove(&oldest);
            }
        }
        open.uses += 1;
        open.handles.insert(name.clone(), (repository.clone(), open.uses));
        Ok(repository)
    }
}

fn gone(e: std::io::Error, name: &RepoName, doing: &'static str, path: &Path) -> RepoError {
    match e.kind() {
        ErrorKind::NotFound => RepoError::NoSuchRepository { name: name.to_string() },
        _ => RepoError::io(doing, path)(e),
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

/// Makes renames and new names in the folder durable.
pub(crate) fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|f| f.sync_all()).map_err(RepoError::io("flush", folder))
}
