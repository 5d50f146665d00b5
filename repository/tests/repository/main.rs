//! Repositories on disk, with stock git as the other side and as the judge. One binary, so that it is linked once.
#![allow(missing_docs, clippy::unwrap_used)]

mod browse;
mod folders;
mod holding;
mod maintaining;
mod reading;
mod receiving;
mod repacking;
mod sending;
mod support;
