//! Packs on their way out: which objects ([`select`]), in which form ([`plan`]), ready to be sent ([`recipe`]), and
//! their bytes ([`stream`]).
//!
//! An answer is a recipe of byte ranges of stored packs, copied as they are wherever that is right; only what does not
//! fit (deltas whose base stays here, loose objects) is made anew. Each object is sent once, and every base before what
//! builds on it, so that no deltas can form a ring. Recipes are kept and shared by all who ask the same ([`cache`]).

pub(crate) mod cache;
mod commits;
mod filter;
mod fresh;
mod made;
mod news;
mod parts;
pub(crate) mod plan;
pub(crate) mod recipe;
pub(crate) mod select;
pub(crate) mod selected;
mod sparse;
mod stored;
mod stream;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use gix::hash::{Kind as HashKind, hasher};
use slipway_core::Oid;

pub use self::filter::{Filter, Sparse};
pub use self::stream::PackStream;
use crate::error::{RepoError, Result};
use crate::reach::Marks;
use crate::snapshot::Snapshot;

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
    fn digest(&self, tags: [u8; 32], boundary: &[Oid]) -> Result<[u8; 32]> {
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

fn finish(hash: gix::hash::Hasher) -> Result<[u8; 32]> {
    let digest = hash.try_finalize().map_err(|e| RepoError::Invalid { what: e.to_string() })?;
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest.as_bytes());
    Ok(bytes)
}

impl Snapshot {
    /// Decides what to send and how; cheap to hold (file ranges, not bytes).
    ///
    /// # Errors
    /// [`crate::RepoError::Missing`] if the repository lacks something; [`crate::RepoError::Stopped`] once `stop` is set.
    pub fn pack(self: &Arc<Self>, request: &PackRequest, stop: &AtomicBool) -> Result<PackStream> {
        let key = (self.repository, request.digest(self.tags_digest()?, self.boundary())?);
        let recipe = self.recipes.get(key, || {
            let selected = select::select(self, request, stop)?;
            let plan = plan::plan(self, &selected, request, stop)?;
            Ok(recipe::prepare(self, &plan, stop)?.0)
        })?;
        Ok(PackStream::new(recipe))
    }

    /// A pack of just these objects.
    pub(crate) fn pack_of(
        self: &Arc<Self>,
        ids: &[Oid],
        request: &PackRequest,
        stop: &AtomicBool,
    ) -> Result<PackStream> {
        let packs = self.packs.load();
        let mut taken = Marks::for_packs(&packs);
        for id in ids {
            taken.put(&packs, id);
        }
        let selected = selected::Selected::just(Arc::new(taken));
        let plan = plan::plan(self, &selected, request, stop)?;
        Ok(PackStream::new(Arc::new(recipe::prepare(self, &plan, stop)?.0)))
    }

    /// The same if the answer is at hand, without reading anything from disk.
    pub fn pack_at_hand(&self, request: &PackRequest) -> Option<PackStream> {
        let key = (self.repository, request.digest(*self.tags_digest.get()?, self.boundary()).ok()?);
        self.recipes.find(&key).map(PackStream::new)
    }

    /// Tells apart the states of the annotated tags.
    fn tags_digest(&self) -> Result<[u8; 32]> {
        if let Some(digest) = self.tags_digest.get() {
            return Ok(*digest);
        }
        let mut hash = hasher(HashKind::Sha256);
        for r in self.refs().iter().filter(|r| r.peeled.is_some()) {
            hash.update(r.name.as_str().as_bytes());
            hash.update(r.target.as_bytes());
        }
        let digest = finish(hash)?;
        Ok(*self.tags_digest.get_or_init(|| digest))
    }
}
