//! SSH public keys as people paste them: `ssh-ed25519 AAAA… comment`, checked for structure and fingerprinted.
//!
//! Format: RFC 4253 §6.6 (ssh-rsa), RFC 5656 §3.1 (ecdsa), RFC 8709 §4 (ed25519), OpenSSH's PROTOCOL.u2f (sk-…).
//! Reads bytes only: no curve arithmetic, no signatures; those belong to the transport that meets the key's owner.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use sha2::{Digest as _, Sha256};

use crate::limits::{RSA_BITS_MAX, RSA_BITS_MIN, SSH_KEY_BYTES_MAX};
use crate::problem::{Problem, ProblemKind, sentence};

/// A public key that was read and found well-formed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshKey {
    /// `ssh-ed25519`, `ssh-rsa`, …
    pub algorithm: String,
    /// `SHA256:` and 43 base64 digits, as `ssh-keygen -l` prints it.
    pub fingerprint: String,
    /// Algorithm and key, without the comment.
    pub openssh: String,
    /// What stood after the key; often `user@host`.
    pub comment: String,
}

/// Why a key was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSshKey {
    /// Too long.
    #[error("the key has {0} bytes and may have {SSH_KEY_BYTES_MAX}")]
    TooLong(usize),
    /// More than one line.
    #[error("the key has more than one line")]
    Lines,
    /// The private half.
    #[error("this is a private key")]
    Private,
    /// No `algorithm base64` form.
    #[error("this is not a public key line (algorithm, key, comment)")]
    Form,
    /// An algorithm that is not taken.
    #[error("keys of type {0:?} are not taken")]
    Algorithm(String),
    /// The base64 part is no such key.
    #[error("the key is damaged: {0}")]
    Blob(&'static str),
    /// An RSA key that is too short or absurdly long.
    #[error("the RSA key has {0} bits; {RSA_BITS_MIN} to {RSA_BITS_MAX} are taken")]
    RsaBits(usize),
}

impl From<InvalidSshKey> for Problem {
    fn from(e: InvalidSshKey) -> Self {
        let cure = match e {
            InvalidSshKey::Private => "Give the file that ends in .pub, and keep this one to yourself.",
            InvalidSshKey::Algorithm(_) | InvalidSshKey::RsaBits(_) => {
                "Make a key with ssh-keygen -t ed25519 and give its .pub file."
            }
            _ => "Give one line as in ~/.ssh/id_ed25519.pub.",
        };
        Problem::new(ProblemKind::Invalid, sentence(&e.to_string()), cure)
    }
}

impl SshKey {
    /// Reads one line as ssh-keygen writes it to a `.pub` file. Options before the algorithm are refused.
    ///
    /// # Errors
    /// [`InvalidSshKey`] for anything but one well-formed key of a taken type.
    pub fn parse(line: &str) -> Result<Self, InvalidSshKey> {
        let line = line.trim();
        if line.len() > SSH_KEY_BYTES_MAX {
            return Err(InvalidSshKey::TooLong(line.len()));
        }
        if line.contains("PRIVATE KEY") {
            return Err(InvalidSshKey::Private);
        }
        if line.chars().any(|c| c == '\n' || c == '\r' || c == '\0') {
            return Err(InvalidSshKey::Lines);
        }
        let mut words = line.splitn(3, [' ', '\t']);
        let (Some(algorithm), Some(encoded)) = (words.next(), words.next()) else {
            return Err(InvalidSshKey::Form);
        };
        let blob = STANDARD.decode(encoded).map_err(|_| InvalidSshKey::Blob("its base64 cannot be read"))?;
        check_blob(algorithm, &blob)?;
        Ok(Self {
            algorithm: algorithm.into(),
            fingerprint: format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(&blob))),
            openssh: format!("{algorithm} {encoded}"),
            comment: words.next().unwrap_or_default().trim().chars().filter(|c| !c.is_control()).collect(),
        })
    }
}

fn check_blob(algorithm: &str, blob: &[u8]) -> Result<(), InvalidSshKey> {
    let mut rest = Fields(blob);
    let shape: &[Field] = match algorithm {
        "ssh-ed25519" => &[Field::Bytes(32)],
        "sk-ssh-ed25519@openssh.com" => &[Field::Bytes(32), Field::Application],
        "ecdsa-sha2-nistp256" => &[Field::Text("nistp256"), Field::Point(65)],
        "ecdsa-sha2-nistp384" => &[Field::Text("nistp384"), Field::Point(97)],
        "ecdsa-sha2-nistp521" => &[Field::Text("nistp521"), Field::Point(133)],
        "sk-ecdsa-sha2-nistp256@openssh.com" => {
            &[Field::Text("nistp256"), Field::Point(65), Field::Application]
        }
        "ssh-rsa" => &[Field::Exponent, Field::Modulus],
        other => return Err(InvalidSshKey::Algorithm(other.chars().take(60).collect())),
    };
    if rest.next()? != algorithm.as_bytes() {
        return Err(InvalidSshKey::Blob("its two statements of its type differ"));
    }
    for field in shape {
        field.check(rest.next()?)?;
    }
    if rest.0.is_empty() { Ok(()) } else { Err(InvalidSshKey::Blob("it has more bytes than its type needs")) }
}

/// What one length-prefixed field of a key must look like.
enum Field {
    Bytes(usize),
    Text(&'static str),
    Point(usize),
    Application,
    Exponent,
    Modulus,
}

impl Field {
    fn check(&self, value: &[u8]) -> Result<(), InvalidSshKey> {
        let fits = match self {
            Self::Bytes(len) => value.len() == *len,
            Self::Text(text) => value == text.as_bytes(),
            Self::Point(len) => value.len() == *len && value.first() == Some(&4),
            Self::Application => !value.is_empty() && value.len() <= 256,
            Self::Exponent => {
                let odd = value.last().is_some_and(|b| b & 1 == 1);
                odd && value.len() <= 8 && value.first().is_some_and(|b| *b < 0x80) && value != [1]
            }
            Self::Modulus => return check_modulus(value),
        };
        if fits { Ok(()) } else { Err(InvalidSshKey::Blob("a field has the wrong length or value")) }
    }
}

/// A positive mpint (RFC 4251 §5): at most one leading zero byte, and only before a set top bit.
fn check_modulus(value: &[u8]) -> Result<(), InvalidSshKey> {
    let number = match value {
        [0, rest @ ..] if rest.first().is_some_and(|b| *b >= 0x80) => rest,
        [first, ..] if *first != 0 && *first < 0x80 => value,
        _ => return Err(InvalidSshKey::Blob("its modulus is not a positive number")),
    };
    let top = number.first().map_or(0, |b| b.leading_zeros() as usize);
    let bits = (number.len() * 8).saturating_sub(top);
    if number.last().is_none_or(|b| b & 1 == 0) {
        return Err(InvalidSshKey::Blob("its modulus is even"));
    }
    if (RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits) { Ok(()) } else { Err(InvalidSshKey::RsaBits(bits)) }
}

/// The length-prefixed strings of RFC 4251 §5.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn next(&mut self) -> Result<&'a [u8], InvalidSshKey> {
        let short = InvalidSshKey::Blob("it ends too early");
        let (len, rest) = self.0.split_first_chunk::<4>().ok_or(short.clone())?;
        let len = usize::try_from(u32::from_be_bytes(*len)).map_err(|_| short.clone())?;
        let (value, rest) = rest.split_at_checked(len).ok_or(short)?;
        self.0 = rest;
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(algorithm: &str, fields: &[&[u8]]) -> String {
        let mut blob = Vec::new();
        for field in std::iter::once(&algorithm.as_bytes()).chain(fields) {
            blob.extend_from_slice(&u32::try_from(field.len()).expect("short").to_be_bytes());
            blob.extend_from_slice(field);
        }
        format!("{algorithm} {} ann@desk", STANDARD.encode(blob))
    }

    fn rsa(bytes: usize) -> String {
        let mut modulus = vec![0u8];
        modulus.extend(std::iter::repeat_n(0xc5, bytes));
        line("ssh-rsa", &[&[1, 0, 1], &modulus])
    }

    #[test]
    fn the_fingerprint_is_that_of_ssh_keygen() {
        // From ssh-keygen -lf on this very line.
        let key = SshKey::parse(
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl github.com",
        )
        .expect("valid");
        assert_eq!(key.fingerprint, "SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU");
        assert_eq!(key.comment, "github.com");
        assert!(!key.openssh.contains("github"));
    }

    #[test]
    fn the_common_types_are_taken() {
        let mut point = vec![4u8];
        point.extend([9u8; 64]);
        for good in [
            line("ssh-ed25519", &[&[7; 32]]),
            line("sk-ssh-ed25519@openssh.com", &[&[7; 32], b"ssh:"]),
            line("ecdsa-sha2-nistp256", &[b"nistp256", &point]),
            line("sk-ecdsa-sha2-nistp256@openssh.com", &[b"nistp256", &point, b"ssh:"]),
            rsa(256),
            rsa(512),
        ] {
            assert!(SshKey::parse(&good).is_ok(), "{good}: {:?}", SshKey::parse(&good));
        }
    }

    #[test]
    fn what_is_not_one_whole_key_is_refused() {
        let good = line("ssh-ed25519", &[&[7; 32]]);
        for bad in [
            String::new(),
            "ssh-ed25519".into(),
            "ssh-ed25519 !!!!".into(),
            "ssh-ed25519 AAAA".into(),
            format!("command=\"x\" {good}"),
            format!("{good}\n{good}"),
            good.replacen("ssh-ed25519", "ssh-rsa", 1),
            line("ssh-ed25519", &[&[7; 31]]),
            line("ssh-ed25519", &[&[7; 32], b"more"]),
            line("ssh-dss", &[&[7; 32]]),
            line("ecdsa-sha2-nistp256", &[b"nistp384", &[4; 65]]),
            line("ecdsa-sha2-nistp256", &[b"nistp256", &[3; 65]]),
            rsa(128),
            rsa(2049),
            line("ssh-rsa", &[&[2], &[0x55; 256]]),
            "-----BEGIN OPENSSH PRIVATE KEY-----".into(),
            "x".repeat(SSH_KEY_BYTES_MAX + 1),
        ] {
            assert!(SshKey::parse(&bad).is_err(), "{bad:.80}");
        }
    }

    #[test]
    fn a_length_beyond_the_end_is_no_panic() {
        let blob = STANDARD.encode([0xff; 12]);
        assert!(SshKey::parse(&format!("ssh-ed25519 {blob}")).is_err());
    }
}
