//! Open files: how many the process may have, and how many of them connections may be.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use slipway_core::limits::Limits;

/// More than this many are not asked for.
const FILES_MAX: u64 = 65_536;
/// Kept for the database, repositories, logs, the admin socket and whatever a request opens: half of all, and no more.
const RESERVE_MAX: usize = 8192;
/// Connections that there are in any case.
const CONNECTIONS_MIN: usize = 16;

/// Raises the limit of open files as far as the process may, and says what it is.
pub(crate) fn raise() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let (soft, hard) = (limit.current.unwrap_or(FILES_MAX), limit.maximum.unwrap_or(FILES_MAX));
    let wanted = hard.min(FILES_MAX);
    let raised = soft < wanted
        && setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum })
            .inspect_err(|error| tracing::warn!(%error, soft, "the limit of open files cannot be raised"))
            .is_ok();
    let files = if raised { wanted } else { soft };
    usize::try_from(files.min(FILES_MAX)).unwrap_or(CONNECTIONS_MIN)
}

/// The same limits with no more connections than `files` are enough for.
pub(crate) fn within(files: usize, wanted: &Limits) -> Limits {
    let room = files - (files / 2).min(RESERVE_MAX);
    let fitting = |wanted: usize, room: usize| wanted.min(room.max(CONNECTIONS_MIN));
    let fit = Limits {
        http_connections_max: fitting(wanted.http_connections_max, room / 4 * 3),
        ssh_connections_max: fitting(wanted.ssh_connections_max, room / 4),
        ..wanted.clone()
    };
    if fit != *wanted {
        tracing::warn!(
            files,
            http = fit.http_connections_max,
            ssh = fit.ssh_connections_max,
            "fewer connections are served than could be: the limit of open files is low (ulimit -Hn)"
        );
    }
    fit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_half_of_the_files_for_everything_else() {
        let wanted = |http: usize, ssh: usize| Limits {
            http_connections_max: http,
            ssh_connections_max: ssh,
            ..Limits::default()
        };
        let usual = wanted(2048, 512);
        assert_eq!(within(65_536, &usual), usual);
        assert_eq!(within(1024, &usual), wanted(384, 128));
        assert_eq!(within(64, &usual), wanted(24, 16));
        assert_eq!(within(1024, &wanted(100, 20)), wanted(100, 20), "fewer than could be");
        assert!(raise() >= 256, "the machine lets programs open files");
    }
}
