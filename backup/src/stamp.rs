//! What tells a file that an earlier backup has from one that it has not, without reading all of it: name and size, and what git's
//! files end with (checksums of everything in them), or when a log was last written.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use aws_lc_rs::digest::{Context, SHA256};

use crate::hashes::to_sum;
use crate::limits::{KNOWN_MAX, TAIL_BYTES};
use crate::name::Name;

/// The mark of one file's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Stamp(pub(crate) [u8; 16]);

impl Stamp {
    /// That of a file; `None` for one that is always sent.
    ///
    /// # Errors
    /// A disk that fails.
    pub fn of(name: &Name, size: u64, modified_s: u64, file: &File) -> io::Result<Option<Self>> {
        if !name.is_object() && !name.is_log() {
            return Ok(None);
        }
        let mut tail = vec![0; TAIL_BYTES.min(usize::try_from(size).unwrap_or(TAIL_BYTES))];
        let from = size - tail.len() as u64;
        file.read_exact_at(&mut tail, from)?;
        Ok(Self::from_tail(name, size, modified_s, &tail))
    }

    /// The same of a file whose last bytes are known.
    pub(crate) fn from_tail(name: &Name, size: u64, modified_s: u64, tail: &[u8]) -> Option<Self> {
        if !name.is_object() && !name.is_log() {
            return None;
        }
        // Objects are the same whenever they were written.
        let modified_s = if name.is_log() { modified_s } else { 0 };
        let mut hasher = Context::new(&SHA256);
        hasher.update(name.as_str().as_bytes());
        hasher.update(&[0]);
        hasher.update(&size.to_be_bytes());
        hasher.update(&modified_s.to_be_bytes());
        hasher.update(&tail[tail.len().saturating_sub(TAIL_BYTES)..]);
        let mut stamp = [0; 16];
        stamp.copy_from_slice(&to_sum(hasher)[..16]);
        Some(Self(stamp))
    }

    pub(crate) fn parse(hex_text: &str) -> Option<Self> {
        let mut stamp = [0; 16];
        hex::decode_to_slice(hex_text, &mut stamp).ok()?;
        Some(Self(stamp))
    }

    pub(crate) fn to_hex(self) -> String {
        hex::encode(self.0)
    }
}

/// The files that whoever receives a backup has already, by their stamps.
#[derive(Debug, Default)]
pub struct Known(pub(crate) HashSet<Stamp>);

impl Known {
    /// The most bytes of them on the wire.
    pub const BYTES_MAX: usize = KNOWN_MAX * 16;

    /// Reads what [`Known::to_bytes`] has written; `None` if it is nothing of the kind.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (stamps, rest) = bytes.as_chunks::<16>();
        (rest.is_empty() && stamps.len() <= KNOWN_MAX)
            .then(|| Self(stamps.iter().map(|s| Stamp(*s)).collect()))
    }

    /// 16 bytes each.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.iter().take(KNOWN_MAX).flat_map(|stamp| stamp.0).collect()
    }

    /// True if that file is there already.
    pub fn has(&self, stamp: &Stamp) -> bool {
        self.0.contains(stamp)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn the_end_of_a_file_is_what_tells_it() {
        let folder = tempfile::tempdir().expect("temp");
        let name = Name::parse("builds/1/2.log").expect("valid");
        for length in [0usize, 5, 63, 64, 65, 5000] {
            let bytes: Vec<u8> = (0..length).map(|n| n as u8).collect();
            let path = folder.path().join(length.to_string());
            let mut file = crate::disk::create(&path).expect("new");
            file.write_all(&bytes).expect("written");
            let stamp = Stamp::of(&name, length as u64, 7, &file).expect("read");
            assert_eq!(stamp, Stamp::from_tail(&name, length as u64, 7, &bytes), "{length}");
            assert_ne!(stamp, Stamp::from_tail(&name, length as u64, 8, &bytes), "written again");
        }
        assert_eq!(Stamp::from_tail(&Name::parse("records").expect("valid"), 1, 1, b"x"), None);
    }

    #[test]
    fn what_is_known_goes_over_the_wire() {
        let name = |n: u64| Name::parse(&format!("builds/1/{n}.log")).expect("valid");
        let all = Known((0..100).filter_map(|n| Stamp::from_tail(&name(n), 1, 1, b"x")).collect());
        let back = Known::from_bytes(&all.to_bytes()).expect("valid");
        assert_eq!(back.0, all.0);
        assert!(Known::from_bytes(&[0; 17]).is_none());
    }
}
