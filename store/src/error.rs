//! What goes wrong in the store, with the facts, and how each is told to people. Where the database lies is told to whoever starts
//! a server ([`StoreError::place`]), and never in the words, which clients see.

use std::path::{Path, PathBuf};

use slipway_core::{Problem, ProblemKind};

use crate::codec::CodecError;

/// What goes wrong in the store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process has the database open.
    #[error("The database is in use by another process.")]
    Locked {
        /// Its folder.
        path: PathBuf,
    },
    /// The database cannot be opened, read or written.
    #[error("The database cannot be {doing}: {cause}.")]
    Disk {
        /// Its folder.
        path: PathBuf,
        /// `opened`, `read` or `written`.
        doing: &'static str,
        /// What the disk or the database engine said.
        cause: String,
    },
    /// The database is not all that was acknowledged.
    #[error("The database is damaged: {cause}.")]
    Damaged {
        /// Its folder.
        path: PathBuf,
        /// What does not fit.
        cause: String,
    },
    /// There is a database where one was to be made.
    #[error("There is a database already.")]
    Taken {
        /// Its folder.
        path: PathBuf,
    },
    /// An earlier write failed, and its files cannot be opened anew yet.
    #[error("The database cannot be written: {cause}.")]
    Halted {
        /// Its folder.
        path: PathBuf,
        /// What the disk said.
        cause: String,
    },
    /// The database was written by a newer Slipway.
    #[error("The database has format {found}; this program reads up to {known}.")]
    TooNew {
        /// Its folder.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format that this program knows.
        known: u32,
    },
    /// One record cannot be read.
    #[error("The record of {what} {cause}.")]
    Record {
        /// Which one, for people.
        what: String,
        /// Why.
        cause: CodecError,
    },
    /// A record is larger than allowed.
    #[error("The record of {what} would have {bytes} bytes; {max} are allowed.")]
    RecordTooLarge {
        /// Which one, for people.
        what: String,
        /// Its size.
        bytes: usize,
        /// The largest allowed.
        max: usize,
    },
    /// The database's secrets were encrypted with another key.
    #[error("The master key does not fit the database: its secrets were encrypted with another key.")]
    WrongMasterKey {
        /// The database's folder.
        path: PathBuf,
    },
    /// One secret cannot be decrypted.
    #[error("The {what} cannot be decrypted.")]
    Sealed {
        /// Which one, for people.
        what: String,
    },
    /// The master key's file cannot be used.
    #[error("The master key {} {cause}.", path.display())]
    MasterKey {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
        /// What to do.
        cure: String,
    },
    /// A backup cannot be read or written.
    #[error("The backup {cause}.")]
    Backup {
        /// What is wrong.
        cause: String,
        /// What to do.
        cure: String,
    },
    /// The caller asked for what is not there, or may not be.
    #[error(transparent)]
    Refused(#[from] Problem),
}

impl StoreError {
    /// Where the database lies, if it is about that.
    pub fn place(&self) -> Option<&Path> {
        match self {
            Self::Locked { path }
            | Self::Disk { path, .. }
            | Self::Damaged { path, .. }
            | Self::Taken { path }
            | Self::Halted { path, .. }
            | Self::TooNew { path, .. }
            | Self::WrongMasterKey { path } => Some(path),
            _ => None,
        }
    }
}

/// The cure for damage.
const RESTORE: &str = "Check the disk's health, then bring a backup back with `slipway restore FROM --records`; if there is none, \
                       `slipway restore --salvage` takes over what can still be read.";

impl From<StoreError> for Problem {
    fn from(e: StoreError) -> Self {
        let what = e.to_string();
        let (kind, cure) = match e {
            StoreError::Refused(problem) => return problem,
            StoreError::Locked { .. } => (
                ProblemKind::Busy,
                "Stop the other server of this data folder, or give this one a folder of its own.".to_owned(),
            ),
            StoreError::Disk { doing, .. } => (
                if doing == "written" { ProblemKind::Unwritable } else { ProblemKind::Broken },
                "Check the disk's space and health and the folder's permissions, then try again."
                    .to_owned(),
            ),
            StoreError::Damaged { .. } => (ProblemKind::Broken, RESTORE.to_owned()),
            StoreError::Taken { .. } => (ProblemKind::Conflict, "Name another data folder.".to_owned()),
            StoreError::Halted { .. } => (
                ProblemKind::Unwritable,
                "Free space on the server's disk and see to its health, then try again; no restart is needed.".to_owned(),
            ),
            StoreError::TooNew { .. } => {
                (ProblemKind::Broken, "Run the Slipway that wrote it, or a newer one.".to_owned())
            }
            StoreError::Record { cause: CodecError::TooNew { .. }, .. } => {
                (ProblemKind::Broken, "Run the Slipway that wrote it, or a newer one.".to_owned())
            }
            StoreError::Record { .. } => (ProblemKind::Broken, RESTORE.to_owned()),
            StoreError::RecordTooLarge { .. } => {
                (ProblemKind::TooLarge, "Do it in smaller parts.".to_owned())
            }
            StoreError::WrongMasterKey { .. } => (
                ProblemKind::Broken,
                "Put back the master key file that belongs to this data folder.".to_owned(),
            ),
            StoreError::Sealed { .. } => {
                (ProblemKind::Broken, "Add the registry or cluster again with its credentials.".to_owned())
            }
            StoreError::MasterKey { cure, .. } => (ProblemKind::Broken, cure),
            StoreError::Backup { cure, .. } => (ProblemKind::Invalid, cure),
        };
        Problem::new(kind, what, cure)
    }
}
