//! Changed-path Bloom filters (gitformat-commit-graph, chunks BIDX and BDAT): which paths a commit surely did not change
//! against its first parent. Knows no file; a filter is bytes.
//!
//! Two versions of the hash exist: version 1 takes bytes of 0x80 and above as C's `char`, which is signed on some machines
//! and not on others. Version 1 is what is written here, as git does unless told otherwise: git before 2.46 does not know
//! version 2, and crashes when it is to write a graph (`git gc` does) where there are such filters.

use std::collections::HashSet;
use std::ffi::c_char;

use crate::limits::{BLOOM_HASHES_MAX, BLOOM_PATHS_MAX};

/// Seeds of the two hashes. The format's description misses the last digit of the second.
const SEEDS: [u32; 2] = [0x293a_e76f, 0x7e64_6e2c];

/// How the filters of a file were made: the head of its chunk BDAT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// 1 or 2.
    pub(crate) version: u32,
    /// Bits that one path sets.
    pub(crate) hashes: u32,
    /// Bits of a filter for each path in it.
    pub(crate) bits_per_path: u32,
}

impl Settings {
    /// What is written here.
    pub(crate) const WRITTEN: Self = Self { version: 1, hashes: 7, bits_per_path: 10 };

    /// Reads the head of BDAT; `None` if the filters cannot be used here.
    pub(super) fn parse(head: &[u8]) -> Option<Self> {
        let word = |n: usize| Some(u32::from_be_bytes(*head.get(4 * n..)?.first_chunk()?));
        let settings = Self { version: word(0)?, hashes: word(1)?, bits_per_path: word(2)? };
        let usable = matches!(settings.version, 1 | 2) && (1..=BLOOM_HASHES_MAX).contains(&settings.hashes);
        usable.then_some(settings)
    }

    pub(super) fn bytes(self) -> [u8; 12] {
        let mut head = [0; 12];
        let words = [self.version, self.hashes, self.bits_per_path];
        for (to, word) in head.chunks_exact_mut(4).zip(words) {
            to.copy_from_slice(&word.to_be_bytes());
        }
        head
    }
}

/// One path's two hashes.
type Hashes = [u32; 2];

fn hashes(path: &[u8], version: u32) -> Hashes {
    let signed = version == 1 && c_char::MIN != 0;
    SEEDS.map(|seed| murmur3(path, seed, signed))
}

/// The 32-bit murmur3; with `signed`, bytes are taken as signed, which is the fault of version 1.
fn murmur3(data: &[u8], seed: u32, signed: bool) -> u32 {
    let wide = |byte: u8| if signed { byte.cast_signed() as u32 } else { u32::from(byte) };
    let scramble = |k: u32| k.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
    let mut hash = seed;
    let (words, rest) = data.as_chunks::<4>();
    for word in words {
        let k = (0..4).fold(0, |k, i| k | wide(word[i]) << (8 * i));
        hash = (hash ^ scramble(k)).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64);
    }
    if !rest.is_empty() {
        let k = rest.iter().enumerate().fold(0, |k, (i, &byte)| k ^ wide(byte) << (8 * i));
        hash ^= scramble(k);
    }
    hash ^= data.len() as u32;
    hash = (hash ^ hash >> 16).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ hash >> 13).wrapping_mul(0xc2b2_ae35);
    hash ^ hash >> 16
}

/// The bits of a filter of `len` bytes (not 0) that a path sets, as byte and mask.
fn bits(path: Hashes, count: u32, len: usize) -> impl Iterator<Item = (usize, u8)> {
    let [first, second] = path;
    (0..count).map(move |i| {
        let hash = first.wrapping_add(i.wrapping_mul(second));
        let bit = u64::from(hash) % (8 * len as u64);
        ((bit / 8) as usize, 1 << (bit % 8))
    })
}

/// A path that filters are asked for, with its folders, hashed once for many questions.
#[derive(Clone, Debug)]
pub(crate) struct PathKeys {
    /// For hash versions 1 and 2: the path and its folders.
    keys: [Vec<Hashes>; 2],
}

impl PathKeys {
    /// Hashes a path (`dir/file`, no slash at either end). Of very deep paths only the innermost folders are asked for.
    pub(crate) fn new(path: &[u8]) -> Self {
        let keys = |version| prefixes(path).take(16).map(|p| hashes(p, version)).collect();
        Self { keys: [keys(1), keys(2)] }
    }

    /// False if the commit of this filter surely changed nothing at the path or below it.
    pub(super) fn may_be_in(&self, filter: &[u8], settings: Settings) -> bool {
        if filter.is_empty() {
            return true;
        }
        let keys = &self.keys[usize::from(settings.version != 1)];
        keys.iter()
            .all(|&key| bits(key, settings.hashes, filter.len()).all(|(byte, mask)| filter[byte] & mask != 0))
    }
}

/// The path and then its folders, the innermost first.
fn prefixes(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::successors(Some(path), |p| p.iter().rposition(|&b| b == b'/').map(|at| &p[..at]))
        .filter(|p| !p.is_empty())
}

/// What one commit changed against its first parent (a first commit: against nothing), on its way to a filter.
#[derive(Debug, Default)]
pub(crate) struct ChangedPaths {
    found: HashSet<Hashes>,
}

impl ChangedPaths {
    /// Takes one changed file in, and the folders above it. False once there are more than filters are made for: further
    /// paths change nothing.
    pub(crate) fn add(&mut self, path: &[u8]) -> bool {
        for prefix in prefixes(path) {
            if self.found.len() > BLOOM_PATHS_MAX {
                break;
            }
            // If a folder is in, those above it are too.
            if !self.found.insert(hashes(prefix, Settings::WRITTEN.version)) {
                break;
            }
        }
        self.found.len() <= BLOOM_PATHS_MAX
    }

    /// The filter; what was taken in is forgotten, so that the same value serves the next commit.
    pub(crate) fn filter(&mut self) -> Vec<u8> {
        let Settings { hashes, bits_per_path, .. } = Settings::WRITTEN;
        if self.found.len() > BLOOM_PATHS_MAX {
            self.found.clear();
            return vec![0xff];
        }
        let len = (self.found.len() * bits_per_path as usize).div_ceil(8).max(1);
        let mut filter = vec![0; len];
        for path in self.found.drain() {
            for (byte, mask) in bits(path, hashes, len) {
                filter[byte] |= mask;
            }
        }
        filter
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_murmur3() {
        // Values of the reference implementation.
        for (data, seed, hash) in [
            (&b""[..], 0, 0),
            (b"", 1, 0x514e_28b7),
            (b"test", 0x9747_b28c, 0x704b_81dc),
            (b"Hello, world!", 0x9747_b28c, 0x2488_4cba),
            (b"\xff\xff\xff\xff", 0, 0x7629_3b50),
            (b"\x21\x43\x65", 0, 0x7e4a_8634),
        ] {
            assert_eq!(murmur3(data, seed, false), hash, "{data:?}");
        }
        assert_ne!(murmur3(b"\xc3\xa9", 0, false), murmur3(b"\xc3\xa9", 0, true));
    }

    #[test]
    fn a_filter_has_what_went_in_and_its_folders() {
        let mut changed = ChangedPaths::default();
        assert!(changed.add(b"a/b/c.txt") && changed.add(b"a/d"));
        assert_eq!(changed.found.len(), 4);
        let filter = changed.filter();
        let may = |path: &[u8]| PathKeys::new(path).may_be_in(&filter, Settings::WRITTEN);
        for path in ["a/b/c.txt", "a/b", "a", "a/d"] {
            assert!(may(path.as_bytes()), "{path}");
        }
        let wrong = (0..100).filter(|n| may(format!("other{n}").as_bytes())).count();
        assert!(wrong < 10, "{wrong} of 100 paths are taken for changed");
        assert_eq!(changed.filter(), [0], "of no change");
    }

    #[test]
    fn too_many_changes_are_all_changes() {
        let mut changed = ChangedPaths::default();
        let kept = (0..2000).take_while(|n| changed.add(n.to_string().as_bytes())).count();
        assert_eq!(kept, BLOOM_PATHS_MAX);
        assert_eq!(changed.filter(), [0xff]);
        let deep = "d/".repeat(3000) + "f";
        assert!(!changed.add(deep.as_bytes()));
        assert!(PathKeys::new(deep.as_bytes()).may_be_in(&changed.filter(), Settings::WRITTEN));
    }
}
