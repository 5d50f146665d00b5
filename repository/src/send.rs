//! Packs on their way out: which objects ([`select`]), in which form ([`plan`]), and their bytes ([`stream`]).
//!
//! An answer is a recipe of byte ranges of stored packs, copied as they are wherever that is right; only what does not
//! fit (deltas whose base stays here, loose objects) is made anew. Each object is sent once, and every base before what
//! builds on it, so that no deltas can form a ring.

mod filter;
mod plan;
mod select;
mod sparse;
mod stream;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use slipway_core::Oid;

pub use self::filter::{Filter, Sparse};
pub use self::stream::PackStream;
use crate::error::Result;
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

impl Snapshot {
    /// Decides what to send and how; cheap to hold (file ranges, not bytes).
    ///
    /// # Errors
    /// [`crate::RepoError::Missing`] if the repository lacks something; [`crate::RepoError::Stopped`] once `stop` is set.
    pub fn pack(self: &Arc<Self>, request: &PackRequest, stop: &AtomicBool) -> Result<PackStream> {
        let selected = select::select(self, request, stop)?;
        let plan = plan::plan(self, &selected, request, stop)?;
        Ok(PackStream::new(self.clone(), plan))
    }
}
