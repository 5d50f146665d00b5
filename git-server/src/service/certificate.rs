//! What a push certificate is worth: its nonce, its signature, and that it is used once.
//!
//! The nonce is git's: a time and an HMAC over the repository and that time (git-config(1), `receive.certNonceSeed`), so
//! that a server which forgets its clients between two requests knows its own nonces again. git leaves the verdict to
//! hooks; here there are none, so a certificate with a wrong or stale nonce, a wrong signature or a second use is
//! refused. Signatures other than SSH's are not checked, and so count for nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::{digest, hmac};
use russh::keys::ssh_key::SshSig;
use russh::keys::{HashAlg, PublicKey};
use slipway_core::event::{PushCertificate, Signed};
use slipway_core::{Actor, Problem, ProblemKind, UnixMillis, UserName};
use slipway_forge::{Forge, keys};

use super::Opened;
use crate::limits::{CERTIFICATES_KEPT_MAX, NONCE_SLOP_S, SIGNER_CHARS_MAX};
use crate::wire::certificate::Certificate;
use crate::wire::text::one_line;

/// Whose signing keys there are.
pub(crate) trait Signers: Send + Sync {
    /// Who has the key of that fingerprint (`SHA256:…`). May block.
    fn owner(&self, fingerprint: &str) -> Result<Option<UserName>, Problem>;
}

/// The keys that accounts have.
pub(crate) struct KeysOf(pub(crate) Arc<Forge>);

impl Signers for KeysOf {
    fn owner(&self, fingerprint: &str) -> Result<Option<UserName>, Problem> {
        Ok(keys::find(&self.0, fingerprint)?.map(|key| key.user))
    }
}

/// Certificates used lately, by their SHA-256, and when.
#[derive(Debug, Default)]
pub(crate) struct Certificates {
    used: Mutex<HashMap<[u8; 32], u64>>,
}

impl Certificates {
    /// Remembers a certificate; false if it was used before. `keep_s` is how long one could come again.
    fn first_use(&self, certificate: &Certificate, now_s: u64, keep_s: u64) -> Result<bool, Problem> {
        let mut hash = digest::Context::new(&digest::SHA256);
        hash.update(&certificate.payload);
        let mut key = [0u8; 32];
        key.copy_from_slice(hash.finish().as_ref());
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if used.len() >= CERTIFICATES_KEPT_MAX {
            used.retain(|_, at| now_s.saturating_sub(*at) <= keep_s.saturating_mul(2));
        }
        if used.contains_key(&key) {
            return Ok(false);
        }
        if used.len() >= CERTIFICATES_KEPT_MAX {
            return Err(Problem::new(
                ProblemKind::Busy,
                "Too many signed pushes have come within a short time.",
                "Try again in some minutes.",
            ));
        }
        used.insert(key, now_s);
        Ok(true)
    }
}

/// A nonce for a push certificate.
pub(crate) fn issue(seed: &str, opened: &Opened, now: UnixMillis) -> String {
    nonce(seed, opened, now.0 / 1000)
}

fn nonce(seed: &str, opened: &Opened, stamp_s: u64) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, seed.as_bytes());
    let tag = hmac::sign(&key, format!("{}:{}:{stamp_s}", opened.id.0, opened.name).as_bytes());
    let hex: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{stamp_s}-{hex}")
}

/// How nonces are judged.
#[derive(Clone, Debug)]
pub(crate) struct NonceRule {
    /// `receive.certNonceSeed`.
    pub(crate) seed: Option<String>,
    /// The one given in this conversation, where the client had to take that one.
    pub(crate) given: Option<String>,
    /// How old another one may be, in seconds.
    pub(crate) slop_s: Option<u64>,
}

impl NonceRule {
    fn check(&self, certificate: &Certificate, opened: &Opened, now_s: u64) -> Result<(), Problem> {
        let Some(seed) = &self.seed else {
            return Err(refused("the push is signed, and this repository takes no push certificates"));
        };
        let Some(got) = &certificate.nonce else {
            return Err(refused("the push certificate has no nonce"));
        };
        if self.given.as_ref() == Some(got) {
            return Ok(());
        }
        let stamp = got.split_once('-').and_then(|(stamp, _)| stamp.parse::<u64>().ok());
        let Some(stamp) = stamp.filter(|stamp| same(&nonce(seed, opened, *stamp), got)) else {
            return Err(refused("the push certificate's nonce is not one of this repository's"));
        };
        let slop = match (self.slop_s, &self.given) {
            (Some(slop), _) => slop,
            (None, Some(_)) => 0,
            (None, None) => NONCE_SLOP_S,
        };
        if now_s.abs_diff(stamp) > slop {
            return Err(refused("the push certificate's nonce is stale"));
        }
        Ok(())
    }
}

/// Compares in a time that does not tell where the first difference is.
fn same(a: &str, b: &str) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(a.as_bytes(), b.as_bytes()).is_ok()
}

/// Judges a certificate as a whole. May block.
pub(crate) fn judge(
    certificate: &Certificate,
    options: &[String],
    rule: &NonceRule,
    opened: &Opened,
    signers: &Arc<dyn Signers>,
    book: &Certificates,
    now: UnixMillis,
) -> Result<PushCertificate, Problem> {
    let now_s = now.0 / 1000;
    if certificate.options != options {
        return Err(refused("inconsistent push options"));
    }
    rule.check(certificate, opened, now_s)?;
    let (signed, key) = check_signature(certificate, &opened.caller.actor, signers)?;
    let keep_s = rule.slop_s.unwrap_or(NONCE_SLOP_S).max(NONCE_SLOP_S);
    if !book.first_use(certificate, now_s, keep_s)? {
        return Err(refused("the push certificate was used before"));
    }
    let signer = one_line(&certificate.pusher).chars().take(SIGNER_CHARS_MAX).collect();
    Ok(PushCertificate { signed, key, signer })
}

/// Checks an SSH signature (PROTOCOL.sshsig) made for git.
fn check_signature(
    certificate: &Certificate,
    actor: &Actor,
    signers: &Arc<dyn Signers>,
) -> Result<(Signed, Option<String>), Problem> {
    if !certificate.signature.starts_with(b"-----BEGIN SSH SIGNATURE-----") {
        return Ok((Signed::Unchecked, None));
    }
    let wrong = || refused("the push certificate's signature is not valid");
    let signature = SshSig::from_pem(&certificate.signature).map_err(|_| wrong())?;
    let key = PublicKey::from(signature.public_key().clone());
    key.verify("git", &certificate.payload, &signature).map_err(|_| wrong())?;
    let key = key.fingerprint(HashAlg::Sha256).to_string();
    let signed = match (signers.owner(&key)?, actor.user()) {
        (Some(owner), Some(user)) if owner == *user => Signed::ByAccount,
        _ => Signed::ByOther,
    };
    Ok((signed, Some(key)))
}

fn refused(what: &str) -> Problem {
    Problem::new(ProblemKind::Denied, what, "Sign the push again, or push without --signed.")
}
