//! `[backup]` of config.toml: where the server backs itself up to, when, and how much of that is kept.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use slipway_backup::Keep;
use slipway_core::place::Wrong;
use slipway_core::spec::parse_duration_ms;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// The shortest time between two backups.
const EVERY_MIN: Duration = Duration::from_secs(60);
/// The longest.
const EVERY_MAX: Duration = Duration::from_secs(366 * 24 * 3600);
/// Most snapshots of each kind that are kept.
const KEEP_MAX: usize = 10_000;

/// `[backup]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Backups {
    /// The folder of backups, absolute; absent is no schedule.
    pub(crate) to: Option<PathBuf>,
    /// How long after the last one, such as `24h`.
    every: Option<String>,
    /// At which time of each day, in UTC, such as `03:00`.
    at: Option<String>,
    /// Which are kept.
    keep: KeepTable,
    /// Whether the server's keys are in it.
    pub(crate) keys: bool,
    /// Read once more only what is new, instead of all of it.
    pub(crate) quick: bool,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct KeepTable {
    last: usize,
    daily: usize,
    weekly: usize,
}

impl Default for KeepTable {
    fn default() -> Self {
        Self { last: 7, daily: 14, weekly: 8 }
    }
}

impl Default for Backups {
    fn default() -> Self {
        Self { to: None, every: None, at: None, keep: KeepTable::default(), keys: true, quick: false }
    }
}

/// When backups are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Times {
    /// So long after the last one.
    Every(Duration),
    /// So long after midnight, UTC, each day.
    Daily(Duration),
}

impl Times {
    /// The next one, in milliseconds since 1970: after the last that began or succeeded, if there was one.
    pub(crate) fn next(self, last: Option<u64>, now: u64) -> u64 {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        match (self, last) {
            (Self::Every(every), Some(last)) => last.saturating_add(ms(every)),
            (Self::Every(_), None) => now,
            (Self::Daily(at), last) => {
                let after = last.unwrap_or_else(|| now.saturating_sub(1));
                let today = after - after % ms(DAY) + ms(at);
                if today > after { today } else { today + ms(DAY) }
            }
        }
    }

    /// The longest time between one and the next.
    pub(crate) fn longest(self) -> Duration {
        match self {
            Self::Every(every) => every,
            Self::Daily(_) => DAY,
        }
    }

    /// How long without one is too long.
    pub(crate) fn patience(self) -> Duration {
        match self {
            Self::Every(every) => every * 2 + Duration::from_secs(3600),
            Self::Daily(_) => DAY * 2 + Duration::from_secs(3600),
        }
    }
}

impl Backups {
    /// When; every 24 hours unless something is said.
    ///
    /// # Errors
    /// What is wrong, with the way to it from `[backup]`.
    pub(crate) fn times(&self) -> Result<Times, Wrong> {
        match (&self.every, &self.at) {
            (Some(_), Some(_)) => Err(Wrong::at("at", "every and at cannot both be given").itself()),
            (None, None) => Ok(Times::Every(DAY)),
            (Some(every), None) => {
                let time = parse_duration_ms(every).map(Duration::from_millis);
                let fits = time.filter(|time| (EVERY_MIN..=EVERY_MAX).contains(time));
                fits.map(Times::Every).ok_or_else(|| {
                    Wrong::at("every", format!("{every:?} is no time from 1m to 366d, such as \"24h\""))
                })
            }
            (None, Some(at)) => {
                let parts = at
                    .split_once(':')
                    .and_then(|(h, m)| Some((h.parse::<u64>().ok()?, m.parse::<u64>().ok()?)));
                match parts {
                    Some((hour @ 0..24, minute @ 0..60)) => {
                        Ok(Times::Daily(Duration::from_secs(hour * 3600 + minute * 60)))
                    }
                    _ => Err(Wrong::at("at", format!("{at:?} is no time of day, such as \"03:00\""))),
                }
            }
        }
    }

    /// Which are kept.
    pub(crate) fn keep(&self) -> Keep {
        let KeepTable { last, daily, weekly } = self.keep;
        Keep { last, daily, weekly }
    }

    /// Looks whether it makes sense.
    ///
    /// # Errors
    /// What is wrong, with the way to it from `[backup]`.
    pub(crate) fn check(&self) -> Result<(), Wrong> {
        self.times()?;
        if let Some(to) = self.to.as_ref().filter(|to| !to.is_absolute()) {
            return Err(Wrong::at("to", format!("{to:?} is no absolute path")));
        }
        let KeepTable { last, daily, weekly } = self.keep;
        for (key, count, least) in [("last", last, 1), ("daily", daily, 0), ("weekly", weekly, 0)] {
            if !(least..=KEEP_MAX).contains(&count) {
                let told = format!("{count} does not lie from {least} to {KEEP_MAX}");
                return Err(Wrong::at("keep", told).key(key));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;

    fn backups(text: &str) -> Backups {
        toml::from_str(text).expect("valid")
    }

    #[test]
    fn the_next_one_comes_in_time() {
        let every = backups("every = \"6h\"").times().expect("valid");
        assert_eq!(every.next(None, 5), 5);
        assert_eq!(every.next(Some(HOUR), 5), 7 * HOUR);
        let daily = backups("at = \"03:30\"").times().expect("valid");
        let (half_past_three, day) = (7 * HOUR / 2, 24 * HOUR);
        assert_eq!(daily.next(None, HOUR), half_past_three);
        assert_eq!(daily.next(None, 4 * HOUR), day + half_past_three);
        assert_eq!(daily.next(Some(half_past_three), 4 * HOUR), day + half_past_three);
        // One that was missed is made up for.
        assert_eq!(daily.next(Some(half_past_three), 9 * day), day + half_past_three);
        assert_eq!(backups("").times(), Ok(Times::Every(DAY)));
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        for (text, told) in [
            ("every = \"24h\"\nat = \"03:00\"", "cannot both"),
            ("every = \"soon\"", "\"soon\""),
            ("every = \"1s\"", "from 1m"),
            ("at = \"24:00\"", "24:00"),
            ("at = \"3\"", "no time of day"),
            ("to = \"backups\"", "no absolute path"),
            ("keep = { last = 0 }", "from 1 to"),
            ("keep = { weekly = 100000 }", "from 0 to"),
        ] {
            let wrong = backups(text).check().expect_err(text);
            assert!(wrong.what.contains(told), "{text}: {wrong:?}");
        }
        assert!(
            backups(
                "to = \"/b\"\nat = \"03:00\"\nkeep = { last = 3, daily = 0 }\nkeys = false\nquick = true"
            )
            .check()
            .is_ok()
        );
        assert!(toml::from_str::<Backups>("keep = { monthly = 3 }").is_err());
    }
}
