//! Whose turn it is, and when. Pure: told the time.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use slipway_core::RepoId;

/// Repositories that wait at once; the next sweep finds those beyond.
const WAITING_MAX: usize = 65_536;
/// However often it is pushed to, a repository waits no longer.
const DELAY_MAX: Duration = Duration::from_secs(30);
/// The pause after the first failure; doubled with each.
const RETRY_AFTER: Duration = Duration::from_secs(60);
/// Failures in a row after which it is left to the next push or sweep.
const TRIES_MAX: u32 = 5;

/// Why a repository is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// Somebody pushed to it.
    Pushed,
    /// All are looked at.
    Swept,
}

/// A repository to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) repo: RepoId,
    pub(super) why: Why,
    /// Failures before.
    tries: u32,
}

/// What is next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// This one.
    Due(Look),
    /// Nothing for so long.
    In(Duration),
    /// Nobody waits.
    Nothing,
}

struct Turn {
    /// When it got in line.
    since: Instant,
    due: Instant,
    look: Look,
}

/// Who waits; each repository once.
pub(super) struct Queue {
    delay: Duration,
    waiting: HashMap<RepoId, Turn>,
}

impl Queue {
    /// `delay`: how long after the last push.
    pub(super) fn new(delay: Duration) -> Self {
        Self { delay, waiting: HashMap::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// It was pushed to: it waits a while for more, but not for ever.
    pub(super) fn pushed(&mut self, repo: RepoId, now: Instant) {
        let due = now + self.delay;
        let latest = self.delay.max(DELAY_MAX);
        self.put(Look { repo, why: Why::Pushed, tries: 0 }, now, due);
        if let Some(turn) = self.waiting.get_mut(&repo) {
            turn.due = due.min(turn.since + latest);
        }
    }

    /// It may need work.
    pub(super) fn swept(&mut self, repo: RepoId, now: Instant) {
        let look = Look { repo, why: Why::Swept, tries: 0 };
        self.put(look, now, now);
        if let Some(turn) = self.waiting.get_mut(&repo) {
            turn.look.why = Why::Swept;
        }
    }

    /// It failed: once more, later.
    pub(super) fn failed(&mut self, look: Look, now: Instant) {
        if look.tries + 1 < TRIES_MAX {
            let due = now + RETRY_AFTER * 2u32.saturating_pow(look.tries);
            self.put(Look { tries: look.tries + 1, ..look }, now, due);
        }
    }

    /// Puts it in line, unless it stands there.
    fn put(&mut self, look: Look, now: Instant, due: Instant) {
        if self.waiting.len() < WAITING_MAX {
            self.waiting.entry(look.repo).or_insert(Turn { since: now, due, look });
        }
    }

    /// Takes the one that is due, the longest due first.
    pub(super) fn next(&mut self, now: Instant) -> Next {
        let Some((repo, due)) = self.waiting.iter().map(|(repo, turn)| (*repo, turn.due)).min_by_key(|t| t.1)
        else {
            return Next::Nothing;
        };
        match due.checked_duration_since(now) {
            Some(wait) if !wait.is_zero() => Next::In(wait),
            _ => self.waiting.remove(&repo).map_or(Next::Nothing, |turn| Next::Due(turn.look)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const A: RepoId = RepoId(1);
    const B: RepoId = RepoId(2);

    fn due(next: Next) -> RepoId {
        let Next::Due(look) = next else { panic!("{next:?}") };
        look.repo
    }

    #[test]
    fn a_push_waits_for_more_but_not_for_ever() {
        let (mut queue, begun) = (Queue::new(2 * SECOND), Instant::now());
        for second in 0..40 {
            let now = begun + second * SECOND;
            if second == 30 {
                assert_eq!(due(queue.next(now)), A);
                return;
            }
            queue.pushed(A, now);
            assert_eq!(queue.len(), 1);
            assert!(matches!(queue.next(now), Next::In(_)), "{second}");
        }
    }

    #[test]
    fn who_is_due_longest_comes_first_and_each_once() {
        let (mut queue, now) = (Queue::new(2 * SECOND), Instant::now());
        assert_eq!(queue.next(now), Next::Nothing);
        queue.pushed(B, now);
        queue.swept(A, now);
        queue.swept(A, now);
        assert_eq!(due(queue.next(now)), A);
        assert_eq!(queue.next(now), Next::In(2 * SECOND));
        assert_eq!(due(queue.next(now + 3 * SECOND)), B);
        assert_eq!(queue.next(now), Next::Nothing);
    }

    #[test]
    fn failures_are_tried_again_ever_later_and_then_left() {
        let (mut queue, mut now) = (Queue::new(SECOND), Instant::now());
        queue.swept(A, now);
        let mut pauses = Vec::new();
        while let Next::Due(look) = queue.next(now) {
            queue.failed(look, now);
            if let Next::In(pause) = queue.next(now) {
                pauses.push(pause.as_secs());
                now += pause;
            }
        }
        assert_eq!(pauses, [60, 120, 240, 480]);
    }
}
