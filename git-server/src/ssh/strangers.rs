//! Clients that are turned away because nothing they offer is safe any more: the log is told, for whoever runs one sees no
//! more than "no matching …". Bounded, for anybody can knock.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::info;

use crate::limits::SSH_STRANGERS_TOLD_MAX;

/// How much of what a client offers is told.
const OFFER_CHARS_MAX: usize = 200;

/// The lines of this minute.
#[derive(Default)]
pub(super) struct Strangers(Mutex<Option<(Instant, u32)>>);

impl Strangers {
    /// A connection ended with that error before anybody signed in.
    pub(super) fn turned_away(&self, error: &russh::Error) {
        let russh::Error::NoCommonAlgo { kind, theirs, .. } = error else { return };
        if !self.may_tell(Instant::now()) {
            return;
        }
        let offers: String = theirs.join(",").chars().take(OFFER_CHARS_MAX).collect();
        info!(
            kind = ?kind,
            ?offers,
            "an SSH client was turned away: it is too old, or set to, offer nothing of this kind that is spoken here. \
             Update it, or look at its settings; docs/guide.md names what is spoken"
        );
    }

    fn may_tell(&self, now: Instant) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, count) = told.get_or_insert((now, 0));
        if now.duration_since(*since) >= Duration::from_secs(60) {
            (*since, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        *count <= SSH_STRANGERS_TOLD_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_told_so_often_a_minute() {
        let (strangers, now) = (Strangers::default(), Instant::now());
        for n in 0..SSH_STRANGERS_TOLD_MAX * 2 {
            assert_eq!(strangers.may_tell(now), n < SSH_STRANGERS_TOLD_MAX);
        }
        assert!(strangers.may_tell(now + Duration::from_secs(61)));
    }
}
