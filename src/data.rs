//! The data folder: everything the server keeps, and nothing outside it.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use slipway_core::{Problem, ProblemKind};

/// The layout of DESIGN: `db`, `repos`, `builds`, `keys`, `run`.
#[derive(Clone, Debug)]
pub(crate) struct DataFolder {
    root: PathBuf,
}

impl DataFolder {
    /// Opens the folder, making what is missing; only its owner may look in.
    pub(crate) fn open(root: &Path) -> Result<Self, Problem> {
        let root = std::path::absolute(root).map_err(|e| unusable(root, &e))?;
        for folder in
            [root.clone(), root.join("repos"), root.join("builds"), root.join("keys"), root.join("run")]
        {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&folder)
                .map_err(|e| unusable(&folder, &e))?;
        }
        Ok(Self { root })
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
        for name in ["http", "ssh", "pid", "admin.sock"] {
            // Not there is what is wanted.
            drop(fs::remove_file(self.root.join("run").join(name)));
        }
    }

    /// Writes the bound addresses, one `host:port` line each, and the process id last.
    pub(crate) fn write_run(&self, http: SocketAddr, ssh: SocketAddr) -> Result<(), Problem> {
        self.write_line("http", &http.to_string())?;
        self.write_line("ssh", &ssh.to_string())?;
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

fn unusable(path: &Path, error: &std::io::Error) -> Problem {
    Problem::new(
        ProblemKind::Broken,
        format!("The data folder cannot be used: {}: {error}.", path.display()),
        "Check its path, its permissions and the free space, or name another with --data.",
    )
}
