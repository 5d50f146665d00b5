//! Which snapshots are kept. Pure: told their times.

use std::collections::HashSet;

const DAY_MS: u64 = 24 * 3600 * 1000;

/// How many snapshots are kept: the newest ones, and of each day and each week the last. One may count for all three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// The newest.
    pub last: usize,
    /// Of so many days (UTC) that have one.
    pub daily: usize,
    /// Of so many weeks (from Monday, UTC) that have one.
    pub weekly: usize,
}

impl Keep {
    /// The numbers of those that are kept, of snapshots by number, time in milliseconds, and whether they are whole. Those that are
    /// not whole take no whole one's place; of those that are newer than every whole one, as many are kept.
    pub fn kept(&self, snapshots: &[(u64, u64, bool)]) -> HashSet<u64> {
        let mut newest_first = snapshots.to_vec();
        newest_first.sort_unstable_by_key(|a| std::cmp::Reverse((a.1, a.0)));
        let of = |is_whole: bool, since: u64| -> Vec<(u64, u64)> {
            let these = newest_first.iter().filter(|s| s.2 == is_whole && s.1 >= since);
            these.map(|(number, at, _)| (*number, *at)).collect()
        };
        let whole = of(true, 0);
        let mut kept = self.kept_of(&whole);
        kept.extend(self.kept_of(&of(false, whole.first().map_or(0, |(_, at)| *at))));
        kept
    }

    /// Of those, by number and time, the newest first.
    fn kept_of(&self, snapshots: &[(u64, u64)]) -> HashSet<u64> {
        let mut kept: HashSet<u64> =
            snapshots.iter().take(self.last.max(1)).map(|(number, _)| *number).collect();
        // 1 January 1970 was a Thursday.
        for (period, offset, count) in [(DAY_MS, 0, self.daily), (7 * DAY_MS, 3 * DAY_MS, self.weekly)] {
            let mut seen = HashSet::new();
            for (number, at) in snapshots {
                let is_last_of_its = seen.insert((at + offset) / period);
                if seen.len() > count {
                    break;
                }
                if is_last_of_its {
                    kept.insert(*number);
                }
            }
        }
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(keep: Keep, snapshots: &[(u64, u64, bool)]) -> Vec<u64> {
        let mut kept: Vec<u64> = keep.kept(snapshots).into_iter().collect();
        kept.sort_unstable();
        kept
    }

    #[test]
    fn the_last_of_each_day_and_week_stay() {
        const HOUR: u64 = 3_600_000;
        // Every six hours for forty days from Monday 5 January 1970.
        let all: Vec<_> = (0..160).map(|n| (n, 4 * DAY_MS + n * 6 * HOUR, true)).collect();
        assert_eq!(kept(Keep { last: 3, daily: 0, weekly: 0 }, &all), [157, 158, 159]);
        assert_eq!(kept(Keep { last: 1, daily: 3, weekly: 0 }, &all), [151, 155, 159]);
        assert_eq!(kept(Keep { last: 2, daily: 2, weekly: 3 }, &all), [111, 139, 155, 158, 159]);
        assert_eq!(kept(Keep { last: 1000, daily: 1000, weekly: 1000 }, &all).len(), 160);
        assert_eq!(kept(Keep { last: 0, daily: 0, weekly: 0 }, &all), [159], "never none");
    }

    #[test]
    fn what_is_not_whole_takes_no_whole_ones_place() {
        let all =
            [(1, 10, true), (2, 20, true), (3, 30, false), (4, 40, true), (5, 50, false), (6, 60, false)];
        assert_eq!(kept(Keep { last: 2, daily: 0, weekly: 0 }, &all), [2, 4, 5, 6]);
        assert_eq!(kept(Keep { last: 2, daily: 9, weekly: 9 }, &[(1, 1, false)]), [1]);
        // Where none is whole for long, they do not gather without end.
        let broken: Vec<_> = (1..100).map(|n| (n, n, n == 1)).collect();
        assert_eq!(kept(Keep { last: 2, daily: 0, weekly: 0 }, &broken), [1, 98, 99]);
        assert_eq!(kept(Keep { last: 1, daily: 0, weekly: 0 }, &[]), [0u64; 0]);
    }
}
