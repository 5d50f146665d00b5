//! What is known of an image once its signature was checked.

use serde::Serialize;

use crate::id::Digest;

/// An image that a build of this server has made, and what that build has stated of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// `HOST[:PORT]/PATH`, without tag.
    pub image: String,
    /// Which it is.
    pub digest: Digest,
    /// The address of the repository.
    pub repository: String,
    /// The ref that was built.
    pub ref_name: String,
    /// The commit.
    pub commit: String,
    /// The build's number.
    pub build: u64,
    /// What came of its test: `passed`, or `none` where none is declared.
    pub test: String,
    /// Who had it built.
    pub actor: String,
    /// When the build began; RFC 3339.
    pub started: String,
    /// When the image was pushed.
    pub finished: String,
    /// Whether there is a list of its contents.
    pub contents: bool,
}
