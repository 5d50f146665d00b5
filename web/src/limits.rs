//! Every bound of this crate in one place.

use std::time::Duration;

/// Look-ups of who calls at once.
pub(crate) const SIGN_INS_MAX: usize = 8;
/// How long the next piece of an answer that is under way waits for its place.
pub(crate) const PIECE_WAIT: Duration = Duration::from_secs(60);
/// Seconds after which a "busy" answer asks to come again.
pub(crate) const RETRY_AFTER_S: u32 = 2;
/// Largest README that is rendered, in bytes.
pub(crate) const README_BYTES_MAX: u64 = 512 * 1024;
/// Most lines of a file that are shown as a page.
pub(crate) const SHOWN_LINES_MAX: usize = 20_000;
/// Bytes of a file that are read at once for the raw page.
pub(crate) const RAW_PIECE_BYTES: usize = 64 * 1024;
/// Rows of a folder on one page.
pub(crate) const FOLDER_ROWS_MAX: usize = 1000;
/// Commits, builds or deploys on one page.
pub(crate) const HISTORY_ROWS: usize = 50;
/// Furthest that a history page can be asked for, in commits.
pub(crate) const HISTORY_SKIP_MAX: usize = 1_000_000;
/// Refs on the page of refs.
pub(crate) const REF_ROWS_MAX: usize = 500;
/// Refs in the menu of a page.
pub(crate) const REF_MENU_MAX: usize = 60;
/// Time that finding the last change of a folder's entries may take.
pub(crate) const LAST_CHANGE_TIME: Duration = Duration::from_millis(250);
/// Commits that one page may walk.
pub(crate) const HISTORY_COMMITS_MAX: usize = 200_000;
/// Largest file that is compared, in bytes.
pub(crate) const DIFF_BLOB_BYTES_MAX: u64 = 1024 * 1024;
/// Longest revision in an address, in bytes.
pub(crate) const REV_BYTES_MAX: usize = 1100;
/// Longest text that can be searched for, in bytes.
pub(crate) const SEARCH_BYTES_MAX: usize = 200;
/// Lines that a search shows.
pub(crate) const SEARCH_HITS_MAX: usize = 200;
/// Largest file that is searched, in bytes.
pub(crate) const SEARCH_BLOB_BYTES_MAX: u64 = 512 * 1024;
/// Bytes of a build log on its page: the end of it.
pub(crate) const LOG_PAGE_BYTES: u64 = 256 * 1024;
/// Longest line of a log that is waited for whole, in bytes.
pub(crate) const LOG_LINE_BYTES_MAX: usize = 8 * 1024;
/// Pause between two signs of life on a live page.
pub(crate) const LIVE_PING: Duration = Duration::from_secs(10);
/// Events that wait for a slow reader of a live page.
pub(crate) const LIVE_QUEUE_MAX: usize = 32;
/// How long an archive waits for its reader before others may have its place.
pub(crate) const ARCHIVE_PATIENCE: Duration = Duration::from_secs(120);
/// Rows of a table on the administration page and of grants on the settings page.
pub(crate) const ADMIN_ROWS_MAX: usize = 500;
/// Objects of a deploy that are listed.
pub(crate) const OBJECT_ROWS_MAX: usize = 1000;
/// Repositories on the home page.
pub(crate) const HOME_ROWS_MAX: usize = 500;
/// Deliveries that a repository's settings show.
pub(crate) const DELIVERIES_SHOWN: usize = 10;
