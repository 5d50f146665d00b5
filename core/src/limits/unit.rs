//! What limits count, and how their values are written: counts as numbers, sizes and times as texts with their unit.

use std::time::Duration;

use crate::ceilings::{Bytes, Millis};
use crate::spec::{parse_duration_ms, parse_size_bytes};

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Things; written as a number.
    Count,
    /// Bytes; written `64MiB`.
    Size,
    /// Bytes a second; written as a size.
    Rate,
    /// Milliseconds; written `30s`.
    Time,
}

impl Unit {
    /// What a value is, in a sentence.
    pub(super) fn noun(self) -> &'static str {
        match self {
            Self::Count => "a number",
            Self::Size => "a size",
            Self::Rate => "a size (for each second)",
            Self::Time => "a time",
        }
    }

    /// A value as config.toml has it.
    pub fn written(self, value: u64) -> String {
        match self {
            Self::Count => value.to_string(),
            Self::Size | Self::Rate => format!("\"{}\"", Bytes(value)),
            Self::Time if value == 0 => "\"0s\"".to_owned(),
            Self::Time => format!("\"{}\"", Millis(value)),
        }
    }

    /// A text as a value; numbers are no texts.
    pub(super) fn read(self, text: &str) -> Option<u64> {
        match self {
            Self::Count => None,
            Self::Size | Self::Rate => parse_size_bytes(text),
            Self::Time => parse_duration_ms(text),
        }
    }
}

/// A value as its field has it.
pub(super) trait Held {
    fn held(raw: u64) -> Self;
    fn raw(self) -> u64;
}

impl Held for usize {
    fn held(raw: u64) -> Self {
        Self::try_from(raw).unwrap_or(Self::MAX)
    }
    fn raw(self) -> u64 {
        u64::try_from(self).unwrap_or(u64::MAX)
    }
}

impl Held for u64 {
    fn held(raw: u64) -> Self {
        raw
    }
    fn raw(self) -> u64 {
        self
    }
}

impl Held for Duration {
    fn held(raw: u64) -> Self {
        Self::from_millis(raw)
    }
    fn raw(self) -> u64 {
        u64::try_from(self.as_millis()).unwrap_or(u64::MAX)
    }
}
