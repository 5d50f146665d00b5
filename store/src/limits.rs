//! Every bound of this crate in one place.

use std::time::Duration;

/// How often sled's own thread looks for segments to clean, in milliseconds. Durability does not depend on it.
pub(crate) const CLEAN_EVERY_MS: u64 = 1_000;
/// Size of sled's log segments and of its write buffer, in bytes. Fixed when a database is made.
pub(crate) const SEGMENT_BYTES: usize = 512 << 10;
/// Longest stretch of a record that is stored under one key, in bytes; longer records are cut into pieces. Forty of
/// them fit into a quarter segment, so that no page of sled's tree ever grows into one of its blob files (`disk.rs`).
pub(crate) const PIECE_BYTES: usize = 3 << 10;
/// Largest record, in bytes of JSON: an event of 10 000 ref updates with long names.
pub(crate) const RECORD_BYTES_MAX: usize = 16 << 20;
/// How long to wait for another process (an old server that is ending) to let go of the database, in milliseconds.
pub(crate) const LOCK_WAIT_MS: u64 = 1_000;

/// What the disk took so recently it is not asked again whether it takes it.
pub(crate) const PROBE_EVERY: Duration = Duration::from_secs(1);
/// Room that there must be before a database whose write failed is opened anew, beside that for its copy, in bytes: some segments of
/// its log.
pub(crate) const MEND_ROOM_BYTES: usize = 4 * SEGMENT_BYTES;
/// Room that is left to changes that remove something, in bytes.
pub(crate) const RESERVED_BYTES: u64 = 256 << 10;
/// First and longest pause between two tries to open a database anew.
pub(crate) const MEND_PAUSE_MIN: Duration = Duration::from_millis(500);
/// See [`MEND_PAUSE_MIN`].
pub(crate) const MEND_PAUSE_MAX: Duration = Duration::from_secs(15);
/// How long the engine may take to let go of its files.
pub(crate) const CLOSE_MAX: Duration = Duration::from_secs(20);

/// How long the engine may take to open, in seconds, for a small database.
pub(crate) const OPEN_SECONDS_MIN: u64 = 60;
/// How many bytes of its log a second more is given for: some slow disk reads that much.
pub(crate) const OPEN_BYTES_PER_SECOND: u64 = 4 << 20;

/// Names that a repository had before and is still found by; the oldest go first.
pub(crate) const FORMER_NAMES_MAX: usize = 20;
/// Longest key fingerprint or token id, in bytes: both become parts of keys.
pub(crate) const ID_BYTES_MAX: usize = 128;
/// Most registries, and most clusters.
pub(crate) const TARGETS_MAX: usize = 1_000;
/// Longest text that people give a key, a token or a target, and longest key, in bytes.
pub(crate) const TEXT_BYTES_MAX: usize = 16 << 10;
/// Largest secret, in bytes: kubeconfigs carry certificates.
pub(crate) const SECRET_BYTES_MAX: usize = 1 << 20;

/// Names (moving tags, deploy targets) of one repository of which is kept where they point.
pub(crate) const POINTERS_KEPT: usize = 5_000;
/// Statuses of one commit that other systems have set.
pub(crate) const STATUSES_PER_COMMIT_MAX: usize = 100;
/// Statuses that each repository keeps; of more those go that were set the longest ago.
pub(crate) const STATUSES_KEPT: usize = 5_000;
/// Records that one write marks under their commits, of those that have no mark yet.
pub(crate) const MARKED_PER_WRITE: usize = 1_000;
/// Most old records of a kind that one write removes on the way.
pub(crate) const PRUNED_PER_WRITE: usize = 16;
/// Most old records of a kind that one write looks at for that.
pub(crate) const PRUNE_LOOKS: usize = 64;
/// Most events, builds or deploys in one answer: a full page, and one more that tells whether there is another.
pub(crate) const LIST_MAX: usize = 1_001;
/// First letters of a name that others must share, but for their case, to be compared with it.
pub(crate) const ALIKE_LETTERS: usize = 3;
/// Most sessions that one sweep ends in one transaction.
pub(crate) const SWEEP_BATCH: usize = 1_000;

/// Longest line of a backup, in bytes: one piece, hexadecimal, and its key.
pub(crate) const BACKUP_LINE_BYTES_MAX: usize = 64 << 10;
/// Records that a copy of everything reads in one go; changes wait for no more than that.
pub(crate) const COPY_PIECE: usize = 500;
/// Most bytes of old values that are kept for a copy under way; beyond that changes wait until it is taken.
pub(crate) const COPY_HELD_BYTES_MAX: usize = 64 << 20;
/// Bytes of a copy that are written in one go.
pub(crate) const COPY_BUFFER_BYTES: usize = 256 << 10;
/// Records that a restore writes in one go.
pub(crate) const RESTORE_BATCH: usize = 2_000;
/// By how much counters are raised when a damaged database is taken over: ids and numbers of what is lost are not given again.
pub(crate) const SALVAGE_GAP: u64 = 10_000;

/// Most deliveries that one push owes to one webhook: of further refs it tells nothing.
pub(crate) const DELIVERIES_PER_PUSH_MAX: usize = 100;
