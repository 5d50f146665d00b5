//! The key that images are signed with: ECDSA on P-256 with SHA-256, which is what cosign makes and checks by default.
//!
//! It lies in a file, PKCS #8 in PEM, that nobody else may read; it is made when it is first needed, so that a server which
//! signs nothing has none. Whoever wants another puts it there, and takes the file with the public part of the old one away. A key that was
//! lost is not made again in silence: nothing that the old one has signed would be believed any more.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use slipway_core::{Problem, ProblemKind};
use zeroize::Zeroizing;

use crate::limits::SIGNING_KEY_BYTES_MAX;

/// The file's name within the folder of keys.
const FILE: &str = "cosign.key";
/// The public part beside it: where it is there and the key is not, the key was lost.
const PUBLIC_FILE: &str = "cosign.pub";

/// The key, read or made when it is first asked for.
pub struct SigningKey {
    path: PathBuf,
    pair: OnceLock<EcdsaKeyPair>,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey").field("path", &self.path).finish_non_exhaustive()
    }
}

impl SigningKey {
    /// The key in that folder. Touches nothing yet.
    pub fn within(folder: &Path) -> Self {
        Self { path: folder.join(FILE), pair: OnceLock::new() }
    }

    /// Whether the key can be used, for the doctor; `None` where there has been none yet. Blocking.
    pub fn examine(&self) -> Option<Result<(), Problem>> {
        // As the files are now, not as they were read.
        let now = Self { path: self.path.clone(), pair: OnceLock::new() };
        (self.path.exists() || self.public_file().exists()).then(|| now.pair().map(drop))
    }

    /// The public key, in PEM (SubjectPublicKeyInfo). Blocking.
    ///
    /// # Errors
    /// `Broken` where the file cannot be read, written or trusted.
    pub fn public(&self) -> Result<String, Problem> {
        let key: PublicKeyX509Der<'_> = AsDer::as_der(self.pair()?.public_key())
            .map_err(|_| self.broken("holds a key without a public part".into()))?;
        Ok(pem("PUBLIC KEY", key.as_ref()))
    }

    /// A signature of that message: ECDSA in ASN.1 of its SHA-256. Blocking.
    ///
    /// # Errors
    /// As [`SigningKey::public`].
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Problem> {
        let signed = self.pair()?.sign(&SystemRandom::new(), message);
        let signed = signed.map_err(|_| self.broken("holds a key that cannot sign".into()))?;
        Ok(signed.as_ref().to_vec())
    }

    /// True if this is the key's own signature of that message. Blocking.
    ///
    /// # Errors
    /// As [`SigningKey::public`].
    pub fn has_signed(&self, message: &[u8], signature: &[u8]) -> Result<bool, Problem> {
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, self.pair()?.public_key().as_ref());
        Ok(public.verify(message, signature).is_ok())
    }

    fn pair(&self) -> Result<&EcdsaKeyPair, Problem> {
        if let Some(pair) = self.pair.get() {
            return Ok(pair);
        }
        let made = match self.load()? {
            Some(pair) => pair,
            None if self.public_file().exists() => return Err(self.lost()),
            // Somebody else may make it at this moment: the file decides whose is the key.
            None => self.create()?,
        };
        self.check_public(&made)?;
        Ok(self.pair.get_or_init(|| made))
    }

    fn public_file(&self) -> PathBuf {
        self.path.with_file_name(PUBLIC_FILE)
    }

    /// Writes the public part down beside the key, and refuses a key that it is not the part of.
    fn check_public(&self, pair: &EcdsaKeyPair) -> Result<(), Problem> {
        let key: PublicKeyX509Der<'_> = AsDer::as_der(pair.public_key())
            .map_err(|_| self.broken("holds a key without a public part".into()))?;
        let (text, file) = (pem("PUBLIC KEY", key.as_ref()), self.public_file());
        match fs::read_to_string(&file) {
            Ok(known) if known.trim() == text.trim() => Ok(()),
            Ok(_) => Err(Problem::new(
                ProblemKind::Broken,
                format!("The signing key {FILE} is not the one that {PUBLIC_FILE} beside it is of."),
                format!(
                    "Put the right one back from a backup; if it shall be another from now on, remove {PUBLIC_FILE} from the folder of keys: \
                     images that the old one has signed must be built again."
                ),
            )),
            Err(e) if e.kind() == io::ErrorKind::NotFound => self
                .write(&file, 0o644, text.as_bytes())
                .map_err(|e| self.broken(format!("cannot be written: {e}"))),
            Err(e) => Err(self.broken(format!("has a public part that cannot be read: {e}"))),
        }
    }

    fn lost(&self) -> Problem {
        Problem::new(
            ProblemKind::Broken,
            format!("The signing key {FILE} is gone from the folder of keys."),
            format!(
                "Put it back from a backup; if it is lost, remove {PUBLIC_FILE} there, and another is made: images that the old one has \
                 signed must be built again."
            ),
        )
    }

    fn load(&self) -> Result<Option<EcdsaKeyPair>, Problem> {
        let failed = |e: io::Error| self.broken(format!("cannot be read: {e}"));
        let meta = match fs::metadata(&self.path) {
            Ok(meta) => meta,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(failed(e)),
        };
        let mode = meta.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(Problem::new(
                ProblemKind::Broken,
                format!("The signing key {FILE} may be read by others (mode {mode:o})."),
                "Have the operator of this server run chmod 600 on it, in the folder of keys.",
            ));
        }
        if meta.len() > SIGNING_KEY_BYTES_MAX {
            return Err(self.broken(format!("has more than {SIGNING_KEY_BYTES_MAX} bytes")));
        }
        let text = Zeroizing::new(fs::read(&self.path).map_err(failed)?);
        let der = PrivatePkcs8KeyDer::from_pem_slice(&text)
            .map_err(|e| self.broken(format!("holds no key in PKCS #8 that can be read: {e}")))?;
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der.secret_pkcs8_der())
            .map(Some)
            .map_err(|e| self.broken(format!("holds no ECDSA key on P-256: {e}")))
    }

    fn create(&self) -> Result<EcdsaKeyPair, Problem> {
        let failed = || self.broken("cannot be made: the source of chance failed".into());
        let made = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).map_err(|_| failed())?;
        let der = made.to_pkcs8v1().map_err(|_| failed())?;
        let text = Zeroizing::new(pem("PRIVATE KEY", der.as_ref()));
        self.write(&self.path, 0o600, text.as_bytes())
            .map_err(|e| self.broken(format!("cannot be written: {e}")))?;
        self.load()?.ok_or_else(|| self.broken("is gone again".into()))
    }

    /// Whole or not at all; one that is there already stays.
    fn write(&self, path: &Path, mode: u32, text: &[u8]) -> io::Result<()> {
        let folder = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        let new = path.with_extension(format!("new.{}", std::process::id()));
        let write = || {
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&new)?;
            file.write_all(text)?;
            file.sync_all()?;
            match fs::hard_link(&new, path) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
                done => done,
            }
        };
        let written = write();
        drop(fs::remove_file(&new));
        written?;
        File::open(folder)?.sync_all()
    }

    fn broken(&self, why: String) -> Problem {
        Problem::new(
            ProblemKind::Broken,
            format!("The signing key {FILE} {why}."),
            "Have the operator of this server look at the folder of keys in its data folder: put the right file back from a backup.",
        )
    }
}

/// PEM with lines of 64 characters.
fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut lines = format!("-----BEGIN {label}-----\n");
    for line in text.as_bytes().chunks(64) {
        lines.push_str(&String::from_utf8_lossy(line));
        lines.push('\n');
    }
    lines.push_str(&format!("-----END {label}-----\n"));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_knows_what_it_has_signed() {
        let folder = tempfile::tempdir().expect("temp");
        let one = SigningKey::within(folder.path());
        assert!(!folder.path().join(FILE).exists(), "nothing is made before it is needed");
        let signed = one.sign(b"words").expect("signed");
        let again = SigningKey::within(folder.path());
        assert_eq!(again.public().expect("a key"), one.public().expect("a key"));
        assert!(again.has_signed(b"words", &signed).expect("asked"));
        assert!(!again.has_signed(b"other", &signed).expect("asked"));
        assert!(!again.has_signed(b"words", b"nonsense").expect("asked"));
        assert!(one.public().expect("a key").starts_with("-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYI"));
        let mode = fs::metadata(folder.path().join(FILE)).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(
            fs::read_dir(folder.path()).expect("a folder").count(),
            2,
            "the public part beside it, and nothing else"
        );
    }

    #[test]
    fn a_lost_key_is_not_made_again_and_another_is_not_taken_for_it() {
        let folder = tempfile::tempdir().expect("temp");
        let (path, public) = (folder.path().join(FILE), folder.path().join(PUBLIC_FILE));
        SigningKey::within(folder.path()).public().expect("made");
        let first = fs::read(&path).expect("a key");
        fs::remove_file(&path).expect("removed");
        let problem = SigningKey::within(folder.path()).sign(b"words").expect_err("refused");
        assert!(problem.what.contains("is gone") && !path.exists(), "{problem}");
        assert!(SigningKey::within(folder.path()).examine().is_some_and(|told| told.is_err()));
        assert!(
            SigningKey::within(&folder.path().join("new")).examine().is_none(),
            "none is made by looking"
        );
        fs::remove_file(&public).expect("removed");
        SigningKey::within(folder.path()).public().expect("another, by will");
        let known = fs::read_to_string(&public).expect("its public part");
        fs::write(&path, &first).expect("written");
        let problem = SigningKey::within(folder.path()).public().expect_err("refused");
        assert!(problem.what.contains("is not the one"), "{problem}");
        assert_eq!(fs::read_to_string(&public).expect("there"), known, "it stays");
        assert!(!problem.to_string().contains(&folder.path().display().to_string()), "no path of the server");
    }

    #[test]
    fn a_file_that_others_read_or_that_is_no_key_is_refused() {
        let folder = tempfile::tempdir().expect("temp");
        let path = folder.path().join(FILE);
        SigningKey::within(folder.path()).public().expect("made");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("changed");
        let problem = SigningKey::within(folder.path()).public().expect_err("refused");
        assert!(problem.what.contains("may be read by others (mode 640)"), "{problem}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("changed");
        fs::write(&path, "hello").expect("written");
        let problem = SigningKey::within(folder.path()).public().expect_err("refused");
        assert!(problem.what.contains("holds no key in PKCS #8"), "{problem}");
        assert_eq!(fs::read(&path).expect("there"), b"hello", "it is never replaced");
    }
}
