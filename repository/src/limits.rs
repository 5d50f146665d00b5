//! Every bound of this crate in one place.

/// Repositories kept open at once; those in use stay open beyond it.
pub(crate) const OPEN_REPOSITORIES_MAX: usize = 256;
/// Longest chain of deltas that is followed in a stored pack. git writes 4095 at most.
pub(crate) const DELTA_DEPTH_MAX: usize = 10_000;
/// Decoded delta bases that one repository keeps, in bytes.
pub(crate) const BASE_CACHE_BYTES_MAX: usize = 16 << 20;
/// Largest single object put into that cache, in bytes.
pub(crate) const BASE_CACHE_OBJECT_BYTES_MAX: usize = 1 << 20;
/// Largest file of refs (`packed-refs`) that is read, in bytes.
pub(crate) const PACKED_REFS_BYTES_MAX: u64 = 1 << 30;
/// Longest chain of symbolic refs or of tags of tags that is followed.
pub(crate) const PEEL_DEPTH_MAX: usize = 32;
/// Folders deep that loose refs are looked for.
pub(crate) const REF_FOLDERS_DEEP_MAX: usize = 512;
/// A file changed less than this before it was read may change again without showing it, in nanoseconds: time stamps
/// tick with the kernel's clock, up to 10 ms apart.
pub(crate) const RACY_NS: i128 = 25_000_000;
/// Buffers for reading packs and inflating, in bytes.
pub(crate) const BUFFER_BYTES: usize = 64 << 10;
/// Largest commit, tag or tree that is read for its links, in bytes.
pub(crate) const LINKED_OBJECT_BYTES_MAX: u64 = 256 << 20;
/// The buffer that an incoming pack passes through, in bytes.
pub(crate) const RECEIVE_BUFFER_BYTES: usize = 256 << 10;
/// Largest commit, tag or tree that is accepted, in bytes.
pub(crate) const RECEIVED_LINKED_BYTES_MAX: u64 = 64 << 20;
/// Decoded delta bases held while a received pack is resolved, in bytes; one base and one result may come on top.
pub(crate) const RESOLVE_BYTES_MAX: usize = 64 << 20;
/// Largest object that is made from a delta, in bytes: it and its base are held in memory. git makes no deltas of files
/// above 512 MiB.
pub(crate) const DELTA_RESULT_BYTES_MAX: u64 = 512 << 20;
/// Objects up to this many bytes are compared byte by byte with a stored one of the same id.
pub(crate) const COMPARE_BYTES_MAX: u64 = 64 << 20;
/// How much more than its own size a pack may inflate to in all, deltas applied ...
pub(crate) const INFLATE_RATIO_MAX: u64 = 2_000;
/// ... once it goes beyond this many bytes.
pub(crate) const INFLATE_FREE_BYTES: u64 = 8 << 30;
/// Objects between two reports of progress.
pub(crate) const PROGRESS_EVERY: u32 = 256;
/// Commits that one repository's graph remembers; beyond it the graph starts anew.
pub(crate) const GRAPH_COMMITS_MAX: usize = 4_000_000;
