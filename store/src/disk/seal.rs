//! The seal: how many changes were made, how many records there are, and what they add up to. It lies among the records and
//! changes in the same batch as they do, so that whatever a damaged engine gives back either adds up or is found out. Knows
//! neither sled nor files.
//!
//! The sum is a multiset hash: the sum modulo 2^128 of the first 16 bytes of SHA-256 over each record, its key's length
//! before it. Adding and taking away cost one hash each, and the order of records does not matter (Bellare and Micciancio,
//! "A New Paradigm for Collision-Free Hashing", 1997, AdHash). It is against accidents, not against somebody who may write
//! the file: who may do that has the master key, too.
//!
//! ```text
//! changes    8 bytes    big-endian, counts up
//! records    8 bytes    big-endian
//! sum       16 bytes    big-endian
//! checksum   4 bytes    CRC-32 (IEEE 802.3) of the 32 bytes before it, big-endian
//! ```

use aws_lc_rs::digest::{Context, SHA256};

/// Where it lies among the records. No record's key begins like this (`keys.rs`).
pub(super) const SEAL_KEY: &[u8] = b"!";
const BYTES: usize = 36;

/// What all records come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seal {
    /// How many changes were made since there are seals.
    pub(super) changes: u64,
    /// How many records, marks and pieces there are.
    pub(super) records: u64,
    sum: u128,
}

impl Seal {
    /// Takes a record in.
    pub(super) fn add(&mut self, key: &[u8], value: &[u8]) {
        self.records = self.records.wrapping_add(1);
        self.sum = self.sum.wrapping_add(digest(key, value));
    }

    /// Takes a record out.
    pub(super) fn take(&mut self, key: &[u8], value: &[u8]) {
        self.records = self.records.wrapping_sub(1);
        self.sum = self.sum.wrapping_sub(digest(key, value));
    }

    /// True if both stand for the same records, whatever changes led there.
    pub(super) fn same_records(&self, other: &Self) -> bool {
        (self.records, self.sum) == (other.records, other.sum)
    }

    pub(super) fn to_bytes(self) -> [u8; BYTES] {
        let mut raw = [0; BYTES];
        raw[..8].copy_from_slice(&self.changes.to_be_bytes());
        raw[8..16].copy_from_slice(&self.records.to_be_bytes());
        raw[16..32].copy_from_slice(&self.sum.to_be_bytes());
        let checksum = crc32fast::hash(&raw[..32]);
        raw[32..].copy_from_slice(&checksum.to_be_bytes());
        raw
    }

    /// `None` if the bytes are not as they were written.
    pub(super) fn from_bytes(raw: &[u8]) -> Option<Self> {
        let (body, checksum) = raw.split_last_chunk::<4>()?;
        let body: &[u8; 32] = body.try_into().ok()?;
        if crc32fast::hash(body) != u32::from_be_bytes(*checksum) {
            return None;
        }
        let (changes, rest) = body.split_first_chunk::<8>()?;
        let (records, sum) = rest.split_first_chunk::<8>()?;
        Some(Self {
            changes: u64::from_be_bytes(*changes),
            records: u64::from_be_bytes(*records),
            sum: u128::from_be_bytes(sum.try_into().ok()?),
        })
    }
}

fn digest(key: &[u8], value: &[u8]) -> u128 {
    let mut context = Context::new(&SHA256);
    context.update(&(key.len() as u64).to_be_bytes());
    context.update(key);
    context.update(value);
    let digest = context.finish();
    digest.as_ref().first_chunk::<16>().map_or(0, |head| u128::from_be_bytes(*head))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(records: &[(&str, &str)]) -> Seal {
        let mut seal = Seal::default();
        for (key, value) in records {
            seal.add(key.as_bytes(), value.as_bytes());
        }
        seal
    }

    #[test]
    fn the_order_of_records_and_the_way_there_do_not_matter() {
        let there = of(&[("a", "1"), ("b", "2")]);
        assert_eq!(of(&[("b", "2"), ("a", "1")]), there);
        let mut back = of(&[("a", "1"), ("b", "2"), ("c", "3")]);
        back.take(b"c", b"3");
        assert!(back.same_records(&there));
    }

    #[test]
    fn whatever_is_missing_doubled_or_changed_is_noticed() {
        let there = of(&[("a", "1"), ("b", "2")]);
        for other in [
            &[("a", "1")][..],
            &[("a", "1"), ("b", "2"), ("b", "2")],
            &[("a", "1"), ("b", "3")],
            &[("a", "2"), ("b", "1")],
            &[("a", "1b"), ("", "2")],
            &[("ab", "2"), ("", "1")],
        ] {
            assert!(!of(other).same_records(&there), "{other:?}");
        }
    }

    #[test]
    fn it_survives_its_bytes_and_every_flipped_bit_is_noticed() {
        let seal = Seal { changes: 7, ..of(&[("a", "1")]) };
        let raw = seal.to_bytes();
        assert_eq!(Seal::from_bytes(&raw), Some(seal));
        for at in 0..raw.len() {
            for bit in 0..8 {
                let mut bad = raw;
                bad[at] ^= 1 << bit;
                assert_eq!(Seal::from_bytes(&bad), None, "byte {at} bit {bit}");
            }
            assert_eq!(Seal::from_bytes(&raw[..at]), None, "cut at {at}");
        }
    }
}
