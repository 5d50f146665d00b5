//! What goes wrong in the store, with the facts, and how each is told to people.

use std::path::PathBuf;

use slipway_core::{Problem, ProblemKind};

use crate::codec::CodecError;

/// What goes wrong in the store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process has the database open.
    #[error("The database in {} is in use by another process.", path.display())]
    Locked {
        /// Its folder.
        path: PathBuf,
    },
    /// The database cannot be opened, read or written.
    #[error("The database in {} cannot be {doing}: {cause}.", path.display())]
    Disk {
        /// Its folder.
        path: PathBuf,
        /// `opened`, `read` or `written`.
        doing: &'static str,
        /// What the disk or the database engine said.
        cause: String,
    },
    /// The database is not all that was acknowledged.
    #[error("The database in {} is damaged: {cause}.", path.display())]
    Damaged {
        /// Its folder.
        path: PathBuf,
        /// What does not fit.
        cause: String,
    },
    /// There is a database where one was to be made.
    #[error("There is a database in {} already.", path.display())]
    Taken {
        /// Its folder.
        path: PathBuf,
    },
    /// An earlier write failed, so what is in memory may differ from what is on disk.
    #[error("The database in {} takes no more changes, because an earlier one could not be written.", path.display())]
    Halted {
        /// Its folder.
        path: PathBuf,
    },
    /// The database was written by a newer Slipway.
    #[error("The database in {} has format {found}; this program reads up to {known}.", path.display())]
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
    #[error("The master key does not fit the database in {}: its secrets were encrypted with another key.", path.display())]
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

/// The cure for damage.
const RESTORE: &str = "Check the disk's health, then bring a backup back with `slipway restore FILE`; if there is none, \
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
            StoreError::Disk { .. } => (
                ProblemKind::Broken,
                "Check the disk's space and health and the folder's permissions, then restart the server."
                    .to_owned(),
            ),
            StoreError::Damaged { .. } => (ProblemKind::Broken, RESTORE.to_owned()),
            StoreError::Taken { .. } => (ProblemKind::Conflict, "Name another data folder.".to_owned()),
            StoreError::Halted { .. } => (
                ProblemKind::Broken,
                "Check the disk's space and health, then restart the server.".to_owned(),
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
