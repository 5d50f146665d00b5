//! Git repositories on disk: the only user of gix.
//!
//! A blocking API: callers run it on threads that may block. A [`Repository`] hands out [`Snapshot`]s, immutable views
//! of one generation of its refs and packs; whoever reads holds one and is never disturbed by a push.

// The tests of git's formats share the histories of the tests in `tests/`, which name this crate.
#[cfg(test)]
extern crate self as slipway_repository;

mod accept;
mod bitmaps;
mod bits;
mod boundary;
mod browse;
mod bulk;
mod check;
mod connected;
mod cure;
mod delta;
mod digest;
mod doubt;
mod durable;
mod error;
mod examine;
mod findings;
// Readers are whole: what the server does not ask for, tests and fuzz targets do. In a build of the tests nothing is
// unused.
#[cfg_attr(not(test), allow(dead_code))]
mod formats;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod gate;
mod graph;
mod hold;
mod ids;
mod inflate;
mod limits;
mod links;
mod lock_file;
mod loose;
mod maintain;
mod mapped;
mod marks;
mod memo;
mod negotiate;
mod object;
mod pack;
mod packs;
mod place;
mod quarantine;
mod reach;
mod receive;
mod refs;
mod repositories;
mod repository;
mod send;
mod settings;
mod snapshot;
#[cfg(test)]
#[path = "../tests/repository/support.rs"]
#[allow(unused)]
mod support;
mod sweep;
mod view;

pub use browse::{
    Archive, ArchiveForm, Budget, ChangeKind, Commit, Content, Diff, DiffLimits, DiffLine, Edit, Entry,
    FileDiff, Hunk, LineKind, LogPage, Mode, Person, Signature, first_commit, shown_path,
};
pub use check::Checks;
pub use error::{RepoError, Result};
pub use examine::{Examined, Flaw};
pub use hold::{HeldRepository, Hold};
pub use maintain::{LastMaintenance, Maintained, RepackOptions, Repacked, Storage};
pub use negotiate::{Deepen, ShallowAnswer};
pub use object::{Kind, Object, Objects};
pub use receive::{Progress, ReceiveLimits, Received};
pub use refs::Ref;
pub use repositories::{Adopted, Repositories};
pub use repository::Repository;
pub use send::{Filter, PackRequest, PackStream, Sparse};
pub use settings::{ConfigValue, Guard, Hidden, ReceiveSettings, Settings, Unborn, UploadSettings};
pub use snapshot::Snapshot;
pub use view::{Side, View};
