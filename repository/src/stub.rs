//! The surface that the other rooms build on, before its parts exist.
#![allow(missing_docs, unused_variables, clippy::todo)]

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use slipway_core::accept::{CommitFacts, Incoming, RefStore};
use slipway_core::{Oid, Problem, RefName, RefUpdate};

use crate::{Received, Repository, Result, Snapshot};

impl Repository {
    /// Writes blobs, trees and a commit on top of `parent` (or a root commit) into quarantine.
    pub fn commit(&self, parent: Option<&Oid>, edits: &[Edit], message: &str, author: &Signature, committer: &Signature) -> Result<(Oid, Received)> { todo!() }
    /// Points HEAD at a branch.
    pub fn set_head(&self, branch: &RefName) -> Result<()> { todo!() }
}
impl RefStore for Repository {
    fn current(&self, name: &RefName) -> Result<Option<Oid>, Problem> { todo!() }
    fn update(&self, updates: &[RefUpdate], atomic: bool) -> Result<Vec<Result<(), Problem>>, Problem> { todo!() }
    fn default_branch(&self) -> Result<RefName, Problem> { todo!() }
}

/// One file changed by `Repository::commit`; `content: None` removes it.
pub struct Edit { pub path: String, pub content: Option<Vec<u8>>, pub executable: bool }
pub struct Signature { pub name: String, pub email: String, pub at_ms: u64, pub offset_minutes: i32 }

impl Incoming for Received {
    fn file(&self, commit: &Oid, path: &str, max: u64) -> Result<Option<Vec<u8>>, Problem> { todo!() }
    fn has_file(&self, commit: &Oid, path: &str) -> Result<bool, Problem> { todo!() }
    fn commit(&self, id: &Oid) -> Result<Option<CommitFacts>, Problem> { todo!() }
    fn changed_paths(&self, old: Option<&Oid>, new: &Oid, max: usize) -> Result<Option<Vec<String>>, Problem> { todo!() }
    fn publish(&mut self) -> Result<(), Problem> { self.publish_objects().map_err(Problem::from) }
}

impl Snapshot {
    // --- for upload-pack ---
    /// True if every want is a descendant of (or is) some common commit: negotiation may end.
    pub fn is_ready(&self, wants: &[Oid], common: &[Oid]) -> Result<bool> { todo!() }
    /// The boundary of a shallow answer.
    pub fn shallow(&self, wants: &[Oid], client: &[Oid], deepen: &Deepen) -> Result<ShallowAnswer> { todo!() }
    /// Decides what to send and how; cheap to hold (file ranges, not bytes).
    pub fn pack(self: &Arc<Self>, request: &PackRequest, stop: &AtomicBool) -> Result<PackStream> { todo!() }

    // --- for pages, builds and deploys ---
    /// A branch, tag, full ref, HEAD, object id or unambiguous short id; `None` if there is none.
    pub fn resolve(&self, rev: &str) -> Result<Option<Oid>> { todo!() }
    /// Peels to a commit.
    pub fn commit(&self, id: &Oid) -> Result<Option<Commit>> { todo!() }
    /// The entry at `path` of the commit or tree; "" is the root.
    pub fn entry(&self, commit: &Oid, path: &str) -> Result<Option<Entry>> { todo!() }
    /// A folder's entries: folders first, then by name.
    pub fn entries(&self, tree: &Oid) -> Result<Vec<Entry>> { todo!() }
    /// Every file below `path`, in git's tree order, calling back with the entry whose name is the full path; false stops.
    pub fn walk_files(&self, commit: &Oid, path: &str, each: &mut dyn FnMut(&Entry) -> Result<bool>) -> Result<()> { todo!() }
    /// First-parent-less full history from `start` by commit date, only those that touch `path` if given.
    pub fn log(&self, start: &Oid, path: Option<&str>, skip: usize, limit: usize, budget: &Budget) -> Result<LogPage> { todo!() }
    pub fn diff(&self, old: Option<&Oid>, new: &Oid, limits: &DiffLimits) -> Result<Diff> { todo!() }
    /// For each entry of the folder, the commit that last changed it, as far as the budget reaches.
    pub fn last_changes(&self, commit: &Oid, path: &str, budget: &Budget) -> Result<Vec<(String, Commit)>> { todo!() }
    pub fn archive(&self, commit: &Oid, prefix: &str, out: &mut dyn io::Write, stop: &AtomicBool) -> Result<()> { todo!() }
    pub fn merge_base(&self, a: &Oid, b: &Oid) -> Result<Option<Oid>> { todo!() }
    pub fn is_ancestor(&self, old: &Oid, new: &Oid) -> Result<bool> { todo!() }
}

#[derive(Clone, Debug)]
pub struct Commit { pub id: Oid, pub tree: Oid, pub parents: Vec<Oid>, pub author: Person, pub committer: Person, pub message: String }
impl Commit { pub fn subject(&self) -> &str { self.message.lines().next().unwrap_or_default() } }
#[derive(Clone, Debug)]
pub struct Person { pub name: String, pub email: String, /// Seconds since 1970.
    pub at: i64, pub offset_minutes: i32 }
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode { Tree, File, Executable, Link, Submodule }
#[derive(Clone, Debug)]
pub struct Entry { pub name: String, pub mode: Mode, pub id: Oid, /// Files only, where cheaply known.
    pub size: Option<u64> }
pub struct LogPage { pub commits: Vec<Commit>, pub more: bool, /// The budget ended the walk.
    pub cut: bool }
/// Time and work that a read may take.
pub struct Budget { pub deadline: std::time::Instant, pub commits_max: usize }
pub struct DiffLimits { pub files_max: usize, pub lines_max: usize, pub blob_bytes_max: u64, pub context: usize }
pub struct Diff { pub files: Vec<FileDiff>, pub added: usize, pub removed: usize, /// More files changed than are listed.
    pub cut: bool }
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind { Added, Removed, Modified, Renamed, TypeChanged }
pub struct FileDiff { pub kind: ChangeKind, pub old_path: String, pub new_path: String, pub old_mode: Option<Mode>, pub new_mode: Option<Mode>,
    pub binary: bool, /// The line limit or the size limit left hunks out.
    pub cut: bool, pub added: usize, pub removed: usize, pub hunks: Vec<Hunk> }
/// Lines of one hunk: each with its old and new number (1-based).
pub struct Hunk { pub old: Range<u32>, pub new: Range<u32>, pub lines: Vec<DiffLine> }
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineKind { Context, Added, Removed }
pub struct DiffLine { pub kind: LineKind, pub old: Option<u32>, pub new: Option<u32>, pub text: String, /// "\ No newline at end of file".
    pub no_newline: bool }

/// How far back a shallow answer goes.
pub struct Deepen { pub depth: Option<u32>, /// Seconds since 1970.
    pub since: Option<i64>, pub not: Vec<Oid>, /// Depth counts from the client's boundary.
    pub relative: bool }
pub struct ShallowAnswer { pub shallow: Vec<Oid>, pub unshallow: Vec<Oid> }

#[derive(Clone, Debug, Default)]
pub enum Filter { #[default] None, BlobNone, BlobLimit(u64), Tree(u32) }
#[derive(Default)]
pub struct PackRequest {
    pub wants: Vec<Oid>,
    /// Common commits.
    pub haves: Vec<Oid>,
    /// The boundary on the client's side now, and after this answer.
    pub client_shallow: Vec<Oid>, pub shallow: Vec<Oid>, pub unshallow: Vec<Oid>,
    pub thin: bool, pub ofs_delta: bool, pub include_tag: bool, pub filter: Filter,
}
/// A pack on its way out.
pub struct PackStream;
impl PackStream {
    pub fn objects(&self) -> u32 { todo!() }
    /// Fills `out` (cleared first) with up to `max` bytes of the pack; false at the end. Never holds more than its buffers.
    pub fn next_chunk(&mut self, out: &mut Vec<u8>, max: usize) -> Result<bool> { todo!() }
}
