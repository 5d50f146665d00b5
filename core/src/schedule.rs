//! What starts a repository's builds by itself: times, nights, and base images that move. As it is recorded, and the rule of
//! what is due. Pure.
//!
//! The default branch's slipway.toml says it ([`said`]). What is due is recorded as begun together with the builds themselves, so
//! that nothing starts twice; what came while the server was down starts once.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::git::{Oid, RefName};
use crate::id::{BuildNumber, RepoId, UnixMillis};
use crate::spec::{Pattern, Rebuild, Spec, Times, Zone, matches_branch};

/// What the timer of `[build] rebuild = "nightly"` is called.
pub const NIGHTLY: &str = "nightly";
/// When nights begin, in UTC, and over how long builds are spread in them.
const NIGHT: &str = "0 1 * * *";
const NIGHT_MS: u64 = 4 * 3_600_000;

/// What is recorded of a repository whose builds start by themselves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedules {
    /// Which repository.
    pub repo: RepoId,
    /// The commit of the default branch whose slipway.toml says it.
    pub commit: Oid,
    /// When builds start.
    #[serde(default)]
    pub timers: Vec<Timer>,
    /// What base images that move do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bases: Option<Bases>,
    /// Why a later slipway.toml is not what holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unread: Option<String>,
}

/// What starts builds at times.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timer {
    /// What it is called.
    pub name: String,
    /// When, as cron has it.
    pub cron: String,
    /// In which time zone.
    pub tz: String,
    /// Patterns of the branches that are built; none is the default branch.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub branches: Vec<String>,
    /// Whether it is for base images alone: nothing is built where they are what they were.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub nightly: bool,
    /// When it is due.
    pub next: UnixMillis,
    /// When it last was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Begun>,
}

/// What came of a time that was due.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    /// When.
    pub at: UnixMillis,
    /// The builds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub builds: Vec<BuildNumber>,
    /// Why there are no more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub told: Vec<String>,
}

/// Base images whose moves start builds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bases {
    /// Those of the last build of the default branch, with their digests.
    #[serde(default)]
    pub known: BTreeMap<String, String>,
    /// For which digests builds were started already; what fails is not started again for the same.
    #[serde(default)]
    pub tried: BTreeMap<String, String>,
    /// The build that is owed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owed: Option<BaseMoved>,
    /// The last one that was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Begun>,
}

/// A base image that has moved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseMoved {
    /// Which, with its tag.
    pub image: String,
    /// To what.
    pub digest: String,
    /// Whose build has moved it.
    pub repo: RepoId,
    /// Which build.
    pub build: BuildNumber,
    /// How many builds lie behind the one that is owed, itself counted.
    pub depth: u32,
    /// When it starts: more may move at the same time.
    pub due: UnixMillis,
}

/// How times are kept.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Over how long what is due at the same time is spread.
    pub spread_ms: u64,
    /// The shortest time between two starts of the same.
    pub least_ms: u64,
}

impl Schedules {
    /// True if nothing starts by itself.
    pub fn is_idle(&self) -> bool {
        self.timers.is_empty() && self.bases.is_none()
    }

    /// The same, with no time put off for years by a clock that was wrong once.
    pub fn reckoned(mut self, pace: Pace, now: UnixMillis) -> Self {
        for timer in &mut self.timers {
            timer.next = timer.next.min(timer.after(self.repo, pace, now));
        }
        self
    }

    /// When something is due next.
    pub fn next(&self) -> Option<UnixMillis> {
        let owed = self.bases.iter().filter_map(|bases| bases.owed.as_ref()).map(|owed| owed.due);
        self.timers.iter().map(|timer| timer.next).chain(owed).min()
    }
}

/// What the default branch's slipway.toml, of that commit, asks for. What is as it was `before` keeps its times.
pub fn said(
    repo: RepoId,
    commit: Oid,
    spec: &Spec,
    before: Option<&Schedules>,
    (pace, now): (Pace, UnixMillis),
) -> Schedules {
    let of_cron = spec.on.cron.iter().map(|one| Timer {
        name: one.name().to_owned(),
        cron: one.cron.as_str().to_owned(),
        tz: spec.on.zone_of(one).as_str().to_owned(),
        branches: one.branches.iter().map(Pattern::text).collect(),
        nightly: false,
        next: UnixMillis(0),
        last: None,
    });
    let nightly = spec.build.rebuild.contains(&Rebuild::Nightly).then(|| Timer {
        name: NIGHTLY.into(),
        cron: NIGHT.into(),
        tz: Zone::default().as_str().to_owned(),
        branches: Vec::new(),
        nightly: true,
        next: UnixMillis(0),
        last: None,
    });
    let with_times = |mut timer: Timer| {
        let known = before.and_then(|b| b.timers.iter().find(|old| old.is_same(&timer)));
        timer.last = known.and_then(|old| old.last.clone());
        timer.next = known.map_or_else(|| timer.after(repo, pace, now), |old| old.next);
        timer
    };
    let timers = of_cron.chain(nightly).map(with_times).collect();
    let wants_bases = spec.build.rebuild.contains(&Rebuild::Base);
    let bases = wants_bases.then(|| before.and_then(|b| b.bases.clone()).unwrap_or_default());
    Schedules { repo, commit, timers, bases, unread: None }.reckoned(pace, now)
}

impl Timer {
    fn is_same(&self, other: &Self) -> bool {
        let of = |t: &Self| (t.name.clone(), t.cron.clone(), t.tz.clone(), t.nightly);
        of(self) == of(other)
    }

    /// When it is due after `now`; far ahead where it never is.
    pub fn after(&self, repo: RepoId, pace: Pace, now: UnixMillis) -> UnixMillis {
        let spread = if self.nightly { NIGHT_MS } else { pace.spread_ms };
        let late = spread_of(repo, &self.name, spread);
        let earliest = self.last.as_ref().map_or(now, |last| now.max(last.at.plus_ms(pace.least_ms)));
        let found = Times::parse(&self.cron).ok().zip(Zone::parse(&self.tz).ok());
        // What is spread is of the time before: it may be still to come.
        let from = UnixMillis(earliest.0.saturating_sub(late));
        let next = found.and_then(|(times, zone)| times.after(from, &zone));
        next.map_or(UnixMillis(u64::MAX), |next| next.plus_ms(late))
    }

    /// Whether it builds that branch.
    pub fn builds(&self, branch: &RefName, default_branch: &RefName) -> bool {
        if self.branches.is_empty() {
            return branch == default_branch;
        }
        branch.as_branch().is_some_and(|name| matches_branch(&self.branches, name))
    }
}

/// How much later than others a repository's comes: the same each time, and unlike others'.
fn spread_of(repo: RepoId, name: &str, spread_ms: u64) -> u64 {
    let sum = Sha256::new().chain_update(repo.0.to_be_bytes()).chain_update(name).finalize();
    let number = sum.first_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes));
    number.checked_rem(spread_ms).unwrap_or(0)
}

/// The name of a base image with its tag, as its pushes are recorded: `HOST/PATH:TAG`. `None` for one that no tag moves.
pub fn with_tag(image: &str) -> Option<String> {
    if image.contains('@') {
        return None;
    }
    let path = image.rsplit('/').next().unwrap_or(image);
    Some(if path.contains(':') { image.to_owned() } else { format!("{image}:latest") })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace { spread_ms: 60_000, least_ms: 300_000 };
    const DAY: u64 = 86_400_000;

    fn of(text: &str, before: Option<&Schedules>, now: u64) -> Schedules {
        let spec = Spec::parse(text.as_bytes()).expect("valid");
        said(RepoId(7), Oid::Sha1([1; 20]), &spec, before, (PACE, UnixMillis(now)))
    }

    #[test]
    fn a_time_comes_a_little_later_and_the_same_each_day() {
        let first = of("[on]\ncron = \"0 3 * * *\"", None, 10 * DAY);
        let due = first.next().expect("due");
        let late = due.0 - 10 * DAY - 3 * 3_600_000;
        assert!(late < PACE.spread_ms, "{late}");
        let timer = &first.timers[0];
        assert_eq!(timer.after(RepoId(7), PACE, due), UnixMillis(due.0 + DAY));
        // Between the hour and its own moment it is still to come.
        assert_eq!(timer.after(RepoId(7), PACE, UnixMillis(due.0 - 1)), due);
        let others: std::collections::BTreeSet<u64> =
            (0..1000).map(|n| timer.after(RepoId(n), PACE, UnixMillis(10 * DAY)).0).collect();
        assert!(others.len() > 900, "a thousand do not start at once: {}", others.len());
    }

    #[test]
    fn nights_are_spread_over_hours() {
        let nights: Vec<u64> = (0..1000)
            .map(|n| {
                let spec = Spec::parse(b"[build]\nrebuild = \"nightly\"").expect("valid");
                let all = said(RepoId(n), Oid::Sha1([1; 20]), &spec, None, (PACE, UnixMillis(10 * DAY)));
                all.next().expect("due").0 - 10 * DAY
            })
            .collect();
        let hour = 3_600_000;
        assert!(nights.iter().all(|ms| (hour..5 * hour).contains(ms)));
        for quarter in 0..16_u64 {
            let from = hour + quarter * hour / 4;
            let many = nights.iter().filter(|ms| (from..from + hour / 4).contains(*ms)).count();
            assert!((20..130).contains(&many), "quarter {quarter}: {many} of a thousand");
        }
    }

    #[test]
    fn what_is_as_it_was_keeps_its_times_and_what_is_not_begins_anew() {
        let mut first = of("[on]\ncron = \"0 3 * * *\"", None, 10 * DAY);
        first.timers[0].last = Some(Begun { at: UnixMillis(5), ..Begun::default() });
        // It was due while nobody looked.
        let later = of("[on]\ncron = \"0 3 * * *\"", Some(&first), 20 * DAY);
        assert_eq!(later.timers, first.timers);
        let other = of("[on]\ncron = { cron = \"0 4 * * *\", name = \"0 3 * * *\" }", Some(&first), 20 * DAY);
        assert!(other.timers[0].last.is_none() && other.timers[0].next.0 > 20 * DAY);
        assert!(of("", Some(&first), 20 * DAY).is_idle());
        // A clock that was ahead by years.
        first.timers[0].next = UnixMillis(1_000 * DAY);
        assert!(of("[on]\ncron = \"0 3 * * *\"", Some(&first), 20 * DAY).timers[0].next.0 < 22 * DAY);
    }

    #[test]
    fn the_same_does_not_start_more_often_than_the_server_lets_it() {
        let mut all = of("[on]\ncron = \"* * * * *\"", None, 10 * DAY);
        let timer = &mut all.timers[0];
        timer.last = Some(Begun { at: UnixMillis(10 * DAY), ..Begun::default() });
        let next = timer.after(RepoId(7), PACE, UnixMillis(10 * DAY));
        assert!(
            next.0 >= 10 * DAY + PACE.least_ms && next.0 < 10 * DAY + PACE.least_ms + 120_000,
            "{next:?}"
        );
    }

    #[test]
    fn branches_are_the_default_one_or_those_that_are_named() {
        let branch = |name: &str| RefName::branch(name).expect("valid");
        let main = branch("main");
        let all = of(
            "[on]\ncron = [\"@daily\", { cron = \"@weekly\", branches = [\"release/*\", \"!release/1\"] }]",
            None,
            0,
        );
        assert!(all.timers[0].builds(&main, &main) && !all.timers[0].builds(&branch("x"), &main));
        assert!(all.timers[1].builds(&branch("release/2"), &main));
        assert!(!all.timers[1].builds(&branch("release/1"), &main) && !all.timers[1].builds(&main, &main));
    }

    #[test]
    fn a_base_is_known_by_its_tag() {
        for (image, want) in [
            ("127.0.0.1:5000/a", Some("127.0.0.1:5000/a:latest")),
            ("127.0.0.1:5000/a:v1", Some("127.0.0.1:5000/a:v1")),
            ("a@sha256:00", None),
        ] {
            assert_eq!(with_tag(image).as_deref(), want);
        }
    }

    #[test]
    fn a_record_is_written_and_read() {
        let mut all = of("[on]\ncron = \"@daily\"\n[build]\nrebuild = [\"base\", \"nightly\"]", None, DAY);
        all.bases = Some(Bases { known: BTreeMap::from([("a".into(), "b".into())]), ..Bases::default() });
        let text = serde_json::to_string(&all).expect("written");
        assert_eq!(serde_json::from_str::<Schedules>(&text).expect("read"), all);
    }
}
