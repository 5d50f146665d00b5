//! Checksums of a file as it goes by: SHA-256 of all of it, and the one that git's own files end with.

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};

use crate::name::Name;

/// SHA-256.
pub(crate) type Sum = [u8; 32];

pub(crate) struct Hashes {
    sum: Context,
    own: Option<Own>,
}

/// The checksum of all but the last bytes, which say what it must be.
struct Own {
    of: Context,
    length: usize,
    /// The last bytes so far.
    tail: Vec<u8>,
}

impl Hashes {
    pub(crate) fn new(name: &Name) -> Self {
        let own = name.own_checksum().map(|length| {
            let algorithm = if length == 20 { &SHA1_FOR_LEGACY_USE_ONLY } else { &SHA256 };
            Own { of: Context::new(algorithm), length, tail: Vec::with_capacity(2 * length) }
        });
        Self { sum: Context::new(&SHA256), own }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.sum.update(bytes);
        if let Some(own) = &mut self.own {
            own.update(bytes);
        }
    }

    /// The sum, and whether the file's own checksum fits, if it has one.
    pub(crate) fn finish(self) -> (Sum, bool) {
        (to_sum(self.sum), self.own.is_none_or(Own::fits))
    }
}

impl Own {
    fn update(&mut self, bytes: &[u8]) {
        if let Some(before) = bytes.len().checked_sub(self.length) {
            self.of.update(&self.tail);
            self.of.update(&bytes[..before]);
            self.tail.clear();
            self.tail.extend_from_slice(&bytes[before..]);
            return;
        }
        self.tail.extend_from_slice(bytes);
        if let Some(more) = self.tail.len().checked_sub(self.length) {
            self.of.update(&self.tail[..more]);
            self.tail.drain(..more);
        }
    }

    fn fits(self) -> bool {
        self.of.finish().as_ref() == self.tail
    }
}

/// What a hasher of SHA-256 comes to.
pub(crate) fn to_sum(hasher: Context) -> Sum {
    let mut sum = [0; 32];
    sum.copy_from_slice(hasher.finish().as_ref());
    sum
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::digest::digest;

    use super::*;

    #[test]
    fn a_packs_own_checksum_is_looked_at_however_it_is_cut() {
        let name =
            Name::parse(&format!("repos/1.git/objects/pack/pack-{}.pack", "a".repeat(40))).expect("valid");
        let body: Vec<u8> = (0..1000u32).flat_map(u32::to_le_bytes).collect();
        let whole = [body.as_slice(), digest(&SHA1_FOR_LEGACY_USE_ONLY, &body).as_ref()].concat();
        let fits = |bytes: &[u8], piece: usize| {
            let mut hashes = Hashes::new(&name);
            bytes.chunks(piece).for_each(|piece| hashes.update(piece));
            hashes.finish()
        };
        for piece in [1, 7, 19, 20, 21, 100, 4096] {
            let (sum, own) = fits(&whole, piece);
            assert!(own, "{piece}");
            assert_eq!(sum.as_slice(), digest(&SHA256, &whole).as_ref());
        }
        let mut flipped = whole.clone();
        flipped[17] ^= 1;
        assert!(!fits(&flipped, 100).1);
        assert!(!fits(&whole[..whole.len() - 1], 100).1 && !fits(b"short", 2).1);
        let log = Name::parse("builds/1/1.log").expect("valid");
        let mut hashes = Hashes::new(&log);
        hashes.update(b"no checksum of its own");
        assert!(hashes.finish().1);
    }
}
