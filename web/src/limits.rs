//! Every bound of this crate in one place.

use std::time::Duration;

/// Largest request body, in bytes. A kubeconfig with inline certificates is the largest honest one.
pub(crate) const BODY_BYTES_MAX: usize = 1024 * 1024;
/// Largest kubeconfig, in bytes.
pub(crate) const KUBECONFIG_BYTES_MAX: usize = 512 * 1024;
/// Rows of a list answer where the caller names no number.
pub(crate) const PAGE_ROWS: usize = 100;
/// Most rows of a list answer.
pub(crate) const PAGE_ROWS_MAX: usize = 1000;
/// Most keys that come with a new user.
pub(crate) const USER_KEYS_MAX: usize = 32;
/// Longest title of a key or name of a token, in bytes.
pub(crate) const TITLE_BYTES_MAX: usize = 200;
/// Longest life of a token, in seconds: ten years.
pub(crate) const TOKEN_LIFE_S_MAX: u64 = 10 * 366 * 24 * 3600;
/// Longest Authorization header or cookie value that is looked at, in bytes.
pub(crate) const CREDENTIAL_BYTES_MAX: usize = 512;
/// How long a signed-in browser stays signed in, in milliseconds.
pub(crate) const SESSION_MS: u64 = 7 * 24 * 3600 * 1000;
/// Failed sign-ins from one address before it has to wait.
pub(crate) const LOGIN_FAILURES_MAX: u32 = 10;
/// How long failures count.
pub(crate) const LOGIN_WINDOW: Duration = Duration::from_secs(60);
/// Addresses whose failures are remembered.
pub(crate) const LOGIN_ADDRESSES_MAX: usize = 4096;
/// Blocking reads at work at once for people who have signed in.
pub(crate) const MEMBER_READS_MAX: usize = 16;
/// Blocking reads at work at once for everybody else.
pub(crate) const VISITOR_READS_MAX: usize = 4;
/// How long a read waits for its place before the answer is "busy".
pub(crate) const READ_WAIT: Duration = Duration::from_secs(2);
/// Seconds after which a "busy" answer asks to come again.
pub(crate) const RETRY_AFTER_S: u32 = 2;
/// Longest registry address, image path, manifest path or similar, in bytes.
pub(crate) const ADDRESS_BYTES_MAX: usize = 255;
/// Most namespaces that a binding allows on top of its own.
pub(crate) const NAMESPACES_MAX: usize = 64;
/// Bytes of a build log read in one go.
pub(crate) const LOG_CHUNK_BYTES: usize = 64 * 1024;
