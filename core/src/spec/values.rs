//! Texts of slipway.toml that mean something: times and sizes. Pure.

use serde::{Deserialize, Deserializer, de};

pub(super) fn duration_ms<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    let text = String::deserialize(from)?;
    parse_duration_ms(&text).filter(|ms| (1_000..=24 * 3_600_000).contains(ms)).ok_or_else(|| {
        de::Error::custom(format!(
            "{text:?} is not a time from \"1s\" to \"24h\", such as \"90s\" or \"20m\""
        ))
    })
}

/// The same where the key is there; for fields that are `None` without.
pub(super) fn some_duration_ms<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    duration_ms(from).map(Some)
}

/// Reads `90s`, `20m`, `2h`, `30d` or `500ms` as milliseconds.
pub fn parse_duration_ms(text: &str) -> Option<u64> {
    let split = text.find(|c: char| !c.is_ascii_digit())?;
    let factor = match &text[split..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    text[..split].parse::<u64>().ok()?.checked_mul(factor)
}

pub(super) fn size_bytes<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    let text = String::deserialize(from)?;
    parse_size_bytes(&text)
        .ok_or_else(|| de::Error::custom(format!("{text:?} is not a size such as \"512MiB\" or \"1GiB\"")))
}

/// Reads `512MiB`, `1GiB`, `100KiB`, `1GB` or a plain number as bytes.
pub fn parse_size_bytes(text: &str) -> Option<u64> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let factor: u64 = match &text[split..] {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => return None,
    };
    text[..split].parse::<u64>().ok()?.checked_mul(factor)
}
