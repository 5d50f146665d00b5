//! The most that builds or tests may have: what owners set, and what slipway.toml can only lower.
//!
//! One form for config.toml (`[builds]`, `[tests]`), the API and records.

use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::spec::{Network, parse_duration_ms, parse_size_bytes};

mod asked;
mod capabilities;
pub use self::asked::Beyond;
pub use self::capabilities::Capabilities;

const HOUR_MS: u64 = 3_600_000;

/// What may be had at most; absent is: nothing said here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ceilings {
    /// The widest network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
    /// Memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Bytes>,
    /// Processors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus: Option<Cpus>,
    /// Processes and threads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pids: Option<Pids>,
    /// What may be written to the container's own file system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk: Option<Bytes>,
    /// Time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Millis>,
    /// Capabilities of tests and of the services beside them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Capabilities>,
}

/// A size in bytes, from 8 MiB to 16 TiB; written `512MiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

/// Processors in thousandths, from a hundredth to 1024; written as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cpus(pub u32);

/// Processes, from 16 to 1,000,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pids(pub u32);

/// A time in milliseconds, from a second to a day; written `20m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Millis(pub u64);

impl Ceilings {
    /// Of each ceiling the lower one.
    #[must_use]
    pub fn lower(&self, other: &Self) -> Self {
        Self {
            network: least(self.network, other.network),
            memory: least(self.memory, other.memory),
            cpus: least(self.cpus, other.cpus),
            pids: least(self.pids, other.pids),
            disk: least(self.disk, other.disk),
            timeout: least(self.timeout, other.timeout),
            capabilities: match (&self.capabilities, &other.capabilities) {
                (Some(one), Some(other)) => Some(one.common(other)),
                (one, other) => one.as_ref().or(other.as_ref()).cloned(),
            },
        }
    }

    /// What is absent, as in `other`.
    #[must_use]
    pub fn or(&self, other: &Self) -> Self {
        Self {
            network: self.network.or(other.network),
            memory: self.memory.or(other.memory),
            cpus: self.cpus.or(other.cpus),
            pids: self.pids.or(other.pids),
            disk: self.disk.or(other.disk),
            timeout: self.timeout.or(other.timeout),
            capabilities: self.capabilities.as_ref().or(other.capabilities.as_ref()).cloned(),
        }
    }

    /// What builds have at most where nobody has said anything.
    pub fn of_builds() -> Self {
        let (network, timeout) = (Some(Network::Bridge), Some(Millis(4 * HOUR_MS)));
        Self { network, timeout, ..Self::default() }
    }

    /// What tests have at most where nobody has said anything.
    pub fn of_tests() -> Self {
        Self {
            network: Some(Network::Internal),
            memory: Some(Bytes(4 << 30)),
            cpus: Some(Cpus(4_000)),
            pids: Some(Pids(512)),
            disk: None,
            timeout: Some(Millis(2 * HOUR_MS)),
            capabilities: Some(Capabilities::usual()),
        }
    }

    /// What holds for one repository: as its binding says, but never above config.toml; `usual` is what holds where
    /// neither says anything.
    #[must_use]
    pub fn in_force(config: &Self, binding: &Self, usual: &Self) -> Self {
        config.lower(&binding.or(config).or(usual))
    }

    /// Sets one by `KEY=VALUE`, as on the command line.
    ///
    /// # Errors
    /// A clause on what is wrong.
    pub fn set(&mut self, text: &str) -> Result<(), String> {
        let (key, value) = text.split_once('=').ok_or_else(|| format!("{text:?} is not KEY=VALUE"))?;
        match key {
            "network" => self.network = Some(value.parse()?),
            "memory" => self.memory = Some(value.parse()?),
            "cpus" => self.cpus = Some(value.parse()?),
            "pids" => self.pids = Some(value.parse()?),
            "disk" => self.disk = Some(value.parse()?),
            "timeout" => self.timeout = Some(value.parse()?),
            "capabilities" => self.capabilities = Some(value.parse()?),
            _ => {
                return Err(format!(
                    "{key:?} is none of network, memory, cpus, pids, disk, timeout and capabilities"
                ));
            }
        }
        Ok(())
    }

    /// As [`Ceilings::set`] reads them, with blanks between; empty if there are none.
    pub fn said(&self) -> String {
        let all = [
            self.network.map(|v| format!("network={}", v.as_str())),
            self.memory.map(|v| format!("memory={v}")),
            self.cpus.map(|v| format!("cpus={v}")),
            self.pids.map(|v| format!("pids={v}")),
            self.disk.map(|v| format!("disk={v}")),
            self.timeout.map(|v| format!("timeout={v}")),
            self.capabilities.as_ref().map(|v| format!("capabilities={v}")),
        ];
        all.into_iter().flatten().collect::<Vec<_>>().join(" ")
    }
}

fn least<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

impl FromStr for Network {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let known = [Self::None, Self::Internal, Self::Bridge].into_iter().find(|n| n.as_str() == text);
        known.ok_or_else(|| format!("{text:?} is none of none, internal and bridge"))
    }
}

impl FromStr for Bytes {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let fits = |bytes: &u64| (8 << 20..=16 << 40).contains(bytes);
        parse_size_bytes(text)
            .filter(fits)
            .map(Self)
            .ok_or_else(|| format!("{text:?} is not a size from \"8MiB\" to \"16384GiB\", such as \"4GiB\""))
    }
}

impl FromStr for Cpus {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        text.parse()
            .ok()
            .and_then(Self::of)
            .ok_or_else(|| format!("{text:?} is not a number from 0.01 to 1024"))
    }
}

impl FromStr for Pids {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.parse().ok().filter(|n| (16..=1_000_000).contains(n));
        number.map(Self).ok_or_else(|| format!("{text:?} is not a number from 16 to 1000000"))
    }
}

impl FromStr for Millis {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let time = parse_duration_ms(text).filter(|ms| (1_000..=24 * 3_600_000).contains(ms));
        time.map(Self).ok_or_else(|| {
            format!("{text:?} is not a time from \"1s\" to \"24h\", such as \"90s\" or \"20m\"")
        })
    }
}

impl Cpus {
    /// So many processors, if that is a number that there can be.
    pub fn of(cpus: f64) -> Option<Self> {
        (0.01..=1024.0).contains(&cpus).then(|| Self((cpus * 1000.0).round() as u32))
    }

    /// As a number.
    pub fn count(self) -> f64 {
        f64::from(self.0) / 1000.0
    }
}

impl std::fmt::Display for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (unit, shift) in [("GiB", 30), ("MiB", 20), ("KiB", 10)] {
            if self.0.is_multiple_of(1 << shift) {
                return write!(f, "{}{unit}", self.0 >> shift);
            }
        }
        write!(f, "{}", self.0)
    }
}

impl std::fmt::Display for Cpus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.count())
    }
}

impl std::fmt::Display for Pids {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl std::fmt::Display for Millis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (unit, ms) in [("h", 3_600_000), ("m", 60_000), ("s", 1_000)] {
            if self.0.is_multiple_of(ms) {
                return write!(f, "{}{unit}", self.0 / ms);
            }
        }
        write!(f, "{}ms", self.0)
    }
}

/// Texts in both directions.
macro_rules! as_text {
    ($($name:ty),*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                String::deserialize(from)?.parse().map_err(de::Error::custom)
            }
        }
    )*};
}
as_text!(Bytes, Millis);

impl Serialize for Cpus {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64(self.count())
    }
}

impl<'de> Deserialize<'de> for Cpus {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let number = f64::deserialize(from)?;
        Self::of(number)
            .ok_or_else(|| de::Error::custom(format!("{number} is not a number from 0.01 to 1024")))
    }
}

impl Serialize for Pids {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u32(self.0)
    }
}

impl<'de> Deserialize<'de> for Pids {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        u32::deserialize(from)?.to_string().parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_form_is_read_and_written_everywhere() {
        let said = "network=internal memory=512MiB cpus=1.5 pids=100 disk=10GiB timeout=90s capabilities=CHOWN,SETUID";
        let mut set = Ceilings::default();
        said.split(' ').try_for_each(|one| set.set(one)).expect("valid");
        assert_eq!(set.said(), said);
        let json = serde_json::to_string(&set).expect("json");
        assert_eq!(
            json,
            r#"{"network":"internal","memory":"512MiB","cpus":1.5,"pids":100,"disk":"10GiB","timeout":"90s","capabilities":["CHOWN","SETUID"]}"#
        );
        assert_eq!(serde_json::from_str::<Ceilings>(&json).expect("back"), set);
        let toml = "network = \"internal\"\nmemory = \"512MiB\"\ncpus = 1.5\npids = 100\ndisk = \"10GiB\"\ntimeout = \"90s\"\ncapabilities = [\"CHOWN\", \"SETUID\"]";
        assert_eq!(toml::from_str::<Ceilings>(toml).expect("toml"), set);
        assert_eq!(serde_json::from_str::<Ceilings>("{}").expect("none"), Ceilings::default());
    }

    #[test]
    fn what_is_no_ceiling_is_refused() {
        for bad in [
            "memory=1",
            "memory=lots",
            "memory=100000GiB",
            "cpus=0",
            "cpus=1025",
            "cpus=NaN",
            "pids=1",
            "pids=-1",
            "disk=",
            "timeout=25h",
            "timeout=0s",
            "network=host",
            "colour=red",
            "capabilities=SYS_ADMN",
            "memory",
        ] {
            assert!(Ceilings::default().set(bad).is_err(), "{bad}");
        }
        assert!(toml::from_str::<Ceilings>("memory = 5").is_err());
        assert!(toml::from_str::<Ceilings>("momery = \"5GiB\"").is_err());
    }

    #[test]
    fn of_capabilities_what_both_have_is_left() {
        let of = |text: &str| text.parse::<Capabilities>().expect("capabilities");
        let both = of("CHOWN,cap_setuid,NET_RAW").common(&of("SETUID,NET_RAW,KILL"));
        assert_eq!(both.to_string(), "NET_RAW,SETUID");
        assert_eq!(of("none").to_string(), "none");
        assert!("ALL".parse::<Capabilities>().is_err());
    }

    #[test]
    fn the_lower_one_holds() {
        let of = |text: &str| {
            let mut set = Ceilings::default();
            text.split_whitespace().try_for_each(|one| set.set(one)).expect("valid");
            set
        };
        let both = of("network=bridge memory=4GiB cpus=2").lower(&of("network=none memory=8GiB pids=64"));
        assert_eq!(both.said(), "network=none memory=4GiB cpus=2 pids=64");
        assert_eq!(of("memory=1GiB").or(&of("memory=2GiB cpus=1")).said(), "memory=1GiB cpus=1");
        let usual = of("network=internal memory=4GiB pids=512");
        let force =
            |config: &str, binding: &str| Ceilings::in_force(&of(config), &of(binding), &usual).said();
        assert_eq!(force("", ""), usual.said());
        assert_eq!(force("", "network=bridge memory=8GiB"), "network=bridge memory=8GiB pids=512");
        assert_eq!(
            force("network=none memory=6GiB", "network=bridge memory=8GiB"),
            "network=none memory=6GiB pids=512"
        );
        assert_eq!(force("network=bridge memory=16GiB", ""), "network=bridge memory=16GiB pids=512");
        assert_eq!(force("memory=2GiB", "memory=1GiB"), "network=internal memory=1GiB pids=512");
    }
}
