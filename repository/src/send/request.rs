//! What a client asks for, and what tells one question from another. Knows no repository.

use gix::hash::{Kind as HashKind, hasher};
use slipway_core::Oid;

use super::filter::Filter;
use crate::error::{RepoError, Result};

/// What a client asks for.
#[derive(Clone, Debug, Default)]
pub struct PackRequest {
    /// What it wants. The caller has checked that it may have it.
    pub wants: Vec<Oid>,
    /// What it has, of what is here too.
    pub haves: Vec<Oid>,
    /// The boundary on the client's side now.
    pub client_shallow: Vec<Oid>,
    /// The boundary after this answer: all of it, or what is new of it.
    pub shallow: Vec<Oid>,
    /// What of the boundary ceases to be.
    pub unshallow: Vec<Oid>,
    /// It can complete deltas whose base it has.
    pub thin: bool,
    /// It reads deltas that name their base by distance.
    pub ofs_delta: bool,
    /// It wants annotated tags of what it gets.
    pub include_tag: bool,
    /// What to leave out.
    pub filter: Filter,
}

impl PackRequest {
    /// A digest of everything that was asked, whatever its order, of a repository that ends at `boundary`. `tags` stands
    /// for the tags that may come along.
    pub(super) fn digest(&self, tags: [u8; 32], boundary: &[Oid]) -> Result<[u8; 32]> {
        let mut hash = hasher(HashKind::Sha256);
        let lists = [&self.wants, &self.haves, &self.client_shallow, &self.shallow, &self.unshallow];
        for list in lists.into_iter().map(Vec::as_slice).chain([boundary]) {
            let mut ids: Vec<&Oid> = list.iter().collect();
            ids.sort_unstable();
            ids.dedup();
            hash.update(&(ids.len() as u64).to_be_bytes());
            ids.iter().for_each(|id| hash.update(id.as_bytes()));
        }
        hash.update(&[u8::from(self.thin), u8::from(self.ofs_delta), u8::from(self.include_tag)]);
        if self.include_tag {
            hash.update(&tags);
        }
        hash.update(format!("{:?}", self.filter).as_bytes());
        finish(hash)
    }
}

/// The hash as bytes.
pub(super) fn finish(hash: gix::hash::Hasher) -> Result<[u8; 32]> {
    let digest = hash.try_finalize().map_err(|e| RepoError::Invalid { what: e.to_string() })?;
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest.as_bytes());
    Ok(bytes)
}
