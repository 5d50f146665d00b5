//! An answer ready to be sent, as often as it is asked for: ranges of stored packs, and between them the bytes that had
//! to be made. Bytes are made once ([`super::prepare`]), kept in memory while they are few and in a file without a name
//! beyond that; the checksum is known once somebody has sent it all. Knows no generation: it stands on its packs alone.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use slipway_core::{ObjectFormat, Oid};

use super::made::Made;
use crate::digest::Digest;
use crate::error::Result;
use crate::limits::BUFFER_BYTES;
use crate::packs::PackSet;

/// A finished answer.
pub(crate) struct Recipe {
    packs: Arc<PackSet>,
    made: Made,
    pieces: Vec<Piece>,
    format: ObjectFormat,
    objects: u32,
    /// Bytes before the checksum.
    len: u64,
    trailer: OnceLock<Oid>,
    /// Somebody computes the checksum while sending.
    claimed: AtomicBool,
    /// Held while the checksum is computed on its own.
    summing: Mutex<()>,
}

/// A stretch of the answer, up to where the next one begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    /// Where in the answer.
    pub(super) begins: u64,
    /// Where in its source.
    pub(super) from: u64,
    /// A pack's number, or [`MADE`].
    pub(super) source: u32,
}

/// The source of what had to be made.
pub(super) const MADE: u32 = u32::MAX;

#[cfg(test)]
impl Default for Recipe {
    /// An answer without anything in it.
    fn default() -> Self {
        let content = Content { made: Made::default(), pieces: Vec::new(), objects: 0, len: 0 };
        Self::new(Arc::new(PackSet::new(Vec::new(), Arc::default())), ObjectFormat::Sha1, content, None)
    }
}

/// What a recipe is made of.
pub(super) struct Content {
    pub(super) made: Made,
    pub(super) pieces: Vec<Piece>,
    pub(super) objects: u32,
    /// Bytes before the checksum.
    pub(super) len: u64,
}

impl Recipe {
    /// An answer that copies from these packs, with its checksum if that is known.
    pub(super) fn new(
        packs: Arc<PackSet>,
        format: ObjectFormat,
        content: Content,
        trailer: Option<Oid>,
    ) -> Self {
        let Content { made, mut pieces, objects, len } = content;
        pieces.shrink_to_fit();
        Self {
            packs,
            made,
            pieces,
            format,
            objects,
            len,
            trailer: trailer.map(OnceLock::from).unwrap_or_default(),
            claimed: AtomicBool::new(false),
            summing: Mutex::default(),
        }
    }

    /// How many objects it has.
    pub(crate) fn objects(&self) -> u32 {
        self.objects
    }

    /// Bytes before the checksum.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// The hash of its ids and of its checksum.
    pub(crate) fn format(&self) -> ObjectFormat {
        self.format
    }

    /// Bytes of memory that it takes.
    pub(crate) fn memory(&self) -> usize {
        size_of::<Self>() + self.pieces.len() * size_of::<Piece>() + self.made.memory()
    }

    /// Bytes of disk that only it takes.
    pub(crate) fn disk(&self) -> u64 {
        self.made.filed()
    }

    /// True if every pack that it needs is among these: none was retired.
    pub(crate) fn stands_on(&self, packs: &PackSet) -> bool {
        self.packs.packs().iter().all(|ours| packs.packs().iter().any(|p| Arc::ptr_eq(p, ours)))
    }

    /// The checksum if it is known.
    pub(crate) fn known_trailer(&self) -> Option<Oid> {
        self.trailer.get().copied()
    }

    /// True for one caller: who sends it all and tells the checksum.
    pub(crate) fn claim(&self) -> bool {
        !self.claimed.swap(true, Ordering::Relaxed)
    }

    /// Tells the checksum.
    pub(crate) fn tell(&self, trailer: Oid) {
        let _ = self.trailer.set(trailer);
    }

    /// The checksum, computed over everything if nobody told it. Reads the whole answer then.
    pub(crate) fn trailer(&self) -> Result<Oid> {
        // The guarded value is (): a panic leaves nothing half-done.
        let _turn = self.summing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = self.known_trailer() {
            return Ok(known);
        }
        let mut hash = Digest::new(self.format);
        let mut buffer = vec![0; BUFFER_BYTES];
        let (mut at, mut piece) = (0, 0);
        while at < self.len {
            let got = self.read(&mut buffer, at, &mut piece, false)?.unwrap_or_default();
            hash.update(&buffer[..got]);
            at += got as u64;
        }
        let sum = hash.finish();
        self.tell(sum);
        Ok(sum)
    }

    /// Fills `out` from byte `at` of the answer, which is in piece number `piece` (moved on), with what one read gives:
    /// at least one byte. `None` if it would have to wait for the disk and `now` says not to.
    pub(crate) fn read(
        &self,
        out: &mut [u8],
        at: u64,
        piece: &mut usize,
        now: bool,
    ) -> Result<Option<usize>> {
        let ends = |piece: usize| self.pieces.get(piece + 1).map_or(self.len, |next| next.begins);
        while ends(*piece) <= at && *piece + 1 < self.pieces.len() {
            *piece += 1;
        }
        let Some(here) = self.pieces.get(*piece) else { return Ok(Some(0)) };
        let room = usize::try_from(ends(*piece) - at).unwrap_or(usize::MAX).min(out.len());
        let (out, from) = (&mut out[..room], here.from + (at - here.begins));
        if here.source == MADE {
            return self.made.read(out, from, now);
        }
        let pack = &self.packs.packs()[here.source as usize];
        let got = if now { pack.read_now(out, from)? } else { Some(pack.read_raw(out, from)?) };
        match got {
            Some(0) if room > 0 => Err(pack.broken(from, "it ends early")),
            got => Ok(got),
        }
    }
}
