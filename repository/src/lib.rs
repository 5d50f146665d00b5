//! Git repositories on disk: the only user of gix.
