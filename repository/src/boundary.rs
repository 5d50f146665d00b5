//! The boundary of a shallow repository: commits that are here and whose parents, whatever they say, are not. git keeps
//! it in the file `shallow`, an id a line (gitrepository-layout(5)); commits of the boundary count as roots everywhere.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use slipway_core::{ObjectFormat, Oid};

use crate::error::{RepoError, Result};
use crate::limits::BOUNDARY_BYTES_MAX;
use crate::lock_file::rewrite;

/// The boundary of a repository; empty if its history is whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Boundary(Vec<Oid>);

/// Where it is kept in the repository at `root`.
pub(crate) fn path_of(root: &Path) -> PathBuf {
    root.join("shallow")
}

impl Boundary {
    /// Reads that of the repository at `root`.
    ///
    /// # Errors
    /// [`RepoError::BrokenRef`] for a file that is not valid: without it, nobody knows where history ends.
    pub(crate) fn read(root: &Path, format: ObjectFormat) -> Result<Self> {
        let path = path_of(root);
        let broken = |why: &str| RepoError::BrokenRef { path: path.clone(), why: why.into() };
        let text = match fs::metadata(&path) {
            Ok(m) if m.len() > BOUNDARY_BYTES_MAX => return Err(broken("it is too large")),
            Ok(_) => fs::read(&path),
            Err(e) => Err(e),
        };
        let text = match text {
            Ok(text) => text,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            Err(e) => return Err(RepoError::io("read", &path)(e)),
        };
        let lines = text.split(|b| *b == b'\n').filter(|line| !line.is_empty());
        let ids = lines.map(|line| Oid::from_hex(line).filter(|id| id.format() == format));
        let mut ids =
            ids.collect::<Option<Vec<Oid>>>().ok_or_else(|| broken("a line of it is no object id"))?;
        ids.sort_unstable();
        ids.dedup();
        Ok(Self(ids))
    }

    /// True if the repository's history is whole.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Its commits, in the order of their ids.
    pub(crate) fn ids(&self) -> &[Oid] {
        &self.0
    }

    /// True if the commit is on it.
    pub(crate) fn has(&self, id: &Oid) -> bool {
        !self.0.is_empty() && self.0.binary_search(id).is_ok()
    }
}

/// Adds commits to the boundary of the repository at `root`, durable on return. Gives those that were not on it.
pub(crate) fn extend(root: &Path, format: ObjectFormat, more: &BTreeSet<Oid>) -> Result<BTreeSet<Oid>> {
    let mut added = BTreeSet::new();
    rewrite(&path_of(root), || {
        let boundary = Boundary::read(root, format)?;
        added.extend(more.iter().filter(|id| !boundary.has(id)));
        Ok(text(boundary.0.iter().chain(&added)))
    })?;
    Ok(added)
}

/// Takes commits from the boundary of the repository at `root`, durable on return.
pub(crate) fn retract(root: &Path, format: ObjectFormat, less: &BTreeSet<Oid>) -> Result<()> {
    rewrite(&path_of(root), || {
        let boundary = Boundary::read(root, format)?;
        Ok(text(boundary.0.iter().filter(|id| !less.contains(id))))
    })
}

/// What the file says; nothing without an id: git takes a repository for shallow if the file is there at all.
fn text<'a>(ids: impl Iterator<Item = &'a Oid>) -> Vec<u8> {
    let sorted: BTreeSet<&Oid> = ids.collect();
    sorted.into_iter().map(|id| format!("{id}\n")).collect::<String>().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_read_and_added_to() {
        let root = tempfile::tempdir().expect("a folder");
        let id = |n: u8| Oid::Sha1([n; 20]);
        let read = || Boundary::read(root.path(), ObjectFormat::Sha1);
        assert!(read().expect("none").is_empty());
        let extend = |ids: [u8; 2]| super::extend(root.path(), ObjectFormat::Sha1, &ids.map(id).into());
        assert_eq!(extend([3, 1]).expect("written"), [1, 3].map(id).into());
        assert_eq!(extend([2, 3]).expect("written"), [2].map(id).into());
        let boundary = read().expect("valid");
        assert_eq!(boundary.ids(), [1, 2, 3].map(id));
        assert!(boundary.has(&id(2)) && !boundary.has(&id(4)));
        retract(root.path(), ObjectFormat::Sha1, &[2, 4].map(id).into()).expect("written");
        assert_eq!(read().expect("valid").ids(), [1, 3].map(id));
        assert!(Boundary::read(root.path(), ObjectFormat::Sha256).is_err(), "ids of another hash");
        for bad in ["x", &id(1).to_string()[1..], &format!("{} x", id(1))] {
            fs::write(path_of(root.path()), bad).expect("written");
            assert!(read().is_err(), "{bad}");
        }
        fs::write(path_of(root.path()), format!("{}\n", id(5))).expect("written");
        retract(root.path(), ObjectFormat::Sha1, &[5].map(id).into()).expect("written");
        assert!(read().expect("valid").is_empty() && !path_of(root.path()).exists());
    }
}
