//! The incoming bytes: read through one buffer, kept in a file as they come, hashed on the way.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use flate2::Crc;
use sha1::{Digest, Sha1};

use crate::error::{RepoError, Result};
use crate::limits::RECEIVE_BUFFER_BYTES;

/// A pack on its way in.
pub(crate) struct Input<'a> {
    source: &'a mut dyn Read,
    file: &'a File,
    path: &'a Path,
    buffer: Vec<u8>,
    /// What of the buffer is hashed and written, what is taken, and what is filled.
    kept: usize,
    taken: usize,
    filled: usize,
    /// Bytes taken before the buffer's start.
    before: u64,
    bytes_max: u64,
    hash: Sha1,
    crc: Crc,
    stop: &'a AtomicBool,
}

impl<'a> Input<'a> {
    pub(crate) fn new(
        source: &'a mut dyn Read,
        file: &'a File,
        path: &'a Path,
        bytes_max: u64,
        stop: &'a AtomicBool,
    ) -> Self {
        Self {
            source,
            file,
            path,
            buffer: vec![0; RECEIVE_BUFFER_BYTES],
            kept: 0,
            taken: 0,
            filled: 0,
            before: 0,
            bytes_max,
            hash: Sha1::new(),
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
    }

    /// The checksum of what was taken since.
    pub(crate) fn crc(&self) -> u32 {
        self.crc.sum()
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
        let end = (self.taken + count).min(self.filled);
        self.crc.update(&self.buffer[self.taken..end]);
        self.taken = end;
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

    fn refill(&mut self) -> Result<()> {
        self.keep()?;
        self.before += self.taken as u64;
        (self.kept, self.taken, self.filled) = (0, 0, 0);
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return Err(RepoError::Stopped);
            }
            match self.source.read(&mut self.buffer) {
                Ok(0) => return Err(RepoError::Truncated { bytes: self.before }),
                Ok(n) => {
                    self.filled = n;
                    if self.before + n as u64 > self.bytes_max {
                        return Err(RepoError::TooMuch {
                            what: "the pack's size in bytes",
                            max: self.bytes_max,
                        });
                    }
                    return Ok(());
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(RepoError::Source { bytes: self.before, source }),
            }
        }
    }

    /// Hashes and writes what was taken.
    fn keep(&mut self) -> Result<()> {
        let bytes = &self.buffer[self.kept..self.taken];
        self.hash.update(bytes);
        self.file.write_all(bytes).map_err(RepoError::io("write", self.path))?;
        self.kept = self.taken;
        Ok(())
    }

    /// Takes the trailer, which is not kept in the file, and compares it. Returns it.
    pub(crate) fn finish(mut self) -> Result<[u8; 20]> {
        self.keep()?;
        let ours: [u8; 20] = std::mem::take(&mut self.hash).finalize().into();
        let mut theirs = [0u8; 20];
        for byte in &mut theirs {
            *byte = self.peek()?[0];
            self.taken += 1;
            self.kept = self.taken;
        }
        if ours != theirs {
            return Err(RepoError::bad_pack("its bytes do not match its checksum"));
        }
        Ok(ours)
    }
}
