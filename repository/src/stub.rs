//! The surface that the other rooms build on, before its parts exist.
#![allow(missing_docs, unused_variables, clippy::todo)]

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use slipway_core::accept::RefStore;
use slipway_core::{Oid, Problem, RefName, RefUpdate};

use crate::{Repository, Result, Snapshot};

impl Repository {
    /// Points HEAD at a branch.
    pub fn set_head(&self, branch: &RefName) -> Result<()> { todo!() }
}
impl RefStore for Repository {
    fn current(&self, name: &RefName) -> Result<Option<Oid>, Problem> { todo!() }
    fn update(&self, updates: &[RefUpdate], atomic: bool) -> Result<Vec<Result<(), Problem>>, Problem> { todo!() }
    fn default_branch(&self) -> Result<RefName, Problem> { todo!() }
}


impl Snapshot {
    // --- for upload-pack ---
    /// True if every want is a descendant of (or is) some common commit: negotiation may end.
    pub fn is_ready(&self, wants: &[Oid], common: &[Oid]) -> Result<bool> { todo!() }
    /// The boundary of a shallow answer.
    pub fn shallow(&self, wants: &[Oid], client: &[Oid], deepen: &Deepen) -> Result<ShallowAnswer> { todo!() }
    /// Decides what to send and how; cheap to hold (file ranges, not bytes).
    pub fn pack(self: &Arc<Self>, request: &PackRequest, stop: &AtomicBool) -> Result<PackStream> { todo!() }
}

/// How far back a shallow answer goes.
pub struct Deepen { pub depth: Option<u32>, /// Seconds since 1970.
    pub since: Option<i64>, pub not: Vec<Oid>, /// Depth counts from the client's boundary.
    pub relative: bool }
pub struct ShallowAnswer { pub shallow: Vec<Oid>, pub unshallow: Vec<Oid> }

#[derive(Clone, Debug, Default)]
pub enum Filter { #[default] None, BlobNone, BlobLimit(u64), Tree(u32) }
#[derive(Default)]
pub struct PackRequest {
    pub wants: Vec<Oid>,
    /// Common commits.
    pub haves: Vec<Oid>,
    /// The boundary on the client's side now, and after this answer.
    pub client_shallow: Vec<Oid>, pub shallow: Vec<Oid>, pub unshallow: Vec<Oid>,
    pub thin: bool, pub ofs_delta: bool, pub include_tag: bool, pub filter: Filter,
}
/// A pack on its way out.
pub struct PackStream;
impl PackStream {
    pub fn objects(&self) -> u32 { todo!() }
    /// Fills `out` (cleared first) with up to `max` bytes of the pack; false at the end. Never holds more than its buffers.
    pub fn next_chunk(&mut self, out: &mut Vec<u8>, max: usize) -> Result<bool> { todo!() }
}
