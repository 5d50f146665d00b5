//! Git repositories on disk: the only user of gix.
//!
//! A blocking API: callers run it on threads that may block. A [`Repository`] hands out [`Snapshot`]s, immutable views
//! of one generation of its refs and packs; whoever reads holds one and is never disturbed by a push.

mod stub;
pub use stub::*;
