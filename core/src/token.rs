//! The value of an access token: how it is written, and how it is remembered (by its SHA-256 alone).

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// What every token's value starts with, so that people and secret scanners know one when they see it.
const PREFIX: &str = "slp_";
/// Characters of the public id behind it.
const ID_CHARS: usize = 12;
/// Fewest characters of secret behind that.
const SECRET_CHARS_MIN: usize = 32;
/// Longest value that is looked at, in bytes.
const VALUE_BYTES_MAX: usize = 160;

/// A token's value: `slp_`, 12 characters of public id, perhaps `_`, and the secret. `Debug` hides it and dropping
/// wipes it.
#[derive(Clone)]
pub struct TokenValue(Zeroizing<String>);

impl TokenValue {
    /// Reads a value; `None` if it cannot be one, so that it need not be looked up.
    pub fn parse(raw: &str) -> Option<Self> {
        let rest = raw.strip_prefix(PREFIX).filter(|_| raw.len() <= VALUE_BYTES_MAX)?;
        let (id, secret) = rest.split_at_checked(ID_CHARS)?;
        let secret = secret.strip_prefix('_').unwrap_or(secret);
        let plain = |s: &str| s.bytes().all(|b| b.is_ascii_alphanumeric());
        (plain(id) && plain(secret) && secret.len() >= SECRET_CHARS_MIN)
            .then(|| Self(Zeroizing::new(raw.to_owned())))
    }

    /// The public id: 12 characters.
    pub fn id(&self) -> &str {
        self.0.get(PREFIX.len()..PREFIX.len() + ID_CHARS).unwrap_or_default()
    }

    /// What the store knows the value by.
    pub fn sha256(&self) -> [u8; 32] {
        Sha256::digest(self.0.as_bytes()).into()
    }
}

impl std::fmt::Debug for TokenValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TokenValue(slp_{}…)", self.id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_read_and_hides_in_debug() {
        for raw in
            [format!("slp_abcdefghijkl_{}", "s".repeat(40)), format!("slp_abcdefghijkl{}", "s".repeat(32))]
        {
            let value = TokenValue::parse(&raw).expect("well formed");
            assert_eq!(value.id(), "abcdefghijkl");
            assert_eq!(value.sha256(), <[u8; 32]>::from(Sha256::digest(raw.as_bytes())));
            assert!(!format!("{value:?}").contains("sss"));
        }
    }

    #[test]
    fn what_cannot_be_a_value_is_not_looked_up() {
        let (long, short) =
            (format!("slp_{}", "a".repeat(200)), format!("slp_abcdefghijkl_{}", "s".repeat(31)));
        for bad in [
            "",
            "slp_",
            "slp_short",
            "password",
            "slp_abcdefghijké_x",
            &long,
            &short,
            &format!("slp_abcdefghijkl_{}\n", "s".repeat(40)),
        ] {
            assert!(TokenValue::parse(bad).is_none(), "{bad:?}");
        }
    }
}
