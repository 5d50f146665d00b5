//! The files that git keeps beside its packs, read and written as gitformat-pack and git's bitmap-format describe them:
//! indexes, reverse indexes, multi-pack indexes, reachability bitmaps, the ages of cruft packs.
//!
//! Readers take bytes (mostly a [`crate::mapped::Mapped`]), look at no more of them than they need, check every number
//! before they use it, and never verify a whole file's checksum unless asked to. Writers write to any `Write`: names,
//! locks, fsync and renames are the caller's. Ids are raw bytes of either hash; nothing here knows repositories or refs.

mod bitmap;
mod bitmap_writer;
mod checksum;
pub(crate) mod commit_graph;
mod ewah;
mod fanout;
mod index;
mod midx;
mod midx_writer;
mod mtimes;
mod name_hash;
mod reverse;
#[cfg(test)]
mod tests;

use std::path::Path;

use crate::error::RepoError;

pub(crate) use bitmap::BitmapFile;
pub(crate) use bitmap_writer::{BitmapHead, BitmapWriter, REUSABLE};
pub(crate) use checksum::Hashed;
pub(crate) use ewah::{Ewah, encode as ewah_encode};
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use index::IndexFile;
pub(crate) use index::{IndexEntry, write_index};
pub(crate) use midx::Midx;
pub(crate) use midx_writer::{Listing, MidxPack, write_midx};
pub(crate) use mtimes::{MtimesFile, write_mtimes};
pub(crate) use name_hash::name_hash;
pub(crate) use reverse::{ReverseFile, ranks, write_reverse};

/// What is wrong with a file of one of these formats: "its …".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Broken(pub(crate) &'static str);

impl Broken {
    /// The error for people, naming the file.
    pub(crate) fn in_file(self, path: &Path) -> RepoError {
        RepoError::BrokenPack { path: path.to_owned(), why: self.0.to_owned() }
    }
}

/// git's number for the hash with ids of so many bytes; the lengths are 20 (SHA-1) and 32 (SHA-256).
fn hash_number(hash_len: usize) -> u32 {
    if hash_len == 32 { 2 } else { 1 }
}

/// The big-endian number at `at`.
fn u32_at(data: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*data.get(at..)?.first_chunk()?))
}

/// The big-endian number at `at`.
fn u64_at(data: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(*data.get(at..)?.first_chunk()?))
}
