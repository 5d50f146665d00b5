//! Values that prove who somebody is: made from the system's randomness, known afterwards only by their SHA-256.

use sha2::{Digest as _, Sha256};
use slipway_core::{Problem, ProblemKind, Secret};

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const ID_CHARS: usize = 12;
/// 40 base62 characters carry 238 bits.
const VALUE_CHARS: usize = 40;
/// 43 base62 characters carry 256 bits.
const COOKIE_CHARS: usize = 43;

/// A new token value: `slp_<id>_<random>`.
pub struct MintedToken {
    /// The public id within it: 12 characters.
    pub id: String,
    /// The value, shown once.
    pub value: Secret,
    /// What the store keeps of it.
    pub sha256: [u8; 32],
}

/// Makes a token value.
///
/// # Errors
/// `Broken` if the system has no randomness.
pub fn mint_token() -> Result<MintedToken, Problem> {
    let id = random_base62(ID_CHARS)?;
    let value = Secret::new(format!("slp_{id}_{}", random_base62(VALUE_CHARS)?));
    let sha256 = sha256(value.expose().as_bytes());
    Ok(MintedToken { id, value, sha256 })
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// A cookie's value.
pub(crate) fn random_cookie() -> Result<Secret, Problem> {
    random_base62(COOKIE_CHARS).map(Secret::new)
}

fn random_base62(chars: usize) -> Result<String, Problem> {
    let mut text = String::with_capacity(chars);
    let mut bytes = [0u8; 64];
    while text.len() < chars {
        aws_lc_rs::rand::fill(&mut bytes).map_err(|_| {
            Problem::new(ProblemKind::Broken, "The system gives no random bytes.", "Check /dev/urandom.")
        })?;
        // 248 is the largest multiple of 62 below 256: bytes from there on would favour some characters.
        let fair = bytes.iter().filter(|b| **b < 248).map(|b| char::from(BASE62[usize::from(b % 62)]));
        text.extend(fair.take(chars - text.len()));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use slipway_core::token::TokenValue;

    use super::*;

    #[test]
    fn a_token_has_its_form_and_never_repeats() {
        let (a, b) = (mint_token().expect("random"), mint_token().expect("random"));
        assert!(TokenValue::parse(a.value.expose()).is_some());
        assert_eq!(a.value.expose().len(), 4 + 12 + 1 + 40);
        assert!(a.value.expose().contains(&a.id));
        assert_ne!(a.value.expose(), b.value.expose());
        assert_ne!(a.id, b.id);
    }
}
