//! The form of one record's bytes. Pure: knows neither what the record says nor where it lies.
//!
//! ```text
//! version    1 byte    1
//! form       1 byte    0: the body follows; 1: the body lies in pieces
//! checksum   4 bytes   CRC-32 (IEEE 802.3, as in zlib) of the key and the body, big-endian
//! body                 JSON; or, in pieces, its length in bytes as 4 bytes, big-endian
//! ```
//!
//! The key is under the checksum, so a record that turns up under another's key is found out. The checksum is against
//! accidents; what an attacker must not change is encrypted and authenticated in `vault.rs`.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The newest record version that is written and read.
pub(crate) const VERSION: u8 = 1;
const INLINE: u8 = 0;
const IN_PIECES: u8 = 1;
const HEAD_BYTES: usize = 6;

/// Why a record cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// A newer Slipway wrote it.
    #[error("was written by a newer Slipway (version {found}, this one reads up to {})", VERSION)]
    TooNew {
        /// Its version.
        found: u8,
    },
    /// It is not as it was written.
    #[error("is damaged: {why}")]
    Damaged {
        /// What does not fit.
        why: &'static str,
    },
    /// It is as it was written, but says what this program does not understand.
    #[error("cannot be understood: {why}")]
    Foreign {
        /// The first thing that does not fit.
        why: String,
    },
}

const fn damaged(why: &'static str) -> CodecError {
    CodecError::Damaged { why }
}

/// A record's head, and its body if it is inline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framed<'a> {
    Inline(&'a [u8]),
    InPieces { body_bytes: usize, checksum: u32 },
}

/// The bytes of a record whose body is stored with it.
pub(crate) fn frame_inline(key: &[u8], body: &[u8]) -> Vec<u8> {
    let mut raw = Vec::with_capacity(HEAD_BYTES + body.len());
    raw.extend_from_slice(&[VERSION, INLINE]);
    raw.extend_from_slice(&checksum(key, body).to_be_bytes());
    raw.extend_from_slice(body);
    raw
}

/// The bytes of the head of a record whose body is stored in pieces.
pub(crate) fn frame_in_pieces(key: &[u8], body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("bodies are bounded far below 4 GiB");
    let mut raw = vec![VERSION, IN_PIECES];
    raw.extend_from_slice(&checksum(key, body).to_be_bytes());
    raw.extend_from_slice(&length.to_be_bytes());
    raw
}

/// Reads a head; checks an inline body against its checksum.
pub(crate) fn unframe<'a>(key: &[u8], raw: &'a [u8]) -> Result<Framed<'a>, CodecError> {
    let (&version, rest) = raw.split_first().ok_or(damaged("it is empty"))?;
    match version {
        0 => return Err(damaged("its version is 0")),
        VERSION => {}
        found => return Err(CodecError::TooNew { found }),
    }
    let (&form, rest) = rest.split_first().ok_or(damaged("its head is cut short"))?;
    let (sum, body) = rest.split_first_chunk::<4>().ok_or(damaged("its head is cut short"))?;
    let sum = u32::from_be_bytes(*sum);
    match form {
        INLINE => {
            check(key, body, sum)?;
            Ok(Framed::Inline(body))
        }
        IN_PIECES => {
            let length: [u8; 4] = body.try_into().map_err(|_| damaged("its length is cut short"))?;
            let body_bytes = usize::try_from(u32::from_be_bytes(length))
                .map_err(|_| damaged("its length is too large"))?;
            Ok(Framed::InPieces { body_bytes, checksum: sum })
        }
        _ => Err(damaged("its form is unknown")),
    }
}

/// Checks a body against its checksum.
pub(crate) fn check(key: &[u8], body: &[u8], sum: u32) -> Result<(), CodecError> {
    if checksum(key, body) == sum { Ok(()) } else { Err(damaged("its checksum does not fit")) }
}

/// The body that says `value`.
pub(crate) fn to_body<T: Serialize>(value: &T) -> Result<Vec<u8>, CodecError> {
    serde_json::to_vec(value).map_err(|e| CodecError::Foreign { why: e.to_string() })
}

/// What a body says.
pub(crate) fn from_body<T: DeserializeOwned>(body: &[u8]) -> Result<T, CodecError> {
    serde_json::from_slice(body).map_err(|e| CodecError::Foreign { why: e.to_string() })
}

fn checksum(key: &[u8], body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(body);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_survives_its_bytes() {
        let raw = frame_inline(b"key", b"{}");
        assert_eq!(unframe(b"key", &raw), Ok(Framed::Inline(b"{}".as_slice())));
        let head = frame_in_pieces(b"key", &[7; 5000]);
        let Ok(Framed::InPieces { body_bytes: 5000, checksum }) = unframe(b"key", &head) else {
            panic!("{head:?}");
        };
        assert_eq!(check(b"key", &[7; 5000], checksum), Ok(()));
        assert!(check(b"key", &[8; 5000], checksum).is_err());
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let raw = frame_inline(b"key", br#"{"a":1}"#);
        for at in 0..raw.len() {
            for bit in 0..8 {
                let mut bad = raw.clone();
                bad[at] ^= 1 << bit;
                assert!(!matches!(unframe(b"key", &bad), Ok(Framed::Inline(_))), "byte {at} bit {bit}");
            }
            assert!(!matches!(unframe(b"key", &raw[..at]), Ok(Framed::Inline(_))), "cut at {at}");
        }
    }

    #[test]
    fn a_record_under_a_foreign_key_is_noticed() {
        let raw = frame_inline(b"user ann", b"{}");
        assert!(unframe(b"user bob", &raw).is_err());
    }

    #[test]
    fn a_newer_version_is_told_apart_from_damage() {
        let mut raw = frame_inline(b"key", b"{}");
        raw[0] = 2;
        assert_eq!(unframe(b"key", &raw), Err(CodecError::TooNew { found: 2 }));
    }
}
