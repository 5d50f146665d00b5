//! Backups and exports: what can be said of them. What writes files of this machine is `backup/command.rs`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::request::{Request, Shows, call};

/// Where a backup goes, and what is in it.
#[derive(Clone, Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Backup {
    #[command(subcommand)]
    pub(crate) verb: Option<BackupVerb>,
    /// A folder of backups, or a file whose name ends with .tar (`-` writes that to standard output)
    #[arg(required = true, value_name = "FOLDER|FILE")]
    pub(crate) to: Option<String>,
    /// Leave the server's keys out: keep those apart
    #[arg(long)]
    pub(crate) without_keys: bool,
    /// Read once more only what is new, not all of the snapshot
    #[arg(long)]
    pub(crate) quick: bool,
    /// The records alone, to a file
    #[arg(long, conflicts_with_all = ["without_keys", "quick"])]
    pub(crate) records: bool,
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum BackupVerb {
    /// List the snapshots of a folder of backups
    List {
        /// The folder
        folder: PathBuf,
    },
    /// Read everything of a backup and compare every checksum
    Verify {
        /// A folder of backups or a file (`-` reads standard input)
        from: String,
        /// Of a folder, this one alone: its number, or a time such as 2026-11-29T17:05 (UTC)
        #[arg(long, value_name = "N|TIME")]
        snapshot: Option<String>,
    },
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Restore {
    /// What `slipway backup` wrote: a folder of backups or a file (`-` reads standard input)
    #[arg(required_unless_present = "salvage")]
    pub(crate) from: Option<String>,
    /// Of a folder: the snapshot's number, or a time such as 2026-11-29T17:05 (UTC) [default: the newest that is whole]
    #[arg(long, value_name = "N|TIME")]
    pub(crate) snapshot: Option<String>,
    /// The folder of the server's keys, where they are not in the backup
    #[arg(long, value_name = "DIR")]
    pub(crate) keys: Option<PathBuf>,
    /// The records alone, into a data folder whose database is damaged or missing
    #[arg(long, conflicts_with = "keys")]
    pub(crate) records: bool,
    /// There is no backup: take over what can still be read of the damaged database
    #[arg(long, conflicts_with_all = ["from", "snapshot", "keys", "records"])]
    pub(crate) salvage: bool,
}

/// The call for a backup to standard output; `None` for what is written to files of this machine.
pub(super) fn request(backup: &Backup) -> Option<Request> {
    if backup.verb.is_some() || backup.to.as_deref() != Some("-") {
        return None;
    }
    Some(if backup.records {
        call("GET", "/backup", Shows::Stream)
    } else {
        full(!backup.without_keys, None)
    })
}

/// The call for a backup of everything but what is known.
pub(crate) fn full(keys: bool, known: Option<bytes::Bytes>) -> Request {
    Request { raw: known, ..call("POST", format!("/backup?keys={keys}"), Shows::Stream) }
}
