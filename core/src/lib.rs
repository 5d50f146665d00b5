//! Words and rules of Slipway: names, ids, roles, events, the push→build→deploy machine, slipway.toml.
//!
//! Pure: no tokio, no gix, no sled, no HTTP and no clock. Everything here is a value or a function of values; what
//! touches the world is a trait that another room implements ([`accept`]). Start at [`event`], [`build`] and
//! [`deploy`].

pub mod accept;
pub mod access;
pub mod build;
pub mod ceilings;
pub mod delivery;
pub mod deploy;
pub mod deploy_rules;
pub mod event;
pub mod field_path;
pub mod files;
pub mod git;
pub mod id;
pub mod image;
pub mod kept;
pub mod kind_rules;
pub mod limits;
pub mod moving;
pub mod name;
mod nearest;
pub mod outline;
pub mod people;
pub mod place;
pub mod problem;
pub mod repo_secret;
pub mod retention;
pub mod run;
pub mod schedule;
pub mod secret;
pub mod source_ignore;
pub mod spec;
pub mod spool;
pub mod ssh_key;
pub mod status;
pub mod target;
pub mod token;
pub mod trial;
pub mod verified;
pub mod webhook;

pub use self::access::{Action, Actor, Role, Scope, Standing, authorise};
pub use self::git::{InvalidObjectFormat, ObjectFormat, Oid, RefName, RefUpdate};
pub use self::id::{
    BuildNumber, DeliveryNumber, DeployNumber, Digest, EventId, RepoId, UnixMillis, WebhookNumber,
};
pub use self::name::{ClusterName, InvalidName, RegistryName, RepoName, SecretName, UserName};
pub use self::problem::{Problem, ProblemKind, sentence, without_account};
pub use self::secret::Secret;
pub use self::ssh_key::SshKey;
