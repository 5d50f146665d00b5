//! Pieces of a pack on their way out: buffers that are used again, filled so that the pack's bytes are read to where
//! they are sent from, between the heads of the packets around them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use slipway_core::Problem;
use slipway_repository::PackStream;

use crate::limits::{CHUNK_BYTES, CHUNKS_OUT_MAX, SMALL_CHUNK_BYTES, SPARE_CHUNKS_MAX};
use crate::wire::pktline::{Band, SideBand};

/// Buffers that wait for their next use.
#[derive(Debug, Default)]
pub(crate) struct Spare {
    waiting: Mutex<Vec<Vec<u8>>>,
    /// Buffers of full size that are filled, or on their way.
    out: AtomicUsize,
}

impl Spare {
    /// A buffer of [`CHUNK_BYTES`] whose content does not matter; a small one where many clients have not taken theirs.
    pub(crate) fn take(self: &Arc<Self>) -> Chunk {
        let home = Arc::clone(self);
        if self.out.fetch_add(1, Ordering::Relaxed) >= CHUNKS_OUT_MAX {
            self.out.fetch_sub(1, Ordering::Relaxed);
            return Chunk { bytes: vec![0; SMALL_CHUNK_BYTES], filled: 0, home };
        }
        let spare = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Chunk { bytes: spare.unwrap_or_else(|| vec![0; CHUNK_BYTES]), filled: 0, home }
    }
}

/// A buffer and how much of it counts. Goes home when dropped.
#[derive(Debug)]
pub(crate) struct Chunk {
    bytes: Vec<u8>,
    filled: usize,
    home: Arc<Spare>,
}

impl Drop for Chunk {
    fn drop(&mut self) {
        if self.bytes.len() < CHUNK_BYTES {
            return;
        }
        self.home.out.fetch_sub(1, Ordering::Relaxed);
        let mut spare = self.home.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < SPARE_CHUNKS_MAX {
            spare.push(std::mem::take(&mut self.bytes));
        }
    }
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.filled]
    }
}

impl Chunk {
    /// Fills it with packets of the pack, waiting for the disk where need be; stays empty at the pack's end.
    pub(crate) fn fill(&mut self, pack: &mut PackStream, band: SideBand) -> Result<(), Problem> {
        self.fill_with(band, |room| pack.fill(room).map(Some).map_err(Problem::from)).map(drop)
    }

    /// The same without waiting: false, and nothing is lost, if nothing could be had at once.
    pub(crate) fn fill_now(&mut self, pack: &mut PackStream, band: SideBand) -> Result<bool, Problem> {
        self.fill_with(band, |room| pack.fill_now(room).map_err(Problem::from))
    }

    fn fill_with(
        &mut self,
        band: SideBand,
        mut next: impl FnMut(&mut [u8]) -> Result<Option<usize>, Problem>,
    ) -> Result<bool, Problem> {
        let head = band.head_len();
        self.filled = 0;
        while self.bytes.len() - self.filled > head {
            let room = &mut self.bytes[self.filled..];
            let packet = (room.len() - head).min(band.room());
            let Some(got) = next(&mut room[head..head + packet])? else { return Ok(self.filled > 0) };
            if got == 0 {
                break;
            }
            band.put_head(Band::Data, got, &mut room[..head]);
            self.filled += head + got;
            if got < packet {
                break;
            }
        }
        Ok(true)
    }

    /// The bytes to send, if there are any.
    pub(crate) fn into_bytes(self) -> Option<Bytes> {
        (self.filled > 0).then(|| Bytes::from_owner(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_that_do_not_take_theirs_leave_small_buffers_to_the_others() {
        let spare = Arc::new(Spare::default());
        let mut out: Vec<Chunk> = (0..CHUNKS_OUT_MAX).map(|_| spare.take()).collect();
        assert!(out.iter().all(|chunk| chunk.bytes.len() == CHUNK_BYTES));
        assert_eq!(spare.take().bytes.len(), SMALL_CHUNK_BYTES);
        out.pop();
        assert_eq!(spare.take().bytes.len(), CHUNK_BYTES, "one came back");
    }
}
