//! Large objects on their way through: in memory as long as all that are there together stay within one budget, and in
//! files without a name beyond it. What is too large for memory costs whoever sent or asked for it time, and nobody else.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use slipway_core::limits::in_force;

use crate::durable::make_inner;
use crate::error::{RepoError, Result};
use crate::limits::{BUFFER_BYTES, SMALL_BYTES_MAX};
use crate::sweep::SPOOL;

static MEMORY: AtomicUsize = AtomicUsize::new(0);
static SPOOLED: AtomicU64 = AtomicU64::new(0);

/// Memory of the budget; given back when dropped.
#[derive(Debug, Default)]
pub(crate) struct Taken(usize);

impl Taken {
    /// For an object of so many bytes: small ones are not counted. `None` if the budget has not that much left.
    pub(crate) fn of(bytes: u64) -> Option<Self> {
        let bytes = usize::try_from(bytes).ok()?;
        if bytes <= SMALL_BYTES_MAX {
            return Some(Self(0));
        }
        let max = in_force().large_object_memory_max;
        let more = |used: usize| used.checked_add(bytes).filter(|sum| *sum as u64 <= max);
        MEMORY.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok().map(|_| Self(bytes))
    }
}

impl Taken {
    /// The same, waited for.
    pub(crate) fn wait(bytes: u64, stop: &AtomicBool) -> Result<Self> {
        let begun = Instant::now();
        loop {
            if let Some(taken) = Self::of(bytes) {
                return Ok(taken);
            }
            if stop.load(Ordering::Relaxed) {
                return Err(RepoError::Stopped);
            }
            if begun.elapsed() > in_force().large_object_wait {
                return Err(RepoError::Crowded);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if self.0 > 0 {
            MEMORY.fetch_sub(self.0, Ordering::Relaxed);
        }
    }
}

/// An object's bytes.
#[derive(Debug)]
pub(crate) enum Bulk {
    /// In memory.
    // Held for as long as the bytes are.
    Memory(Vec<u8>, #[allow(dead_code)] Taken),
    /// In a file.
    File(Spool),
}

impl Bulk {
    /// Room for an object of so many bytes: in memory, or in a file that goes below `folder`.
    pub(crate) fn room(bytes: u64, folder: &Path) -> Result<Self> {
        match Taken::of(bytes) {
            Some(taken) => Ok(Self::Memory(Vec::new(), taken)),
            None => Spool::new(folder).map(Self::File),
        }
    }

    /// How many bytes there are.
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Memory(data, _) => data.len() as u64,
            Self::File(spool) => spool.len,
        }
    }

    /// The bytes, where they are in memory.
    pub(crate) fn in_memory(&self) -> Option<&[u8]> {
        match self {
            Self::Memory(data, _) => Some(data),
            Self::File(_) => None,
        }
    }

    /// Fills `out` with the bytes from `at` on, which must be there.
    pub(crate) fn read_exact_at(&self, out: &mut [u8], at: u64) -> io::Result<()> {
        match self {
            Self::Memory(data, _) => {
                let at = usize::try_from(at).unwrap_or(usize::MAX);
                let found = at.checked_add(out.len()).and_then(|end| data.get(at..end));
                out.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
                Ok(())
            }
            Self::File(spool) => spool.file.read_exact_at(out, at),
        }
    }

    /// Hands all bytes over, piece by piece.
    pub(crate) fn each_piece(&self, each: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let spool = match self {
            Self::Memory(data, _) => return each(data),
            Self::File(spool) => spool,
        };
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut at = 0;
        while at < spool.len {
            let want = buffer.len().min(usize::try_from(spool.len - at).unwrap_or(usize::MAX));
            let piece = &mut buffer[..want];
            spool.file.read_exact_at(piece, at).map_err(RepoError::io("read", &spool.path))?;
            each(piece)?;
            at += want as u64;
        }
        Ok(())
    }

    /// All bytes in `out` (cleared first).
    pub(crate) fn read_into(self, out: &mut Vec<u8>) -> Result<()> {
        if let Self::Memory(data, _) = self {
            *out = data;
            return Ok(());
        }
        self.copy_into(out)
    }

    /// Moves what is large out of memory: nobody knows how long it stays.
    pub(crate) fn put_down(self, folder: &Path) -> Result<Self> {
        match self {
            Self::Memory(data, _) if data.len() > SMALL_BYTES_MAX => {
                let mut spool = Spool::new(folder)?;
                spool.put(&data).map_err(RepoError::io("write", folder))?;
                Ok(Self::File(spool))
            }
            small => Ok(small),
        }
    }

    /// True if the other has the same bytes.
    pub(crate) fn is_same(&self, other: &Self) -> Result<bool> {
        if let (Some(here), Some(there)) = (self.in_memory(), other.in_memory()) {
            return Ok(here == there);
        }
        let (mut same, mut at, mut buffer) = (self.len() == other.len(), 0, Vec::new());
        self.each_piece(&mut |piece| {
            // The other may be in memory as a whole, and its pieces in any size.
            for part in piece.chunks(BUFFER_BYTES) {
                buffer.resize(part.len(), 0);
                same = same && other.read_exact_at(&mut buffer, at).is_ok() && buffer == part;
                at += part.len() as u64;
            }
            Ok(())
        })?;
        Ok(same)
    }

    /// A copy of all bytes in `out` (cleared first).
    pub(crate) fn copy_into(&self, out: &mut Vec<u8>) -> Result<()> {
        out.clear();
        out.reserve_exact(usize::try_from(self.len()).unwrap_or(0));
        self.each_piece(&mut |piece| {
            out.extend_from_slice(piece);
            Ok(())
        })
    }
}

impl Write for Bulk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Memory(data, _) => data.extend_from_slice(bytes),
            Self::File(spool) => spool.put(bytes)?,
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Bytes in a file without a name.
#[derive(Debug)]
pub(crate) struct Spool {
    file: File,
    path: PathBuf,
    len: u64,
}

impl Spool {
    fn new(folder: &Path) -> Result<Self> {
        Ok(Self { file: nameless(folder)?, path: folder.join(SPOOL), len: 0 })
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        let more =
            |sum: u64| Some(sum + bytes.len() as u64).filter(|sum| *sum <= in_force().large_object_disk_max);
        if SPOOLED.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_err() {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        let at = self.len;
        self.len += bytes.len() as u64;
        self.file.write_all_at(bytes, at)
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        SPOOLED.fetch_sub(self.len, Ordering::Relaxed);
    }
}

/// A file in the folder that is gone from it already.
pub(crate) fn nameless(folder: &Path) -> Result<File> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    make_inner(folder).map_err(RepoError::io("create", folder))?;
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path = folder.join(format!("{SPOOL}{}-{number}", std::process::id()));
    let file = File::options().read(true).write(true).create(true).truncate(true).open(&path);
    let file = file.map_err(RepoError::io("create", &path))?;
    fs::remove_file(&path).map_err(RepoError::io("remove", &path))?;
    Ok(file)
}

/// Reads `bytes` of a stream into a [`Bulk`], and no more.
pub(crate) fn take_in(from: &mut dyn Read, bytes: u64, into: &mut Bulk) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut left = bytes;
    while left > 0 {
        let want = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let got = from.read(&mut buffer[..want])?;
        if got == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        into.write_all(&buffer[..got])?;
        left -= got as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_memory_has_no_room_for_lies_in_a_file_and_reads_the_same() {
        let folder = tempfile::tempdir().expect("temp");
        let bytes: Vec<u8> = (0..300_000u32).map(|n| n as u8).collect();
        let mut file = Bulk::File(Spool::new(folder.path()).expect("a file"));
        let mut memory = Bulk::room(3, folder.path()).expect("small");
        assert!(memory.in_memory().is_some() && file.in_memory().is_none());
        for bulk in [&mut file, &mut memory] {
            bulk.write_all(&bytes).expect("written");
            let mut part = [0; 5];
            bulk.read_exact_at(&mut part, 299_995).expect("read");
            assert_eq!(part, bytes[299_995..]);
            assert!(bulk.read_exact_at(&mut part, 299_996).is_err());
        }
        let mut all = Vec::new();
        file.read_into(&mut all).expect("read");
        assert_eq!(all, bytes);
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0, "it has no name");
    }

    #[test]
    fn the_budget_is_one_and_comes_back() {
        let most = in_force().large_object_memory_max;
        assert!(Taken::of(most + 1).is_none());
        let half = Taken::of(most / 2 + 1);
        if half.is_some() {
            assert!(Taken::of(most / 2 + 1).is_none(), "not twice");
            drop(half);
        }
        assert!(Taken::of(SMALL_BYTES_MAX as u64).is_some_and(|taken| taken.0 == 0));
    }
}
