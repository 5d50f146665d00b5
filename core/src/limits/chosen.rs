//! `[limits]` of config.toml: the limits that whoever runs the server has set, each looked at as it is read.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::{Limit, Limits, Machine};
use crate::nearest::nearest;

/// The limits that are not left as usual.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chosen(BTreeMap<&'static str, u64>);

impl Chosen {
    /// Sets the limit of that name, as a count or in its smallest unit.
    ///
    /// # Errors
    /// A clause on what is wrong.
    pub fn set(&mut self, name: &str, value: u64) -> Result<(), String> {
        let limit = named(name)?;
        let value = limit.within(value).ok_or_else(|| limit.refusal(&limit.unit.written(value)))?;
        self.0.insert(limit.name, value);
        Ok(())
    }

    /// True if it is set.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// What is chosen, else what is usual.
    pub(super) fn value_of(&self, limit: &Limit, machine: Machine) -> u64 {
        self.0.get(limit.name).copied().unwrap_or_else(|| limit.usual.on(machine))
    }
}

fn named(name: &str) -> Result<&'static Limit, String> {
    let names = || Limits::table().iter().map(|limit| limit.name);
    Limits::table().iter().find(|limit| limit.name == name).ok_or_else(|| match nearest(name, names()) {
        Some(known) => format!("unknown limit `{name}`; did you mean `{known}`?"),
        None => format!("unknown limit `{name}`; docs/limits.md lists those that there are"),
    })
}

impl Limit {
    fn within(&self, value: u64) -> Option<u64> {
        (self.least..=self.most).contains(&value).then_some(value)
    }

    /// Why something is no value of it.
    fn refusal(&self, wrong: &str) -> String {
        let of = |value| self.unit.written(value);
        let example = self.usual.on(Machine::default());
        let (least, most) = (of(self.least), of(self.most));
        format!(
            "{}: {wrong} is not {} from {least} to {most}, such as {}",
            self.name,
            self.unit.noun(),
            of(example)
        )
    }
}

impl<'de> Deserialize<'de> for Chosen {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(Table)
    }
}

struct Table;

impl<'de> Visitor<'de> for Table {
    type Value = Chosen;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table of limits")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Chosen, A::Error> {
        let mut chosen = Chosen::default();
        while let Some(Name(limit)) = map.next_key()? {
            chosen.0.insert(limit.name, map.next_value_seed(Value(limit))?);
        }
        Ok(chosen)
    }
}

/// The key of a limit. Known as soon as it is read, so that what is wrong with it is told with its line.
struct Name(&'static Limit);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        named(&String::deserialize(from)?).map(Self).map_err(Error::custom)
    }
}

/// A value of that limit.
struct Value(&'static Limit);

impl<'de> DeserializeSeed<'de> for Value {
    type Value = u64;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<u64, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.unit.noun())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<u64, E> {
        let counts = self.0.unit == super::Unit::Count;
        let value = u64::try_from(number).ok().filter(|_| counts).and_then(|value| self.0.within(value));
        value.ok_or_else(|| E::custom(self.0.refusal(&number.to_string())))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<u64, E> {
        Err(E::custom(self.0.refusal(&number.to_string())))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<u64, E> {
        let value = self.0.unit.read(text).and_then(|value| self.0.within(value));
        value.ok_or_else(|| E::custom(self.0.refusal(&format!("{text:?}"))))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn limits(text: &str) -> Result<Limits, String> {
        let chosen = toml::from_str::<Chosen>(text).map_err(|e| e.message().to_owned())?;
        Ok(Limits::of(Machine::default(), &chosen))
    }

    #[test]
    fn each_unit_is_read_as_it_is_written() {
        let said = "http_connections_max = 100\npack_size_max = \"3GiB\"\ntransfer_rate_min = \"2KiB\"\n\
                    http_idle_timeout = \"90s\"\n";
        let read = limits(said).expect("valid");
        let usual = Limits::default();
        assert_eq!((read.http_connections_max, read.pack_size_max), (100, 3 << 30));
        assert_eq!((read.transfer_rate_min, read.http_idle_timeout), (2048, Duration::from_secs(90)));
        assert_eq!(
            Limits {
                http_connections_max: usual.http_connections_max,
                pack_size_max: usual.pack_size_max,
                transfer_rate_min: usual.transfer_rate_min,
                http_idle_timeout: usual.http_idle_timeout,
                ..read
            },
            usual,
            "nothing else is changed"
        );
    }

    #[test]
    fn what_is_no_limit_is_refused_with_what_it_could_be() {
        for (text, told) in [
            (
                "http_conections_max = 5",
                "unknown limit `http_conections_max`; did you mean `http_connections_max`?",
            ),
            ("colour = 5", "unknown limit `colour`; docs/limits.md lists those that there are"),
            ("builds_max = 0", "builds_max: 0 is not a number from 1 to 64, such as 2"),
            ("builds_max = -1", "builds_max: -1 is not a number from 1 to 64, such as 2"),
            ("builds_max = 1.5", "builds_max: 1.5 is not a number from 1 to 64, such as 2"),
            ("builds_max = \"2\"", "builds_max: \"2\" is not a number from 1 to 64, such as 2"),
            (
                "pack_size_max = \"8 TB\"",
                "pack_size_max: \"8 TB\" is not a size from \"64KiB\" to \"1024GiB\", such as \"8GiB\"",
            ),
            (
                "pack_size_max = \"2000GiB\"",
                "pack_size_max: \"2000GiB\" is not a size from \"64KiB\" to \"1024GiB\", such as \"8GiB\"",
            ),
            (
                "ssh_login_timeout = 20",
                "ssh_login_timeout: 20 is not a time from \"2s\" to \"10m\", such as \"20s\"",
            ),
            (
                "ssh_login_timeout = \"20\"",
                "ssh_login_timeout: \"20\" is not a time from \"2s\" to \"10m\", such as \"20s\"",
            ),
            ("builds_max = true", "invalid type: boolean `true`, expected a number"),
        ] {
            assert_eq!(limits(text), Err(told.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_is_usual_is_within_its_bounds_on_every_machine_and_can_be_written() {
        let small = Machine { processors: 1, memory_bytes: 256 << 20 };
        let large = Machine { processors: 256, memory_bytes: 4 << 40 };
        for limit in Limits::table() {
            for machine in [small, Machine::default(), large] {
                let usual = limit.usual.on(machine);
                assert_eq!(limit.within(usual), Some(usual), "{} on {machine:?}", limit.name);
                let text = format!("{} = {}", limit.name, limit.unit.written(usual));
                let chosen = toml::from_str::<Chosen>(&text).expect("as it is written");
                assert_eq!(chosen.value_of(limit, Machine::default()), usual, "{text}");
            }
        }
    }
}
