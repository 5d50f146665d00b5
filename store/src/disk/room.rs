//! How much room there is for a change. One that finds none is refused before the engine hears of it: after a write that failed
//! the engine cannot even be read everywhere, as readers help to split pages, which it would have to write.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::Path;

use crate::limits::RESERVED_BYTES;

/// The bytes that this process may still write in that folder's file system.
pub(super) fn free(folder: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(folder)?;
    // Some file systems keep a part for the superuser.
    let blocks = if rustix::process::geteuid().is_root() { stat.f_bfree } else { stat.f_bavail };
    Ok(blocks.saturating_mul(stat.f_frsize))
}

/// Asks whether there is room for these writes, and some more. A change that removes more than it writes is always tried: it is how
/// people make room.
pub(super) fn check(folder: &Path, writes: &BTreeMap<Vec<u8>, Option<Vec<u8>>>) -> io::Result<()> {
    let removed = writes.values().filter(|value| value.is_none()).count();
    if removed > writes.len() - removed {
        return Ok(());
    }
    for_bytes(folder, writes.iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, Vec::len)).sum())
}

/// Asks whether there is room for so many bytes, and some more.
pub(super) fn for_bytes(folder: &Path, bytes: usize) -> io::Result<()> {
    // Each may be written twice, with the page that it goes to.
    if free(folder)? < RESERVED_BYTES + 2 * bytes as u64 {
        return Err(ErrorKind::StorageFull.into());
    }
    Ok(())
}
