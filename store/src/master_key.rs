//! The master key: 32 random bytes in a file that only the server's account can read. Knows nothing of what it
//! encrypts (`vault.rs`).

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use slipway_core::Secret;
use zeroize::Zeroizing;

use crate::error::StoreError;

/// Its length in bytes: AES-256.
pub(crate) const KEY_BYTES: usize = 32;

/// The key that encrypts stored credentials. `Debug` hides it, dropping wipes it.
#[derive(Clone)]
pub struct MasterKey(Zeroizing<[u8; KEY_BYTES]>);

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MasterKey(…)")
    }
}

impl MasterKey {
    /// A name of this installation that never changes and that no other has: 16 hexadecimal digits of a SHA-256 over
    /// the key. Not secret: 256 random bits do not come back from it.
    pub fn installation_id(&self) -> String {
        let mut id = hex::encode(self.derived("installation id"));
        id.truncate(16);
        id
    }

    /// A secret of this installation for one purpose: it never changes, no other installation has it, and it tells nothing
    /// of the key or of the secret for another purpose.
    pub fn secret_for(&self, purpose: &str) -> Secret {
        Secret::new(hex::encode(self.derived(&format!("secret for {purpose}"))))
    }

    fn derived(&self, what: &str) -> impl AsRef<[u8]> {
        let mut bytes = Zeroizing::new(format!("slipway {what}\0").into_bytes());
        bytes.extend_from_slice(self.0.as_slice());
        aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &bytes)
    }

    /// Reads the key file, or makes one: 32 random bytes, mode 0600, complete and synced before it has its name. Its
    /// folder is made if need be, with mode 0700.
    ///
    /// # Errors
    /// [`StoreError::MasterKey`] where the file can be read by others, has not exactly 32 bytes, or the disk fails.
    pub fn load_or_create(path: &Path) -> Result<Self, StoreError> {
        let failed = |doing: &str, e: &io::Error| {
            broken(
                path,
                format!("cannot be {doing}: {e}"),
                "Check the permissions of the file and its folder.",
            )
        };
        match File::open(path) {
            Ok(file) => return Self::read(path, file),
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(failed("read", &e)),
        }
        match create(path) {
            Ok(key) => Ok(key),
            // Another process was faster; its key counts.
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {
                Self::read(path, File::open(path).map_err(|e| failed("read", &e))?)
            }
            Err(e) => Err(failed("made", &e)),
        }
    }

    /// Reads the key file, which must be there.
    ///
    /// # Errors
    /// [`StoreError::MasterKey`] where it is missing, can be read by others, has not exactly 32 bytes, or the disk fails.
    pub fn load(path: &Path) -> Result<Self, StoreError> {
        match File::open(path) {
            Ok(file) => Self::read(path, file),
            Err(e) if e.kind() == ErrorKind::NotFound => Err(broken(
                path,
                "is missing; without it no stored credential can be read".into(),
                "Put it back from where you keep it, with mode 0600.",
            )),
            Err(e) => Err(broken(
                path,
                format!("cannot be read: {e}"),
                "Check the permissions of the file and its folder.",
            )),
        }
    }

    fn read(path: &Path, file: File) -> Result<Self, StoreError> {
        let failed =
            |e: io::Error| broken(path, format!("cannot be read: {e}"), "Check the file and its disk.");
        let facts = file.metadata().map_err(failed)?;
        let mode = facts.permissions().mode() & 0o7777;
        if !facts.is_file() {
            return Err(broken(
                path,
                "is not a file".into(),
                "Move it away; a key is made at the next start.",
            ));
        }
        if mode & 0o077 != 0 {
            return Err(broken(
                path,
                format!("can be used by other accounts (mode {mode:04o})"),
                &format!("Run: chmod 600 {}", path.display()),
            ));
        }
        let mut raw = Zeroizing::new([0; KEY_BYTES + 1]);
        let mut found = 0;
        let mut limited = file.take(raw.len() as u64);
        while let Some(space) = raw.get_mut(found..).filter(|s| !s.is_empty()) {
            match limited.read(space) {
                Ok(0) => break,
                Ok(n) => found += n,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(failed(e)),
            }
        }
        let key = raw.first_chunk::<KEY_BYTES>().filter(|_| found == KEY_BYTES).ok_or_else(|| {
            broken(path, format!("has not {KEY_BYTES} bytes"), "Put back the key file from a backup.")
        })?;
        Ok(Self(Zeroizing::new(*key)))
    }

    pub(crate) fn bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }
}

fn broken(path: &Path, cause: String, cure: &str) -> StoreError {
    StoreError::MasterKey { path: path.to_owned(), cause, cure: cure.to_owned() }
}

/// Writes a fresh key beside `path` and gives it its name by a hard link, which fails if the name is taken.
fn create(path: &Path) -> io::Result<MasterKey> {
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    fill_random(key.as_mut_slice())?;
    let mut suffix = [0; 8];
    fill_random(&mut suffix)?;
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let draft = Draft(path.with_extension(format!("{}.new", hex::encode(suffix))));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft.0)?;
    file.write_all(key.as_slice())?;
    file.sync_all()?;
    std::fs::hard_link(&draft.0, path)?;
    drop(draft);
    File::open(folder)?.sync_all()?;
    Ok(MasterKey(key))
}

/// A file that goes when it goes out of scope.
struct Draft(PathBuf);

impl Drop for Draft {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn fill_random(into: &mut [u8]) -> io::Result<()> {
    aws_lc_rs::rand::fill(into).map_err(|_| io::Error::other("the system has no random bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_read_again() {
        let folder = tempfile::tempdir().expect("temp folder");
        let path = folder.path().join("keys/master");
        let made = MasterKey::load_or_create(&path).expect("made");
        let read = MasterKey::load_or_create(&path).expect("read");
        assert_eq!(made.bytes(), read.bytes());
        assert_ne!(made.bytes(), &[0; KEY_BYTES]);
        assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        assert_eq!(
            std::fs::read_dir(folder.path().join("keys")).expect("folder").count(),
            1,
            "drafts are gone"
        );
    }

    #[test]
    fn many_at_once_agree_on_one_key() {
        let folder = tempfile::tempdir().expect("temp folder");
        let path = folder.path().join("master");
        let keys: Vec<_> = std::thread::scope(|scope| {
            let all: Vec<_> =
                (0..8).map(|_| scope.spawn(|| MasterKey::load_or_create(&path).expect("key"))).collect();
            all.into_iter().map(|t| t.join().expect("no panic")).collect()
        });
        assert!(keys.iter().all(|k| k.bytes() == keys[0].bytes()));
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().expect("temp folder");
        let path = folder.path().join("master");
        MasterKey::load_or_create(&path).expect("made");
        for mode in [0o640, 0o604, 0o660, 0o620, 0o601] {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("chmod");
            let error = MasterKey::load_or_create(&path).expect_err("refused");
            assert!(error.to_string().contains("can be used by other accounts"), "{error}");
        }
    }

    #[test]
    fn a_cut_or_padded_key_is_refused() {
        let folder = tempfile::tempdir().expect("temp folder");
        let path = folder.path().join("master");
        for length in [0, 31, 33, 5000] {
            std::fs::write(&path, vec![1; length]).expect("written");
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).expect("chmod");
            let error = MasterKey::load_or_create(&path).expect_err("refused");
            assert!(error.to_string().contains("has not 32 bytes"), "{length}: {error}");
        }
    }

    #[test]
    fn what_is_derived_from_it_is_constant_and_differs_by_purpose_and_key() {
        let key = MasterKey(Zeroizing::new([7; KEY_BYTES]));
        assert_eq!(
            key.installation_id(),
            "db9123445c6c2944",
            "it names objects in clusters: it never changes"
        );
        let secret = |key: &MasterKey, purpose| key.secret_for(purpose).expose().to_owned();
        assert_eq!(secret(&key, "a"), secret(&key.clone(), "a"));
        assert_ne!(secret(&key, "a"), secret(&key, "b"));
        assert_ne!(secret(&key, "a"), secret(&MasterKey(Zeroizing::new([8; KEY_BYTES])), "a"));
        assert!(!secret(&key, "a").starts_with(&key.installation_id()));
    }

    #[test]
    fn its_debug_form_hides_it() {
        let folder = tempfile::tempdir().expect("temp folder");
        let key = MasterKey::load_or_create(&folder.path().join("master")).expect("made");
        assert_eq!(format!("{key:?}"), "MasterKey(…)");
    }
}
