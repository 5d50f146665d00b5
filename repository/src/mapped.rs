//! A file of git's, mapped into memory for reading. The one place of this crate with `unsafe`.
//!
//! Only for files that git and this server replace by renaming a finished one over them (`.idx`, `.rev`, `.bitmap`,
//! `.mtimes`, `multi-pack-index`, `commit-graph`) and never write to or shorten in place: a mapped file that shrinks
//! kills the process that reads it. Packs are read with `pread` instead.

use std::fs::File;
use std::ops::Deref;
use std::path::Path;

use crate::error::{RepoError, Result};

/// The bytes of a file as they were when it was opened; they stay readable after it is renamed or removed.
pub(crate) struct Mapped(Option<memmap2::Mmap>);

impl Mapped {
    /// Maps the file. It can be told apart from a broken one if it is not there: `RepoError::Io` with `NotFound`.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(RepoError::io("open", path))?;
        Self::of(&file).map_err(RepoError::io("map", path))
    }

    /// Maps an open file.
    pub(crate) fn of(file: &File) -> std::io::Result<Self> {
        // An empty map is refused by some systems; there is nothing to map anyway.
        if file.metadata()?.len() == 0 {
            return Ok(Self(None));
        }
        // SAFETY: the slice would change under its readers if somebody wrote to the file. Those that write such files
        // (git, this server) make them anew below another name and rename them, so an opened one never changes; and
        // every reader of these bytes checks what it reads, so that even then it would get errors, not wild pointers.
        #[allow(unsafe_code)]
        let map = unsafe { memmap2::Mmap::map(file)? };
        Ok(Self(Some(map)))
    }
}

impl Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;

    #[test]
    fn what_was_opened_stays_as_it_was() {
        fn shared<T: Send + Sync>() {}
        shared::<Mapped>();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, "first").unwrap();
        let map = Mapped::open(&path).unwrap();
        std::fs::write(dir.path().join("g"), "the second").unwrap();
        std::fs::rename(dir.path().join("g"), &path).unwrap();
        assert_eq!(&map[..], b"first");
        assert_eq!(&Mapped::open(&path).unwrap()[..], b"the second");
    }

    #[test]
    fn an_empty_file_and_none_are_two_things() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, "").unwrap();
        assert!(Mapped::open(&path).unwrap().is_empty());
        let Err(RepoError::Io { source, .. }) = Mapped::open(&dir.path().join("none")) else {
            panic!("opened")
        };
        assert_eq!(source.kind(), ErrorKind::NotFound);
        assert!(Mapped::open(dir.path()).is_err(), "a folder");
    }
}
