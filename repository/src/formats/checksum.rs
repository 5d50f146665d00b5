//! The checksum that ends each of these files: a hash, of the repository's kind, over all that stands before it.

use std::io::{self, Write};

use slipway_core::ObjectFormat;

use super::Broken;
use crate::digest::Digest;

/// The hash whose checksums are so many bytes long.
fn digest(hash_len: usize) -> Digest {
    let long = hash_len == ObjectFormat::Sha256.id_bytes();
    Digest::new(if long { ObjectFormat::Sha256 } else { ObjectFormat::Sha1 })
}

/// Bytes gathered before they are hashed and handed on.
const PIECE_BYTES: usize = 64 << 10;

/// Writes, counts and hashes. What is written comes in pieces of 64 KiB, so `out` needs no buffer of its own.
pub(crate) struct Hashed<W> {
    out: W,
    hash: Digest,
    piece: Vec<u8>,
    /// Bytes in the pieces before.
    passed: u64,
}

impl<W: Write> Hashed<W> {
    /// Starts a file; ids of `hash_len` bytes choose the hash.
    pub(crate) fn new(out: W, hash_len: usize) -> Self {
        Self { out, hash: digest(hash_len), piece: Vec::with_capacity(PIECE_BYTES), passed: 0 }
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
        let sum = self.hash.finish().as_bytes().to_vec();
        self.out.write_all(&sum)?;
        self.out.flush()?;
        Ok((self.out, sum))
    }
}

/// Looks whether a file ends with the checksum of what it holds; reads all of it.
pub(crate) fn verify(data: &[u8], hash_len: usize) -> Result<(), Broken> {
    let sum_at = data.len().checked_sub(hash_len).ok_or(Broken("it is too short"))?;
    let mut hash = digest(hash_len);
    hash.update(&data[..sum_at]);
    if hash.finish().as_bytes() == &data[sum_at..] {
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
