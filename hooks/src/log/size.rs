//! How large a log may get.

use slipway_core::ceilings::Bytes;
use slipway_core::limits::Limits;

use super::BuildLogs;

impl BuildLogs {
    /// The same with another limit for each log, in bytes.
    #[must_use]
    pub fn with_most(self, most: u64) -> Self {
        Self { most, ..self }
    }
}

/// Where nobody says otherwise, in bytes.
pub(super) fn usual() -> u64 {
    Limits::default().build_log_size_max
}

/// Stands in a log that has got as large as it may, for what is missing there.
pub(super) fn note(most: u64, left_out: u64) -> String {
    format!(
        "[the log has reached {}: {left_out} bytes of output are left out here, its end follows]\n",
        Bytes(most)
    )
}
