//! The data folder: everything the server keeps, and nothing outside it.

use std::fs::{self, File};
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use slipway_backup::Target;
use slipway_core::{Problem, ProblemKind};
use slipway_store::MasterKey;

/// The folder, laid out as ARCHITECTURE.md has it ("On disk"): `db`, `repos`, `builds`, `keys`, `run`.
#[derive(Clone, Debug)]
pub(crate) struct DataFolder {
    root: PathBuf,
}

impl DataFolder {
    /// Opens the folder, making what is missing; only its owner may look in.
    ///
    /// # Errors
    /// A [`Problem`] where it cannot be used, or has everything but a database: an empty one is never put beside what people own.
    pub(crate) fn open(root: &Path) -> Result<Self, Problem> {
        let root = std::path::absolute(root).map_err(|e| unusable(root, &e))?;
        make(&root)?;
        if Target::is_begun(&root) {
            return Err(Problem::new(
                ProblemKind::Broken,
                format!("A restore into the data folder {} has not ended.", root.display()),
                "Run that restore again: it goes on, or begins anew. If it is not wanted, remove the folder.",
            ));
        }
        let folder = Self { root };
        if !folder.has_database() {
            folder.begin()?;
        }
        for name in ["repos", "builds", "keys", "run"] {
            make(&folder.root.join(name))?;
        }
        Ok(folder)
    }

    /// The folder of a server that is stopped.
    pub(crate) fn existing(root: &Path) -> Result<Self, Problem> {
        let root = std::path::absolute(root).map_err(|e| unusable(root, &e))?;
        if root.is_dir() {
            return Ok(Self { root });
        }
        Err(Problem::new(
            ProblemKind::NotFound,
            format!("There is no data folder {}.", root.display()),
            "Name it with --data; its repos and keys must be back in it before its records are.",
        ))
    }

    /// Whether a database lies there, or the store knows how to put one back (`slipway_store`'s opening).
    fn has_database(&self) -> bool {
        has_entries(&self.db()) || has_entries(&self.root.join("db.opening"))
    }

    /// The mark of a first start that has not ended: the key is made before the database that it fits.
    fn first_start(&self) -> PathBuf {
        self.root.join("first-start")
    }

    /// Begins a first start, unless something is there that a server has left.
    fn begin(&self) -> Result<(), Problem> {
        let mark = self.first_start();
        let left: &[&str] = if mark.exists() { &["repos", "builds"] } else { &["repos", "builds", "keys"] };
        if let Some(found) = left.iter().find(|name| has_entries(&self.root.join(name))) {
            return Err(Problem::new(
                ProblemKind::Broken,
                format!("The data folder {} has {found}, but its database is missing.", self.root.display()),
                "Bring a backup's records back with `slipway restore FROM --records`, or name the right folder with --data; to begin \
                 anew, move repos, builds and keys away first.",
            ));
        }
        let write = || {
            File::create(&mark)?.sync_all()?;
            File::open(&self.root)?.sync_all()
        };
        write().map_err(|e| unusable(&mark, &e))
    }

    /// True while the first start has not ended: then, and only then, a master key may be made.
    fn is_first_start(&self) -> bool {
        self.first_start().exists()
    }

    /// The database stands: the first start has ended.
    pub(crate) fn begun(&self) -> Result<(), Problem> {
        let mark = self.first_start();
        match fs::remove_file(&mark).and_then(|()| File::open(&self.root)?.sync_all()) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(unusable(&mark, &e)),
            _ => Ok(()),
        }
    }

    /// The key that credentials are encrypted with. It is made at the first start, and never again: another would fit nothing.
    pub(crate) fn open_master_key(&self) -> Result<MasterKey, Problem> {
        let path = self.master_key();
        Ok(if self.is_first_start() { MasterKey::load_or_create(&path)? } else { MasterKey::load(&path)? })
    }

    pub(crate) fn master_key(&self) -> PathBuf {
        self.keys().join("master.key")
    }

    pub(crate) fn db(&self) -> PathBuf {
        self.root.join("db")
    }

    pub(crate) fn repos(&self) -> PathBuf {
        self.root.join("repos")
    }

    pub(crate) fn builds(&self) -> PathBuf {
        self.root.join("builds")
    }

    pub(crate) fn keys(&self) -> PathBuf {
        self.root.join("keys")
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn admin_socket(&self) -> PathBuf {
        self.root.join("run/admin.sock")
    }

    /// Removes what an earlier server left in `run`. Call it only with the store open: that is the lock.
    pub(crate) fn clear_run(&self) {
        for name in ["http", "https", "ssh", "pid", "admin.sock"] {
            // Not there is what is wanted.
            drop(fs::remove_file(self.root.join("run").join(name)));
        }
    }

    /// Writes the bound addresses, one `host:port` line each, and the process id last.
    pub(crate) fn write_run(&self, addresses: &[(&str, SocketAddr)]) -> Result<(), Problem> {
        for (name, address) in addresses {
            self.write_line(name, &address.to_string())?;
        }
        self.write_line("pid", &std::process::id().to_string())
    }

    /// The address that the server writes under that name (`http`, `ssh`).
    pub(crate) fn address(&self, name: &str) -> Option<SocketAddr> {
        fs::read_to_string(self.root.join("run").join(name)).ok()?.trim().parse().ok()
    }

    fn write_line(&self, name: &str, line: &str) -> Result<(), Problem> {
        let (path, temporary) =
            (self.root.join("run").join(name), self.root.join("run").join(format!(".{name}")));
        let write = || {
            let mut file = fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&temporary)?;
            writeln!(file, "{line}")?;
            fs::rename(&temporary, &path)
        };
        write().map_err(|e| unusable(&path, &e))
    }
}

fn make(folder: &Path) -> Result<(), Problem> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|e| unusable(folder, &e))
}

/// A folder that cannot be read may hold anything.
fn has_entries(folder: &Path) -> bool {
    match fs::read_dir(folder) {
        Ok(mut entries) => entries.next().is_some(),
        Err(e) => e.kind() != std::io::ErrorKind::NotFound,
    }
}

fn unusable(path: &Path, error: &std::io::Error) -> Problem {
    Problem::new(
        ProblemKind::Broken,
        format!("The data folder cannot be used: {}: {error}.", path.display()),
        "Check its path, its permissions and the free space, or name another with --data.",
    )
}
