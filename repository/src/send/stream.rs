//! The bytes of an answer, pulled a buffer at a time: nothing is read ahead of the one who sends.

use std::sync::Arc;

use slipway_core::Oid;

use super::recipe::Recipe;
use crate::digest::Digest;
use crate::error::Result;

/// A pack on its way out.
pub struct PackStream {
    recipe: Arc<Recipe>,
    /// Bytes given out.
    at: u64,
    /// Which piece of the recipe they end in.
    piece: usize,
    /// The checksum in the making, if it falls to this stream.
    hash: Option<Digest>,
    trailer: Option<Oid>,
}

impl PackStream {
    pub(crate) fn new(recipe: Arc<Recipe>) -> Self {
        let trailer = recipe.known_trailer();
        let hash = (trailer.is_none() && recipe.claim()).then(|| Digest::new(recipe.format()));
        Self { recipe, at: 0, piece: 0, hash, trailer }
    }

    /// How many objects it has.
    pub fn objects(&self) -> u32 {
        self.recipe.objects()
    }

    /// Its bytes in all.
    pub fn bytes(&self) -> u64 {
        self.recipe.len() + self.recipe.format().id_bytes() as u64
    }

    /// Fills `out` with the next bytes; fewer than it has room for only at the end, then none.
    ///
    /// # Errors
    /// Where the repository's files cannot be read; the pack is then worthless.
    pub fn fill(&mut self, out: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while filled < out.len() {
            let rest = &mut out[filled..];
            let got = if self.at < self.recipe.len() {
                self.recipe.read(rest, self.at, &mut self.piece, false)?.unwrap_or_default()
            } else {
                self.end(rest, false)?.unwrap_or_default()
            };
            if got == 0 {
                break;
            }
            self.took(&out[filled..filled + got]);
            filled += got;
        }
        Ok(filled)
    }

    /// As [`PackStream::fill`], but never waits: `None`, and nothing is lost, where the disk or a long computation would
    /// have to be waited for before the first byte; fewer bytes than there is room for where that comes later.
    pub fn fill_now(&mut self, out: &mut [u8]) -> Result<Option<usize>> {
        if self.hash.is_some() {
            return Ok(None);
        }
        let mut filled = 0;
        while filled < out.len() {
            let rest = &mut out[filled..];
            let got = if self.at < self.recipe.len() {
                self.recipe.read(rest, self.at, &mut self.piece, true)?
            } else {
                self.end(rest, true)?
            };
            match got {
                None if filled == 0 => return Ok(None),
                None | Some(0) => break,
                Some(got) => {
                    self.at += got as u64;
                    filled += got;
                }
            }
        }
        Ok(Some(filled))
    }

    fn took(&mut self, bytes: &[u8]) {
        if self.at < self.recipe.len()
            && let Some(hash) = &mut self.hash
        {
            hash.update(bytes);
        }
        self.at += bytes.len() as u64;
    }

    /// Bytes of the checksum, behind all others.
    fn end(&mut self, out: &mut [u8], now: bool) -> Result<Option<usize>> {
        if let Some(hash) = self.hash.take() {
            self.recipe.tell(hash.finish());
        }
        let trailer = match self.trailer.or_else(|| self.recipe.known_trailer()) {
            Some(known) => known,
            None if now => return Ok(None),
            None => self.recipe.trailer()?,
        };
        self.trailer = Some(trailer);
        let sent = usize::try_from(self.at - self.recipe.len()).unwrap_or(usize::MAX);
        let rest = trailer.as_bytes().get(sent..).unwrap_or_default();
        let got = out.len().min(rest.len());
        out[..got].copy_from_slice(&rest[..got]);
        Ok(Some(got))
    }
}
