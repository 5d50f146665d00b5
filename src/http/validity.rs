//! From when and until when a certificate is good (X.509, RFC 5280 4.1.2.5). Reads that and nothing else; whether a
//! certificate is to be believed is its clients' business.

use time::{Date, Month, Time};

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERAL_TIME: u8 = 0x18;

/// The first and the last second at which it is good, since 1970; `None` where it cannot be told.
pub(super) fn read(cert: &[u8]) -> Option<(i64, i64)> {
    let (_, cert, _) = field(cert, SEQUENCE)?;
    let (_, mut rest, _) = field(cert, SEQUENCE)?;
    if rest.first() == Some(&VERSION) {
        rest = any(rest)?.2;
    }
    // Serial number, algorithm, issuer.
    for _ in 0..3 {
        rest = any(rest)?.2;
    }
    let (_, validity, _) = field(rest, SEQUENCE)?;
    let (kind, from, rest) = any(validity)?;
    let (until_kind, until, _) = any(rest)?;
    Some((moment(kind, from)?, moment(until_kind, until)?))
}

/// Kind, content and what follows of the first field.
fn any(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&kind, rest) = bytes.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let mut length = usize::from(first);
    if first >= 0x80 {
        let digits = usize::from(first & 0x7f);
        if digits > 4 {
            return None;
        }
        let (of_length, after) = rest.split_at_checked(digits)?;
        length = of_length.iter().fold(0, |sum, &digit| sum << 8 | usize::from(digit));
        rest = after;
    }
    let (content, rest) = rest.split_at_checked(length)?;
    Some((kind, content, rest))
}

fn field(bytes: &[u8], kind: u8) -> Option<(u8, &[u8], &[u8])> {
    any(bytes).filter(|(found, ..)| *found == kind)
}

/// `YYMMDDHHMMSSZ`, or the same with four digits of a year.
fn moment(kind: u8, text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let year_digits = match kind {
        UTC_TIME => 2,
        GENERAL_TIME => 4,
        _ => return None,
    };
    let number = |at: usize, digits: usize| text.get(at..at + digits)?.parse::<u16>().ok();
    let two = |n: usize| u8::try_from(number(year_digits + n * 2, 2)?).ok();
    let year = match (i32::from(number(0, year_digits)?), kind) {
        (year @ ..50, UTC_TIME) => 2000 + year,
        (year, UTC_TIME) => 1900 + year,
        (year, _) => year,
    };
    let date = Date::from_calendar_date(year, Month::try_from(two(0)?).ok()?, two(1)?).ok()?;
    let time = Time::from_hms(two(2)?, two(3)?, two(4)?).ok()?;
    Some(date.with_time(time).assume_utc().unix_timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A certificate as far as it is read here.
    fn cert(version: bool, kind: u8, from: &str, until: &str) -> Vec<u8> {
        let wrap = |kind: u8, content: &[u8]| [&[kind, 0x82, 0, content.len() as u8][..], content].concat();
        let mut of = if version { wrap(VERSION, &[2, 1, 2]) } else { Vec::new() };
        for part in [&[2, 1, 7][..], &wrap(SEQUENCE, b"algorithm"), &wrap(SEQUENCE, b"issuer")] {
            of.extend_from_slice(part);
        }
        let times = [wrap(kind, from.as_bytes()), wrap(kind, until.as_bytes())].concat();
        of.extend(wrap(SEQUENCE, &times));
        wrap(SEQUENCE, &wrap(SEQUENCE, &of))
    }

    #[test]
    fn times_are_read_in_both_forms() {
        for version in [true, false] {
            let read = |kind, from, until| read(&cert(version, kind, from, until));
            assert_eq!(read(UTC_TIME, "700101000000Z", "700101000100Z"), Some((0, 60)));
            assert_eq!(
                read(UTC_TIME, "260101000000Z", "491231235959Z"),
                Some((1_767_225_600, 2_524_607_999))
            );
            assert_eq!(
                read(GENERAL_TIME, "20260101000000Z", "20500101000000Z").map(|t| t.1),
                Some(2_524_608_000)
            );
        }
    }

    #[test]
    fn nonsense_is_none_and_no_panic() {
        let good = cert(true, UTC_TIME, "260101000000Z", "270101000000Z");
        for cut in 0..good.len() {
            assert_eq!(read(&good[..cut]), None);
        }
        for (kind, time) in [
            (UTC_TIME, "261301000000Z"),
            (UTC_TIME, "2601"),
            (UTC_TIME, "é601é1000000Z"),
            (4, "260101000000Z"),
        ] {
            assert_eq!(read(&cert(true, kind, time, time)), None, "{time}");
        }
        assert_eq!(read(&[SEQUENCE, 0x85, 1, 1, 1, 1, 1]), None);
        assert_eq!(read(&[SEQUENCE, 0x84, 255, 255, 255, 255]), None);
    }
}
