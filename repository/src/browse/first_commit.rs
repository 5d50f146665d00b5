//! A repository's first commit as a pack of its own, for clients of this program that push it (the demo).

use slipway_core::Oid;

use super::edit::{self, Edit, Signature, Words};
use crate::{Kind, Objects, Result};

/// Makes a commit without a parent out of `edits` and packs it with its trees and blobs; its id and the pack's bytes.
///
/// # Errors
/// As for [`crate::Repository::commit`].
pub fn first_commit(edits: &[Edit], message: &str, who: &Signature) -> Result<(Oid, Vec<u8>)> {
    let words = Words { message, author: who, committer: who };
    let made = edit::make(&Nothing, gix::hash::Kind::Sha1, None, edits, &words)?;
    Ok((made.commit, made.pack))
}

/// A place without objects.
struct Nothing;

impl Objects for Nothing {
    fn read(&self, _: &Oid, _: u64, _: &mut Vec<u8>) -> Result<Option<Kind>> {
        Ok(None)
    }
    fn header(&self, _: &Oid) -> Result<Option<(Kind, u64)>> {
        Ok(None)
    }
}
