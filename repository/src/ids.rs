//! Tables of object ids. Their hash is seeded anew in every process: who chooses ids cannot choose where they meet.

use std::collections::{HashMap, HashSet};

use foldhash::fast::RandomState;
use slipway_core::Oid;

/// Ids.
pub(crate) type IdSet = HashSet<Oid, RandomState>;

/// Something for each of some ids.
pub(crate) type IdMap<V> = HashMap<Oid, V, RandomState>;
