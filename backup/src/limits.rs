//! Every bound of this crate in one place.

/// Bytes that are read and written in one go.
pub(crate) const BUFFER_BYTES: usize = 1 << 20;
/// Bytes of the head of a backup, of its end, and of a line of a snapshot.
pub(crate) const HEAD_BYTES_MAX: u64 = 64 << 10;
/// Bytes of the end of a backup: it names what went wrong.
pub(crate) const END_BYTES_MAX: u64 = 4 << 20;
/// Bytes of a line of a snapshot or of the list of what is kept.
pub(crate) const LINE_BYTES_MAX: usize = 4 << 10;
/// Things that went wrong and are told one by one.
pub(crate) const TROUBLES_MAX: usize = 1_000;
/// Bytes of what is told of one of them.
pub(crate) const TROUBLE_BYTES_MAX: usize = 1_000;
/// Files that whoever has an earlier backup says it has. Further ones are sent again.
pub(crate) const KNOWN_MAX: usize = 2_000_000;
/// Bytes at the end of a file that tell it apart from another of its name and size.
pub(crate) const TAIL_BYTES: usize = 64;
/// Bytes of a file's name.
pub(crate) const NAME_BYTES_MAX: usize = 240;
/// Snapshots of a folder of backups that are looked at.
pub(crate) const SNAPSHOTS_MAX: usize = 100_000;
