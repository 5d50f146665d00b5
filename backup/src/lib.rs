//! What a backup is: a stream of files that a tar reads ([`Writer`], [`read`]), a folder of snapshots that share what has not
//! changed ([`Folder`]), how many of them are kept ([`Keep`]), and the way back into a data folder ([`restore`]).
//!
//! Blocking. Knows no record, no Git and no server: who makes one hands in files by name, and every name that comes from a
//! backup is one of those that a data folder has ([`Name`]), whatever the backup says. Everything is under a checksum, the
//! whole included; a backup without its end is none.

mod disk;
mod file;
mod folder;
mod hashes;
mod limits;
mod name;
mod reader;
mod refusal;
mod restore;
mod retention;
mod snapshot;
mod source;
mod stamp;
mod trouble;
mod writer;

pub use self::file::write_file;
pub use self::folder::{Folder, Received, Snapshot, Verified};
pub use self::name::Name;
pub use self::reader::{Head, Meta, Sink, read};
pub use self::restore::{Restored, Target};
pub use self::retention::Keep;
pub use self::source::{Source, When};
pub use self::stamp::{Known, Stamp};
pub use self::trouble::Trouble;
pub use self::writer::{End, Writer};
