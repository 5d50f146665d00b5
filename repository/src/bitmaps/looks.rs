//! What came of the looks at bitmaps of others (`whole.rs`), so that none is looked at twice.

use std::fs::{self, File};
use std::io::Read;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use clru::CLruCache;

use crate::error::Result;
use crate::limits::{BITMAP_FILES_KNOWN_MAX, BITMAP_NOTE_BYTES_MAX};

/// What came of the looks so far, by the checksum at the end of each file. It follows from the file and from objects,
/// which never change, so it holds for every generation and every repository; of each repository the last is noted in
/// `slipway/bitmaps`, for the next start.
pub(crate) struct Looks(Mutex<CLruCache<Vec<u8>, bool>>);

impl Default for Looks {
    fn default() -> Self {
        let max = NonZeroUsize::new(BITMAP_FILES_KNOWN_MAX).unwrap_or(NonZeroUsize::MIN);
        Self(Mutex::new(CLruCache::new(max)))
    }
}

impl Looks {
    /// What came of the look at the file of that checksum in the repository at `root`, or what comes of it now. While it is
    /// looked at nobody waits: of two who look at once each does all of it. Where the look fails, the file is of no use
    /// until the next start.
    pub(super) fn at(&self, root: &Path, file: &[u8], look: impl FnOnce() -> Result<bool>) -> Result<bool> {
        let table = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = table().get(file).copied();
        if let Some(known) = known {
            return Ok(known);
        }
        let noted = Note::read(root).filter(|note| note.file == hex::encode(file));
        let found = noted.as_ref().map_or_else(look, |note| Ok(note.is_whole));
        table().put(file.to_vec(), *found.as_ref().unwrap_or(&false));
        if let (None, Ok(is_whole)) = (noted, &found) {
            Note { file: hex::encode(file), is_whole: *is_whole }.write(root);
        }
        found
    }
}

/// What is noted of a file, in one line: its checksum, and `whole` or `cut`.
struct Note {
    file: String,
    is_whole: bool,
}

impl Note {
    fn path(root: &Path) -> PathBuf {
        root.join("slipway/bitmaps")
    }

    /// What cannot be read counts as never written.
    fn read(root: &Path) -> Option<Self> {
        let mut text = String::new();
        File::open(Self::path(root)).ok()?.take(BITMAP_NOTE_BYTES_MAX).read_to_string(&mut text).ok()?;
        let (file, word) = text.trim_end().split_once(' ')?;
        let is_whole = match word {
            "whole" => true,
            "cut" => false,
            _ => return None,
        };
        Some(Self { file: file.to_owned(), is_whole })
    }

    /// Where nothing can be written, or the folder is not ours, the next start looks again.
    fn write(&self, root: &Path) {
        let path = Self::path(root);
        let part = path.with_extension("part");
        let word = if self.is_whole { "whole" } else { "cut" };
        if fs::write(&part, format!("{} {word}\n", self.file))
            .and_then(|()| fs::rename(&part, &path))
            .is_err()
        {
            let _ = fs::remove_file(&part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::RepoError;

    #[test]
    fn a_file_is_looked_at_once_after_a_start_as_well() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        let again = || -> Result<bool> { panic!("looked at again") };
        let looks = Looks::default();
        assert!(!looks.at(root, b"other", || Ok(false)).expect("looked"));
        assert!(looks.at(root, b"one", || Ok(true)).expect("looked"));
        assert!(looks.at(root, b"one", again).expect("known"));
        assert!(!looks.at(root, b"other", again).expect("known"));
        // Nothing is made in a folder that is not ours.
        assert_eq!(fs::read_dir(root).expect("there").count(), 0);
        fs::create_dir(root.join("slipway")).expect("made");
        for is_whole in [true, false] {
            assert_eq!(
                Looks::default().at(root, &[u8::from(is_whole)], || Ok(is_whole)).expect("looked"),
                is_whole
            );
            assert_eq!(Looks::default().at(root, &[u8::from(is_whole)], again).expect("noted"), is_whole);
        }
        assert!(Looks::default().at(root, b"another", || Ok(true)).expect("looked"));
        for damage in ["", "whole", "616e6f74686572 perhaps", &"6".repeat(100_000)] {
            fs::write(Note::path(root), damage).expect("written");
            assert!(!Looks::default().at(root, b"another", || Ok(false)).expect("looked"), "{damage:.20}");
        }
    }

    #[test]
    fn a_look_that_fails_is_not_noted_and_not_repeated() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("slipway")).expect("made");
        let looks = Looks::default();
        let fail = || Err(RepoError::Stopped);
        assert!(looks.at(folder.path(), b"one", fail).is_err());
        assert!(!looks.at(folder.path(), b"one", fail).expect("known"));
        assert!(Looks::default().at(folder.path(), b"one", || Ok(true)).expect("looked"));
    }
}
