//! What an answer leaves out by what it is, wherever it lies: all that bitmaps can leave out. Knows no filter.

use crate::object::Kind;

/// What a filter leaves out wherever it lies.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LeftOut {
    /// All objects of these kinds.
    pub(crate) kinds: Vec<Kind>,
    /// Blobs of so many bytes and more.
    pub(crate) blobs_from: u64,
}
