//! Encrypts credentials before they are stored: AES-256-GCM (NIST SP 800-38D) under the master key, a random 96-bit
//! nonce each, and the record's key as additional data, so that one ciphertext cannot stand in for another. Knows
//! neither files nor records.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use serde::{Deserialize, Serialize};
use slipway_core::Secret;
use zeroize::Zeroize;

use crate::keys::Key;
use crate::master_key::MasterKey;

/// A secret as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sealed {
    /// 12 bytes, hexadecimal.
    nonce: String,
    /// Ciphertext and 16-byte tag, hexadecimal.
    ciphertext: String,
}

/// Encrypts and decrypts. Random nonces are safe for some 2^32 secrets under one key; this server stores thousands.
pub(crate) struct Vault(LessSafeKey);

impl Vault {
    pub(crate) fn new(key: &MasterKey) -> Option<Self> {
        UnboundKey::new(&AES_256_GCM, key.bytes()).ok().map(|key| Self(LessSafeKey::new(key)))
    }

    /// Encrypts the secret for the record of that key. `None` if the cipher or the system's random source fails.
    pub(crate) fn seal(&self, key: &Key, secret: &Secret) -> Option<Sealed> {
        let mut nonce = [0; NONCE_LEN];
        aws_lc_rs::rand::fill(&mut nonce).ok()?;
        let mut text = Vec::with_capacity(secret.expose().len() + AES_256_GCM.tag_len());
        text.extend_from_slice(secret.expose().as_bytes());
        let sealed = self.0.seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(key.bytes()),
            &mut text,
        );
        if sealed.is_err() {
            text.zeroize();
            return None;
        }
        Some(Sealed { nonce: hex::encode(nonce), ciphertext: hex::encode(text) })
    }

    /// Decrypts what was sealed for the record of that key. `None` if it was not, or not under this master key.
    pub(crate) fn open(&self, key: &Key, sealed: &Sealed) -> Option<Secret> {
        let nonce: [u8; NONCE_LEN] = hex::decode(&sealed.nonce).ok()?.try_into().ok()?;
        let mut text = hex::decode(&sealed.ciphertext).ok()?;
        let plain =
            self.0.open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(key.bytes()), &mut text);
        let length = plain.map(|p| p.len()).ok();
        let Some(length) = length else {
            text.zeroize();
            return None;
        };
        text.truncate(length);
        match String::from_utf8(text) {
            Ok(text) => Some(Secret::new(text)),
            Err(e) => {
                e.into_bytes().zeroize();
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use slipway_core::{ClusterName, RegistryName};

    use super::*;
    use crate::keys;

    fn vault() -> Vault {
        let folder = tempfile::tempdir().expect("temp folder");
        let key = MasterKey::load_or_create(&folder.path().join("master")).expect("made");
        Vault::new(&key).expect("a key of the right length")
    }

    #[test]
    fn a_secret_opens_only_where_it_was_sealed() {
        let vault = vault();
        let a = keys::registry_password(&RegistryName::parse("a").expect("valid"));
        let b = keys::registry_password(&RegistryName::parse("b").expect("valid"));
        let c = keys::kubeconfig(&ClusterName::parse("a").expect("valid"));
        let sealed = vault.seal(&a, &Secret::new("hunter2")).expect("sealed");
        assert_eq!(vault.open(&a, &sealed).expect("opens").expose(), "hunter2");
        assert!(vault.open(&b, &sealed).is_none(), "under another name");
        assert!(vault.open(&c, &sealed).is_none(), "under another kind");
        assert!(self::vault().open(&a, &sealed).is_none(), "under another master key");
    }

    #[test]
    fn a_changed_ciphertext_does_not_open() {
        let vault = vault();
        let key = keys::registry_password(&RegistryName::parse("a").expect("valid"));
        let sealed = vault.seal(&key, &Secret::new("hunter2")).expect("sealed");
        let raw = hex::decode(&sealed.ciphertext).expect("hexadecimal");
        for at in 0..raw.len() {
            let mut bad = raw.clone();
            bad[at] ^= 1;
            let bad = Sealed { nonce: sealed.nonce.clone(), ciphertext: hex::encode(bad) };
            assert!(vault.open(&key, &bad).is_none(), "byte {at}");
        }
        for bad in ["", "zz", "00"] {
            let bad = Sealed { nonce: bad.into(), ciphertext: bad.into() };
            assert!(vault.open(&key, &bad).is_none());
        }
    }

    #[test]
    fn the_same_secret_is_never_sealed_alike() {
        let vault = vault();
        let key = keys::registry_password(&RegistryName::parse("a").expect("valid"));
        let secret = Secret::new("hunter2");
        assert_ne!(vault.seal(&key, &secret), vault.seal(&key, &secret));
    }
}
