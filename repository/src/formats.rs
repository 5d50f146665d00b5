//! Git's own files beside packs, each read from bytes and written to any output; opening and replacing files is the
//! caller's.

#[allow(dead_code)]
pub(crate) mod commit_graph;
