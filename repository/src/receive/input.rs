//! The incoming bytes: read through one buffer, kept in a file as they come, hashed on the way.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use flate2::Crc;
use slipway_core::{ObjectFormat, Oid};

use crate::digest::Digest;
use crate::error::{RepoError, Result};
use crate::limits::{RECEIVE_BUFFER_BYTES, RECEIVE_READ_BYTES_MIN};

/// A pack on its way in.
pub(crate) struct Input<'a> {
    source: &'a mut dyn Read,
    file: &'a File,
    path: &'a Path,
    buffer: Vec<u8>,
    /// What of the buffer is hashed and written, what is in the entry's checksum, what is taken, and what is filled.
    kept: usize,
    summed: usize,
    taken: usize,
    filled: usize,
    /// Bytes taken before the buffer's start.
    before: u64,
    bytes_max: u64,
    hash: Digest,
    hash_len: usize,
    crc: Crc,
    stop: &'a AtomicBool,
}

/// Where the bytes of a pack went.
pub(crate) struct Arrived {
    /// Its checksum, which is not in the file.
    pub(crate) trailer: Oid,
    /// All bytes before it, if they were few.
    pub(crate) small: Option<Vec<u8>>,
}

impl<'a> Input<'a> {
    pub(crate) fn new(
        source: &'a mut dyn Read,
        file: &'a File,
        path: &'a Path,
        format: ObjectFormat,
        bytes_max: u64,
        stop: &'a AtomicBool,
    ) -> Self {
        Self {
            source,
            file,
            path,
            buffer: vec![0; RECEIVE_BUFFER_BYTES],
            kept: 0,
            summed: 0,
            taken: 0,
            filled: 0,
            before: 0,
            bytes_max,
            hash: Digest::new(format),
            hash_len: format.id_bytes(),
            crc: Crc::new(),
            stop,
        }
    }

    /// Bytes taken so far: where the next one is in the file.
    pub(crate) fn offset(&self) -> u64 {
        self.before + self.taken as u64
    }

    /// Starts the checksum of an entry.
    pub(crate) fn start_crc(&mut self) {
        self.crc.reset();
        self.summed = self.taken;
    }

    /// The checksum of what was taken since.
    pub(crate) fn crc(&mut self) -> u32 {
        self.sum();
        self.crc.sum()
    }

    fn sum(&mut self) {
        self.crc.update(&self.buffer[self.summed..self.taken]);
        self.summed = self.taken;
    }

    /// The bytes at hand, at least one.
    pub(crate) fn peek(&mut self) -> Result<&[u8]> {
        if self.taken == self.filled {
            self.refill()?;
        }
        Ok(&self.buffer[self.taken..self.filled])
    }

    /// Takes bytes that [`Input::peek`] showed.
    pub(crate) fn take(&mut self, count: usize) {
        self.taken = (self.taken + count).min(self.filled);
    }

    /// Takes one byte.
    pub(crate) fn byte(&mut self) -> Result<u8> {
        let byte = self.peek()?[0];
        self.take(1);
        Ok(byte)
    }

    /// Takes as many bytes as `out` has.
    pub(crate) fn exact(&mut self, out: &mut [u8]) -> Result<()> {
        out.iter_mut().try_for_each(|byte| {
            *byte = self.byte()?;
            Ok(())
        })
    }

    /// Brings more bytes, after those at hand while there is room, so that a small pack is written once.
    fn refill(&mut self) -> Result<()> {
        if self.buffer.len() - self.filled < RECEIVE_READ_BYTES_MIN {
            self.keep()?;
            self.before += self.taken as u64;
            (self.kept, self.summed, self.taken, self.filled) = (0, 0, 0, 0);
        }
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return Err(RepoError::Stopped);
            }
            let so_far = self.before + self.filled as u64;
            match self.source.read(&mut self.buffer[self.filled..]) {
                Ok(0) => return Err(RepoError::Truncated { bytes: so_far }),
                Ok(n) => {
                    self.filled += n;
                    if so_far + n as u64 > self.bytes_max {
                        return Err(RepoError::TooMuch {
                            what: "the pack's size in bytes",
                            max: self.bytes_max,
                        });
                    }
                    return Ok(());
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(RepoError::Source { bytes: so_far, source }),
            }
        }
    }

    /// Hashes and writes what was taken.
    fn keep(&mut self) -> Result<()> {
        self.sum();
        let bytes = &self.buffer[self.kept..self.taken];
        self.hash.update(bytes);
        self.file.write_all(bytes).map_err(RepoError::io("write", self.path))?;
        self.kept = self.taken;
        Ok(())
    }

    /// Takes the trailer, which is not kept in the file, and compares it.
    pub(crate) fn finish(mut self) -> Result<Arrived> {
        self.keep()?;
        let end = self.taken;
        let was_small = self.before == 0;
        let ours = self.hash;
        self.hash = Digest::new(ObjectFormat::Sha1);
        let ours = ours.finish();
        let mut theirs = [0u8; 32];
        let mut small = None;
        for byte in &mut theirs[..self.hash_len] {
            // The trailer may make the buffer start anew.
            if was_small && small.is_none() && self.taken == self.filled {
                small = Some(self.buffer[..end].to_vec());
            }
            *byte = self.peek()?[0];
            self.taken += 1;
            (self.kept, self.summed) = (self.taken, self.taken);
        }
        if ours.as_bytes() != &theirs[..self.hash_len] {
            return Err(RepoError::bad_pack("its bytes do not match its checksum"));
        }
        // More may come later on a connection that stays open; what is here already shows that the pack is not what it says.
        if self.taken < self.filled {
            return Err(RepoError::bad_pack("it goes on behind its end"));
        }
        if was_small && small.is_none() {
            self.buffer.truncate(end);
            small = Some(self.buffer);
        }
        Ok(Arrived { trailer: ours, small })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_a_clear_error() {
        let full = Path::new("/dev/full");
        let Ok(file) = File::options().write(true).open(full) else { return };
        let stop = AtomicBool::new(false);
        let mut source = io::repeat(7);
        let mut input = Input::new(&mut source, &file, full, ObjectFormat::Sha1, u64::MAX, &stop);
        let mut out = vec![0; 2 * RECEIVE_BUFFER_BYTES];
        match input.exact(&mut out) {
            Err(e @ RepoError::Io { .. }) => {
                let problem = slipway_core::Problem::from(e);
                assert!(problem.cure.contains("Free space"), "{problem}");
            }
            other => panic!("{other:?}"),
        }
    }
}
