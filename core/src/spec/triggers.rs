//! `[on]` and `[build] rebuild`: what starts builds besides pushes. That of the default branch's tip holds.

use std::fmt;

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::Timestamp;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use serde::{Deserialize, Deserializer, de};

use super::Pattern;
use crate::id::UnixMillis;
use crate::limits::{NAME_BYTES_MAX, SCHEDULES_MAX};
use crate::place::Wrong;

/// Longest time of a schedule, in bytes.
const CRON_BYTES_MAX: usize = 200;

/// `[on]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TriggerSpec {
    /// When builds start by themselves.
    #[serde(deserialize_with = "one_or_many")]
    pub cron: Vec<CronSpec>,
    /// The time zone of those that name none; absent is UTC.
    pub tz: Option<Zone>,
}

/// One of `[on] cron`: a text, or a table of it and what goes with it.
#[derive(Clone, Debug)]
pub struct CronSpec {
    /// When.
    pub cron: Times,
    /// What it is called; absent is its text.
    pub name: Option<String>,
    /// The time zone; absent is that of `[on]`.
    pub tz: Option<Zone>,
    /// The branches whose tips are built; none is the default branch.
    pub branches: Vec<Pattern>,
}

/// Times as cron has them: minute, hour, day of the month, month, day of the week; or `@daily` and its like.
#[derive(Clone)]
pub struct Times {
    text: String,
    cron: Cron,
}

/// A time zone of the IANA's database.
#[derive(Clone, Debug)]
pub struct Zone {
    name: String,
    zone: TimeZone,
}

/// What a default branch is built anew for although nothing was pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rebuild {
    /// A base image that was pushed by a build here has moved.
    Base,
    /// A night has come, and a base image has moved wherever it comes from.
    Nightly,
}

impl CronSpec {
    /// What it is called.
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.cron.text)
    }
}

impl TriggerSpec {
    /// What serde cannot say.
    pub(super) fn check(&self) -> Result<(), Wrong> {
        if self.cron.len() > SCHEDULES_MAX {
            return Err(Wrong::at("on.cron", format!("[on] cron has more than {SCHEDULES_MAX} schedules")));
        }
        for (one, at) in self.cron.iter().zip(0..) {
            let fine = |c: char| !c.is_control();
            if one.name().is_empty() || one.name().len() > NAME_BYTES_MAX || !one.name().chars().all(fine) {
                let told = format!("a schedule's name has 1 to {NAME_BYTES_MAX} bytes");
                return Err(Wrong::at("on.cron", told).item(at));
            }
            if self.cron.iter().take(at).any(|other| other.name() == one.name()) {
                let cure = "give each a name, { cron = \"…\", name = \"…\" }";
                let told = format!("two schedules are called {:?}: {cure}", one.name());
                return Err(Wrong::at("on.cron", told).item(at));
            }
        }
        Ok(())
    }

    /// The time zone of one of the schedules.
    pub fn zone_of(&self, one: &CronSpec) -> Zone {
        one.tz.clone().or_else(|| self.tz.clone()).unwrap_or_default()
    }
}

impl Times {
    /// Reads them.
    ///
    /// # Errors
    /// A sentence without a full stop on what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let shown: String = text.chars().take(40).collect();
        let wrong = |why: &str| {
            format!(
                "{shown:?} is no time of a schedule: {why}; it looks like \"0 3 * * 1-5\" (minute, hour, day, month, weekday)"
            )
        };
        if text.len() > CRON_BYTES_MAX {
            return Err(wrong("it is too long"));
        }
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let cron = parser.parse(text).map_err(|e| wrong(&e.to_string().to_lowercase()))?;
        let times = Self { text: text.trim().to_owned(), cron };
        // The 30th of February.
        match times.after(UnixMillis(0), &Zone::default()) {
            Some(_) => Ok(times),
            None => Err(wrong("there is no such day")),
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The first moment after that one; `None` where none comes.
    pub fn after(&self, moment: UnixMillis, zone: &Zone) -> Option<UnixMillis> {
        let from = Timestamp::from_millisecond(i64::try_from(moment.0).ok()?).ok()?;
        let next = self.cron.find_next_occurrence(&from.to_zoned(zone.zone.clone()), false).ok()?;
        u64::try_from(next.timestamp().as_millisecond()).ok().map(UnixMillis)
    }
}

impl fmt::Debug for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Times({:?})", self.text)
    }
}

impl Zone {
    /// The zone of that name, whatever the machine knows.
    ///
    /// # Errors
    /// A sentence without a full stop.
    pub fn parse(name: &str) -> Result<Self, String> {
        let zone = TimeZoneDatabase::bundled().get(name).map_err(|_| {
            let shown: String = name.chars().take(40).collect();
            format!("{shown:?} is no time zone, such as \"UTC\" or \"Europe/Berlin\"")
        })?;
        Ok(Self { name: name.to_owned(), zone })
    }

    /// Its name.
    pub fn as_str(&self) -> &str {
        &self.name
    }
}

impl Default for Zone {
    fn default() -> Self {
        Self { name: "UTC".to_owned(), zone: TimeZone::UTC }
    }
}

impl<'de> Deserialize<'de> for Zone {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(from)?).map_err(de::Error::custom)
    }
}

/// The table form of a schedule.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    cron: String,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    tz: Option<Zone>,
    #[serde(default)]
    branches: Vec<Pattern>,
}

impl<'de> Deserialize<'de> for CronSpec {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> de::Visitor<'de> for Either {
            type Value = Table;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a time such as \"0 3 * * *\", or a table with one as cron")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Table, E> {
                Ok(Table { cron: text.to_owned(), name: None, tz: None, branches: Vec::new() })
            }
            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Table, A::Error> {
                Table::deserialize(de::value::MapAccessDeserializer::new(map))
            }
        }
        let Table { cron, name, tz, branches } = from.deserialize_any(Either)?;
        Ok(Self { cron: Times::parse(&cron).map_err(de::Error::custom)?, name, tz, branches })
    }
}

/// One, or a list of them.
pub(super) fn one_or_many<'de, T, D>(from: D) -> Result<Vec<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    struct Either<T>(std::marker::PhantomData<T>);
    impl<'de, T: Deserialize<'de>> de::Visitor<'de> for Either<T> {
        type Value = Vec<T>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("one, or a list of them")
        }
        fn visit_str<E: de::Error>(self, text: &str) -> Result<Vec<T>, E> {
            Ok(vec![T::deserialize(de::value::StrDeserializer::new(text))?])
        }
        fn visit_seq<A: de::SeqAccess<'de>>(self, seq: A) -> Result<Vec<T>, A::Error> {
            Vec::deserialize(de::value::SeqAccessDeserializer::new(seq))
        }
        fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Vec<T>, A::Error> {
            Ok(vec![T::deserialize(de::value::MapAccessDeserializer::new(map))?])
        }
    }
    from.deserialize_any(Either(std::marker::PhantomData))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Spec;

    fn at(text: &str) -> UnixMillis {
        let moment: Timestamp = text.parse().expect("a moment");
        UnixMillis(u64::try_from(moment.as_millisecond()).expect("after 1970"))
    }

    fn next(cron: &str, zone: &str, after: &str) -> String {
        let next = Times::parse(cron).expect("times").after(at(after), &Zone::parse(zone).expect("zone"));
        let ms = i64::try_from(next.expect("one comes").0).expect("in range");
        Timestamp::from_millisecond(ms).expect("in range").to_string()
    }

    #[test]
    fn the_next_time_is_found_in_its_zone_and_over_the_change_of_clocks() {
        for (cron, zone, after, want) in [
            ("0 3 * * *", "UTC", "2026-11-30T03:00:00Z", "2026-12-01T03:00:00Z"),
            ("0 3 * * *", "UTC", "2026-11-30T02:59:59Z", "2026-11-30T03:00:00Z"),
            ("0 3 * * *", "Europe/Berlin", "2026-11-30T00:00:00Z", "2026-11-30T02:00:00Z"),
            ("0 3 * * 1-5", "UTC", "2026-11-27T04:00:00Z", "2026-11-30T03:00:00Z"),
            ("@daily", "UTC", "2026-11-30T12:00:00Z", "2026-12-01T00:00:00Z"),
            ("*/15 * * * *", "UTC", "2026-11-30T12:01:00Z", "2026-11-30T12:15:00Z"),
            // In Berlin 02:30 does not come on the 28th of March 2027, and comes twice on the 31st of October.
            ("30 2 * * *", "Europe/Berlin", "2027-03-28T00:00:00Z", "2027-03-28T01:00:00Z"),
            ("30 2 * * *", "Europe/Berlin", "2027-10-30T12:00:00Z", "2027-10-31T00:30:00Z"),
            ("30 2 * * *", "Europe/Berlin", "2027-10-31T00:30:00Z", "2027-11-01T01:30:00Z"),
            ("0 0 29 2 *", "UTC", "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z"),
        ] {
            assert_eq!(next(cron, zone, after), want, "{cron} in {zone} after {after}");
        }
    }

    #[test]
    fn what_is_no_time_is_told_where_it_stands() {
        for (text, want) in [
            ("[on]\ncron = \"soon\"\n", "slipway.toml:2:8: \"soon\" is no time of a schedule: "),
            (
                "[on]\ncron = \"0 0 30 2 *\"\n",
                "slipway.toml:2:8: \"0 0 30 2 *\" is no time of a schedule: there is no",
            ),
            ("[on]\ncron = \"0 0 3 * * *\"\n", "slipway.toml:2:8: \"0 0 3 * * *\" is no time"),
            ("[on]\ncron = \"61 0 * * *\"\n", "slipway.toml:2:8: \"61 0 * * *\" is no time"),
            ("[on]\ntz = \"Berlin\"\n", "slipway.toml:2:6: \"Berlin\" is no time zone"),
            ("[on]\ncrno = \"@daily\"\n", "slipway.toml:2:1: unknown key `crno`; did you mean `cron`?"),
            (
                "[on]\ncron = [\"@daily\", \"@daily\"]\n",
                "slipway.toml:2:19: two schedules are called \"@daily\"",
            ),
            ("[on]\ncron = [{ name = \"x\" }]\n", "slipway.toml:2:9: missing field `cron`"),
            (
                "[on]\ncron = [{ cron = \"@daily\", branch = \"x\" }]\n",
                "slipway.toml:2:28: unknown key `branch`; did you mean `branches`?",
            ),
            ("[build]\nrebuild = \"nightl\"\n", "slipway.toml:2:11: unknown value `nightl`"),
        ] {
            let told = Spec::parse(text.as_bytes()).expect_err("must be refused").to_string();
            assert!(told.starts_with(want), "{text:?}: {told}");
        }
    }

    #[test]
    fn one_or_several_are_read() {
        let text = r#"
            [on]
            cron = ["0 3 * * *", { cron = "0 5 * * 1", name = "weekly", tz = "Asia/Tokyo", branches = ["release/*"] }]
            tz = "Europe/Berlin"
            [build]
            rebuild = ["base", "nightly"]
        "#;
        let spec = Spec::parse(text.as_bytes()).expect("valid");
        let told: Vec<(&str, String)> =
            spec.on.cron.iter().map(|one| (one.name(), spec.on.zone_of(one).name)).collect();
        assert_eq!(told, [("0 3 * * *", "Europe/Berlin".to_owned()), ("weekly", "Asia/Tokyo".to_owned())]);
        assert_eq!(spec.build.rebuild, [Rebuild::Base, Rebuild::Nightly]);
        let one = Spec::parse(b"[on]\ncron = \"@daily\"\n[build]\nrebuild = \"base\"\n").expect("valid");
        assert_eq!((one.on.cron.len(), one.build.rebuild.as_slice()), (1, &[Rebuild::Base][..]));
        let table = Spec::parse(b"[on.cron]\ncron = \"@daily\"\nname = \"x\"\n").expect("valid");
        assert_eq!(table.on.cron[0].name(), "x");
    }

    #[test]
    fn hostile_times_are_answered_soon() {
        let begun = std::time::Instant::now();
        for text in
            ["0 0 30 2 *", "0 0 31 2,4,6,9,11 *", "59 23 29 2 7#5", "0 0 31 11 6L", &"*,".repeat(5000)]
        {
            drop(Times::parse(text));
        }
        assert!(begun.elapsed() < std::time::Duration::from_secs(2), "{:?}", begun.elapsed());
    }
}
