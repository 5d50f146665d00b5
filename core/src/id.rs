//! Numbers and texts that identify records. An id is not a string: a path or a login does not type-check as one.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

macro_rules! number_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
        impl std::str::FromStr for $name {
            type Err = std::num::ParseIntError;
            fn from_str(raw: &str) -> Result<Self, Self::Err> {
                raw.parse().map(Self)
            }
        }
    };
}

number_type!(
    /// A repository for good: names can change and be used again, this cannot.
    RepoId
);
number_type!(
    /// An event, in order of acceptance over the whole server.
    EventId
);
number_type!(
    /// A build's number within its repository, from 1.
    BuildNumber
);
number_type!(
    /// A deploy's number within its repository, from 1.
    DeployNumber
);

number_type!(
    /// A webhook's number within its repository, from 1.
    WebhookNumber
);
number_type!(
    /// A delivery's number within its repository, from 1.
    DeliveryNumber
);

/// A moment: milliseconds since 1970-01-01 UTC. Passed in from the outside; the rules never read the clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixMillis(pub u64);

impl UnixMillis {
    /// The moment `ms` milliseconds later.
    pub fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to this moment; 0 if it lies after.
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl From<SystemTime> for UnixMillis {
    fn from(at: SystemTime) -> Self {
        let passed = at.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self(u64::try_from(passed.as_millis()).unwrap_or(u64::MAX))
    }
}

/// A content digest as registries write it: `sha256:` and 64 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(Box<str>);

/// Not a digest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a digest: sha256: and 64 hexadecimal digits are wanted")]
pub struct InvalidDigest(pub String);

impl Digest {
    /// Checks the form.
    pub fn parse(raw: &str) -> Result<Self, InvalidDigest> {
        let hex = raw.strip_prefix("sha256:").unwrap_or("");
        if hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
            Ok(Self(raw.into()))
        } else {
            Err(InvalidDigest(raw.chars().take(100).collect()))
        }
    }

    /// A digest that nothing has.
    pub fn none() -> Self {
        Self(format!("sha256:{}", "0".repeat(64)).into())
    }

    /// The digest as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl TryFrom<String> for Digest {
    type Error = InvalidDigest;
    fn try_from(raw: String) -> Result<Self, InvalidDigest> {
        Self::parse(&raw)
    }
}
impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.0.into()
    }
}
