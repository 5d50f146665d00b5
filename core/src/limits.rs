//! Every bound of this crate in one place; and, for all crates, those that config.toml can set: [`Limits`].
//!
//! What is a constant, here and in the `limits.rs` of other crates, is a fact of a format or a protocol, the size of a buffer,
//! or keeps one request from doing harm and is far above what honest ones need.

use std::sync::OnceLock;

mod chosen;
mod table;
mod unit;

pub use self::chosen::Chosen;
pub use self::table::{Limit, Limits, Usual};
pub use self::unit::Unit;

static IN_FORCE: OnceLock<Limits> = OnceLock::new();

/// The limits of this process, for what a process has once (caches over all repositories) and for what is far from every handle.
/// Who has a handle with limits of its own asks that.
pub fn in_force() -> &'static Limits {
    IN_FORCE.get_or_init(Limits::default)
}

/// Makes them those of this process. Once, before anything asks: false if something has.
pub fn put_in_force(limits: Limits) -> bool {
    IN_FORCE.set(limits).is_ok()
}

/// What some limits depend on where nothing is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Processors that the process may use.
    pub processors: u64,
    /// Memory that it may use, in bytes.
    pub memory_bytes: u64,
}

impl Default for Machine {
    /// A small one.
    fn default() -> Self {
        Self { processors: 2, memory_bytes: 1 << 30 }
    }
}

/// Most bytes of one backup's records, and of each of its lists, that are held in memory where the disk takes no more.
pub const SPOOL_MEMORY_BYTES_MAX: u64 = 256 << 20;
/// Longest repository name, in bytes (CodeCommit's rule).
pub const REPO_NAME_BYTES_MAX: usize = 100;
/// Longest user, registry, cluster or token name, in bytes.
pub const NAME_BYTES_MAX: usize = 64;
/// Longest context of a commit's status, in bytes.
pub const STATUS_CONTEXT_BYTES_MAX: usize = 255;
/// Longest description of one, in characters.
pub const STATUS_DESCRIPTION_CHARS_MAX: usize = 140;
/// Longest address of one, in bytes.
pub const STATUS_URL_BYTES_MAX: usize = 2048;
/// Longest full reference name, in bytes. git itself stops near the file system's 255 bytes a component.
pub const REF_NAME_BYTES_MAX: usize = 1024;
/// Longest description of a repository, in bytes.
pub const DESCRIPTION_BYTES_MAX: usize = 1000;
/// Largest slipway.toml that is read, in bytes.
pub const SPEC_BYTES_MAX: u64 = 64 * 1024;
/// Most ref updates in one push: more than any repository that is known of has refs.
pub const PUSH_UPDATES_MAX: usize = 500_000;
/// Most ref updates in one event, and most bytes of them as they are recorded: a push of more is recorded in several.
pub const EVENT_UPDATES_MAX: usize = 10_000;
/// See [`EVENT_UPDATES_MAX`].
pub const EVENT_UPDATE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Most push options in one push, and the longest one in bytes.
pub const PUSH_OPTIONS_MAX: usize = 64;
/// Longest push option, in bytes.
pub const PUSH_OPTION_BYTES_MAX: usize = 4096;
/// How long a push is its node's from its intention on, in milliseconds: far longer than objects and refs take to move.
pub const EVENT_LEASE_MS: u64 = 600_000;
/// Most push options that are not known which a pusher is told of.
pub const OPTIONS_TOLD_MAX: usize = 5;
/// Most refs that a remark about several names.
pub const REFS_NAMED_MAX: usize = 3;
/// Most reasons that a pusher is told why nothing was started.
pub const WHYS_MAX: usize = 8;
/// Most schedules of one repository.
pub const SCHEDULES_MAX: usize = 16;
/// Longest value of a build's parameter, in bytes.
pub const PARAM_BYTES_MAX: usize = 4096;
/// How many builds can follow one another because the image of each is a base of the next.
pub const BASE_CHAIN_MAX: u32 = 8;
/// Most patterns of slipway.toml that a remark quotes.
pub const PATTERNS_SAID_MAX: usize = 5;
/// Most files of a commit that are looked through for a Dockerfile that is not where it should be.
pub const FILES_LOOKED_MAX: usize = 5_000;
/// Most `[deploy.*]` targets in one slipway.toml.
pub const DEPLOY_TARGETS_MAX: usize = 16;
/// Most paths in `fields` and in `leave` of one target.
pub const FIELDS_MAX: usize = 64;
/// Most images that one commit has: `[[image]]` and their matrices.
pub const PARTS_MAX: usize = 32;
/// Longest name of one, and longest value in a matrix.
pub const PART_NAME_BYTES_MAX: usize = 64;
/// Most secrets that a test is given.
pub const TEST_SECRETS_MAX: usize = 64;
/// Most services beside a test.
pub const TEST_SERVICES_MAX: usize = 8;
/// Most variables that a test is given, and most arguments of a build.
pub const VARIABLES_MAX: usize = 256;
/// Most patterns of branches, and of tags, whose builds are given a secret.
pub const SECRET_PATTERNS_MAX: usize = 32;
/// Most tags an image is pushed with.
pub const IMAGE_TAGS_MAX: usize = 16;
/// Longest tag of an image (OCI distribution specification).
pub const IMAGE_TAG_BYTES_MAX: usize = 128;
/// Most remarks on what could not be put beside an image.
pub const ATTACHED_NOTES_MAX: usize = 8;
/// Most engines that share the builds.
pub const ENGINES_MAX: usize = 32;
/// How often a stage that failed for reasons outside the repository (engine down, registry down) is tried again.
pub const INFRA_RETRIES_MAX: u32 = 8;
/// First pause before such a retry, in milliseconds; it doubles up to [`RETRY_PAUSE_MS_MAX`].
pub const RETRY_PAUSE_MS_MIN: u64 = 2_000;
/// Longest pause between two retries, in milliseconds.
pub const RETRY_PAUSE_MS_MAX: u64 = 300_000;
/// How often a deploy is tried again whose cluster does not answer: a week of the longest pauses.
pub const DEPLOY_RETRIES_MAX: u32 = 2_016;
/// How often work is taken up again after the server itself died under it.
pub const RESTARTS_MAX: u32 = 5;
/// Longest line that is read as an SSH public key, in bytes (an RSA key of 16384 bits has some 2800).
pub const SSH_KEY_BYTES_MAX: usize = 8 * 1024;
/// Shortest RSA key that is taken, in bits.
pub const RSA_BITS_MIN: usize = 2048;
/// Longest RSA key that is taken, in bits (OpenSSH's own limit).
pub const RSA_BITS_MAX: usize = 16_384;
/// Most remarks that a deploy keeps.
pub const DEPLOY_NOTES_MAX: usize = 200;
/// How often a delivery is tried again.
pub const DELIVERY_RETRIES_MAX: u32 = 20;
/// First pause before such a retry, in milliseconds; it doubles up to [`DELIVERY_PAUSE_MS_MAX`].
pub const DELIVERY_PAUSE_MS_MIN: u64 = 2_000;
/// Longest pause between two attempts of a delivery, in milliseconds.
pub const DELIVERY_PAUSE_MS_MAX: u64 = 3_600_000;
/// How old a delivery may be, in milliseconds, and be tried again.
pub const DELIVERY_AGE_MS_MAX: u64 = 24 * 3_600_000;
/// Attempts of which a delivery keeps what was answered.
pub const DELIVERY_ATTEMPTS_KEPT: usize = 5;
