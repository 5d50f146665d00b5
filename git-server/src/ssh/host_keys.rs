//! The keys that prove this server to its clients: made once, kept in DATA/keys, readable by the owner alone.
//!
//! Every client of today finds one that it takes: Ed25519, which all but clients under FIPS rules do; ECDSA with P-256 for
//! those; and RSA, made only once a client comes that knows nothing else. Which of them a client is shown: `offer.rs`.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use russh::keys::ssh_key::LineEnding;
use russh::keys::{Algorithm, EcdsaCurve, HashAlg, PrivateKey};
use slipway_core::{Problem, ProblemKind, sentence};

const PKCS8_BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const PKCS8_END: &str = "-----END PRIVATE KEY-----";

/// A kind of host key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Ed25519,
    Ecdsa,
    Rsa,
}

impl Kind {
    /// The file's name within the folder of keys.
    fn file(self) -> &'static str {
        match self {
            Self::Ed25519 => "ssh_host_ed25519",
            Self::Ecdsa => "ssh_host_ecdsa",
            Self::Rsa => "ssh_host_rsa",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => "Ed25519",
            Self::Ecdsa => "ECDSA",
            Self::Rsa => "RSA",
        }
    }

    fn is_of(self, key: &PrivateKey) -> bool {
        match self {
            Self::Ed25519 => key.algorithm() == Algorithm::Ed25519,
            Self::Ecdsa => key.algorithm() == Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 },
            Self::Rsa => key.algorithm().is_rsa(),
        }
    }

    fn make(self) -> Result<PrivateKey, String> {
        let random = |algorithm| PrivateKey::random(&mut russh::keys::key::safe_rng(), algorithm);
        match self {
            Self::Ed25519 => random(Algorithm::Ed25519).map_err(|e| e.to_string()),
            Self::Ecdsa => {
                random(Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 }).map_err(|e| e.to_string())
            }
            // Primes are found many times faster there.
            Self::Rsa => {
                let pair = KeyPair::generate(KeySize::Rsa3072).map_err(|e| e.to_string())?;
                let der: Pkcs8V1Der<'_> = pair.as_der().map_err(|e| e.to_string())?;
                let text = format!("{PKCS8_BEGIN}\n{}\n{PKCS8_END}\n", STANDARD.encode(der.as_ref()));
                russh::keys::decode_secret_key(&text, None).map_err(|e| e.to_string())
            }
        }
    }
}

/// The host keys, one of each kind.
#[derive(Clone)]
pub struct HostKeys {
    folder: PathBuf,
    /// Ed25519 and ECDSA.
    usual: [PrivateKey; 2],
    rsa: Arc<OnceLock<PrivateKey>>,
    making: Arc<Mutex<()>>,
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
    #[error("{path} holds no {kind} key that can be read: {cause}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        kind: &'static str,
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
    /// Reads the keys in `folder`; makes the folder, and an Ed25519 and an ECDSA key where there is none. Blocking.
    ///
    /// # Errors
    /// [`HostKeysError`] where a file cannot be read, written or trusted.
    pub fn load_or_create(folder: &Path) -> Result<Self, HostKeysError> {
        let usual = |kind: Kind| load(kind, folder)?.map_or_else(|| create(kind, folder), Ok);
        let rsa = OnceLock::new();
        if let Some(key) = load(Kind::Rsa, folder)? {
            rsa.get_or_init(|| key);
        }
        Ok(Self {
            folder: folder.into(),
            usual: [usual(Kind::Ed25519)?, usual(Kind::Ecdsa)?],
            rsa: Arc::new(rsa),
            making: Arc::default(),
        })
    }

    /// The keys that are there now, Ed25519 first.
    pub(super) fn now(&self) -> impl Iterator<Item = &PrivateKey> {
        self.usual.iter().chain(self.rsa.get())
    }

    /// True if there is an RSA key.
    pub(super) fn has_rsa(&self) -> bool {
        self.rsa.get().is_some()
    }

    /// Makes the RSA key if there is none. Blocking, for a second.
    ///
    /// # Errors
    /// [`HostKeysError`] where it cannot be written.
    pub(super) fn make_rsa(&self) -> Result<(), HostKeysError> {
        // Nothing is guarded but the turn: who comes meanwhile waits for the same key.
        let _turn = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.has_rsa() {
            let key = create(Kind::Rsa, &self.folder)?;
            self.rsa.get_or_init(|| key);
        }
        Ok(())
    }

    /// The public halves as known_hosts lines want them: `ssh-ed25519 AAAA…`, Ed25519 first.
    pub fn public(&self) -> Vec<String> {
        self.now().map(|key| key.public_key().to_openssh().unwrap_or_default()).collect()
    }

    /// `SHA256:…` of each, as clients show it.
    pub fn fingerprints(&self) -> Vec<String> {
        self.now().map(|key| key.public_key().fingerprint(HashAlg::Sha256).to_string()).collect()
    }
}

/// The key of that kind, if there is one.
fn load(kind: Kind, folder: &Path) -> Result<Option<PrivateKey>, HostKeysError> {
    let path = folder.join(kind.file());
    match fs::read_to_string(&path) {
        Ok(text) => read(kind, &path, &text).map(Some),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(HostKeysError::Disk { what: "read", path, cause }),
    }
}

fn read(kind: Kind, path: &Path, text: &str) -> Result<PrivateKey, HostKeysError> {
    let disk = |cause| HostKeysError::Disk { what: "look at", path: path.into(), cause };
    let mode = fs::metadata(path).map_err(disk)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(HostKeysError::Open { path: path.into(), mode });
    }
    let unreadable =
        |cause: String| HostKeysError::Unreadable { path: path.into(), kind: kind.name(), cause };
    let key = PrivateKey::from_openssh(text).map_err(|e| unreadable(e.to_string()))?;
    if !kind.is_of(&key) || key.is_encrypted() {
        return Err(unreadable("it is of another kind, or encrypted".into()));
    }
    Ok(key)
}

/// Written aside and renamed, so that a crash leaves either no key or a whole one.
fn create(kind: Kind, folder: &Path) -> Result<PrivateKey, HostKeysError> {
    let path = &folder.join(kind.file());
    let unreadable =
        |cause: String| HostKeysError::Unreadable { path: path.into(), kind: kind.name(), cause };
    let key = kind.make().map_err(unreadable)?;
    let text = key.to_openssh(LineEnding::LF).map_err(|e| unreadable(e.to_string()))?;
    let aside = folder.join(format!("{}.new", kind.file()));
    let written = fs::create_dir_all(folder)
        .and_then(|()| match fs::remove_file(&aside) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside),
        })
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&aside, path))
        .and_then(|()| fs::File::open(folder)?.sync_all());
    written.map_err(|cause| HostKeysError::Disk { what: "write", path: path.into(), cause })?;
    Ok(key)
}

impl std::fmt::Debug for HostKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HostKeys({})", self.fingerprints().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Kind; 3] = [Kind::Ed25519, Kind::Ecdsa, Kind::Rsa];

    #[test]
    fn keys_are_made_once_and_for_the_owner_alone() {
        let dir = tempfile::tempdir().expect("a folder");
        let keys = dir.path().join("keys");
        let first = HostKeys::load_or_create(&keys).expect("made");
        assert!(!first.has_rsa() && !keys.join(Kind::Rsa.file()).exists(), "nobody needs it yet");
        std::thread::scope(|all| (0..3).for_each(|_| drop(all.spawn(|| first.make_rsa().expect("made")))));
        let again = HostKeys::load_or_create(&keys).expect("read");
        assert_eq!(first.public(), again.public());
        for (line, kind) in first.public().iter().zip(["ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa"]) {
            assert!(line.starts_with(&format!("{kind} AAAA")), "{line}");
        }
        // 3072 bits are 384 bytes, and what is around them.
        assert!(first.public()[2].len() > 540, "{}", first.public()[2]);
        for kind in ALL {
            let file = keys.join(kind.file());
            let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
            assert_eq!(mode(&file), 0o600);
            fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("changed");
            let refused = HostKeys::load_or_create(&keys).expect_err("others may read it");
            assert!(Problem::from(refused).cure.contains("chmod 600"));
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("changed");
        }
    }

    #[test]
    fn a_folder_with_the_first_key_alone_keeps_it_and_gets_the_other() {
        let dir = tempfile::tempdir().expect("a folder");
        create(Kind::Ed25519, dir.path()).expect("made");
        let path = dir.path().join(Kind::Ed25519.file());
        let before = fs::read(&path).expect("there");
        assert_eq!(HostKeys::load_or_create(dir.path()).expect("loaded").now().count(), 2);
        assert_eq!(fs::read(&path).expect("still there"), before);
    }

    #[test]
    fn a_damaged_key_or_one_of_another_kind_is_never_replaced() {
        for kind in ALL {
            let dir = tempfile::tempdir().expect("a folder");
            let path = dir.path().join(kind.file());
            let other = if kind == Kind::Ed25519 { Kind::Ecdsa } else { Kind::Ed25519 };
            create(other, dir.path()).expect("made");
            fs::rename(dir.path().join(other.file()), &path).expect("renamed");
            for text in [fs::read(&path).expect("there"), b"nonsense".to_vec()] {
                fs::write(&path, &text).expect("written");
                let refused = HostKeys::load_or_create(dir.path()).expect_err("no such key");
                assert!(matches!(refused, HostKeysError::Unreadable { .. }), "{refused}");
                assert_eq!(fs::read(&path).expect("still there"), text);
            }
        }
    }
}
