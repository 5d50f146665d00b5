//! Which logs of builds are kept no longer: by age, by number in a repository, by size over all. Pure.

use std::collections::HashMap;
use std::time::Duration;

use crate::id::{BuildNumber, RepoId, UnixMillis};
use crate::limits::Limits;

/// Logs of each repository that are kept whatever else holds.
pub const NEWEST_KEPT: usize = 20;

/// One log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptLog {
    /// Whose.
    pub repo: RepoId,
    /// Of which build.
    pub number: BuildNumber,
    /// Its size.
    pub bytes: u64,
    /// When it was written last.
    pub ended: UnixMillis,
    /// Whether something names the build's image, so that it stays.
    pub named: bool,
}

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// For how long.
    pub age: Duration,
    /// How many of one repository.
    pub per_repo: usize,
    /// How many bytes in all.
    pub bytes: u64,
}

/// Why a log goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It is too old.
    Age,
    /// Its repository has too many.
    Count,
    /// All together are too large.
    Size,
}

impl From<&Limits> for Rules {
    fn from(limits: &Limits) -> Self {
        Self {
            age: limits.build_logs_kept,
            per_repo: limits.build_logs_per_repository_max,
            bytes: limits.build_logs_size_max,
        }
    }
}

impl Why {
    /// As a clause that follows "was removed".
    pub fn because(self) -> &'static str {
        match self {
            Self::Age => "after the time that build_logs_kept says",
            Self::Count => "after newer ones, as build_logs_per_repository_max says",
            Self::Size => "after newer ones had filled what build_logs_size_max allows",
        }
    }
}

/// The logs that go, oldest first.
pub fn outlived(mut logs: Vec<KeptLog>, rules: Rules, now: UnixMillis) -> Vec<(KeptLog, Why)> {
    // Newest first: what a repository keeps is counted from there.
    logs.sort_by_key(|log| std::cmp::Reverse((log.ended, log.repo, log.number)));
    let age_ms = u64::try_from(rules.age.as_millis()).unwrap_or(u64::MAX);
    let (mut seen, mut all) = (HashMap::<RepoId, usize>::new(), 0u64);
    let mut going = Vec::new();
    for log in logs {
        let before = seen.entry(log.repo).or_default();
        let rank = *before;
        *before += 1;
        let size = all.saturating_add(log.bytes);
        let why = match () {
            () if log.named || rank < NEWEST_KEPT => None,
            () if now.since(log.ended) > age_ms => Some(Why::Age),
            () if rank >= rules.per_repo => Some(Why::Count),
            () if size > rules.bytes => Some(Why::Size),
            () => None,
        };
        match why {
            Some(why) => going.push((log, why)),
            None => all = size,
        }
    }
    going.reverse();
    going
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOSE: Rules = Rules { age: Duration::from_secs(1_000), per_repo: 1_000, bytes: 1 << 40 };

    /// A log of ten bytes for each number, written at that second.
    fn logs(repo: u64, count: u64) -> Vec<KeptLog> {
        let log = |n| KeptLog {
            repo: RepoId(repo),
            number: BuildNumber(n),
            bytes: 10,
            ended: UnixMillis(n * 1_000),
            named: false,
        };
        (1..=count).map(log).collect()
    }

    fn going(logs: Vec<KeptLog>, rules: Rules, now_s: u64) -> Vec<(u64, Why)> {
        outlived(logs, rules, UnixMillis(now_s * 1_000)).iter().map(|(l, why)| (l.number.0, *why)).collect()
    }

    #[test]
    fn the_oldest_go_by_age_number_and_size_and_the_newest_stay() {
        assert_eq!(going(logs(1, 30), LOOSE, 30), []);
        assert_eq!(going(logs(1, 23), LOOSE, 1_002), [(1, Why::Age)]);
        assert_eq!(going(logs(1, 23), LOOSE, 90_000).len(), 3, "the newest 20 stay");
        let few = Rules { per_repo: 21, ..LOOSE };
        assert_eq!(going(logs(1, 23), few, 30), [(1, Why::Count), (2, Why::Count)]);
        let small = Rules { bytes: 215, ..LOOSE };
        assert_eq!(going(logs(1, 23), small, 30), [(1, Why::Size), (2, Why::Size)]);
        assert_eq!(going(logs(1, 20), Rules { bytes: 0, per_repo: 0, ..LOOSE }, 30), []);
    }

    #[test]
    fn what_is_named_stays_and_repositories_are_counted_apart_but_for_the_size() {
        let mut all = logs(1, 23);
        all[0].named = true;
        assert_eq!(going(all, Rules { per_repo: 21, ..LOOSE }, 30), [(2, Why::Count)]);
        let both: Vec<_> = logs(1, 22).into_iter().chain(logs(2, 22)).collect();
        assert_eq!(going(both.clone(), Rules { per_repo: 22, ..LOOSE }, 30), []);
        assert_eq!(outlived(both, Rules { bytes: 430, ..LOOSE }, UnixMillis(30_000)).len(), 1);
    }
}
