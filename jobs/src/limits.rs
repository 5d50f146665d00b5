//! Every bound of this crate in one place.

use std::time::Duration;

/// How many changes a slow listener may be behind before it misses some.
pub const CHANGES_MAX: usize = 1024;
/// Signals that may wait for one task.
pub const INBOX_MAX: usize = 16;
/// Progress reports that may wait to be recorded.
pub const PROGRESS_MAX: usize = 64;
/// How long a lease lives that is not renewed. It is renewed three times in that while.
pub const LEASE: Duration = Duration::from_secs(60);
/// How long work that a drain cuts off may take to stop and to be recorded.
pub const CUT_MAX: Duration = Duration::from_secs(5);
/// How long what is being done for it may take of that.
pub const CUT_EFFECT_MAX: Duration = Duration::from_secs(3);
/// How long what is being done may take to end once it is told to stop, where the kind does not say otherwise.
pub const STOP_GRACE: Duration = Duration::from_secs(15);
/// First pause after a record could not be written.
pub const RECORD_PAUSE_MIN: Duration = Duration::from_millis(100);
/// Longest pause after a record could not be written.
pub const RECORD_PAUSE_MAX: Duration = Duration::from_secs(10);
