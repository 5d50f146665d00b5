//! What an object is, and where objects can be looked up. Knows no file.

use std::fmt;

use slipway_core::Oid;

use crate::error::Result;

/// The four kinds of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A snapshot with its history.
    Commit,
    /// A folder.
    Tree,
    /// A file's content.
    Blob,
    /// An annotated tag.
    Tag,
}

impl Kind {
    /// The word in an object's header.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::Tree => "tree",
            Self::Blob => "blob",
            Self::Tag => "tag",
        }
    }

    /// Reads the word of an object's header.
    pub fn from_bytes(word: &[u8]) -> Option<Self> {
        match word {
            b"commit" => Some(Self::Commit),
            b"tree" => Some(Self::Tree),
            b"blob" => Some(Self::Blob),
            b"tag" => Some(Self::Tag),
            _ => None,
        }
    }

    /// The number in a pack entry's header (gitformat-pack).
    pub(crate) fn pack_code(self) -> u8 {
        match self {
            Self::Commit => 1,
            Self::Tree => 2,
            Self::Blob => 3,
            Self::Tag => 4,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One object, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its id.
    pub id: Oid,
    /// Its kind.
    pub kind: Kind,
    /// Its content, without the header.
    pub data: Vec<u8>,
}

/// A place to look objects up: a [`crate::Snapshot`], or a [`crate::Received`] push in front of one.
pub trait Objects {
    /// Reads the object into `data` (what it held is replaced), so that one buffer serves many; `None` if it is not
    /// there.
    ///
    /// # Errors
    /// [`crate::RepoError::ObjectTooLarge`] if it has more than `max` bytes; others if the disk or the object is broken.
    fn read(&self, id: &Oid, max: u64, data: &mut Vec<u8>) -> Result<Option<Kind>>;
    /// Its kind and size in bytes, without reading all of it.
    fn header(&self, id: &Oid) -> Result<Option<(Kind, u64)>>;

    /// True for a commit whose parents are not here, whatever it says: history was cut off there (a shallow repository).
    fn is_boundary(&self, _id: &Oid) -> bool {
        false
    }

    /// The object as a whole; errors as for [`Objects::read`].
    fn find(&self, id: &Oid, max: u64) -> Result<Option<Object>> {
        let mut data = Vec::new();
        let kind = self.read(id, max, &mut data)?;
        Ok(kind.map(|kind| Object { id: *id, kind, data }))
    }
}
