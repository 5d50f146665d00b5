//! What helps against a fault of what is stored: decided here alone, from the fault, for the doctor and for every surface. Each is one
//! that works there (`tests/damage/cures.rs` follows them).

use std::path::Path;

use slipway_core::RefName;

use crate::error::RepoError;

/// What helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cure {
    /// A file that is made from others.
    Repair,
    /// A lock that nobody holds.
    Unlock,
    /// Objects that are lost.
    PutBack,
    /// An object is not found: it may be lost, or only not be found.
    Look,
    /// HEAD, which names the default branch.
    DefaultBranch,
    /// A ref in a file of its own.
    Ref,
    /// Refs of which nobody else knows what they were.
    Refs,
    /// The whole folder.
    Folder,
}

impl Cure {
    /// Of a fault in what is stored; `None` for other errors.
    pub(crate) fn of(error: &RepoError) -> Option<Self> {
        Some(match error {
            RepoError::NoFolder { .. } => Self::Folder,
            RepoError::BrokenPack { path, .. } => Self::of_file(path),
            RepoError::BrokenRef { path, .. } if path.ends_with("HEAD") => Self::DefaultBranch,
            RepoError::BrokenRef { .. } => Self::Refs,
            RepoError::LostRef { why, .. } if is_about_object(why) => Self::Look,
            RepoError::LostRef { name, .. } if is_head(name) => Self::DefaultBranch,
            RepoError::LostRef { .. } => Self::Ref,
            RepoError::Missing { .. } | RepoError::BrokenObject { .. } | RepoError::WrongKind { .. } => {
                Self::Look
            }
            RepoError::RefLocked { .. } => Self::Unlock,
            _ => return None,
        })
    }

    /// Of a broken file of the folder of objects.
    pub(crate) fn of_file(path: &Path) -> Self {
        if path.extension().is_some_and(|extension| extension == "pack") {
            Self::PutBack
        } else {
            Self::Repair
        }
    }

    /// For whoever has the server's host, which is who reads what the doctor says: a sentence.
    pub(crate) fn to_owner(self) -> String {
        let mut text = self.clause().to_owned();
        if let Some(first) = text.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        format!("{text}.")
    }

    /// For anybody: a sentence.
    pub(crate) fn to_anybody(self) -> String {
        match self {
            Self::Unlock => format!(
                "Try again in a moment; if it stays so, ask an owner of this server to {}.",
                self.clause()
            ),
            _ => format!("Ask an owner of this server to {}.", self.clause()),
        }
    }

    fn clause(self) -> &'static str {
        match self {
            Self::Repair => "run slipway doctor --repair: it is made anew, and nothing is lost",
            Self::Unlock => {
                "run slipway doctor --repair: it removes locks that nobody holds, once they are a minute old"
            }
            Self::PutBack => {
                "put it back from a backup (docs/backup.md, One repository), or move it and its index away and copy the packs of \
                 a complete clone there"
            }
            Self::Look => {
                "run slipway doctor: it tells what can be made anew, and what is lost and from where it is put back"
            }
            Self::DefaultBranch => {
                "name the default branch anew: slipway repo set NAME --default-branch BRANCH"
            }
            Self::Ref => {
                "remove the ref's file from the repository's folder, and push it again from a clone that has it"
            }
            Self::Refs => {
                "put that file of the repository's folder back from a backup (docs/backup.md, One repository), or mend it by hand"
            }
            Self::Folder => {
                "mount its disk, or put the folder back from a backup (docs/backup.md, One repository); no restart is needed"
            }
        }
    }
}

/// Why a ref cannot be read whose object is not found.
pub(crate) fn no_object(id: &slipway_core::Oid) -> String {
    format!("object {id} is missing")
}

/// True for [`no_object`], which follows from other damage; false for a ref whose own file is broken.
pub(crate) fn is_about_object(why: &str) -> bool {
    why.starts_with("object ")
}

fn is_head(name: &RefName) -> bool {
    name.as_str() == "HEAD"
}
