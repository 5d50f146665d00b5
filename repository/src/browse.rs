//! Reading for pages, builds and deploys: revisions, files, history, differences, archives; and commits of our own.
//!
//! Works on anything that has objects ([`Objects`]): a [`Snapshot`], or a [`Received`] push that nobody may see yet.
//! Every walk has a bound, either the caller's budget or `limits.rs`. Knows nothing of packs, and nothing of who may
//! see what: a caller that passes on ids from outside asks [`Snapshot::is_visible`] first.

use std::sync::atomic::AtomicBool;

use slipway_core::Oid;

use crate::object::Objects;
use crate::{Received, Repository, Result, Snapshot};

mod archive;
mod changes;
mod commit;
mod content;
mod diff;
mod edit;
mod entry;
mod graph;
pub(crate) mod incoming;
mod lines;
mod log;
mod path;
mod renames;
mod rev;
mod tree;

pub use archive::{Archive, ArchiveForm};
pub use commit::{Commit, Person};
pub use content::Content;
pub use diff::{ChangeKind, Diff, DiffLimits, FileDiff};
pub use edit::{Edit, Signature, first_commit};
pub use entry::{Entry, Mode};
pub use lines::{DiffLine, Hunk, LineKind};
pub use log::{Budget, LogPage};
pub use path::shown_path;

impl Snapshot {
    /// A branch, tag, full ref, `HEAD` or `@`, object id or unambiguous short id (four digits or more), with `^`, `~n`
    /// or `^{…}` behind it; `None` if there is none. An annotated tag gives the tag itself.
    ///
    /// # Errors
    /// [`crate::RepoError::AmbiguousRev`] for a short id that could mean several commits.
    pub fn resolve(&self, rev: &str) -> Result<Option<Oid>> {
        rev::resolve(self, self, rev)
    }

    /// The commit that `id` names, tags peeled; `None` if it names none.
    pub fn commit(&self, id: &Oid) -> Result<Option<Commit>> {
        Ok(commit::Link::peel(self, id)?.map(|link| link.commit()))
    }

    /// The entry at `path` of the commit or tree; "" is the root. Links are not followed.
    pub fn entry(&self, commit: &Oid, path: &str) -> Result<Option<Entry>> {
        entry::entry(self, commit, path)
    }

    /// The content of an entry that is a file or a link.
    ///
    /// # Errors
    /// [`crate::RepoError::Missing`] if its object is not there, [`crate::RepoError::ObjectTooLarge`] beyond `max` bytes.
    pub fn file(&self, entry: &Entry, max: u64) -> Result<Vec<u8>> {
        let object = self.find(&entry.id, max)?;
        object.map(|object| object.data).ok_or(crate::RepoError::Missing { id: entry.id })
    }

    /// The size in bytes of an entry that is a file or a link.
    ///
    /// # Errors
    /// [`crate::RepoError::Missing`] if its object is not there.
    pub fn file_size(&self, entry: &Entry) -> Result<u64> {
        let header = self.object_size(&entry.id)?;
        header.map(|(_, bytes)| bytes).ok_or(crate::RepoError::Missing { id: entry.id })
    }

    /// A folder's entries: folders first, then by name. Takes the id of a tree, or of a commit for its root.
    pub fn entries(&self, tree: &Oid) -> Result<Vec<Entry>> {
        entry::entries(self, tree)
    }

    /// A folder's entries in the order of their names' bytes, without sizes. Takes the id of a tree, or of a commit for its
    /// root.
    pub fn listing(&self, tree: &Oid) -> Result<Vec<Entry>> {
        entry::listing(self, tree)
    }

    /// Everything below `path` that is not a folder (submodules too), in the order of git's index, calling back with
    /// the entry whose name is the full path; false stops.
    ///
    /// # Errors
    /// [`crate::RepoError::NoSuchPath`] if there is nothing at `path`.
    pub fn walk_files(
        &self,
        commit: &Oid,
        path: &str,
        each: &mut dyn FnMut(&Entry) -> Result<bool>,
    ) -> Result<()> {
        entry::walk_files(self, commit, path, each)
    }

    /// One page of the history from `start`, newest committer date first, all parents followed; with `path` as
    /// `git log -- path` shows it (a literal path, renames not followed).
    pub fn log(
        &self,
        start: &Oid,
        path: Option<&str>,
        skip: usize,
        limit: usize,
        budget: &Budget,
    ) -> Result<LogPage> {
        log::log(self, start, path, skip, limit, budget)
    }

    /// The difference between two commits (or trees); `old: None` is the empty tree.
    pub fn diff(&self, old: Option<&Oid>, new: &Oid, limits: &DiffLimits) -> Result<Diff> {
        diff::diff(self, old, new, limits)
    }

    /// For each entry of the folder at `path`, the commit that last changed it, in the tree's order; entries that the
    /// budget did not reach are left out.
    pub fn last_changes(&self, commit: &Oid, path: &str, budget: &Budget) -> Result<Vec<(String, Commit)>> {
        log::last_changes(self, commit, path, budget)
    }

    /// The files of the commit or tree at `paths` (all if there are none), below the folder `prefix` ("" for none), to be
    /// taken piece by piece.
    ///
    /// # Errors
    /// [`crate::RepoError::Invalid`] for a prefix that is no folder; what is wrong with the disk, or with an object.
    pub fn archive(&self, form: ArchiveForm, id: &Oid, prefix: &str, paths: &[String]) -> Result<Archive> {
        Archive::new(self, form, id, &archive::Extent { prefix, paths })
    }

    /// A best common ancestor; `None` if the histories are unrelated.
    pub fn merge_base(&self, a: &Oid, b: &Oid) -> Result<Option<Oid>> {
        graph::merge_base(self, a, b)
    }

    /// True if `new` is `old` or descends from it.
    pub fn is_ancestor(&self, old: &Oid, new: &Oid) -> Result<bool> {
        graph::is_ancestor(self, old, new)
    }
}

impl Received {
    /// True if `new`, pushed or stored, is `old` or descends from it.
    pub fn is_ancestor(&self, old: &Oid, new: &Oid) -> Result<bool> {
        graph::is_ancestor(self, old, new)
    }
}

impl Repository {
    /// Writes blobs, trees and a commit on top of `parent` (or a root commit) into quarantine. The caller publishes it
    /// through the acceptance path, as a push of one ref from `parent` to the commit.
    ///
    /// # Errors
    /// [`crate::RepoError::BadEdit`] for a path that no tree may hold or that something else stands in the way of,
    /// [`crate::RepoError::NothingChanged`] if the edits change nothing.
    pub fn commit(
        &self,
        parent: Option<&Oid>,
        edits: &[Edit],
        message: &str,
        author: &Signature,
        committer: &Signature,
    ) -> Result<(Oid, Received)> {
        // What is found here is not stored again: it must not go before the commit leads to it.
        let _pass = self.gate().enter();
        let snapshot = self.snapshot()?;
        let words = edit::Words { message, author, committer };
        let made = edit::make(snapshot.as_ref(), snapshot.format, parent, edits, &words)?;
        let limits = crate::ReceiveLimits::default();
        let stop = AtomicBool::new(false);
        let received = self.receive(&mut made.pack.as_slice(), &limits, &|_| (), &stop)?;
        received.check_connected(&[made.commit], &stop)?;
        Ok((made.commit, received))
    }
}
