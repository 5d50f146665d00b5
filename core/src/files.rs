//! The files of one commit, wherever its objects are: stored, or still in a push that nobody may see yet.
//!
//! Knows no repository and no folder on disk: the repository room implements it for both.

use crate::git::Oid;
use crate::problem::Problem;

/// What was read of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Blob {
    /// All of it.
    Whole(Vec<u8>),
    /// Nothing: it has so many bytes, more than were wanted.
    Over(u64),
}

/// What stands in a tree and is neither a folder nor a regular file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Other {
    /// A symbolic link; its blob says where to.
    Link,
    /// A submodule: another repository's commit.
    Submodule,
}

/// Where the files of a commit are read. What cannot be read is an error, never a file or folder that is not there.
pub trait Files {
    /// Calls `each` with the full path and the id of every regular file at `path` of `commit` or below it, in the order
    /// of git's index; false stops. Links and submodules are no files. `Ok(false)` if nothing is at `path`.
    ///
    /// # Errors
    /// What `each` says; a [`Problem`] where a folder cannot be read, or where there are more files and folders than one
    /// walk may meet.
    fn files_at(
        &self,
        commit: &Oid,
        path: &str,
        each: &mut dyn FnMut(&str, &Oid) -> Result<bool, Problem>,
    ) -> Result<bool, Problem>;

    /// Calls `each` with the full path, kind and id of everything at `path` of `commit` or below it that is neither a folder
    /// nor a regular file; false stops.
    ///
    /// # Errors
    /// As [`Files::files_at`].
    fn others_at(
        &self,
        _commit: &Oid,
        _path: &str,
        _each: &mut dyn FnMut(&str, Other, &Oid) -> Result<bool, Problem>,
    ) -> Result<(), Problem> {
        Ok(())
    }

    /// The messages of the commits from `new` along first parents down to `old`, that one not included, newest first. Where
    /// `old` is not met within `max` commits, that of `new` alone: nobody knows then what is new.
    ///
    /// # Errors
    /// A [`Problem`] where a commit cannot be read.
    fn messages(&self, _old: Option<&Oid>, _new: &Oid, _max: usize) -> Result<Vec<String>, Problem> {
        Ok(Vec::new())
    }

    /// A file's content, if it has at most `max` bytes.
    ///
    /// # Errors
    /// A [`Problem`] where it cannot be read.
    fn blob(&self, id: &Oid, max: u64) -> Result<Blob, Problem>;
}
