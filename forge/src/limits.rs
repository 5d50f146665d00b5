//! Bounds of what people do.

/// Keys given with a new user.
pub const USER_KEYS_MAX: usize = 32;
/// Bytes of a key's title or a token's name.
pub const TITLE_BYTES_MAX: usize = 200;
/// Seconds that a token with an end may live: ten years.
pub const TOKEN_LIFE_S_MAX: u64 = 10 * 366 * 24 * 3600;
/// Bytes of a token, a cookie or an `Authorization` header.
pub const CREDENTIAL_BYTES_MAX: usize = 512;
/// Bytes of a registry's address, a region or a user name at a registry.
pub const ADDRESS_BYTES_MAX: usize = 255;
/// Bytes of a kubeconfig.
pub const KUBECONFIG_BYTES_MAX: usize = 512 * 1024;
/// Further namespaces of a binding.
pub const NAMESPACES_MAX: usize = 64;
/// Most rules on kinds that a cluster binding has.
pub const KIND_RULES_MAX: usize = 100;
/// Most repositories whose images another's builds may use.
pub const MAY_PULL_MAX: usize = 64;
/// Bytes that somebody who backs up says of what he has already.
pub const BACKUP_KNOWN_BYTES_MAX: usize = 32_000_000;
/// Rows of a list where nobody says how many.
pub const PAGE_ROWS: usize = 100;
/// Rows of a list at most.
pub const PAGE_ROWS_MAX: usize = 1000;
/// How long failures are remembered.
pub const FAILURE_WINDOW_MS: u64 = 60_000;
/// Pairs of account and address whose failures are remembered.
pub const FAILURES_KEPT_MAX: usize = 10_000;
/// Lines that the log gets about failed sign-ins within [`FAILURE_WINDOW_MS`].
pub const FAILURE_LINES_MAX: u32 = 200;
/// Events that are looked through to tell a repository that nothing was pushed to from one whose refs are lost.
pub const EMPTY_LOOK_BACK: usize = 200;
/// Newest pushes that are looked through for the one that brought a commit.
pub const EVENTS_LOOKED_MAX: usize = 500;
/// Refs that are looked at for one that leads to a commit.
pub const REFS_LOOKED_MAX: usize = 200;
/// Newest builds that are looked through for one of a newer commit.
pub const BUILDS_LOOKED_MAX: usize = 100;
/// Newest builds that are looked through for the images that one needs.
pub const NEEDS_LOOKED_MAX: usize = 1_000;
/// Names that one promotion moves.
pub const NAMES_PROMOTED_MAX: usize = 32;
/// Branches that one schedule builds at a time.
pub const SCHEDULED_BRANCHES_MAX: usize = 20;
/// How long a schedule waits, in milliseconds, where as many builds wait already as may.
pub const WAIT_FOR_ROOM_MS: u64 = 30_000;
/// Turns to move names that there are: repositories share them.
pub const TURNS: usize = 64;
/// Bytes of a build log that are read at once.
pub const LOG_PIECE_BYTES: usize = 64 * 1024;
/// Bytes of a webhook's address.
pub const WEBHOOK_URL_BYTES_MAX: usize = 2048;
/// Bytes of a webhook's secret.
pub const WEBHOOK_SECRET_BYTES_MAX: usize = 1024;
/// Lines of a followed push that may wait for a slow client.
pub const FOLLOW_LINES_MAX: usize = 256;
/// Longest line of a followed push that is told in one piece, in bytes.
pub const FOLLOW_LINE_BYTES_MAX: usize = 4096;
/// Who may wait for a place of one kind at once.
pub const PLACE_WAITERS_MAX: usize = 4096;
/// How long such an answer is remembered.
pub const PROBE_WINDOW_MS: u64 = 60_000;
/// Accounts of which they are remembered.
pub const PROBES_KEPT_MAX: usize = 10_000;
/// Most images, or beginnings of their names, that one binding lets into its cluster unsigned.
pub(crate) const ALLOW_UNSIGNED_MAX: usize = 100;
/// Builds that took their image from one another, which are followed to the one that made it.
pub(crate) const MAKERS_MAX: usize = 100;

/// Most links and submodules in one bound folder.
pub(crate) const LINKS_MAX: usize = 1_000;
/// Most links that lead to links that are followed.
pub(crate) const LINKS_DEEP_MAX: usize = 8;
/// Longest target of a link, in bytes: what file systems allow.
pub(crate) const LINK_BYTES_MAX: u64 = 4_096;
