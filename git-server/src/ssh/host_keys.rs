//! The key that proves this server to its clients: made once, kept in DATA/keys, readable by the owner alone.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use russh::keys::ssh_key::LineEnding;
use russh::keys::{Algorithm, HashAlg, PrivateKey};
use slipway_core::{Problem, ProblemKind, sentence};

/// The file's name within the folder of keys.
const FILE: &str = "ssh_host_ed25519";

/// The host keys: one, of Ed25519, which every client of the last ten years takes.
#[derive(Clone)]
pub struct HostKeys {
    pub(super) key: PrivateKey,
}

/// Why there is no host key.
#[derive(Debug, thiserror::Error)]
pub enum HostKeysError {
    /// The disk does not play along.
    #[error("cannot {what} {path}: {cause}")]
    Disk {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        cause: io::Error,
    },
    /// Others may read it.
    #[error("{path} may be read by others (mode {mode:o})")]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It is no key.
    #[error("{path} holds no Ed25519 key that can be read: {cause}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: String,
    },
}

impl From<HostKeysError> for Problem {
    fn from(e: HostKeysError) -> Self {
        let cure = match &e {
            HostKeysError::Disk { .. } => "Check the disk and the rights of the data folder.".to_owned(),
            HostKeysError::Open { path, .. } => format!("Run: chmod 600 {}", path.display()),
            HostKeysError::Unreadable { path, .. } => {
                format!("Put the right file back, or move {} away to have a new key made.", path.display())
            }
        };
        Problem::new(ProblemKind::Broken, sentence(&e.to_string()), cure)
    }
}

impl HostKeys {
    /// Reads the key in `folder`; makes folder and key if there is none. Blocking.
    ///
    /// # Errors
    /// [`HostKeysError`] where the file cannot be read, written or trusted.
    pub fn load_or_create(folder: &Path) -> Result<Self, HostKeysError> {
        let path = folder.join(FILE);
        match fs::read_to_string(&path) {
            Ok(text) => Self::read(&path, &text),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Self::create(folder, &path),
            Err(cause) => Err(HostKeysError::Disk { what: "read", path, cause }),
        }
    }

    /// The public half as a known_hosts line wants it: `ssh-ed25519 AAAA…`.
    pub fn public(&self) -> String {
        self.key.public_key().to_openssh().unwrap_or_default()
    }

    /// `SHA256:…`, as clients show it.
    pub fn fingerprint(&self) -> String {
        self.key.public_key().fingerprint(HashAlg::Sha256).to_string()
    }

    fn read(path: &Path, text: &str) -> Result<Self, HostKeysError> {
        let disk = |cause| HostKeysError::Disk { what: "look at", path: path.into(), cause };
        let mode = fs::metadata(path).map_err(disk)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(HostKeysError::Open { path: path.into(), mode });
        }
        let unreadable = |cause: String| HostKeysError::Unreadable { path: path.into(), cause };
        let key = PrivateKey::from_openssh(text).map_err(|e| unreadable(e.to_string()))?;
        if key.algorithm() != Algorithm::Ed25519 || key.is_encrypted() {
            return Err(unreadable("it is of another kind, or encrypted".into()));
        }
        Ok(Self { key })
    }

    /// Written aside and renamed, so that a crash leaves either no key or a whole one.
    fn create(folder: &Path, path: &Path) -> Result<Self, HostKeysError> {
        let unreadable = |cause: String| HostKeysError::Unreadable { path: path.into(), cause };
        let key = PrivateKey::random(&mut russh::keys::key::safe_rng(), Algorithm::Ed25519)
            .map_err(|e| unreadable(e.to_string()))?;
        let text = key.to_openssh(LineEnding::LF).map_err(|e| unreadable(e.to_string()))?;
        let aside = folder.join(format!("{FILE}.new"));
        let written = fs::create_dir_all(folder)
            .and_then(|()| match fs::remove_file(&aside) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
                _ => OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside),
            })
            .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
            .and_then(|()| fs::rename(&aside, path))
            .and_then(|()| fs::File::open(folder)?.sync_all());
        written.map_err(|cause| HostKeysError::Disk { what: "write", path: path.into(), cause })?;
        Ok(Self { key })
    }
}

impl std::fmt::Debug for HostKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HostKeys({})", self.fingerprint())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_for_the_owner_alone() {
        let dir = tempfile::tempdir().expect("a folder");
        let keys = dir.path().join("keys");
        let first = HostKeys::load_or_create(&keys).expect("made");
        let again = HostKeys::load_or_create(&keys).expect("read");
        assert_eq!(first.public(), again.public());
        assert!(first.public().starts_with("ssh-ed25519 AAAA") && first.fingerprint().starts_with("SHA256:"));
        let mode = fs::metadata(keys.join(FILE)).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        fs::set_permissions(keys.join(FILE), fs::Permissions::from_mode(0o644)).expect("changed");
        let refused = HostKeys::load_or_create(&keys).expect_err("others may read it");
        assert!(Problem::from(refused).cure.contains("chmod 600"));
    }

    #[test]
    fn a_damaged_key_is_never_replaced() {
        let dir = tempfile::tempdir().expect("a folder");
        fs::write(dir.path().join(FILE), "nonsense").expect("written");
        fs::set_permissions(dir.path().join(FILE), fs::Permissions::from_mode(0o600)).expect("changed");
        assert!(matches!(HostKeys::load_or_create(dir.path()), Err(HostKeysError::Unreadable { .. })));
        assert_eq!(fs::read(dir.path().join(FILE)).expect("still there"), b"nonsense");
    }
}
