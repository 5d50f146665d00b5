//! What is written first and read after, once: in a file that whoever makes one gives, or, where its disk takes no more, in memory
//! up to a bound. So what is made to be carried elsewhere is made where a disk is full, too. Knows no path and no format.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, Write};

use crate::limits::SPOOL_MEMORY_BYTES_MAX;

/// Bytes on their way. Written, then [`Spool::rewind`], then read.
#[derive(Debug)]
pub struct Spool {
    place: Place,
    written: u64,
}

#[derive(Debug)]
enum Place {
    Disk(File),
    Memory(io::Cursor<Vec<u8>>),
}

impl Spool {
    /// In that file, an empty one. Where it could not be made for want of room, in memory.
    ///
    /// # Errors
    /// Why else it could not be made.
    pub fn new(file: io::Result<File>) -> io::Result<Self> {
        let place = match file {
            Ok(file) => Place::Disk(file),
            Err(e) if is_full(&e) => Place::Memory(io::Cursor::default()),
            Err(e) => return Err(e),
        };
        Ok(Self { place, written: 0 })
    }

    /// How many bytes were written.
    pub fn len(&self) -> u64 {
        self.written
    }

    /// True if nothing was.
    pub fn is_empty(&self) -> bool {
        self.written == 0
    }

    /// Goes to the beginning, to be read.
    ///
    /// # Errors
    /// A disk that fails.
    pub fn rewind(&mut self) -> io::Result<()> {
        match &mut self.place {
            Place::Disk(file) => file.rewind(),
            Place::Memory(bytes) => bytes.rewind(),
        }
    }

    /// Takes what the disk has into memory, and lets go of the file.
    fn move_to_memory(&mut self) -> io::Result<()> {
        if let Place::Disk(file) = &mut self.place {
            let mut bytes = Vec::new();
            if self.written <= SPOOL_MEMORY_BYTES_MAX {
                file.rewind()?;
                file.take(self.written).read_to_end(&mut bytes)?;
            }
            if bytes.len() as u64 != self.written {
                return Err(ErrorKind::StorageFull.into());
            }
            let mut bytes = io::Cursor::new(bytes);
            bytes.set_position(self.written);
            self.place = Place::Memory(bytes);
        }
        Ok(())
    }
}

impl Write for Spool {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Place::Disk(file) = &mut self.place {
            match file.write(bytes) {
                Err(e) if is_full(&e) => self.move_to_memory()?,
                written => {
                    let written = written?;
                    self.written += written as u64;
                    return Ok(written);
                }
            }
        }
        let Place::Memory(memory) = &mut self.place else { return Ok(0) };
        if self.written + bytes.len() as u64 > SPOOL_MEMORY_BYTES_MAX {
            return Err(ErrorKind::StorageFull.into());
        }
        memory.write_all(bytes)?;
        self.written += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Spool {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.place {
            Place::Disk(file) => file.read(buffer),
            Place::Memory(bytes) => bytes.read(buffer),
        }
    }
}

/// True if there is no room for what was to be written: on the disk, or for whom it is.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(spool: &mut Spool) -> Vec<u8> {
        let mut all = Vec::new();
        spool.rewind().and_then(|()| spool.read_to_end(&mut all)).expect("read");
        all
    }

    #[test]
    fn what_a_full_disk_does_not_take_is_kept_in_memory_up_to_a_bound() {
        let full = || File::options().read(true).write(true).open("/dev/full");
        for file in [full(), Err(ErrorKind::StorageFull.into())] {
            let mut spool = Spool::new(file).expect("in memory");
            spool.write_all(b"one ").and_then(|()| spool.write_all(b"two")).expect("taken");
            assert_eq!((read(&mut spool).as_slice(), spool.len()), (b"one two".as_slice(), 7));
        }
        let mut spool = Spool::new(full()).expect("in memory");
        let piece = vec![7; 1 << 20];
        let failed = (0..=SPOOL_MEMORY_BYTES_MAX >> 20).find_map(|_| spool.write_all(&piece).err());
        assert!(failed.is_some_and(|e| is_full(&e)), "there is a bound");
        assert!(Spool::new(Err(ErrorKind::PermissionDenied.into())).is_err());
    }
}
