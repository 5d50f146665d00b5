//! A disk whose power can be cut.

mod disk;
mod tree;

pub(crate) use self::disk::Disk;
