//! How values read on a page: times, durations, sizes; and the one escape function for what is written by hand.

use std::fmt::Write as _;

use slipway_core::UnixMillis;
use time::OffsetDateTime;

/// Appends `raw` with the five characters that mean something in HTML escaped. Other control characters than tab and
/// newline become U+FFFD, so that nothing invisible changes what a reader sees.
pub(crate) fn escape_into(out: &mut String, raw: &str) {
    for c in raw.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\t' | '\n' => out.push(c),
            // Text that turns its reading direction can make code look like other code (CVE-2021-42574).
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                let _ = write!(out, "<span class=\"odd\">U+{:04X}</span>", u32::from(c));
            }
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
}

/// A moment for people and for machines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    /// `2026-11-22 20:53 UTC`.
    pub(crate) exact: String,
    /// `2026-11-22T20:53:00Z`.
    pub(crate) machine: String,
    /// `3 hours ago`.
    pub(crate) ago: String,
}

impl Moment {
    pub(crate) fn of_ms(at: UnixMillis, now: UnixMillis) -> Self {
        Self::of_seconds(i64::try_from(at.0 / 1000).unwrap_or(i64::MAX), now)
    }

    /// The moment to the minute, as `2026-11-30 14:05 UTC`.
    pub(crate) fn exact(&self) -> &str {
        &self.exact
    }

    /// `at` in seconds since 1970, as Git has it: may be any number somebody put into a commit.
    pub(crate) fn of_seconds(at: i64, now: UnixMillis) -> Self {
        let moment = OffsetDateTime::from_unix_timestamp(at).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let (year, month, day) = (moment.year(), u8::from(moment.month()), moment.day());
        let (hour, minute, second) = (moment.hour(), moment.minute(), moment.second());
        let now_s = i64::try_from(now.0 / 1000).unwrap_or(i64::MAX);
        Self {
            exact: format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02} UTC"),
            machine: format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"),
            ago: ago(now_s.saturating_sub(at)),
        }
    }
}

fn ago(seconds: i64) -> String {
    let (count, unit) = match seconds {
        i64::MIN..=-61 => return "in the future".into(),
        -60..=44 => return "just now".into(),
        45..=5399 => ((seconds + 30) / 60, "minute"),
        5400..=129_599 => ((seconds + 1800) / 3600, "hour"),
        129_600..=5_183_999 => ((seconds + 43_200) / 86_400, "day"),
        5_184_000..=63_071_999 => (seconds / 2_592_000, "month"),
        _ => (seconds / 31_557_600, "year"),
    };
    format!("{count} {unit}{} ago", if count == 1 { "" } else { "s" })
}

/// `2 m 14 s`, `340 ms`.
pub(crate) fn duration(ms: u64) -> String {
    let s = ms / 1000;
    match s {
        0 => format!("{ms} ms"),
        1..=9 => format!("{}.{} s", s, ms % 1000 / 100),
        10..=59 => format!("{s} s"),
        60..=3599 => format!("{} m {} s", s / 60, s % 60),
        _ => format!("{} h {} m", s / 3600, s % 3600 / 60),
    }
}

/// `1.4 MB`, in powers of 1000.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KB", "MB", "GB", "TB"];
    let (mut value, mut unit) = (bytes, 0);
    let mut tenths = 0;
    while value >= 1000 && unit + 1 < UNITS.len() {
        tenths = value % 1000 / 100;
        value /= 1000;
        unit += 1;
    }
    let name = UNITS.get(unit).copied().unwrap_or_default();
    if unit == 0 || value >= 10 { format!("{value} {name}") } else { format!("{value}.{tenths} {name}") }
}

/// `text` without terminal sequences (ECMA-48: CSI, OSC and two-character escapes); carriage returns restart the line,
/// as on a terminal.
pub(crate) fn without_ansi(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut line_start = 0;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => match chars.next() {
                Some('[') => while chars.next().is_some_and(|c| !('\u{40}'..='\u{7e}').contains(&c)) {},
                Some(']') => skip_osc(&mut chars),
                _ => {}
            },
            '\r' if chars.peek() == Some(&'\n') => {}
            '\r' => out.truncate(line_start),
            '\n' => {
                out.push('\n');
                line_start = out.len();
            }
            '\t' => out.push('\t'),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

fn skip_osc(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    while let Some(c) = chars.next() {
        if c == '\u{7}' {
            return;
        }
        if c == '\u{1b}' {
            chars.next_if_eq(&'\\');
            return;
        }
        if c == '\n' {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_written_by_hand_opens_a_tag() {
        let mut out = String::new();
        escape_into(&mut out, "<img src=x onerror='a'>&\"\u{202e}\u{7}");
        assert_eq!(
            out,
            "&lt;img src=x onerror=&#39;a&#39;&gt;&amp;&quot;<span class=\"odd\">U+202E</span>\u{fffd}"
        );
    }

    #[test]
    fn moments_of_any_number_are_readable() {
        let now = UnixMillis(1_795_356_309_000);
        assert_eq!(Moment::of_ms(UnixMillis(1_795_356_309_000 - 7_200_000), now).ago, "2 hours ago");
        assert_eq!(Moment::of_seconds(1_795_356_309, now).exact, "2026-11-22 14:05 UTC");
        for odd in [i64::MIN, i64::MAX, 0, -1] {
            assert!(!Moment::of_seconds(odd, now).exact.is_empty());
        }
    }

    #[test]
    fn durations_and_sizes() {
        assert_eq!(
            [duration(340), duration(1700), duration(134_000), duration(7_260_000)],
            ["340 ms", "1.7 s", "2 m 14 s", "2 h 1 m"]
        );
        assert_eq!([size(0), size(999), size(1400), size(14_000_000)], ["0 B", "999 B", "1.4 KB", "14 MB"]);
    }

    #[test]
    fn a_log_reads_as_on_a_terminal() {
        assert_eq!(without_ansi("\u{1b}[31mred\u{1b}[0m\r\n10%\r20%\n\u{1b}]0;title\u{7}x"), "red\n20%\nx");
        assert_eq!(without_ansi("\u{1b}["), "");
    }
}
