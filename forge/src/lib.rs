//! What people do here, whichever surface they come by: pages, JSON API, command line, SSH verbs, Git transports.
//!
//! One noun a file, plain functions on `(&Forge, &Caller, values)`. A surface finds out who calls ([`sign_in`] gives the
//! [`Caller`]), parses what was said, calls one function here, and shows what comes back; it holds no rule. Everything
//! here blocks (it asks the database and the disk) unless it is `async`: surfaces run it on threads that may block.
//!
//! To add an operation that pages, API, command line and SSH can call: a function in the file of its noun, which asks
//! [`access`] first and writes what belongs together in one transaction; then a line in each surface.
//!
//! Knows no HTTP, no SSH, no container engine and no Kubernetes.

pub mod access;
mod address;
mod approve;
mod backup;
pub mod badge;
pub mod bindings;
pub mod bump;
mod caller;
pub mod commits;
mod credential;
pub mod default_branch;
mod folders;
pub mod follow;
mod forge;
#[cfg(any(test, feature = "fuzzing"))]
#[allow(missing_docs, clippy::missing_panics_doc)]
pub mod fuzzing;
pub mod grants;
pub mod images;
pub mod kept;
pub mod keys;
pub mod limits;
pub mod logs;
pub mod made;
pub mod manifests;
pub mod moving;
pub mod needs;
pub mod networks;
pub mod origin;
mod outside;
pub mod pace;
mod page;
pub mod priority;
mod probes;
mod promote;
mod refusal;
pub mod repositories;
mod retry;
pub mod reuse;
mod rollback;
pub mod runs;
pub mod schedules;
pub mod secrets;
pub mod server;
pub mod sessions;
pub mod shares;
pub mod sign_in;
mod start;
pub mod statuses;
mod stop;
mod sync;
pub mod targets;
pub mod tokens;
pub mod users;
pub mod webhooks;

pub use self::backup::streamed;
pub use self::caller::{Caller, Credential, Surface};
pub use self::credential::{MintedToken, mint_token};
pub use self::forge::{Forge, Parts};
pub use self::outside::{Change, Check, Outside, Round, Subject};
pub use self::page::{Page, Rows, rows};
