//! A file of git's, mapped into memory for reading. With [`guard`] the one place of this crate with `unsafe`.
//!
//! Only for files that git and this server replace by renaming a finished one over them (`.idx`, `.rev`, `.bitmap`,
//! `.mtimes`, `multi-pack-index`, `commit-graph`). Where one is cut short all the same, or the disk fails below it, what cannot be
//! read reads as zeros, and [`Mapped::is_lost`] says so: every reader checks what it reads, and asks before it believes that
//! something is not there. Packs are read with `pread` instead.

use std::fs::File;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

use self::guard::Guarded;
use crate::error::{RepoError, Result};

mod guard;

/// The bytes of a file as they were when it was opened; they stay readable after it is renamed or removed. A handle:
/// cloning it is cheap.
#[derive(Clone)]
pub(crate) struct Mapped {
    /// Of `region`, or nothing.
    bytes: &'static [u8],
    region: Option<Arc<Region>>,
}

struct Region {
    /// Goes first: an address is not watched any more once it may be another's.
    guarded: Guarded,
    _map: memmap2::Mmap,
}

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
            return Ok(Self { bytes: &[], region: None });
        }
        // SAFETY: the slice would change under its readers if somebody wrote to the file. Those that write such files
        // (git, this server) make them anew below another name and rename them, so an opened one never changes; and
        // every reader of these bytes checks what it reads, so that even then it would get errors, not wild pointers.
        // That the file may shrink, or its disk fail, is the guard's business.
        #[allow(unsafe_code)]
        let map = unsafe { memmap2::Mmap::map(file)? };
        let guarded = Guarded::watch(map.as_ptr() as usize, map.len())?;
        // SAFETY: the map lives as long as `region`, which lives as long as this value; `Deref` gives no longer a life away.
        #[allow(unsafe_code)]
        let bytes: &'static [u8] = unsafe { std::slice::from_raw_parts(map.as_ptr(), map.len()) };
        Ok(Self { bytes, region: Some(Arc::new(Region { guarded, _map: map })) })
    }

    /// True if some of it could not be read, and reads as zeros since.
    pub(crate) fn is_lost(&self) -> bool {
        self.region.as_ref().is_some_and(|region| region.guarded.is_lost())
    }
}

impl Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes
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

    #[test]
    fn a_file_that_is_cut_short_costs_what_it_held_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let page = 64 << 10;
        let made = |name: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, vec![7; 3 * page]).unwrap();
            Mapped::open(&path).unwrap()
        };
        let (cut, whole) = (made("cut"), made("whole"));
        assert_eq!(cut[2 * page], 7);
        let before = crate::doubt::raised();
        File::options().write(true).open(dir.path().join("cut")).unwrap().set_len(page as u64).unwrap();
        assert!(!cut.is_lost());
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let map = cut.clone();
                std::thread::spawn(move || map.iter().map(|byte| usize::from(*byte)).sum::<usize>())
            })
            .collect();
        for thread in threads {
            assert_eq!(thread.join().unwrap(), 7 * page, "what is gone reads as zeros");
        }
        assert!(cut.is_lost() && crate::doubt::raised() > before);
        assert_eq!(whole.iter().map(|byte| usize::from(*byte)).sum::<usize>(), 7 * 3 * page);
        assert!(!whole.is_lost());
        drop(cut);
        assert!(!made("another").is_lost(), "a place that is used again begins anew");
    }
}
