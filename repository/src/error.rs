//! What can fail in this room, with the facts in fields, and how each failure is told to people.

use std::io;
use std::path::{Path, PathBuf};

use slipway_core::spool::is_full;
use slipway_core::{Oid, Problem, ProblemKind, RefName, sentence};

use crate::cure::Cure;
use crate::doubt;
use crate::object::Kind;
use crate::place::shown;

/// The result of everything here.
pub type Result<T, E = RepoError> = std::result::Result<T, E>;

/// All failures of this room; turn into a [`Problem`] with `Problem::from`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepoError {
    /// A repository's folder is not there.
    #[error("the repository's folder is missing")]
    NoFolder {
        /// Where it should be.
        path: PathBuf,
    },
    /// Another repository's folder is in its place.
    #[error("the folder in the repository's place {why}")]
    NotIts {
        /// Which folder.
        path: PathBuf,
        /// "belongs to …".
        why: String,
    },
    /// Something is in the place of a new repository.
    #[error("a folder that belongs to no repository is in the place of the new one")]
    FolderExists {
        /// Which.
        path: PathBuf,
    },
    /// The folder is a repository of a kind that is not served.
    #[error("the repository {why}")]
    Unsupported {
        /// Its folder.
        path: PathBuf,
        /// "uses …".
        why: String,
    },
    /// The disk refused.
    #[error("the server cannot {doing} {}: {source}", shown(path))]
    Io {
        /// A verb: "read", "write", "rename".
        doing: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// An object that must be there is not.
    #[error("object {id} is missing")]
    Missing {
        /// Which.
        id: Oid,
    },
    /// An object is larger than the caller can take.
    #[error("object {id} has {size} bytes; at most {max} are read here")]
    ObjectTooLarge {
        /// Which.
        id: Oid,
        /// Its size in bytes.
        size: u64,
        /// The most that was allowed, in bytes.
        max: u64,
    },
    /// A stored object cannot be read.
    #[error("object {id} is broken: {why}")]
    BrokenObject {
        /// Which.
        id: Oid,
        /// In what way.
        why: String,
    },
    /// A stored pack or its index cannot be read.
    #[error("the file {} is broken: {why}", shown(path))]
    BrokenPack {
        /// Which file.
        path: PathBuf,
        /// In what way.
        why: String,
    },
    /// A file of refs cannot be read.
    #[error("the file {} is broken: {why}", shown(path))]
    BrokenRef {
        /// Which file.
        path: PathBuf,
        /// In what way.
        why: String,
    },
    /// A ref is there, and what it says or leads to cannot be read.
    #[error("the ref {name} cannot be read: {why}")]
    LostRef {
        /// Which.
        name: RefName,
        /// In what way.
        why: String,
    },
    /// A pack that was sent is not a pack, or not all of it.
    #[error("the pack is not valid: {why}")]
    BadPack {
        /// In what way.
        why: String,
    },
    /// The pack ended early.
    #[error("the pack ended after {bytes} bytes, before it was complete")]
    Truncated {
        /// Bytes that came.
        bytes: u64,
    },
    /// The connection that brings the pack failed.
    #[error("the pack stopped coming after {bytes} bytes: {source}")]
    Source {
        /// Bytes that came.
        bytes: u64,
        /// Why.
        source: io::Error,
    },
    /// A sent object breaks git's format.
    #[error("{kind} {id} is not valid: {why}")]
    BadObject {
        /// Which.
        id: Oid,
        /// Its kind.
        kind: Kind,
        /// The rule it breaks.
        why: String,
        /// What can be done.
        cure: &'static str,
    },
    /// Two different contents with one id.
    #[error("object {id} is here already with other content")]
    Collision {
        /// Which.
        id: Oid,
    },
    /// A limit was crossed.
    #[error("{what} is over the limit of {max}")]
    TooMuch {
        /// What, with its unit: "the pack's size in bytes".
        what: &'static str,
        /// The limit.
        max: u64,
    },
    /// The sender left out an object that its refs need.
    #[error("object {id} is needed by the pushed refs but was not sent and is not reachable here")]
    NotConnected {
        /// Which.
        id: Oid,
    },
    /// The repository is being maintained by somebody else.
    #[error("the repository is being maintained already")]
    Maintained,
    /// Memory did not suffice for a large object beside all others.
    #[error("there is no memory for a large object beside what others send")]
    Crowded,
    /// Somebody makes a backup already.
    #[error("a backup is being made already")]
    Held,
    /// Objects were to be published before anyone looked whether they are connected.
    #[error("the received objects were not checked for connectivity")]
    Unchecked,
    /// Something here went wrong that never should.
    #[error("{what}")]
    Fault {
        /// What happened, as a sentence's core.
        what: &'static str,
    },
    /// A ref is not where the asker believed.
    #[error("the ref {name} has moved: it is at {is}, not at {expected}")]
    RefMoved {
        /// Which.
        name: RefName,
        /// Where it is ("nothing" if it does not exist).
        is: String,
        /// Where the asker believed it to be.
        expected: String,
    },
    /// `a` and `a/b` cannot both be refs.
    #[error("the ref {name} cannot be made beside {other}")]
    RefConflict {
        /// The new ref.
        name: RefName,
        /// The one in its way.
        other: String,
    },
    /// Another ref of an atomic update was refused.
    #[error("the update was atomic and another of its refs was refused")]
    NotAtomic,
    /// Another program holds the ref's lock.
    #[error("the ref is locked by another program, or one left its lock {}", shown(path))]
    RefLocked {
        /// The lock file.
        path: PathBuf,
    },
    /// A ref may not be moved as asked.
    #[error("the ref {name} {why}")]
    RefRefused {
        /// Which.
        name: RefName,
        /// Why not.
        why: String,
    },
    /// The caller's stop flag was raised.
    #[error("it was stopped")]
    Stopped,
    /// An object is not of the kind that its place asks for.
    #[error("object {id} is a {found}, not a {wanted}")]
    WrongKind {
        /// Which.
        id: Oid,
        /// What it should be.
        wanted: Kind,
        /// What it is.
        found: Kind,
    },
    /// There is nothing at the path.
    #[error("there is nothing at {path:?}")]
    NoSuchPath {
        /// As asked for.
        path: String,
    },
    /// A shortened id means several objects.
    #[error("{rev} could mean {} objects: {}", candidates.len(), listed(candidates))]
    AmbiguousRev {
        /// As asked for.
        rev: String,
        /// What it could mean; not all, if there are many.
        candidates: Vec<Oid>,
    },
    /// An edit cannot be carried out.
    #[error("{path:?} cannot be changed: {why}")]
    BadEdit {
        /// The edit's path.
        path: String,
        /// Why not.
        why: String,
    },
    /// A shallow answer would have no commit.
    #[error("no commits selected for shallow requests")]
    NothingSelected,
    /// The edits leave everything as it is.
    #[error("the edits change nothing")]
    NothingChanged,
    /// A read would be longer than is allowed.
    #[error("{what} is over the limit of {max}")]
    TooLong {
        /// What, with its unit.
        what: &'static str,
        /// The limit.
        max: usize,
    },
    /// The receiver of an answer did not take it.
    #[error("the answer could not be written: {source}")]
    NotTaken {
        /// Why.
        source: io::Error,
    },
    /// The input of a read is not valid.
    #[error("{what}")]
    Invalid {
        /// A sentence's core without the full stop.
        what: String,
    },
    /// The repository's settings, its config and what that names, cannot be obeyed.
    #[error("{what}")]
    Settings {
        /// A sentence's core without the full stop.
        what: String,
    },
}

impl RepoError {
    /// Names the file and the verb of an I/O failure.
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RepoError {
        move |source| RepoError::Io { doing, path: path.to_owned(), source }
    }

    pub(crate) fn bad_pack(why: impl Into<String>) -> RepoError {
        RepoError::BadPack { why: why.into() }
    }
}

fn listed(ids: &[Oid]) -> String {
    ids.iter().map(Oid::short).collect::<Vec<_>>().join(", ")
}

impl RepoError {
    /// The file or folder it is about, in full: for the log and for nobody else.
    pub fn place(&self) -> Option<&Path> {
        match self {
            RepoError::Io { path, .. }
            | RepoError::Unsupported { path, .. }
            | RepoError::BrokenPack { path, .. }
            | RepoError::BrokenRef { path, .. }
            | RepoError::FolderExists { path }
            | RepoError::NoFolder { path }
            | RepoError::NotIts { path, .. }
            | RepoError::RefLocked { path } => Some(path),
            _ => None,
        }
    }

    /// What happened and where, for the log.
    pub(crate) fn located(&self) -> String {
        match self.place() {
            Some(place) => format!("{self} ({})", place.display()),
            None => self.to_string(),
        }
    }
}

impl From<RepoError> for Problem {
    fn from(e: RepoError) -> Problem {
        if let RepoError::Io { .. } | RepoError::BrokenPack { .. } | RepoError::BrokenRef { .. } = e {
            tracing::warn!("{}", e.located());
        }
        let stored = of_what_is_stored(&e);
        if let Some((ProblemKind::Broken, _)) = stored {
            doubt::told();
        }
        let (kind, cure) = stored.unwrap_or_else(|| of_what_was_asked(&e));
        let cure = Cure::of(&e).map_or_else(|| cure.to_owned(), Cure::to_anybody);
        Problem::new(kind, sentence(&e.to_string()), cure)
    }
}

/// Kind and cure where the disk is at fault, or this program; an empty cure is that of `cure.rs`.
fn of_what_is_stored(e: &RepoError) -> Option<(ProblemKind, &'static str)> {
    use ProblemKind as K;
    Some(match e {
        RepoError::NotIts { .. } => {
            (K::Broken, "Put this repository's own folder there: slipway/id in it says whose it is.")
        }
        RepoError::FolderExists { .. } => {
            (K::Conflict, "Have an administrator of this server move it away, then try again.")
        }
        RepoError::Settings { .. } => (
            K::Broken,
            "Ask an owner of this server to mend that file of the repository; git config --list shows where it is wrong.",
        ),
        RepoError::Unsupported { .. } => (K::Broken, "Convert it with plain git, then try again."),
        RepoError::Io { source, .. } if is_full(source) => {
            (K::Unwritable, "Free space on the server's disk, then try again.")
        }
        RepoError::Io { .. } => {
            (K::Broken, "Look at the disk and the permissions of the data folder, then try again.")
        }
        RepoError::NoFolder { .. }
        | RepoError::Missing { .. }
        | RepoError::BrokenObject { .. }
        | RepoError::BrokenPack { .. }
        | RepoError::BrokenRef { .. }
        | RepoError::LostRef { .. }
        | RepoError::WrongKind { .. } => (K::Broken, ""),
        RepoError::Maintained | RepoError::Held => (K::Busy, "Try again once that is done."),
        RepoError::Crowded => (K::Busy, "Try again in a minute."),
        RepoError::Unchecked | RepoError::Fault { .. } => {
            (K::Broken, "This is a fault of the server; report it.")
        }
        _ => return None,
    })
}

/// Kind and cure where it is about what was sent or asked for.
fn of_what_was_asked(e: &RepoError) -> (ProblemKind, &'static str) {
    use ProblemKind as K;
    match e {
        RepoError::ObjectTooLarge { .. } => (K::TooLarge, "Ask for it through git instead."),
        RepoError::BadPack { .. } | RepoError::Truncated { .. } | RepoError::Source { .. } => {
            (K::Invalid, "Push again; if it stays so, run git fsck where you push from.")
        }
        RepoError::BadObject { cure, .. } => (K::Invalid, cure),
        RepoError::Collision { .. } => {
            (K::Denied, "Do not trust the history that you push from; ask its authors.")
        }
        RepoError::TooMuch { .. } => {
            (K::TooLarge, "Split the push, or ask an owner of this server to raise the limit.")
        }
        RepoError::NotConnected { .. } => {
            (K::Invalid, "Push from a complete clone; if it is shallow, run git fetch --unshallow first.")
        }
        RepoError::RefMoved { .. } => (K::Conflict, "Fetch, then push again."),
        RepoError::RefConflict { .. } => (K::Conflict, "Delete the other ref first, or choose another name."),
        RepoError::NotAtomic => (K::Conflict, "See that ref's answer."),
        RepoError::RefLocked { .. } => (K::Busy, ""),
        RepoError::RefRefused { .. } => (K::Denied, "Push to another ref."),
        RepoError::Stopped => (K::Cancelled, "Start it again when you want it done."),
        RepoError::NoSuchPath { .. } => (K::NotFound, "Check the path and the revision."),
        RepoError::AmbiguousRev { .. } => (K::Invalid, "Write more digits of the one you mean."),
        RepoError::BadEdit { .. } => {
            (K::Invalid, "Choose another path, or change what stands in the way first.")
        }
        RepoError::NothingSelected => (K::Invalid, "Ask for older commits, or exclude fewer refs."),
        RepoError::NothingChanged => (K::Conflict, "Change something, or leave it as it is."),
        RepoError::TooLong { .. } => (K::TooLarge, "Ask for less, or work in a clone."),
        RepoError::NotTaken { .. } => (K::Cancelled, "Ask for it again."),
        _ => (K::Invalid, "Check what you asked for."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_begins_with_a_word_and_shows_no_place() {
        let place = || PathBuf::from("/srv/secret/repos/7.git/refs/heads/main.lock");
        let name = || RefName::parse("refs/heads/feature/x").unwrap();
        let io = || io::Error::from(io::ErrorKind::StorageFull);
        let (id, why) = (Oid::ZERO_SHA1, || "is not as it should be".to_owned());
        let (is, expected) = ("nothing".to_owned(), id.to_string());
        for error in [
            RepoError::NoFolder { path: place() },
            RepoError::NotIts { path: place(), why: why() },
            RepoError::FolderExists { path: place() },
            RepoError::Unsupported { path: place(), why: why() },
            RepoError::Io { doing: "write", path: place(), source: io() },
            RepoError::BrokenPack { path: place(), why: why() },
            RepoError::BrokenRef { path: place(), why: why() },
            RepoError::RefLocked { path: place() },
            RepoError::LostRef { name: name(), why: why() },
            RepoError::RefMoved { name: name(), is, expected },
            RepoError::RefConflict { name: name(), other: "refs/heads/feature".into() },
            RepoError::RefRefused { name: name(), why: why() },
            RepoError::Missing { id },
            RepoError::Collision { id },
            RepoError::NotConnected { id },
            RepoError::Source { bytes: 1, source: io() },
        ] {
            let problem = Problem::from(error);
            let first = problem.what.split(' ').next().unwrap_or_default().to_owned();
            assert!(first.chars().all(char::is_alphabetic) && !first.contains('/'), "{problem}");
            assert!(problem.what.starts_with(char::is_uppercase) && problem.what.ends_with('.'), "{problem}");
            assert!(!problem.cure.is_empty() && problem.cure.ends_with('.'), "{problem}");
            assert!(!problem.to_string().contains("secret"), "{problem}");
        }
    }
}
