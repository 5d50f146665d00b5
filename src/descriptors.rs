//! Open files: how many the process may have, and how many of them connections may be.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// More than this many are not asked for.
const FILES_MAX: u64 = 65_536;
/// Kept for the database, repositories, logs, the admin socket and whatever a request opens: half of all, and no more.
const RESERVE_MAX: usize = 8192;
/// Connections that there are in any case.
const CONNECTIONS_MIN: usize = 16;

/// Connections that the process can really hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Connections {
    pub(crate) http: usize,
    pub(crate) ssh: usize,
}

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

impl Connections {
    /// As many as are wanted, if `files` are enough for them.
    pub(crate) fn within(files: usize, wanted: Self) -> Self {
        let room = files - (files / 2).min(RESERVE_MAX);
        let fitting = |wanted: usize, room: usize| wanted.min(room.max(CONNECTIONS_MIN));
        let fit = Self { http: fitting(wanted.http, room / 4 * 3), ssh: fitting(wanted.ssh, room / 4) };
        if fit != wanted {
            tracing::warn!(
                files,
                http = fit.http,
                ssh = fit.ssh,
                "fewer connections are served than could be: the limit of open files is low (ulimit -Hn)"
            );
        }
        fit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_half_of_the_files_for_everything_else() {
        let wanted = Connections { http: 2048, ssh: 512 };
        assert_eq!(Connections::within(65_536, wanted), wanted);
        assert_eq!(Connections::within(1024, wanted), Connections { http: 384, ssh: 128 });
        let few = Connections::within(64, wanted);
        assert_eq!(few, Connections { http: 24, ssh: 16 });
        assert!(raise() >= 256, "the machine lets programs open files");
    }
}
