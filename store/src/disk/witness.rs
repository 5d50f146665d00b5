//! The witness: a small file beside the engine's own that says how many changes were acknowledged. The engine takes the first
//! damaged spot of its log for the end of what was written, and drops what follows; the witness tells that end from a real one.
//! Knows nothing of records.
//!
//! It is written after the change is durable and before anybody hears of it, and is not synced: after `kill -9` it is exact,
//! after loss of power it may be behind the database, never ahead of it. Two slots, a page apart, are written in turn, so that one that
//! is torn leaves the other:
//!
//! ```text
//! magic      4 bytes   SLW1
//! changes    8 bytes   big-endian
//! checksum   4 bytes   CRC-32 (IEEE 802.3) of the 12 bytes before it, big-endian
//! ```

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

const MAGIC: &[u8; 4] = b"SLW1";
const BYTES: usize = 16;
const APART: u64 = 4096;

/// Its name in the database's folder.
pub(super) const FILE: &str = "witness";

/// The open file.
pub(super) struct Witness(File);

impl Witness {
    /// Makes it in that folder, synced, or writes it anew.
    pub(super) fn create(folder: &Path, changes: u64) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(folder.join(FILE))?;
        for slot in 0..2 {
            file.write_all_at(&encode(changes), slot * APART)?;
        }
        file.sync_all()?;
        Ok(Self(file))
    }

    /// Opens it in that folder: `None` if there is none, `Some((_, None))` if it can't be believed.
    pub(super) fn open(folder: &Path) -> io::Result<Option<(Self, Option<u64>)>> {
        let file = match OpenOptions::new().read(true).write(true).open(folder.join(FILE)) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        let said = (0..2).filter_map(|slot| decode(&file, slot * APART)).max();
        Ok(Some((Self(file), said)))
    }

    /// Says that so many changes are acknowledged.
    pub(super) fn write(&self, changes: u64) -> io::Result<()> {
        self.0.write_all_at(&encode(changes), changes % 2 * APART)
    }
}

fn encode(changes: u64) -> [u8; BYTES] {
    let mut raw = [0; BYTES];
    raw[..4].copy_from_slice(MAGIC);
    raw[4..12].copy_from_slice(&changes.to_be_bytes());
    let checksum = crc32fast::hash(&raw[..12]);
    raw[12..].copy_from_slice(&checksum.to_be_bytes());
    raw
}

fn decode(file: &File, at: u64) -> Option<u64> {
    let mut raw = [0; BYTES];
    file.read_exact_at(&mut raw, at).ok()?;
    let (body, checksum) = raw.split_last_chunk::<4>()?;
    let (magic, changes) = body.split_first_chunk::<4>()?;
    if magic != MAGIC || crc32fast::hash(body) != u32::from_be_bytes(*checksum) {
        return None;
    }
    Some(u64::from_be_bytes(changes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_torn_slot_leaves_the_other() {
        let folder = tempfile::tempdir().expect("temp folder");
        let said = || Witness::open(folder.path()).expect("opens").map(|(_, said)| said);
        assert_eq!(said(), None);
        let witness = Witness::create(folder.path(), 3).expect("made");
        assert_eq!(said(), Some(Some(3)));
        witness.write(4).expect("written");
        witness.write(5).expect("written");
        assert_eq!(said(), Some(Some(5)));
        let path = folder.path().join(FILE);
        let whole = std::fs::read(&path).expect("read");
        for at in 0..whole.len() {
            let mut bad = whole.clone();
            let end = (at + 16).min(bad.len());
            bad[at..end].fill(0xA5);
            std::fs::write(&path, &bad).expect("written");
            assert!(matches!(said(), Some(Some(4 | 5))), "noise at {at}: {:?}", said());
        }
        for length in 0..BYTES {
            std::fs::write(&path, &whole[..length]).expect("written");
            assert_eq!(said(), Some(None), "cut to {length}");
        }
    }
}
