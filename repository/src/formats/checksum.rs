//! The checksum that ends each of these files: a hash, of the repository's kind, over all that stands before it.

use std::io::{self, Write};

use sha1::{Digest, Sha1};
use sha2::Sha256;

use super::Broken;

enum Hash {
    Sha1(Sha1),
    Sha256(Sha256),
}

impl Hash {
    fn new(hash_len: usize) -> Self {
        if hash_len == 32 { Self::Sha256(Sha256::new()) } else { Self::Sha1(Sha1::new()) }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha1(hash) => hash.update(bytes),
            Self::Sha256(hash) => hash.update(bytes),
        }
    }

    fn finish(self) -> Vec<u8> {
        match self {
            Self::Sha1(hash) => hash.finalize().to_vec(),
            Self::Sha256(hash) => hash.finalize().to_vec(),
        }
    }
}

/// Bytes gathered before they are hashed and handed on.
const PIECE_BYTES: usize = 64 << 10;

/// Writes, counts and hashes. What is written comes in pieces of 64 KiB, so `out` needs no buffer of its own.
pub(crate) struct Hashed<W> {
    out: W,
    hash: Hash,
    piece: Vec<u8>,
    /// Bytes in the pieces before.
    passed: u64,
}

impl<W: Write> Hashed<W> {
    /// Starts a file; ids of `hash_len` bytes choose the hash.
    pub(crate) fn new(out: W, hash_len: usize) -> Self {
        Self { out, hash: Hash::new(hash_len), piece: Vec::with_capacity(PIECE_BYTES), passed: 0 }
    }

    /// Bytes put so far.
    pub(crate) fn len(&self) -> u64 {
        self.passed + self.piece.len() as u64
    }

    /// Appends the bytes.
    pub(crate) fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE_BYTES { self.pass() } else { Ok(()) }
    }

    /// Appends the number, big-endian.
    pub(crate) fn put_u32(&mut self, n: u32) -> io::Result<()> {
        self.put(&n.to_be_bytes())
    }

    /// Appends the number, big-endian.
    pub(crate) fn put_u64(&mut self, n: u64) -> io::Result<()> {
        self.put(&n.to_be_bytes())
    }

    fn pass(&mut self) -> io::Result<()> {
        self.hash.update(&self.piece);
        self.out.write_all(&self.piece)?;
        self.passed += self.piece.len() as u64;
        self.piece.clear();
        Ok(())
    }

    /// Appends the checksum, flushes, and gives back the output and the checksum.
    pub(crate) fn finish(mut self) -> io::Result<(W, Vec<u8>)> {
        self.pass()?;
        let sum = self.hash.finish();
        self.out.write_all(&sum)?;
        self.out.flush()?;
        Ok((self.out, sum))
    }
}

/// Looks whether a file ends with the checksum of what it holds; reads all of it.
pub(crate) fn verify(data: &[u8], hash_len: usize) -> Result<(), Broken> {
    let sum_at = data.len().checked_sub(hash_len).ok_or(Broken("it is too short"))?;
    let mut hash = Hash::new(hash_len);
    hash.update(&data[..sum_at]);
    if hash.finish() == data[sum_at..] {
        Ok(())
    } else {
        Err(Broken("its checksum is not that of its content"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_cut_into_pieces_gives_the_same_sum() {
        let text: Vec<u8> = (0..200_000u32).map(|n| (n.wrapping_mul(n) >> 7) as u8).collect();
        for hash_len in [20, 32] {
            let mut files = Vec::new();
            for piece in [1, 977, PIECE_BYTES, 200_000] {
                let mut out = Hashed::new(Vec::new(), hash_len);
                text.chunks(piece).for_each(|c| out.put(c).unwrap());
                assert_eq!(out.len(), 200_000);
                let (file, sum) = out.finish().unwrap();
                assert_eq!(file[200_000..], sum);
                assert_eq!(sum.len(), hash_len);
                verify(&file, hash_len).unwrap();
                files.push(file);
            }
            assert!(files.windows(2).all(|two| two[0] == two[1]));
            files[0][77] ^= 1;
            assert!(verify(&files[0], hash_len).is_err());
            assert!(verify(&files[0][..19], hash_len).is_err());
        }
    }
}
