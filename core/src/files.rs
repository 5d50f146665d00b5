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

    /// A file's content, if it has at most `max` bytes.
    ///
    /// # Errors
    /// A [`Problem`] where it cannot be read.
    fn blob(&self, id: &Oid, max: u64) -> Result<Blob, Problem>;
}
