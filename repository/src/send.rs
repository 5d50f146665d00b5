//! Packs on their way out: what is asked ([`request`]), which objects ([`select`]), in which form ([`plan`]), made ready
//! ([`prepare`]) to be sent ([`recipe`]), and their bytes ([`stream`]).
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
pub(crate) mod prepare;
pub(crate) mod recipe;
mod request;
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
pub use self::request::PackRequest;
pub use self::stream::PackStream;
use crate::error::Result;
use crate::marks::Marks;
use crate::snapshot::Snapshot;

impl Snapshot {
    /// Decides what to send and how; cheap to hold (file ranges, not bytes).
    ///
    /// # Errors
    /// [`crate::RepoError::Missing`] if the repository lacks something; [`crate::RepoError::Stopped`] once `stop` is set.
    pub fn pack(self: &Arc<Self>, request: &PackRequest, stop: &AtomicBool) -> Result<PackStream> {
        let key = (self.findings.answers.repository, request.digest(self.tags_digest()?, self.boundary())?);
        let recipe = self.findings.answers.recipes.get(key, || {
            let selected = select::select(self, request, stop)?;
            let plan = plan::plan(self, &selected, request, stop)?;
            Ok(prepare::prepare(self, &plan, stop)?.0)
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
        Ok(PackStream::new(Arc::new(prepare::prepare(self, &plan, stop)?.0)))
    }

    /// The same if the answer is at hand, without reading anything from disk.
    pub fn pack_at_hand(&self, request: &PackRequest) -> Option<PackStream> {
        let key = (
            self.findings.answers.repository,
            request.digest(*self.findings.tags_digest.get()?, self.boundary()).ok()?,
        );
        self.findings.answers.recipes.find(&key).map(PackStream::new)
    }

    /// Tells apart the states of the annotated tags.
    fn tags_digest(&self) -> Result<[u8; 32]> {
        if let Some(digest) = self.findings.tags_digest.get() {
            return Ok(*digest);
        }
        let mut hash = hasher(HashKind::Sha256);
        for r in self.refs().iter().filter(|r| r.peeled.is_some()) {
            hash.update(r.name.as_str().as_bytes());
            hash.update(r.target.as_bytes());
        }
        let digest = request::finish(hash)?;
        Ok(*self.findings.tags_digest.get_or_init(|| digest))
    }
}
